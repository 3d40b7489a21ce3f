//! Lists of names and values as OpenTelemetry has them in the environment: `a=1,b=two%20words`.

/// The pairs of a list, blanks around them left out, values decoded; an entry that is none is its own
/// error.
///
/// # Errors
/// The rule, without the entry: it may be secret.
pub(super) fn pairs(
    text: &str,
) -> impl Iterator<Item = std::result::Result<(String, String), &'static str>> {
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    entries.map(|entry| {
        let rule = "must be pairs such as name=value, apart by commas";
        let (name, value) = entry.split_once('=').ok_or(rule)?;
        let (name, value) = (decoded(name.trim()), decoded(value.trim()));
        match (name, value) {
            (Some(name), Some(value)) if !name.is_empty() => Ok((name, value)),
            (Some(_), Some(_)) => Err(rule),
            _ => Err("must hold a percent sign only before two hex digits, and UTF-8"),
        }
    })
}

/// Whether every entry is a pair, and there is one.
#[cfg(feature = "config")]
pub(crate) fn are_pairs(text: &str) -> bool {
    let mut count = 0;
    pairs(text).inspect(|_| count += 1).all(|pair| pair.is_ok()) && count > 0
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digit = |byte: u8| char::from(byte).to_digit(16);
        // Below 256.
        bytes.push((digit(digits[0])? * 16 + digit(digits[1])?) as u8);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_taken_apart_and_what_is_none_is_told() {
        let read = |text| pairs(text).collect::<std::result::Result<Vec<_>, _>>();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(read(""), Ok(vec![]));
        let list = " a = 1 ,, b=two%20words,c=x=y,d=";
        let held = [pair("a", "1"), pair("b", "two words"), pair("c", "x=y"), pair("d", "")];
        assert_eq!(read(list), Ok(held.to_vec()));
        for wrong in ["a", "=1", "a=%2", "a=%zz", "a=%ff", "a=1,b"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
