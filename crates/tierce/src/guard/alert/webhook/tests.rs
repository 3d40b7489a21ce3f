use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        mpsc::{Receiver, channel},
    },
    thread,
    time::Instant,
};

use serde_json::json;
use tokio_rustls::rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use super::{
    super::{NoticeStatus, Severity},
    *,
};

const SECRET: &str = "hunter2";
const PATIENCE: Duration = Duration::from_secs(20);

fn notice(alert: &str, status: NoticeStatus) -> Notice {
    Notice {
        alert: alert.into(),
        status,
        severity: Severity::Warning,
        condition: "error_rate > 1%".into(),
        value: Some("2%".into()),
        cache: "users".into(),
        started: SystemTime::now(),
        ended: (status == NoticeStatus::Resolved).then(SystemTime::now),
    }
}

fn firing(alert: &str) -> Notice {
    notice(alert, NoticeStatus::Firing)
}

/// Answers one request after the other with these, the last one for all that follow; an empty one is
/// never given. Ends with the test's process.
struct Place {
    url: String,
    requests: Receiver<(String, Value)>,
}

impl Place {
    fn answering(answers: &'static [&'static str]) -> Self {
        Self::over(answers, |stream| stream, "http")
    }

    fn over<S: Read + Write>(
        answers: &'static [&'static str],
        wrap: impl Fn(TcpStream) -> S + Send + 'static,
        scheme: &str,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, requests) = channel();
        thread::spawn(move || {
            let mut hanging = Vec::new();
            let mut answers = answers.iter();
            let mut answer = "";
            for stream in listener.incoming() {
                answer = answers.next().unwrap_or(&answer);
                let mut stream = wrap(stream.unwrap());
                // Who does not trust the certificate says nothing.
                let Some(request) = request(&mut stream) else { continue };
                if sender.send(request).is_err() {
                    return;
                }
                if answer.is_empty() {
                    hanging.push(stream);
                } else {
                    let end = "Content-Length: 0\r\nConnection: close\r\n\r\n";
                    stream.write_all(format!("HTTP/1.1 {answer}\r\n{end}").as_bytes()).unwrap();
                }
            }
        });
        Self { url: format!("{scheme}://localhost:{port}/services/{SECRET}"), requests }
    }

    fn next(&self) -> (String, Value) {
        self.requests.recv_timeout(PATIENCE).expect("the sink sends")
    }

    fn is_quiet(&self, span: Duration) -> bool {
        self.requests.recv_timeout(span).is_err()
    }
}

fn request(stream: &mut impl Read) -> Option<(String, Value)> {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.to_ascii_lowercase();
            let length = length.split("content-length: ").nth(1).unwrap();
            let length: usize = length.lines().next().unwrap().parse().unwrap();
            if body.len() >= length {
                return Some((head.to_owned(), serde_json::from_str(body).unwrap()));
            }
        }
        match stream.read(&mut chunk) {
            Ok(count) if count > 0 => bytes.extend_from_slice(&chunk[..count]),
            _ => return None,
        }
    }
}

