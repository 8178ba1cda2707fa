//! Owns the parts that an event's first version and its changes share, and changing one.
//!
//! Must never touch the seats, the currency or the categories' keys of an event that exists:
//! holds and tickets name them.

use onsale_proto::{
    catalog::{EventDocument, PriceCategory, Rules, TicketType, WaitingRoom},
    time,
};
use serde_json::Value;

use super::offer_form;
use crate::{
    duration,
    json::{At, Faults, Object},
    limits,
    problem::Problem,
};

const PATCH_FIELDS: [&str; 14] = [
    "name",
    "description",
    "category",
    "city",
    "venue",
    "starts_at",
    "onsale_at",
    "categories",
    "rules",
    "waiting_room",
    "status",
    "types",
    "sections",
    "quotas",
];
const CATEGORY_FIELDS: [&str; 5] = ["key", "name", "price_minor", "prices", "tiers"];
const FIXED_FIELDS: [&str; 3] = ["currency", "event_id", "shard"];

/// What an event's rules are where its organizer says nothing.
pub(crate) const DEFAULT_RULES: Rules = Rules {
    seats_per_order_max: 8,
    seats_per_buyer_max: 8,
    hold_ttl_ms: 600_000,
    hold_extensions_max: 1,
    no_orphans: false,
    holds_per_buyer_max: 0,
    hold_seconds_per_buyer_max: 0,
};

/// Changes a document as a `PATCH` body says.
pub(crate) fn patch(document: &mut EventDocument, body: &Value) -> Result<(), Problem> {
    let mut faults = Faults::default();
    patch_object(document, body, &mut faults);
    if faults.is_empty() { Ok(()) } else { Err(Problem::fields(faults.into_errors())) }
}

fn patch_object(document: &mut EventDocument, body: &Value, faults: &mut Faults) {
    let known = [&PATCH_FIELDS[..], &FIXED_FIELDS[..]].concat();
    let Some(object) = Object::read(body, At::Root, &known, faults) else {
        return;
    };
    for name in FIXED_FIELDS {
        if object.get(name).is_some() {
            object.fault(name, "cannot be changed", faults);
        }
    }
    texts(&object, document, faults);
    if let Some(at) = point(&object, "starts_at", faults) {
        document.starts_at_ms = at;
    }
    if let Some(at) = point(&object, "onsale_at", faults) {
        document.onsale_at_ms = at;
    }
    if let Some(types) = offer_form::read_types(&object, faults) {
        document.types = types;
    }
    if object.get("categories").is_some() {
        patch_categories(&object, document, faults);
    }
    if object.get("sections").is_some() {
        patch_capacities(&object, document, faults);
    }
    if let Some(quotas) = offer_form::read_quotas(&object, document, faults) {
        document.quotas = quotas;
    }
    let rules = document.rules.unwrap_or(DEFAULT_RULES);
    document.rules = Some(read_rules(&object, rules, faults));
    if let Some(room) = read_waiting_room(&object, faults) {
        document.waiting_room = Some(room);
    }
    match object.text("status", 1..=16, faults) {
        Some(status @ ("on_sale" | "cancelled")) => status.clone_into(&mut document.status),
        Some(_) => object.fault("status", "must be on_sale or cancelled", faults),
        None => {}
    }
}

/// The texts that both forms have; absent ones stay as they are.
pub(crate) fn texts(object: &Object<'_>, document: &mut EventDocument, faults: &mut Faults) {
    let line = 1..=limits::EVENT_NAME_CHARS_MAX;
    let optional = 0..=limits::EVENT_NAME_CHARS_MAX;
    for (name, field, chars) in [
        ("name", &mut document.name, line.clone()),
        ("venue", &mut document.venue, line),
        ("category", &mut document.category, optional.clone()),
        ("city", &mut document.city, optional),
        ("description", &mut document.description, 0..=limits::DESCRIPTION_CHARS_MAX),
    ] {
        if let Some(text) = object.text(name, chars, faults) {
            if name != "description" && text.contains('\n') {
                object.fault(name, "must be one line", faults);
            } else if !text.is_empty() && text.trim().is_empty() {
                object.fault(name, "must not be blank", faults);
            }
            text.clone_into(field);
        }
    }
}

