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
    server: Option<Worker>,
}

impl Redis {
    /// Starts a server.
    ///
    /// # Panics
    /// If redis-server is not installed or does not answer within 10 s.
    #[allow(clippy::unwrap_used)]
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("tierce-redis-").tempdir().unwrap();
        let mut redis = Self { folder, server: None };
        redis.restart();
        redis
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
        self.server = Some(Worker::start(
            "redis-server",
            &[
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
            ],
        ));
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

    /// Sends a signal, SIGSTOP or SIGCONT.
    pub fn signal(&self, signal: i32) {
        if let Some(server) = &self.server {
            server.signal(signal);
        }
    }
}
