//! Owns the numbered invariants of design §5 that one shard can check by itself, as predicates over
//! the whole state: used by property tests, simulation, `verify` and a production counter alike.
//!
//! Must never trust a counter or an index: everything is counted again from the records.

use std::collections::BTreeMap;

use crate::{
    channels::Taken,
    dedup::KeyOwner,
    event::{EventState, PlaceKind, PlaceRef, SectionStock},
    hold::{HoldRef, HoldState},
    ids::{BuyerHash, ChannelNo, CodeHash, KeyHash, SectionNo},
    limits::SETTLED_REPORTS_MAX,
    order::{JobKind, Order, OrderStatus},
    seat_word::{SeatState, SeatWord},
    shard::Shard,
    slab::NONE,
};

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its number, e.g. `INV-1`.
    pub id: &'static str,
    /// What is wrong, without personal data.
    pub detail: String,
}

#[derive(Default)]
struct Found(Vec<Violation>);

impl Found {
    fn expect(&mut self, id: &'static str, holds: bool, detail: impl FnOnce() -> String) {
        if !holds {
            self.0.push(Violation { id, detail: detail() });
        }
    }
}

/// An event's places and buyers, counted from holds and orders.
struct Recount {
    words: Vec<SeatWord>,
    areas: Vec<[u32; 2]>,
    /// Places of areas that are set aside and nobody's.
    set_aside: Vec<u32>,
    taken: Taken,
    buyers: BTreeMap<BuyerHash, u32>,
    emails: BTreeMap<BuyerHash, u32>,
    cards: BTreeMap<BuyerHash, u32>,
    codes: BTreeMap<CodeHash, u32>,
    live: usize,
    fences: usize,
}

impl Recount {
    fn new(event: &EventState) -> Self {
        Self {
            words: vec![SeatWord::AVAILABLE; event.words.len()],
            areas: vec![[0; 2]; event.stock.len()],
            set_aside: vec![0; event.stock.len()],
            taken: Taken::new(),
            buyers: BTreeMap::new(),
            emails: BTreeMap::new(),
            cards: BTreeMap::new(),
            codes: BTreeMap::new(),
            live: 0,
            fences: 0,
        }
    }

    /// Counts who came through a channel; not through one that is gone, nobody asks for that.
    fn come_through(&mut self, channel: ChannelNo, places: &[PlaceRef]) {
        let (all, areas) = self.taken.entry(channel).or_default();
        *all += places.len() as u32;
        for place in places {
            if let PlaceKind::Area(section) = place.kind() {
                *areas.entry(section).or_default() += 1;
            }
        }
    }

    fn own(&mut self, places: &[PlaceRef], state: SeatState, slot: u32, found: &mut Found) {
        for place in places {
            match place.kind() {
                PlaceKind::Seat(seat) => {
                    let word = &mut self.words[seat as usize];
                    found.expect("INV-1", *word == SeatWord::AVAILABLE, || {
                        format!("seat {seat} has more than one owner")
                    });
                    *word = SeatWord::owned(state, slot);
                }
                PlaceKind::Area(section) => {
                    let at = usize::from(state == SeatState::Sold);
                    self.areas[usize::from(section)][at] += 1;
                }
            }
        }
    }
}

fn count(counts: &mut BTreeMap<BuyerHash, u32>, buyer: BuyerHash, seats: usize) {
    if buyer != 0 {
        *counts.entry(buyer).or_default() += seats as u32;
    }
}

impl Shard {
    /// All broken invariants; empty when all is well. Visits the whole state.
    pub fn check_invariants(&self) -> Vec<Violation> {
        let mut found = Found::default();
        let mut events: Vec<Recount> = self.events.iter().map(Recount::new).collect();
        for (slot, hold) in self.holds.iter() {
            self.check_hold(slot, &hold, &mut events[hold.event() as usize], &mut found);
        }
        for (slot, order) in self.orders.slab.iter() {
            self.check_order(slot, order, &mut events[order.event as usize], &mut found);
        }
        for (slot, (event, recount)) in self.events.iter().zip(&mut events).enumerate() {
            self.check_offer_counts(slot as u32, event, &mut found);
            self.check_hoarding(slot as u32, event, &mut found);
            check_kills(event, recount, &mut found);
            check_channels(event, recount, &mut found);
            check_seats(event, recount, &mut found);
            check_sections(event, recount, &mut found);
            check_buyers(event, recount, &mut found);
            check_codes(event, recount, &mut found);
        }
        self.check_keys(&mut found);
        self.check_bounds(&mut found);
        found.0
    }

