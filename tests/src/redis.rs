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
    /// Addresses at which it listens beside its socket.
    addresses: Vec<String>,
    /// The port there, or 0.
    port: u16,
    server: Option<Worker>,
}

impl Redis {
    /// Starts a server.
    ///
    /// # Panics
    /// If redis-server is not installed or does not answer within 10 s.
    pub fn start() -> Self {
        Self::start_at(&[])
    }

    /// Starts a server that listens at these addresses too, on a free port.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[allow(clippy::unwrap_used)]
    pub fn start_at(addresses: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("tierce-redis-").tempdir().unwrap();
        let port = addresses.first().map_or(0, |address| {
            std::net::TcpListener::bind((*address, 0)).unwrap().local_addr().unwrap().port()
        });
        let addresses = addresses.iter().map(ToString::to_string).collect();
        let mut redis = Self { folder, addresses, port, server: None };
        redis.restart();
        redis
    }

    /// The port at the addresses it was started at.
    pub fn port(&self) -> u16 {
        self.port
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
        let port = self.port.to_string();
        let mut addresses = vec!["--bind"];
        addresses.extend(self.addresses.iter().map(String::as_str));
        if self.addresses.is_empty() {
            addresses.push("127.0.0.1");
        }
        self.server = Some(Worker::start(
            "redis-server",
            &[
                &addresses[..],
                &["--protected-mode", "no", "--port", &port],
                &[
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
            ]
            .concat(),
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
