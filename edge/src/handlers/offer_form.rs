//! Owns reading what an event sells beside places at one price: ticket types, prices of types,
//! early prices, quotas.
//!
//! Must never let an offer through that the shard would refuse.

use onsale_proto::catalog::{EventDocument, Quota, TicketType, Tier, TypePrice};

use super::document::{label, point};
use crate::{
    json::{self, At, Faults, Object},
    limits,
};

/// The ticket types, where the body names some.
pub(crate) fn read_types(object: &Object<'_>, faults: &mut Faults) -> Option<Vec<TicketType>> {
    object.get("types")?;
    let values = object.list("types", 0..=limits::TICKET_TYPES_MAX, faults)?;
    let list = At::Field(&object.at, "types");
    let mut types: Vec<TicketType> = Vec::new();
    for (place, value) in values.iter().enumerate() {
        let at = At::Index(&list, place);
        let Some(one) = Object::read(value, at, &["key", "name"], faults) else {
            continue;
        };
        let name = one.text("name", 1..=limits::EVENT_NAME_CHARS_MAX, faults);
        if let Some(key) = label(&one, "key", faults) {
            if types.iter().any(|other| other.key == key) {
                one.fault("key", "is another type's", faults);
            }
            types.push(TicketType { key: key.to_owned(), name: name.unwrap_or(key).to_owned() });
        }
    }
    Some(types)
}

/// A category's prices of types, where the body names some.
pub(crate) fn read_prices(
    category: &Object<'_>,
    types: &[TicketType],
    faults: &mut Faults,
) -> Option<Vec<TypePrice>> {
    category.get("prices")?;
    let values = category.list("prices", 0..=limits::TICKET_TYPES_MAX, faults)?;
    let list = At::Field(&category.at, "prices");
    let mut prices: Vec<TypePrice> = Vec::new();
    for (place, value) in values.iter().enumerate() {
        let at = At::Index(&list, place);
        let Some(one) = Object::read(value, at, &["type", "price_minor", "tiers"], faults) else {
            continue;
        };
        let key = label(&one, "type", faults);
        let price = one.need_integer("price_minor", 0..=limits::PRICE_MINOR_MAX, faults);
        let tiers = read_tiers(&one, faults).unwrap_or_default();
        let (Some(key), Some(price_minor)) = (key, price) else {
            continue;
        };
        match (0_u32..).zip(types).find(|(_, known)| known.key == key) {
            None => one.fault("type", "is not one of the event's types", faults),
            Some((no, _)) if prices.iter().any(|other| other.r#type == no) => {
                one.fault("type", "has a price already", faults);
            }
            Some((no, _)) => prices.push(TypePrice { r#type: no, price_minor, tiers }),
        }
    }
    prices.sort_by_key(|price| price.r#type);
    Some(prices)
}

/// Early prices, where the body names some.
pub(crate) fn read_tiers(object: &Object<'_>, faults: &mut Faults) -> Option<Vec<Tier>> {
    object.get("tiers")?;
    let values = object.list("tiers", 0..=limits::TIERS_MAX, faults)?;
    let list = At::Field(&object.at, "tiers");
    let mut tiers = Vec::new();
    for (place, value) in values.iter().enumerate() {
        let at = At::Index(&list, place);
        let Some(one) = Object::read(value, at, &["price_minor", "count", "until"], faults) else {
            continue;
        };
        let price = one.need_integer("price_minor", 0..=limits::PRICE_MINOR_MAX, faults);
        let count = one.integer("count", 1..=limits::EVENT_SEATS_MAX, faults);
        let until_ms = point(&one, "until", faults);
        if one.get("count").is_none() && one.get("until").is_none() {
            faults.add(&one.at, "needs count or until");
        }
        let count = count.map(|count| u32::try_from(count).unwrap_or(u32::MAX));
        tiers.extend(price.map(|price_minor| Tier { price_minor, count, until_ms }));
    }
    Some(tiers)
}

/// The quotas, where the body names some. The document has its types, categories and sections.
pub(crate) fn read_quotas(
    object: &Object<'_>,
    document: &EventDocument,
    faults: &mut Faults,
) -> Option<Vec<Quota>> {
    object.get("quotas")?;
    let values = object.list("quotas", 0..=limits::QUOTAS_MAX, faults)?;
    let list = At::Field(&object.at, "quotas");
    let mut quotas: Vec<Quota> = Vec::new();
    for (place, value) in values.iter().enumerate() {
        let at = At::Index(&list, place);
        let fields = ["key", "size", "sections", "categories", "types"];
        let Some(one) = Object::read(value, at, &fields, faults) else {
            continue;
        };
        let key = label(&one, "key", faults);
        let size = one.need_integer("size", 0..=limits::EVENT_SEATS_MAX, faults);
        let sections = document.sections.iter().map(|section| section.key.as_str());
        let sections = read_keys(&one, "sections", sections, faults);
        let categories = document.categories.iter().map(|category| category.key.as_str());
        let categories = read_keys(&one, "categories", categories, faults);
        let types = document.types.iter().map(|one| one.key.as_str());
        let types = read_keys(&one, "types", types, faults);
        if let (Some(key), Some(size)) = (key, size) {
            if quotas.iter().any(|other| other.key == key) {
                one.fault("key", "is another quota's", faults);
            }
            let size = u32::try_from(size).unwrap_or(u32::MAX);
            quotas.push(Quota { key: key.to_owned(), size, sections, categories, types });
        }
    }
    Some(quotas)
}

/// Numbers of the keys that a list names, ascending.
fn read_keys<'a>(
    object: &Object<'_>,
    name: &str,
    known: impl Iterator<Item = &'a str> + Clone,
    faults: &mut Faults,
) -> Vec<u32> {
    let most = limits::QUOTA_SELECTORS_MAX;
    let Some(values) = object.list(name, 1..=most, faults) else {
        return Vec::new();
    };
    let list = At::Field(&object.at, name);
    let mut numbers = Vec::new();
    for (place, value) in values.iter().enumerate() {
        let at = At::Index(&list, place);
        let Some(key) = json::text(value, &at, 1..=limits::LABEL_CHARS_MAX, faults) else {
            continue;
        };
        match (0_u32..).zip(known.clone()).find(|(_, other)| *other == key) {
            Some((no, _)) => numbers.push(no),
            None => faults.add(&at, "is not one of the event's"),
        }
    }
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}
