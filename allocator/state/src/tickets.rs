//! Owns what makes an order's tickets differ from "one for each place, counted from 1": tickets
//! that moved to other seats, and holders' names.
//!
//! A ticket that moves gets a new number, so that its old code is another ticket's: a void one's.
//! Names are personal data: they stand here and in a command's contact part, nowhere else.

use std::collections::BTreeMap;

use smallvec::SmallVec;

use crate::{
    command::Contact,
    event::PlaceRef,
    ids::LogTimeMs,
    limits::{HOLD_SEATS_MAX, SWAPS_PER_ORDER_MAX},
    order::Order,
};

/// A ticket that is void because its holder has another for another seat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Moved {
    pub(crate) number: u16,
    pub(crate) place: PlaceRef,
    pub(crate) at_ms: LogTimeMs,
    pub(crate) reason: Box<str>,
}

/// What is special about an order's tickets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tickets {
    /// Their numbers, in the order of the places.
    pub(crate) numbers: SmallVec<[u16; 4]>,
    /// A bit for each place whose ticket is to be signed again.
    pub(crate) unsigned: u64,
    /// Tickets that moved, in the order in which they did.
    pub(crate) moved: Vec<Moved>,
    /// Holders' names by ticket number, where they differ from the order's.
    pub(crate) holders: BTreeMap<u16, Contact>,
}

const _: () = assert!(HOLD_SEATS_MAX <= 64, "a bit for each place");

impl Order {
    /// The numbers of its tickets, in the order of its places.
    pub(crate) fn ticket_numbers(&self) -> SmallVec<[u16; 4]> {
        match &self.tickets {
            Some(tickets) => tickets.numbers.clone(),
            None => (1..=self.places.len() as u16).collect(),
        }
    }

    /// The place of a ticket that is not void.
    pub(crate) fn place_of_ticket(&self, number: u16) -> Option<usize> {
        self.ticket_numbers().iter().position(|&known| known == number)
    }

    /// Which of its places the ticket of its `nth` move, from 0, is of; it keeps type and price.
    pub(crate) fn place_after(&self, nth: usize) -> usize {
        let moved = self.tickets.iter().flat_map(|tickets| &tickets.moved);
        let moved: Vec<u16> = moved.map(|moved| moved.number).collect();
        let mut number = (self.places.len() + nth + 1) as u16;
        for (later, &old) in moved.iter().enumerate().skip(nth + 1) {
            if old == number {
                number = (self.places.len() + later + 1) as u16;
            }
        }
        self.place_of_ticket(number).unwrap_or(0)
    }

    /// Is the place's ticket to be signed again?
    pub(crate) fn is_unsigned(&self, at: usize) -> bool {
        self.tickets.as_ref().is_some_and(|tickets| tickets.unsigned >> at & 1 == 1)
    }

    fn tickets_mut(&mut self) -> &mut Tickets {
        let numbers = self.ticket_numbers();
        self.tickets.get_or_insert_with(|| Box::new(Tickets { numbers, ..Tickets::default() }))
    }

    /// The ticket of a place is void, the place has a new one; its number.
    pub(crate) fn move_ticket(
        &mut self,
        at: usize,
        from: PlaceRef,
        at_ms: LogTimeMs,
        reason: &str,
    ) -> u16 {
        let places = self.places.len();
        let tickets = self.tickets_mut();
        assert!(tickets.moved.len() < SWAPS_PER_ORDER_MAX, "a ticket moved too often");
        let number = tickets.numbers[at];
        let new = (places + tickets.moved.len() + 1) as u16;
        tickets.numbers[at] = new;
        tickets.unsigned |= 1 << at;
        tickets.moved.push(Moved { number, place: from, at_ms, reason: reason.into() });
        if let Some(holder) = tickets.holders.remove(&number) {
            tickets.holders.insert(new, holder);
        }
        new
    }

    /// Tickets are another person's.
    pub(crate) fn rename(&mut self, numbers: &[u16], holder: &Contact) {
        let tickets = self.tickets_mut();
        tickets.holders.extend(numbers.iter().map(|&number| (number, holder.clone())));
    }

    /// All its tickets are signed.
    pub(crate) fn sign(&mut self, signing_key: u32, signatures: &[[u8; 64]]) {
        self.signing_key = signing_key;
        self.signatures = signatures.to_vec();
        if let Some(tickets) = &mut self.tickets {
            tickets.unsigned = 0;
        }
    }

    /// Do its tickets' numbers make sense?
    pub(crate) fn has_sound_tickets(&self) -> bool {
        let Some(tickets) = &self.tickets else {
            return true;
        };
        let moved = tickets.moved.iter().map(|moved| moved.number);
        let mut numbers: Vec<u16> = tickets.numbers.iter().copied().chain(moved).collect();
        numbers.sort_unstable();
        tickets.numbers.len() == self.places.len()
            && numbers.iter().copied().eq(1..=numbers.len() as u16)
            && tickets.holders.keys().all(|number| tickets.numbers.contains(number))
            && tickets.unsigned.checked_shr(self.places.len() as u32).unwrap_or(0) == 0
    }
}
