//! `OpenOnsale`: an event can be sold in this shard. Idempotent by the document's revision.

use super::{Focus, Offer, OpenOnsale, RowSpec, Rules, SectionKind, SectionSpec};
use crate::{
    change::Change,
    codec::{Reader, put_bytes, put_varint},
    error::DecodeError,
    event::EventState,
    limits::{
        COMMAND_BYTES_MAX, HOLD_SEATS_MAX, HOLD_TTL_MS_MAX, HOLD_TTL_MS_MIN, NAME_BYTES_MAX,
        PRICE_MINOR_MAX,
    },
    outcome::{Done, Outcome, Rejection},
    seat_map::SeatMap,
    shard::Shard,
};

impl Rules {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.seats_per_order_max.into());
        put_varint(out, self.seats_per_buyer_max.into());
        put_varint(out, self.hold_ttl_ms.into());
        put_varint(out, self.hold_extensions_max.into());
        out.push(self.no_orphans.into());
        put_varint(out, self.holds_per_buyer_max.into());
        put_varint(out, self.hold_seconds_per_buyer_max.into());
    }

    pub(crate) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            seats_per_order_max: r.u16("seats_per_order_max")?,
            seats_per_buyer_max: r.u16("seats_per_buyer_max")?,
            hold_ttl_ms: r.u32("hold_ttl_ms")?,
            hold_extensions_max: r.u16("hold_extensions_max")?,
            no_orphans: r.bool()?,
            holds_per_buyer_max: r.u16("holds_per_buyer_max")?,
            hold_seconds_per_buyer_max: r.u32("hold_seconds_per_buyer_max")?,
        })
    }

    pub(super) fn check(&self) -> Result<(), Rejection> {
        let invalid = |field, reason| Err(Rejection::Invalid { field, reason });
        if !(1..=HOLD_SEATS_MAX).contains(&self.seats_per_order_max.into()) {
            return invalid("rules/seats_per_order_max", "must be 1 to 64");
        }
        if !(HOLD_TTL_MS_MIN..=HOLD_TTL_MS_MAX).contains(&self.hold_ttl_ms) {
            return invalid("rules/hold_ttl_ms", "must be 1 s to 24 h");
        }
        Ok(())
    }
}

pub(crate) fn encode_prices(prices: &[u64], out: &mut Vec<u8>) {
    put_varint(out, prices.len() as u64);
    for &price in prices {
        put_varint(out, price);
    }
}

pub(crate) fn decode_prices(r: &mut Reader<'_>) -> Result<Vec<u64>, DecodeError> {
    let count = r.count(usize::MAX, 1, "prices")?;
    (0..count).map(|_| r.varint()).collect()
}

pub(crate) fn encode_offer(offer: Option<&Offer>, out: &mut Vec<u8>) {
    out.push(offer.is_some().into());
    if let Some(offer) = offer {
        offer.encode(out);
    }
}

pub(crate) fn decode_offer(r: &mut Reader<'_>) -> Result<Option<Box<Offer>>, DecodeError> {
    r.opt(|r| Ok(Box::new(Offer::decode(r)?)))
}

pub(super) fn check_prices(prices: &[u64]) -> Result<(), Rejection> {
    if prices.iter().any(|&price| price > PRICE_MINOR_MAX) {
        let reason = "must be at most 10^12";
        return Err(Rejection::Invalid { field: "prices_minor", reason });
    }
    Ok(())
}

impl SectionSpec {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.key.as_bytes());
        put_varint(out, self.category.into());
        put_varint(out, self.focus.row.into());
        put_varint(out, self.focus.seat.into());
        match &self.kind {
            SectionKind::Seated { rows } => {
                out.push(0);
                put_varint(out, rows.len() as u64);
                for row in rows {
                    put_bytes(out, row.label.as_bytes());
                    put_varint(out, row.seats.into());
                    put_numbers(&row.accessible, out);
                    put_numbers(&row.companion, out);
                }
            }
            SectionKind::GeneralAdmission { capacity } => {
                out.push(1);
                put_varint(out, (*capacity).into());
            }
        }
    }

    pub(crate) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let key = r.str(COMMAND_BYTES_MAX, "a section's key")?;
        let category = r.u16("a category")?;
        let focus = Focus { row: r.u32("focal_row")?, seat: r.u16("focal_seat")? };
        let kind = match r.u8()? {
            0 => {
                let rows = r.count(usize::MAX, 4, "rows")?;
                let rows = (0..rows).map(|_| decode_row(r)).collect::<Result<_, _>>()?;
                SectionKind::Seated { rows }
            }
            1 => SectionKind::GeneralAdmission { capacity: r.u32("capacity")? },
            _ => {
                return Err(DecodeError::Invalid { what: "a section's kind" });
            }
        };
        Ok(Self { key, category, kind, focus })
    }
}

