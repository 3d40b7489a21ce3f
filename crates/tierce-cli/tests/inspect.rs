//! `tierce inspect` on stores that real processes made, used, died over, or that were damaged.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests are tests")]

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    os::unix::fs::FileExt,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

#[path = "support/stores.rs"]
mod stores;
mod support;
use serde_json::Value;
use stores::{KEYS, User, Work, data};
use support::{fail, holds, run, succeed, tierce};
use tierce::{Medium, StoreInspection, StoreSeverity};

const MEDIA: [Medium; 2] = [Medium::Mapped, Medium::Disk];
const SEED: u64 = 0x7134_c0de;

#[test]
fn child_process() {
    stores::be_child();
}

/// The command on a store or file.
fn inspect(file: &Path, more: &[&str]) -> std::process::Command {
    let mut command = tierce([OsStr::new("inspect"), file.as_os_str()]);
    command.args(more);
    command
}

fn json(file: &Path, more: &[&str]) -> Value {
    let out = succeed(&mut inspect(file, &[&["--json"], more].concat()));
    serde_json::from_str(&out).unwrap()
}

/// A store that a child filled before it was killed.
fn left_store(medium: Medium) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    User::start(folder.path(), medium, Work::Rest).kill();
    folder
}

/// A store of the smallest size that this process filled and closed: many looks take little.
fn small_store(medium: Medium) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let options = stores::small_options(folder.path(), medium);
    let store = tierce::Store::open(&options, tierce::Clock::system()).unwrap();
    (0..1000).for_each(|number| stores::put(&store, number, 0));
    folder
}

/// What the library finds; panics of it are panics here.
fn contents(file: &Path) -> tierce::Result<tierce::StoreContents> {
    StoreInspection::open(file, tierce::Clock::system())?.contents(true)
}

#[test]
fn users_counters_and_contents_add_up_with_what_the_store_says_itself() {
    for medium in MEDIA {
        let folder = tempfile::tempdir().unwrap();
        let store = stores::open(folder.path(), medium);
        let living = User::start(folder.path(), medium, Work::Rest);
        let dead = User::start(folder.path(), medium, Work::Rest);
        let dead_process = dead.process();
        dead.kill();
        (0..10).for_each(|number| stores::get(&store, number));

        let told = json(&data(folder.path()), &["--check"]);
        let (usage, check, counted) =
            (store.usage(), store.validate().unwrap(), store.statistics());
        let users = &told["users"];
        assert_eq!(users["in_use"], true);
        for (name, number) in counted.named() {
            assert_eq!(users["total"][name], number, "{name}");
        }
        assert!(counted.hits >= 10 && counted.puts == 2 * KEYS, "{counted:?}");
        let slots = users["slots"].as_array().unwrap();
        let alive: Vec<_> = slots.iter().map(|slot| slot["alive"].as_bool().unwrap()).collect();
        assert_eq!(alive, [true, true, false], "{users}");
        assert_eq!(slots[1]["statistics"]["puts"], KEYS);
        assert_eq!(slots[2]["statistics"]["puts"], KEYS);
        let process = |slot: &Value| {
            let processes = users["processes"].as_array().unwrap();
            let of_slot = processes.iter().find(|process| process["slot"] == slot["slot"]);
            of_slot.map(|process| process["process"].as_u64().unwrap())
        };
        let ids = [Some(std::process::id()), Some(living.process()), None];
        assert_eq!([0, 1, 2].map(|slot| process(&slots[slot])), ids.map(|id| id.map(u64::from)));
        assert!(!users["processes"].to_string().contains(&dead_process.to_string()));

        assert_eq!(
            told["header"]["medium"],
            if medium == Medium::Disk { "disk" } else { "mapped" }
        );
        assert_eq!(told["header"]["max_entries"], usage.max_entries);
        assert_eq!(told["header"]["data_bytes"], usage.max_bytes);
        assert_eq!(told["state"]["entries"], usage.entries);
        assert_eq!(told["state"]["live_bytes"], usage.bytes);
        let found = &told["contents"];
        assert_eq!(found["live_entries"], check.live);
        assert_eq!(found["slots"]["live"], check.live);
        assert_eq!(found["slots"]["used"], check.slots);
        assert_eq!(found["records"], check.records);
        assert!(found["large_entries"].as_u64().unwrap() > 0);
        for rows in ["value_bytes", "writes_since"] {
            let rows = found[rows].as_array().unwrap().iter();
            let sum: u64 = rows.map(|row| row["count"].as_u64().unwrap()).sum();
            assert_eq!(sum, check.live);
        }
        let free = |of: &Value| of["state"] == "free";
        let segments = told["segments"].as_array().unwrap();
        assert_eq!(segments.iter().filter(|one| free(one)).count() as u32, check.free_segments);
        let used: u64 = segments.iter().map(|one| one["used_bytes"].as_u64().unwrap()).sum();
        let sum = |name: &str| found[name].as_u64().unwrap();
        assert_eq!(sum("live_bytes") + sum("dead_bytes"), used);
        assert_eq!(told["check"]["right"], check.records);
        assert_eq!((&told["check"]["wrong"], &told["damages"]), (&0.into(), &0.into()));
    }
}

