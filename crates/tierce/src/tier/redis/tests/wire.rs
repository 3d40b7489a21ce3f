//! Connections that break in the middle, and servers that answer anything but what was asked.

use std::{
    io::{Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tempfile::TempDir;

use super::{
    record,
    server::{RELAXED, Server, wait_until},
    value,
};
use crate::{
    error::ErrorKind,
    tier::{
        RemoteTier, Tier,
        redis::{RedisOptions, RedisTier, link::Link, reply, request::Work, scripts},
    },
};

/// Answers to what a connection is greeted with: PING, TIME and the scripts.
fn greeted() -> Vec<u8> {
    let scripts = b"+OK\r\n".repeat(scripts::load_all(false).len());
    [&b"+PONG\r\n*2\r\n$1\r\n1\r\n$1\r\n0\r\n"[..], &scripts].concat()
}

/// What stands in a server's place on a unix socket, a thread for each connection.
struct Stub {
    folder: TempDir,
    accepted: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
    ends: Arc<AtomicBool>,
}

impl Stub {
    fn new(serve: impl Fn(UnixStream) + Send + Sync + 'static) -> Self {
        let stub = Self {
            folder: tempfile::tempdir().unwrap(),
            accepted: Arc::default(),
            ended: Arc::default(),
            ends: Arc::default(),
        };
        let listener = UnixListener::bind(stub.socket()).unwrap();
        let (accepted, ended, ends) =
            (Arc::clone(&stub.accepted), Arc::clone(&stub.ended), Arc::clone(&stub.ends));
        let serve = Arc::new(serve);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if ends.load(Ordering::Acquire) {
                    return;
                }
                accepted.fetch_add(1, Ordering::AcqRel);
                let (serve, ended) = (Arc::clone(&serve), Arc::clone(&ended));
                thread::spawn(move || {
                    serve(stream.unwrap());
                    ended.fetch_add(1, Ordering::AcqRel);
                });
            }
        });
        stub
    }

    /// Greets, then answers every request by these bytes.
    fn answering(answer: &[u8]) -> Self {
        let answer = answer.to_vec();
        Self::new(move |mut stream| {
            let mut buffer = vec![0; 64 << 10];
            let greeted = greeted();
            let mut next = &greeted[..];
            while stream.read(&mut buffer).is_ok_and(|read| read > 0) {
                if stream.write_all(next).is_err() {
                    return;
                }
                next = &answer;
            }
        })
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    fn options(&self) -> RedisOptions {
        RedisOptions::new()
            .unix_path(self.socket())
            .connect_timeout(RELAXED)
            .read_timeout(RELAXED)
            .write_timeout(RELAXED)
    }

    fn tier(&self) -> RedisTier {
        RedisTier::new(self.options()).unwrap()
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Release);
        _ = UnixStream::connect(self.socket());
    }
}

/// A way to a server that ends after so many bytes of the server's.
fn cutting(server: &Server, after: usize) -> Stub {
    let socket = server.socket();
    Stub::new(move |mut client| {
        let mut server = UnixStream::connect(&socket).unwrap();
        let (mut from_client, mut to_server) =
            (client.try_clone().unwrap(), server.try_clone().unwrap());
        let upward = thread::spawn(move || {
            _ = std::io::copy(&mut from_client, &mut to_server);
            _ = to_server.shutdown(std::net::Shutdown::Both);
        });
        let mut left = after;
        let mut buffer = vec![0; 4096];
        while left > 0 {
            let most = left.min(buffer.len());
            match server.read(&mut buffer[..most]) {
                Ok(read) if read > 0 && client.write_all(&buffer[..read]).is_ok() => left -= read,
                _ => break,
            }
        }
        _ = client.shutdown(std::net::Shutdown::Both);
        _ = server.shutdown(std::net::Shutdown::Both);
        upward.join().unwrap();
    })
}

/// A value that names its key.
fn named(key: &[u8]) -> Vec<u8> {
    key.repeat(20)
}

#[test]
fn connection_cut_after_any_byte_gives_right_answers_or_errors() {
    let server = Server::with(&[]);
    let tier = server.tier();
    let keys: Vec<Vec<u8>> = (0..4_u8).map(|number| vec![b'a' + number; 4]).collect();
    for key in &keys {
        tier.write(key, &record(named(key))).unwrap();
    }
    let greeting = {
        let tier = server.tier();
        tier.way().unwrap();
        tier.remove(b"none").unwrap();
        tier.statistics().bytes_received as usize - ":1\r\n".len()
    };
    let one = {
        let tier = server.tier();
        tier.read(&keys[0]).unwrap();
        tier.statistics().bytes_received as usize - greeting
    };
    let (mut answers, mut errors) = (0, 0);
    for cut in 0..2 * one {
        let stub = cutting(&server, greeting + cut);
        let tier = stub.tier();
        let outcomes: Vec<_> = thread::scope(|scope| {
            let ask = |key: &Vec<u8>| (key.clone(), tier.read(key));
            let callers: Vec<_> = keys.iter().map(|key| scope.spawn(move || ask(key))).collect();
            callers.into_iter().map(|caller| caller.join().unwrap()).collect()
        });
        for (key, outcome) in outcomes {
            match outcome {
                Ok(found) => {
                    answers += 1;
                    assert_eq!(found.record.unwrap().value, named(&key), "cut after {cut}");
                }
                Err(error) => {
                    errors += 1;
                    assert_eq!(error.kind(), ErrorKind::Network, "cut after {cut}: {error}");
                }
            }
        }
    }
    // A write that fails may take the answers with it that were on their way.
    assert!(answers >= one / 2 && errors >= 2 * one, "{answers} answers, {errors} errors");
}

