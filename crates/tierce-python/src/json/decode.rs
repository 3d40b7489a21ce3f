//! JSON text to Python value.
//!
//! The bytes come from a file or a server that others write to: nothing is trusted. The text
//! must be one JSON value in UTF-8 and nothing after it, within the depth bound; anything else is
//! refused, which the cache counts and takes as a miss.

use pyo3::{
    prelude::*,
    types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString},
};

use super::{MOST_DEPTH, PIECE_DIGITS};

/// Why a text is no value: what was wrong and at which byte, or Python's own error.
#[derive(Debug)]
pub(crate) enum Fault {
    Text(&'static str, usize),
    Python(PyErr),
}

impl From<PyErr> for Fault {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

type Parsed<'py> = Result<Bound<'py, PyAny>, Fault>;

/// The value of a JSON text.
pub(crate) fn decode<'py>(py: Python<'py>, text: &str) -> Parsed<'py> {
    let mut reader = Reader { py, text, at: 0 };
    let value = reader.value(0)?;
    reader.skip_blanks();
    match reader.peek() {
        None => Ok(value),
        Some(_) => Err(reader.fault("something follows the value")),
    }
}

struct Reader<'py, 'a> {
    py: Python<'py>,
    text: &'a str,
    at: usize,
}

impl<'py, 'a> Reader<'py, 'a> {
    fn value(&mut self, depth: usize) -> Parsed<'py> {
        self.skip_blanks();
        match self.peek() {
            Some(b'"') => {
                let text = self.string()?;
                Ok(PyString::new(self.py, &text).into_any())
            }
            Some(b'{') => self.object(self.inside(depth)?),
            Some(b'[') => self.array(self.inside(depth)?),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'n') => self.word("null", self.py.None().into_bound(self.py)),
            Some(b't') => self.word("true", PyBool::new(self.py, true).to_owned().into_any()),
            Some(b'f') => self.word("false", PyBool::new(self.py, false).to_owned().into_any()),
            _ => Err(self.fault("no value")),
        }
    }

    fn inside(&self, depth: usize) -> Result<usize, Fault> {
        if depth == MOST_DEPTH { Err(self.fault("nested too deep")) } else { Ok(depth + 1) }
    }

    fn word(&mut self, word: &str, value: Bound<'py, PyAny>) -> Parsed<'py> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.fault("no value"));
        }
        self.at += word.len();
        Ok(value)
    }

    fn array(&mut self, depth: usize) -> Parsed<'py> {
        let list = PyList::empty(self.py);
        self.at += 1;
        if self.takes(b']') {
            return Ok(list.into_any());
        }
        loop {
            list.append(self.value(depth)?)?;
            if self.takes(b']') {
                return Ok(list.into_any());
            }
            self.expect(b',', "a list needs a comma or its end")?;
        }
    }

    fn object(&mut self, depth: usize) -> Parsed<'py> {
        let dict = PyDict::new(self.py);
        self.at += 1;
        if self.takes(b'}') {
            return Ok(dict.into_any());
        }
        loop {
            self.skip_blanks();
            if self.peek() != Some(b'"') {
                return Err(self.fault("an object needs a name"));
            }
            let name = self.string()?;
            let name = PyString::new(self.py, &name);
            self.expect(b':', "a name needs a colon")?;
            dict.set_item(name, self.value(depth)?)?;
            if self.takes(b'}') {
                return Ok(dict.into_any());
            }
            self.expect(b',', "an object needs a comma or its end")?;
        }
    }

    fn number(&mut self) -> Parsed<'py> {
        let begin = self.at;
        let negative = self.eats(b'-');
        let whole = self.at;
        let digits = self.digits();
        if digits == 0 || (digits > 1 && self.text.as_bytes()[whole] == b'0') {
            return Err(self.fault("no number"));
        }
        let mut is_int = true;
        if self.eats(b'.') {
            is_int = false;
            if self.digits() == 0 {
                return Err(self.fault("no digit after the point"));
            }
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            is_int = false;
            let _sign = self.eats(b'+') || self.eats(b'-');
            if self.digits() == 0 {
                return Err(self.fault("no digit in the exponent"));
            }
        }
        let text = &self.text[begin..self.at];
        if !is_int {
            return match text.parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(PyFloat::new(self.py, number).into_any()),
                _ => Err(self.fault("a number beyond the range of float")),
            };
        }
        match text.parse::<i64>() {
            Ok(small) => Ok(self.int(small)),
            Err(_) => self.long(&self.text[whole..self.at], negative),
        }
    }

    /// An int beyond 64 bits, a piece of its digits at a time.
    fn long(&self, digits: &str, negative: bool) -> Parsed<'py> {
        let int = self.py.get_type::<PyInt>();
        let base = self.int(10);
        let first = digits.len() % PIECE_DIGITS;
        let mut number = self.int(0);
        if first > 0 {
            number = int.call1((&digits[..first],))?;
        }
        let piece = base.pow(PIECE_DIGITS, self.py.None())?;
        let mut at = first;
        while at < digits.len() {
            number = number.mul(&piece)?.add(int.call1((&digits[at..at + PIECE_DIGITS],))?)?;
            at += PIECE_DIGITS;
        }
        Ok(if negative { number.neg()? } else { number })
    }

    fn int(&self, number: i64) -> Bound<'py, PyAny> {
        match number.into_pyobject(self.py) {
            Ok(number) => number.into_any(),
            Err(never) => match never {},
        }
    }

    /// A string, its opening quote next.
    fn string(&mut self) -> Result<std::borrow::Cow<'a, str>, Fault> {
        self.at += 1;
        let begin = self.at;
        let mut built: Option<String> = None;
        let mut taken = begin;
        loop {
            match self.peek() {
                Some(b'"') => {
                    let rest = &self.text[taken..self.at];
                    self.at += 1;
                    return Ok(match built {
                        None => rest.into(),
                        Some(text) => (text + rest).into(),
                    });
                }
                Some(b'\\') => {
                    let text = built.get_or_insert_default();
                    text.push_str(&self.text[taken..self.at]);
                    self.at += 1;
                    let letter = self.escape()?;
                    text.push(letter);
                    taken = self.at;
                }
                Some(0..0x20) => return Err(self.fault("a control character in a string")),
                Some(_) => self.at += 1,
                None => return Err(self.fault("a string without an end")),
            }
        }
    }

    /// What follows a backslash.
    fn escape(&mut self) -> Result<char, Fault> {
        let letter = self.peek();
        self.at += 1;
        Ok(match letter {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let high = self.hex()?;
                if !(0xd800..0xdc00).contains(&high) {
                    return char::from_u32(high).ok_or_else(|| self.fault("a lone surrogate"));
                }
                if !(self.eats(b'\\') && self.eats(b'u')) {
                    return Err(self.fault("a lone surrogate"));
                }
                let low = self.hex()?;
                if !(0xdc00..0xe000).contains(&low) {
                    return Err(self.fault("a lone surrogate"));
                }
                let point = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                char::from_u32(point).ok_or_else(|| self.fault("no character"))?
            }
            _ => return Err(self.fault("an escape that JSON does not have")),
        })
    }

    fn hex(&mut self) -> Result<u32, Fault> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4);
        let Some(digits) = digits.filter(|it| it.iter().all(u8::is_ascii_hexdigit)) else {
            return Err(self.fault("no four hexadecimal digits"));
        };
        self.at += 4;
        Ok(digits
            .iter()
            .fold(0, |sum, digit| sum * 16 + char::from(*digit).to_digit(16).unwrap_or(0)))
    }

    fn digits(&mut self) -> usize {
        let begin = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at - begin
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Takes this byte if it is next.
    fn eats(&mut self, byte: u8) -> bool {
        let next = self.peek() == Some(byte);
        self.at += usize::from(next);
        next
    }

    /// Takes this byte if it is next after blanks.
    fn takes(&mut self, byte: u8) -> bool {
        self.skip_blanks();
        self.eats(byte)
    }

    fn expect(&mut self, byte: u8, rule: &'static str) -> Result<(), Fault> {
        if self.takes(byte) { Ok(()) } else { Err(self.fault(rule)) }
    }

    fn fault(&self, what: &'static str) -> Fault {
        Fault::Text(what, self.at)
    }
}
