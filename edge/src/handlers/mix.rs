//! Owns reading a wish's ticket types, `{"adult": 2, "child": 1}`, and dealing them to its places.
//!
//! JSON objects have no order: types are dealt in the order of the event's list. Who wants a
//! certain seat for a certain type names it in an item of its own.

use serde_json::Value;

use crate::{
    event_view::EventView,
    idempotency::Canonical,
    json::{self, At, Faults, Object},
    limits,
};

/// How many places of which type; empty where the wish does not say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Mix(Vec<(String, u32)>);

impl Mix {
    /// Reads the field `types`.
    pub(crate) fn read(object: &Object<'_>, faults: &mut Faults) -> Mix {
        let Some(value) = object.get("types") else {
            return Mix::default();
        };
        let at = At::Field(&object.at, "types");
        let Value::Object(map) = value else {
            faults.add(&at, "must be an object of types and numbers");
            return Mix::default();
        };
        if map.is_empty() || map.len() > limits::TICKET_TYPES_MAX {
            faults.add(&at, format!("must name 1 to {} types", limits::TICKET_TYPES_MAX));
            return Mix::default();
        }
        let mut mix = Vec::new();
        for (key, value) in map {
            let at = At::Field(&at, key);
            if let Some(count) = json::integer(value, &at, 1..=limits::HOLD_SEATS_MAX, faults) {
                mix.push((key.clone(), u32::try_from(count).unwrap_or(u32::MAX)));
            }
        }
        Mix(mix)
    }

    /// So many places of each type; every number is from 1.
    pub(crate) fn of(asked: Vec<(String, u32)>) -> Mix {
        Mix(asked)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn places(&self) -> u64 {
        self.0.iter().map(|(_, count)| u64::from(*count)).sum()
    }

    /// Adds it to a request's content, where there is one.
    pub(crate) fn write(&self, canonical: &mut Canonical) {
        if !self.is_empty() {
            canonical.text("types");
            canonical.number(self.0.len() as u64);
        }
        for (key, count) in &self.0 {
            canonical.text(key);
            canonical.number((*count).into());
        }
    }

    /// Deals the types to so many places, as numbers; the event's first type where it says none.
    pub(crate) fn deal(
        &self,
        places: u64,
        view: &EventView,
        at: &At<'_>,
        faults: &mut Faults,
    ) -> Vec<u32> {
        let at = At::Field(at, "types");
        let known = &view.document.types;
        let mut types = Vec::new();
        for (key, _) in &self.0 {
            if !known.iter().any(|one| one.key == *key) {
                faults.add(&At::Field(&at, key), "is not a type of the event");
            }
        }
        for (no, one) in (0_u32..).zip(known) {
            let asked = self.0.iter().find(|(key, _)| *key == one.key);
            let count = asked.map_or(0, |(_, count)| *count);
            types.extend(std::iter::repeat_n(no, count as usize));
        }
        types.resize(usize::try_from(places).unwrap_or(usize::MAX), 0);
        types
    }
}
