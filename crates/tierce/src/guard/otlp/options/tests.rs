use super::*;

const SECRET: &str = "hunter2";

fn env(variables: &[(&str, &str)]) -> OtlpOptions {
    OtlpOptions::from_env_vars(variables.iter().copied())
}

fn urls(options: &OtlpOptions) -> [&str; 2] {
    [&options.metrics, &options.traces].map(|signal| signal.url.as_deref().unwrap_or_default())
}

fn resource(options: &OtlpOptions) -> String {
    format!("{:?}", options.resource)
}

#[test]
fn the_variables_of_opentelemetry_say_what_nobody_else_does() {
    let options = env(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://traces/as-it-stands"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20b, tenant = 7"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "only=this"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
        ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "700"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/etc/ca.pem"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "15000"),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,team=a%2Cb"),
        ("OTEL_SERVICE_NAME", "shop"),
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("PATH", "/bin"),
    ]);
    assert_eq!(urls(&options), ["http://collector:4318/v1/metrics", "https://traces/as-it-stands"]);
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(options.metrics.headers, [pair("api-key", "a b"), pair("tenant", "7")]);
    assert_eq!(options.traces.headers, [pair("only", "this")]);
    let timeouts = [options.metrics.timeout, options.traces.timeout];
    assert_eq!(timeouts, [700, 2500].map(|millis| Some(Duration::from_millis(millis))));
    assert_eq!(options.traces.ca_file, Some("/etc/ca.pem".into()));
    assert_eq!(options.period, Some(Duration::from_secs(15)));
    assert_eq!(options.sampled, 0.25);
    let told = resource(&options);
    assert!(told.contains("shop") && told.contains("a,b") && !told.contains("other"), "{told}");
    assert_eq!(options.warnings(), &[] as &[String]);

    let options =
        options.endpoint("http://127.0.0.1:1").header("API-Key", "z").service_name("mine");
    assert_eq!(urls(&options), ["http://127.0.0.1:1/v1/metrics", "http://127.0.0.1:1/v1/traces"]);
    assert_eq!(options.metrics.headers, [pair("tenant", "7"), pair("API-Key", "z")]);
    assert!(resource(&options).contains("mine"));
    let options = options.headers("a=1").unwrap();
    assert_eq!(options.traces.headers, [pair("a", "1")]);
}

#[test]
fn what_makes_no_sense_or_is_not_done_is_left_alone_and_told() {
    let options = env(&[
        ("OTEL_METRIC_EXPORT_INTERVAL", "1m"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "-1"),
        ("OTEL_EXPORTER_OTLP_HEADERS", &format!("{SECRET},b=2")),
        ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "Cumulative"),
    ]);
    assert_eq!((options.period, options.metrics.timeout, options.sampled), (None, None, 1.0));
    assert_eq!(options.metrics.headers.len(), 1);
    let told = options.warnings().join("\n");
    assert_eq!(options.warnings().len(), 6, "{told}");
    for part in ["EXPORT_INTERVAL", "TIMEOUT", "HEADERS", "jaeger_remote", "grpc", "gzip"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(!told.contains(SECRET), "{told}");
    // An empty one is not set.
    let empty = env(&[("OTEL_METRIC_EXPORT_INTERVAL", ""), ("OTEL_SERVICE_NAME", " ")]);
    assert!(empty.warnings().is_empty() && !resource(&empty).contains("service.name"));
}

#[test]
fn what_breaks_a_rule_is_refused_with_the_option_and_its_value() {
    let new = || env(&[]).endpoint("http://127.0.0.1:1");
    let nothing: fn() -> Gather = || Box::new(|_| false);
    let push = |options: OtlpOptions| options.push("c", SystemTime::now(), nothing()).map(|_| ());
    push(new()).unwrap();
    let missing = new().ca_file("/nonexistent/ca.pem");
    for (options, parts) in [
        (new().endpoint("localhost:4318"), &["endpoint", "http://"][..]),
        (
            new().metrics_endpoint(format!("http://me:{SECRET}@a/v1/metrics")),
            &["endpoint", "password"],
        ),
        (new().period(Duration::from_millis(99)), &["period = 99ms", "100ms to 1h"]),
        (new().timeout(Duration::ZERO), &["timeout = 0ns", "1ms to 5m"]),
        (new().header("a b", "1"), &["header \"a b\"", "legal name"]),
        (new().header("token", format!("{SECRET}\n")), &["header \"token\"", "printable"]),
        (missing, &["127.0.0.1:1", "ca_file = /nonexistent/ca.pem", "PEM"]),
    ] {
        let error = push(options.clone()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        let message = format!("{error} {options:?}");
        for part in parts {
            assert!(message.contains(part), "{message} lacks {part}");
        }
        assert!(!message.contains(SECRET), "{message}");
    }
    let error = new().sampled(1.5).traces().unwrap_err();
    assert!(error.to_string().contains("sampled = 1.5: must be from 0 to 1"), "{error}");
    let error = new().headers(SECRET).unwrap_err().to_string();
    assert!(error.contains("pairs") && !error.contains(SECRET), "{error}");
}

#[test]
fn nothing_is_sent_where_the_variables_say_so() {
    let options = env(&[("OTEL_SDK_DISABLED", "True")]).endpoint("http://127.0.0.1:1");
    let pushed = options.push("c", SystemTime::now(), Box::new(|_| true)).unwrap();
    assert!(pushed.is_none());
}
