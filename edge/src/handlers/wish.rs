//! Owns reading what a buyer wants to hold: named seats, a number of places, or several of both.
//!
//! Must never guess: a wish that is not clear is refused with the field that is not.

use onsale_proto::allocator::HoldItem;
use serde_json::Value;

use super::mix::Mix;
use crate::{
    event_view::EventView,
    idempotency::Canonical,
    json::{self, At, Faults, Object},
    limits,
    problem::Problem,
};

const NOT_OFFERED: [&str; 2] = ["code", "channel"];
/// What stands beside `quantity`, and never beside `seat_ids`.
const CHOICE_FIELDS: [&str; 6] =
    ["category", "section", "accessible", "price_max_minor", "companions", "split"];
const WISH_FIELDS: [&str; 11] = [
    "seat_ids",
    "quantity",
    "category",
    "section",
    "accessible",
    "price_max_minor",
    "companions",
    "split",
    "types",
    "code",
    "channel",
];
const REQUEST_FIELDS: [&str; 13] = [
    "event_id",
    "items",
    "seat_ids",
    "quantity",
    "category",
    "section",
    "accessible",
    "price_max_minor",
    "companions",
    "split",
    "types",
    "code",
    "channel",
];

/// What is to be held.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wishes {
    pub event_id: String,
    pub items: Vec<Wish>,
    /// The ticket types of each wish.
    pub types: Vec<Mix>,
    /// Named by `items`, not by one wish in the body itself.
    pub listed: bool,
}

/// One wish.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Seats(Vec<String>),
    Places(Choice),
}

/// Places that the allocator chooses.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Choice {
    pub quantity: u32,
    pub category: Option<String>,
    pub section: Option<String>,
    pub accessible: bool,
    pub price_max_minor: Option<u64>,
    pub companions: u32,
    pub split: bool,
}

impl Wishes {
    /// Reads the body of `POST /v1/reserve`.
    pub(crate) fn read(body: &Value) -> Result<Wishes, Problem> {
        let mut faults = Faults::default();
        let wishes = Wishes::read_object(body, &mut faults);
        match wishes {
            Some(wishes) if faults.is_empty() => Ok(wishes),
            _ => Err(Problem::fields(faults.into_errors())),
        }
    }

    fn read_object(body: &Value, faults: &mut Faults) -> Option<Wishes> {
        let object = Object::read(body, At::Root, &REQUEST_FIELDS, faults)?;
        let event_id = object.need_text("event_id", 1..=64, faults);
        let listed = object.get("items").is_some();
        let (items, types) = if listed {
            for name in ["seat_ids", "quantity", "types"].iter().chain(&CHOICE_FIELDS) {
                if object.get(name).is_some() {
                    object.fault(name, "cannot stand beside items", faults);
                }
            }
            not_offered(&object, faults);
            read_items(&object, faults)
        } else {
            let (wish, mix) = read_wish(&object, faults)?;
            (vec![wish], vec![mix])
        };
        let places: u64 = items.iter().map(Wish::places).sum();
        if places > limits::HOLD_SEATS_MAX {
            let most = limits::HOLD_SEATS_MAX;
            faults.add(&At::Root, format!("asks for {places} places, at most {most}"));
        }
        check_repeats(&items, listed, faults);
        Some(Wishes { event_id: event_id?.to_owned(), items, types, listed })
    }

    /// The content as it is hashed.
    pub(crate) fn canonical(&self) -> Canonical {
        let mut canonical = Canonical::default();
        canonical.text("reserve");
        canonical.text(&self.event_id);
        for (item, mix) in self.items.iter().zip(&self.types) {
            match item {
                Wish::Seats(seats) => {
                    canonical.number(seats.len() as u64);
                    seats.iter().for_each(|seat| canonical.text(seat));
                }
                Wish::Places(choice) => {
                    canonical.number(0);
                    choice.write_canonical(&mut canonical);
                }
            }
            mix.write(&mut canonical);
        }
        canonical
    }

    /// The wishes in the event's numbers.
    pub(crate) fn resolve(&self, view: &EventView) -> Result<Vec<HoldItem>, Problem> {
        let mut faults = Faults::default();
        let items = At::Field(&At::Root, "items");
        let resolved = self
            .items
            .iter()
            .enumerate()
            .map(|(place, wish)| match self.listed {
                true => wish.resolve(view, &At::Index(&items, place), &mut faults),
                false => wish.resolve(view, &At::Root, &mut faults),
            })
            .collect();
        if faults.is_empty() { Ok(resolved) } else { Err(Problem::fields(faults.into_errors())) }
    }