/// A point in time.
pub(crate) fn point(object: &Object<'_>, name: &str, faults: &mut Faults) -> Option<u64> {
    let text = object.text(name, 1..=64, faults)?;
    let at = time::from_rfc3339(text).filter(|at| *at > 0);
    if at.is_none() {
        object.fault(name, "must be an RFC 3339 time like 2026-12-01T19:30:00Z", faults);
    }
    at
}

/// The price list; faults where it is none.
pub(crate) fn read_categories(
    object: &Object<'_>,
    types: &[TicketType],
    faults: &mut Faults,
) -> Vec<PriceCategory> {
    let values = object.list("categories", 1..=limits::EVENT_CATEGORIES_MAX, faults);
    let list = At::Field(&object.at, "categories");
    let mut categories: Vec<PriceCategory> = Vec::new();
    for (place, value) in values.unwrap_or_default().iter().enumerate() {
        let at = At::Index(&list, place);
        let Some(one) = Object::read(value, at, &CATEGORY_FIELDS, faults) else {
            continue;
        };
        let key = label(&one, "key", faults);
        let name = one.need_text("name", 1..=limits::EVENT_NAME_CHARS_MAX, faults);
        let price = one.need_integer("price_minor", 0..=limits::PRICE_MINOR_MAX, faults);
        let prices = offer_form::read_prices(&one, types, faults).unwrap_or_default();
        let tiers = offer_form::read_tiers(&one, faults).unwrap_or_default();
        if let (Some(key), Some(name), Some(price_minor)) = (key, name, price) {
            if categories.iter().any(|other| other.key == key) {
                one.fault("key", "is another category's", faults);
            }
            categories.push(PriceCategory {
                key: key.to_owned(),
                name: name.to_owned(),
                price_minor,
                prices,
                tiers,
            });
        }
    }
    categories
}

fn patch_categories(object: &Object<'_>, document: &mut EventDocument, faults: &mut Faults) {
    let list = At::Field(&object.at, "categories");
    let said = |key: &str, field: &str| {
        let list = object.get("categories").and_then(Value::as_array);
        let one = list.and_then(|list| list.iter().find(|one| one["key"] == key));
        one.is_some_and(|one| one.get(field).is_some())
    };
    let new = read_categories(object, &document.types, faults);
    for (place, mut new) in new.into_iter().enumerate() {
        match document.categories.iter_mut().find(|old| old.key == new.key) {
            Some(old) => {
                // Early prices and those of types stay where the change says nothing of them.
                if !said(&new.key, "prices") {
                    new.prices = std::mem::take(&mut old.prices);
                }
                if !said(&new.key, "tiers") {
                    new.tiers = std::mem::take(&mut old.tiers);
                }
                *old = new;
            }
            None => {
                let at = At::Index(&list, place);
                faults.add(&At::Field(&at, "key"), "is not a category of the event");
            }
        }
    }
}

/// Of a section that exists only an area's capacity may change.
fn patch_capacities(object: &Object<'_>, document: &mut EventDocument, faults: &mut Faults) {
    let list = At::Field(&object.at, "sections");
    let values = object.list("sections", 1..=limits::EVENT_SECTIONS_MAX, faults);
    for (place, value) in values.unwrap_or_default().iter().enumerate() {
        let at = At::Index(&list, place);
        let Some(one) = Object::read(value, at, &["key", "capacity"], faults) else {
            continue;
        };
        let key = label(&one, "key", faults);
        let capacity = one.need_integer("capacity", 1..=limits::EVENT_SEATS_MAX, faults);
        let (Some(key), Some(capacity)) = (key, capacity) else {
            continue;
        };
        match document.sections.iter_mut().find(|section| section.key == key) {
            Some(section) if section.rows.is_empty() => {
                section.capacity = u32::try_from(capacity).unwrap_or(u32::MAX);
            }
            Some(_) => one.fault("capacity", "is fixed: the section has numbered seats", faults),
            None => one.fault("key", "is not a section of the event", faults),
        }
    }
}

