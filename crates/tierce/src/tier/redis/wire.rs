//! One connection as its callers use it: a socket that is written by one of them at a time, and
//! read by one of them at a time, each until its own deadline.
//!
//! Which caller that is, is not decided here (`link.rs`); the two locks only say so to the
//! compiler. They may be held for long, so they are not those of the crate, which a fork waits
//! for. A forked child never looks at a wire of its parent.
//!
//! The socket blocks, for at most the time-out that was set last: a caller whose own time is not
//! much shorter needs no system call but the read itself.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    ops::Range,
    os::{
        fd::{AsRawFd, RawFd},
        unix::net::UnixStream,
    },
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use super::{
    counters::{Counters, count},
    reply::{Garbage, Limits, ReplyReader},
    secure,
};

/// A time-out this much longer than what is left of a caller's time is left as it is.
const SLACK: Duration = Duration::from_millis(1);

/// A plain socket.
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => (&*stream).read(buffer),
            Self::Unix(stream) => (&*stream).read(buffer),
        }
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => (&*stream).write(bytes),
            Self::Unix(stream) => (&*stream).write(bytes),
        }
    }

    fn set_blocking(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_nonblocking(false),
            Self::Unix(stream) => stream.set_nonblocking(false),
        }
    }

    fn set_read_timeout(&self, timeout: Duration) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_read_timeout(Some(timeout)),
            Self::Unix(stream) => stream.set_read_timeout(Some(timeout)),
        }
    }

    fn set_write_timeout(&self, timeout: Duration) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_write_timeout(Some(timeout)),
            Self::Unix(stream) => stream.set_write_timeout(Some(timeout)),
        }
    }

    /// Ends the connection, also where a forked child holds a copy of the descriptor.
    pub(super) fn shutdown(&self) {
        // A connection that is not there any more needs no end.
        _ = match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

/// Why a connection is of no use any more.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The caller's time is over.
    Late,
    /// The other side closed it.
    Closed,
    Io(io::Error),
    Garbage(Garbage),
    /// The server says what nobody asked for.
    Unasked,
}

impl From<io::Error> for Trouble {
    fn from(cause: io::Error) -> Self {
        Self::Io(cause)
    }
}

/// A connection that was made and greeted.
pub(super) struct Wire {
    socket: Socket,
    session: Option<Mutex<secure::Session>>,
    inbound: Mutex<Inbound>,
    outbound: Mutex<Outbound>,
    counters: Arc<Counters>,
}

/// What its one reader needs.
pub(super) struct Inbound {
    replies: ReplyReader,
    /// Bytes before they are decrypted.
    sealed: Vec<u8>,
    timeout: Duration,
}

struct Outbound {
    sealed: Vec<u8>,
    timeout: Duration,
}

impl Inbound {
    /// True if bytes came that are part of no whole reply.
    pub(super) fn has_rest(&self) -> bool {
        self.replies.has_bytes()
    }

    /// The bytes of a whole reply.
    pub(super) fn at(&self, place: Range<usize>) -> &[u8] {
        self.replies.at(place)
    }
}

