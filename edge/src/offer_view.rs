//! Owns how ticket types, early prices and quotas of an event look outside.

use onsale_proto::{
    catalog::{EventDocument, PriceCategory, Quota, Tier},
    time,
};
use serde::Serialize;

#[derive(Serialize)]
pub(crate) struct TypeJson<'a> {
    key: &'a str,
    name: &'a str,
}

#[derive(Serialize)]
pub(crate) struct PriceJson<'a> {
    r#type: &'a str,
    price_minor: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tiers: Vec<TierJson>,
}

#[derive(Serialize)]
pub(crate) struct TierJson {
    price_minor: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct QuotaJson<'a> {
    key: &'a str,
    size: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sections: Vec<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    categories: Vec<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    types: Vec<&'a str>,
}

/// The event's ticket types.
pub(crate) fn types(document: &EventDocument) -> Vec<TypeJson<'_>> {
    document.types.iter().map(|one| TypeJson { key: &one.key, name: &one.name }).collect()
}

/// A ticket type's key by its place; none where the event has no types.
pub(crate) fn type_key(document: &EventDocument, place: u32) -> Option<&str> {
    let place = usize::try_from(place).ok()?;
    document.types.get(place).map(|one| one.key.as_str())
}

/// A ticket type's name by its place; empty where the event has no types.
pub(crate) fn type_name(document: &EventDocument, place: u32) -> &str {
    let place = usize::try_from(place).ok();
    let one = place.and_then(|place| document.types.get(place));
    one.map_or("", |one| if one.name.is_empty() { &one.key } else { &one.name })
}

/// What a type costs in a category: the price that stays, and early ones.
pub(crate) fn asked(category: &PriceCategory, ticket_type: u32) -> (u64, &[Tier]) {
    let own = category.prices.iter().find(|price| price.r#type == ticket_type);
    own.map_or((category.price_minor, &category.tiers[..]), |own| (own.price_minor, &own.tiers[..]))
}

/// Prices of types that differ from the category's.
pub(crate) fn prices<'a>(
    document: &'a EventDocument,
    category: &'a PriceCategory,
) -> Vec<PriceJson<'a>> {
    let price = |price: &'a onsale_proto::catalog::TypePrice| PriceJson {
        r#type: type_key(document, price.r#type).unwrap_or_default(),
        price_minor: price.price_minor,
        tiers: tiers(&price.tiers),
    };
    category.prices.iter().map(price).collect()
}

/// Early prices, in the order in which they are taken.
pub(crate) fn tiers(tiers: &[Tier]) -> Vec<TierJson> {
    let tier = |tier: &Tier| TierJson {
        price_minor: tier.price_minor,
        count: tier.count,
        until: tier.until_ms.map(time::to_rfc3339),
    };
    tiers.iter().map(tier).collect()
}

/// The event's quotas.
pub(crate) fn quotas<'a>(document: &'a EventDocument) -> Vec<QuotaJson<'a>> {
    fn keys<'b>(numbers: &[u32], key: impl Fn(usize) -> Option<&'b String>) -> Vec<&'b str> {
        let key = |no: &u32| key(usize::try_from(*no).ok()?).map(String::as_str);
        numbers.iter().filter_map(key).collect()
    }
    let quota = |quota: &'a Quota| QuotaJson {
        key: &quota.key,
        size: quota.size,
        sections: keys(&quota.sections, |no| document.sections.get(no).map(|one| &one.key)),
        categories: keys(&quota.categories, |no| document.categories.get(no).map(|one| &one.key)),
        types: keys(&quota.types, |no| document.types.get(no).map(|one| &one.key)),
    };
    document.quotas.iter().map(quota).collect()
}

/// The cheapest price of an event that stays: early ones end.
pub(crate) fn price_from(document: &EventDocument) -> u64 {
    let of_types = |one: &PriceCategory| {
        let prices: Vec<u64> = one.prices.iter().map(|price| price.price_minor).collect();
        // A category's own price is asked for as long as a type has none of its own.
        let own = prices.len() < document.types.len().max(1);
        prices.into_iter().chain(own.then_some(one.price_minor)).min()
    };
    document.categories.iter().filter_map(of_types).min().unwrap_or(0)
}