/// A key or label: letters, digits, `_ . -`.
pub(crate) fn label<'a>(object: &Object<'a>, name: &str, faults: &mut Faults) -> Option<&'a str> {
    let text = object.need_text(name, 1..=limits::LABEL_CHARS_MAX, faults)?;
    if !text.chars().all(|letter| letter.is_alphanumeric() || "_.-".contains(letter)) {
        object.fault(name, "must be letters, digits, '_', '.' or '-'", faults);
        return None;
    }
    if text.len() > limits::LABEL_BYTES_MAX {
        object.fault(name, "is too long", faults);
        return None;
    }
    Some(text)
}

/// The rules, where the body says something about them.
pub(crate) fn read_rules(object: &Object<'_>, mut rules: Rules, faults: &mut Faults) -> Rules {
    const FIELDS: [&str; 7] = [
        "seats_per_order_max",
        "seats_per_buyer_max",
        "hold_ttl",
        "hold_extensions_max",
        "no_orphans",
        "holds_per_buyer_max",
        "hold_seconds_per_buyer_max",
    ];
    let Some(value) = object.get("rules") else {
        return rules;
    };
    let at = At::Field(&object.at, "rules");
    let Some(said) = Object::read(value, at, &FIELDS, faults) else {
        return rules;
    };
    let mut number = |name, range, field: &mut u32| {
        if let Some(value) = said.integer(name, range, faults) {
            *field = u32::try_from(value).unwrap_or(*field);
        }
    };
    number("seats_per_order_max", 1..=limits::HOLD_SEATS_MAX, &mut rules.seats_per_order_max);
    number("seats_per_buyer_max", 0..=10_000, &mut rules.seats_per_buyer_max);
    number("hold_extensions_max", 0..=limits::EXTENSIONS_MAX, &mut rules.hold_extensions_max);
    number("holds_per_buyer_max", 0..=10_000, &mut rules.holds_per_buyer_max);
    let seconds = &mut rules.hold_seconds_per_buyer_max;
    number("hold_seconds_per_buyer_max", 0..=limits::HOLD_SECONDS_MAX, seconds);
    if let Some(flag) = said.flag("no_orphans", faults) {
        rules.no_orphans = flag;
    }
    if let Some(text) = said.text("hold_ttl", 1..=32, faults) {
        let range = limits::HOLD_TTL_MS_MIN..=limits::HOLD_TTL_MS_MAX;
        match duration::parse(text).filter(|length| range.contains(length)) {
            Some(length) => rules.hold_ttl_ms = u32::try_from(length).unwrap_or(u32::MAX),
            None => said.fault("hold_ttl", "must be 1s to 24h, e.g. 10m, 90s or 1h30m", faults),
        }
    }
    rules
}