#[test]
fn an_inspection_changes_no_byte_and_no_time_of_a_file() {
    let folder = left_store(Medium::Mapped);
    let files = [data(folder.path()), folder.path().join("store/l2.lock")];
    let state = || {
        files.clone().map(|file| {
            (fs::read(&file).unwrap(), fs::metadata(&file).unwrap().modified().unwrap())
        })
    };
    let before = state();
    succeed(&mut inspect(folder.path().join("store").as_path(), &["--check"]));
    assert!(before == state());
}

#[test]
fn the_text_names_what_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let user = User::start(folder.path(), Medium::Mapped, Work::Rest);
    let file = data(folder.path());
    let out = succeed(&mut inspect(&file, &["--check"]));
    let process = user.process().to_string();
    holds(&out, &[&*file.to_string_lossy(), ": a store, in use", "alive", &process]);
    holds(&out, &["format      4.0", "schema 0", "mapped", "slots used", "0 wrong; 0 sets full"]);
    holds(&out, &["records: ", " right, 0 wrong", "for ever", "under 10 min", "sealed"]);
    user.kill();
    let out = succeed(&mut inspect(&file, &[]));
    holds(&out, &[": a store, not in use", "gone", "values not verified"]);
}

#[test]
fn nothing_is_wrong_with_a_store_that_is_written_meanwhile() {
    for medium in MEDIA {
        let folder = tempfile::tempdir().unwrap();
        let _users = [0, 1].map(|_| User::start(folder.path(), medium, Work::Toil));
        for round in 0..8 {
            let told = json(&data(folder.path()), &["--check"]);
            assert_eq!(told["damages"], 0, "{medium:?} {round} {}", told["findings"]);
            assert_eq!(told["users"]["in_use"], true);
            assert!(told["check"]["right"].as_u64().unwrap() > 500, "{}", told["check"]);
        }
    }
}

#[test]
fn nothing_is_wrong_with_a_store_whose_writers_were_killed() {
    for medium in MEDIA {
        let folder = tempfile::tempdir().unwrap();
        for round in 0..8 {
            let users = [0, 1].map(|_| User::start(folder.path(), medium, Work::Toil));
            std::thread::sleep(Duration::from_millis(20 + round * 3));
            users.into_iter().for_each(User::kill);
            let told = json(&data(folder.path()), &["--check"]);
            assert_eq!(told["damages"], 0, "{medium:?} {round} {}", told["findings"]);
            assert_eq!(told["users"]["in_use"], false);
        }
    }
}

#[test]
fn what_changes_between_two_looks_at_a_store_in_use_is_not_called_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let store = stores::open(folder.path(), Medium::Mapped);
    stores::put(&store, 1, 0);
    let path = data(folder.path());
    let (_, start, ..) = segments(&path, "active")[0];
    let file = writable(&path);
    file.write_all_at(&[0; 8], start + 56).unwrap();
    assert_eq!(contents(&path).unwrap().damages, 1);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // The checksum is wrong at every moment, and another one at the next.
        scope.spawn(|| {
            let mut random = fastrand::Rng::with_seed(SEED);
            while !is_over.load(Ordering::Relaxed) {
                file.write_all_at(&random.u64(..).to_ne_bytes(), start + 56).unwrap();
            }
        });
        // The thread may not run between two looks, but not every time.
        let is_quiet = (0..200).any(|_| contents(&path).unwrap().damages == 0);
        is_over.store(true, Ordering::Relaxed);
        assert!(is_quiet);
    });
    assert_eq!(contents(&path).unwrap().damages, 1, "it stays wrong");
}