    fn check_hold(&self, slot: u32, hold: &HoldRef<'_>, event: &mut Recount, found: &mut Found) {
        let now = self.log_time_ms;
        let id = hold.id;
        if hold.state().has_seats() {
            event.own(&hold.places(), SeatState::Held, slot, found);
            event.come_through(hold.channel(), &hold.places());
            count(&mut event.buyers, hold.buyer, hold.places().len());
        }
        if let Some(code) = hold.code() {
            let in_use = hold.state().has_seats() || hold.state() == HoldState::Sold;
            *event.codes.entry(code).or_default() += u32::from(in_use);
        }
        event.live += usize::from(hold.state() == HoldState::Live);
        found.expect(
            "INV-3",
            hold.state() != HoldState::Live || hold.expires_at_ms() > now,
            || format!("{id:?} is live after its expiry"),
        );
        let order = (hold.order() != NONE).then(|| self.orders.slab.get(hold.order())).flatten();
        let fits = match hold.state() {
            HoldState::InCheckout => order.is_some_and(|order| order.status.is_undecided()),
            HoldState::Sold => order.is_some_and(|order| order.status.has_seats()),
            HoldState::Live | HoldState::Released | HoldState::Expired => order.is_none(),
        };
        let fits = fits && order.is_none_or(|order| order.hold == id);
        found.expect("INV-3", fits, || format!("{id:?} is {:?} without its order", hold.state()));
        let over = match hold.state() {
            HoldState::Live | HoldState::InCheckout => false,
            HoldState::Sold => order.is_some_and(|o| o.status == OrderStatus::Confirmed),
            HoldState::Released | HoldState::Expired => true,
        };
        found.expect("INV-5", over == hold.ended_at_ms().is_some(), || {
            format!("{id:?} is {:?} and ended at {:?}", hold.state(), hold.ended_at_ms())
        });
        found.expect(
            "INV-9",
            hold.held_at_ms().max(hold.ended_at_ms().unwrap_or(0)) <= now,
            || format!("{id:?} was held or ended in the future"),
        );
    }

    fn check_order(&self, slot: u32, order: &Order, event: &mut Recount, found: &mut Found) {
        let (id, seats) = (order.id, order.places.len());
        if order.status.has_seats() {
            event.own(&order.places, SeatState::Sold, slot, found);
            event.come_through(order.channel, &order.places);
            count(&mut event.buyers, order.buyer, seats);
        }
        if order.status != OrderStatus::Failed {
            count(&mut event.emails, order.email, seats);
            count(&mut event.cards, order.card, seats);
        }
        let hold = self.holds.slot(order.hold).map(|hold| self.holds.at(hold));
        let its_own =
            hold.is_some_and(|hold| hold.order() == slot && hold.places() == order.places);
        let held = match order.status {
            OrderStatus::Processing | OrderStatus::ActionRequired => {
                event.fences += 1;
                let key = (order.fence_until_ms, id, slot);
                let fenced = self.events[order.event as usize].clock.fences.contains(&key);
                fenced && order.fence_until_ms > self.log_time_ms && its_own
            }
            OrderStatus::Sold => its_own,
            OrderStatus::Confirmed | OrderStatus::Failed => true,
        };
        found.expect("INV-3", held, || format!("{id:?} is {:?} without its hold", order.status));
        let tickets = if order.status == OrderStatus::Confirmed { seats } else { 0 };
        found.expect("INV-4", order.signatures.len() == tickets && seats > 0, || {
            format!("{id:?} has {seats} seats and {} tickets", order.signatures.len())
        });
        let sound = order.has_sound_tickets()
            && (order.status == OrderStatus::Confirmed
                || order.tickets.as_ref().is_none_or(|it| it.moved.is_empty() && it.unsigned == 0));
        found.expect("INV-4", sound, || format!("{id:?} has tickets that it cannot have"));
        let job = order.job.and_then(|job| self.jobs.get(job));
        let worked_on = match order.status {
            OrderStatus::Failed => true,
            OrderStatus::Confirmed if order.tickets.as_ref().is_some_and(|t| t.unsigned != 0) => {
                job.is_some_and(|job| job.order == slot && job.kind == JobKind::Issue)
            }
            OrderStatus::Confirmed => order.job.is_none(),
            _ => job.is_some_and(|job| job.order == slot),
        };
        found.expect("INV-4", worked_on, || format!("{id:?} waits for a job that is not there"));
        found.expect("INV-9", order.created_at_ms <= self.log_time_ms, || {
            format!("{id:?} was made in the future")
        });
    }