/// The waiting room, where the body says something about it.
pub(crate) fn read_waiting_room(object: &Object<'_>, faults: &mut Faults) -> Option<WaitingRoom> {
    let value = object.get("waiting_room")?;
    let at = At::Field(&object.at, "waiting_room");
    let room = Object::read(value, at, &["enabled", "admit_per_second", "draw_at"], faults)?;
    room.need("enabled", faults);
    let enabled = room.flag("enabled", faults);
    let rate = room.integer("admit_per_second", 1..=limits::ADMIT_PER_SECOND_MAX, faults);
    Some(WaitingRoom {
        enabled: enabled.unwrap_or(false),
        admit_per_second: u32::try_from(rate.unwrap_or(500)).unwrap_or(u32::MAX),
        draw_at_ms: point(&room, "draw_at", faults).unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::event_view::tests::document;

    #[test]
    fn a_change_changes_what_it_names_and_nothing_else() {
        let before = document();
        let mut after = document();
        let body = json!({"name": "Other", "rules": {"hold_ttl": "90s"},
            "categories": [{"key": "GA", "name": "Floor", "price_minor": 1}]});
        patch(&mut after, &body).expect("good");
        assert_eq!(after.name, "Other");
        assert_eq!(after.categories[1].price_minor, 1);
        assert_eq!(after.categories[0], before.categories[0]);
        let rules = after.rules.expect("rules");
        assert_eq!((rules.hold_ttl_ms, rules.seats_per_order_max), (90_000, 8));
        assert_eq!(after.sections, before.sections);
        assert_eq!(after.venue, before.venue);
    }

    #[test]
    fn a_new_price_leaves_early_prices_and_those_of_types_as_they_are() {
        let mut document = document();
        let types = json!({"types": [{"key": "adult"}, {"key": "child", "name": "Child"}]});
        patch(&mut document, &types).expect("good");
        let prices = json!({"categories": [{"key": "A", "name": "A", "price_minor": 1000,
            "prices": [{"type": "child", "price_minor": 500}],
            "tiers": [{"price_minor": 800, "count": 10}]}]});
        patch(&mut document, &prices).expect("good");
        let dearer = json!({"categories": [{"key": "A", "name": "A", "price_minor": 2000}]});
        patch(&mut document, &dearer).expect("good");
        let category = &document.categories[0];
        assert_eq!((category.price_minor, category.prices[0].price_minor), (2000, 500));
        assert_eq!((category.prices[0].r#type, category.tiers[0].price_minor), (1, 800));
        let none = json!({"categories": [{"key": "A", "name": "A", "price_minor": 2000,
            "prices": [], "tiers": []}]});
        patch(&mut document, &none).expect("good");
        assert!(document.categories[0].prices.is_empty());
        assert!(document.categories[0].tiers.is_empty());
    }

    #[test]
    fn types_and_quotas_that_mean_them_come_in_one_change_and_quotas_are_replaced_whole() {
        let mut document = document();
        let body = json!({"quotas": [{"key": "kids", "size": 5, "types": ["child"]},
                {"key": "floor", "size": 9, "sections": ["FLOOR"]}],
            "types": [{"key": "adult"}, {"key": "child"}]});
        patch(&mut document, &body).expect("good");
        assert_eq!((document.quotas[0].types.as_slice(), document.quotas[1].size), (&[1][..], 9));
        patch(&mut document, &json!({"name": "Other"})).expect("good");
        assert_eq!(document.quotas.len(), 2, "what is not named stays");
        let fewer = json!({"quotas": [{"key": "floor", "size": 8, "sections": ["FLOOR"]}]});
        patch(&mut document, &fewer).expect("good");
        assert_eq!((document.quotas.len(), document.quotas[0].size), (1, 8));
        patch(&mut document, &json!({"quotas": []})).expect("good");
        assert!(document.quotas.is_empty());
    }

    #[test]
    fn what_must_not_change_is_refused() {
        for (body, pointer) in [
            (json!({"sections": []}), "/sections"),
            (json!({"sections": [{"key": "101", "capacity": 9}]}), "/sections/0/capacity"),
            (json!({"sections": [{"key": "FLOOR", "capacity": 0}]}), "/sections/0/capacity"),
            (json!({"sections": [{"key": "FLOOR"}]}), "/sections/0/capacity"),
            (json!({"sections": [{"key": "X", "capacity": 9}]}), "/sections/0/key"),
            (
                json!({"sections": [{"key": "FLOOR", "capacity": 9, "rows": []}]}),
                "/sections/0/rows",
            ),
            (json!({"currency": "USD"}), "/currency"),
            (json!({"seats": 1}), "/seats"),
            (json!({"quotas": {}}), "/quotas"),
            (json!({"quotas": [{"key": "q"}]}), "/quotas/0/size"),
            (
                json!({"quotas": [{"key": "q", "size": 1, "sections": ["X"]}]}),
                "/quotas/0/sections/0",
            ),
            (json!({"quotas": [{"key": "q", "size": 1, "types": ["adult"]}]}), "/quotas/0/types/0"),
            (json!({"status": "sold_out"}), "/status"),
            (
                json!({"categories": [{"key": "Z", "name": "Z", "price_minor": 1}]}),
                "/categories/0/key",
            ),
            (json!({"rules": {"hold_ttl": "0s"}}), "/rules/hold_ttl"),
            (json!({"rules": {"seats_per_order_max": 65}}), "/rules/seats_per_order_max"),
            (json!({"onsale_at": "soon"}), "/onsale_at"),
            (json!({"name": ""}), "/name"),
            (json!([]), ""),
        ] {
            let problem = patch(&mut document(), &body).expect_err(pointer);
            assert_eq!(problem.errors()[0].pointer, pointer, "{body}");
        }
    }
}
