//! Redis servers that know each other: on ports of their own, each with a folder.

use std::{
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::process::Worker;

/// How long anything that servers do by themselves may take on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Ports above this one have no second port that is 10,000 above them, where nodes of a cluster
/// talk to each other.
const HIGHEST_PORT: u16 = 55_000;

/// A redis-server at 127.0.0.1, empty at each start; gone when dropped.
#[derive(Debug)]
pub struct Server {
    folder: tempfile::TempDir,
    port: u16,
    options: Vec<String>,
    process: Option<Worker>,
}

impl Server {
    /// Starts a server with further options.
    ///
    /// # Panics
    /// If redis-server is not installed or does not answer.
    #[allow(clippy::unwrap_used)]
    pub fn start(options: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("tierce-server-").tempdir().unwrap();
        let options = options.iter().map(ToString::to_string).collect();
        let mut server = Self { folder, port: free_port(), options, process: None };
        server.restart();
        server
    }

    /// Starts a sentinel that watches over the master at this port.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub fn sentinel(name: &str, master: u16, quorum: usize, down_after: Duration) -> Self {
        Self::sentinel_with(name, master, quorum, down_after, &[])
    }

    /// The same with further options.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[allow(clippy::unwrap_used)]
    pub fn sentinel_with(
        name: &str,
        master: u16,
        quorum: usize,
        down_after: Duration,
        more: &[&str],
    ) -> Self {
        let folder = tempfile::Builder::new().prefix("tierce-sentinel-").tempdir().unwrap();
        let down_after = down_after.as_millis();
        let text = format!(
            "sentinel monitor {name} 127.0.0.1 {master} {quorum}\n\
             sentinel down-after-milliseconds {name} {down_after}\n\
             sentinel failover-timeout {name} 3000\n\
             sentinel parallel-syncs {name} 1\n"
        );
        let configuration = folder.path().join("sentinel.conf");
        std::fs::write(&configuration, text).unwrap();
        let mut options = vec![configuration.display().to_string(), "--sentinel".to_owned()];
        options.extend(more.iter().map(ToString::to_string));
        let mut server = Self { folder, port: free_port(), options, process: None };
        server.restart();
        server
    }

    /// Starts the server anew, empty, where it had been killed.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub fn restart(&mut self) {
        let (folder, port) = (self.folder.path().display().to_string(), self.port.to_string());
        // The file of a sentinel's configuration has to come first.
        let mut arguments: Vec<&str> = self.options.iter().map(String::as_str).collect();
        let own = ["--port", &port, "--bind", "127.0.0.1", "--dir", &folder];
        arguments.extend(own);
        arguments.extend(["--logfile", "log"]);
        if !self.options.iter().any(|option| option == "--sentinel") {
            arguments.extend(["--save", "", "--appendonly", "no", "--repl-diskless-sync-delay"]);
            arguments.extend(["0"]);
        }
        self.process = Some(Worker::start("redis-server", &arguments));
        let begin = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(begin.elapsed() < PATIENCE, "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Sends a signal, SIGSTOP or SIGCONT.
    pub fn signal(&self, signal: i32) {
        if let Some(process) = &self.process {
            process.signal(signal);
        }
    }

    /// What it says to a command; errors too.
    pub fn ask(&self, words: &[&str]) -> String {
        command_line(&[&["-p", &self.port.to_string()], words].concat())
    }

    /// Waits until its answer to a command contains this.
    ///
    /// # Panics
    /// If it does not come to.
    pub fn wait_for(&self, words: &[&str], part: &str) {
        let begin = Instant::now();
        loop {
            let answer = self.ask(words);
            if answer.contains(part) {
                return;
            }
            assert!(begin.elapsed() < PATIENCE, "{words:?} lacks {part}: {answer}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// What redis-cli prints.
///
/// # Panics
/// If it is not installed.
#[allow(clippy::unwrap_used)]
pub fn command_line(words: &[&str]) -> String {
    let output = Command::new("redis-cli").args(words).stdin(Stdio::null()).output().unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// A port that nobody listens at, for a server that does so at once.
///
/// # Panics
/// If there is none.
#[allow(clippy::unwrap_used)]
pub fn free_port() -> u16 {
    loop {
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        if port < HIGHEST_PORT && TcpListener::bind(("127.0.0.1", port + 10_000)).is_ok() {
            return port;
        }
    }
}
