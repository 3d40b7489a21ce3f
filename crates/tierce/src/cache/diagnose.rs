//! What a cache of these options would find where it is to run.
//!
//! The parts that a tier knows are asked of the tier; here is what all of them share: the kernel,
//! clocks, descriptors, and memory for the bounds of L1 and L2 together.

use std::{fs, time::Instant};

use super::{Builder, builder::DEFAULT_MEMORY_BYTES};
use crate::{diagnosis::Diagnosis, tiering::TierKind};

const KERNEL: &str = "machine.kernel";
const CLOCK: &str = "machine.clock";
const DESCRIPTORS: &str = "machine.descriptors";
const LOCKED: &str = "machine.locked_memory";
const HUGE_PAGES: &str = "machine.huge_pages";
#[cfg(all(feature = "shared", target_os = "linux"))]
const MEMORY: &str = "machine.memory";
const OPTIONS: &str = "options";

/// `MADV_COLLAPSE`, by which a store gets huge pages; all else works with older ones.
const HUGE_KERNEL: (u32, u32) = (6, 1);
/// Private expedited `membarrier`: without it each read costs a fence.
const BARRIER_KERNEL: (u32, u32) = (4, 14);
/// A look at a clock that takes longer goes through the kernel.
const CLOCK_NANOS: u128 = 200;
const CLOCK_LOOKS: u32 = 2_000;
/// A cache needs some twenty; the service has to have the others.
const LEAST_DESCRIPTORS: u64 = 256;

impl Builder {
    /// Whether what these options describe would work here: kernel, clocks, memory, and what each
    /// tier of the tiering finds (its folder and limits, its server and rights). With it comes the
    /// [`advice`](Self::advice). Builds nothing and changes nothing; asks the server of L3.
    ///
    /// ```
    /// use tierce::{Cache, Fitness};
    ///
    /// let all = Cache::builder().diagnose();
    /// assert!(all.iter().all(|one| one.verdict < Fitness::Unfit));
    /// ```
    pub fn diagnose(&self) -> Vec<Diagnosis> {
        let mut all = vec![kernel(), clock()];
        all.extend([descriptors(), locked()].into_iter().flatten());
        all.extend(self.memory_bounds());
        if self.tiering.has(TierKind::Shared) {
            all.extend(huge_pages());
            all.extend(self.of_store());
        }
        if self.tiering.has(TierKind::Redis) {
            all.extend(self.of_redis());
        }
        let advice = self.advice();
        if advice.is_empty() {
            all.push(Diagnosis::fit(OPTIONS, "nothing in them is unwise"));
        }
        for advice in advice {
            let (found, remedy) = match advice.message.split_once(": ") {
                Some((found, remedy)) => (found.to_owned(), remedy.to_owned()),
                None => (advice.message, "see docs/freshness.md".to_owned()),
            };
            all.push(Diagnosis::doubtful(OPTIONS, found, remedy).of(advice.code));
        }
        all
    }

    #[cfg(feature = "shared")]
    fn of_store(&self) -> Vec<Diagnosis> {
        self.shared_options().map(|options| options.diagnose()).unwrap_or_default()
    }

    #[cfg(not(feature = "shared"))]
    fn of_store(&self) -> Vec<Diagnosis> {
        vec![Diagnosis::unfit(
            "store.platform",
            "this build lacks the feature shared",
            "build it in",
        )]
    }

    #[cfg(feature = "redis")]
    fn of_redis(&self) -> Vec<Diagnosis> {
        self.redis_options().map(|options| options.diagnose()).unwrap_or_default()
    }

    #[cfg(not(feature = "redis"))]
    fn of_redis(&self) -> Vec<Diagnosis> {
        vec![Diagnosis::unfit("redis.options", "this build lacks the feature redis", "build it in")]
    }

    /// Whether machine and control groups have memory for L1, and for L2 where it lies in memory.
    #[cfg(all(feature = "shared", target_os = "linux"))]
    fn memory_bounds(&self) -> Option<Diagnosis> {
        let shared = self.tiering.has(TierKind::Shared);
        let of_store = match shared.then(|| self.shared_options()).flatten() {
            Some(options) => options.bytes_of_memory(),
            None => 0,
        };
        let Some(of_memory) = self.memory_bytes() else {
            let found = "L1 has a bound on entries alone: how large it grows nobody can tell";
            return Some(Diagnosis::doubtful(MEMORY, found, "set memory.max_bytes too"));
        };
        let bytes = of_memory.saturating_add(of_store);
        Some(match crate::store::check_memory("L1 and L2", bytes) {
            Ok(()) => {
                let [one, two] = [of_memory, of_store].map(|bytes| bytes >> 20);
                Diagnosis::fit(
                    MEMORY,
                    format!("there is room for L1 ({one} MiB) and L2 ({two} MiB)"),
                )
            }
            Err(error) => {
                let remedy = "lower memory.max_bytes or shared.max_bytes, or raise the limit";
                Diagnosis::unfit(MEMORY, error.to_string(), remedy)
            }
        })
    }

    #[cfg(not(all(feature = "shared", target_os = "linux")))]
    fn memory_bounds(&self) -> Option<Diagnosis> {
        None
    }

    /// The bound of L1 in bytes, if it has one.
    #[cfg_attr(not(all(feature = "shared", target_os = "linux")), allow(dead_code))]
    fn memory_bytes(&self) -> Option<u64> {
        match &self.memory {
            Some(options) => options.byte_bound(),
            None => Some(DEFAULT_MEMORY_BYTES),
        }
    }
}

