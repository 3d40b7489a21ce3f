//! File bytes per live byte: what the files take, by the keys and values that can be read.
//!
//! Our store is looked at after three times its size was put, so with all that eviction leaves
//! behind; the rivals right after they were filled, with the sizes that ours had.

use fastrand::Rng;
use tierce::{Medium, Store};
use tierce_benches::{
    arguments::Arguments,
    results::{Cell, Row},
};

use super::{
    data::{KEY_BYTES, Request, SEED, Value},
    folder::{Ground, allocated_bytes},
    rivals::{FJALL, Fault, LMDB, LMDB_WRITEMAP, OURS, Ours, REDB, Rival, SQLITE, Setup, open},
};

/// Those whose files grow with what is in them.
const RIVALS: [&str; 5] = [LMDB, LMDB_WRITEMAP, REDB, FJALL, SQLITE];

/// Values whose sizes have evenly spread logarithms.
struct Mix {
    name: &'static str,
    least: usize,
    most: usize,
    store_bytes: usize,
}

const MIXES: [Mix; 2] = [
    Mix { name: "100B-10MiB", least: 100, most: 10 << 20, store_bytes: 1 << 30 },
    Mix { name: "100B-64KiB", least: 100, most: 64 << 10, store_bytes: 256 << 20 },
];

impl Mix {
    /// The size of a number's value.
    fn size_of(&self, number: u32) -> usize {
        let mut random = Rng::with_seed(SEED ^ u64::from(number));
        let (least, most) = ((self.least as f64).ln(), (self.most as f64).ln());
        (least + random.f64() * (most - least)).exp() as usize
    }

    /// The mean size.
    fn mean_size(&self) -> usize {
        let (least, most) = (self.least as f64, self.most as f64);
        ((most - least) / (most / least).ln()) as usize
    }

    /// The entries of so many bytes.
    fn entries(&self, bytes: usize) -> usize {
        bytes / (self.mean_size() + KEY_BYTES)
    }

    /// Sizes by number until they are so many bytes.
    fn numbers(&self, bytes: usize) -> impl Iterator<Item = (u32, usize)> {
        let mut sum = 0;
        (0..).map(|number| (number, self.size_of(number))).take_while(move |(_, size)| {
            sum += size;
            sum < bytes
        })
    }
}

/// Measures all.
///
/// # Errors
/// If a store cannot be set up.
pub(super) fn measure(arguments: &Arguments) -> Result<Vec<Cell>, String> {
    let mut cells = vec![];
    for mix in MIXES {
        let name = format!("file-by-live/{}", mix.name);
        if !arguments.wants(&name) {
            continue;
        }
        eprintln!("{name}");
        let bytes = if arguments.quick { mix.store_bytes / 4 } else { mix.store_bytes };
        let mut rows = vec![Row::of(OURS, vec![of_ours(&mix, bytes)?])];
        for rival in RIVALS.iter().filter(|rival| arguments.rivals.contains(rival)) {
            let figure = of_rival(&mix, rival, bytes / 2);
            rows.push(Row::of(rival, vec![figure.map_err(|error| format!("{rival}: {error}"))?]));
        }
        cells.push(Cell { name, rows });
    }
    Ok(cells)
}

fn of_ours(mix: &Mix, bytes: usize) -> Result<f64, String> {
    let folder = Ground::Memory.folder()?;
    let mut ours =
        Ours::sized(folder.path(), bytes, 2 * mix.entries(bytes)).map_err(|e| e.to_string())?;
    let mut values = Value::up_to(mix.most);
    let mut last = 0;
    ours.fill(&mut mix.numbers(3 * bytes).inspect(|(number, _)| last = *number), &mut values);
    let live: usize = (0..=last).map(|number| live_bytes(&ours.store, number)).sum();
    let file = allocated_bytes(folder.path()).map_err(|error| error.to_string())?;
    Ok(file as f64 / live as f64)
}

/// The bytes of key and value, if they are there.
fn live_bytes(store: &Store, number: u32) -> usize {
    let request = Request::new(number);
    let found = store.get(store.hash(&request.key), &request.key).ok().flatten();
    found.map_or(0, |record| KEY_BYTES + record.value.len())
}

fn of_rival(mix: &Mix, name: &str, bytes: usize) -> Result<f64, Fault> {
    let folder = Ground::Memory.folder()?;
    let setup = Setup {
        folder: folder.path(),
        entries: mix.entries(bytes),
        value_bytes: mix.mean_size(),
        medium: Medium::Auto,
        mapped_reads: false,
    };
    let mut rival = open(name, &setup)?;
    let mut live = 0;
    let mut numbers = mix.numbers(bytes).inspect(|(_, size)| live += KEY_BYTES + size);
    rival.fill(&mut numbers, &mut Value::up_to(mix.most));
    drop(numbers);
    // Files are as they stay when their user is done.
    drop(rival);
    Ok(allocated_bytes(folder.path())? as f64 / live as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_within_their_bounds_and_have_their_mean() {
        for mix in MIXES {
            let sizes: Vec<usize> = (0..20_000).map(|number| mix.size_of(number)).collect();
            assert!(sizes.iter().all(|size| (mix.least..=mix.most).contains(size)));
            let mean = sizes.iter().sum::<usize>() as f64 / sizes.len() as f64;
            let expected = mix.mean_size() as f64;
            assert!((mean / expected - 1.0).abs() < 0.05, "{mean} beside {expected}");
            let sum: usize = mix.numbers(100 << 20).map(|(_, size)| size).sum();
            assert!(sum < 100 << 20 && sum > 88 << 20, "{sum}");
        }
    }
}
