//! `ChangeOnsale`: other rules, prices or opening; the seat map stays, holds keep what they have.

use super::{
    ChangeOnsale, Rules,
    open_onsale::{check_prices, decode_prices, encode_prices},
};
use crate::{
    change::Change,
    codec::{Reader, put_varint},
    error::DecodeError,
    limits::PRICE_LISTS_MAX,
    outcome::{Done, Outcome, Rejection},
    shard::Shard,
};

impl ChangeOnsale {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.event.into());
        put_varint(out, self.revision);
        put_varint(out, self.onsale_at_ms);
        encode_prices(&self.prices_minor, out);
        self.rules.encode(out);
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            event: r.u32("event")?,
            revision: r.varint()?,
            onsale_at_ms: r.varint()?,
            prices_minor: decode_prices(r)?,
            rules: Rules::decode(r)?,
        })
    }
}

impl Shard {
    pub(crate) fn change_onsale(
        &mut self,
        command: &ChangeOnsale,
        changes: &mut Vec<Change>,
    ) -> Outcome {
        let slot = match self.event_slot(command.event) {
            Ok(slot) => slot,
            Err(rejection) => return Outcome::rejected(rejection),
        };
        if command.revision <= self.events[slot as usize].revision {
            return Outcome::replayed(Done::Ok);
        }
        self.try_change(slot, command, changes).map(|()| Done::Ok).into()
    }

    fn try_change(
        &mut self,
        slot: u32,
        command: &ChangeOnsale,
        changes: &mut Vec<Change>,
    ) -> Result<(), Rejection> {
        let event = &mut self.events[slot as usize];
        if event.prices.len() >= PRICE_LISTS_MAX {
            return Err(Rejection::Overloaded { bound: "price_lists_max" });
        }
        if command.prices_minor.len() != event.prices_in_force().len() {
            let reason = "must be as many as there are categories";
            return Err(Rejection::Invalid { field: "prices_minor", reason });
        }
        check_prices(&command.prices_minor)?;
        command.rules.check()?;
        event.change(command);
        changes.push(Change::Event { event: command.event, revision: command.revision });
        Ok(())
    }
}