/// The segments of this state with records: number, first byte, used, generation.
fn segments(file: &Path, state: &str) -> Vec<(u64, u64, u64, u64)> {
    let told = json(file, &[]);
    let number = |value: &Value| value.as_u64().unwrap();
    let (data_at, bytes) =
        (number(&told["header"]["data_at"]), number(&told["header"]["segment_bytes"]));
    let segments = told["segments"].as_array().unwrap().iter();
    let segments = segments.filter(|one| one["state"] == state && number(&one["used_bytes"]) > 0);
    let segments = segments.map(|one| {
        let at = number(&one["number"]);
        let start = data_at + at * bytes;
        (at, start, number(&one["used_bytes"]), number(&one["generation"]))
    });
    segments.collect()
}

#[test]
fn a_record_that_a_killed_writer_left_unfinished_is_told_apart_from_damage() {
    let folder = left_store(Medium::Mapped);
    let file = data(folder.path());
    let (segment, start, used, generation) = segments(&file, "active")[0];
    // As far as a writer comes that is killed before the first word: words 1 to 7.
    let words = [40, 7, generation, 1, u64::MAX, 0, 9];
    let bytes: Vec<u8> = words.iter().flat_map(|word: &u64| word.to_ne_bytes()).collect();
    let writable = OpenOptions::new().write(true).open(&file).unwrap();
    writable.write_all_at(&bytes, start + used + 8).unwrap();
    let told = json(&file, &["--check"]);
    assert_eq!((&told["check"]["torn"], &told["damages"]), (&1.into(), &0.into()));
    let finding = &told["findings"][0];
    assert_eq!((&finding["severity"], &finding["place"]), (&"torn".into(), &"record".into()));
    assert_eq!(finding["position"], start + used);
    assert_eq!(finding["where"], format!("record in segment {segment}"));
}

/// Changes a byte, runs, changes it back.
fn flipped<T>(file: &File, at: u64, mask: u8, look: impl FnOnce() -> T) -> T {
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ mask], at).unwrap();
    let seen = look();
    file.write_all_at(&byte, at).unwrap();
    seen
}

fn writable(file: &Path) -> File {
    OpenOptions::new().read(true).write(true).open(file).unwrap()
}

/// The records of a segment by walking lengths: position, bytes of the key, and end.
fn records(file: &File, start: u64, used: u64) -> Vec<(u64, u64, u64)> {
    let mut found = Vec::new();
    let mut at = start;
    while at < start + used {
        let mut bytes = [0; 12];
        file.read_exact_at(&mut bytes, at).unwrap();
        let word = |at: usize| u64::from(u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap()));
        let (key, value) = (word(4), word(8));
        found.push((at, key, at + 64 + key.next_multiple_of(8) + value));
        at = (at + 64 + key.next_multiple_of(8) + value).next_multiple_of(16);
    }
    found
}