fn own<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    // After a panic the connection is given up anyway.
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Wire {
    /// A wire over a socket on which nothing is under way. `timeout` is what calls usually allow.
    pub(super) fn new(
        socket: Socket,
        session: Option<secure::Session>,
        limits: Limits,
        timeout: Duration,
        counters: Arc<Counters>,
    ) -> io::Result<Self> {
        socket.set_blocking()?;
        socket.set_read_timeout(timeout)?;
        socket.set_write_timeout(timeout)?;
        Ok(Self {
            socket,
            session: session.map(Mutex::new),
            inbound: Mutex::new(Inbound {
                replies: ReplyReader::new(limits),
                sealed: Vec::new(),
                timeout,
            }),
            outbound: Mutex::new(Outbound { sealed: Vec::new(), timeout }),
            counters,
        })
    }

    /// Writes each piece, in a write of its own; it is `now`.
    pub(super) fn send(
        &self,
        pieces: &[Vec<u8>],
        now: Instant,
        deadline: Instant,
    ) -> Result<(), Trouble> {
        let outbound = &mut *own(&self.outbound);
        pieces.iter().try_for_each(|piece| self.write(outbound, piece, now, deadline))
    }

    fn write(
        &self,
        outbound: &mut Outbound,
        mut bytes: &[u8],
        now: Instant,
        deadline: Instant,
    ) -> Result<(), Trouble> {
        self.counters.bytes_sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let Some(session) = &self.session else {
            return self.write_plain(&mut outbound.timeout, bytes, now, deadline);
        };
        while !bytes.is_empty() {
            let mut sealed = std::mem::take(&mut outbound.sealed);
            sealed.clear();
            let taken = secure::seal(&mut own(session), bytes, &mut sealed)?;
            bytes = &bytes[taken..];
            self.write_plain(&mut outbound.timeout, &sealed, now, deadline)?;
            outbound.sealed = sealed;
        }
        Ok(())
    }

    fn write_plain(
        &self,
        timeout: &mut Duration,
        mut bytes: &[u8],
        mut now: Instant,
        deadline: Instant,
    ) -> Result<(), Trouble> {
        while !bytes.is_empty() {
            if let Some(aim) = aim(*timeout, now, deadline)? {
                self.socket.set_write_timeout(aim)?;
                *timeout = aim;
            }
            count(&self.counters.writes);
            match self.socket.write(bytes) {
                Ok(0) => return Err(Trouble::Closed),
                Ok(written) if written == bytes.len() => return Ok(()),
                Ok(written) => bytes = &bytes[written..],
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(error.into()),
            }
            // The first try may have taken long.
            now = Instant::now();
        }
        Ok(())
    }

    /// What its reader needs; to be held by the one reader there is.
    pub(super) fn inbound(&self) -> MutexGuard<'_, Inbound> {
        own(&self.inbound)
    }

    /// Waits for bytes until the deadline, being `now`, and adds the places of the replies that are
    /// whole to `replies`. They are there ([`Inbound::at`]) until the next call.
    pub(super) fn receive(
        &self,
        inbound: &mut Inbound,
        replies: &mut Vec<Range<usize>>,
        mut now: Instant,
        deadline: Instant,
    ) -> Result<(), Trouble> {
        loop {
            if let Some(aim) = aim(inbound.timeout, now, deadline)? {
                self.socket.set_read_timeout(aim)?;
                inbound.timeout = aim;
            }
            match self.read(inbound) {
                Ok(0) => return Err(Trouble::Closed),
                Ok(_) => break,
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(error.into()),
            }
            now = Instant::now();
        }
        // Whoever asks for many values has said so before the question left.
        let many_under_way = self.counters.many_under_way.load(Ordering::Acquire);
        inbound.replies.leave_out(many_under_way > 0);
        while let Some(place) = inbound.replies.next_place().map_err(Trouble::Garbage)? {
            replies.push(place);
        }
        Ok(())
    }

    /// One read; 0 at the end of the stream.
    fn read(&self, inbound: &mut Inbound) -> io::Result<usize> {
        let Some(session) = &self.session else {
            let read = self.socket.read(inbound.replies.room())?;
            inbound.replies.filled(read);
            self.counters.bytes_received.fetch_add(read as u64, Ordering::Relaxed);
            return Ok(read);
        };
        inbound.sealed.resize(secure::MOST_SEALED, 0);
        let read = self.socket.read(&mut inbound.sealed)?;
        let mut opened = 0;
        let replies = &mut inbound.replies;
        secure::open(&mut own(session), &inbound.sealed[..read], |plain| {
            replies.extend(plain);
            opened += plain.len();
        })?;
        self.counters.bytes_received.fetch_add(opened as u64, Ordering::Relaxed);
        Ok(read)
    }

    /// Ends the connection; who reads or writes is told so at once.
    pub(super) fn shutdown(&self) {
        self.socket.shutdown();
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl AsRawFd for Wire {
    fn as_raw_fd(&self) -> RawFd {
        match &self.socket {
            Socket::Tcp(stream) => stream.as_raw_fd(),
            Socket::Unix(stream) => stream.as_raw_fd(),
        }
    }
}

/// The time-out to set in the place of the one that is `set`, if that is too long for the deadline, or so short
/// that it would wake for nothing.
fn aim(set: Duration, now: Instant, deadline: Instant) -> Result<Option<Duration>, Trouble> {
    let left = deadline.saturating_duration_since(now);
    if left.is_zero() {
        return Err(Trouble::Late);
    }
    Ok((set > left + SLACK || set < left / 2).then_some(left))
}

/// True if the call is to be made again: its time-out came, or a signal.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
