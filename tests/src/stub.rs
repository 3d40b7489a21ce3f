//! A server that takes itself for a cluster, greets as one and answers everything else with one
//! error reply.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

/// The server; its threads end with the process.
#[derive(Debug)]
pub struct Stub {
    port: u16,
    asked: Arc<AtomicU64>,
}

impl Stub {
    /// Starts a server that answers MGET and all that is no greeting with this reply, in which `{}`
    /// stands for its address.
    ///
    /// # Panics
    /// If there is no port left.
    #[allow(clippy::unwrap_used)]
    pub fn start(reply: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(AtomicU64::new(0));
        let reply = reply.replace("{}", &format!("127.0.0.1:{port}"));
        let of_threads = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (reply, asked) = (reply.clone(), Arc::clone(&of_threads));
                thread::spawn(move || serve(stream, port, &reply, &asked));
            }
        });
        Self { port, asked }
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// How often it was asked by MGET or EVALSHA.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}

/// Ends with the connection.
fn serve(mut stream: TcpStream, port: u16, reply: &str, asked: &AtomicU64) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut bytes = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&buffer[..read]);
        while let Some((words, rest)) = command(&bytes) {
            let answer = answer(&words, port, reply, asked);
            bytes = rest;
            stream.write_all(answer.as_bytes()).ok()?;
        }
    }
}

/// The first command, if it is whole, and what follows.
fn command(bytes: &[u8]) -> Option<(Vec<String>, Vec<u8>)> {
    let line_end = |at: usize| bytes.get(at..)?.windows(2).position(|pair| pair == b"\r\n");
    let number = |at: usize, end: usize| -> Option<usize> {
        std::str::from_utf8(&bytes[at + 1..at + end]).ok()?.parse().ok()
    };
    let first = line_end(0)?;
    let (count, mut at) = (number(0, first)?, first + 2);
    let mut words = Vec::new();
    for _ in 0..count {
        let line = line_end(at)?;
        let length = number(at, line)?;
        let begin = at + line + 2;
        words.push(String::from_utf8_lossy(bytes.get(begin..begin + length)?).into_owned());
        at = begin + length + 2;
    }
    Some((words, bytes.get(at..)?.to_vec()))
}

fn answer(words: &[String], port: u16, reply: &str, asked: &AtomicU64) -> String {
    let bulk = |text: &str| format!("${}\r\n{text}\r\n", text.len());
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match &words[..] {
        ["CLUSTER", "SLOTS"] => {
            let node = format!("*3\r\n$9\r\n127.0.0.1\r\n:{port}\r\n{}", bulk("id"));
            format!("*1\r\n*3\r\n:0\r\n:16383\r\n{node}")
        }
        ["CLUSTER", "INFO"] => bulk("cluster_state:ok\r\ncluster_current_epoch:1\r\n"),
        ["ROLE"] => "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n".to_owned(),
        ["INFO", ..] => bulk("# Server\r\nrun_id:0123456789abcdef\r\n"),
        ["TIME"] => format!("*2\r\n{}{}", bulk("1700000000"), bulk("0")),
        ["PING"] => "+PONG\r\n".to_owned(),
        ["ASKING"] => "+OK\r\n".to_owned(),
        ["SCRIPT", ..] => bulk("0000000000000000000000000000000000000000"),
        [first, ..] => {
            if matches!(*first, "MGET" | "EVALSHA") {
                asked.fetch_add(1, Ordering::Relaxed);
            }
            format!("{reply}\r\n")
        }
        [] => "-ERR\r\n".to_owned(),
    }
}