#[test]
fn every_flipped_bit_of_a_record_is_found_where_it_is() {
    println!("seed {SEED}");
    let mut random = fastrand::Rng::with_seed(SEED);
    let folder = small_store(Medium::Mapped);
    let path = data(folder.path());
    let file = writable(&path);
    let mut records: Vec<_> = segments(&path, "sealed")
        .into_iter()
        .flat_map(|(segment, start, used, _)| {
            records(&file, start, used).into_iter().map(move |record| (segment, record))
        })
        .collect();
    // A piece of a large value is told twice: where it is, and where its list is.
    records.retain(|(_, (position, key, end))| *key > 0 && end - position < 4096);
    assert!(records.len() > 100);
    let whole = contents(&path).unwrap();
    assert_eq!(whole.damages, 0);
    for round in 0..240 {
        let (segment, (position, key, end)) = records[random.usize(..records.len())];
        // The padding of keys is of no meaning.
        let at = match round % 3 {
            0 => position + random.u64(..64),
            1 => position + 64 + random.u64(..key),
            _ => end - 1 - random.u64(..32),
        };
        let mask = 1 << random.u8(..8);
        let found = flipped(&file, at, mask, || contents(&path).unwrap());
        let place = tierce::StorePlace::Record { segment: segment as u32 };
        let is_told = found.findings.iter().any(|finding| {
            finding.place == place
                && finding.position == position
                && finding.severity == StoreSeverity::Damage
        });
        assert!(is_told, "byte {at} of the record at {position}: {:?}", found.findings);
        // A bent length hides no other record but those it runs over.
        assert_eq!(found.wrong, 1, "{:?}", found.findings);
        assert!(found.live_entries >= whole.live_entries - 1, "{found:?}");
    }
    let (segment, (position, ..)) = records[7];
    let (code, out, err) =
        flipped(&file, position + 20, 1, || run(&mut inspect(&path, &["--check"])));
    assert_eq!((code, err.as_str()), (1, ""));
    let line = format!("damage: record in segment {segment}, byte {position}: its checksum is 0x");
    holds(&out, &[&line, ", 1 wrong", "damaged in 1 places"]);
    succeed(&mut inspect(&path, &["--check"]));
}

#[test]
fn flipped_bits_of_the_index_and_the_segment_table_are_found() {
    println!("seed {SEED}");
    let mut random = fastrand::Rng::with_seed(SEED);
    let folder = small_store(Medium::Mapped);
    let path = data(folder.path());
    let (segment, start, _, _) = segments(&path, "sealed")[0];
    let file = writable(&path);
    let told = json(&path, &[]);
    let slots = told["header"]["slots"].as_u64().unwrap();
    // A set is 16 slots and 16 bytes of ghosts; the ghosts come after all sets.
    let index = told["header"]["data_at"].as_u64().unwrap() - (slots * 9).next_multiple_of(65536);
    let mut tried = 0;
    for slot in 0..slots {
        let at = index + slot * 8;
        let mut word = [0; 8];
        file.read_exact_at(&mut word, at).unwrap();
        if u64::from_ne_bytes(word) == 0 || random.u8(..4) > 0 {
            continue;
        }
        // Bits 42 to 63 are the tag, bits 36 to 39 lead far out of a small file.
        let bit = if tried % 2 == 0 { random.u64(42..64) } else { random.u64(36..40) };
        let found = flipped(&file, at + bit / 8, 1 << (bit % 8), || contents(&path).unwrap());
        let place = tierce::StorePlace::Slot { set: slot / 16, slot: (slot % 16) as u32 };
        let is_told = found.findings.iter().any(|one| one.place == place && one.position == at);
        assert!(is_told, "bit {bit} of slot {slot}: {:?}", found.findings);
        tried += 1;
        if tried == 60 {
            break;
        }
    }
    assert_eq!(tried, 60);

    let entry = 2 * 65536 + segment * 64;
    assert!(told["header"]["shards"].as_u64().unwrap() > 1);
    // Generation, state (beyond what there is), owner (beyond, and another), used, deadline.
    let changes = (0..8).chain([8, 10, 11]).chain(16..20).map(|at| (at, Some(0x44)));
    let changes = changes.chain([(10, Some(1))]).chain((24..28).map(|at| (at, None)));
    for (at, mask) in changes {
        let mut byte = [0];
        file.read_exact_at(&mut byte, entry + at).unwrap();
        // A deadline that is too late does nothing but keep the segment for longer.
        let mask = mask.unwrap_or(byte[0]);
        if mask == 0 {
            continue;
        }
        let found = flipped(&file, entry + at, mask, || contents(&path).unwrap());
        assert!(found.damages > 0, "byte {at} of the entry");
        let near = |finding: &tierce::StoreFinding| match finding.place {
            tierce::StorePlace::Segment(number) => u64::from(number) == segment,
            tierce::StorePlace::Record { .. } => {
                (start..start + (16 << 10)).contains(&finding.position)
            }
            _ => false,
        };
        assert!(found.findings.iter().any(near), "byte {at}: {:?}", found.findings);
    }
    assert_eq!(contents(&path).unwrap().damages, 0);
}

