//! The part of an opening or a change that says what is sold beside plain places at one price:
//! ticket types, early prices, quotas. Its spelling, and what of it makes sense.

use crate::{
    codec::{Reader, put_bytes, put_opt_varint, put_varint},
    error::DecodeError,
    ids::{CategoryNo, LogTimeMs, SectionNo, TypeNo},
    limits::{
        COMMAND_BYTES_MAX, NAME_BYTES_MAX, PRICE_LINES_MAX, PRICE_MINOR_MAX, QUOTA_SELECTORS_MAX,
        QUOTAS_MAX, TICKET_TYPES_MAX, TIERS_MAX,
    },
    outcome::Rejection,
    seat_map::SeatMap,
};

/// What is sold beside plain places at one price.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// How many ticket types there are; 0 where places have none.
    pub types: u16,
    /// Prices that differ from the category's or have tiers, ascending by category and type.
    pub lines: Vec<PriceLine>,
    /// How many places of a kind may be held and sold at once.
    pub quotas: Vec<Quota>,
}

/// A price of a category, for one type or for all that have no line of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceLine {
    /// The category.
    pub category: CategoryNo,
    /// The type; `None`: the category's own price.
    pub ticket_type: Option<TypeNo>,
    /// When no tier is open any more.
    pub price_minor: u64,
    /// Each place takes the first that is still open.
    pub tiers: Vec<Tier>,
}

/// An early price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tier {
    /// What a place costs.
    pub price_minor: u64,
    /// Open while fewer places are held and sold at it.
    pub count: Option<u32>,
    /// Open before this log time.
    pub until_ms: Option<LogTimeMs>,
}

/// A bound on places held and sold at once. A place counts against every quota that means it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Unique in the event.
    pub key: Box<str>,
    /// Places.
    pub size: u32,
    /// Only these sections, ascending; empty: all.
    pub sections: Vec<SectionNo>,
    /// Only these categories, ascending; empty: all.
    pub categories: Vec<CategoryNo>,
    /// Only these types, ascending; empty: all.
    pub types: Vec<TypeNo>,
}

type Read<T> = Result<T, DecodeError>;

fn put_numbers(numbers: &[u16], out: &mut Vec<u8>) {
    put_varint(out, numbers.len() as u64);
    for &number in numbers {
        put_varint(out, number.into());
    }
}

fn decode_numbers(r: &mut Reader<'_>, what: &'static str) -> Read<Vec<u16>> {
    let count = r.count(QUOTA_SELECTORS_MAX, 1, what)?;
    (0..count).map(|_| r.u16(what)).collect()
}

