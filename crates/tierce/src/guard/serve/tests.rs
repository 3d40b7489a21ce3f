use std::process::{Command as Process, Output};

use super::*;
use crate::{Bytes, Cache, guard::Objectives};

struct Server {
    cache: Cache,
    _guard: Arc<Guard<Bytes>>,
    served: Served,
}

fn serve(token: Option<&str>) -> Server {
    let cache = Cache::builder().build().unwrap();
    let guard =
        Guard::of(&cache).objectives(Objectives::named("staging").unwrap()).build().unwrap();
    let guard = Arc::new(guard);
    let mut options = ServeOptions::new().address("127.0.0.1:0");
    if let Some(token) = token {
        options = options.token(token);
    }
    let served = guard.serve(&options).unwrap();
    Server { cache, _guard: guard, served }
}

impl Server {
    /// Runs a line of the shell with `HOST` for the address.
    fn shell(&self, line: &str) -> Output {
        let line = line.replace("HOST", &self.served.address().to_string());
        Process::new("sh").args(["-c", &line]).output().unwrap()
    }

    fn said(&self, line: &str) -> String {
        String::from_utf8_lossy(&self.shell(line).stdout).into_owned()
    }

    fn status(&self, arguments: &str) -> String {
        self.said(&format!("curl -s -o /dev/null -w '%{{http_code}}' {arguments}"))
    }
}

#[test]
fn the_lines_of_the_sources_work_as_printed() {
    let server = serve(None);
    let kind = server.said("curl -s http://HOST/cache/health | jq '.dependencies[0].stats.type'");
    assert_eq!(kind, "\"memory\"\n");
    assert_eq!(server.shell("curl -s -f http://HOST/cache/health").status.code(), Some(0));
    assert!(server.shell("curl -s http://HOST/version | grep stable").status.success());
    assert!(server.shell("curl -s http://HOST/status | grep 'version: stable'").status.success());
    server.cache.close();
    assert_eq!(server.shell("curl -s -f http://HOST/cache/health").status.code(), Some(22));
    assert_eq!(server.status("http://HOST/cache/health"), "503");
    assert_eq!(
        (server.status("http://HOST/readyz"), server.status("http://HOST/livez")),
        ("503".into(), "200".into())
    );
}

#[test]
fn every_page_is_there_and_what_is_not_is_said() {
    let server = serve(None);
    for page in [
        "/cache/health",
        "/health",
        "/metrics",
        "/cache/slo",
        "/cache/window",
        "/cache/alerts",
        "/readyz",
    ] {
        assert_eq!(server.status(&format!("http://HOST{page}")), "200", "{page}");
    }
    assert_eq!(server.status("-I http://HOST/health"), "200");
    for (arguments, status) in [
        ("http://HOST/", "404"),
        ("http://HOST/cache/rollout", "404"),
        ("'http://HOST/cache/slo?window=30'", "400"),
        ("-X DELETE http://HOST/health", "405"),
        ("-H \"X: $(head -c 9000 /dev/zero | tr '\\0' a)\" http://HOST/health", "413"),
    ] {
        assert_eq!(server.status(arguments), status, "{arguments}");
    }
    let slo = server.said("curl -s 'http://HOST/cache/slo?window=5m'");
    let slo: Value = serde_json::from_str(&slo).unwrap();
    assert_eq!((&slo["objectives"], &slo["window_s"]), (&"staging".into(), &300.0.into()));
}

#[test]
fn the_health_document_comes_in_the_form_that_is_asked_for() {
    let server = serve(None);
    let line = "curl -s -D - -H 'Accept: application/health+json' http://HOST/health";
    let said = server.said(line);
    let (head, body) = said.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("Content-Type: application/health+json"), "{head}");
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!((&body["status"], &body["serviceId"]), (&"pass".into(), &"CacheService".into()));
    assert_eq!(body["checks"]["L1-Memory:availability"][0]["status"], "pass");
}