#[test]
fn flips_and_garbage_anywhere_are_no_crash() {
    println!("seed {SEED}");
    let mut random = fastrand::Rng::with_seed(SEED);
    let folder = small_store(Medium::Mapped);
    let path = data(folder.path());
    let file = writable(&path);
    let bytes = fs::metadata(&path).unwrap().len();
    let mut refused = 0;
    for _ in 0..60 {
        let mut garbage = [0; 64];
        random.fill(&mut garbage);
        // Flips stay: the file gets worse and worse. The header page is the next test's.
        for _ in 0..200 {
            let at = random.u64(4096..bytes - 64);
            file.write_all_at(&garbage[..random.usize(1..64)], at).unwrap();
        }
        let from = [65536, 2 * 65536, 3 * 65536][random.usize(..3)];
        file.write_all_at(&garbage, from + random.u64(..4096)).unwrap();
        match contents(&path) {
            Ok(found) => assert!(found.damages > 0),
            Err(_) => refused += 1,
        }
    }
    assert_eq!(refused, 0, "a sound header is enough to look");
    let (code, _, err) = run(&mut inspect(&path, &["--check", "--json"]));
    assert_eq!((code, err.as_str()), (1, ""));
}

#[test]
fn any_flip_of_the_header_is_refused_with_value_and_rule() {
    let folder = small_store(Medium::Mapped);
    let path = data(folder.path());
    let file = writable(&path);
    for at in (0..160).chain(4000..4096) {
        let error = flipped(&file, at, 0x10, || contents(&path).unwrap_err()).to_string();
        assert!(error.starts_with(&*path.to_string_lossy()), "{error}");
    }
    let refused = |at, bytes: &[u8]| {
        let mut before = vec![0; bytes.len()];
        file.read_exact_at(&mut before, at).unwrap();
        file.write_all_at(bytes, at).unwrap();
        let text = fail(&mut inspect(&path, &["--check"]), 1);
        file.write_all_at(&before, at).unwrap();
        text
    };
    holds(&refused(200, b"x"), &["l2.data: has damaged header: its checksum is 0x", "make 0x"]);
    holds(&refused(8, &7_u32.to_ne_bytes()), &["has format version 7.0", "reads version 4 only"]);
    holds(&refused(8, &0_u32.to_ne_bytes()), &["has format version 0.0", "made by tierce 0."]);
    holds(&refused(0, b"SQLite f"), &["begins with \"SQLite f\"", "begins with \"tierceL2\""]);
    let swapped = 0x0102_0304_0506_0708_u64.swap_bytes().to_ne_bytes();
    holds(&refused(16, &swapped), &["other byte order"]);
    succeed(&mut inspect(&path, &["--check"]));
}

#[test]
fn a_file_cut_at_every_page_gives_a_message_and_no_crash() {
    for medium in MEDIA {
        let folder = small_store(medium);
        let path = data(folder.path());
        let whole = fs::metadata(&path).unwrap().len();
        let file = writable(&path);
        for bytes in (0..whole / 4096).rev().map(|page| page * 4096) {
            file.set_len(bytes).unwrap();
            let rule = format!("has {bytes} bytes");
            match contents(&path) {
                Ok(found) => {
                    assert!(bytes >= 4096 && found.damages > 0, "{bytes}");
                    holds(&found.findings[0].what, &[&rule]);
                }
                Err(error) => {
                    assert!(bytes < 4096, "{bytes}: {error}");
                    holds(&error.to_string(), &[&rule]);
                }
            }
            // The command too, at some: a process each.
            if bytes % (64 << 10) == 0 {
                let (code, out, err) = run(&mut inspect(&path, &["--check"]));
                assert_eq!(code, 1, "{bytes}");
                let said = if bytes == 0 { err } else { out };
                holds(&said, &[&rule, &*path.to_string_lossy()]);
            }
        }
    }
}

