//! A small HTTP/1.1 listener for health, metrics and the guard: what `curl`, Prometheus and probes
//! of Kubernetes ask for.
//!
//! | path | answer |
//! |---|---|
//! | `/cache/health`, `/health` | the health document; 503 while unhealthy; `application/health+json` on Accept |
//! | `/cache/metrics`, `/metrics` | Prometheus text, OpenMetrics on Accept; 404 where `metrics_enabled` is off |
//! | `/cache/slo` | objectives, budgets and burn rates; `?window=30m` |
//! | `/cache/window` | counts and latencies; `?window=30m` |
//! | `/cache/alerts` | alerts and their states, and what sinks did with their notices |
//! | `/cache/rollout` | where the rollout is |
//! | `POST /cache/rollout/{start,advance,force,pause,resume,rollback}` | asks for it; needs the token; `?gradual=true` |
//! | `POST /cache/inputs/NAME` | pushes a number, the body; needs the token |
//! | `/status`, `/version` | plain text, with the release that is selected: `stable` on the old side |
//! | `/livez` | 200 while the process runs; looks at no tier |
//! | `/readyz` | 200 while the cache is open |
//!
//! One thread takes connections and one answers each of them, eight at most; a request has five
//! seconds and 8 KiB for its head. Connections are not kept. What changes state needs the token, and
//! without one it is refused; what only shows is open to whoever reaches the address, 127.0.0.1
//! unless told otherwise. No key of the cache and no value shows anywhere.

use std::{
    io::{Read, Write as _},
    net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    Contingency, Health, HealthStatus,
    keeper::Guard,
    rollout::{Command, Stage},
};
use crate::{
    error::{Error, ErrorKind, Result},
    sync::{self, KeptBack},
    units::parse_span,
};

/// Longer heads are no requests of ours.
const MOST_HEAD_BYTES: usize = 8 << 10;
/// So much of what is too long is read for nothing.
const MOST_LEFT_BYTES: u64 = 64 << 10;
/// A body is a number.
const MOST_BODY_BYTES: usize = 1 << 10;
/// More headers than any client of these paths sends.
const MOST_HEADERS: usize = 64;
/// How long a client may take to ask, and to read.
const PATIENCE: Duration = Duration::from_secs(5);
/// Scrapers, probes and an operator: more at once are turned away with 503.
const MOST_CONNECTIONS: usize = 8;
/// The window of reports, if none is asked for: that of the source's page to watch.
const WINDOW: Duration = Duration::from_secs(1800);

/// Where to listen, and who may change what.
#[derive(Clone, Debug)]
#[must_use = "options do nothing until `serve`"]
pub struct ServeOptions {
    address: String,
    token: Option<String>,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self { address: "127.0.0.1:9464".to_owned(), token: None }
    }
}

impl ServeOptions {
    /// 127.0.0.1, port 9464, and nothing may be changed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the address. Port 0 takes a free one. Default: `127.0.0.1:9464`.
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.address = address.into();
        self
    }

    /// Sets the token that requests which change state must bear (`Authorization: Bearer TOKEN`).
    /// Default: none, and such requests are refused.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }
}

/// A listener under way; dropping it ends it.
#[derive(Debug)]
pub struct Served {
    address: SocketAddr,
    /// The process that listens.
    generation: u32,
    is_over: Arc<AtomicBool>,
}

impl Served {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        if self.generation != sync::generation() {
            return; // In a forked child: the one who would wake is the parent's.
        }
        // Wakes the thread from its wait for a connection; if that fails, it ends with the next.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_millis(200));
    }
}

impl<V: Clone + Send + Sync + 'static> Guard<V> {
    /// Answers over HTTP until the returned value is dropped.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for an empty token, or what the system says of the address.
    pub fn serve(self: &Arc<Self>, options: &ServeOptions) -> Result<Served> {
        if options.token.as_ref().is_some_and(String::is_empty) {
            return Err(Error::new(ErrorKind::Config, "serve.token: must not be empty"));
        }
        let addresses: Vec<SocketAddr> = options.address.to_socket_addrs()?.collect();
        let listener = listen(&addresses)?;
        let address = listener.local_addr()?;
        let is_over = Arc::new(AtomicBool::new(false));
        let generation = sync::generation();
        let served = Served { address, generation, is_over: Arc::clone(&is_over) };
        let (guard, token) = (Arc::downgrade(self), options.token.clone());
        thread::Builder::new().name("tierce-serve".into()).spawn(move || {
            let connections = Arc::new(AtomicUsize::new(0));
            for stream in listener.incoming() {
                let Some(guard) = guard.upgrade() else { return };
                if is_over.load(Ordering::Acquire) {
                    return;
                }
                // A client that is gone by now.
                let Ok(stream) = stream else { continue };
                let (token, connections) = (token.clone(), Arc::clone(&connections));
                let is_full = connections.fetch_add(1, Ordering::AcqRel) >= MOST_CONNECTIONS;
                let count = Count(connections);
                let answer = move || {
                    let _count = count;
                    answer(&guard, token.as_deref(), stream, is_full);
                };
                // Without a thread the client sees its connection end.
                let _ = thread::Builder::new().name("tierce-answer".into()).spawn(answer);
            }
        })?;
        Ok(served)
    }
}