fn decode_row(r: &mut Reader<'_>) -> Result<RowSpec, DecodeError> {
    let (label, seats) = (r.str(COMMAND_BYTES_MAX, "a row's label")?, r.u16("seats")?);
    let (accessible, companion) = (decode_numbers(r)?, decode_numbers(r)?);
    Ok(RowSpec { label, seats, accessible, companion })
}

fn put_numbers(numbers: &[u16], out: &mut Vec<u8>) {
    put_varint(out, numbers.len() as u64);
    for &number in numbers {
        put_varint(out, number.into());
    }
}

fn decode_numbers(r: &mut Reader<'_>) -> Result<Vec<u16>, DecodeError> {
    let count = r.count(usize::MAX, 1, "numbers")?;
    (0..count).map(|_| r.u16("a number")).collect()
}

impl OpenOnsale {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.event.into());
        put_bytes(out, self.event_id.as_bytes());
        put_varint(out, self.revision);
        out.extend_from_slice(&self.currency);
        put_varint(out, self.onsale_at_ms);
        encode_prices(&self.prices_minor, out);
        encode_offer(self.offer.as_deref(), out);
        self.rules.encode(out);
        put_varint(out, self.sections.len() as u64);
        for section in &self.sections {
            section.encode(out);
        }
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let event = r.u32("event")?;
        let event_id = r.str(COMMAND_BYTES_MAX, "event_id")?;
        let (revision, currency) = (r.varint()?, r.array()?);
        let (onsale_at_ms, prices_minor) = (r.varint()?, decode_prices(r)?);
        let offer = decode_offer(r)?;
        let rules = Rules::decode(r)?;
        let sections = r.count(usize::MAX, 6, "sections")?;
        let sections = (0..sections).map(|_| SectionSpec::decode(r)).collect::<Result<_, _>>()?;
        Ok(Self {
            event,
            event_id,
            revision,
            currency,
            onsale_at_ms,
            prices_minor,
            offer,
            sections,
            rules,
        })
    }
}

impl Shard {
    pub(crate) fn open_onsale(
        &mut self,
        command: &OpenOnsale,
        changes: &mut Vec<Change>,
    ) -> Outcome {
        if let Some(slot) = self.known_event_slot(command.event) {
            let event = &self.events[slot as usize];
            if *event.event_id != *command.event_id {
                let (field, reason) = ("event", "is another event's number");
                return Outcome::rejected(Rejection::Invalid { field, reason });
            }
            if command.revision > event.revision {
                let in_force = event.revision;
                return Outcome::rejected(Rejection::StaleRevision { in_force });
            }
            return Outcome::replayed(Done::Ok);
        }
        self.try_open(command, changes).map(|()| Done::Ok).into()
    }

    fn try_open(
        &mut self,
        command: &OpenOnsale,
        changes: &mut Vec<Change>,
    ) -> Result<(), Rejection> {
        if self.events.len() >= self.limits.events_max as usize {
            return Err(Rejection::Overloaded { bound: "events_max" });
        }
        let map = check_opening(command)?;
        if self.event_ids.contains_key(&command.event_id) {
            let reason = "is another event's";
            return Err(Rejection::Invalid { field: "event_id", reason });
        }
        self.add_event(EventState::new(command, map));
        changes.push(Change::Event { event: command.event, revision: command.revision });
        Ok(())
    }
}

/// Everything that can be said of an opening without looking at the shard.
pub(crate) fn check_opening(command: &OpenOnsale) -> Result<SeatMap, Rejection> {
    let invalid = |field, reason| Rejection::Invalid { field, reason };
    if command.event == 0 {
        return Err(invalid("event", "must not be 0"));
    }
    if command.event_id.is_empty() || command.event_id.len() > NAME_BYTES_MAX {
        return Err(invalid("event_id", "must have 1 to 64 bytes"));
    }
    if command.revision == 0 {
        return Err(invalid("revision", "must not be 0"));
    }
    if !command.currency.iter().all(u8::is_ascii_uppercase) {
        return Err(invalid("currency", "must be three capital letters"));
    }
    check_prices(&command.prices_minor)?;
    command.rules.check()?;
    let map = SeatMap::build(&command.sections, command.prices_minor.len())
        .map_err(|(field, reason)| invalid(field, reason))?;
    if let Some(offer) = &command.offer {
        offer.check(&map, &command.prices_minor)?;
    }
    Ok(map)
}
