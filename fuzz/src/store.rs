//! Random operations on a real store file, with random damage to its bytes in between.
//!
//! A value names its key and version, so that every read is judged by itself: it is a right value
//! of the key, or a miss. While the file is sound, it is the version that a plain model holds, and
//! the file walks clean. Damage is never done to the lock file, whose mutexes hold pointers of the
//! C library, and never makes the file shorter while it is mapped.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
    time::Duration,
};

use tierce::{
    Clock, ErrorKind, ManualClock, Medium, Millis, NewRecord, Put, Store, StoreFill, StoreOptions,
    StoreToken,
};

use crate::source::Source;

const KEYS: u64 = 300;
/// Bytes that damage likes: regions with state, the segment table and the index come first.
const HEAD_BYTES: u64 = 320 << 10;

struct World {
    folder: tempfile::TempDir,
    options: StoreOptions,
    clock: Clock,
    time: ManualClock,
    store: Store,
    file: File,
    /// Version and end of each key's value.
    model: HashMap<u64, (u64, Millis)>,
    tokens: Vec<(u64, StoreToken)>,
    version: u64,
    /// Bytes were damaged since the file was made.
    is_damaged: bool,
}

/// Does operations on one store as the source says, and returns how many.
pub(crate) fn run(source: &mut Source<'_>) -> u64 {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let (medium, mapped_reads) = source.one_of(&[
        (Medium::Mapped, false),
        (Medium::Mapped, false),
        (Medium::Disk, false),
        (Medium::Disk, true),
    ]);
    let options = StoreOptions::new(folder.path().join("store"))
        .max_bytes(1 << 20)
        .segment_bytes(16 << 10)
        .max_entries(source.one_of(&[50, 1000]))
        .medium(medium)
        .mapped_reads(mapped_reads);
    let (clock, time) = Clock::manual();
    let store = open(&options, &clock);
    let file = data_file(folder.path());
    let mut world = World {
        folder,
        options,
        clock,
        time,
        store,
        file,
        model: HashMap::new(),
        tokens: Vec::new(),
        version: 0,
        is_damaged: false,
    };
    // Half of the stores stay sound, so that the model has something to say.
    let may_damage = source.once_in(2);
    let mut operations = 0;
    while source.goes_on() {
        world.step(source, may_damage);
        operations += 1;
    }
    world.walk();
    operations
}

fn open(options: &StoreOptions, clock: &Clock) -> Store {
    Store::open(options, clock.clone()).expect("a store that nobody else has open")
}

fn data_file(folder: &Path) -> File {
    let path = folder.join("store/l2.data");
    OpenOptions::new().read(true).write(true).open(path).expect("the file of an open store")
}

fn key_of(number: u64) -> Vec<u8> {
    let mut key = format!("key {number} ").into_bytes();
    key.resize(key.len() + number as usize % 50, b'.');
    key
}

/// At least 24 bytes, of which every one depends on key, version and length.
fn value_of(number: u64, version: u64, bytes: usize) -> Vec<u8> {
    let mut value = [number, version, bytes as u64].map(u64::to_le_bytes).concat();
    let mut random = fastrand::Rng::with_seed(number << 32 ^ version);
    value.resize_with(bytes.max(24), || random.u8(..));
    value
}

/// The head of the record with this version; none in every other one.
fn head_of(version: u64) -> Vec<u8> {
    version.to_le_bytes().repeat((version % 2 * (version / 2 % 255 + 1)) as usize)
}

/// The version that a value of this key names, if it is one from end to end.
fn version_of(number: u64, value: &[u8]) -> Option<u64> {
    let word = |at: usize| Some(u64::from_le_bytes(value.get(at..at + 8)?.try_into().ok()?));
    let (version, bytes) = (word(8)?, word(16)?);
    let bytes = usize::try_from(bytes).ok().filter(|bytes| (*bytes).max(24) == value.len())?;
    (value_of(number, version, bytes) == value).then_some(version)
}