    /// The ticket types of all places by number; none where no wish says any.
    pub(crate) fn types(&self, view: &EventView) -> Result<Vec<u32>, Problem> {
        if self.types.iter().all(Mix::is_empty) {
            return Ok(Vec::new());
        }
        let mut faults = Faults::default();
        let items = At::Field(&At::Root, "items");
        let mut types = Vec::new();
        for (place, (wish, mix)) in self.items.iter().zip(&self.types).enumerate() {
            let at = if self.listed { At::Index(&items, place) } else { At::Root };
            types.extend(mix.deal(wish.places(), view, &at, &mut faults));
        }
        if faults.is_empty() { Ok(types) } else { Err(Problem::fields(faults.into_errors())) }
    }

    /// A pointer of the allocator (`items/0/seats`) as one into this body.
    pub(crate) fn pointer(&self, field: &str) -> String {
        let field = field.trim_start_matches('/').replace("/seats", "/seat_ids");
        match field.strip_prefix("items/0/") {
            Some(rest) if !self.listed => format!("/{rest}"),
            None if !self.listed => match self.items.first() {
                Some(Wish::Seats(_)) => "/seat_ids".to_owned(),
                _ => "/quantity".to_owned(),
            },
            _ => format!("/{field}"),
        }
    }
}

impl Wish {
    fn places(&self) -> u64 {
        match self {
            Wish::Seats(seats) => seats.len() as u64,
            Wish::Places(choice) => u64::from(choice.quantity) + u64::from(choice.companions),
        }
    }

    fn resolve(&self, view: &EventView, at: &At<'_>, faults: &mut Faults) -> HoldItem {
        match self {
            Wish::Seats(seats) => {
                HoldItem { seats: resolve_seats(seats, view, at, faults), ..HoldItem::default() }
            }
            Wish::Places(choice) => choice.resolve(view, at, faults),
        }
    }
}

impl Choice {
    fn write_canonical(&self, canonical: &mut Canonical) {
        canonical.number(self.quantity.into());
        canonical.optional(self.category.as_deref());
        canonical.optional(self.section.as_deref());
        canonical.number(self.accessible.into());
        canonical.number(self.price_max_minor.map_or(0, |price| price.saturating_add(1)));
        canonical.number(self.companions.into());
        canonical.number(self.split.into());
    }

    /// Without a quantity the types say how many places there are, companion seats included.
    fn read(object: &Object<'_>, mix: &Mix, faults: &mut Faults) -> Option<Choice> {
        let key = 1..=limits::LABEL_CHARS_MAX;
        let most = limits::HOLD_SEATS_MAX;
        let category = object.text("category", key.clone(), faults);
        let section = object.text("section", key, faults);
        let accessible = object.flag("accessible", faults).unwrap_or(false);
        let price = 0..=limits::PRICE_MINOR_MAX;
        let price_max_minor = object.integer("price_max_minor", price, faults);
        let companions = object.integer("companions", 0..=most, faults).unwrap_or(0);
        if companions > 0 && !accessible {
            object.fault("companions", "come with accessible seats only", faults);
        }
        let split = object.flag("split", faults).unwrap_or(false);
        let quantity = match object.get("quantity") {
            Some(_) => object.integer("quantity", 1..=most, faults),
            None if mix.places() <= companions => {
                object.fault("types", "must add up to more places than companions", faults);
                None
            }
            None => Some(mix.places() - companions),
        };
        Some(Choice {
            quantity: u32::try_from(quantity?).ok()?,
            category: category.map(str::to_owned),
            section: section.map(str::to_owned),
            accessible,
            price_max_minor,
            companions: u32::try_from(companions).ok()?,
            split,
        })
    }

    fn resolve(&self, view: &EventView, at: &At<'_>, faults: &mut Faults) -> HoldItem {
        let category = self.category.as_deref().and_then(|key| {
            let found = view.category_no(key);
            if found.is_none() {
                faults.add(&At::Field(at, "category"), "is not a category of the event");
            }
            found
        });
        let section = self.section.as_deref().and_then(|key| {
            let found = view.section_no(key);
            if found.is_none() {
                faults.add(&At::Field(at, "section"), "is not a section of the event");
            }
            found
        });
        HoldItem {
            seats: Vec::new(),
            quantity: self.quantity,
            category,
            section,
            accessible: self.accessible,
            price_max_minor: self.price_max_minor,
            companions: self.companions,
            split: self.split,
        }
    }
}

