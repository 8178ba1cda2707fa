//! Owns reading, without a dependency from one command to the next, what the hot commands of an
//! entry will read one after the other: so the memory's latencies overlap. In short loops, each of
//! which finds in the cache what leads it to its own; the shorter a loop is, the more of its reads
//! are under way at once.
//!
//! Must never change or decide anything.

use std::hint::black_box;

use crate::{
    command::{Batch, CommandKind, HoldItem},
    event::EventState,
    hold::Hold,
    ids::{BuyerHash, SeatNo},
    shard::Shard,
    slab::hash_of,
};

/// What is to be read; kept for its room.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    keys: Vec<u64>,
    /// Hashes of holds' ids: those that end first.
    ids: Vec<u64>,
    new_ids: Vec<u64>,
    slots: Vec<u32>,
    /// The event's slot, the buyer, the first seat.
    places: Vec<(u32, BuyerHash, SeatNo)>,
}

impl Ahead {
    fn clear(&mut self) {
        self.keys.clear();
        self.ids.clear();
        self.new_ids.clear();
        self.slots.clear();
        self.places.clear();
    }
}

fn touch(event: &EventState, buyer: BuyerHash, seat: SeatNo) -> u64 {
    event.buyers.touch(buyer) ^ event.touch(seat)
}

impl Shard {
    /// For what the commands name.
    pub(crate) fn read_what_is_named(&mut self, batch: &Batch) {
        let mut ahead = std::mem::take(&mut self.ahead);
        ahead.clear();
        // Most commands are for the event of the one before.
        let mut last = (0, None);
        for command in &batch.commands {
            match &command.kind {
                CommandKind::Hold(hold) => {
                    ahead.keys.push(hash_of(hold.idempotency.key));
                    ahead.new_ids.push(hash_of(hold.hold.0));
                    if hold.event != last.0 {
                        last = (hold.event, self.known_event_slot(hold.event));
                    }
                    if let (Some(slot), Some(HoldItem::Seats(seats))) = (last.1, hold.items.first())
                    {
                        let buyer = hold.idempotency.buyer;
                        ahead.places.extend(seats.first().map(|&seat| (slot, buyer, seat)));
                    }
                }
                CommandKind::ReleaseHold(release) => ahead.ids.push(hash_of(release.hold.0)),
                _ => {}
            }
        }
        let (keys, ids) = (self.dedup.table(), self.holds.ids());
        let mut read = ahead.ids.iter().fold(0, |read, &id| read ^ ids.touch(id));
        read ^= ahead.keys.iter().fold(0, |read, &key| read ^ keys.touch(key));
        read ^= ahead.new_ids.iter().fold(0, |read, &id| read ^ ids.touch(id));
        ahead.slots.extend(ahead.ids.iter().map(|&id| ids.guess(id)));
        read ^= self.read_holds(&ahead.slots);
        self.list_places(&mut ahead);
        read ^= self.read_places(&ahead);
        black_box(read);
        self.ahead = ahead;
    }

    /// For what is forgotten and for what expires.
    pub(crate) fn read_what_ends(&mut self) {
        let now = self.log_time_ms;
        let mut ahead = std::mem::take(&mut self.ahead);
        ahead.clear();
        for &(_, event) in self.due.iter().take_while(|&&(time, _)| time <= now) {
            ahead.slots.extend(self.events[event as usize].clock.due_slots(now));
        }
        let mut read = self.read_holds(&ahead.slots);
        for slot in self.holds.forgettable(now) {
            let hold = &self.holds.slab[slot];
            ahead.keys.push(hash_of(hold.key));
            ahead.ids.push(hash_of(hold.id.0));
        }
        let (keys, ids) = (self.dedup.table(), self.holds.ids());
        read ^= ahead.keys.iter().fold(0, |read, &key| read ^ keys.touch(key));
        read ^= ahead.ids.iter().fold(0, |read, &id| read ^ ids.touch(id));
        self.list_places(&mut ahead);
        read ^= self.read_places(&ahead);
        black_box(read);
        self.ahead = ahead;
    }

    fn read_holds(&self, slots: &[u32]) -> u64 {
        let line = |hold: &Hold| hold.request;
        let holds = slots.iter().map(|&slot| self.holds.slab.get(slot).map_or(0, line));
        holds.fold(0, |read, word| read ^ word)
    }

    /// Those of the holds in these slots.
    fn list_places(&self, ahead: &mut Ahead) {
        for hold in ahead.slots.iter().filter_map(|&slot| self.holds.get(slot)) {
            let seat = hold.first_place().map_or(0, |place| place.0);
            ahead.places.push((hold.event(), hold.buyer, seat));
        }
    }

    fn read_places(&self, ahead: &Ahead) -> u64 {
        let mut read = 0;
        for &(event, buyer, seat) in &ahead.places {
            read ^= self.events.get(event as usize).map_or(0, |event| touch(event, buyer, seat));
        }
        read
    }
}