/// A socket that forked children do not have: nobody answers there, so a client would wait for ever
/// once the parent is gone, and the address would stay taken.
fn listen(addresses: &[SocketAddr]) -> Result<KeptBack<TcpListener>> {
    // No fork between the two.
    let _section = sync::section();
    Ok(KeptBack::new(TcpListener::bind(addresses)?))
}

/// One connection that is open.
struct Count(Arc<AtomicUsize>);

impl Drop for Count {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What a client is answered.
#[derive(Debug, PartialEq)]
struct Answer {
    status: u16,
    kind: &'static str,
    body: String,
}

const JSON: &str = "application/json";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

impl Answer {
    fn json(status: u16, value: &Value) -> Self {
        Self::of(status, value.to_string())
    }

    /// A document that is made already.
    fn of(status: u16, body: String) -> Self {
        Self { status, kind: JSON, body }
    }

    fn text(status: u16, body: impl Into<String>) -> Self {
        Self { status, kind: TEXT, body: body.into() }
    }

    fn error(status: u16, message: &str) -> Self {
        Self::json(status, &json!({ "error": message }))
    }
}

/// What a client asks for.
#[derive(Debug, Default, PartialEq)]
struct Request {
    method: String,
    path: String,
    query: Vec<(String, String)>,
    accept: String,
    authorization: String,
    body: String,
}

impl Request {
    fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The window that is asked for.
    fn window(&self) -> Result<Duration, Answer> {
        let Some(text) = self.parameter("window") else { return Ok(WINDOW) };
        parse_span(text).map_err(|rule| Answer::error(400, &format!("window = {text:?}: {rule}")))
    }
}

fn answer<V: Clone + Send + Sync + 'static>(
    guard: &Guard<V>,
    token: Option<&str>,
    mut stream: TcpStream,
    is_full: bool,
) {
    let patient =
        [stream.set_read_timeout(Some(PATIENCE)), stream.set_write_timeout(Some(PATIENCE))];
    if patient.iter().any(std::result::Result::is_err) {
        return;
    }
    let (method, answer) = match read(&mut stream) {
        _ if is_full => (String::new(), Answer::error(503, "too many connections")),
        Ok(request) => (request.method.clone(), route(guard, token, &request)),
        Err(answer) => (String::new(), answer),
    };
    let head = format!(
        "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
         Connection: close\r\n\r\n",
        answer.status,
        reason(answer.status),
        answer.kind,
        answer.body.len()
    );
    let body = if method == "HEAD" { "" } else { answer.body.as_str() };
    // A client that went away misses its answer.
    let _ = stream.write_all(format!("{head}{body}").as_bytes());
    // What it still sends is read, within bounds: else the system would end the connection in a way
    // that takes the answer back.
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let _ = std::io::copy(&mut stream.take(MOST_LEFT_BYTES), &mut std::io::sink());
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Content Too Large",
        _ => "Service Unavailable",
    }
}

/// Reads a request: head and body within their bounds.
fn read(stream: &mut impl Read) -> Result<Request, Answer> {
    let mut bytes = Vec::new();
    loop {
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut parsed = httparse::Request::new(&mut headers);
        match parsed.parse(&bytes) {
            Ok(httparse::Status::Complete(length)) if length <= MOST_HEAD_BYTES => {
                let mut request = Request::of(&parsed);
                let given = length_of(&parsed)?;
                while bytes.len() < length + given {
                    more(stream, &mut bytes)?;
                }
                let body = &bytes[length..length + given];
                request.body = String::from_utf8_lossy(body).into_owned();
                return Ok(request);
            }
            Ok(httparse::Status::Partial) if bytes.len() <= MOST_HEAD_BYTES => {
                more(stream, &mut bytes)?;
            }
            Ok(_) => return Err(Answer::error(413, "the head is above 8 KiB")),
            Err(_) => return Err(Answer::error(400, "this is no HTTP request")),
        }
    }
}

