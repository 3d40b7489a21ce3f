//! A way to a redis-server on which a test does what networks do: hold, delay, drip, cut after so
//! many bytes, reset, say what nobody said, refuse.
//!
//! ```text
//!   cache ──TCP──> proxy ──unix socket──> redis-server
//!                    │ Line::Calls    what callers ask        Way::Up, Way::Down
//!                    └ Line::Changes  the stream of changes
//! ```
//!
//! Which line a connection is shows in its first bytes: the stream of changes speaks RESP3, so it
//! begins with HELLO, or it begins with SUBSCRIBE. Each connection has a thread for each way.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    os::{fd::AsRawFd, unix::net::UnixStream},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Which of a cache's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// What callers ask.
    Calls,
    /// The stream of changes.
    Changes,
}

/// Which direction of a connection: up is to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// What the client says.
    Up,
    /// What the server says.
    Down,
}

/// What happens to bytes on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// They pass.
    None,
    /// They wait until the fault is another one.
    Hold,
    /// They are gone.
    Lose,
    /// Each piece that was read waits for so long.
    Delay(Duration),
    /// They come one by one, with such a pause before each.
    Drip(Duration),
    /// The connection ends after so many bytes of this way, counted from its beginning.
    Cut {
        /// So many pass.
        after: u64,
        /// Whether it ends by a reset.
        reset: bool,
    },
}

/// The way to one server; gone with all its connections when dropped.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    server: PathBuf,
    faults: Mutex<[[Fault; 2]; 2]>,
    refuses: AtomicBool,
    ends: AtomicBool,
    accepted: Mutex<Vec<Instant>>,
    connections: Mutex<Vec<Arc<Connection>>>,
}

#[derive(Debug)]
struct Connection {
    client: TcpStream,
    server: UnixStream,
    /// 0 is not known yet, else one more than the line.
    line: AtomicUsize,
    passed: [AtomicU64; 2],
    over: AtomicBool,
    /// Who writes to the client.
    writes: Mutex<()>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Connection {
    fn end(&self, reset: bool) {
        self.over.store(true, Ordering::Release);
        if reset {
            let nowhere = libc::sockaddr { sa_family: libc::AF_UNSPEC as u16, sa_data: [0; 14] };
            // SAFETY: the descriptor is open as long as `self` is; the address lives for the call,
            // and its size is told. To connect to no family is to disconnect, which resets.
            unsafe {
                libc::connect(
                    self.client.as_raw_fd(),
                    &raw const nowhere,
                    size_of::<libc::sockaddr>() as libc::socklen_t,
                );
            }
        } else {
            let _ = self.client.shutdown(Shutdown::Both);
        }
        let _ = self.server.shutdown(Shutdown::Both);
    }

    fn is(&self, line: Line) -> bool {
        self.line.load(Ordering::Acquire) == line as usize + 1
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }
}

impl Proxy {
    /// A way to the server on this unix socket, without faults.
    ///
    /// # Panics
    /// If there is no port left.
    #[allow(clippy::unwrap_used)]
    pub fn to(server: PathBuf) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            server,
            faults: Mutex::new([[Fault::None; 2]; 2]),
            refuses: AtomicBool::new(false),
            ends: AtomicBool::new(false),
            accepted: Mutex::default(),
            connections: Mutex::default(),
        });
        let ours = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if ours.ends.load(Ordering::Acquire) {
                    return;
                }
                lock(&ours.accepted).push(Instant::now());
                if !ours.refuses.load(Ordering::Acquire) {
                    ours.take(client);
                }
            }
        });
        Self { port, shared }
    }

    /// Where it listens, at `127.0.0.1`.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What happens to bytes from now on.
    pub fn set(&self, line: Line, way: Way, fault: Fault) {
        lock(&self.shared.faults)[line as usize][way as usize] = fault;
    }

    /// Whether new connections are ended as soon as they are made.
    pub fn refuse(&self, refuses: bool) {
        self.shared.refuses.store(refuses, Ordering::Release);
    }

    /// Ends the connections of a line; how many there were.
    pub fn cut(&self, line: Line, reset: bool) -> usize {
        let mut connections = lock(&self.shared.connections);
        let before = connections.len();
        connections.retain(|connection| {
            let stays = connection.is_over() || !connection.is(line);
            if !stays {
                connection.end(reset);
            }
            stays
        });
        before - connections.len()
    }

    /// Says this to the clients of a line, between what the server says; to how many.
    pub fn say(&self, line: Line, bytes: &[u8]) -> usize {
        let connections = lock(&self.shared.connections);
        let of_line = connections.iter().filter(|it| !it.is_over() && it.is(line));
        let say = |connection: &&Arc<Connection>| {
            let _writes = lock(&connection.writes);
            (&connection.client).write_all(bytes).is_ok()
        };
        of_line.filter(say).count()
    }

    /// When connections came.
    pub fn accepted(&self) -> Vec<Instant> {
        lock(&self.shared.accepted).clone()
    }

    /// Bytes that all connections of a line carried.
    pub fn passed(&self, line: Line, way: Way) -> u64 {
        let connections = lock(&self.shared.connections);
        let of_line = connections.iter().filter(|it| it.is(line));
        of_line.map(|it| it.passed[way as usize].load(Ordering::Acquire)).sum()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Release);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        for connection in lock(&self.shared.connections).drain(..) {
            connection.end(false);
        }
    }
}

