//! Patterns of keys: `user/:id/posts/:post`.

use super::{KeyParts, parts::KeyPart};
use crate::error::{Error, ErrorKind, Result};

/// A parsed pattern with `N` places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern<const N: usize> {
    text: Box<str>,
    /// What stands before each place, slashes included.
    before: [Box<str>; N],
    /// What stands after the last one.
    after: Box<str>,
}

impl<const N: usize> Pattern<N> {
    /// Parses a pattern: segments between slashes, of which those that begin with a colon are
    /// places and have a name of letters, digits and `_`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for an empty segment, a percent sign, a name that is none or there
    /// twice, and where the pattern has not `N` places.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let wrong = |rule: &str| {
            Err(Error::new(ErrorKind::Config, format!("keyspace pattern {text:?}: {rule}")))
        };
        let mut names: Vec<&str> = Vec::new();
        let (mut before, mut literal) = (Vec::new(), String::new());
        for (number, segment) in text.split('/').enumerate() {
            if number > 0 {
                literal.push('/');
            }
            if segment.is_empty() {
                return wrong("a segment is empty; write it like user/:id");
            }
            if segment.contains('%') {
                return wrong("a percent sign is for what stands in the places");
            }
            let Some(name) = segment.strip_prefix(':') else {
                literal.push_str(segment);
                continue;
            };
            if name.is_empty() || !name.chars().all(|it| it.is_ascii_alphanumeric() || it == '_') {
                return wrong("the name of a place must be of letters, digits and _");
            }
            if names.contains(&name) {
                return wrong(&format!("two places have the name {name}"));
            }
            names.push(name);
            before.push(std::mem::take(&mut literal).into_boxed_str());
        }
        let found = before.len();
        match <[Box<str>; N]>::try_from(before) {
            Ok(before) => Ok(Self { text: text.into(), before, after: literal.into() }),
            Err(_) => wrong(&format!("has {found} places, {N} are filled in")),
        }
    }

    /// The pattern as it was written.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The key with these values in its places.
    pub(super) fn key(&self, values: &impl KeyParts<N>) -> Vec<u8> {
        // Most keys are short: one allocation.
        let mut key = Vec::with_capacity(self.text.len() + 16 * N);
        for (before, part) in self.before.iter().zip(values.parts()) {
            key.extend_from_slice(before.as_bytes());
            KeyPart::append_to(&part, &mut key);
        }
        key.extend_from_slice(self.after.as_bytes());
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key<const N: usize>(pattern: &str, values: impl KeyParts<N>) -> String {
        String::from_utf8(Pattern::<N>::parse(pattern).unwrap().key(&values)).unwrap()
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
            let message = Pattern::<1>::parse(pattern).unwrap_err().to_string();
            assert!(message.contains(rule) && message.contains(pattern), "{message}");
        }
    }
}
