//! Owns the decoding of `application/x-www-form-urlencoded` bodies and queries with bracketed
//! names (`metadata[order_id]=…`), as Stripe's clients send them.
//!
//! Must never guess: what is not well formed is an error.

use crate::limits::{FORM_FIELDS_MAX, FORM_NAME_BYTES_MAX};

/// Decoded fields in the order they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Form {
    fields: Vec<(String, String)>,
}

impl Form {
    /// Decodes a body or a query.
    pub(crate) fn parse(text: &str) -> Result<Form, &'static str> {
        let mut fields = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            if fields.len() == FORM_FIELDS_MAX {
                return Err("too many parameters");
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name).ok_or("a parameter's name is not well encoded")?;
            if name.is_empty() || name.len() > FORM_NAME_BYTES_MAX {
                return Err("a parameter's name is empty or too long");
            }
            fields.push((name, decode(value).ok_or("a parameter's value is not well encoded")?));
        }
        Ok(Form { fields })
    }

    /// A field by its full name; the last one counts.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().rev().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// `root[key]=value` pairs.
    pub(crate) fn under<'a>(&'a self, root: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.fields.iter().filter_map(move |(name, value)| {
            let key = name.strip_prefix(root)?.strip_prefix('[')?;
            Some((key.strip_suffix(']')?, value.as_str()))
        })
    }

    /// The first field whose root is not in the list.
    pub(crate) fn unknown(&self, known: &[&str]) -> Option<&str> {
        self.fields.iter().map(|(name, _)| name.as_str()).find(|name| {
            let root = name.split('[').next().unwrap_or(name);
            !known.contains(&root)
        })
    }
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => {
                let [high, low, tail @ ..] = rest else {
                    return None;
                };
                bytes.push((digit(*high)? << 4) | digit(*low)?);
                rest = tail;
            }
            other => bytes.push(*other),
        }
    }
    String::from_utf8(bytes).ok()
}

fn digit(letter: u8) -> Option<u8> {
    char::from(letter).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_and_escapes_are_read_and_nonsense_is_refused() {
        let form = Form::parse("amount=5&metadata%5Border_id%5D=ord_1&a=x+y%26z&").expect("ok");
        assert_eq!(form.get("amount"), Some("5"));
        assert_eq!(form.get("a"), Some("x y&z"));
        let metadata: Vec<_> = form.under("metadata").collect();
        assert_eq!(metadata, [("order_id", "ord_1")]);
        assert_eq!(form.unknown(&["amount", "metadata"]), Some("a"));
        for bad in ["a=%", "a=%g1", "a=%ff", "=1", "%"] {
            assert!(Form::parse(bad).is_err(), "{bad}");
        }
        let many = "a=1&".repeat(FORM_FIELDS_MAX + 1);
        assert!(Form::parse(&many).is_err());
    }
}
