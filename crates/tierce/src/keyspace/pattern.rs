//! Patterns of keys: `user/:id/posts/:post`.

use std::sync::Arc;

use super::{KeyParts, parts::KeyPart};
use crate::error::{Error, ErrorKind, Result};

/// A pattern of keys, with as many places as its text has.
///
/// For whoever learns the pattern when the program runs: a binding of another language, a tool.
/// Where it is known before, [`Cache::keyspace`](crate::Cache::keyspace) makes the same keys and
/// has the number of places checked by the compiler.
///
/// ```
/// use tierce::KeyPattern;
///
/// let posts = KeyPattern::parse("user/:id/posts/:post")?;
/// assert!(posts.names().eq(["id", "post"]));
/// assert_eq!(posts.key(&[&7, &"a/b"])?, b"user/7/posts/a%2Fb");
/// # Ok::<(), tierce::Error>(())
/// ```
///
/// Clones share what was parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPattern(Arc<Parsed>);

#[derive(Debug, PartialEq, Eq)]
struct Parsed {
    text: Box<str>,
    /// The name of each place, and what stands before it, slashes included.
    places: Vec<(Box<str>, Box<str>)>,
    /// What stands after the last one.
    after: Box<str>,
}

impl KeyPattern {
    /// Parses a pattern: segments between slashes, of which those that begin with a colon are
    /// places and have a name of letters, digits and `_`. It need not have any.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for an empty segment, a percent sign, a name that is none or there
    /// twice.
    pub fn parse(text: &str) -> Result<Self> {
        let mut places: Vec<(Box<str>, Box<str>)> = Vec::new();
        let mut literal = String::new();
        for (number, segment) in text.split('/').enumerate() {
            if number > 0 {
                literal.push('/');
            }
            if segment.is_empty() {
                return Err(wrong(text, "a segment is empty; write it like user/:id"));
            }
            if segment.contains('%') {
                return Err(wrong(text, "a percent sign is for what stands in the places"));
            }
            let Some(name) = segment.strip_prefix(':') else {
                literal.push_str(segment);
                continue;
            };
            if name.is_empty() || !name.chars().all(|it| it.is_ascii_alphanumeric() || it == '_') {
                return Err(wrong(text, "the name of a place must be of letters, digits and _"));
            }
            if places.iter().any(|(known, _)| **known == *name) {
                return Err(wrong(text, &format!("two places have the name {name}")));
            }
            places.push((name.into(), std::mem::take(&mut literal).into()));
        }
        Ok(Self(Arc::new(Parsed { text: text.into(), places, after: literal.into() })))
    }

    /// As [`parse`](Self::parse), for a caller who fills in `count` places.
    pub(super) fn with_places(text: &str, count: usize) -> Result<Self> {
        let pattern = Self::parse(text)?;
        let found = pattern.names().len();
        if found != count {
            return Err(wrong(text, &format!("has {found} places, {count} are filled in")));
        }
        Ok(pattern)
    }

    /// The pattern as it was written.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// What stands between its slashes.
    pub(super) fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.text.split('/')
    }

    /// The names of the places, in their order.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.places.iter().map(|(name, _)| &**name)
    }

    /// The key with these values in its places, in their order.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for another number of values than of places.
    pub fn key(&self, values: &[&dyn KeyPart]) -> Result<Vec<u8>> {
        let (places, given) = (self.names().len(), values.len());
        if places != given {
            return Err(wrong(self.text(), &format!("has {places} places, {given} are filled in")));
        }
        Ok(self.filled(values))
    }

    /// Appends the key; `append` appends what stands in the place of that number and name.
    ///
    /// What it appends should be that of a [`KeyPart`]: only those cannot leave their place.
    ///
    /// # Errors
    /// The first one of `append`; then a part of the key has been appended.
    pub fn append_with<E>(
        &self,
        key: &mut Vec<u8>,
        mut append: impl FnMut(&mut Vec<u8>, usize, &str) -> Result<(), E>,
    ) -> Result<(), E> {
        for (number, (name, before)) in self.0.places.iter().enumerate() {
            key.extend_from_slice(before.as_bytes());
            append(key, number, name)?;
        }
        key.extend_from_slice(self.0.after.as_bytes());
        Ok(())
    }

    /// The key with these values in its `N` places, as many as it has.
    pub(super) fn key_of<const N: usize>(&self, values: &impl KeyParts<N>) -> Vec<u8> {
        self.filled(&values.parts())
    }

    fn filled(&self, values: &[&dyn KeyPart]) -> Vec<u8> {
        // Most keys are short: one allocation.
        let mut key = Vec::with_capacity(self.0.text.len() + 16 * values.len());
        for ((_, before), value) in self.0.places.iter().zip(values) {
            key.extend_from_slice(before.as_bytes());
            value.append_to(&mut key);
        }
        key.extend_from_slice(self.0.after.as_bytes());
        key
    }
}