impl World {
    fn step(&mut self, source: &mut Source<'_>, may_damage: bool) {
        let number = source.below(KEYS);
        match source.below(100) {
            0..35 => self.get(number),
            35..65 => self.put(source, number),
            65..73 => self.delete(number),
            73..78 => {
                let token = self.store.token(self.store.hash(&key_of(number)));
                self.tokens.push((number, token));
            }
            78..85 => self.fill(source),
            85 => self.expire(number),
            86..90 => self.time.advance(Duration::from_millis(source.below(3000))),
            90 => {
                self.store.clear();
                self.model.clear();
            }
            91 | 92 => self.reopen(),
            93 => self.walk(),
            _ if may_damage => self.damage(source),
            _ => self.get(number),
        }
    }

    /// Judges what was found of a key.
    fn judge(&mut self, number: u64, found: Option<(&[u8], Millis)>) {
        let Some((value, expires_at)) = found else { return };
        let version = version_of(number, value).expect("a right value of the key");
        assert!(expires_at > self.clock.boot(), "an expired value");
        // A damaged epoch may bring a record back that was ended.
        if !self.is_damaged {
            let known = self.model.get(&number).copied();
            assert_eq!(Some((version, expires_at)), known, "key {number}");
        }
    }

    fn get(&mut self, number: u64) {
        let key = key_of(number);
        let found = self.store.get(self.store.hash(&key), &key).expect("a file of full length");
        if let Some(found) = &found
            && !found.head().is_empty()
        {
            let version = version_of(number, &found.value).expect("a right value of the key");
            assert_eq!(found.head(), head_of(version), "the head of another record");
        }
        self.judge(number, found.as_ref().map(|found| (&found.value[..], found.expires_at)));
    }

    fn bytes(&self, source: &mut Source<'_>) -> usize {
        let most = source.one_of(&[30, 200, 200, 2000, 2000, 40_000]);
        source.below(most) as usize
    }

    fn put(&mut self, source: &mut Source<'_>, number: u64) {
        self.version += 1;
        let (key, value) = (key_of(number), value_of(number, self.version, self.bytes(source)));
        let expires_at = match source.below(4) {
            0 => self.clock.boot().after(Duration::from_millis(1 + source.below(20_000))),
            _ => Millis::NEVER,
        };
        let hash = self.store.hash(&key);
        let before = self.store.token(hash);
        let expect = source.once_in(2).then_some(before);
        let head = head_of(self.version);
        let record = NewRecord {
            stale: Duration::from_millis(source.below(10_000)),
            made_at: self.clock.boot(),
            head: &head,
            ..NewRecord::new(&value, 0, expires_at)
        };
        match self.store.put(hash, &key, record, expect) {
            Put::Stored { stamp } => {
                assert_ne!(stamp, before.stamp);
                self.model.insert(number, (self.version, expires_at));
            }
            Put::Removed { why, .. } => {
                assert!(self.is_damaged, "a put of {} bytes was dropped: {why:?}", value.len());
                self.model.remove(&number);
            }
        }
    }

    /// Ends the freshness of a key: its record stays until its end, or is gone.
    fn expire(&mut self, number: u64) {
        let key = key_of(number);
        let hash = self.store.hash(&key);
        let before = self.store.token(hash).stamp;
        assert_ne!(self.store.expire(hash, &key), before);
        let found = self.store.get(hash, &key).expect("a file of full length");
        if let Some(found) = &found {
            assert!(found.is_stale(self.clock.boot()), "key {number} is fresh after it expired");
            self.judge(number, Some((&found.value, found.expires_at)));
        } else {
            self.model.remove(&number);
        }
    }

    fn delete(&mut self, number: u64) {
        let key = key_of(number);
        let hash = self.store.hash(&key);
        let before = self.store.token(hash).stamp;
        assert_ne!(self.store.delete(hash, &key), before);
        self.model.remove(&number);
        let found = self.store.get(hash, &key).expect("a file of full length");
        assert_eq!(found, None, "key {number} was deleted");
    }

