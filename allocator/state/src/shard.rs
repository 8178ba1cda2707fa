//! Owns the state of one shard and the steps its commands share: finding, ending, announcing.
//!
//! Must never be changed but by `apply`.

use std::collections::{BTreeMap, BTreeSet};

use smallvec::SmallVec;

use crate::{
    buyer_limit,
    change::Change,
    control::Control,
    dedup::{Dedup, KeyOwner, KeyTables},
    event::{EventState, PlaceKind, PlaceRef},
    hold::HoldState,
    holds::Holds,
    ids::{EventNo, KeyHash, LogTimeMs, SeatNo, SectionNo, ShardNo},
    index::{Counts, Vacancy},
    job::Outbox,
    limits::Limits,
    order::Orders,
    outcome::Rejection,
    read_ahead::Ahead,
    seat_word::SeatState,
    staff::StaffAnswers,
    withdrawal::give_back,
};

/// The state of a shard. Shard 0 is the control group, the others sell.
#[derive(Debug)]
pub struct Shard {
    pub(crate) shard: ShardNo,
    pub(crate) shards: ShardNo,
    pub(crate) limits: Limits,
    pub(crate) last_index: u64,
    pub(crate) log_time_ms: LogTimeMs,
    pub(crate) chain: [u8; 32],
    pub(crate) events: Vec<EventState>,
    /// From an event's number to its slot + 1.
    pub(crate) event_slots: Counts,
    pub(crate) event_ids: BTreeMap<Box<str>, u32>,
    /// When each event may have something to end, and the event's slot.
    pub(crate) due: BTreeSet<(LogTimeMs, u32)>,
    pub(crate) holds: Holds,
    pub(crate) orders: Orders,
    pub(crate) dedup: Dedup,
    pub(crate) jobs: Outbox,
    pub(crate) staff: StaffAnswers,
    pub(crate) control: Control,
    /// A job became leasable in the entry being applied.
    pub(crate) job_due: bool,
    /// Reused for the chain's bytes.
    pub(crate) scratch: Vec<u8>,
    /// Reused for what is read ahead.
    pub(crate) ahead: Ahead,
}

impl Shard {
    /// An empty shard. `shards` is the number of selling shards, over which the control group
    /// spreads events; at least 1.
    pub fn new(shard: ShardNo, shards: ShardNo, limits: Limits) -> Self {
        Self {
            shard,
            shards: shards.max(1),
            limits: limits.clamped(),
            last_index: 0,
            log_time_ms: 0,
            chain: [0; 32],
            events: Vec::new(),
            event_slots: Counts::new(),
            event_ids: BTreeMap::new(),
            due: BTreeSet::new(),
            holds: Holds::new(),
            orders: Orders::new(),
            dedup: Dedup::new(),
            jobs: Outbox::default(),
            staff: StaffAnswers::new(),
            control: Control::new(),
            job_due: false,
            scratch: Vec::new(),
            ahead: Ahead::default(),
        }
    }

    pub(crate) fn is_control(&self) -> bool {
        self.shard == 0
    }

