//! Files of each syntax, and what is no configuration.

use std::fs;

use super::*;

#[test]
fn the_same_settings_read_alike_in_yaml_toml_and_json() {
    let yaml =
        "---\ntiering: L1L2\ndefault_ttl: 90s\nmemory:\n  max_entries: 5000\n  max_bytes: 10MB\n";
    let toml = "tiering = 'L1L2'\ndefault_ttl = '90s'\n[memory]\nmax_entries = 5_000\nmax_bytes = '10MB'\n";
    let json = r#"{"tiering": "L1L2", "default_ttl": "90s",
                   "memory": {"max_entries": 5000, "max_bytes": "10MB"}}"#;
    let values = |text: &str| -> Vec<String> {
        Config::from_text(text).unwrap().show().into_iter().map(|shown| shown.value).collect()
    };
    assert_eq!(values(yaml), values(toml));
    assert_eq!(values(yaml), values(json));
    let line =
        |text| Config::from_text(text).unwrap().get("memory.max_bytes").unwrap().source.to_string();
    assert_eq!([line(yaml), line(toml), line(json)], ["text:6", "text:5", "text"]);

    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("a.yml", yaml), ("a.toml", toml), ("a.json", json), ("a.conf", toml)] {
        let path = folder.path().join(name);
        fs::write(&path, format!("\u{feff}{text}")).unwrap();
        let config = Config::from_file(&path).unwrap();
        assert_eq!(config.memory.max_entries, Some(5000), "{name}");
    }
}

#[test]
fn a_bare_number_is_refused_where_a_unit_is_needed() {
    for (key, rule) in
        [("default_ttl", "unit"), ("memory.max_bytes", "unit"), ("load.wait", "unit")]
    {
        let message = refused(Config::from_text(&format!("{key}: 600\n")));
        holds(&message, &[key, "\"600\"", "text:1", rule]);
    }
    let message = refused(env(&[("CACHE_DEFAULT_TTL", "600")]));
    holds(&message, &["default_ttl = \"600\"", "env CACHE_DEFAULT_TTL", "such as 90s"]);
}

#[test]
fn bare_values_are_refused_where_text_is_wanted() {
    for text in ["redis: {password: 007}", "redis: {password: 1e5}", "service: true"] {
        holds(&refused(Config::from_text(text)), &["write it in quotes"]);
    }
    let config = Config::from_text("redis: {password: '007'}").unwrap();
    assert_eq!(config.redis.password.unwrap().expose(), "007");
}

#[test]
fn the_cache_block_of_the_deployment_plan_works_as_it_stands() {
    let block = "cache_config:\n  capacity: 20000              # Increased capacity\n  \
                 max_memory_mb: 200          # Increased memory limit\n  \
                 default_ttl: \"10m\"          # Optimized TTL\n";
    let config = Config::from_text(block).unwrap();
    assert_eq!(config.memory.max_entries, Some(20_000));
    assert_eq!(config.memory.max_bytes, Some(200 * 1_048_576));
    assert_eq!(config.default_ttl, Some(Duration::from_secs(600)));
    let lines: Vec<String> = ["memory.max_entries", "memory.max_bytes", "default_ttl"]
        .iter()
        .map(|key| config.get(key).map(|s| format!("{} {}", s.value, s.source)).unwrap())
        .collect();
    assert_eq!(lines, ["20000 text:2", "200MiB text:3", "10m text:4"]);

    for wrong in ["200MB", "0.5", "-1", "many"] {
        let text = format!("cache_config:\n  max_memory_mb: {wrong}\n");
        holds(
            &refused(Config::from_text(&text)),
            &["cache_config.max_memory_mb", "text:2", "megabytes"],
        );
    }
    let message = refused(Config::from_text("cache_config: {capasity: 5}"));
    holds(&message, &["cache_config.capasity", "capacity", "nearest"]);
    let message =
        refused(Config::from_text("cache_config: {capacity: 5}\nmemory: {max_entries: 6}"));
    holds(&message, &["memory.max_entries = \"6\"", "text:2", "cache_config.capacity"]);
    Config::from_text("cache_config: {capacity: 5}\nmemory: {max_entries: 5}").unwrap();
}

#[test]
fn blocks_that_somebody_would_rely_on_are_refused_by_name() {
    let text = "security:\n  tls:\n    min_version: \"1.2\"\nrollback_capability: instant\n";
    let error = Config::from_text(text).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    holds(&error.to_string(), &["block security (text)", "rollback_capability", "rollout.plan"]);
}

