//! The health page over HTTP keeps to the schema in the repository, in every state of the cache.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use serde_json::Value;
use tierce::{
    Bytes, Cache, RedisOptions, StoreOptions, Tiering,
    guard::{Guard, ServeOptions},
};
use tierce_tests::{schema::complaints, store_folder, web::get};

const SCHEMA: &str = include_str!("../../docs/health.schema.json");

#[test]
fn the_health_page_keeps_to_its_schema_in_every_state() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let folder = store_folder();
    // A server that is not there: the cache is degraded from the first call on.
    let cache: Cache = Cache::builder()
        .tiering(Tiering::L1L2L3)
        .shared(StoreOptions::new(folder.path().join("store")))
        .redis(RedisOptions::new().port(1))
        .build()
        .unwrap();
    let guard = Arc::new(Guard::of(&cache).build().unwrap());
    let served = guard.serve(&ServeOptions::new().address("127.0.0.1:0")).unwrap();
    let page = |status: u16| {
        let answer = get(&served.address().to_string(), "/cache/health", "").unwrap();
        assert_eq!(answer.status, status, "{answer:?}");
        let document: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(complaints(&schema, &document), Vec::<String>::new(), "{document:#}");
        document
    };
    assert_eq!(page(200)["tierMetrics"]["lastHitTier"], Value::Null);
    for number in 0..20 {
        let key = format!("key {number}");
        cache.get(&key);
        // Whether the server takes it is not what this is about.
        let _ = cache.set(&key, Bytes::from("value"));
        cache.get(&key);
    }
    let degraded = page(200);
    assert_eq!(degraded["status"], "degraded");
    assert_eq!(degraded["tierMetrics"]["lastHitTier"], "L1-Memory");
    assert_eq!(degraded["dependencies"][2]["stats"]["type"], "redis");
    cache.close();
    assert_eq!(page(503)["status"], "unhealthy");
}

#[test]
fn a_document_that_lacks_something_breaks_the_schema() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let cache: Cache = Cache::builder().build().unwrap();
    let document: Value = serde_json::from_str(&cache.health().to_json()).unwrap();
    assert!(complaints(&schema, &document).is_empty());
    for place in ["/service", "/tierMetrics/hits", "/dependencies/0/stats/type"] {
        let mut cut = document.clone();
        let (above, name) = place.rsplit_once('/').unwrap();
        cut.pointer_mut(above).unwrap().as_object_mut().unwrap().remove(name).unwrap();
        assert!(!complaints(&schema, &cut).is_empty(), "{place} may be missing");
    }
}
