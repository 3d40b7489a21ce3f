//! The origin: an HTTP server that takes 464 ms for each read, the baseline of the source.
//!
//! | request | answer |
//! |---|---|
//! | `GET /item/KEY` | 464 ms later, the [item](super::item) in the version that was in force when the request *arrived*, as a slow query would have it |
//! | `POST /item/KEY` | at once, the item in its next version, which is in force from now on |
//!
//! One thread with one event loop; thousands of reads may be asleep at a time. The same thread
//! waits for SIGINT and SIGTERM on behalf of the demo.

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode, body::Bytes, body::Incoming, server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpListener,
    runtime,
    signal::unix::{SignalKind, signal},
};

use super::{floors::FIRST_VERSION, item};

/// What one read takes: the latency before caching that the source document reports.
pub(super) const READ_TIME: Duration = Duration::from_millis(464);

/// An origin in a thread of this process. It serves until the process ends.
pub(super) struct Origin {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    versions: Mutex<HashMap<u64, u8>>,
    /// True: the first item that is changed is read in its old version for ever.
    lies: bool,
    lied_about: Mutex<Option<u64>>,
    reads: AtomicU64,
    interrupted: AtomicBool,
}

impl Origin {
    /// Starts to serve on a free port of the loopback interface.
    pub(super) fn start(lies: bool) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            versions: Mutex::default(),
            lies,
            lied_about: Mutex::default(),
            reads: AtomicU64::new(0),
            interrupted: AtomicBool::new(false),
        });
        let (bound, address) = mpsc::channel();
        let server = Arc::clone(&shared);
        thread::Builder::new().name("origin".into()).spawn(move || {
            let outcome = runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .and_then(|runtime| runtime.block_on(serve(server, &bound)));
            if let Err(error) = outcome {
                // Nobody listens any more where the demo is over.
                let _ = bound.send(Err(error));
            }
        })?;
        let address =
            address.recv().map_err(|_| io::Error::other("the origin's thread ended early"))??;
        Ok(Self { address, shared })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many reads it was asked for.
    pub(super) fn reads(&self) -> u64 {
        self.shared.reads.load(Ordering::Relaxed)
    }

    /// True once somebody asked the demo to end.
    pub(super) fn interrupted(&self) -> bool {
        self.shared.interrupted.load(Ordering::Relaxed)
    }
}

async fn serve(
    shared: Arc<Shared>,
    bound: &mpsc::Sender<io::Result<SocketAddr>>,
) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
        let mut signal = signal(kind)?;
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            while signal.recv().await.is_some() {
                shared.interrupted.store(true, Ordering::Relaxed);
            }
        });
    }
    let _ = bound.send(Ok(listener.local_addr()?));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, most likely: those who wait get their turn a little later.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let shared = Arc::clone(&shared);
        let service = service_fn(move |request| answer(Arc::clone(&shared), request));
        // A worker that is killed breaks its connections: nothing to say about that.
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let key = request.uri().path().strip_prefix("/item/").and_then(|it| it.parse().ok());
    let (status, body) = match (request.method(), key) {
        (&Method::GET, Some(key)) => {
            shared.reads.fetch_add(1, Ordering::Relaxed);
            let version = shared.version(key);
            tokio::time::sleep(READ_TIME).await;
            (StatusCode::OK, item::make(key, version))
        }
        (&Method::POST, Some(key)) => match shared.change(key) {
            Some(version) => (StatusCode::OK, item::make(key, version)),
            None => (StatusCode::CONFLICT, Vec::new()),
        },
        _ => (StatusCode::NOT_FOUND, Vec::new()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    Ok(response)
}

impl Shared {
    fn version(&self, key: u64) -> u8 {
        if *lock(&self.lied_about) == Some(key) {
            return FIRST_VERSION;
        }
        lock(&self.versions).get(&key).copied().unwrap_or(FIRST_VERSION)
    }

    /// `None` where the item has no further version.
    fn change(&self, key: u64) -> Option<u8> {
        if self.lies {
            lock(&self.lied_about).get_or_insert(key);
        }
        let mut versions = lock(&self.versions);
        let version = versions.entry(key).or_insert(FIRST_VERSION);
        *version = version.checked_add(1)?;
        Some(*version)
    }
}

/// A lock whose holder cannot have left it half way: each does one step on a map.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
