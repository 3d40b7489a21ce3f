//! Whether all floating-point numbers of a value are finite: JSON has no form for others, and would say
//! `null`, which comes back as another value or as none.

use std::fmt;

use serde::{Serialize, Serializer, ser};

/// Goes through a value.
///
/// # Errors
/// Where it has an infinity or a NaN, or says itself that it has no form.
pub(super) fn check(value: &impl Serialize) -> Result<(), Reason> {
    value.serialize(Finite)
}

/// What a value may not be.
#[derive(Debug)]
pub(super) struct Reason(String);

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for Reason {}

impl ser::Error for Reason {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

/// A serializer that writes nothing.
#[derive(Clone, Copy)]
struct Finite;

fn finite(number: f64) -> Result<(), Reason> {
    if number.is_finite() {
        return Ok(());
    }
    Err(Reason(format!("{number} has no form as JSON: numbers must be finite")))
}

/// Methods for what has no number within.
macro_rules! plain {
    ($($name:ident($($type:ty),*);)*) => {
        $(fn $name(self, $(_: $type),*) -> Result<(), Reason> {
            Ok(())
        })*
    };
}

impl Serializer for Finite {
    type Ok = ();
    type Error = Reason;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    plain! {
        serialize_bool(bool);
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_i64(i64);
        serialize_i128(i128);
        serialize_u8(u8);
        serialize_u16(u16);
        serialize_u32(u32);
        serialize_u64(u64);
        serialize_u128(u128);
        serialize_char(char);
        serialize_str(&str);
        serialize_bytes(&[u8]);
        serialize_none();
        serialize_unit();
        serialize_unit_struct(&'static str);
        serialize_unit_variant(&'static str, u32, &'static str);
    }

    fn serialize_f32(self, number: f32) -> Result<(), Reason> {
        finite(number.into())
    }

    fn serialize_f64(self, number: f64) -> Result<(), Reason> {
        finite(number)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Reason> {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Reason> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Result<(), Reason> {
        value.serialize(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self, Reason> {
        Ok(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, Reason> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, Reason> {
        Ok(self)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Reason> {
        Ok(self)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self, Reason> {
        Ok(self)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Reason> {
        Ok(self)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Reason> {
        Ok(self)
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, _: &T) -> Result<(), Reason> {
        Ok(())
    }
}

/// Compounds: each part is gone through.
macro_rules! compound {
    ($($trait:ident::$method:ident($($name:ty)?);)*) => {
        $(impl ser::$trait for Finite {
            type Ok = ();
            type Error = Reason;

            fn $method<T: Serialize + ?Sized>(
                &mut self,
                $(_: $name,)?
                value: &T,
            ) -> Result<(), Reason> {
                value.serialize(*self)
            }

            fn end(self) -> Result<(), Reason> {
                Ok(())
            }
        })*
    };
}

compound! {
    SerializeSeq::serialize_element();
    SerializeTuple::serialize_element();
    SerializeTupleStruct::serialize_field();
    SerializeTupleVariant::serialize_field();
    SerializeStruct::serialize_field(&'static str);
    SerializeStructVariant::serialize_field(&'static str);
}

impl ser::SerializeMap for Finite {
    type Ok = ();
    type Error = Reason;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Reason> {
        key.serialize(*self)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Reason> {
        value.serialize(*self)
    }

    fn end(self) -> Result<(), Reason> {
        Ok(())
    }
}
