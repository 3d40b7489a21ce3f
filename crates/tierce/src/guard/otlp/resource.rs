//! Who sends: the resource and the scope of OTLP, and how attributes are written.

use super::wire::Message;
use crate::{
    random::random,
    sync::{self, Mutex},
};

/// A name and its text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Attribute {
    pub(super) key: String,
    pub(super) value: String,
}

/// What the host said of its service; what it did not say is added when it is written.
#[derive(Clone, Debug, Default)]
pub(super) struct Resource(Vec<Attribute>);

impl Resource {
    /// Sets an attribute, whatever it was.
    pub(super) fn set(&mut self, key: &str, value: &str) {
        self.0.retain(|attribute| attribute.key != key);
        self.0.push(Attribute { key: key.to_owned(), value: value.to_owned() });
    }

    /// Sets an attribute that nobody set.
    pub(super) fn set_default(&mut self, key: &str, value: &str) {
        if !self.0.iter().any(|attribute| attribute.key == key) {
            self.set(key, value);
        }
    }

    /// A `Resource`.
    pub(super) fn write(&self, message: &mut Message, field: u32) {
        let mut all = self.clone();
        all.set_default("service.name", "unknown_service");
        all.set_default("service.instance.id", &instance());
        all.set("telemetry.sdk.name", "tierce");
        all.set("telemetry.sdk.language", "rust");
        all.set("telemetry.sdk.version", env!("CARGO_PKG_VERSION"));
        message.message(field, |resource| {
            for Attribute { key, value } in &all.0 {
                write_attribute(resource, 1, key, |text| text.set_bytes(1, value));
            }
        });
    }

    /// An `InstrumentationScope`.
    pub(super) fn write_scope(message: &mut Message, field: u32) {
        message.message(field, |scope| {
            scope.bytes(1, "tierce");
            scope.bytes(2, env!("CARGO_PKG_VERSION"));
        });
    }
}

/// A `KeyValue`; `write` writes its `AnyValue`.
pub(super) fn write_attribute(
    message: &mut Message,
    field: u32,
    key: &str,
    write: impl FnOnce(&mut Message),
) {
    message.message(field, |pair| {
        pair.bytes(1, key);
        pair.message(2, write);
    });
}

/// A random UUID of this process, the same for all that it sends. A forked child has its own.
fn instance() -> String {
    static KNOWN: Mutex<Option<(u32, u128)>> = Mutex::new(None);

    let fresh = u128::from(random()) << 64 | u128::from(random());
    let generation = sync::generation();
    let mut known = KNOWN.lock();
    let (_, id) = *match &mut *known {
        Some(known) if known.0 == generation => known,
        known => known.insert((generation, fresh)),
    };
    drop(known);
    // Version 4, of the variant of RFC 9562.
    let id = id & !(0xf << 76 | 0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let digits = format!("{id:032x}");
    let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
    parts.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_instance_is_a_random_uuid_and_stays() {
        let id = instance();
        assert_eq!(id, instance());
        let parts: Vec<&str> = id.split('-').collect();
        assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        assert!(parts[2].starts_with('4') && "89ab".contains(&parts[3][..1]), "{id}");
    }

    #[test]
    fn what_was_set_holds_and_what_was_not_is_added() {
        let mut resource = Resource::default();
        resource.set("service.name", "shop");
        resource.set_default("service.name", "other");
        resource.set("telemetry.sdk.name", "other");
        let mut message = Message::default();
        resource.write(&mut message, 1);
        let bytes = message.finish();
        let text = String::from_utf8_lossy(&bytes);
        for held in ["shop", "service.instance.id", "telemetry.sdk.language", "tierce"] {
            assert!(text.contains(held), "{held}: {text}");
        }
        assert!(!text.contains("other"), "{text}");
    }
}
