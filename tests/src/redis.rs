//! A redis-server of a test's own.

use std::{
    os::unix::net::UnixStream,
    path::PathBuf,
    time::{Duration, Instant},
};

use crate::process::Worker;

/// A redis-server on a Unix socket in a folder of its own; gone when dropped.
#[derive(Debug)]
pub struct Redis {
    folder: tempfile::TempDir,
    program: String,
    words: Vec<String>,
    options: Vec<String>,
    server: Option<Worker>,
}

impl Redis {
    /// Starts a server.
    ///
    /// # Panics
    /// If redis-server is not installed or does not answer within 10 s.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// Starts a server with further options.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub fn with(options: &[&str]) -> Self {
        Self::made("redis-server", &[], options)
    }

    /// Starts a server by a program that starts it, such as `env`.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub fn through(program: &str, words: &[&str]) -> Self {
        Self::made(program, words, &[])
    }

    #[allow(clippy::unwrap_used)]
    fn made(program: &str, words: &[&str], options: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("tierce-redis-").tempdir().unwrap();
        let owned = |words: &[&str]| words.iter().map(ToString::to_string).collect();
        let (program, words, options) = (program.to_owned(), owned(words), owned(options));
        let mut redis = Self { folder, program, words, options, server: None };
        redis.restart();
        redis
    }

    /// The options of the next start.
    pub fn set_options(&mut self, options: &[&str]) {
        self.options = options.iter().map(ToString::to_string).collect();
    }

    /// The socket, the same over restarts.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    /// Starts the server anew, empty, where it had been killed.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub fn restart(&mut self) {
        let (folder, socket) = (self.folder.path().display().to_string(), self.socket());
        let _ = std::fs::remove_file(&socket);
        let path = socket.display().to_string();
        let mut arguments: Vec<_> = self.words.iter().map(String::as_str).collect();
        arguments.extend([
            "--port",
            "0",
            "--unixsocket",
            &path,
            "--save",
            "",
            "--appendonly",
            "no",
            "--dir",
            &folder,
            "--logfile",
            "redis.log",
            "--loglevel",
            "warning",
        ]);
        arguments.extend(self.options.iter().map(String::as_str));
        self.server = Some(Worker::start(&self.program, &arguments));
        let begin = Instant::now();
        while UnixStream::connect(&socket).is_err() {
            assert!(begin.elapsed() < Duration::from_secs(10), "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.server = None;
    }

    /// A connection of a client that is none of ours.
    ///
    /// # Panics
    /// If the server does not answer.
    #[must_use]
    #[allow(clippy::unwrap_used)]
    pub fn client(&self) -> ::redis::Connection {
        let client = ::redis::Client::open(format!("unix://{}", self.socket().display())).unwrap();
        client.get_connection().unwrap()
    }

    /// Ends all connections to the server that follow changes, and says how many that were.
    ///
    /// # Panics
    /// If the server does not answer.
    #[allow(clippy::unwrap_used)]
    pub fn cut_streams(&self) -> usize {
        let mut client = self.client();
        let list: String = ::redis::cmd("CLIENT").arg("LIST").query(&mut client).unwrap();
        let field = |line: &str, name: &str| {
            line.split(' ').find_map(|it| it.strip_prefix(name).map(str::to_owned)).unwrap()
        };
        let mut cut = 0;
        for line in list.lines().filter(|line| field(line, "flags=").contains('t')) {
            let id = field(line, "id=");
            let killed = ::redis::cmd("CLIENT").arg("KILL").arg("ID").arg(id).query(&mut client);
            cut += killed.unwrap_or(0);
        }
        cut
    }

    /// Sends a signal, SIGSTOP or SIGCONT.
    pub fn signal(&self, signal: i32) {
        if let Some(server) = &self.server {
            server.signal(signal);
        }
    }
}
