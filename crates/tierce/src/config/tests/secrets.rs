//! Secrets: from where they come, and that nothing shows them.

use std::fs;

use super::*;

#[test]
fn secrets_are_in_no_output() {
    let secret = "hunter2-secret";
    let mut config = env(&[("REDIS_PASSWORD", secret)]).unwrap();
    assert_eq!(config.redis.password.as_ref().unwrap().expose(), secret);
    let url =
        Config::from_text(&format!("redis: {{url: 'redis://me:{secret}@cache:1/2'}}")).unwrap();
    for config in [&config, &url] {
        let all = format!("{config:?} {config:#?} {:?}", config.show());
        assert!(!all.contains(secret), "{all}");
    }
    assert_eq!(url.get("redis.url").unwrap().value, "redis://***@cache:1/2");

    for error in [
        config.set("redis.url", &format!("http://:{secret}@cache")).unwrap_err(),
        env(&[("REDIS_URL", &format!("redis//:{secret}@cache"))]).unwrap_err(),
        env(&[("REDIS_PASSWORD", secret), ("CACHE_REDIS_PASSWORD", "other")]).unwrap_err(),
        env(&[("REDIS_PASSWORD", secret), ("REDIS_URL", &format!("redis://:{secret}@c"))])
            .unwrap_err(),
        Config::from_text(&format!("redis: {{password: [{secret}]}}")).unwrap_err(),
        Config::from_text(&format!("redis:\n  password: \"{secret}\n")).unwrap_err(),
        Config::from_text(&format!("[redis]\npassword = {secret}\n")).unwrap_err(),
        Config::from_text(&format!("{{\"redis\": {{\"password\": {secret}}}}}")).unwrap_err(),
        Config::from_text(&format!("redis: {{password: *{secret}}}")).unwrap_err(),
    ] {
        let all = format!("{error} {error:?}");
        assert!(!all.contains("hunter2"), "{all}");
    }
}

#[test]
fn seal_keys_are_in_no_output_and_can_be_a_mounted_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    let name = path.to_str().unwrap();
    fs::write(&path, format!("{SEAL_KEY}\n{SEAL_KEY}\n")).unwrap();
    let older = ("CACHE_REDIS_OLDER_SEAL_KEYS_FILE", name);
    let config = env(&[("CACHE_REDIS_SEAL_KEY", SEAL_KEY), older]).unwrap();
    assert_eq!(config.redis.seal_key.as_ref().unwrap().expose(), SEAL_KEY);
    assert_eq!(config.redis.older_seal_keys.as_ref().unwrap().expose().len(), 129);
    assert_eq!(config.get("redis.seal_key").unwrap().value, "***");
    let all = format!("{config:?} {:?}", config.show());
    assert!(!all.contains("00010203"), "{all}");

    for (key, text) in [
        ("redis.seal_key", format!("{SEAL_KEY}{SEAL_KEY}")),
        ("redis.seal_key", format!("{SEAL_KEY} {SEAL_KEY}")),
        ("redis.older_seal_keys", format!("{SEAL_KEY},{}", &SEAL_KEY[1..])),
    ] {
        let error = Config::default().set(key, &text).unwrap_err();
        let all = format!("{error} {error:?}");
        assert!(all.contains(key) && !all.contains("00010203"), "{all}");
    }
}

#[test]
fn a_secret_can_be_a_mounted_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("password");
    let path_text = path.to_str().unwrap();
    for (content, wanted) in
        [("s3cret\n", "s3cret"), ("s3cret\r\n", "s3cret"), (" a b \n\n", " a b \n")]
    {
        fs::write(&path, content).unwrap();
        let config = env(&[("REDIS_PASSWORD_FILE", path_text)]).unwrap();
        assert_eq!(config.redis.password.as_ref().unwrap().expose(), wanted);
        let source = config.get("redis.password").unwrap().source;
        assert_eq!(source.to_string(), "env REDIS_PASSWORD_FILE");
    }
    let message = refused(env(&[("REDIS_PASSWORD_FILE", path_text), ("REDIS_PASSWORD", "x")]));
    holds(&message, &["REDIS_PASSWORD", "REDIS_PASSWORD_FILE", "only one"]);
    fs::write(&path, "\n").unwrap();
    holds(&refused(env(&[("REDIS_PASSWORD_FILE", path_text)])), &["not empty"]);
    fs::write(&path, vec![b'x'; 70_000]).unwrap();
    holds(&refused(env(&[("REDIS_PASSWORD_FILE", path_text)])), &["64 KiB"]);
    fs::remove_file(&path).unwrap();
    holds(
        &refused(env(&[("REDIS_PASSWORD_FILE", path_text)])),
        &["REDIS_PASSWORD_FILE", "password"],
    );
    holds(&refused(env(&[("CACHE_TIERING_FILE", "/x")])), &["CACHE_TIERING_FILE", "no such"]);
}
