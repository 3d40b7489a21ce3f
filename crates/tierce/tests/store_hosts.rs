//! Hosts without room or rights for a store: the cache serves from L1, says why L2 is off in its
//! health document, and has it back when the cause is gone. No signal reaches the process.
//!
//! Each test runs in a forked child, which may give up its own rights. What needs rights that the
//! machine does not give is told and left out.
#![cfg(all(feature = "shared", target_os = "linux"))]
// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used, clippy::print_stdout)]
#![allow(unsafe_code)]

mod store_support;

use std::{
    ffi::CString,
    fs,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::Path,
    time::Duration,
};

use store_support::*;
use tierce::{
    Cache, Clock, ErrorKind, ManualClock, Medium, Store, StoreOptions, TierKind, Tiering,
};

fn is_root() -> bool {
    // SAFETY: always succeeds and touches no memory.
    let is_root = unsafe { libc::geteuid() } == 0;
    if !is_root {
        println!("left out: needs root");
    }
    is_root
}

/// Runs `work` in a child, which must end well: by no signal and no panic.
fn in_child(work: impl FnOnce()) {
    let status = traced::in_child(|| {
        work();
        true
    });
    assert_eq!(status, 0, "the child ended with status {status:#x}");
}

fn text(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

/// Mounts a tmpfs on `path`, or changes the one there, in a mount namespace of this process's own.
fn mount_tmpfs(path: &Path, flags: libc::c_ulong, options: &str) {
    let options = CString::new(options).unwrap();
    let path = text(path);
    // SAFETY: bare system calls with null-terminated strings.
    unsafe {
        if flags & libc::MS_REMOUNT == 0 {
            assert_eq!(libc::unshare(libc::CLONE_NEWNS), 0, "no mount namespace");
            let private = libc::MS_REC | libc::MS_PRIVATE;
            let root = c"/".as_ptr();
            assert_eq!(libc::mount(root, root, std::ptr::null(), private, std::ptr::null()), 0);
        }
        let kind = c"tmpfs".as_ptr();
        let mounted = libc::mount(kind, path.as_ptr(), kind, flags, options.as_ptr().cast());
        assert_eq!(mounted, 0, "{}", std::io::Error::last_os_error());
    }
}

fn cache(options: &StoreOptions) -> (Cache, ManualClock) {
    let (clock, time) = Clock::manual();
    let builder = Cache::builder().tiering(Tiering::L1L2).shared(options.clone()).clock(clock);
    (builder.build().unwrap(), time)
}

fn reason(cache: &Cache) -> Option<String> {
    let health = cache.health();
    let shared = health.dependencies.iter().find(|it| it.stats.kind == "shared");
    shared.unwrap().reason.clone()
}

/// The cache works without L2, which is off for a reason with these words.
fn is_without(cache: &Cache, words: &str) {
    cache.set("a", "1".into()).unwrap();
    assert_eq!(cache.get("a").as_deref(), Some(&b"1"[..]));
    cache.delete("a").unwrap();
    let reason = reason(cache).expect("L2 is off");
    assert!(reason.contains(words), "{reason}");
    assert_eq!(cache.health().status.as_str(), "degraded");
}

/// L2 is back after at most a minute of calls.
fn comes_back(cache: &Cache, time: &ManualClock) {
    for round in 0..4000 {
        // Then no retry is due any more, but the last one may take long on a busy machine.
        if round < 70 {
            time.advance(Duration::from_secs(1));
        }
        let _ = cache.get("nothing");
        if reason(cache).is_none() {
            cache.set("b", "2".into()).unwrap();
            assert_eq!(cache.health().status.as_str(), "healthy");
            assert!(cache.stats().tier(TierKind::Shared).unwrap().entries > 0);
            return;
        }
        // Real time: a large store is made meanwhile.
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("L2 stays off: {:?}", reason(cache));
}

#[test]
fn a_memory_file_system_without_room_is_left_alone_until_it_has() {
    let _alone = traced::alone();
    if !is_root() {
        return;
    }
    for (room, store) in [("size=1m", 4 << 20), ("size=64m", 256 << 20)] {
        let folder = tempfile::tempdir().unwrap();
        in_child(|| {
            mount_tmpfs(folder.path(), 0, &format!("{room},mode=0700"));
            let options = options_in(folder.path()).max_bytes(store);
            let (cache, time) = cache(&options);
            is_without(&cache, "bytes left");
            assert!(fs::read_dir(folder.path()).unwrap().next().is_none(), "nothing is left");
            mount_tmpfs(folder.path(), libc::MS_REMOUNT, "size=400m");
            comes_back(&cache, &time);
        });
    }
}

#[test]
fn a_read_only_file_system_is_left_alone_until_it_is_writable() {
    let _alone = traced::alone();
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    in_child(|| {
        mount_tmpfs(folder.path(), 0, "size=16m,mode=0700");
        mount_tmpfs(folder.path(), libc::MS_REMOUNT | libc::MS_RDONLY, "size=16m");
        let (cache, time) = cache(&options_in(folder.path()));
        is_without(&cache, "os error 30");
        mount_tmpfs(folder.path(), libc::MS_REMOUNT, "size=16m");
        comes_back(&cache, &time);
    });
}

/// Gives up root for the user `nobody`.
fn become_nobody() {
    // SAFETY: bare system calls on this process alone.
    assert_eq!(unsafe { (libc::setgid(65534), libc::setuid(65534)) }, (0, 0));
}

#[test]
fn a_folder_that_the_user_may_not_write_is_refused() {
    let _alone = traced::alone();
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    in_child(|| {
        become_nobody();
        let error = Store::open(&options_in(folder.path()), Clock::system()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        is_without(&cache(&options_in(folder.path())).0, "os error 13");
    });
}

#[test]
fn what_another_user_made_in_a_sticky_folder_is_refused_and_left_alone() {
    let _alone = traced::alone();
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    in_child(|| {
        become_nobody();
        put(&open(&options_in(folder.path())), b"k", b"theirs");
    });
    let options = options_in(folder.path());
    let before = fs::read(folder.path().join("store/l2.data")).unwrap();
    let error = Store::open(&options, Clock::system()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    is_without(&cache(&options).0, "store");
    assert!(fs::read(folder.path().join("store/l2.data")).unwrap() == before);
    // The folder one's own, a file in it of another.
    let text = text(&folder.path().join("store"));
    // SAFETY: a null-terminated path.
    assert_eq!(unsafe { libc::chown(text.as_ptr(), 0, 0) }, 0);
    let error = Store::open(&options, Clock::system()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(fs::read(folder.path().join("store/l2.data")).unwrap() == before);
}

/// Sets how high this process's descriptors may be.
fn limit_descriptors(most: u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: memory for the answer, then a valid limit for this process alone.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit), 0);
        limit.rlim_cur = most;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0);
    }
}

#[test]
fn without_descriptors_the_store_is_off_and_rarely_tried() {
    let _alone = traced::alone();
    let folder = tempfile::tempdir().unwrap();
    in_child(|| {
        let options = options_in(folder.path());
        limit_descriptors(3);
        let (cache, time) = cache(&options);
        limit_descriptors(200);
        // Health is asked for with descriptors; the store was not tried again meanwhile.
        is_without(&cache, "os error 24");
        for _ in 0..10_000 {
            assert_eq!(cache.get("nothing"), None);
        }
        assert!(reason(&cache).is_some_and(|reason| reason.contains("os error 24")));
        assert_eq!(cache.stats().tier(TierKind::Shared).unwrap().errors_total(), 1);
        comes_back(&cache, &time);
    });
}

/// A memory control group with a limit; removed when dropped.
struct ControlGroup(std::path::PathBuf);

impl ControlGroup {
    /// Makes one, or `None` where that is not allowed.
    fn new(bytes: u64) -> Option<Self> {
        let name = format!("tierce-test-{}", std::process::id());
        for (root, limit) in
            [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")]
        {
            let group = Self(Path::new(root).join(&name));
            let made = fs::create_dir(&group.0).is_ok();
            if made && fs::write(group.0.join(limit), bytes.to_string()).is_ok() {
                return Some(group);
            }
        }
        None
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn a_store_above_the_memory_of_the_control_group_is_refused_before_it_is_allocated() {
    let _alone = traced::alone();
    let Some(group) = ControlGroup::new(64 << 20) else {
        println!("left out: no control group may be made");
        return;
    };
    let shm = Path::new("/dev/shm");
    if !shm.is_dir() {
        println!("left out: no /dev/shm");
        return;
    }
    let folder = tempfile::Builder::new().prefix("tierce-test-").tempdir_in(shm).unwrap();
    in_child(|| {
        fs::write(group.0.join("cgroup.procs"), std::process::id().to_string()).unwrap();
        let options = options_in(folder.path()).max_bytes(200 << 20);
        let error = Store::open(&options, Clock::system()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Full, "{error}");
        is_without(&cache(&options).0, "67108864");
        let store = open(&options.max_bytes(16 << 20));
        put(&store, b"k", b"v");
    });
}

#[test]
fn a_store_that_was_removed_or_replaced_is_left_for_the_new_one_within_a_second() {
    let _alone = traced::alone();
    for replace in [false, true] {
        let (folder, options) = small_store(Medium::Mapped);
        let ((first, one), (second, two)) = (cache(&options), cache(&options));
        first.set("k", "old".into()).unwrap();
        assert_eq!(second.get("k").as_deref(), Some(&b"old"[..]));
        fs::remove_dir_all(folder.path().join("store")).unwrap();
        if replace {
            put(&open(&options), b"other", b"1");
        }
        let agree = (0..200).any(|round| {
            one.advance(Duration::from_millis(20));
            two.advance(Duration::from_millis(20));
            let value = format!("new {round}");
            first.set("k", value.clone().into()).unwrap();
            std::thread::sleep(Duration::from_millis(5));
            let is_seen = second.get("k").as_deref() == Some(value.as_bytes());
            is_seen && folder.path().join("store/l2.data").exists() && reason(&first).is_none()
        });
        assert!(agree, "replaced {replace}: {:?}, {:?}", reason(&first), reason(&second));
    }
}