fn resolve_seats(seats: &[String], view: &EventView, at: &At<'_>, faults: &mut Faults) -> Vec<u32> {
    let field = At::Field(at, "seat_ids");
    let resolve = |(place, seat): (usize, &String)| {
        let found = view.seat_no(seat);
        if found.is_none() {
            faults.add(&At::Index(&field, place), "is not a seat of the event");
        }
        found
    };
    seats.iter().enumerate().filter_map(resolve).collect()
}

fn not_offered(object: &Object<'_>, faults: &mut Faults) {
    for name in NOT_OFFERED {
        if object.get(name).is_some() {
            object.fault(name, "is not offered by this event", faults);
        }
    }
}

fn read_items(object: &Object<'_>, faults: &mut Faults) -> (Vec<Wish>, Vec<Mix>) {
    let values = object.list("items", 1..=limits::HOLD_ITEMS_MAX, faults);
    let at = At::Field(&object.at, "items");
    let mut items = Vec::new();
    for (place, value) in values.unwrap_or_default().iter().enumerate() {
        let at = At::Index(&at, place);
        if let Some(item) = Object::read(value, at, &WISH_FIELDS, faults) {
            items.extend(read_wish(&item, faults));
        }
    }
    items.into_iter().unzip()
}

fn read_wish(object: &Object<'_>, faults: &mut Faults) -> Option<(Wish, Mix)> {
    not_offered(object, faults);
    let mix = Mix::read(object, faults);
    let wish = read_places(object, &mix, faults)?;
    if !mix.is_empty() && mix.places() != wish.places() {
        object.fault("types", "must add up to the places", faults);
    }
    Some((wish, mix))
}

fn read_places(object: &Object<'_>, mix: &Mix, faults: &mut Faults) -> Option<Wish> {
    match (object.get("seat_ids"), object.get("quantity")) {
        (Some(_), Some(_)) => {
            object.fault("quantity", "cannot stand beside seat_ids", faults);
            None
        }
        (None, None) if mix.is_empty() => {
            faults.add(&object.at, "needs seat_ids or quantity");
            None
        }
        (Some(_), None) => {
            for name in CHOICE_FIELDS {
                if object.get(name).is_some() {
                    object.fault(name, "cannot stand beside seat_ids", faults);
                }
            }
            read_seats(object, faults).map(Wish::Seats)
        }
        (None, _) => Choice::read(object, mix, faults).map(Wish::Places),
    }
}

fn read_seats(object: &Object<'_>, faults: &mut Faults) -> Option<Vec<String>> {
    let most = usize::try_from(limits::HOLD_SEATS_MAX).unwrap_or(usize::MAX);
    let values = object.list("seat_ids", 1..=most, faults)?;
    let at = At::Field(&object.at, "seat_ids");
    values
        .iter()
        .enumerate()
        .map(|(place, value)| {
            let at = At::Index(&at, place);
            json::text(value, &at, 1..=limits::SEAT_ID_CHARS_MAX, faults).map(str::to_owned)
        })
        .collect()
}