    /// Tiers and quotas count what is held and sold, and no quota is above its size.
    fn check_offer_counts(&self, slot: u32, event: &EventState, found: &mut Found) {
        let Some(counted) = &event.offer else {
            return;
        };
        let expected = self.recount_offer(slot, &counted.offer);
        found.expect("INV-2", counted.counts_as(&expected), || {
            format!("event {} miscounts its tiers or quotas", event.event)
        });
        found.expect("INV-2", expected.overfull().is_empty(), || {
            format!("event {} has sold more than a quota allows", event.event)
        });
    }

    /// Where a rule asks what buyers keep, it is counted; nowhere else.
    fn check_hoarding(&self, slot: u32, event: &EventState, found: &mut Found) {
        let counted = event.hoarding.as_ref();
        let right = counted.is_some() == event.rules.bound_hoarding()
            && counted.is_none_or(|it| it.counts_as(&self.recount_hoarding(slot)));
        found.expect("INV-10", right, || {
            format!("event {} miscounts what its buyers keep", event.event)
        });
    }

    fn check_keys(&self, found: &mut Found) {
        let mut keys: BTreeMap<KeyHash, u32> = BTreeMap::new();
        let mut check = |key: KeyHash, owner: KeyOwner| {
            *keys.entry(key).or_default() += 1;
            found.expect("INV-5", self.find_key(key) == Some(owner), || {
                format!("the key of {owner:?} leads elsewhere")
            });
        };
        for (slot, hold) in self.holds.iter() {
            check(hold.key, KeyOwner::Hold(slot));
            for extension in hold.keyed() {
                check(extension.key, KeyOwner::Extension(slot));
            }
        }
        for (slot, order) in self.orders.slab.iter().filter(|(_, order)| order.key_lives) {
            check(order.key, KeyOwner::Order(slot));
        }
        for (slot, answer) in self.staff.slab.iter() {
            check(answer.idempotency.key, KeyOwner::Staff(slot));
        }
        found.expect("INV-5", keys.values().all(|&owners| owners == 1), || {
            "a key has more than one outcome".to_owned()
        });
        found.expect("INV-5", keys.len() == self.dedup.len(), || {
            format!("{} keys have outcomes, {} are remembered", keys.len(), self.dedup.len())
        });
    }

    fn check_bounds(&self, found: &mut Found) {
        let limits = &self.limits;
        let alive = self.holds.iter().filter(|(_, hold)| hold.state().has_seats()).count();
        found.expect("INV-11", alive == self.holds.alive, || "holds are miscounted".to_owned());
        let ended = self.holds.iter().filter(|(_, hold)| hold.ended_at_ms().is_some()).count();
        found.expect("INV-11", ended == self.holds.ended.len(), || {
            format!("{ended} holds ended, {} will be forgotten", self.holds.ended.len())
        });
        let bounds = [
            ("dedup_entries_max", self.dedup.len(), limits.dedup_entries_max),
            ("events_max", self.events.len().max(self.control.documents.len()), limits.events_max),
            ("holds_max", alive, limits.holds_max),
            ("orders_max", self.orders.slab.len(), limits.orders_max),
            ("jobs", self.jobs.len(), limits.orders_max),
            ("settled_reports_max", self.jobs.settled.len(), SETTLED_REPORTS_MAX as u32),
        ];
        for (name, is, max) in bounds {
            found.expect("INV-11", is <= max as usize, || format!("{name}: {is} > {max}"));
        }
    }
}

fn check_kills(event: &EventState, recount: &mut Recount, found: &mut Found) {
    let mut pending = 0;
    for seat in event.kills.seats() {
        match recount.words.get_mut(seat as usize) {
            Some(word) if *word == SeatWord::AVAILABLE => {
                *word = SeatWord::owned(SeatState::Killed, 0);
            }
            Some(_) => pending += 1,
            None => pending = u32::MAX,
        }
    }
    found.expect("INV-2", pending == event.kills.pending, || {
        format!("event {} waits for {} seats, {pending} are", event.event, event.kills.pending)
    });
    let is_area =
        |no| event.seat_map.section(no).is_some_and(|section| section.area_capacity.is_some());
    found.expect("INV-2", event.kills.areas().all(|(no, _, _)| is_area(no)), || {
        format!("event {} withdraws places of a section with seats", event.event)
    });
}

