//! Metrics and traces sent to a receiver of OTLP that is not ours: a small server that takes them apart
//! with the official messages of OpenTelemetry (`tests/python/otlp_receiver.py`), and answers as it is
//! told to: not at all, late, with 503, with a part refused.

#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde_json::Value;
use tierce::{
    Bytes, Cache, MemoryOptions, RedisOptions, StoreOptions, Tiering,
    guard::{Alerts, Guard, otlp::OtlpOptions},
};
use tierce_tests::{
    otlp::{NOTHING, Receiver, metrics, number, operations, point, texts},
    redis::Redis,
    server::free_port,
    store_folder,
    waiting::{PATIENCE, wait_until},
};
use tracing_subscriber::layer::SubscriberExt as _;

/// L3 of a server that may take its time: a busy machine is no fault here.
fn relaxed(redis: &Redis) -> RedisOptions {
    let time = Duration::from_secs(10);
    let options = RedisOptions::new().unix_path(redis.socket());
    options.connect_timeout(time).read_timeout(time).write_timeout(time)
}

#[test]
fn all_metrics_arrive_with_their_names_units_values_and_temporality() {
    let receiver = Receiver::start();
    let redis = Redis::start();
    let folder = store_folder();
    let cache = Cache::builder()
        .service("users")
        .tiering(Tiering::L1L2L3)
        .memory(MemoryOptions::new().max_entries(30))
        .shared(StoreOptions::new(folder.path().join("s")).max_bytes(4 << 20))
        .redis(relaxed(&redis))
        .build()
        .unwrap();
    let alerts = "alerts: [{name: Cold, condition: hit_rate < 90%, severity: warning}]";
    let variables = [
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test,service.name=other"),
        ("OTEL_SERVICE_NAME", "shop"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=two%20words"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "60000"),
    ];
    let place = receiver.place();
    let guard = Guard::of(&cache)
        .alerts(Alerts::from_yaml(alerts).unwrap())
        .otlp(OtlpOptions::from_env_vars(variables).endpoint(place))
        .start()
        .unwrap();
    for number in 0..200 {
        let key = format!("key {}", number % 100);
        if number % 2 == 0 {
            cache.set(&key, Bytes::from("value")).unwrap();
        }
        cache.get(&key);
    }
    let failing = |_: &[u8]| Err::<Bytes, _>(std::io::Error::other("no"));
    cache.get_or_load("none", failing).unwrap_err();
    let stats = cache.stats();
    assert!(guard.flush_otlp(PATIENCE), "{:?}", guard.otlp());
    assert!(guard.flush_otlp(PATIENCE), "{:?}", guard.otlp());

    let requests = receiver.received();
    let [first, second] = &requests[..] else { panic!("{} messages", requests.len()) };
    assert_eq!(
        (&first["path"], &first["headers"]["api-key"]),
        (&"/v1/metrics".into(), &"two words".into())
    );
    let resource = &first["message"]["resourceMetrics"][0]["resource"]["attributes"];
    let resource = texts(resource);
    assert_eq!(resource["service.name"], "shop");
    assert_eq!(resource["deployment.environment.name"], "test");
    assert_eq!(resource["service.instance.id"].len(), 36);
    assert_eq!(
        (resource["telemetry.sdk.name"], resource["telemetry.sdk.language"]),
        ("tierce", "rust")
    );

    let (named, later) = (metrics(first), metrics(second));
    for metric in named.values() {
        let unit = metric["unit"].as_str().unwrap();
        assert!(["s", "By", "1"].contains(&unit) || unit.starts_with('{'), "{metric}");
        assert!(metric["description"].as_str().is_some_and(|text| !text.is_empty()), "{metric}");
        for kind in ["sum", "histogram"] {
            let Some(data) = metric.get(kind) else { continue };
            assert_eq!(data["aggregationTemporality"], "AGGREGATION_TEMPORALITY_CUMULATIVE");
            assert_eq!(data.get("isMonotonic").is_some(), kind == "sum", "{metric}");
            for point in data["dataPoints"].as_array().unwrap() {
                let (start, at) =
                    (number(&point["startTimeUnixNano"]), number(&point["timeUnixNano"]));
                assert!(start < at, "{metric}");
            }
        }
    }
    let of = |name: &str, attributes: &[(&str, &str)]| {
        let all = [&[("tierce.cache", "users")], attributes].concat();
        let (one, other) = (point(named[name], &all), point(later[name], &all));
        assert_eq!(one["startTimeUnixNano"], other["startTimeUnixNano"], "{name}");
        assert!(number(&one["timeUnixNano"]) < number(&other["timeUnixNano"]), "{name}");
        one
    };
    let whole = |name: &str, attributes: &[(&str, &str)]| number(&of(name, attributes)["asInt"]);
    let result = |result| ("tierce.result", result);
    let tier = |tier| ("tierce.tier", tier);
    assert_eq!(whole("tierce.requests", &[tier("L1"), result("hit")]), stats.tiers[0].hits);
    assert_eq!(whole("tierce.requests", &[tier("none"), result("miss")]), stats.misses);
    assert_eq!(whole("tierce.operations", &[("tierce.op", "set")]), 100);
    let failed = [("tierce.op", "load"), ("error.type", "loader")];
    assert_eq!(whole("tierce.operation.errors", &failed), 1);
    let evictions = stats.tiers[0].evictions.size;
    assert!(evictions > 0);
    assert_eq!(whole("tierce.evictions", &[tier("L1"), ("tierce.cause", "size")]), evictions);
    assert_eq!(whole("tierce.entries", &[tier("L1")]), stats.tiers[0].entries);
    assert_eq!(whole("tierce.size", &[tier("L2")]), stats.tiers[1].bytes);
    assert_eq!(named["tierce.size"]["unit"], "By");
    let timed = stats.tiers[0].timed as f64 / stats.tiers[0].latency.count as f64;
    assert_eq!(of("tierce.latency.sample_ratio", &[tier("L1")])["asDouble"], timed);
    assert_eq!(whole("tierce.breaker.state", &[tier("L3"), ("tierce.state", "closed")]), 1);
    let cold = [("tierce.alert", "Cold"), ("tierce.severity", "warning")];
    whole("tierce.alert.active", &cold);
    assert_eq!(whole("tierce.otlp.exports", &[result("taken")]), 0);
    let taken = [("tierce.cache", "users"), result("taken")];
    assert_eq!(number(&point(later["tierce.otlp.exports"], &taken)["asInt"]), 1);

    // Histograms: limits in seconds, counts between them, and what OpenTelemetry has for databases.
    let l3 = of("tierce.tier.duration", &[tier("L3")]);
    assert_eq!(named["tierce.tier.duration"]["unit"], "s");
    let calls = point(
        named["db.client.operation.duration"],
        &[("tierce.cache", "users"), ("db.system.name", "redis")],
    );
    let limits: Vec<f64> = calls["explicitBounds"]
        .as_array()
        .unwrap()
        .iter()
        .map(|limit| limit.as_f64().unwrap())
        .collect();
    assert_eq!(limits, [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0]);
    let latency = &stats.tiers[2].latency;
    assert!(latency.count > 0);
    for point in [l3, calls] {
        let counts = point["bucketCounts"].as_array().unwrap();
        let limits = point["explicitBounds"].as_array().unwrap();
        assert_eq!(counts.len(), limits.len() + 1);
        assert_eq!(counts.iter().map(number).sum::<u64>(), latency.count);
        assert_eq!(number(&point["count"]), latency.count);
        let sum = point["sum"].as_f64().unwrap();
        assert!((sum - latency.sum.as_secs_f64()).abs() < 1e-9, "{sum}");
        assert_eq!(point["max"].as_f64().unwrap(), latency.max.as_secs_f64());
    }
    let below = latency.thresholds.iter().find(|it| it.limit == Duration::from_millis(1)).unwrap();
    assert_eq!(number(&calls["bucketCounts"][0]), below.count);

    // Prometheus' text says of itself what was sent.
    let text = guard.metrics_text().unwrap();
    assert!(
        text.contains("tierce_otlp_exports_total{cache=\"users\",result=\"taken\"} 2"),
        "{text}"
    );
}

#[test]
fn nothing_that_was_counted_is_lost_while_the_receiver_is_away_and_nobody_waits() {
    let port = free_port();
    let cache = Cache::builder().service("away").build().unwrap();
    let period = Duration::from_millis(100);
    let place = format!("http://127.0.0.1:{port}");
    let guard = Guard::of(&cache)
        .otlp(OtlpOptions::from_env_vars(NOTHING).endpoint(&place).period(period))
        .start()
        .unwrap();
    for _ in 0..10 {
        cache.get("a");
    }
    wait_until("an attempt fails", || guard.otlp().unwrap().failed > 0);
    let stats = guard.otlp().unwrap();
    assert!(stats.last_error.as_ref().unwrap().contains("network"), "{stats:?}");
    for _ in 0..10 {
        cache.get("a");
    }
    let receiver = Receiver::at(port);
    wait_until("it arrives", || {
        receiver.received().iter().any(|request| operations(request, "get", "away") == 20)
    });
    // A process that was told nothing knows the counts from the begin.
    assert_eq!(operations(&receiver.received()[0], "get", "away"), 20);

    // It goes again, and comes back empty.
    drop(receiver);
    let failed = guard.otlp().unwrap().failed;
    wait_until("attempts fail again", || guard.otlp().unwrap().failed > failed);
    for _ in 0..5 {
        cache.get("a");
    }
    let receiver = Receiver::at(port);
    wait_until("it arrives again", || {
        receiver.received().iter().any(|request| operations(request, "get", "away") == 25)
    });
}

#[test]
fn a_receiver_that_asks_for_time_gets_it_and_one_that_refuses_is_not_asked_again() {
    let receiver = Receiver::start();
    let cache = Cache::builder().service("asked").build().unwrap();
    let period = Duration::from_secs(1);
    receiver.behave("status=503&retry_after=2");
    let guard = Guard::of(&cache).otlp(receiver.options().period(period)).start().unwrap();
    wait_until("it is asked", || !receiver.received().is_empty());
    receiver.behave("status=400");
    wait_until("it is asked again", || receiver.received().len() >= 3);
    let requests = receiver.received();
    let at: Vec<f64> = requests.iter().map(|request| request["at"].as_f64().unwrap()).collect();
    assert!(at[1] - at[0] >= 2.0, "{at:?}: as it asked");
    // A refusal is final for its message: the next comes with its period, not at once.
    assert!(at[2] - at[1] >= 0.2, "{at:?}");
    wait_until("both refusals are counted", || guard.otlp().unwrap().refused >= 2);
    let stats = guard.otlp().unwrap();
    assert_eq!((stats.failed, stats.taken), (1, 0), "{stats:?}");
    assert_eq!(stats.last_error.as_deref(), Some("status 400"));

    receiver.behave("rejected=3&say=no+room");
    wait_until("a part is refused", || guard.otlp().unwrap().rejected > 0);
    let stats = guard.otlp().unwrap();
    assert_eq!(stats.rejected, 3 * stats.taken, "{stats:?}");
    assert_eq!(stats.last_error.as_deref(), Some("no room"));
    let count = receiver.received().len();
    receiver.behave("");
    wait_until("all is taken again", || guard.otlp().unwrap().last_error.is_none());
    assert!(receiver.received().len() > count);
}

fn traced(options: OtlpOptions, work: impl FnOnce()) -> tierce::guard::otlp::OtlpTraces {
    let (layer, traces) = options.traces().unwrap();
    // Beside a single subscriber a span that another thread's test is the first to begin would count as
    // wanted by nobody.
    let _other = tracing::Dispatch::new(tracing_subscriber::registry());
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, work);
    traces
}

