//! TLS to a real server with a certificate of an authority made for the test.

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    path::Path,
    process::Command,
    sync::mpsc,
    thread,
    time::Duration,
};

use bytes::Bytes;

use super::{
    record,
    server::{Server, free_port},
    value,
};
use crate::{
    error::ErrorKind,
    tier::{
        RemoteTier, Tier,
        redis::{RedisOptions, RedisTier},
    },
};

const RELAXED: Duration = Duration::from_secs(10);

fn openssl(folder: &Path, arguments: &str) {
    let output = Command::new("openssl")
        .args(arguments.split_whitespace())
        .current_dir(folder)
        .output()
        .expect("openssl is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// An authority `name`.pem.
fn authority(folder: &Path, name: &str) {
    openssl(
        folder,
        &format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj \
             /CN={name} -keyout {name}.key -out {name}.pem -addext \
             basicConstraints=critical,CA:TRUE"
        ),
    );
}

/// A certificate `name`.pem for `localhost`, signed by the authority `by` for so many days.
fn certificate(folder: &Path, name: &str, by: &str, days: &str) {
    fs::write(folder.join("names"), "subjectAltName=DNS:localhost\n").unwrap();
    openssl(
        folder,
        &format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN={name} \
             -keyout {name}.key -out {name}.csr"
        ),
    );
    openssl(
        folder,
        &format!(
            "x509 -req -in {name}.csr -CA {by}.pem -CAkey {by}.key -CAcreateserial -days {days} \
             -extfile names -out {name}.pem"
        ),
    );
}

/// A server with the certificate `s`, which asks for clients' certificates or does not, and its
/// port.
fn server(folder: &Path, asks_clients: &str) -> (Server, u16) {
    let port = free_port();
    let file = |name: &str| folder.join(name).display().to_string();
    let server = Server::with(&[
        "--tls-port",
        &port.to_string(),
        "--bind",
        "127.0.0.1",
        "--tls-auth-clients",
        asks_clients,
        "--tls-cert-file",
        &file("s.pem"),
        "--tls-key-file",
        &file("s.key"),
        "--tls-ca-cert-file",
        &file("ours.pem"),
    ]);
    (server, port)
}

#[test]
fn tls_reaches_only_a_server_whose_certificate_is_good() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    authority(path, "ours");
    authority(path, "other");
    certificate(path, "s", "ours", "2");
    let (_server, port) = server(path, "no");
    let options = || {
        RedisOptions::new().connect_timeout(RELAXED).read_timeout(RELAXED).write_timeout(RELAXED)
    };
    let url = format!("rediss://localhost:{port}");
    let tier = RedisTier::new(options().url(&url).tls_ca_file(path.join("ours.pem"))).unwrap();
    let big = Bytes::from(vec![7; 1 << 20]);
    tier.write(b"k", &record(big.clone())).unwrap();
    assert!(value(&tier, b"k") == Some(big));
    tier.close();

    for (what, options) in [
        ("an unknown authority", options().url(&url).tls_ca_file(path.join("other.pem"))),
        ("the roots of the web", options().url(&url)),
        (
            "another name",
            options().host("127.0.0.1").port(port).tls(true).tls_ca_file(path.join("ours.pem")),
        ),
        ("no TLS", options().host("localhost").port(port)),
    ] {
        let tier = RedisTier::new(options).unwrap();
        let error = tier.read(b"k").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Network, "{what}: {error}");
        assert_eq!(tier.statistics().connects, 0, "{what}");
    }
    for wrong in ["none.pem", "s.key", "names"] {
        let error =
            RedisTier::new(options().url(&url).tls_ca_file(path.join(wrong))).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        assert!(error.to_string().contains("redis.tls_ca_file"), "{error}");
    }
}