fn check_channels(event: &EventState, recount: &mut Recount, found: &mut Found) {
    let Recount { words, areas, taken, .. } = recount;
    let nobodys = |no: SectionNo| {
        let capacity = event.seat_map.section(no).and_then(|section| section.area_capacity);
        let [held, sold] = areas[usize::from(no)];
        let left = capacity.unwrap_or(0).saturating_sub(held + sold);
        left - left.min(event.kills.wanted(no))
    };
    match event.check_channels(words, nobodys, taken) {
        Ok(set_aside) => recount.set_aside = set_aside,
        Err(what) => found.expect("INV-2", false, || format!("event {}: {what}", event.event)),
    }
}

fn check_seats(event: &EventState, recount: &Recount, found: &mut Found) {
    let view = event.view();
    for (seat, &expected) in recount.words.iter().enumerate() {
        let word = view.word(seat as u32).unwrap_or(SeatWord::AVAILABLE);
        found.expect("INV-1", word == expected, || {
            let (is, should) = (word.state(), expected.state());
            format!("event {} seat {seat} is {is:?}, its owners say {should:?}", event.event)
        });
        let free = event.is_free(seat as u32) == Some(true);
        found.expect("INV-1", free == (expected == SeatWord::AVAILABLE), || {
            format!("event {} seat {seat} is free: {free}", event.event)
        });
    }
}

fn check_sections(event: &EventState, recount: &Recount, found: &mut Found) {
    let map = &event.seat_map;
    for (no, (section, stock)) in map.sections().iter().zip(&event.stock).enumerate() {
        let mut expected = SectionStock::default();
        let mut set_aside = recount.set_aside[no];
        for seat in section.seats.clone() {
            let word = recount.words[seat as usize];
            if word == SeatWord::SET_ASIDE {
                set_aside += 1;
                continue;
            }
            match word.state() {
                SeatState::Available => {
                    let kind = map.kind_of(seat).map_or(0, |kind| kind as usize);
                    expected.available[kind] += 1;
                }
                SeatState::Held => expected.held += 1,
                SeatState::Sold => expected.sold += 1,
                SeatState::Killed => expected.killed += 1,
            }
        }
        if let Some(capacity) = section.area_capacity {
            let [held, sold] = recount.areas[no];
            let nobodys = capacity.saturating_sub(held + sold);
            let killed = event.kills.wanted(no as u16).min(nobodys);
            (expected.held, expected.sold, expected.killed) = (held, sold, killed);
            expected.available[0] = (nobodys - killed).saturating_sub(set_aside);
            let word = event.view().area(no as u16);
            let shown = word.map(|word| [word.held(), word.sold(), word.killed()]);
            found.expect("INV-2", shown == Some([held + set_aside, sold, killed]), || {
                format!("event {} section {no} shows {shown:?}", event.event)
            });
        }
        found.expect("INV-2", *stock == expected, || {
            format!("event {} section {no} counts {stock:?}, is {expected:?}", event.event)
        });
        let sum = set_aside + stock.all_available() + stock.held + stock.sold + stock.killed;
        found.expect("INV-2", sum == section.capacity(), || {
            format!("event {} section {no} has {sum} of {}", event.event, section.capacity())
        });
    }
}

/// Every hold's code is there and counts it. How many orders used one is remembered by the count.
fn check_codes(event: &EventState, recount: &Recount, found: &mut Found) {
    let counted = |(&code, &uses): (&CodeHash, &u32)| {
        event.uses_of_code(code).is_some_and(|counted| counted >= uses)
    };
    found.expect("INV-10", recount.codes.iter().all(counted), || {
        format!("event {} miscounts the uses of its codes", event.event)
    });
}

fn check_buyers(event: &EventState, recount: &Recount, found: &mut Found) {
    let lists = [
        ("session", &event.buyers, &recount.buyers),
        ("e-mail", &event.emails, &recount.emails),
        ("card", &event.cards, &recount.cards),
    ];
    for (name, counted, expected) in lists {
        let same = counted.len() == expected.len()
            && expected.iter().all(|(&buyer, &seats)| counted.get(buyer) == seats);
        found.expect("INV-10", same, || format!("event {} miscounts seats by {name}", event.event));
        let most = expected.values().max().copied().unwrap_or(0);
        let ceiling = event.buyer_ceiling;
        found.expect("INV-10", ceiling == 0 || most <= u32::from(ceiling), || {
            format!("event {} lets one {name} have {most} seats of {ceiling}", event.event)
        });
    }
    let (live, fences) = (event.clock.live, event.clock.fences.len());
    found.expect("INV-11", (live, fences) == (recount.live, recount.fences), || {
        format!("event {} waits for {live} holds and {fences} fences", event.event)
    });
}