#[test]
fn spans_arrive_with_parent_duration_kind_and_status_and_those_of_others_do_not() {
    let receiver = Receiver::start();
    let redis = Redis::start();
    let cache = Cache::builder().tiering(Tiering::L1L3).redis(relaxed(&redis)).build().unwrap();
    let took = Duration::from_millis(30);
    let traces = traced(receiver.options().service_name("shop"), || {
        let theirs = tracing::info_span!("theirs").entered();
        let loaded = cache.get_or_load("a", |_| {
            std::thread::sleep(took);
            std::io::Result::Ok(Bytes::from("1"))
        });
        loaded.unwrap();
        drop(theirs);
        let failing = |_: &[u8]| Err::<Bytes, _>(std::io::Error::other("no"));
        cache.get_or_load("b", failing).unwrap_err();
    });
    assert!(traces.flush(PATIENCE), "{:?}", traces.stats());
    let spans = receiver.spans();
    let named =
        |name: &str| -> Vec<&Value> { spans.iter().filter(|span| span["name"] == name).collect() };
    assert!(named("theirs").is_empty());
    let (calls, loads) = (named("tierce.get_or_load"), named("tierce.load"));
    assert_eq!((calls.len(), loads.len()), (2, 2), "{spans:#?}");
    assert_ne!(calls[0]["traceId"], calls[1]["traceId"]);
    for span in &spans {
        let start = number(&span["startTimeUnixNano"]);
        assert!(start <= number(&span["endTimeUnixNano"]));
        if span["name"] == "tierce.get_or_load" {
            assert_eq!(span.get("parentSpanId"), None, "{span:#}");
        } else {
            let parent = calls.iter().find(|call| call["spanId"] == span["parentSpanId"]).unwrap();
            assert_eq!(span["traceId"], parent["traceId"]);
            assert!(number(&parent["startTimeUnixNano"]) <= start);
        }
    }
    let load = loads.iter().find(|load| load["traceId"] == calls[0]["traceId"]).unwrap();
    let lasted = number(&load["endTimeUnixNano"]) - number(&load["startTimeUnixNano"]);
    assert!(Duration::from_nanos(lasted) >= took, "{load:#}");
    assert_eq!(load["kind"], "SPAN_KIND_INTERNAL");
    assert_eq!(texts(&load["attributes"])["reason"], "miss");
    let l3 = named("tierce.l3");
    assert!(!l3.is_empty());
    for span in l3 {
        assert_eq!(span["kind"], "SPAN_KIND_CLIENT");
        assert_eq!(texts(&span["attributes"]), BTreeMap::from([("db.system.name", "redis")]));
    }
    let failed: Vec<_> =
        spans.iter().filter(|span| span["status"]["code"] == "STATUS_CODE_ERROR").collect();
    assert_eq!(failed.len(), 2, "the load and its call: {failed:#?}");
    for span in failed {
        assert_eq!(span["traceId"], calls[1]["traceId"]);
        assert_eq!(texts(&span["attributes"])["error.type"], "loader");
    }
    let resource = &receiver.received()[0]["message"]["resourceSpans"][0]["resource"];
    assert_eq!(texts(&resource["attributes"])["service.name"], "shop");
}

