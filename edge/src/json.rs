//! Owns reading a JSON body strictly: every fault is collected with its JSON pointer, unknown
//! fields are faults.
//!
//! Must never accept what it does not understand, and never stop at the first fault.

mod strict;

use std::{borrow::Cow, ops::RangeInclusive};

use serde_json::{Map, Value};

use self::strict::Strict;
use crate::{limits, problem::FieldError};

/// Writes a text as a JSON string.
pub(crate) fn write_text(out: &mut Vec<u8>, text: &str) {
    // Writing a string to a vector cannot fail.
    let _ = serde_json::to_writer(out, text);
}

/// Where in the body: a chain of steps, spelled out only when there is a fault.
#[derive(Clone, Copy)]
pub(crate) enum At<'a> {
    Root,
    Field(&'a At<'a>, &'a str),
    Index(&'a At<'a>, usize),
}

impl At<'_> {
    fn pointer(&self) -> String {
        match self {
            At::Root => String::new(),
            At::Field(parent, name) => {
                let name = name.replace('~', "~0").replace('/', "~1");
                format!("{}/{name}", parent.pointer())
            }
            At::Index(parent, index) => format!("{}/{index}", parent.pointer()),
        }
    }
}

/// The faults found so far.
#[derive(Default)]
pub(crate) struct Faults {
    errors: Vec<FieldError>,
}

impl Faults {
    /// Notes a fault; beyond the bound only the first ones are kept.
    pub(crate) fn add(&mut self, at: &At<'_>, detail: impl Into<Cow<'static, str>>) {
        if self.errors.len() < limits::FIELD_ERRORS_MAX {
            self.errors.push(FieldError { pointer: at.pointer(), detail: detail.into() });
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.errors.is_empty()
    }

    pub(crate) fn into_errors(self) -> Vec<FieldError> {
        self.errors
    }
}

/// Parses a body, bounded in depth.
pub(crate) fn parse(body: &[u8]) -> Result<Value, FieldError> {
    let fault = |detail: Cow<'static, str>| FieldError { pointer: String::new(), detail };
    if body.is_empty() {
        return Err(fault("the body is empty; it must be a JSON object".into()));
    }
    if std::str::from_utf8(body).is_err() {
        return Err(fault("the body is not UTF-8".into()));
    }
    if depth(body) > limits::JSON_DEPTH_MAX {
        let depth_max = limits::JSON_DEPTH_MAX;
        return Err(fault(format!("the body is nested deeper than {depth_max}").into()));
    }
    let parsed: Result<Strict, _> = serde_json::from_slice(body);
    parsed.map(|Strict(value)| value).map_err(|error| {
        let what = if error.is_data() { "names a field twice" } else { "is not JSON" };
        let (line, column) = (error.line(), error.column());
        fault(format!("the body {what}: line {line}, column {column}").into())
    })
}

fn depth(body: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0_usize);
    let (mut text, mut escaped) = (false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if text => escaped = true,
            b'"' => text = !text,
            b'{' | b'[' if !text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// A JSON object that is read field by field.
pub(crate) struct Object<'a> {
    map: &'a Map<String, Value>,
    /// Where it stands.
    pub at: At<'a>,
}

impl<'a> Object<'a> {
    /// The value as an object with no other fields than these.
    pub(crate) fn read(
        value: &'a Value,
        at: At<'a>,
        known: &[&str],
        faults: &mut Faults,
    ) -> Option<Object<'a>> {
        let Value::Object(map) = value else {
            faults.add(&at, "must be an object");
            return None;
        };
        for name in map.keys() {
            if !known.contains(&name.as_str()) {
                faults.add(&At::Field(&at, name), "is not a known field");
            }
        }
        Some(Object { map, at })
    }