fn wrong(text: &str, rule: &str) -> Error {
    Error::new(ErrorKind::Config, format!("key pattern {text:?}: {rule}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key<const N: usize>(pattern: &str, values: impl KeyParts<N>) -> String {
        String::from_utf8(KeyPattern::with_places(pattern, N).unwrap().key_of(&values)).unwrap()
    }

    #[test]
    fn values_stand_in_their_places() {
        assert_eq!(key("user/:id", 7), "user/7");
        assert_eq!(key("user/:id", -7_i8), "user/-7");
        assert_eq!(key("user/:id/posts/:post", (7, "hello")), "user/7/posts/hello");
        assert_eq!(key(":a/:b/:c/end", ("x", String::new(), 3_u128)), "x//3/end");
    }

    #[test]
    fn no_value_leaves_its_place() {
        let sly = ["a/b", "a%2Fb", "a%b", "a", "", "%", "/", "a/", "../a", "%25"];
        let mut keys: Vec<String> = Vec::new();
        for one in sly {
            for other in sly {
                keys.push(key(":x/:y", (one, other)));
            }
        }
        let count = keys.len();
        assert!(keys.iter().all(|key| key.matches('/').count() == 1));
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), count);
    }

    #[test]
    fn a_wrong_pattern_is_refused_by_name_and_rule() {
        for (pattern, rule) in [
            ("", "empty"),
            ("user//:id", "empty"),
            ("user/:id/", "empty"),
            ("us%er/:id", "percent"),
            ("user/:", "name of a place"),
            ("user/:i-d", "name of a place"),
            ("user/id", "has 0 places, 1 are"),
            ("user/:id/:of", "has 2 places, 1 are"),
            ("user/:id/:id", "two places have the name id"),
        ] {
            let message = KeyPattern::with_places(pattern, 1).unwrap_err().to_string();
            assert!(message.contains(rule) && message.contains(pattern), "{message}");
        }
    }

    #[test]
    fn a_pattern_that_is_known_late_makes_the_same_keys() {
        let posts = KeyPattern::parse("user/:id/posts/:post").unwrap();
        let same = key("user/:id/posts/:post", (7, "a/b"));
        assert_eq!(posts.key(&[&7, &"a/b"]).unwrap(), same.as_bytes());
        let mut by_hand = b"-".to_vec();
        let append = |key: &mut Vec<u8>, number: usize, name: &str| {
            assert_eq!(name, ["id", "post"][number]);
            [&7_u8 as &dyn KeyPart, &"a/b"][number].append_to(key);
            Ok::<_, ()>(())
        };
        posts.append_with(&mut by_hand, append).unwrap();
        assert_eq!(by_hand[1..], *same.as_bytes());
        assert_eq!(KeyPattern::parse("all").unwrap().key(&[]).unwrap(), b"all");
    }

    #[test]
    fn values_for_another_number_of_places_are_refused() {
        let posts = KeyPattern::parse("user/:id/posts/:post").unwrap();
        for values in [&[&7 as &dyn KeyPart][..], &[&7, &"a", &"b"]] {
            let error = posts.key(values).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains("has 2 places"), "{error}");
        }
    }
}
