//! Owns the part of an event's document that says which ticket types, early prices and quotas there
//! are: what it must say, and what of it a shard sells.
//!
//! Errors name the field as a JSON pointer into the document. Must never let an offer through that
//! the shard would refuse.

use std::collections::HashSet;

use onsale_mesh::Failure;
use onsale_proto::catalog as pb;
use onsale_state::{
    command::{Offer, PriceLine, Quota, Tier},
    limits::{
        NAME_BYTES_MAX, PRICE_LINES_MAX, PRICE_MINOR_MAX, QUOTA_SELECTORS_MAX, QUOTAS_MAX,
        TICKET_TYPES_MAX, TIERS_MAX,
    },
};

use crate::{
    document::{number, text},
    limits::{TIME_MS_MAX, TITLE_BYTES_MAX},
};

/// Whether types, prices, tiers and quotas make sense.
///
/// # Errors
/// `invalid_request` with a JSON pointer to the first field that is wrong.
pub(crate) fn check(document: &pb::EventDocument) -> Result<(), Failure> {
    at_most("/types", document.types.len(), TICKET_TYPES_MAX)?;
    let mut keys = HashSet::new();
    for (at, one) in document.types.iter().enumerate() {
        let field = |name: &str| format!("/types/{at}/{name}");
        text(&field("key"), &one.key, 1, NAME_BYTES_MAX)?;
        text(&field("name"), &one.name, 0, TITLE_BYTES_MAX)?;
        if !keys.insert(one.key.as_str()) {
            return Err(Failure::invalid(field("key"), "must be unique in the event"));
        }
    }
    let mut lines = 0;
    for (at, category) in document.categories.iter().enumerate() {
        let field = |name: &str| format!("/categories/{at}/{name}");
        check_tiers(&field("tiers"), &category.tiers)?;
        lines += category.prices.len() + 1;
        for (nth, price) in category.prices.iter().enumerate() {
            let field = |name: &str| format!("/categories/{at}/prices/{nth}/{name}");
            let ascending = nth == 0 || category.prices[nth - 1].r#type < price.r#type;
            if !ascending || price.r#type as usize >= document.types.len() {
                let remedy = "must be one of the event's types, each once, in their order";
                return Err(Failure::invalid(field("type"), remedy));
            }
            number(&field("price_minor"), price.price_minor, 0, PRICE_MINOR_MAX)?;
            check_tiers(&field("tiers"), &price.tiers)?;
        }
    }
    at_most("/categories", lines, PRICE_LINES_MAX)?;
    check_quotas(document)
}

fn check_tiers(field: &str, tiers: &[pb::Tier]) -> Result<(), Failure> {
    at_most(field, tiers.len(), TIERS_MAX)?;
    for (at, tier) in tiers.iter().enumerate() {
        let part = |name: &str| format!("{field}/{at}/{name}");
        number(&part("price_minor"), tier.price_minor, 0, PRICE_MINOR_MAX)?;
        if tier.count.is_none() && tier.until_ms.is_none() {
            return Err(Failure::invalid(part("count"), "or an end in time is required"));
        }
        number(&part("until_ms"), tier.until_ms.unwrap_or(0), 0, TIME_MS_MAX)?;
    }
    Ok(())
}

fn check_quotas(document: &pb::EventDocument) -> Result<(), Failure> {
    at_most("/quotas", document.quotas.len(), QUOTAS_MAX)?;
    let mut keys = HashSet::new();
    for (at, quota) in document.quotas.iter().enumerate() {
        let field = |name: &str| format!("/quotas/{at}/{name}");
        text(&field("key"), &quota.key, 1, NAME_BYTES_MAX)?;
        if !keys.insert(quota.key.as_str()) {
            return Err(Failure::invalid(field("key"), "must be unique in the event"));
        }
        for (name, numbers, count) in [
            ("sections", &quota.sections, document.sections.len()),
            ("categories", &quota.categories, document.categories.len()),
            ("types", &quota.types, document.types.len()),
        ] {
            at_most(&field(name), numbers.len(), QUOTA_SELECTORS_MAX)?;
            let known = numbers.iter().all(|&no| (no as usize) < count);
            if !known || !numbers.is_sorted_by(|a, b| a < b) {
                let remedy = "must be some of the event's, each once, in their order";
                return Err(Failure::invalid(field(name), remedy));
            }
        }
    }
    Ok(())
}

/// Whether `after` may follow `before`: holds and tickets name types. Whether a quota has room for
/// what is taken, its shard knows.
///
/// # Errors
/// `invalid_request` when there are others.
pub(crate) fn check_change(
    before: &pb::EventDocument,
    after: &pb::EventDocument,
) -> Result<(), Failure> {
    let keys = |document: &pb::EventDocument| -> Vec<String> {
        document.types.iter().map(|one| one.key.clone()).collect()
    };
    let (had, has) = (keys(before), keys(after));
    if !has.starts_with(&had) {
        let remedy = "must keep their keys and order; more may follow";
        return Err(Failure::invalid("/types", remedy));
    }
    Ok(())
}

/// What a shard sells of it; `None` where there is nothing but prices by category.
pub(crate) fn offer(document: &pb::EventDocument) -> Option<Box<Offer>> {
    let tiers = |tiers: &[pb::Tier]| -> Vec<Tier> {
        let tier = |tier: &pb::Tier| Tier {
            price_minor: tier.price_minor,
            count: tier.count,
            until_ms: tier.until_ms,
        };
        tiers.iter().map(tier).collect()
    };
    let mut lines = Vec::new();
    for (category, one) in (0_u16..).zip(&document.categories) {
        if !one.tiers.is_empty() {
            lines.push(PriceLine {
                category,
                ticket_type: None,
                price_minor: one.price_minor,
                tiers: tiers(&one.tiers),
            });
        }
        for price in &one.prices {
            lines.push(PriceLine {
                category,
                ticket_type: Some(narrow(price.r#type)),
                price_minor: price.price_minor,
                tiers: tiers(&price.tiers),
            });
        }
    }
    let numbers = |numbers: &[u32]| numbers.iter().map(|&no| narrow(no)).collect();
    let quota = |quota: &pb::Quota| Quota {
        key: quota.key.as_str().into(),
        size: quota.size,
        sections: numbers(&quota.sections),
        categories: numbers(&quota.categories),
        types: numbers(&quota.types),
    };
    let quotas: Vec<Quota> = document.quotas.iter().map(quota).collect();
    if document.types.is_empty() && lines.is_empty() && quotas.is_empty() {
        return None;
    }
    let types = u16::try_from(document.types.len()).unwrap_or(u16::MAX);
    Some(Box::new(Offer { types, lines, quotas }))
}

/// Numbers of what there is fit; others the shard refuses.
fn narrow(no: u32) -> u16 {
    u16::try_from(no).unwrap_or(u16::MAX)
}

fn at_most(field: &str, count: usize, max: usize) -> Result<(), Failure> {
    if count > max {
        return Err(Failure::invalid(field, format!("must be at most {max}")));
    }
    Ok(())
}