#[test]
fn what_changes_state_needs_the_token() {
    let path = "-X POST http://HOST/cache/rollout/rollback";
    assert_eq!(serve(None).status(path), "403");
    let server = serve(Some("secret"));
    for (header, status) in [
        ("", "401"),
        ("-H 'Authorization: Bearer secre'", "401"),
        ("-H 'Authorization: Bearer secret2'", "401"),
        ("-H 'Authorization: Bearer Secret'", "401"),
        // Let in, and there is no rollout.
        ("-H 'Authorization: Bearer secret'", "409"),
    ] {
        assert_eq!(server.status(&format!("{header} {path}")), status, "{header}");
    }
    let push = "-H 'Authorization: Bearer secret' -X POST http://HOST/cache/inputs/approval";
    // Nobody would take it.
    assert_eq!(server.status(&format!("-d true {push}")), "409");
    assert_eq!(server.status(&format!("-d yes {push}")), "400");
    assert_eq!(server.status(&format!("-d nan {push}")), "409");
}

#[test]
fn requests_in_pieces_are_read_and_others_refused() {
    struct Pieces(Vec<u8>, usize);
    impl Read for Pieces {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            let count = self.1.min(self.0.len()).min(out.len());
            out[..count].copy_from_slice(&self.0[..count]);
            self.0.drain(..count);
            Ok(count)
        }
    }
    let whole = b"POST /cache/inputs/a?x=1&window=5m HTTP/1.1\r\nContent-Length: 3\r\n\r\n0.5";
    for piece in 1..whole.len() {
        let request = read(&mut Pieces(whole.to_vec(), piece)).unwrap();
        assert_eq!((request.path.as_str(), request.body.as_str()), ("/cache/inputs/a", "0.5"));
        assert_eq!(request.parameter("window"), Some("5m"));
        let cut = read(&mut Pieces(whole[..piece].to_vec(), 100)).unwrap_err();
        assert_eq!(cut.status, 400, "{piece}");
    }
    for (text, status) in [
        ("\x16\x03\x01", 400),
        ("POST / HTTP/1.1\r\nContent-Length: 1025\r\n\r\n", 413),
        ("POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 413),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    ] {
        let refusal = read(&mut Pieces(text.into(), 100)).unwrap_err();
        assert_eq!(refusal.status, status, "{text}");
    }
}

#[test]
fn an_operator_sheds_blocks_and_lifts_by_lines_of_curl() {
    let server = serve(Some("secret"));
    let act = |path: &str| {
        let line =
            format!("curl -s -X POST -H 'Authorization: Bearer secret' 'http://HOST/cache/{path}'");
        serde_json::from_str::<Value>(&server.said(&line)).unwrap()
    };
    assert_eq!(server.status("-X POST http://HOST/cache/actions/block"), "401");
    assert_eq!(act("actions/shed?to=70%25&answer=error&by=ada")["gate"]["passes"], 0.7);
    assert!(act("actions/shed?to=seventy")["error"].as_str().unwrap().contains("seventy"));
    server.cache.set("a", Bytes::from("1")).unwrap();
    assert_eq!(act("actions/block")["gate"]["is_blocked"], true);
    assert_eq!(server.cache.get("a"), None);
    let state = server.said("curl -s http://HOST/cache/actions");
    assert!(state.contains("\"is_blocked\":true"), "{state}");
    assert_eq!(act("actions/lift")["gate"]["passes"], 1.0);
    assert!(server.cache.get("a").is_some());
    assert!(act("actions/reset")["error"].as_str().unwrap().contains("no connection"));
    assert!(act("actions/melt")["error"].is_string());
    // What needs to look at keys does so from here on.
    assert_eq!(act("survey/begin")["survey"]["reads_sampled"], 0);
    (0..80).for_each(|_| drop(server.cache.get("a")));
    let advice = server.said("curl -s http://HOST/cache/advice");
    let advice: Value = serde_json::from_str(&advice).unwrap();
    assert_eq!((&advice["survey"]["reads_sampled"], &advice["advice"]), (&10.into(), &json!([])));
    assert_eq!(act("survey/end")["survey"], Value::Null);
}