impl Offer {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.types.into());
        put_varint(out, self.lines.len() as u64);
        for line in &self.lines {
            put_varint(out, line.category.into());
            put_opt_varint(out, line.ticket_type.map(u64::from));
            put_varint(out, line.price_minor);
            put_varint(out, line.tiers.len() as u64);
            for tier in &line.tiers {
                put_varint(out, tier.price_minor);
                put_opt_varint(out, tier.count.map(u64::from));
                put_opt_varint(out, tier.until_ms);
            }
        }
        put_varint(out, self.quotas.len() as u64);
        for quota in &self.quotas {
            put_bytes(out, quota.key.as_bytes());
            put_varint(out, quota.size.into());
            for numbers in [&quota.sections, &quota.categories, &quota.types] {
                put_numbers(numbers, out);
            }
        }
    }

    pub(crate) fn decode(r: &mut Reader<'_>) -> Read<Self> {
        let types = r.u16("types")?;
        let lines = r.count(PRICE_LINES_MAX, 4, "prices")?;
        let lines = (0..lines).map(|_| decode_line(r)).collect::<Read<_>>()?;
        let quotas = r.count(QUOTAS_MAX, 5, "quotas")?;
        let quota = |_| {
            Ok(Quota {
                key: r.str(COMMAND_BYTES_MAX, "a quota's key")?,
                size: r.u32("size")?,
                sections: decode_numbers(r, "sections")?,
                categories: decode_numbers(r, "categories")?,
                types: decode_numbers(r, "types")?,
            })
        };
        let quotas = (0..quotas).map(quota).collect::<Read<_>>()?;
        Ok(Self { types, lines, quotas })
    }

    /// Whether it can be sold with this map at these prices by category.
    pub(crate) fn check(&self, map: &SeatMap, prices: &[u64]) -> Result<(), Rejection> {
        let invalid = |field, reason| Err(Rejection::Invalid { field, reason });
        if usize::from(self.types) > TICKET_TYPES_MAX {
            return invalid("types", "must be at most 64");
        }
        if self.lines.len() > PRICE_LINES_MAX {
            return invalid("prices", "must be at most 10,000");
        }
        let place = |line: &PriceLine| (line.category, line.ticket_type);
        if self.lines.windows(2).any(|pair| place(&pair[0]) >= place(&pair[1])) {
            return invalid("prices", "must be ascending by category and type");
        }
        for line in &self.lines {
            self.check_line(line, prices)?;
        }
        self.check_quotas(map, prices.len())
    }

    fn check_line(&self, line: &PriceLine, prices: &[u64]) -> Result<(), Rejection> {
        let invalid = |field, reason| Err(Rejection::Invalid { field, reason });
        let Some(&price_minor) = prices.get(usize::from(line.category)) else {
            return invalid("prices/category", "is not one of the event's");
        };
        match line.ticket_type {
            Some(no) if no >= self.types => {
                return invalid("prices/type", "is not one of the event's");
            }
            None if line.price_minor != price_minor => {
                return invalid("prices/price_minor", "is not the category's");
            }
            _ => {}
        }
        if line.tiers.len() > TIERS_MAX {
            return invalid("tiers", "must be at most 16");
        }
        let dear = |price_minor: u64| price_minor > PRICE_MINOR_MAX;
        if dear(line.price_minor) || line.tiers.iter().any(|tier| dear(tier.price_minor)) {
            return invalid("prices/price_minor", "must be at most 10^12");
        }
        if line.tiers.iter().any(|tier| tier.count.is_none() && tier.until_ms.is_none()) {
            return invalid("tiers", "must have a count, an end, or both");
        }
        Ok(())
    }

    fn check_quotas(&self, map: &SeatMap, categories: usize) -> Result<(), Rejection> {
        let invalid = |field, reason| Err(Rejection::Invalid { field, reason });
        if self.quotas.len() > QUOTAS_MAX {
            return invalid("quotas", "must be at most 64");
        }
        for (at, quota) in self.quotas.iter().enumerate() {
            if quota.key.is_empty() || quota.key.len() > NAME_BYTES_MAX {
                return invalid("quotas/key", "must have 1 to 64 bytes");
            }
            if self.quotas[..at].iter().any(|other| other.key == quota.key) {
                return invalid("quotas/key", "is not unique");
            }
            let known = [
                ("quotas/sections", &quota.sections, map.sections().len()),
                ("quotas/categories", &quota.categories, categories),
                ("quotas/types", &quota.types, usize::from(self.types)),
            ];
            for (field, numbers, count) in known {
                let ascending = numbers.is_sorted_by(|a, b| a < b);
                if !ascending || numbers.len() > QUOTA_SELECTORS_MAX {
                    return invalid(field, "must be ascending, at most 1,000");
                }
                if numbers.iter().any(|&no| usize::from(no) >= count) {
                    return invalid(field, "are not all the event's");
                }
            }
        }
        Ok(())
    }
}

fn decode_line(r: &mut Reader<'_>) -> Read<PriceLine> {
    let category = r.u16("a category")?;
    let ticket_type = r.opt(|r| r.u16("a type"))?;
    let price_minor = r.varint()?;
    let tiers = r.count(TIERS_MAX, 3, "tiers")?;
    let tier = |_| {
        Ok(Tier {
            price_minor: r.varint()?,
            count: r.opt(|r| r.u32("count"))?,
            until_ms: r.opt(Reader::varint)?,
        })
    };
    let tiers = (0..tiers).map(tier).collect::<Read<_>>()?;
    Ok(PriceLine { category, ticket_type, price_minor, tiers })
}

impl Quota {
    /// Does a place of this section, category and type count against it?
    pub(crate) fn counts(&self, section: SectionNo, category: u16, ticket_type: TypeNo) -> bool {
        self.means_place(section, category) && self.means_type(ticket_type)
    }

    /// Does it mean places of this section and category?
    pub(crate) fn means_place(&self, section: SectionNo, category: u16) -> bool {
        meant(&self.sections, section) && meant(&self.categories, category)
    }

    /// Does it mean places of this type?
    pub(crate) fn means_type(&self, ticket_type: TypeNo) -> bool {
        meant(&self.types, ticket_type)
    }
}

fn meant(numbers: &[u16], no: u16) -> bool {
    numbers.is_empty() || numbers.binary_search(&no).is_ok()
}