impl Shared {
    fn take(self: &Arc<Self>, client: TcpStream) {
        // Without a server, the client is refused.
        let Ok(server) = UnixStream::connect(&self.server) else { return };
        let _ = client.set_nodelay(true);
        let connection = Arc::new(Connection {
            client,
            server,
            line: AtomicUsize::new(0),
            passed: Default::default(),
            over: AtomicBool::new(false),
            writes: Mutex::default(),
        });
        {
            let mut connections = lock(&self.connections);
            connections.retain(|connection| !connection.is_over());
            connections.push(Arc::clone(&connection));
        }
        for way in [Way::Up, Way::Down] {
            let (shared, connection) = (Arc::clone(self), Arc::clone(&connection));
            thread::spawn(move || {
                shared.carry(&connection, way);
                if !connection.is_over() {
                    connection.end(false);
                }
            });
        }
    }

    fn fault(&self, connection: &Connection, way: Way) -> Fault {
        match connection.line.load(Ordering::Acquire) {
            0 => Fault::None,
            line => lock(&self.faults)[line - 1][way as usize],
        }
    }

    fn carry(&self, connection: &Connection, way: Way) {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = match way {
                Way::Up => (&connection.client).read(&mut buffer),
                Way::Down => (&connection.server).read(&mut buffer),
            };
            let Ok(read @ 1..) = read else { return };
            let bytes = &buffer[..read];
            if way == Way::Up && connection.line.load(Ordering::Acquire) == 0 {
                let has = |word: &[u8]| bytes.windows(word.len()).any(|part| part == word);
                let line =
                    if has(b"HELLO") || has(b"SUBSCRIBE") { Line::Changes } else { Line::Calls };
                connection.line.store(line as usize + 1, Ordering::Release);
            }
            if !self.pass(connection, way, bytes) {
                return;
            }
        }
    }

    /// Lets bytes through as the fault says; false if that was the end.
    fn pass(&self, connection: &Connection, way: Way, bytes: &[u8]) -> bool {
        let write = |bytes: &[u8]| {
            connection.passed[way as usize].fetch_add(bytes.len() as u64, Ordering::AcqRel);
            match way {
                Way::Up => (&connection.server).write_all(bytes).is_ok(),
                Way::Down => {
                    let _writes = lock(&connection.writes);
                    (&connection.client).write_all(bytes).is_ok()
                }
            }
        };
        match self.fault(connection, way) {
            Fault::None => write(bytes),
            Fault::Lose => {
                connection.passed[way as usize].fetch_add(bytes.len() as u64, Ordering::AcqRel);
                true
            }
            Fault::Hold => {
                while self.fault(connection, way) == Fault::Hold {
                    if connection.is_over() {
                        return false;
                    }
                    thread::sleep(Duration::from_millis(1));
                }
                self.pass(connection, way, bytes)
            }
            Fault::Delay(delay) => {
                thread::sleep(delay);
                write(bytes)
            }
            Fault::Drip(pause) => {
                for (number, byte) in bytes.chunks(1).enumerate() {
                    thread::sleep(pause);
                    if connection.is_over() || !write(byte) {
                        return false;
                    }
                    if self.fault(connection, way) != Fault::Drip(pause) {
                        return self.pass(connection, way, &bytes[number + 1..]);
                    }
                }
                true
            }
            Fault::Cut { after, reset } => {
                let left =
                    after - connection.passed[way as usize].load(Ordering::Acquire).min(after);
                if left >= bytes.len() as u64 && left > 0 {
                    return write(bytes);
                }
                write(&bytes[..left as usize]);
                connection.end(reset);
                false
            }
        }
    }
}