#[test]
fn blocks_that_speak_to_other_programs_are_taken_and_said_to_have_no_effect() {
    let phase_two = "http2_config:\n  max_connections_per_host: 20\n  idle_timeout: \"90s\"\n  \
                     enable_push: true\ncache_config:\n  capacity: 20000\ndashboards:\n  - a\n";
    let config = Config::from_text(phase_two).unwrap();
    assert_eq!(config.memory.max_entries, Some(20_000));
    let [http, dashboards] = config.advice() else { panic!("{:?}", config.advice()) };
    holds(http, &["block http2_config (text)", "no effect"]);
    holds(dashboards, &["block dashboards"]);
    assert!(Config::from_text("cache_config: {capacity: 5}").unwrap().advice().is_empty());
}

#[test]
fn files_that_are_no_configuration_are_refused_and_never_panic() {
    let deep = format!("{}1{}", "{\"a\":".repeat(5000), "}".repeat(5000));
    let deep_yaml = format!("a: {}", "[".repeat(20_000));
    let laughs = (1..12).fold("a0: &a0 [x, x]\n".to_owned(), |text, n| {
        format!("{text}a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 12].join(", "))
    });
    for text in [
        "5",
        "- a\n- b",
        "just words",
        "{",
        "{]",
        "[a",
        "a = ",
        "a: b: c",
        "\t",
        "memory:\n\tmax_entries: 5",
        "{\"service\": \"a\", \"service\": \"a\"}",
        "service: a\nservice: b",
        "service = 'a'\nservice = 'b'",
        "tiering:\n",
        "memory: {max_entries: }",
        "memory: {max_entries: [5]}",
        "memory: 5",
        "tiering: L1\n---\ntiering: L2",
        "[[memory]]\nmax_entries = 5",
        "default_ttl = 1979-05-27",
        "memory: {max_entries: 5.0}",
        "memory: {max_entries: -5}",
        "memory: {max_entries: .nan}",
        "memory: {max_entries: 99999999999999999999}",
        "!!binary x: y",
        "\u{0}",
        &deep,
        &deep_yaml,
        &laughs,
    ] {
        if text.trim().is_empty() {
            continue;
        }
        let cut: String = text.chars().take(60).collect();
        let Err(error) = Config::from_text(text) else { panic!("{cut:?} is taken") };
        assert_eq!(error.kind(), ErrorKind::Config, "{cut:?}: {error}");
        assert!(!error.to_string().contains('\n'), "{error}");
    }
    for text in ["", "\n\n", "# nothing\n", "---\n# nothing", "{}", "memory:\n", "cache_config:\n"]
    {
        let config = Config::from_text(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert!(config.show().iter().all(|shown| shown.source == Source::Default));
    }
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache.yaml");
    let error = Config::from_file(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    holds(&error.to_string(), &["cache.yaml", "cannot be read"]);
    assert_eq!(Config::from_file(folder.path()).unwrap_err().kind(), ErrorKind::Io);
    fs::write(&path, vec![b'#'; (1 << 20) + 1]).unwrap();
    holds(&refused(Config::from_file(&path)), &["1 MiB"]);
    fs::write(&path, [b'a', 0xff]).unwrap();
    holds(&refused(Config::from_file(&path)), &["UTF-8"]);
    fs::write(&path, "tiering: L1\nmemory:\n  max_entries: 0\n").unwrap();
    let message = refused(Config::from_file(&path));
    holds(&message, &["memory.max_entries = \"0\"", &format!("file {}:3", path.display())]);
}

#[test]
fn random_text_never_panics() {
    let seed = 11;
    let mut random = fastrand::Rng::with_seed(seed);
    let pieces = [
        "memory",
        "max_entries",
        "tiering",
        ":",
        " ",
        "\n",
        "  ",
        "{",
        "}",
        "[",
        "]",
        "=",
        "'",
        "\"",
        "5",
        "10m",
        "L1L2",
        "&a",
        "*a",
        "!",
        "|",
        ">",
        "-",
        "#",
        ",",
        "\u{feff}",
        "é",
        "\0",
        "<<",
        "redis.url",
    ];
    for _ in 0..3000 {
        let text: String =
            (0..random.usize(0..24)).map(|_| pieces[random.usize(..pieces.len())]).collect();
        for syntax in [Syntax::Yaml, Syntax::Toml, Syntax::Json] {
            let result = Config::default().apply_text(&text, None, syntax);
            drop(result);
        }
        let _ = Config::from_text(&text);
    }
}
