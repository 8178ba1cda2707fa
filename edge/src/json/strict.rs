//! Owns reading JSON where an object names each of its fields once.
//!
//! Of two fields with one name some readers take the first, others the last. Must never choose.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

/// A value in which no object names a field twice.
pub(super) struct Strict(pub(super) Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Anything).map(Strict)
    }
}

struct Anything;

impl<'de> Visitor<'de> for Anything {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("any JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Strict(value)) = list.next_element()? {
            values.push(value);
        }
        Ok(values.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = object.next_key::<String>()? {
            if map.contains_key(&name) {
                return Err(A::Error::custom("a field is named twice"));
            }
            let Strict(value) = object.next_value()?;
            map.insert(name, value);
        }
        Ok(map.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_that_names_a_field_twice_is_not_read_and_all_others_are_read_as_ever() {
        for body in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"b":{},"\u0061":2}"#,
            r#"[{"x":{"y":[{"z":1,"z":null}]}}]"#,
        ] {
            let error = serde_json::from_str::<Strict>(body).err().expect(body);
            assert!(error.is_data(), "{error}");
        }
        for body in [
            r#"{"a":{"a":[{"a":1},{"a":2}]},"b":null,"A":true}"#,
            "[0,-1,1.5,18446744073709551615,18446744073709551616,1e3,-0,false]",
            r#""\u00e4\n""#,
            "{}",
        ] {
            let read = serde_json::from_str::<Strict>(body).expect(body).0;
            assert_eq!(read, serde_json::from_str::<Value>(body).expect(body));
        }
        for body in ["{", "[1,]", "{\"a\"}", "1 2", "nul", "1e999"] {
            let error = serde_json::from_str::<Strict>(body).err().expect(body);
            assert!(!error.is_data(), "{error}");
        }
    }
}