#[test]
fn spans_outlive_a_receiver_that_is_busy_and_a_share_of_traces_is_whole() {
    let receiver = Receiver::start();
    let cache = Cache::builder().build().unwrap();
    let load = |key: String| {
        cache.get_or_load(key, |_| std::io::Result::Ok(Bytes::from("1"))).unwrap();
    };
    receiver.behave("status=503&retry_after=3");
    let traces = traced(receiver.options(), || (0..20).for_each(|key| load(format!("a{key}"))));
    let begun = Instant::now();
    assert!(!traces.flush(Duration::from_millis(500)), "it is not taken yet");
    assert!(begun.elapsed() < Duration::from_secs(5));
    receiver.behave("");
    assert!(traces.flush(PATIENCE), "{:?}", traces.stats());
    assert_eq!(receiver.spans().len(), 40, "each call and its load, once");
    let stats = traces.stats();
    assert!(stats.failed > 0);
    assert_eq!((stats.taken, stats.dropped), (1, 0), "{stats:?}");
    drop(traces);

    // A share: traces as a whole, or nothing of them.
    let half = receiver.options().sampled(0.5);
    let traces = traced(half, || (0..400).for_each(|key| load(format!("b{key}"))));
    assert!(traces.flush(PATIENCE), "{:?}", traces.stats());
    let spans = receiver.spans();
    let mut traces: BTreeMap<&str, usize> = BTreeMap::new();
    for span in &spans[40..] {
        *traces.entry(span["traceId"].as_str().unwrap()).or_default() += 1;
    }
    assert!(traces.values().all(|count| *count == 2), "{traces:?}");
    // Half of 400, give or take six standard deviations.
    assert!((140..=260).contains(&traces.len()), "{} traces", traces.len());
}