fn check_repeats(items: &[Wish], listed: bool, faults: &mut Faults) {
    let mut seen: Vec<&str> = Vec::new();
    let list = At::Field(&At::Root, "items");
    for (item, wish) in items.iter().enumerate() {
        let Wish::Seats(seats) = wish else {
            continue;
        };
        for (place, seat) in seats.iter().enumerate() {
            if seen.contains(&seat.as_str()) {
                let parent = if listed { At::Index(&list, item) } else { At::Root };
                let field = At::Field(&parent, "seat_ids");
                faults.add(&At::Index(&field, place), "is named twice");
            }
            seen.push(seat);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_view::tests::document;

    fn read(body: &str) -> Result<Wishes, Problem> {
        Wishes::read(&serde_json::from_str(body).expect("JSON"))
    }

    #[test]
    fn all_three_forms_are_read() {
        let wishes = read(r#"{"event_id":"evt_test","seat_ids":["101-A-1","102-A-4"]}"#);
        let items =
            wishes.expect("good").resolve(&EventView::new(document())).expect("known seats");
        assert_eq!(items[0].seats, [0, 11]);
        let wishes = read(r#"{"event_id":"evt_test","quantity":2,"section":"FLOOR"}"#);
        let items =
            wishes.expect("good").resolve(&EventView::new(document())).expect("a known section");
        assert_eq!((items[0].quantity, items[0].section), (2, Some(1)));
        let wishes = read(
            r#"{"event_id":"e","quantity":1,"accessible":true,"companions":2,
                "price_max_minor":900,"split":true}"#,
        );
        let item = &wishes.expect("good").resolve(&EventView::new(document())).expect("good")[0];
        assert_eq!((item.quantity, item.accessible, item.companions), (1, true, 2));
        assert_eq!((item.price_max_minor, item.split), (Some(900), true));
        let wishes = read(
            r#"{"event_id":"evt_test","items":[{"seat_ids":["101-A-1"]},
                {"quantity":1,"category":"GA","accessible":false}]}"#,
        );
        assert_eq!(wishes.expect("good").items.len(), 2);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let many = format!(r#"{{"event_id":"e","quantity":{}}}"#, u64::MAX);
        for (body, pointer) in [
            ("[]", ""),
            ("{}", "/event_id"),
            (r#"{"event_id":"e"}"#, ""),
            (r#"{"event_id":1,"quantity":1}"#, "/event_id"),
            (r#"{"event_id":"e","quantity":0}"#, "/quantity"),
            (r#"{"event_id":"e","quantity":-1}"#, "/quantity"),
            (r#"{"event_id":"e","quantity":1.5}"#, "/quantity"),
            (r#"{"event_id":"e","quantity":"2"}"#, "/quantity"),
            (&many, "/quantity"),
            (r#"{"event_id":"e","quantity":1,"seat_ids":["x"]}"#, "/quantity"),
            (r#"{"event_id":"e","seat_ids":[]}"#, "/seat_ids"),
            (r#"{"event_id":"e","seat_ids":"x"}"#, "/seat_ids"),
            (r#"{"event_id":"e","seat_ids":[1]}"#, "/seat_ids/0"),
            (r#"{"event_id":"e","seat_ids":["x","x"]}"#, "/seat_ids/1"),
            (r#"{"event_id":"e","seat_ids":["x"],"section":"s"}"#, "/section"),
            (r#"{"event_id":"e","quantity":1,"price_minor":1}"#, "/price_minor"),
            (r#"{"event_id":"e","quantity":1,"code":"VIP"}"#, "/code"),
            (r#"{"event_id":"e","quantity":1,"channel":"x"}"#, "/channel"),
            (r#"{"event_id":"e","quantity":1,"accessible":1}"#, "/accessible"),
            (r#"{"event_id":"e","quantity":1,"category":null}"#, "/category"),
            (r#"{"event_id":"e","quantity":1,"price_max_minor":-1}"#, "/price_max_minor"),
            (r#"{"event_id":"e","quantity":1,"price_max_minor":"9"}"#, "/price_max_minor"),
            (r#"{"event_id":"e","quantity":1,"companions":1}"#, "/companions"),
            (r#"{"event_id":"e","quantity":1,"accessible":true,"companions":65}"#, "/companions"),
            (r#"{"event_id":"e","quantity":60,"accessible":true,"companions":6}"#, ""),
            (r#"{"event_id":"e","quantity":1,"split":1}"#, "/split"),
            (r#"{"event_id":"e","seat_ids":["x"],"split":true}"#, "/split"),
            (r#"{"event_id":"e","items":[{"quantity":1}],"companions":1}"#, "/companions"),
            (r#"{"event_id":"e","items":[]}"#, "/items"),
            (r#"{"event_id":"e","items":[1]}"#, "/items/0"),
            (r#"{"event_id":"e","items":[{"quantity":1,"types":{"adult":2}}]}"#, "/items/0/types"),
            (r#"{"event_id":"e","seat_ids":["x"],"types":{"adult":2}}"#, "/types"),
            (r#"{"event_id":"e","types":{"adult":0}}"#, "/types/adult"),
            (r#"{"event_id":"e","types":{"a":60,"b":60}}"#, ""),
            (r#"{"event_id":"e","quantity":1,"types":{}}"#, "/types"),
            (r#"{"event_id":"e","quantity":1,"types":["adult"]}"#, "/types"),
            (r#"{"event_id":"e","items":[{"quantity":1}],"types":{"adult":1}}"#, "/types"),
            (r#"{"event_id":"e","items":[{"quantity":1}],"quantity":1}"#, "/quantity"),
            (r#"{"event_id":"e","items":[{"quantity":40},{"quantity":40}]}"#, ""),
            (
                r#"{"event_id":"e","items":[{"seat_ids":["x"]},{"seat_ids":["x"]}]}"#,
                "/items/1/seat_ids/0",
            ),
        ] {
            let problem = read(body).expect_err(body);
            let pointers: Vec<&str> =
                problem.errors().iter().map(|error| error.pointer.as_str()).collect();
            assert!(pointers.contains(&pointer), "{body}: {pointers:?}");
        }
    }

    #[test]
    fn the_shards_fields_are_named_as_in_the_body() {
        for (body, field, pointer) in [
            (r#"{"event_id":"e","quantity":9}"#, "items", "/quantity"),
            (r#"{"event_id":"e","quantity":9}"#, "items/0/section", "/section"),
            (r#"{"event_id":"e","seat_ids":["x"]}"#, "items", "/seat_ids"),
            (r#"{"event_id":"e","seat_ids":["x"]}"#, "items/0/seats", "/seat_ids"),
            (
                r#"{"event_id":"e","items":[{"seat_ids":["x"]}]}"#,
                "items/0/seats",
                "/items/0/seat_ids",
            ),
            (r#"{"event_id":"e","items":[{"quantity":9}]}"#, "items", "/items"),
        ] {
            assert_eq!(read(body).expect("good").pointer(field), pointer, "{body} {field}");
        }
    }

    #[test]
    fn unknown_seats_sections_and_categories_are_named() {
        let view = EventView::new(document());
        for (body, pointer) in [
            (r#"{"event_id":"e","seat_ids":["101-A-1","101-A-9"]}"#, "/seat_ids/1"),
            (r#"{"event_id":"e","quantity":1,"section":"Z"}"#, "/section"),
            (r#"{"event_id":"e","items":[{"quantity":1,"category":"Z"}]}"#, "/items/0/category"),
        ] {
            let problem = read(body).expect("good").resolve(&view).expect_err(body);
            assert_eq!(problem.errors()[0].pointer, pointer);
        }
    }

    #[test]
    fn types_are_dealt_in_the_events_order_and_may_say_how_many() {
        let mut document = document();
        for key in ["adult", "child"] {
            let one = onsale_proto::catalog::TicketType { key: key.into(), name: key.into() };
            document.types.push(one);
        }
        let view = EventView::new(document);
        for (body, types) in [
            (r#"{"event_id":"e","quantity":2}"#, &[][..]),
            (r#"{"event_id":"e","types":{"child":2,"adult":1}}"#, &[0, 1, 1]),
            (r#"{"event_id":"e","items":[{"quantity":2},{"types":{"child":1}}]}"#, &[0, 0, 1]),
        ] {
            let wishes = read(body).expect("good");
            assert_eq!(wishes.types(&view).expect("known types"), types, "{body}");
            let places: u64 = wishes.items.iter().map(Wish::places).sum();
            assert!(types.is_empty() || places == types.len() as u64);
        }
        let unknown = read(r#"{"event_id":"e","quantity":1,"types":{"senior":1}}"#);
        let problem = unknown.expect("good").types(&view).expect_err("no such type");
        assert_eq!(problem.errors()[0].pointer, "/types/senior");
    }

    #[test]
    fn other_wishes_have_other_canonical_forms() {
        let hash = |body: &str| read(body).expect("good").canonical().bytes().to_vec();
        let two = hash(r#"{"event_id":"e","quantity":2}"#);
        assert_eq!(two, hash(r#"{ "quantity":2, "accessible":false,"event_id":"e"}"#));
        for other in [
            r#"{"event_id":"f","quantity":2}"#,
            r#"{"event_id":"e","quantity":3}"#,
            r#"{"event_id":"e","quantity":2,"section":"s"}"#,
            r#"{"event_id":"e","quantity":2,"category":"s"}"#,
            r#"{"event_id":"e","quantity":2,"accessible":true}"#,
            r#"{"event_id":"e","quantity":2,"accessible":true,"companions":1}"#,
            r#"{"event_id":"e","quantity":2,"price_max_minor":0}"#,
            r#"{"event_id":"e","quantity":2,"split":true}"#,
            r#"{"event_id":"e","items":[{"quantity":1},{"quantity":1}]}"#,
            r#"{"event_id":"e","seat_ids":["2"]}"#,
            r#"{"event_id":"e","quantity":2,"types":{"a":2}}"#,
            r#"{"event_id":"e","quantity":2,"types":{"a":1,"b":1}}"#,
        ] {
            assert_ne!(two, hash(other), "{other}");
        }
    }
}
