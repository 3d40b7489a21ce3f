//! A real redis-server for one test: in its own folder, gone when dropped, by a panic too.

use std::{
    fs,
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::tier::redis::{RedisOptions, RedisTier};

/// How long a server may take to start or to end on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Deadline for calls of which the test does not measure the time.
pub(super) const RELAXED: Duration = Duration::from_secs(10);

pub(in super::super) struct Server {
    folder: TempDir,
    options: Vec<String>,
    process: Option<Child>,
}

impl Server {
    /// A server that listens on a unix socket in its folder; not started.
    pub(in super::super) fn stopped(options: &[&str]) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            options: options.iter().map(ToString::to_string).collect(),
            process: None,
        }
    }

    /// The same, started.
    pub(in super::super) fn with(options: &[&str]) -> Self {
        let mut server = Self::stopped(options);
        server.start();
        server
    }

    pub(in super::super) fn start(&mut self) {
        assert!(self.process.is_none());
        // A dead server leaves its socket behind.
        _ = fs::remove_file(self.socket());
        let log = fs::File::create(self.folder.path().join("log")).unwrap();
        let child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--databases", "16"])
            .args(["--dir".as_ref(), self.folder.path().as_os_str()])
            .args(["--unixsocket".as_ref(), self.socket().as_os_str()])
            .args(&self.options)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        self.process = Some(child);
        let until = Instant::now() + PATIENCE;
        while !self.is_up() {
            assert!(Instant::now() < until, "redis-server did not start: {}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn is_up(&self) -> bool {
        std::os::unix::net::UnixStream::connect(self.socket()).is_ok()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Kills the server as `kill -9` does.
    pub(in super::super) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            _ = process.kill();
            _ = process.wait();
        }
    }

    /// Sends a signal by its name.
    pub(in super::super) fn signal(&self, name: &str) {
        let pid = self.process.as_ref().expect("the server runs").id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
        if name == "STOP" {
            // A running server answers for a moment more.
            let stat = format!("/proc/{pid}/stat");
            wait_until("stop", || fs::read_to_string(&stat).unwrap().contains(") T "));
        }
    }

    pub(in super::super) fn socket(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    pub(in super::super) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Options that reach the server, with deadlines that a busy machine keeps.
    pub(in super::super) fn options(&self) -> RedisOptions {
        RedisOptions::new()
            .unix_path(self.socket())
            .connect_timeout(RELAXED)
            .read_timeout(RELAXED)
            .write_timeout(RELAXED)
    }

    pub(in super::super) fn tier(&self) -> RedisTier {
        RedisTier::new(self.options()).unwrap()
    }

    /// A plain connection, for what others do to the server.
    pub(in super::super) fn raw(&self) -> redis::Connection {
        let url = format!("unix://{}", self.socket().display());
        redis::Client::open(url).unwrap().get_connection().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that was free a moment ago.
pub(super) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// Waits until `happened`, which a background thread brings about.
pub(super) fn wait_until(what: &str, happened: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !happened() {
        assert!(Instant::now() < until, "{what} did not happen");
        thread::sleep(Duration::from_millis(2));
    }
}
