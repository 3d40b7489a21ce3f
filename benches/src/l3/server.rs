//! A real redis-server for the run: free port and unix socket, own folder, nothing kept on disk.

use std::{
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// How long the server may take to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running server, ended when dropped.
pub(super) struct Server {
    folder: TempDir,
    port: u16,
    child: Child,
}

/// How a client reaches the server.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// The port on 127.0.0.1.
    Tcp(u16),
    /// The path of the socket.
    Unix(PathBuf),
}

impl Place {
    /// The URL that client libraries take.
    pub(super) fn url(&self) -> String {
        match self {
            Self::Tcp(port) => format!("redis://127.0.0.1:{port}"),
            Self::Unix(path) => format!("unix://{}", path.display()),
        }
    }
}

impl Server {
    pub(super) fn start() -> Result<Self, String> {
        Self::start_at(&[])
    }

    /// One that listens at these addresses too, on networks that nobody else is on.
    pub(super) fn start_at(addresses: &[&str]) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("redis-server: {error}");
        let folder = tempfile::tempdir().map_err(failed)?;
        let port = TcpListener::bind(("127.0.0.1", 0))
            .and_then(|listener| listener.local_addr())
            .map_err(failed)?
            .port();
        let child = Command::new("redis-server")
            .args(["--save", "", "--appendonly", "no", "--protected-mode", "no"])
            .args(["--bind", "127.0.0.1"])
            .args(addresses)
            .args(["--port", &port.to_string()])
            .args(["--dir".as_ref(), folder.path().as_os_str()])
            .args(["--unixsocket".as_ref(), folder.path().join("s").as_os_str()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let server = Self { folder, port, child };
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > until {
                return Err("redis-server did not start".into());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }

    pub(super) fn tcp(&self) -> Place {
        Place::Tcp(self.port)
    }

    pub(super) fn unix(&self) -> Place {
        Place::Unix(self.folder.path().join("s"))
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn version(&self) -> Result<String, String> {
        self.info("server", "redis_version:")
    }

    /// How often the server has read from a socket of a client: each write of a client makes at
    /// most one.
    pub(super) fn reads(&self) -> Result<u64, String> {
        let text = self.info("stats", "total_reads_processed:")?;
        text.parse().map_err(|_| format!("total_reads_processed:{text}: no number"))
    }

    fn info(&self, section: &str, field: &str) -> Result<String, String> {
        let failed = |error: redis::RedisError| format!("INFO: {error}");
        let client = redis::Client::open(self.tcp().url()).map_err(failed)?;
        let mut connection = client.get_connection().map_err(failed)?;
        let text: String =
            redis::cmd("INFO").arg(section).query(&mut connection).map_err(failed)?;
        let line = text.lines().find_map(|line| line.strip_prefix(field));
        line.map(|value| value.trim().to_owned()).ok_or(format!("INFO lacks {field}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