fn more(stream: &mut impl Read, bytes: &mut Vec<u8>) -> Result<(), Answer> {
    let mut chunk = [0; 2048];
    match stream.read(&mut chunk) {
        Ok(0) => Err(Answer::error(400, "the request ends in its midst")),
        Ok(count) => {
            bytes.extend_from_slice(&chunk[..count]);
            Ok(())
        }
        Err(_) => Err(Answer::error(408, "the request took too long")),
    }
}

fn header<'a>(request: &httparse::Request<'_, 'a>, name: &str) -> &'a str {
    let found = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
    found.and_then(|header| std::str::from_utf8(header.value).ok()).unwrap_or_default()
}

fn length_of(request: &httparse::Request<'_, '_>) -> Result<usize, Answer> {
    if !header(request, "transfer-encoding").is_empty() {
        return Err(Answer::error(400, "a body must come with its length"));
    }
    match header(request, "content-length") {
        "" => Ok(0),
        text => match text.trim().parse() {
            Ok(length) if length <= MOST_BODY_BYTES => Ok(length),
            _ => Err(Answer::error(413, "a body must be of at most 1 KiB")),
        },
    }
}

impl Request {
    fn of(parsed: &httparse::Request<'_, '_>) -> Self {
        let target = parsed.path.unwrap_or("/");
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        Self {
            method: parsed.method.unwrap_or_default().to_owned(),
            path: path.to_owned(),
            query: pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            accept: header(parsed, "accept").to_owned(),
            authorization: header(parsed, "authorization").to_owned(),
            body: String::new(),
        }
    }
}

fn route<V: Clone + Send + Sync + 'static>(
    guard: &Guard<V>,
    token: Option<&str>,
    request: &Request,
) -> Answer {
    match request.method.as_str() {
        "GET" | "HEAD" => show(guard, request).unwrap_or_else(|refusal| refusal),
        "POST" => match allowed(token, &request.authorization) {
            Ok(()) => change(guard, request).unwrap_or_else(|refusal| refusal),
            Err(refusal) => refusal,
        },
        _ => Answer::error(405, "must be GET, HEAD or POST"),
    }
}

fn show<V: Clone + Send + Sync + 'static>(
    guard: &Guard<V>,
    request: &Request,
) -> Result<Answer, Answer> {
    let answer = match request.path.as_str() {
        "/cache/health" | "/health" => health(&guard.cache().health(), request),
        "/cache/metrics" | "/metrics" => match guard.metrics_text() {
            Some(body) if request.accept.contains("application/openmetrics-text") => Answer {
                status: 200,
                kind: OPENMETRICS,
                body: crate::metrics::to_openmetrics(&body),
            },
            Some(body) => {
                Answer { status: 200, kind: "text/plain; version=0.0.4; charset=utf-8", body }
            }
            None => Answer::error(404, "metrics are not shown: metrics_enabled is off"),
        },
        "/cache/slo" => match guard.slo(request.window()?) {
            Some(report) => Answer::of(200, report.to_json()),
            None => Answer::error(
                404,
                "no objectives: the environment is neither staging nor production",
            ),
        },
        "/cache/window" => Answer::of(200, guard.cache().window_json(request.window()?)),
        "/cache/alerts" => Answer::of(200, guard.alerts_json()),
        "/cache/actions" => Answer::of(200, guard.contingency_json()),
        "/cache/advice" => Answer::of(200, guard.cache().advise_json()),
        "/cache/rollout" => match guard.rollout_json() {
            Some(status) => Answer::of(200, status),
            None => Answer::error(404, "there is no rollout"),
        },
        "/status" => {
            let health = guard.cache().health();
            let status = health.status.as_str();
            Answer::text(
                200,
                format!(
                    "status: {status}\nversion: {}\ntiering: {}\n",
                    release(guard),
                    guard.cache().tiering()
                ),
            )
        }
        "/version" => Answer::text(200, format!("{}\n", release(guard))),
        "/livez" => Answer::text(200, "ok\n"),
        "/readyz" if guard.cache().is_closed() => Answer::text(503, "closed\n"),
        "/readyz" => Answer::text(200, "ok\n"),
        _ => Answer::error(404, "no such path"),
    };
    Ok(answer)
}

