//! Spans, as a subscriber of the host sees them.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Arc, Mutex},
};

use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

use crate::{Bytes, Cache};

/// Writes down which spans are entered in which, with what is recorded of them.
#[derive(Clone, Default)]
struct Book(Arc<Mutex<Pages>>);

#[derive(Default)]
struct Pages {
    names: Vec<&'static str>,
    open: Vec<u64>,
    /// Paths of the spans that were entered.
    entered: Vec<String>,
    fields: BTreeMap<String, String>,
}

struct Fields<'a>(&'a mut Pages, &'static str);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.fields.insert(format!("{}.{}", self.1, field.name()), format!("{value:?}"));
    }
}

impl Subscriber for Book {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("tierce::")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut pages = self.0.lock().unwrap();
        pages.names.push(span.metadata().name());
        span.record(&mut Fields(&mut pages, span.metadata().name()));
        Id::from_u64(pages.names.len() as u64)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        let mut pages = self.0.lock().unwrap();
        let name = pages.names[span.into_u64() as usize - 1];
        values.record(&mut Fields(&mut pages, name));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, span: &Id) {
        let mut pages = self.0.lock().unwrap();
        pages.open.push(span.into_u64());
        let path: Vec<_> = pages.open.iter().map(|span| pages.names[*span as usize - 1]).collect();
        let path = path.join(" > ");
        pages.entered.push(path);
    }

    fn exit(&self, span: &Id) {
        let mut pages = self.0.lock().unwrap();
        assert_eq!(
            pages.open.pop(),
            Some(span.into_u64()),
            "spans end in the order of their begins"
        );
    }
}

/// What is entered while `work` is done.
fn entered(work: impl FnOnce()) -> (Vec<String>, BTreeMap<String, String>) {
    let book = Book::default();
    // Beside a single subscriber a span that another thread's test is the first to begin would count as
    // wanted by nobody.
    let _other = tracing::Dispatch::new(Book::default());
    tracing::subscriber::with_default(book.clone(), work);
    let mut pages = book.0.lock().unwrap();
    assert!(pages.open.is_empty());
    (std::mem::take(&mut pages.entered), std::mem::take(&mut pages.fields))
}

#[test]
fn a_load_is_told_with_its_reason_and_a_hit_of_l1_is_not_told() {
    let cache = Cache::builder().build().unwrap();
    let (told, fields) = entered(|| {
        cache.get_or_load("a", |_| std::io::Result::Ok(Bytes::from("1"))).unwrap();
        cache.get_or_load("a", |_| std::io::Result::Ok(Bytes::from("2"))).unwrap();
        cache.get("a");
    });
    assert_eq!(told, ["tierce.get_or_load", "tierce.get_or_load > tierce.load"]);
    assert_eq!(fields["tierce.load.reason"], "\"miss\"");
    assert!(!fields.values().any(|value| value.contains("error")), "{fields:?}");
    let (told, fields) = entered(|| {
        let refuse = |_: &[u8]| Err::<Bytes, _>(std::io::Error::other("no"));
        cache.get_or_load("b", |key| refuse(key)).unwrap_err();
    });
    assert_eq!(told.len(), 2);
    assert_eq!(fields["tierce.load.error.type"], "\"loader\"");
    assert_eq!(fields["tierce.get_or_load.error.type"], "\"loader\"");
}

#[test]
#[cfg(all(feature = "shared", target_os = "linux"))]
fn each_tier_that_is_touched_has_a_span_below_that_of_its_call() {
    let folder = tempfile::tempdir().unwrap();
    let options = crate::StoreOptions::new(folder.path().join("s")).max_bytes(4 << 20);
    let cache = Cache::builder().shared(options).build().unwrap();
    let (told, fields) = entered(|| cache.retier(crate::Tiering::L1L2).unwrap());
    assert_eq!(told, ["tierce.retier"]);
    assert_eq!(
        (&*fields["tierce.retier.from"], &*fields["tierce.retier.to"]),
        ("\"L1\"", "\"L1L2\"")
    );
    let (told, _) = entered(|| {
        cache.get_or_load("a", |_| std::io::Result::Ok(Bytes::from("1"))).unwrap();
    });
    assert_eq!(told[0], "tierce.get_or_load");
    assert!(told.contains(&"tierce.get_or_load > tierce.load".to_owned()), "{told:?}");
    let below = told.iter().filter(|path| path.ends_with("> tierce.l2")).count();
    assert!(below >= 2, "the look and the fill: {told:?}");
}