fn stats_when(sink: &WebhookSink, is_so: impl Fn(&SinkStats) -> bool) -> SinkStats {
    let until = Instant::now() + PATIENCE;
    loop {
        let stats = sink.stats().unwrap();
        if is_so(&stats) {
            return stats;
        }
        assert!(Instant::now() < until, "{stats:?}");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn every_place_is_sent_what_it_takes() {
    let place = Place::answering(&["200 OK"]);
    let slack = WebhookOptions::slack(&place.url).open().unwrap();
    slack.notify(&firing("A")).unwrap();
    let (head, body) = place.next();
    assert!(head.starts_with(&format!("POST /services/{SECRET} HTTP/1.1\r\n")), "{head}");
    assert!(head.to_lowercase().contains("content-type: application/json"), "{head}");
    assert_eq!(body["text"], "[WARNING] users: A");

    let pager = WebhookOptions::pagerduty(SECRET).url(&place.url).open().unwrap();
    pager.notify(&notice("A", NoticeStatus::Resolved)).unwrap();
    let (_, body) = place.next();
    assert_eq!((&body["routing_key"], &body["event_action"]), (&json!(SECRET), &json!("resolve")));

    let webhook = WebhookOptions::webhook(&place.url).token("abc").open().unwrap();
    webhook.notify(&firing("A")).unwrap();
    let (head, body) = place.next();
    assert!(head.to_lowercase().contains("authorization: bearer abc"), "{head}");
    assert_eq!((&body["version"], &body["receiver"]), (&json!("4"), &json!("tierce")));

    let alertmanager = WebhookOptions::alertmanager(&place.url).open().unwrap();
    alertmanager.notify(&firing("A")).unwrap();
    let (head, body) = place.next();
    assert!(head.starts_with(&format!("POST /services/{SECRET}/api/v2/alerts ")), "{head}");
    assert_eq!(body[0]["labels"]["alertname"], "A");
    assert!(body[0]["endsAt"].is_string(), "over, unless it is said again: {body}");
    assert_eq!(stats_when(&alertmanager, |stats| stats.taken == 1).waiting, 0);
}

#[test]
fn who_is_overloaded_gets_it_later_and_who_refuses_it_does_not() {
    let place = Place::answering(&["503 No", "429 No\r\nRetry-After: 2", "200 OK"]);
    let sink = WebhookOptions::slack(&place.url).open().unwrap();
    sink.notify(&firing("A")).unwrap();
    let first = (place.next(), Instant::now());
    let second = (place.next(), Instant::now());
    let third = (place.next(), Instant::now());
    assert!(first.0 == second.0 && second.0 == third.0);
    // The first distance is a half to a whole second, the second one or two seconds but for the wish.
    assert!(second.1 - first.1 >= Duration::from_millis(450));
    assert!(third.1 - second.1 >= Duration::from_millis(1950));
    let stats = stats_when(&sink, |stats| stats.taken == 1);
    assert_eq!((stats.failed, stats.last_error), (2, None));

    for refusal in [&["400 Bad"], &["302 Elsewhere\r\nLocation: http://127.0.0.1:1/"]] {
        let place = Place::answering(refusal);
        let sink = WebhookOptions::slack(&place.url).open().unwrap();
        sink.notify(&firing("A")).unwrap();
        place.next();
        let stats = stats_when(&sink, |stats| stats.refused == 1);
        assert_eq!(stats.last_error, Some(format!("status {}", &refusal[0][..3])));
        assert!(place.is_quiet(Duration::from_millis(1500)), "it is sent again");
    }
}

#[test]
fn a_place_that_hangs_holds_up_neither_callers_nor_other_sinks() {
    let (hanging, other) = (Place::answering(&[""]), Place::answering(&["200 OK"]));
    let short = Duration::from_millis(300);
    let slow = WebhookOptions::slack(&hanging.url).timeout(short).open().unwrap();
    let quick = WebhookOptions::slack(&other.url).open().unwrap();
    slow.notify(&firing("A")).unwrap();
    hanging.next();
    let begun = Instant::now();
    slow.notify(&firing("B")).unwrap();
    quick.notify(&firing("C")).unwrap();
    assert!(begun.elapsed() < short / 2, "{:?}", begun.elapsed());
    other.next();
    let stats = stats_when(&slow, |stats| stats.failed >= 1);
    assert!(
        stats.last_error.as_deref().is_some_and(|told| told.starts_with("timeout")),
        "{stats:?}"
    );
    assert_eq!(stats.waiting, 2);
}

#[test]
fn several_alerts_go_into_one_message_where_the_place_takes_that() {
    let place = Place::answering(&["500 No", "200 OK"]);
    let sink = WebhookOptions::alertmanager(&place.url).open().unwrap();
    sink.notify(&firing("A")).unwrap();
    place.next();
    sink.notify(&firing("B")).unwrap();
    let (_, body) = place.next();
    assert_eq!(body.as_array().map(Vec::len), Some(2), "{body}");
    assert_eq!(stats_when(&sink, |stats| stats.taken == 2).failed, 1);
}

#[test]
fn an_alertmanager_is_told_again_what_fires() {
    let place = Place::answering(&["200 OK"]);
    let options = WebhookOptions::alertmanager(&place.url).refresh(Duration::from_secs(1));
    let sink = options.open().unwrap();
    sink.notify(&firing("A")).unwrap();
    for _ in 0..3 {
        assert_eq!(place.next().1[0]["labels"]["alertname"], "A");
    }
    sink.notify(&notice("A", NoticeStatus::Resolved)).unwrap();
    place.next();
    assert!(place.is_quiet(Duration::from_millis(1500)), "it is over");
}

#[test]
fn what_waits_is_tried_once_more_when_the_sink_goes() {
    let place = Place::answering(&["503 No\r\nRetry-After: 60", "200 OK"]);
    let sink = WebhookOptions::slack(&place.url).open().unwrap();
    sink.notify(&firing("A")).unwrap();
    place.next();
    stats_when(&sink, |stats| stats.failed == 1);
    drop(sink);
    assert_eq!(place.next().1["text"], "[WARNING] users: A");
    assert!(place.is_quiet(Duration::from_millis(200)));
}

#[test]
fn the_certificate_is_checked() {
    let folder = tempfile::tempdir().unwrap();
    let run = std::process::Command::new("openssl")
        .args(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2".split(' '),
        )
        .args("-subj /CN=localhost -addext subjectAltName=DNS:localhost -addext basicConstraints=CA:FALSE".split(' '))
        .args("-keyout key.pem -out certificate.pem".split(' '))
        .current_dir(folder.path())
        .output()
        .expect("openssl is installed");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let chain = vec![CertificateDer::from_pem_file(folder.path().join("certificate.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(folder.path().join("key.pem")).unwrap();
    let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let server = Arc::new(server);
    let wrap =
        move |stream| StreamOwned::new(ServerConnection::new(Arc::clone(&server)).unwrap(), stream);
    let place = Place::over(&["200 OK"], wrap, "https");

    let stranger = WebhookOptions::slack(&place.url).open().unwrap();
    stranger.notify(&firing("A")).unwrap();
    let stats = stats_when(&stranger, |stats| stats.failed == 1);
    let told = stats.last_error.as_deref().unwrap_or_default();
    assert!(told.starts_with("TLS: invalid peer certificate"), "{told}");
    drop(stranger);

    let friend = WebhookOptions::slack(&place.url).ca_file(folder.path().join("certificate.pem"));
    let friend = friend.open().unwrap();
    friend.notify(&firing("B")).unwrap();
    assert_eq!(place.next().1["text"], "[WARNING] users: B");
    let refused = WebhookOptions::slack(&place.url).ca_file(folder.path().join("key.pem")).open();
    assert!(refused.unwrap_err().to_string().contains("must be a PEM file of certificates"));
}

#[test]
fn nothing_shows_what_is_secret() {
    let url = format!("http://127.0.0.1:1/services/{SECRET}");
    let options = WebhookOptions::slack(&url).token(SECRET).timeout(Duration::from_secs(1));
    let mut told = vec![format!("{options:?}")];
    let sink = options.open().unwrap();
    sink.notify(&firing("A")).unwrap();
    told.push(format!("{:?}", stats_when(&sink, |stats| stats.failed == 1)));
    told.push(format!("{sink:?}"));
    assert!(told[1].contains("slack 127.0.0.1:1"), "{told:?}");
    let pager = WebhookOptions::pagerduty(SECRET);
    told.push(format!("{pager:?}{:?}", pager.clone().open()));
    let wrong = [
        WebhookOptions::slack(format!("ftp://host/{SECRET}")),
        WebhookOptions::slack(format!("http:///{SECRET}")),
        WebhookOptions::slack(SECRET),
        WebhookOptions::webhook(format!("http://user:{SECRET}@host/")),
        WebhookOptions::pagerduty(format!("{SECRET} ")),
        WebhookOptions::webhook("http://host").token(format!("{SECRET}\n")),
    ];
    told.extend(wrong.into_iter().map(|options| options.open().unwrap_err().to_string()));
    assert_eq!(told.iter().filter(|text| text.contains(SECRET)).count(), 0, "{told:#?}");
    let spans = WebhookOptions::slack("http://host");
    let refused = spans.clone().timeout(Duration::ZERO).open().unwrap_err().to_string();
    assert_eq!(refused, "sink slack: timeout = 0ns: must be from 1ms to 5m");
    assert!(spans.refresh(Duration::from_millis(1)).open().is_err());
}