/// The release that is selected, in the words of the phased plan's scripts: `stable` and `previous`
/// are the old side, `new` is the new one.
fn release<V: Clone + Send + Sync + 'static>(guard: &Guard<V>) -> &'static str {
    match guard.rollout() {
        Some(status) if status.stage == Stage::RolledBack => "previous (stable)",
        Some(status) if status.percent > 0.0 => "new",
        _ => "stable",
    }
}

/// One document, two ways to write it down.
fn health(health: &Health, request: &Request) -> Answer {
    let status = if health.status == HealthStatus::Unhealthy { 503 } else { 200 };
    if !request.accept.contains("application/health+json") {
        return Answer::of(status, health.to_json());
    }
    let word = |status: HealthStatus| match status {
        HealthStatus::Healthy => "pass",
        HealthStatus::Degraded => "warn",
        HealthStatus::Unhealthy => "fail",
    };
    let mut checks: serde_json::Map<String, Value> = health
        .dependencies
        .iter()
        .map(|tier| {
            let check = json!([{
                "componentType": "datastore",
                "status": word(tier.status),
                "output": tier.reason.as_deref().unwrap_or_default(),
            }]);
            (format!("{}:availability", tier.name), check)
        })
        .collect();
    for (name, value) in [
        ("latency:p50", health.tier_metrics.latency_p50),
        ("latency:p95", health.tier_metrics.latency_p95),
    ] {
        let check = json!([{ "observedValue": value, "observedUnit": "ms", "status": "pass" }]);
        checks.insert(name.to_owned(), check);
    }
    let body = json!({
        "status": word(health.status),
        "version": env!("CARGO_PKG_VERSION"),
        "serviceId": health.service,
        "checks": checks,
    });
    Answer { status, kind: "application/health+json", body: body.to_string() }
}

/// Whether a request may change state.
fn allowed(token: Option<&str>, authorization: &str) -> Result<(), Answer> {
    let Some(token) = token else {
        return Err(Answer::error(403, "no token is set: nothing can be changed over HTTP"));
    };
    let given = authorization.strip_prefix("Bearer ").unwrap_or_default();
    // In the same time wherever the first difference is.
    let differs = given.len() ^ token.len();
    let differs = given
        .bytes()
        .zip(token.bytes())
        .fold(differs, |sum, (one, other)| sum | usize::from(one ^ other));
    if differs == 0 { Ok(()) } else { Err(Answer::error(401, "the token is not the right one")) }
}

fn change<V: Clone + Send + Sync + 'static>(
    guard: &Guard<V>,
    request: &Request,
) -> Result<Answer, Answer> {
    if let Some(input) = request.path.strip_prefix("/cache/inputs/") {
        let value = match request.body.trim() {
            "true" => 1.0,
            "false" => 0.0,
            number => number
                .parse()
                .map_err(|_| Answer::error(400, "the body must be a number, true or false"))?,
        };
        guard.push(input, value).map_err(|error| Answer::error(409, &error.to_string()))?;
        return Ok(Answer::json(200, &json!({ "input": input, "value": value })));
    }
    if let Some(name) = request.path.strip_prefix("/cache/actions/") {
        let refuse = |status, error: crate::Error| Answer::error(status, &error.to_string());
        let action = Contingency::parse(name, |name| request.parameter(name));
        let action = action.map_err(|error| refuse(400, error))?;
        let action = action.ok_or_else(|| Answer::error(404, "no such path"))?;
        let by = request.parameter("by").unwrap_or("http");
        guard.act(by, action).map_err(|error| refuse(409, error))?;
        return Ok(Answer::of(200, guard.contingency_json()));
    }
    if let Some(verb) = request.path.strip_prefix("/cache/survey/") {
        match verb {
            "begin" => guard.cache().begin_survey(),
            "end" => guard.cache().end_survey(),
            _ => return Err(Answer::error(404, "no such path")),
        }
        return Ok(Answer::json(200, &json!({ "survey": guard.cache().survey() })));
    }
    let name = match request.path.strip_prefix("/cache/rollout/") {
        Some("rollback") if request.parameter("gradual") == Some("true") => "gradual_rollback",
        Some("gradual_rollback") | None => "",
        Some(name) => name,
    };
    let command = Command::parse(name).ok_or_else(|| Answer::error(404, "no such path"))?;
    let by = request.parameter("by").unwrap_or("http");
    guard.command(by, command).map_err(|error| Answer::error(409, &error.to_string()))?;
    Ok(Answer::json(200, &json!(guard.rollout())))
}

#[cfg(test)]
mod tests;
