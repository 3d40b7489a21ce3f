//! Values of any type that serde knows, as JSON or as MessagePack.
//!
//! Both forms name the fields, so bytes that an older or newer program left in L2 or L3 are read
//! by serde's own rules (`#[serde(default)]`, `#[serde(alias)]`), and what does not fit is a miss.
//! Forms without names are not offered: they read another version's bytes as wrong values.

use std::{fmt, io, marker::PhantomData};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use super::{Codec, Format, finite};
use crate::error::{Error, ErrorKind, Result};

/// Says what a value weighs in L1, in bytes.
type Weigh<V> = dyn Fn(&V) -> usize + Send + Sync;

/// How a value becomes bytes.
trait Form: Send + Sync + 'static {
    const FORMAT: Format;
    const NAME: &'static str;

    /// What it would write as something else.
    fn check<V: Serialize>(value: &V) -> std::result::Result<(), Cause> {
        _ = value;
        Ok(())
    }

    fn write<V: Serialize>(value: &V, out: &mut dyn io::Write) -> std::result::Result<(), Cause>;
    fn read<V: DeserializeOwned>(bytes: &[u8]) -> std::result::Result<V, Cause>;
}

/// Why it did not.
type Cause = Box<dyn std::error::Error + Send + Sync>;

struct Json;

impl Form for Json {
    const FORMAT: Format = Format::Json;
    const NAME: &'static str = "JSON";

    fn check<V: Serialize>(value: &V) -> std::result::Result<(), Cause> {
        Ok(finite::check(value)?)
    }

    fn write<V: Serialize>(value: &V, out: &mut dyn io::Write) -> std::result::Result<(), Cause> {
        Ok(serde_json::to_writer(out, value)?)
    }

    fn read<V: DeserializeOwned>(bytes: &[u8]) -> std::result::Result<V, Cause> {
        Ok(serde_json::from_slice(bytes)?)
    }
}

#[cfg(feature = "msgpack")]
struct MessagePack;

#[cfg(feature = "msgpack")]
impl Form for MessagePack {
    const FORMAT: Format = Format::MessagePack;
    const NAME: &'static str = "MessagePack";

    fn write<V: Serialize>(
        value: &V,
        mut out: &mut dyn io::Write,
    ) -> std::result::Result<(), Cause> {
        Ok(rmp_serde::encode::write_named(&mut out, value)?)
    }

    fn read<V: DeserializeOwned>(mut bytes: &[u8]) -> std::result::Result<V, Cause> {
        let value = rmp_serde::from_read(&mut bytes)?;
        // Bytes that go on are no value of ours.
        match bytes {
            [] => Ok(value),
            more => Err(format!("{} bytes after the value", more.len()).into()),
        }
    }
}

/// What both codecs are.
struct Typed<V, F> {
    weigh: Option<Box<Weigh<V>>>,
    form: PhantomData<fn() -> F>,
}

impl<V: Serialize + DeserializeOwned, F: Form> Typed<V, F> {
    fn new() -> Self {
        Self { weigh: None, form: PhantomData }
    }

    fn encode(&self, value: &V) -> Result<(Bytes, Format)> {
        let mut bytes = Vec::new();
        F::check(value).and_then(|()| F::write(value, &mut bytes)).map_err(|cause| {
            let what = std::any::type_name::<V>();
            Error::new(
                ErrorKind::Codec,
                format!("value of type {what}: has no form as {}", F::NAME),
            )
            .caused_by(cause)
        })?;
        Ok((bytes.into(), F::FORMAT))
    }

    fn decode(&self, bytes: &[u8], format: Format) -> Result<V> {
        if format != F::FORMAT {
            return Err(Error::new(
                ErrorKind::Codec,
                format!("record of format {format:?}: this cache reads {}", F::NAME),
            ));
        }
        F::read(bytes).map_err(|cause| {
            let what = std::any::type_name::<V>();
            Error::new(ErrorKind::Codec, format!("record: is no {what} in {}", F::NAME))
                .caused_by(cause)
        })
    }

    fn weight(&self, value: &V) -> usize {
        if let Some(weigh) = &self.weigh {
            return weigh(value);
        }
        let mut counted = Count(0);
        // What has no such form weighs at least itself.
        let _ = F::write(value, &mut counted);
        size_of::<V>() + counted.0
    }
}

/// Counts bytes and drops them.
struct Count(usize);

