//! The workers' side of the [origin](super::origin): a blocking HTTP client with one connection.
//!
//! Each caller owns one, with an event loop of its own: a read of one never waits for another's,
//! and the connection stays open between requests, as a pool would keep it.

use std::{io, net::SocketAddr, time::Duration};

use http_body_util::{BodyExt, Empty};
use hyper::{
    Method, Request,
    body::Bytes,
    client::conn::http1::{self, SendRequest},
    header::HOST,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, runtime};

/// When a request is given up: ten times what the origin takes.
const PATIENCE: Duration = Duration::from_secs(5);

/// A client with a connection that is made when it is needed and kept.
pub(super) struct Client {
    origin: SocketAddr,
    runtime: runtime::Runtime,
    connection: Option<SendRequest<Empty<Bytes>>>,
}

impl Client {
    pub(super) fn new(origin: SocketAddr) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { origin, runtime, connection: None })
    }

    /// Reads an item.
    pub(super) fn fetch(&mut self, key: u64) -> io::Result<Bytes> {
        self.ask(Method::GET, key)
    }

    /// Puts the next version of an item in force and returns it.
    pub(super) fn change(&mut self, key: u64) -> io::Result<Bytes> {
        self.ask(Method::POST, key)
    }

    fn ask(&mut self, method: Method, key: u64) -> io::Result<Bytes> {
        let Self { origin, runtime, connection } = self;
        let outcome = runtime.block_on(async {
            tokio::time::timeout(PATIENCE, ask(*origin, connection, method, key)).await
        });
        let outcome = outcome.unwrap_or_else(|_| {
            Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {PATIENCE:?}")))
        });
        if outcome.is_err() {
            *connection = None;
        }
        outcome
    }
}

async fn ask(
    origin: SocketAddr,
    connection: &mut Option<SendRequest<Empty<Bytes>>>,
    method: Method,
    key: u64,
) -> io::Result<Bytes> {
    if connection.as_ref().is_some_and(SendRequest::is_closed) {
        *connection = None;
    }
    let sender = match connection {
        Some(sender) => sender,
        None => {
            let stream = TcpStream::connect(origin).await?;
            stream.set_nodelay(true)?;
            let (sender, driver) =
                http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
            tokio::spawn(driver);
            connection.insert(sender)
        }
    };
    sender.ready().await.map_err(io::Error::other)?;
    let request = Request::builder()
        .method(method)
        .uri(format!("/item/{key}"))
        .header(HOST, origin.to_string())
        .body(Empty::new())
        .map_err(io::Error::other)?;
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
    if status.is_success() {
        Ok(body)
    } else {
        Err(io::Error::other(format!("the origin answered {status} for item {key}")))
    }
}

#[cfg(test)]
mod tests {
    use std::{thread, time::Instant};

    use super::super::{
        item,
        origin::{Origin, READ_TIME},
    };
    use super::*;

    #[test]
    fn reads_of_the_origin_take_464_ms_each_and_many_run_at_a_time() {
        let origin = Origin::start(false).unwrap();
        let begin = Instant::now();
        thread::scope(|scope| {
            for key in 0..40 {
                let address = origin.address();
                scope.spawn(move || {
                    let body = Client::new(address).unwrap().fetch(key).unwrap();
                    assert!(begin.elapsed() >= READ_TIME);
                    assert_eq!(item::check(key, &body), Ok(1));
                });
            }
        });
        assert_eq!(origin.reads(), 40);
        assert!(begin.elapsed() < READ_TIME * 10, "they ran one after the other");
    }

    #[test]
    fn a_change_is_in_force_at_once_and_not_for_reads_on_their_way() {
        let origin = Origin::start(false).unwrap();
        let address = origin.address();
        let early = thread::spawn(move || Client::new(address).unwrap().fetch(7).unwrap());
        while origin.reads() == 0 {
            thread::yield_now();
        }
        let mut client = Client::new(address).unwrap();
        assert_eq!(item::check(7, &client.change(7).unwrap()), Ok(2));
        assert_eq!(item::check(7, &client.fetch(7).unwrap()), Ok(2));
        assert_eq!(item::check(7, &early.join().unwrap()), Ok(1));
    }

    #[test]
    fn a_lying_origin_keeps_the_first_changed_item_as_it_was() {
        let origin = Origin::start(true).unwrap();
        let mut client = Client::new(origin.address()).unwrap();
        assert_eq!(item::check(7, &client.change(7).unwrap()), Ok(2));
        assert_eq!(item::check(8, &client.change(8).unwrap()), Ok(2));
        assert_eq!(item::check(7, &client.fetch(7).unwrap()), Ok(1));
        assert_eq!(item::check(8, &client.fetch(8).unwrap()), Ok(2));
    }
}
