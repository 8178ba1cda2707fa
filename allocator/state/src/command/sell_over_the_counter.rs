//! `SellOverTheCounter`: a hold is sold by its own entry, whoever asks took the money.

use super::{Idempotency, SellOverTheCounter, begin_checkout::Sale};
use crate::{
    change::Change,
    codec::{Reader, put_u128},
    error::DecodeError,
    ids::{HoldId, OrderId},
    order::Origin,
    outcome::{Done, Outcome, Rejection},
    shard::Shard,
};

impl SellOverTheCounter {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_u128(out, self.hold.0);
        put_u128(out, self.order.0);
        self.idempotency.encode(out);
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            hold: HoldId(r.u128()?),
            order: OrderId(r.u128()?),
            idempotency: Idempotency::decode(r)?,
        })
    }
}

impl Shard {
    pub(crate) fn sell_over_the_counter(
        &mut self,
        command: &SellOverTheCounter,
        changes: &mut Vec<Change>,
    ) -> Outcome {
        let origin = Origin::Counter;
        if let Some(owner) = self.find_key(command.idempotency.key) {
            return self.replay_order(owner, &command.idempotency, origin);
        }
        self.try_sale(command, changes).into()
    }

    fn try_sale(
        &mut self,
        command: &SellOverTheCounter,
        changes: &mut Vec<Change>,
    ) -> Result<Done, Rejection> {
        let sale = Sale {
            hold: command.hold,
            order: command.order,
            idempotency: &command.idempotency,
            origin: Origin::Counter,
        };
        let hold_slot = self.check_sale(&sale, |_| Ok(()))?;
        let order = self.new_order(&sale, hold_slot);
        self.store_order(order, changes);
        Ok(Done::Sold { order: command.order })
    }
}