#[test]
fn a_file_that_is_cut_and_grown_under_the_look_is_no_crash() {
    let folder = left_store(Medium::Mapped);
    let path = data(folder.path());
    let whole = fs::metadata(&path).unwrap().len();
    let file = writable(&path);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = fastrand::Rng::with_seed(SEED);
            while !is_over.load(Ordering::Relaxed) {
                file.set_len(random.u64(4096..whole)).unwrap();
                file.set_len(whole).unwrap();
            }
        });
        for _ in 0..40 {
            let (code, _, err) = run(&mut inspect(&path, &["--check"]));
            assert!(code == 0 || code == 1, "{code} {err}");
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn what_is_no_store_is_named_with_the_rule() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("empty"), b"").unwrap();
    fs::write(at("text"), "no store at all\n".repeat(1000)).unwrap();
    fs::write(at("zeros"), vec![0; 1 << 20]).unwrap();
    fs::create_dir(at("folder")).unwrap();
    let store = left_store(Medium::Mapped);
    let lock = store.path().join("store/l2.lock");
    let cases = [
        (at("empty"), "has 0 bytes: a store begins with a header of 4096"),
        (at("text"), "begins with \"no store\": a store begins with \"tierceL2\""),
        (at("zeros"), "begins with \"\\x00\\x00"),
        (at("folder"), "l2.data: cannot be opened: No such file or directory"),
        (at("nowhere"), "cannot be opened: No such file"),
        ("/dev/zero".into(), "must be a regular file"),
        (lock, "is the lock file of a store: give l2.data, or the folder of both"),
        (env!("CARGO_BIN_EXE_tierce").into(), "begins with \"\\x7fELF"),
    ];
    for (path, rule) in cases {
        for more in [&[][..], &["--check"], &["--json"]] {
            let said = fail(&mut inspect(&path, more), 1);
            holds(&said, &[&*path.to_string_lossy(), rule]);
        }
    }
}

#[test]
fn a_lock_file_that_is_gone_or_foreign_hides_the_counters_and_nothing_else() {
    let folder = left_store(Medium::Mapped);
    let (path, lock) = (data(folder.path()), folder.path().join("store/l2.lock"));
    let other = left_store(Medium::Mapped);
    fs::copy(other.path().join("store/l2.lock"), &lock).unwrap();
    holds(&succeed(&mut inspect(&path, &["--check"])), &["users: unknown", "belongs to store"]);
    fs::write(&lock, "x").unwrap();
    holds(&succeed(&mut inspect(&path, &[])), &["users: unknown", "l2.lock: has 1 bytes"]);
    fs::remove_file(&lock).unwrap();
    let told = json(&path, &["--check"]);
    assert!(told["users"]["no_counters"].as_str().unwrap().contains("cannot be opened"));
    assert_eq!(told["damages"], 0);
    assert!(told["check"]["right"].as_u64().unwrap() > 500);
}

#[test]
fn the_names_of_the_document_are_those_that_scripts_know() {
    let folder = left_store(Medium::Mapped);
    let told = json(&data(folder.path()), &["--check"]);
    let names =
        |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(names(&told), "file header state users segments contents check damages findings");
    assert_eq!(
        names(&told["header"]),
        "format_version library_version uuid schema medium segment_bytes segments sets slots \
         stamps shards classes max_entries max_key_bytes max_value_bytes data_at data_bytes \
         file_bytes"
    );
    assert_eq!(
        names(&told["state"]),
        "file_bytes allocated_bytes made_unix_seconds of_this_boot clear_epoch coherence_epoch \
         shard_epochs claims writes entries live_bytes doubts"
    );
    assert_eq!(names(&told["users"]), "in_use no_counters slots processes folded total");
    assert_eq!(
        names(&told["segments"][0]),
        "number state owner class generation claim used_bytes live_bytes expires_in_seconds"
    );
    assert_eq!(
        names(&told["contents"]),
        "records live_entries live_bytes dead_bytes large_entries incomplete_entries \
         restless_segments slots value_bytes writes_since seconds_left never_expire"
    );
    assert_eq!(names(&told["check"]), "records right wrong wrong_slots torn");
    let last = told["contents"]["value_bytes"].as_array().unwrap().last().unwrap();
    assert!(last["up_to"].is_null());
    let expiring: u64 = told["contents"]["seconds_left"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["count"].as_u64().unwrap())
        .sum();
    let for_ever = told["contents"]["never_expire"].as_u64().unwrap();
    assert!(expiring > 0 && for_ever > expiring);
    assert_eq!(told["contents"]["live_entries"], expiring + for_ever);
}