#[test]
fn anything_but_a_reply_ends_the_connection_at_once() {
    let deep = b"*1\r\n".repeat(90);
    let long_line = [&b"-"[..], &[b'x'; 40_000]].concat();
    let answers: [&[u8]; 10] = [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\0\0\0\0",
        b"$536870912\r\n",
        b"$99999999999999999999\r\n",
        b"$-7\r\n",
        b"*2147483647\r\n",
        b"*3\r\n$99999999\r\n",
        b"$3\r\nabcdef",
        &deep,
        &long_line,
    ];
    for answer in answers {
        let stub = Stub::answering(answer);
        let tier = stub.tier();
        let start = Instant::now();
        let error = tier.read(b"k").unwrap_err();
        let shown = String::from_utf8_lossy(&answer[..answer.len().min(20)]).into_owned();
        assert_eq!(error.kind(), ErrorKind::Network, "{shown}: {error}");
        assert!(error.to_string().contains("reply"), "{shown}: {error}");
        assert!(start.elapsed() < RELAXED / 2, "{shown}: nobody waits for the rest");
        wait_until("end", || stub.ended.load(Ordering::Acquire) >= 1);
    }
}

#[test]
fn values_up_to_the_bound_come_and_larger_ones_end_the_connection() {
    let server = Server::with(&[]);
    let tier = RedisTier::new(server.options().max_value_bytes(1 << 20)).unwrap();
    let large = Bytes::from(vec![7; 1 << 20]);
    tier.write(b"k", &record(large.clone())).unwrap();
    assert!(value(&tier, b"k") == Some(large));
    let mut raw = server.raw();
    () = redis::cmd("SET").arg("big").arg(vec![0_u8; 4 << 20]).query(&mut raw).unwrap();
    let call = tier.read_call().unwrap();
    let big = |_: &Link| Ok(Work::One(redis::cmd("GET").arg("big").to_owned()));
    let error = call.value(0, &big).err().unwrap();
    assert!(error.to_string().contains("longer"), "{error}");
    wait_until("recovery", || tier.read(b"k").is_ok_and(|found| found.record.is_some()));
    assert_eq!(tier.statistics().reconnects, 1);
}

#[test]
fn a_reply_that_nobody_asked_for_ends_the_connection() {
    // Two answers for one request, or one and a half: the rest must never be another caller's.
    for answer in [b":1\r\n:2\r\n", &b":1\r\n:2"[..]] {
        let stub = Stub::answering(answer);
        let tier = stub.tier();
        let error = tier.remove(b"k").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Network, "{error}");
        wait_until("end", || stub.ended.load(Ordering::Acquire) >= 1);
    }
}

#[test]
fn a_reply_in_drops_costs_the_deadline_and_no_more() {
    let stub = Stub::new(|mut stream| {
        let mut buffer = vec![0; 64 << 10];
        _ = stream.read(&mut buffer);
        _ = stream.write_all(&greeted());
        _ = stream.read(&mut buffer);
        for byte in b"$1000000\r\n".iter().chain(&[b'x'; 1000]) {
            thread::sleep(Duration::from_millis(20));
            if stream.write_all(&[*byte]).is_err() {
                return;
            }
        }
    });
    let allowed = Duration::from_millis(200);
    let tier = RedisTier::new(stub.options().read_timeout(allowed)).unwrap();
    let start = Instant::now();
    let error = tier.read(b"k").unwrap_err();
    let took = start.elapsed();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(took >= allowed && took < allowed + Duration::from_millis(1500), "{took:?}");
    wait_until("end", || stub.ended.load(Ordering::Acquire) == 1);
}

#[test]
fn an_error_among_several_replies_is_that_of_its_command_alone() {
    let server = Server::with(&[]);
    let tier = server.tier();
    let mut raw = server.raw();
    () = redis::cmd("LPUSH").arg("list").arg("x").query(&mut raw).unwrap();
    let mut pipeline = redis::pipe();
    pipeline.cmd("SET").arg("a").arg("1").cmd("GET").arg("list").cmd("GET").arg("a");
    let work = |_: &Link| Ok(Work::Packed(pipeline.get_packed_pipeline(), 3));
    let answer = tier.read_call().unwrap().answer(0, &work).unwrap();
    let replies: Vec<_> = answer.replies.iter().map(|reply| reply::value(reply).unwrap()).collect();
    let [redis::Value::Okay, redis::Value::ServerError(error), redis::Value::BulkString(one)] =
        &replies[..]
    else {
        panic!("{replies:?}")
    };
    assert_eq!((error.code(), &one[..]), ("WRONGTYPE", &b"1"[..]));
    assert_eq!(tier.statistics().connects, 1);
}

#[test]
fn many_callers_share_their_writes() {
    let server = Server::with(&[]);
    let tier = server.tier();
    tier.write(b"k", &record("v")).unwrap();
    let before = tier.statistics();
    thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                for _ in 0..100 {
                    tier.read(b"k").unwrap();
                }
            });
        }
    });
    let after = tier.statistics();
    let (requests, writes) = (after.round_trips - before.round_trips, after.writes - before.writes);
    assert_eq!(requests, 6400);
    // How many fewer depends on the machine; `make bench-l3` measures it.
    assert!(writes * 2 < requests, "{writes} writes for {requests} requests");
}
