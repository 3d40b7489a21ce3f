//! The byte stream of one connection: TCP, unix socket or TLS, counted.

use std::{
    io,
    net::IpAddr,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, Waker, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};

use super::{counters::Counters, options::Address, secure};

/// A stream that counts its bytes and tells the other side when it is dropped.
pub(super) struct Stream {
    socket: Socket,
    counters: Arc<Counters>,
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<secure::Tls>),
}

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
        Ok(Self { socket, counters })
    }

    fn socket(&mut self) -> Pin<&mut (dyn Duplex + Unpin + '_)> {
        match &mut self.socket {
            Socket::Tcp(stream) => Pin::new(stream),
            Socket::Unix(stream) => Pin::new(stream),
            Socket::Tls(stream) => Pin::new(&mut **stream),
        }
    }
}

trait Duplex: AsyncRead + AsyncWrite {}

impl<T: AsyncRead + AsyncWrite> Duplex for T {}

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
        match &mut self.socket {
            Socket::Tcp(stream) => _ = Pin::new(stream).poll_shutdown(&mut context),
            Socket::Unix(stream) => _ = Pin::new(stream).poll_shutdown(&mut context),
            Socket::Tls(stream) => {
                _ = Pin::new(secure::plain(stream)).poll_shutdown(&mut context);
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = ready!(self.socket().poll_read(context, buffer));
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
        let result = ready!(self.socket().poll_write(context, bytes));
        if let Ok(written) = result {
            self.counters.bytes_sent.fetch_add(written as u64, Ordering::Relaxed);
        }
        Poll::Ready(result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket().poll_shutdown(context)
    }
}
