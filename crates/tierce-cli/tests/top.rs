//! `tierce top` on stores that real processes use, as text and on a pseudo terminal.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests are tests")]

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{Read as _, Write as _},
    num::NonZero,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

#[path = "support/stores.rs"]
mod stores;
mod support;
use rustix::{
    process::{Pid, Signal, kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Termios, Winsize, tcgetattr, tcsetwinsize},
};
use stores::{User, Work, data};
use support::{fail, holds, succeed, tierce};
use tierce::Medium;

/// Longest wait for what takes milliseconds on a machine that is not busy.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn child_process() {
    stores::be_child();
}

fn top(file: &Path, more: &[&str]) -> Command {
    let mut command = tierce([OsStr::new("top"), file.as_os_str()]);
    command.args(more);
    if !more.contains(&"--interval") {
        command.args(["--interval", "200ms"]);
    }
    command
}

fn cells(number: u16) -> NonZero<u16> {
    NonZero::new(number).unwrap()
}

/// A pseudo terminal, what is on its screen, and the command that runs on it.
struct Seat {
    child: Child,
    keys: File,
    terminal: File,
    before: Termios,
    screen: Arc<Mutex<vt100::Parser>>,
}

impl Seat {
    fn start(mut command: Command) -> Self {
        let keys = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&keys).unwrap();
        unlockpt(&keys).unwrap();
        let name = ptsname(&keys, Vec::new()).unwrap();
        let terminal = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        let size = Winsize { ws_row: 30, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&terminal, size).unwrap();
        let before = tcgetattr(&terminal).unwrap();
        let end = || Stdio::from(terminal.try_clone().unwrap());
        command.stdin(end()).stdout(end()).stderr(end());
        let child = command.spawn().unwrap();
        let keys = File::from(keys);
        let screen = Arc::new(Mutex::new(vt100::Parser::new(cells(30), cells(120), 0)));
        let (mut output, shown) = (keys.try_clone().unwrap(), Arc::clone(&screen));
        // Ends with the terminal, or with the test program.
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                shown.lock().unwrap().process(&bytes[..count]);
            }
        });
        Self { child, keys, terminal, before, screen }
    }

    fn text(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    fn wait_for(&self, parts: &[&str]) {
        let begin = Instant::now();
        while !parts.iter().all(|part| self.text().contains(part)) {
            assert!(
                begin.elapsed() < PATIENCE,
                "{parts:?} are not on the screen:\n{}",
                self.text()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn press(&mut self, keys: &[u8]) {
        self.keys.write_all(keys).unwrap();
    }

    /// Waits for the end; the terminal must be what it was. Returns what is on it.
    fn end(&mut self) -> (ExitStatus, String) {
        let begin = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(begin.elapsed() < PATIENCE, "it does not end:\n{}", self.text());
            thread::sleep(Duration::from_millis(10));
        };
        let after = tcgetattr(&self.terminal).unwrap();
        assert_eq!(format!("{:?}", self.before), format!("{after:?}"));
        let is_restored = || {
            let screen = self.screen.lock().unwrap();
            !screen.screen().alternate_screen() && !screen.screen().hide_cursor()
        };
        while !is_restored() {
            assert!(begin.elapsed() < PATIENCE, "another screen, or no cursor");
            thread::sleep(Duration::from_millis(10));
        }
        thread::sleep(Duration::from_millis(50));
        (status, self.text())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn one_frame_as_text_has_every_process_with_its_rates() {
    for medium in [Medium::Mapped, Medium::Disk] {
        let folder = tempfile::tempdir().unwrap();
        let toils = User::start(folder.path(), medium, Work::Toil);
        let rests = User::start(folder.path(), medium, Work::Rest);
        let out = succeed(&mut top(&data(folder.path()), &["--once"]));
        holds(&out, &[": open 2 times", "entries   ", " of 10000 (", " sealed, "]);
        let row = |user: &User| {
            let process = user.process().to_string();
            let line = out.lines().find(|line| line.contains(&process)).unwrap();
            let cells: Vec<&str> = line.split_whitespace().collect();
            cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>()
        };
        // Slot, process, name, gets, hits, %, puts, ...
        let (busy, idle) = (row(&toils), row(&rests));
        let number = |cell: &String| cell.parse::<f64>().unwrap();
        assert!(number(&busy[3]) > 100.0 && number(&busy[6]) > 100.0, "{out}");
        // Reads and writes take turns.
        assert!((0.8..1.25).contains(&(number(&busy[3]) / number(&busy[6]))), "{out}");
        let hits = 100.0 * (1.0 - number(busy.last().unwrap()) / number(&busy[3]));
        assert!((number(&busy[4]) - hits).abs() < 0.2 && hits > 5.0, "{out}");
        assert_eq!(idle[3..6], ["0", "-", "0"], "{out}");
        rests.kill();
        toils.kill();
        let out = succeed(&mut top(&data(folder.path()), &["--once"]));
        holds(&out, &[": open 0 times", "no process has the store open"]);
    }
}

#[test]
fn rates_are_those_that_the_store_counts() {
    let folder = tempfile::tempdir().unwrap();
    let store = stores::open(folder.path(), Medium::Mapped);
    let _toils = User::start(folder.path(), Medium::Mapped, Work::Toil);
    let before = store.statistics();
    let begin = Instant::now();
    let out = succeed(&mut top(&data(folder.path()), &["--once", "--interval", "1s"]));
    let (after, seconds) = (store.statistics(), begin.elapsed().as_secs_f64());
    let own = (after.puts - before.puts) as f64 / seconds;
    let all = out.lines().find(|line| line.trim_start().starts_with("all ")).unwrap();
    let told: f64 = all.split_whitespace().nth(4).unwrap().parse().unwrap();
    assert!((0.5..2.0).contains(&(told / own)), "told {told}, counted {own}:\n{out}");
}

#[test]
fn without_a_terminal_it_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let _store = stores::open(folder.path(), Medium::Mapped);
    let said = fail(&mut top(&data(folder.path()), &[]), 1);
    assert_eq!(said, "tierce: top: stdout is not a terminal: --once prints one frame as text\n");
    for (interval, rule) in [("1ms", "must be from 100ms to 1h"), ("soon", "interval")] {
        let said = fail(&mut top(&data(folder.path()), &["--interval", interval]), 2);
        holds(&said, &[rule]);
    }
    holds(
        &fail(&mut top(&folder.path().join("none"), &["--once"]), 1),
        &["none: cannot be opened"],
    );
}

#[test]
fn it_draws_and_ends_at_each_key_and_signal_with_the_terminal_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let toils = User::start(folder.path(), Medium::Mapped, Work::Toil);
    let file = data(folder.path());
    for way in ["q", "\x1b", "\x03", "terminate", "interrupt"] {
        let mut seat = Seat::start(top(&file, &[]));
        let process = toils.process().to_string();
        seat.wait_for(&[&file.to_string_lossy(), " of 10000", "hits", &process]);
        seat.wait_for(&["gets/s", "segments: ", "q ends  every 200ms"]);
        assert!(seat.screen.lock().unwrap().screen().alternate_screen());
        seat.press(b"x");
        thread::sleep(Duration::from_millis(300));
        assert!(seat.child.try_wait().unwrap().is_none(), "x is no key to end with");
        let process = Pid::from_child(&seat.child);
        match way {
            "terminate" => kill_process(process, Signal::TERM).unwrap(),
            "interrupt" => kill_process(process, Signal::INT).unwrap(),
            keys => seat.press(keys.as_bytes()),
        }
        let (status, left) = seat.end();
        assert_eq!((status.code(), left.trim()), (Some(0), ""), "{way:?}");
    }
}

#[test]
fn processes_that_come_and_go_come_and_go_on_the_screen() {
    let folder = tempfile::tempdir().unwrap();
    let stays = User::start(folder.path(), Medium::Mapped, Work::Rest);
    let mut seat = Seat::start(top(&data(folder.path()), &[]));
    seat.wait_for(&[&stays.process().to_string()]);
    let comes = User::start(folder.path(), Medium::Mapped, Work::Toil);
    let process = comes.process().to_string();
    seat.wait_for(&[&process]);
    comes.kill();
    let begin = Instant::now();
    while seat.text().contains(&process) {
        assert!(begin.elapsed() < PATIENCE, "{}", seat.text());
        thread::sleep(Duration::from_millis(10));
    }
    stays.kill();
    seat.wait_for(&["no process has the store open"]);
    seat.press(b"q");
    assert!(seat.end().0.success());
}

#[test]
fn a_terminal_of_any_size_is_drawn_on() {
    let folder = tempfile::tempdir().unwrap();
    let _rests = User::start(folder.path(), Medium::Mapped, Work::Rest);
    let mut seat = Seat::start(top(&data(folder.path()), &[]));
    seat.wait_for(&["gets/s"]);
    for (rows, columns) in [(1, 1), (2, 300), (5, 10), (300, 2), (30, 120)] {
        seat.screen.lock().unwrap().screen_mut().set_size(cells(rows), cells(columns));
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&seat.terminal, size).unwrap();
        thread::sleep(Duration::from_millis(300));
        assert!(seat.child.try_wait().unwrap().is_none(), "{rows} x {columns}");
    }
    seat.wait_for(&["entries 2000 of 10000", "gets/s"]);
    seat.press(b"q");
    assert!(seat.end().0.success());
}

#[test]
fn a_file_that_is_removed_replaced_or_cut_is_told_on_a_terminal_as_it_was() {
    type Harm = fn(&Path);
    let harms: [(Harm, Option<&str>); 3] = [
        (|file| fs::remove_file(file).unwrap(), Some("l2.data: was removed")),
        (
            |file| {
                let other = file.with_file_name("other");
                fs::write(&other, vec![0; 1 << 20]).unwrap();
                fs::rename(other, file).unwrap();
            },
            Some("l2.data: was replaced by another file"),
        ),
        (|file| File::options().write(true).open(file).unwrap().set_len(70_000).unwrap(), None),
    ];
    for (harm, said) in harms {
        let folder = tempfile::tempdir().unwrap();
        User::start(folder.path(), Medium::Mapped, Work::Rest).kill();
        let file = data(folder.path());
        let mut seat = Seat::start(top(&file, &[]));
        seat.wait_for(&["gets/s"]);
        harm(&file);
        match said {
            Some(said) => {
                let (status, left) = seat.end();
                assert_eq!(status.code(), Some(1));
                holds(&left.replace('\n', ""), &[said]);
            }
            None => {
                seat.wait_for(&["findings at first sight: tierce inspect --check"]);
                seat.press(b"q");
                assert!(seat.end().0.success());
            }
        }
    }
}
