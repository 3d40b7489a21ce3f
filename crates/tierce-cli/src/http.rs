//! Asking the listener of a running cache (feature `serve` of the library).

use std::{
    env,
    io::{self, Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use crate::output::Failure;

/// How long a listener may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The variable with the token of the listener: an argument would show in the list of processes.
const TOKEN: &str = "TIERCE_TOKEN";

/// Asks a listener for a page.
pub(crate) fn get(address: &str, path: &str) -> Result<String, Failure> {
    ask(address, "GET", path, "")
}

/// Has a listener do something, with the token of the environment.
pub(crate) fn post(address: &str, path: &str) -> Result<String, Failure> {
    let token = env::var(TOKEN).map_err(|_| format!("{TOKEN}: must be the listener's token"))?;
    if token.contains(char::is_control) {
        return Err(format!("{TOKEN}: must be of printable characters").into());
    }
    ask(address, "POST", path, &format!("Authorization: Bearer {token}\r\nContent-Length: 0\r\n"))
}

fn ask(address: &str, method: &str, path: &str, headers: &str) -> Result<String, Failure> {
    let refuse = |error: io::Error| format!("{address}: {error}");
    let mut stream = TcpStream::connect(address).map_err(refuse)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\n{headers}Connection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(refuse)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("the answer is no HTTP")?;
    if head.split_ascii_whitespace().nth(1) != Some("200") {
        let first = head.lines().next().unwrap_or("");
        return Err(format!("{address}{path}: {first}: {body}").into());
    }
    Ok(body.to_owned())
}

/// A text as a value in a query.
pub(crate) fn in_query(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let written = |byte: u8| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(written).collect()
}