    pub(crate) fn key_tables(&self) -> KeyTables<'_> {
        KeyTables { holds: &self.holds, orders: &self.orders, staff: &self.staff.slab }
    }

    pub(crate) fn find_key(&self, key: KeyHash) -> Option<KeyOwner> {
        self.dedup.find(key, self.key_tables())
    }

    /// Whose a key is; or where it would stand.
    #[inline]
    pub(crate) fn look_up_key(&self, key: KeyHash) -> Result<KeyOwner, Vacancy> {
        self.dedup.look_up(key, self.key_tables())
    }

    pub(crate) fn remember_key(&mut self, key: KeyHash, owner: KeyOwner) {
        self.dedup.insert(key, owner);
    }

    /// Refuses when there is no room for one more key and `others` before it.
    pub(crate) fn check_key_room(&self, others: usize) -> Result<(), Rejection> {
        if self.dedup.len() + others >= self.limits.dedup_entries_max as usize {
            return Err(Rejection::Overloaded { bound: "dedup_entries_max" });
        }
        Ok(())
    }

    #[inline]
    pub(crate) fn event_slot(&self, event: EventNo) -> Result<u32, Rejection> {
        self.known_event_slot(event).ok_or(Rejection::NotFound { what: "event" })
    }

    #[inline]
    pub(crate) fn known_event_slot(&self, event: EventNo) -> Option<u32> {
        // Where a shard sells alone, or first, an event's number tells its slot.
        let guess = event.wrapping_sub(1);
        if self.events.get(guess as usize).is_some_and(|there| there.event == event) {
            return Some(guess);
        }
        self.event_slots.get(event.into()).checked_sub(1)
    }

    /// Stores an event that is not there yet.
    pub(crate) fn add_event(&mut self, event: EventState) {
        let slot = self.events.len() as u32;
        self.event_slots.add_to(self.event_slots.entry(event.event.into()), slot + 1);
        self.event_ids.insert(event.event_id.clone(), slot);
        self.events.push(event);
    }

    /// Writes an event's earliest end into the list of due events, if it is another than before.
    pub(crate) fn reschedule(&mut self, event_slot: u32) {
        let clock = &mut self.events[event_slot as usize].clock;
        let next = clock.earliest();
        if next == clock.next_at_ms {
            return;
        }
        if let Some(before) = clock.next_at_ms {
            self.due.remove(&(before, event_slot));
        }
        if let Some(next) = next {
            self.due.insert((next, event_slot));
        }
        clock.next_at_ms = next;
    }

    /// Lets a live hold expire at its time.
    pub(crate) fn schedule_hold(&mut self, hold_slot: u32, ttl_ms: u32) {
        let hold = self.holds.at(hold_slot);
        let (event_slot, expires_at_ms) = (hold.event(), hold.expires_at_ms());
        self.schedule((event_slot, hold_slot), ttl_ms, expires_at_ms);
    }

    /// Lets a hold of an event expire then.
    #[inline]
    pub(crate) fn schedule(
        &mut self,
        (event_slot, hold_slot): (u32, u32),
        ttl_ms: u32,
        expires_at_ms: LogTimeMs,
    ) {
        let clock = &mut self.events[event_slot as usize].clock;
        clock.push(&self.holds, (event_slot, hold_slot), ttl_ms, expires_at_ms);
        if clock.next_at_ms.is_none_or(|next| expires_at_ms < next) {
            self.reschedule(event_slot);
        }
    }

    /// Gives a hold's seats back and ends it, by the buyer or by time; they were kept `until_ms`.
    pub(crate) fn end_hold(
        &mut self,
        hold_slot: u32,
        (state, until_ms): (HoldState, LogTimeMs),
        changes: &mut Vec<Change>,
    ) {
        let hold = self.holds.at(hold_slot);
        assert!(hold.state().has_seats(), "a hold ended twice");
        let event = &mut self.events[hold.event() as usize];
        let places = hold.places();
        event.count_channel(hold.channel(), &places, false);
        give_back(event, &places, (SeatState::Held, hold_slot), changes);
        event.count_deals(&places, hold.deals(), false);
        if let Some(code) = hold.code() {
            event.codes.count(code, false);
        }
        buyer_limit::subtract(&mut event.buyers, hold.buyer, places.len());
        if let Some(hoarding) = &mut event.hoarding {
            hoarding.spend(&hold, until_ms);
        }
        if hold.state() == HoldState::Live {
            event.clock.live -= 1;
        }
        let after_ms = self.log_time_ms.wrapping_sub(hold.held_at_ms());
        self.holds.end_as(hold_slot, state, after_ms);
    }

    /// The hold's life is over; from now its key lives as long as the design says.
    pub(crate) fn finish_hold(&mut self, hold_slot: u32) {
        self.holds.end(hold_slot, self.log_time_ms);
    }
}

/// The part of a key's hash that changes carry.
pub(crate) fn key_tag(key: KeyHash) -> u64 {
    key as u64
}

/// Says what places are now: the seats in one change, then each area's counts.
pub(crate) fn announce(
    event: &EventState,
    places: &[PlaceRef],
    state: SeatState,
    key_tag: u64,
    until_ms: LogTimeMs,
    changes: &mut Vec<Change>,
) {
    if places.iter().all(|place| place.is_seat()) {
        let mut seats = SmallVec::new();
        for place in places {
            seats.push(place.0);
        }
        changes.push(Change::Seats { event: event.event, state, seats, key_tag, until_ms });
        return;
    }
    let mut seats = SmallVec::new();
    let mut areas: SmallVec<[SectionNo; 4]> = SmallVec::new();
    for place in places {
        match place.kind() {
            PlaceKind::Seat(seat) => seats.push(seat),
            PlaceKind::Area(section) if areas.contains(&section) => {}
            PlaceKind::Area(section) => areas.push(section),
        }
    }
    if !seats.is_empty() {
        changes.push(Change::Seats { event: event.event, state, seats, key_tag, until_ms });
    }
    areas.sort_unstable();
    areas.into_iter().for_each(|section| announce_area(event, section, changes));
}

/// Says what an area's counts are now.
pub(crate) fn announce_area(event: &EventState, section: SectionNo, changes: &mut Vec<Change>) {
    let stock = &event.stock[usize::from(section)];
    changes.push(Change::GeneralAdmission {
        event: event.event,
        section,
        held: event.shown_held(section),
        sold: stock.sold,
        killed: stock.killed,
    });
}

/// Says what seats are now, by no buyer's doing; nothing where there are none.
pub(crate) fn announce_seats(
    event: &EventState,
    seats: &[SeatNo],
    state: SeatState,
    changes: &mut Vec<Change>,
) {
    if !seats.is_empty() {
        let (event, seats) = (event.event, seats.into());
        changes.push(Change::Seats { event, state, seats, key_tag: 0, until_ms: 0 });
    }
}