impl io::Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.saturating_add(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

macro_rules! codec {
    ($(#[$meta:meta])* $name:ident, $form:ident) => {
        $(#[$meta])*
        pub struct $name<V>(Typed<V, $form>);

        impl<V: Serialize + DeserializeOwned> $name<V> {
            /// A codec whose values weigh what they take as bytes, and their own size. That costs
            /// a value that goes into L1 being written once more, to nowhere.
            pub fn new() -> Self {
                Self(Typed::new())
            }

            /// Sets what a value weighs in L1, in bytes; need not be exact.
            #[must_use]
            pub fn weigh_by(mut self, weigh: impl Fn(&V) -> usize + Send + Sync + 'static) -> Self {
                self.0.weigh = Some(Box::new(weigh));
                self
            }
        }

        impl<V: Serialize + DeserializeOwned> Default for $name<V> {
            fn default() -> Self {
                Self::new()
            }
        }

        impl<V> fmt::Debug for $name<V> {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.debug_struct(stringify!($name))
                    .field("weighs", &self.0.weigh.is_some())
                    .finish()
            }
        }

        impl<V: Serialize + DeserializeOwned + 'static> Codec<V> for $name<V> {
            fn encode(&self, value: &V) -> Result<(Bytes, Format)> {
                self.0.encode(value)
            }

            fn decode(&self, bytes: Bytes, format: Format) -> Result<V> {
                self.0.decode(&bytes, format)
            }

            fn weight(&self, value: &V) -> usize {
                self.0.weight(value)
            }
        }
    };
}

codec! {
    /// The codec of values that serde writes and reads as JSON: what the Python package and people
    /// read too. A value with an infinity or a NaN is refused, map keys must be text. JSON has one `null`:
    /// `Some(None)` comes back as `None`. What is nested more than 126 deep does not come back.
    ///
    /// ```
    /// use serde::{Deserialize, Serialize};
    /// use tierce::{Cache, JsonCodec};
    ///
    /// #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    /// struct User {
    ///     name: String,
    /// }
    ///
    /// let cache: Cache<User> = Cache::builder().build_with(JsonCodec::new())?;
    /// cache.set("user:7", User { name: "Ada".to_owned() })?;
    /// assert_eq!(cache.get("user:7").map(|user| user.name).as_deref(), Some("Ada"));
    /// # Ok::<(), tierce::Error>(())
    /// ```
    JsonCodec, Json
}

#[cfg(feature = "msgpack")]
codec! {
    /// The codec of values that serde writes and reads as MessagePack: smaller and faster than
    /// JSON, bytes and all numbers included. Fields are written with their names.
    MessagePackCodec, MessagePack
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct User {
        id: u32,
        name: String,
        #[serde(default)]
        tags: Vec<String>,
    }

    fn ada() -> User {
        User { id: 7, name: "Ada".to_owned(), tags: vec!["one".to_owned()] }
    }

    /// The rules that hold for each codec.
    fn keeps_the_rules(codec: &impl Codec<User>, format: Format, other: Format) {
        let (bytes, made) = codec.encode(&ada()).unwrap();
        assert_eq!((made, codec.decode(bytes.clone(), made).unwrap()), (format, ada()));
        assert_eq!(codec.weight(&ada()), size_of::<User>() + bytes.len());
        let kind = |bytes: Bytes, format| codec.decode(bytes, format).unwrap_err().kind();
        assert_eq!(kind(bytes.clone(), other), ErrorKind::Codec);
        assert_eq!(kind([&bytes[..], b"1"].concat().into(), format), ErrorKind::Codec, "goes on");
        for end in 0..bytes.len() {
            assert_eq!(kind(bytes.slice(..end), format), ErrorKind::Codec, "cut at {end}");
        }
    }

    #[test]
    fn json_comes_back_and_nothing_else_is_taken_for_it() {
        keeps_the_rules(&JsonCodec::new(), Format::Json, Format::Text);
        let codec = JsonCodec::<User>::new();
        let of_before = Bytes::from(r#"{"name":"Ada","id":7,"unknown":null}"#);
        assert_eq!(codec.decode(of_before, Format::Json).unwrap().tags, Vec::<String>::new());
    }

    #[cfg(feature = "msgpack")]
    #[test]
    fn message_pack_comes_back_and_nothing_else_is_taken_for_it() {
        keeps_the_rules(&MessagePackCodec::new(), Format::MessagePack, Format::Json);
        #[derive(Serialize, Deserialize)]
        struct Older {
            name: String,
            id: u32,
        }
        let older = Older { name: "Ada".to_owned(), id: 7 };
        let (bytes, format) = MessagePackCodec::new().encode(&older).unwrap();
        let codec = MessagePackCodec::<User>::new();
        assert_eq!(codec.decode(bytes, format).unwrap().name, "Ada", "fields have names");
    }

    #[test]
    fn a_number_comes_back_as_it_was() {
        let codec = JsonCodec::<f64>::new();
        let comes_back = |number: f64| {
            let (bytes, format) = codec.encode(&number).unwrap();
            let back = codec.decode(bytes, format).unwrap();
            assert_eq!(back.to_bits(), number.to_bits(), "{number:?}");
        };
        [0.1 + 0.2, 9.0 / 89.0, -0.0, f64::MAX, 5e-324].into_iter().for_each(comes_back);
        let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..10_000 {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            Some(f64::from_bits(bits)).filter(|number| number.is_finite()).map(comes_back);
        }
    }

    #[test]
    fn a_number_that_json_does_not_have_is_refused_wherever_it_is() {
        #[derive(Serialize, Deserialize)]
        enum Shape {
            Point(f64, f32),
            Line { to: Option<f64> },
            Round(BTreeMap<String, Vec<f32>>),
        }
        let round = |number| BTreeMap::from([("a".to_owned(), vec![0.5, number])]);
        let codec = JsonCodec::<Shape>::new();
        for finite in [
            Shape::Point(1.0, 2.0),
            Shape::Line { to: Some(f64::MIN) },
            Shape::Round(round(f32::MAX)),
        ] {
            let (bytes, format) = codec.encode(&finite).unwrap();
            codec.decode(bytes, format).unwrap();
        }
        for other in [
            Shape::Point(f64::NAN, 2.0),
            Shape::Point(1.0, f32::NEG_INFINITY),
            Shape::Line { to: Some(f64::INFINITY) },
            Shape::Round(round(f32::NAN)),
        ] {
            let error = codec.encode(&other).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Codec);
            let cause = std::error::Error::source(&error).unwrap().to_string();
            assert!(cause.contains("must be finite"), "{cause}");
        }
    }

    #[test]
    fn a_value_without_such_a_form_is_an_error_that_names_its_type() {
        let codec = JsonCodec::<BTreeMap<(u8, u8), u8>>::new();
        let error = codec.encode(&BTreeMap::from([((1, 2), 3)])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Codec);
        assert!(error.to_string().contains("BTreeMap"), "{error}");
    }

    #[test]
    fn a_weight_may_be_given() {
        let codec = JsonCodec::<User>::new().weigh_by(|user| user.name.len());
        assert_eq!(codec.weight(&ada()), 3);
    }
}