/// What a file of the system says, without blanks around it.
fn system(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn kernel() -> Diagnosis {
    let Some(release) = system("/proc/sys/kernel/osrelease") else {
        return Diagnosis::doubtful(
            KERNEL,
            "/proc is not there: limits are unknown",
            "mount /proc",
        );
    };
    let mut numbers =
        release.split(|letter: char| !letter.is_ascii_digit()).map_while(|part| part.parse().ok());
    let version: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let found = format!("Linux {release}");
    match version {
        version if version < BARRIER_KERNEL => Diagnosis::doubtful(
            KERNEL,
            format!("{found}: without membarrier each read of L1 costs a fence"),
            "use Linux 4.14 or later",
        ),
        version if version < HUGE_KERNEL => Diagnosis::doubtful(
            KERNEL,
            format!("{found}: a store gets no huge pages of its own accord"),
            "use Linux 6.1 or later, or mount /dev/shm with huge=advise",
        ),
        _ => Diagnosis::fit(KERNEL, found),
    }
}

fn clock() -> Diagnosis {
    let begin = Instant::now();
    for _ in 1..CLOCK_LOOKS {
        std::hint::black_box(Instant::now());
    }
    let nanos = begin.elapsed().as_nanos() / u128::from(CLOCK_LOOKS);
    let source = system("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    let source = source.unwrap_or_else(|| "an unknown source".to_owned());
    let found = format!("{source}, {nanos} ns a look");
    match nanos > CLOCK_NANOS {
        true => Diagnosis::doubtful(
            CLOCK,
            format!("{found}: it goes through the kernel, so sampled reads and L2 are slower"),
            "have the machine use tsc or kvm-clock",
        ),
        false => Diagnosis::fit(CLOCK, found),
    }
}

/// The soft bound of a resource; `None` where it is unknown or there is none.
fn soft_limit(limits: &str, name: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn descriptors() -> Option<Diagnosis> {
    let limits = system("/proc/self/limits")?;
    let Some(most) = soft_limit(&limits, "Max open files") else {
        return Some(Diagnosis::fit(DESCRIPTORS, "no bound on open files"));
    };
    let found = format!("{most} open files are allowed (RLIMIT_NOFILE)");
    Some(match most < LEAST_DESCRIPTORS {
        true => Diagnosis::doubtful(DESCRIPTORS, found, "raise ulimit -n"),
        false => Diagnosis::fit(DESCRIPTORS, found),
    })
}

fn locked() -> Option<Diagnosis> {
    let limits = system("/proc/self/limits")?;
    let most = soft_limit(&limits, "Max locked memory");
    let most = most.map_or_else(|| "unlimited".to_owned(), |bytes| format!("{} KiB", bytes >> 10));
    let found = format!("RLIMIT_MEMLOCK is {most}; nothing here locks memory");
    Some(Diagnosis::fit(LOCKED, found))
}

fn huge_pages() -> Option<Diagnosis> {
    let folder = "/sys/kernel/mm/transparent_hugepage";
    let enabled = system(&format!("{folder}/enabled"))?;
    let chosen = |text: &str| {
        let chosen = text.split(['[', ']']).nth(1);
        chosen.unwrap_or("unknown").to_owned()
    };
    let of_files = system(&format!("{folder}/shmem_enabled")).unwrap_or_default();
    let found =
        format!("transparent huge pages {}, on tmpfs {}", chosen(&enabled), chosen(&of_files));
    Some(match (&*chosen(&enabled), &*chosen(&of_files)) {
        ("never", _) | (_, "deny") => Diagnosis::doubtful(
            HUGE_PAGES,
            format!("{found}: look-ups in a large L2 wait for page tables"),
            format!("echo madvise > {folder}/enabled"),
        ),
        _ => Diagnosis::fit(HUGE_PAGES, found),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cache, Fitness};

    fn of<'a>(all: &'a [Diagnosis], check: &str) -> &'a Diagnosis {
        all.iter().find(|one| one.check == check).unwrap_or_else(|| panic!("{check}: {all:?}"))
    }

    #[test]
    fn limits_are_read_by_their_soft_bound() {
        let limits = "Limit   Soft Limit  Hard Limit  Units\nMax open files   1024  4096  files\n\
                      Max locked memory   unlimited   unlimited   bytes";
        assert_eq!(soft_limit(limits, "Max open files"), Some(1024));
        assert_eq!(soft_limit(limits, "Max locked memory"), None);
    }

    #[test]
    fn what_is_unwise_comes_with_its_code_and_what_to_do() {
        let all = Cache::builder().freshness(crate::Freshness::new().ttl_jitter(0.1)).diagnose();
        let one = of(&all, "options.jitter_without_ttl");
        assert_eq!(one.verdict, Fitness::Doubtful);
        assert_eq!(one.remedy.as_deref(), Some("set a ttl"));
    }

    #[test]
    #[cfg(all(feature = "shared", target_os = "linux"))]
    fn memory_that_nobody_has_is_unfit_and_tiers_are_asked_where_they_are_in_force() {
        use crate::{MemoryOptions, Tiering};

        let memory = MemoryOptions::new().max_bytes(1 << 50);
        let all = Cache::builder().memory(memory).diagnose();
        assert_eq!(of(&all, MEMORY).verdict, Fitness::Unfit);
        assert!(all.iter().all(|one| !one.check.starts_with("store.")), "L1 alone: {all:?}");
        let folder = tempfile::tempdir().unwrap();
        let options = crate::StoreOptions::new(folder.path().join("s")).max_bytes(4 << 20);
        let all = Cache::builder().tiering(Tiering::L1L2).shared(options).diagnose();
        assert_eq!(of(&all, "store.room").verdict, Fitness::Fit);
        assert_eq!(of(&all, MEMORY).verdict, Fitness::Fit);
    }
}