#[test]
fn a_server_that_asks_for_a_certificate_is_shown_ours() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    for name in ["ours", "other"] {
        authority(path, name);
    }
    for (name, authority) in [("s", "ours"), ("mine", "ours"), ("foreign", "other")] {
        certificate(path, name, authority, "2");
    }
    let (_server, port) = server(path, "yes");
    let options = || {
        RedisOptions::new()
            .url(format!("rediss://localhost:{port}"))
            .tls_ca_file(path.join("ours.pem"))
            .connect_timeout(RELAXED)
            .read_timeout(RELAXED)
            .write_timeout(RELAXED)
    };
    let with = |certificate: &str, key: &str| {
        options().tls_certificate(path.join(certificate)).tls_key(path.join(key))
    };
    let tier = RedisTier::new(with("mine.pem", "mine.key")).unwrap();
    tier.write(b"k", &record("v")).unwrap();
    assert_eq!(value(&tier, b"k").as_deref(), Some(&b"v"[..]));
    tier.close();

    for (what, options) in
        [("none", options()), ("of another authority", with("foreign.pem", "foreign.key"))]
    {
        let tier = RedisTier::new(options).unwrap();
        let error = tier.read(b"k").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Network, "{what}: {error}");
        assert_eq!(tier.statistics().connects, 0, "{what}");
    }
    for (certificate, key, option) in [
        ("none.pem", "mine.key", "redis.tls_certificate"),
        ("mine.key", "mine.key", "redis.tls_certificate"),
        ("mine.pem", "none.key", "redis.tls_key"),
        ("mine.pem", "mine.pem", "redis.tls_key"),
        ("mine.pem", "foreign.key", "redis.tls_key"),
    ] {
        let error = RedisTier::new(with(certificate, key)).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        assert!(error.to_string().contains(option), "{certificate}, {key}: {error}");
    }
}

#[test]
fn tls_refuses_a_certificate_that_is_out_of_date() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    authority(path, "ours");
    for (days, is_good) in [("1", true), ("-1", false)] {
        certificate(path, "s", "ours", days);
        let (_server, port) = server(path, "no");
        let tier = RedisTier::new(
            RedisOptions::new()
                .url(format!("rediss://localhost:{port}"))
                .tls_ca_file(path.join("ours.pem"))
                .connect_timeout(RELAXED)
                .read_timeout(RELAXED),
        )
        .unwrap();
        let outcome = tier.read(b"k");
        assert_eq!(outcome.is_ok(), is_good, "{days} days: {outcome:?}");
        assert_eq!(tier.statistics().connects, u64::from(is_good));
    }
}

#[test]
fn tls_is_not_downgraded_to_a_plain_server() {
    let port = free_port();
    let _server = Server::with(&["--port", &port.to_string(), "--bind", "127.0.0.1"]);
    let tier = RedisTier::new(
        RedisOptions::new()
            .url(format!("rediss://localhost:{port}"))
            .password("must-not-travel-in-the-clear")
            .connect_timeout(Duration::from_millis(500))
            .read_timeout(RELAXED),
    )
    .unwrap();
    assert_eq!(tier.read(b"k").unwrap_err().kind(), ErrorKind::Network);
    assert_eq!((tier.statistics().connects, tier.statistics().bytes_sent), (0, 0));
}

#[test]
fn tls_is_not_downgraded_after_an_answer_in_the_clear() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (heard, first_bytes) = mpsc::channel();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut buffer = [0; 4096];
            _ = stream.read(&mut buffer);
            _ = stream.write_all(b"-ERR unknown command\r\n");
            if heard.send(buffer[0]).is_err() {
                return;
            }
        }
    });
    let tier = RedisTier::new(
        RedisOptions::new()
            .url(format!("rediss://localhost:{port}"))
            .password("must-not-travel-in-the-clear")
            .connect_timeout(RELAXED)
            .read_timeout(RELAXED),
    )
    .unwrap();
    assert_eq!(tier.read(b"k").unwrap_err().kind(), ErrorKind::Network);
    // Further attempts come by themselves. This is how a TLS handshake begins.
    for _ in 0..3 {
        assert_eq!(first_bytes.recv_timeout(2 * RELAXED).unwrap(), 0x16);
    }
    assert_eq!((tier.statistics().connects, tier.statistics().bytes_sent), (0, 0));
}