    fn fill(&mut self, source: &mut Source<'_>) {
        if self.tokens.is_empty() {
            return;
        }
        let (number, token) =
            self.tokens.swap_remove(source.below(self.tokens.len() as u64) as usize);
        self.version += 1;
        let (key, value) = (key_of(number), value_of(number, self.version, self.bytes(source)));
        let hash = self.store.hash(&key);
        let is_current = self.store.token(hash) == token;
        let record = NewRecord::new(&value, 0, Millis::NEVER);
        match self.store.fill(hash, &key, record, token) {
            StoreFill::Stored | StoreFill::Replaced(_) => {
                assert!(is_current, "a fill under a token that was over");
                self.model.insert(number, (self.version, Millis::NEVER));
            }
            StoreFill::Adopted(found) => {
                self.judge(number, Some((&found.value[..], found.expires_at)));
            }
            StoreFill::Refused => assert!(!is_current),
            StoreFill::Dropped(why) => assert!(self.is_damaged, "a fill was dropped: {why:?}"),
        }
    }

    /// Closes the store and opens it again: a first opener checks and repairs.
    fn reopen(&mut self) {
        // The old one is closed first, by one that takes its place for the moment.
        let aside = tempfile::tempdir().expect("a folder for temporary files");
        let options = StoreOptions::new(aside.path().join("store")).max_bytes(1 << 20);
        self.store = open(&options, &self.clock);
        self.store = match Store::open(&self.options, self.clock.clone()) {
            // Damage made it one of a later version, which is for somebody else to read or to remove.
            Err(error) if error.kind() == ErrorKind::Version && self.is_damaged => {
                let store = self.folder.path().join("store");
                std::fs::remove_dir_all(store).expect("a folder of our own");
                open(&self.options, &self.clock)
            }
            opened => opened.expect("a store that nobody else has open"),
        };
        // The old file is still open here, so a new one cannot have its number.
        let file = data_file(self.folder.path());
        let number = |file: &File| file.metadata().expect("an open file").ino();
        if number(&file) != number(&self.file) {
            self.is_damaged = false;
            self.model.clear();
            // Tokens of the old file say nothing about the new one.
            self.tokens.clear();
        }
        self.file = file;
    }

    fn walk(&mut self) {
        let check = self.store.validate().expect("a file of full length");
        self.store.usage();
        if !self.is_damaged {
            let wrong = (check.corrupt, check.doubled, check.broken_segments);
            assert_eq!(wrong, (0, 0, 0), "{check:?}");
            assert_eq!(self.store.statistics().corrupt, 0);
        }
    }

    fn damage(&mut self, source: &mut Source<'_>) {
        self.is_damaged = true;
        let end = self.file.metadata().expect("an open file").len();
        let region = source.one_of(&[HEAD_BYTES, end, end]).min(end);
        let at = (source.below(1 << 16) << 16 | source.below(1 << 16)) % region;
        let most = (end - at).min(source.one_of(&[1, 8, 64, 4096])) as usize;
        let mut bytes = vec![0; most];
        self.file.read_exact_at(&mut bytes, at).expect("within the file");
        match source.below(5) {
            0 | 1 => bytes[0] ^= 1 << source.below(8),
            2 => bytes.fill(source.one_of(&[0, 0xff])),
            3 => bytes.iter_mut().for_each(|byte| *byte = source.below(256) as u8),
            // What lies elsewhere: a record or a slot in the wrong place.
            _ => {
                let from =
                    (source.below(1 << 16) << 16 | source.below(1 << 16)) % (end - most as u64 + 1);
                self.file.read_exact_at(&mut bytes, from).expect("within the file");
            }
        }
        self.file.write_all_at(&bytes, at).expect("a file that is allocated");
    }
}
