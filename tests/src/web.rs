//! Programs that listen for HTTP at a port of their own, and what they answer.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use crate::{process::Worker, server::free_port, waiting::wait_until};

/// A program that listens at 127.0.0.1; gone when dropped.
#[derive(Debug)]
pub struct Program {
    port: u16,
    _process: Worker,
}

impl Program {
    /// Starts a program with these arguments, in which `PORT` stands for the port, and waits until
    /// it says at `ready` that it is.
    ///
    /// # Panics
    /// If it is not installed or does not get ready.
    pub fn start(program: &str, arguments: &[&str], ready: &str) -> Self {
        Self::start_at(free_port(), program, arguments, ready)
    }

    /// The same at this port.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub fn start_at(port: u16, program: &str, arguments: &[&str], ready: &str) -> Self {
        let arguments: Vec<String> =
            arguments.iter().map(|argument| argument.replace("PORT", &port.to_string())).collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let program = Self { port, _process: Worker::start(program, &arguments) };
        wait_until("the program is ready", || program.ask(ready).is_some());
        program
    }

    /// Its address.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What it answers, if it does so with the status 200.
    pub fn ask(&self, target: &str) -> Option<String> {
        get(&self.address(), target, "").filter(|answer| answer.status == 200).map(|it| it.body)
    }
}

/// An answer over HTTP.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its head, with the line of the status.
    pub head: String,
    /// Its body.
    pub body: String,
}

/// Asks for a page, with further lines of the head, each ended by a line break.
pub fn get(address: &str, target: &str, head: &str) -> Option<Answer> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    // HTTP/1.0: no chunks, and the connection ends with the answer.
    let request = format!("GET {target} HTTP/1.0\r\nHost: {address}\r\n{head}\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, head: head.to_owned(), body: body.to_owned() })
}

/// Text as it stands in the query of an address.
pub fn escaped(text: &str) -> String {
    let byte = |byte: u8| match byte {
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}