    /// The field's value, if it is there. `null` is not a value of any of our fields.
    pub(crate) fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name)
    }

    /// Notes a fault of a field.
    pub(crate) fn fault(
        &self,
        name: &str,
        detail: impl Into<Cow<'static, str>>,
        faults: &mut Faults,
    ) {
        faults.add(&At::Field(&self.at, name), detail);
    }

    /// A required field.
    pub(crate) fn need(&self, name: &str, faults: &mut Faults) -> Option<&'a Value> {
        let value = self.get(name);
        if value.is_none() {
            self.fault(name, "is required", faults);
        }
        value
    }

    /// A text of so many characters, without control characters.
    pub(crate) fn text(
        &self,
        name: &str,
        chars: RangeInclusive<usize>,
        faults: &mut Faults,
    ) -> Option<&'a str> {
        let value = self.get(name)?;
        text(value, &At::Field(&self.at, name), chars, faults)
    }

    /// A required text.
    pub(crate) fn need_text(
        &self,
        name: &str,
        chars: RangeInclusive<usize>,
        faults: &mut Faults,
    ) -> Option<&'a str> {
        self.need(name, faults)?;
        self.text(name, chars, faults)
    }

    /// A whole number.
    pub(crate) fn integer(
        &self,
        name: &str,
        range: RangeInclusive<u64>,
        faults: &mut Faults,
    ) -> Option<u64> {
        let value = self.get(name)?;
        integer(value, &At::Field(&self.at, name), range, faults)
    }

    /// A required whole number.
    pub(crate) fn need_integer(
        &self,
        name: &str,
        range: RangeInclusive<u64>,
        faults: &mut Faults,
    ) -> Option<u64> {
        self.need(name, faults)?;
        self.integer(name, range, faults)
    }

    /// A flag.
    pub(crate) fn flag(&self, name: &str, faults: &mut Faults) -> Option<bool> {
        match self.get(name)? {
            Value::Bool(flag) => Some(*flag),
            _ => {
                self.fault(name, "must be true or false", faults);
                None
            }
        }
    }

    /// A list of so many values.
    pub(crate) fn list(
        &self,
        name: &str,
        len: RangeInclusive<usize>,
        faults: &mut Faults,
    ) -> Option<&'a [Value]> {
        let Value::Array(values) = self.get(name)? else {
            self.fault(name, "must be a list", faults);
            return None;
        };
        if !len.contains(&values.len()) {
            let (least, most) = (len.start(), len.end());
            self.fault(name, format!("must have {least} to {most} values"), faults);
            return None;
        }
        Some(values)
    }
}

/// A text of so many characters, without control characters.
pub(crate) fn text<'a>(
    value: &'a Value,
    at: &At<'_>,
    chars: RangeInclusive<usize>,
    faults: &mut Faults,
) -> Option<&'a str> {
    let Value::String(text) = value else {
        faults.add(at, "must be a text");
        return None;
    };
    let count = if text.is_ascii() { text.len() } else { text.chars().count() };
    if !chars.contains(&count) {
        let (least, most) = (chars.start(), chars.end());
        faults.add(at, format!("must have {least} to {most} characters"));
        return None;
    }
    if text.chars().any(|letter| letter.is_control() && letter != '\n') {
        faults.add(at, "must not have control characters");
        return None;
    }
    Some(text)
}

/// A whole number in a range.
pub(crate) fn integer(
    value: &Value,
    at: &At<'_>,
    range: RangeInclusive<u64>,
    faults: &mut Faults,
) -> Option<u64> {
    match value.as_u64() {
        Some(number) if range.contains(&number) => Some(number),
        _ => {
            let (least, most) = (range.start(), range.end());
            faults.add(at, format!("must be a whole number from {least} to {most}"));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_that_are_not_json_say_why() {
        for (body, says) in [
            (&b""[..], "empty"),
            (b"\xff{}", "UTF-8"),
            (b"{", "not JSON"),
            (b"{} x", "not JSON"),
            ("[".repeat(17).as_bytes(), "deeper"),
            ("[".repeat(100_000).as_bytes(), "deeper"),
        ] {
            let fault = parse(body).expect_err("refused");
            assert!(fault.detail.contains(says), "{says}: {}", fault.detail);
        }
        assert!(parse(br#"{"a":"[[[[[[[[[[[[[[[[[[[[[\"[[["}"#).is_ok(), "brackets in a text");
    }

    #[test]
    fn all_faults_are_found_with_their_pointers() {
        let value = parse(br#"{"a":1,"b":"x","c":{"d/e":[]},"z":true}"#).expect("JSON");
        let mut faults = Faults::default();
        let object =
            Object::read(&value, At::Root, &["a", "b", "c", "f"], &mut faults).expect("an object");
        assert_eq!(object.text("a", 1..=5, &mut faults), None);
        assert_eq!(object.integer("b", 1..=5, &mut faults), None);
        assert_eq!(object.need_text("f", 1..=5, &mut faults), None);
        let inner = object.get("c").expect("there");
        let at = At::Field(&object.at, "c");
        assert!(Object::read(inner, at, &[], &mut faults).is_some());
        let pointers: Vec<String> =
            faults.into_errors().into_iter().map(|error| error.pointer).collect();
        assert_eq!(pointers, ["/z", "/a", "/b", "/f", "/c/d~1e"]);
    }

    #[test]
    fn a_field_that_is_given_twice_is_refused() {
        let fault = parse(br#"{"seat_ids":["A"],"seat_ids":["B"]}"#).expect_err("refused");
        assert!(fault.detail.starts_with("the body names a field twice: line 1"), "{fault:?}");
    }
}
