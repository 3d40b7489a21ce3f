//! A connection while it is made: reached, encrypted, and then spoken to until it is a [`Wire`].

use std::{
    io,
    net::IpAddr,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use redis::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};

use super::{
    counters::Counters,
    options::Address,
    reply::{Limits, ReplyReader, value},
    secure,
    wire::{Socket as PlainSocket, Trouble, Wire},
};

/// A stream that counts its bytes and tells the other side when it is dropped.
pub(super) struct Stream {
    /// There until it became a wire.
    socket: Option<Socket>,
    counters: Arc<Counters>,
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<secure::Tls>),
}

trait Duplex: AsyncRead + AsyncWrite {}

impl<T: AsyncRead + AsyncWrite> Duplex for T {}

impl Stream {
    /// Connects to the first address of the server that answers, and shakes hands if TLS is on.
    pub(super) async fn connect(
        address: &Address,
        connector: Option<&secure::Connector>,
        counters: Arc<Counters>,
    ) -> io::Result<Self> {
        let socket = match address {
            Address::Unix(path) => Socket::Unix(UnixStream::connect(path).await?),
            Address::Tcp(host, port) => {
                let stream = connect_tcp(host, *port).await?;
                match connector {
                    None => Socket::Tcp(stream),
                    Some(connector) => {
                        Socket::Tls(Box::new(secure::handshake(connector, host, stream).await?))
                    }
                }
            }
        };
        Ok(Self { socket: Some(socket), counters })
    }

    fn socket(&mut self) -> io::Result<Pin<&mut (dyn Duplex + Unpin + '_)>> {
        match &mut self.socket {
            Some(Socket::Tcp(stream)) => Ok(Pin::new(stream)),
            Some(Socket::Unix(stream)) => Ok(Pin::new(stream)),
            Some(Socket::Tls(stream)) => Ok(Pin::new(&mut **stream)),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Sends `commands`, which are as many as `count`, and returns their replies.
    pub(super) async fn ask(
        &mut self,
        commands: &[u8],
        count: usize,
        limits: Limits,
    ) -> Result<Vec<Value>, Trouble> {
        let mut left = commands;
        while !left.is_empty() {
            let written =
                std::future::poll_fn(|context| self.socket()?.poll_write(context, left)).await?;
            self.counters.bytes_sent.fetch_add(written as u64, Ordering::Relaxed);
            left = &left[written..];
        }
        std::future::poll_fn(|context| self.socket()?.poll_flush(context)).await?;
        let (mut reader, mut replies) = (ReplyReader::new(limits), Vec::with_capacity(count));
        while replies.len() < count {
            let read = std::future::poll_fn(|context| {
                let mut buffer = ReadBuf::new(reader.room());
                let polled = self.socket()?.poll_read(context, &mut buffer);
                polled.map_ok(|()| buffer.filled().len())
            })
            .await?;
            if read == 0 {
                return Err(Trouble::Closed);
            }
            self.counters.bytes_received.fetch_add(read as u64, Ordering::Relaxed);
            reader.filled(read);
            while let Some(reply) = reader.next().map_err(Trouble::Garbage)? {
                replies.push(value(&reply).map_err(Trouble::Garbage)?);
            }
        }
        if replies.len() > count || reader.has_bytes() {
            return Err(Trouble::Unasked);
        }
        Ok(replies)
    }

    /// The connection as callers use it; `timeout` is what calls usually allow.
    pub(super) fn into_wire(mut self, limits: Limits, timeout: Duration) -> io::Result<Wire> {
        let (socket, session) = match self.socket.take().ok_or(io::ErrorKind::NotConnected)? {
            Socket::Tcp(stream) => (PlainSocket::Tcp(stream.into_std()?), None),
            Socket::Unix(stream) => (PlainSocket::Unix(stream.into_std()?), None),
            // Without TLS in the build there is no such stream.
            #[cfg_attr(not(feature = "tls"), allow(unreachable_code))]
            Socket::Tls(stream) => {
                let (stream, session) = secure::into_parts(*stream);
                (PlainSocket::Tcp(stream.into_std()?), Some(session))
            }
        };
        Wire::new(socket, session, limits, timeout, Arc::clone(&self.counters))
    }
}

async fn connect_tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    // An address needs no resolver, and so no second thread.
    let stream = match host.parse::<IpAddr>() {
        Ok(address) => TcpStream::connect((address, port)).await?,
        Err(_) => TcpStream::connect((host, port)).await?,
    };
    // Requests are written in batches already; waiting for more would only cost time.
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl Drop for Stream {
    /// Ends the connection itself: closing our descriptor alone would leave it open while a
    /// forked child holds a copy.
    fn drop(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        // Plain sockets shut down at once. A result is of no use: the stream is gone either way.
        let _: Poll<io::Result<()>> = match &mut self.socket {
            None => return,
            Some(Socket::Tcp(stream)) => Pin::new(stream).poll_shutdown(&mut context),
            Some(Socket::Unix(stream)) => Pin::new(stream).poll_shutdown(&mut context),
            Some(Socket::Tls(stream)) => {
                Pin::new(secure::plain(stream)).poll_shutdown(&mut context)
            }
        };
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = ready!(self.socket()?.poll_read(context, buffer));
        let read = buffer.filled().len() - before;
        self.counters.bytes_received.fetch_add(read as u64, Ordering::Relaxed);
        Poll::Ready(result)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = ready!(self.socket()?.poll_write(context, bytes));
        if let Ok(written) = result {
            self.counters.bytes_sent.fetch_add(written as u64, Ordering::Relaxed);
        }
        Poll::Ready(result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket()?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket()?.poll_shutdown(context)
    }
}
