//! A TLS handshake that is cut, after more and more bytes of either side: there is no connection and nothing is
//! said in the clear, callers have a miss within their deadline, and the next attempt is one by TLS again.

// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tierce::{BreakerOptions, Cache, RedisOptions, Tiering};
use tierce_tests::{redis::Redis, secure::Authority, server::free_port, waiting::wait_until};

const PASSWORD: &str = "not-in-the-clear";
const ALLOWED: Duration = Duration::from_millis(500);
/// What a call may take beyond its deadline on a loaded machine.
const SLACK: Duration = Duration::from_millis(1500);
/// Between two cuts: the hello of the client has some 250 bytes, what the server answers some 2,000.
const STEP: usize = 83;
const WHOLE: u64 = u64::MAX;

/// How many bytes of a connection pass, upwards and downwards, and the first of each that were said.
#[derive(Default)]
struct Cable {
    limits: [AtomicU64; 2],
    said: Mutex<Vec<u8>>,
}

impl Cable {
    fn set(&self, [up, down]: [u64; 2]) {
        self.limits[0].store(up, Ordering::SeqCst);
        self.limits[1].store(down, Ordering::SeqCst);
    }

    fn carry(&self, way: usize, mut from: TcpStream, mut to: TcpStream) {
        let (mut left, mut bytes) = (self.limits[way].load(Ordering::SeqCst), [0; 4096]);
        while left > 0
            && let Ok(read @ 1..) = from.read(&mut bytes)
        {
            let passes = usize::try_from(left).unwrap_or(read).min(read);
            if way == 0 {
                self.said.lock().unwrap().extend(&bytes[..read]);
            }
            if to.write_all(&bytes[..passes]).is_err() {
                break;
            }
            left -= passes as u64;
        }
        _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }

    /// Carries connections to a server for as long as this process lives; its port.
    fn lay(self: &Arc<Self>, server: u16) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, cable) = (listener.local_addr().unwrap().port(), Arc::clone(self));
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let Ok(far) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                let pairs = [(near.try_clone(), far.try_clone()), (Ok(far), Ok(near))];
                for (way, (from, to)) in pairs.into_iter().enumerate() {
                    let (Ok(from), Ok(to), cable) = (from, to, Arc::clone(&cable)) else {
                        continue;
                    };
                    thread::spawn(move || cable.carry(way, from, to));
                }
            }
        });
        port
    }
}

fn cache(authority: &Authority, port: u16) -> Cache {
    let redis = RedisOptions::new()
        .tls_ca_file(authority.file())
        .url(format!("rediss://localhost:{port}"))
        .password(PASSWORD)
        .connect_timeout(Duration::from_secs(10))
        .read_timeout(ALLOWED)
        .write_timeout(ALLOWED);
    let breaker = BreakerOptions::new().open_for(Duration::from_millis(20));
    Cache::builder().tiering(Tiering::L3).redis(redis).breaker(breaker).build().unwrap()
}

fn cut(authority: &Authority, server: u16, limits: [u64; 2]) {
    let cable = Arc::new(Cable::default());
    cable.set(limits);
    let far = cache(authority, cable.lay(server));
    let get = || {
        let begin = Instant::now();
        let found = far.get("key");
        assert!(begin.elapsed() < ALLOWED + SLACK, "{limits:?}: {:?}", begin.elapsed());
        found
    };
    wait_until("an attempt that fails", || {
        assert_eq!(get(), None, "{limits:?}");
        far.redis_statistics().unwrap().connect_failures > 0
    });
    cable.set([WHOLE; 2]);
    wait_until("L3", || get().is_some_and(|found| found == "value"));
    let said = std::mem::take(&mut *cable.said.lock().unwrap());
    assert!(!said.is_empty(), "{limits:?}");
    for clear in [PASSWORD, "HELLO", "AUTH"] {
        let is_said = said.windows(clear.len()).any(|bytes| bytes == clear.as_bytes());
        assert!(!is_said, "{limits:?}: {clear}");
    }
}

#[test]
fn a_handshake_that_is_cut_is_no_connection_and_nothing_is_said_in_the_clear() {
    let (authority, port) = (Authority::new(), free_port());
    let options = [authority.options(port), vec!["--requirepass".into(), PASSWORD.into()]].concat();
    let words: Vec<&str> = options.iter().map(String::as_str).collect();
    let _redis = Redis::with(&words);
    let direct = cache(&authority, port);
    wait_until("L3", || {
        direct.set("key", "value".into()).unwrap();
        direct.get("key").is_some()
    });
    let up = (0..200).step_by(STEP).map(|after| [after, WHOLE]);
    let down = (0..1_200).step_by(STEP).map(|after| [WHOLE, after]);
    thread::scope(|scope| {
        for limits in up.chain(down) {
            let authority = &authority;
            scope.spawn(move || cut(authority, port, limits));
        }
    });
}
