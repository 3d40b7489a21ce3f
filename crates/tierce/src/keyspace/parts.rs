//! What may stand in the places of a pattern, and how it becomes part of a key.

/// What one place of a pattern takes: text and whole numbers.
///
/// Two values that differ make keys that differ, whatever they contain: a slash or a percent sign
/// is written as `%2F` or `%25`.
pub trait KeyPart {
    /// Appends the value to a key.
    fn append_to(&self, key: &mut Vec<u8>);
}

/// Values for a pattern with `N` places: one value for one place, a tuple for two to four.
pub trait KeyParts<const N: usize> {
    /// The values in the order of the places.
    fn parts(&self) -> [&dyn KeyPart; N];
}

/// What separates the segments of a key.
const SLASH: u8 = b'/';

impl KeyPart for str {
    fn append_to(&self, key: &mut Vec<u8>) {
        for byte in self.bytes() {
            match byte {
                SLASH => key.extend_from_slice(b"%2F"),
                b'%' => key.extend_from_slice(b"%25"),
                byte => key.push(byte),
            }
        }
    }
}

impl KeyPart for String {
    fn append_to(&self, key: &mut Vec<u8>) {
        self.as_str().append_to(key);
    }
}

impl<T: KeyPart + ?Sized> KeyPart for &T {
    fn append_to(&self, key: &mut Vec<u8>) {
        (**self).append_to(key);
    }
}

macro_rules! whole_numbers {
    ($($number:ty)*) => {$(
        impl KeyPart for $number {
            fn append_to(&self, key: &mut Vec<u8>) {
                // Writing to a vector cannot fail.
                let _ = std::io::Write::write_fmt(key, format_args!("{self}"));
            }
        }
    )*};
}

whole_numbers! { u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize }

impl<T: KeyPart> KeyParts<1> for T {
    fn parts(&self) -> [&dyn KeyPart; 1] {
        [self]
    }
}

macro_rules! tuples {
    ($($count:literal: $($part:ident $at:tt)*;)*) => {$(
        impl<$($part: KeyPart),*> KeyParts<$count> for ($($part,)*) {
            fn parts(&self) -> [&dyn KeyPart; $count] {
                [$(&self.$at),*]
            }
        }
    )*};
}

tuples! {
    2: A 0 B 1;
    3: A 0 B 1 C 2;
    4: A 0 B 1 C 2 D 3;
}
