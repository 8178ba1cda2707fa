//! Owns the records of holds: live ones, and the ended ones that are kept as long as their keys.
//!
//! Must never touch a seat.

use std::collections::VecDeque;

use crate::{
    command::Idempotency,
    event::PlaceRef,
    ids::{BuyerHash, ChannelNo, CodeHash, HoldId, KeyHash, LogTimeMs, RequestHash},
    index::{Index, Vacancy},
    limits::{DEDUP_AFTER_HOLD_MS, HOLD_SEATS_MAX},
    offer::Deals,
    outcome::Done,
    slab::{NONE, Slab, hash_of},
};

/// Where a hold is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum HoldState {
    /// Its seats are the buyer's until it expires.
    Live = 0,
    /// A payment is undecided; it cannot expire.
    InCheckout = 1,
    /// Its seats are an order's.
    Sold = 2,
    /// Given back by the buyer.
    Released = 3,
    /// Ended by time, or with an order that failed after its seats were sold.
    Expired = 4,
}

impl HoldState {
    pub(crate) fn from_u8(value: u8) -> Option<Self> {
        Some(match value {
            0 => Self::Live,
            1 => Self::InCheckout,
            2 => Self::Sold,
            3 => Self::Released,
            4 => Self::Expired,
            _ => return None,
        })
    }

    /// Do seats stand in state held for it?
    pub(crate) fn has_seats(self) -> bool {
        matches!(self, Self::Live | Self::InCheckout)
    }
}

/// Places that stand in the record itself.
const PLACES_INLINE: usize = 4;

/// Not ended yet.
const NOT_ENDED: u32 = u32::MAX;
/// Ended so late that the extra says when.
const ENDED_LATE: u32 = u32::MAX - 1;

/// A hold, and the dedup entry of the request that made it.
///
/// A line and a half, for a shard remembers a million of them: what few holds have is in `extra`.
/// Whoever adds to a hold adds it there.
#[derive(Clone, Debug)]
#[repr(C, align(32))]
pub(crate) struct Hold {
    pub(crate) id: HoldId,
    pub(crate) key: KeyHash,
    pub(crate) request: RequestHash,
    pub(crate) buyer: BuyerHash,
    pub(crate) held_at_ms: LogTimeMs,
    extra: Option<Box<HoldExtra>>,
    few: [PlaceRef; PLACES_INLINE],
    /// The event's slot.
    pub(crate) event: u32,
    /// The ttl with which it was granted: what its first answer said.
    pub(crate) ttl_ms: u32,
    ended_after_ms: u32,
    pub(crate) price_list: u16,
    pub(crate) state: HoldState,
    places: u8,
}

const _: () = assert!(size_of::<Option<Hold>>() == 96, "a hold has a line and a half");
const _: () = assert!(HOLD_SEATS_MAX <= u8::MAX as usize, "a hold's places have eight bits");

/// What few holds have.
#[derive(Clone, Debug)]
pub(crate) struct HoldExtra {
    /// All places, where there are more than the record has room for.
    many: Box<[PlaceRef]>,
    /// The slot of the order that has it in checkout or has bought it; or [`NONE`].
    pub(crate) order: u32,
    /// When it ended, if that was long after it was held.
    ended_at_ms: LogTimeMs,
    /// Its expiry, once it was extended.
    expires_at_ms: Option<LogTimeMs>,
    pub(crate) extensions: u16,
    pub(crate) deals: Deals,
    /// The channel that it came through; 0 is none.
    channel: ChannelNo,
    /// The code that its buyer used.
    code: Option<CodeHash>,
    /// Extensions whose requests had a key, which lives as long as the hold's.
    pub(crate) keyed: Vec<Extension>,
}

/// An extension as it was answered.
#[derive(Clone, Debug)]
pub(crate) struct Extension {
    pub(crate) key: KeyHash,
    pub(crate) request: RequestHash,
    pub(crate) extended_at_ms: LogTimeMs,
    pub(crate) expires_at_ms: LogTimeMs,
    pub(crate) extensions: u16,
    pub(crate) extensions_max: u16,
}

impl Extension {
    pub(crate) fn answer(&self, hold: HoldId) -> Done {
        Done::Extended {
            hold,
            expires_at_ms: self.expires_at_ms,
            extensions: self.extensions,
            extensions_max: self.extensions_max,
            extended_at_ms: self.extended_at_ms,
        }
    }
}

impl HoldExtra {
    fn new() -> Self {
        Self {
            many: [].into(),
            order: NONE,
            ended_at_ms: 0,
            expires_at_ms: None,
            extensions: 0,
            deals: None,
            channel: 0,
            code: None,
            keyed: Vec::new(),
        }
    }
}

impl Hold {
    /// A live hold, granted at `held_at_ms`.
    #[inline(always)]
    pub(crate) fn granted(
        (id, idempotency): (HoldId, &Idempotency),
        (event, price_list): (u32, u16),
        (held_at_ms, ttl_ms): (LogTimeMs, u32),
        places: &[PlaceRef],
    ) -> Self {
        let mut few = [PlaceRef(0); PLACES_INLINE];
        let mut extra = None;
        if places.len() <= PLACES_INLINE {
            few.iter_mut().zip(places).for_each(|(few, &place)| *few = place);
        } else {
            extra = Some(Box::new(HoldExtra { many: places.into(), ..HoldExtra::new() }));
        }
        Self {
            id,
            key: idempotency.key,
            request: idempotency.request,
            buyer: idempotency.buyer,
            held_at_ms,
            extra,
            few,
            event,
            ttl_ms,
            ended_after_ms: NOT_ENDED,
            price_list,
            state: HoldState::Live,
            places: places.len() as u8,
        }
    }

    /// Its places, in the order of the wishes.
    pub(crate) fn places(&self) -> &[PlaceRef] {
        match (self.few.get(..usize::from(self.places)), &self.extra) {
            (Some(few), _) => few,
            (None, Some(extra)) => &extra.many,
            (None, None) => panic!("a hold has lost its places"),
        }
    }

    pub(crate) fn extra(&self) -> Option<&HoldExtra> {
        self.extra.as_deref()
    }

    pub(crate) fn extra_mut(&mut self) -> &mut HoldExtra {
        self.extra.get_or_insert_with(|| Box::new(HoldExtra::new()))
    }

    /// What was agreed about its places; see [`Deals`].
    pub(crate) fn deals(&self) -> &Deals {
        self.extra().map_or(&None, |extra| &extra.deals)
    }

    pub(crate) fn set_deals(&mut self, deals: Deals) {
        if deals.is_some() {
            self.extra_mut().deals = deals;
        }
    }

    /// The channel that it came through; 0 is none.
    pub(crate) fn channel(&self) -> ChannelNo {
        self.extra().map_or(0, |extra| extra.channel)
    }

    pub(crate) fn set_channel(&mut self, channel: ChannelNo) {
        if channel != 0 {
            self.extra_mut().channel = channel;
        }
    }

    /// The code that its buyer used.
    pub(crate) fn code(&self) -> Option<CodeHash> {
        self.extra().and_then(|extra| extra.code)
    }

    pub(crate) fn set_code(&mut self, code: Option<CodeHash>) {
        if code.is_some() {
            self.extra_mut().code = code;
        }
    }

    /// When it ends if nothing is done.
    pub(crate) fn expires_at_ms(&self) -> LogTimeMs {
        match self.extra().and_then(|extra| extra.expires_at_ms) {
            Some(extended) => extended,
            None => self.first_expires_at_ms(),
        }
    }

    /// The expiry that its first answer said.
    pub(crate) fn first_expires_at_ms(&self) -> LogTimeMs {
        self.held_at_ms.saturating_add(self.ttl_ms.into())
    }

    pub(crate) fn extensions(&self) -> u16 {
        self.extra().map_or(0, |extra| extra.extensions)
    }

    /// Its extensions that a key leads to.
    pub(crate) fn keyed(&self) -> &[Extension] {
        self.extra().map_or(&[], |extra| &extra.keyed)
    }

    /// The extension that this key leads to.
    pub(crate) fn extension(&self, key: KeyHash) -> Option<&Extension> {
        self.keyed().iter().find(|extension| extension.key == key)
    }

    /// The slot of the order that has it in checkout or has bought it; or [`NONE`].
    pub(crate) fn order(&self) -> u32 {
        self.extra().map_or(NONE, |extra| extra.order)
    }

    pub(crate) fn set_order(&mut self, order: u32) {
        if order != self.order() {
            self.extra_mut().order = order;
        }
    }

    /// Extended `extensions` times, until then.
    pub(crate) fn set_extended(&mut self, extensions: u16, expires_at_ms: LogTimeMs) {
        if (extensions, expires_at_ms) != (self.extensions(), self.expires_at_ms()) {
            let extra = self.extra_mut();
            extra.extensions = extensions;
            extra.expires_at_ms = Some(expires_at_ms);
        }
    }

    /// When it ended, with the payment of its order; `None` before.
    pub(crate) fn ended_at_ms(&self) -> Option<LogTimeMs> {
        match self.ended_after_ms {
            NOT_ENDED => None,
            ENDED_LATE => self.extra().map(|extra| extra.ended_at_ms),
            after => Some(self.held_at_ms + u64::from(after)),
        }
    }

    pub(crate) fn set_ended(&mut self, ended_at_ms: LogTimeMs) {
        match u32::try_from(ended_at_ms.wrapping_sub(self.held_at_ms)) {
            Ok(after) if after < ENDED_LATE => self.ended_after_ms = after,
            _ => {
                self.ended_after_ms = ENDED_LATE;
                self.extra_mut().ended_at_ms = ended_at_ms;
            }
        }
    }

    /// When its record is forgotten.
    pub(crate) fn forget_at_ms(&self) -> Option<LogTimeMs> {
        self.ended_at_ms().map(|ended| ended.saturating_add(DEDUP_AFTER_HOLD_MS))
    }
}

/// All holds of a shard.
#[derive(Debug)]
pub(crate) struct Holds {
    pub(crate) slab: Slab<Hold>,
    ids: Index,
    /// Ended holds, in the order in which they are forgotten.
    pub(crate) ended: VecDeque<u32>,
    /// Holds that have seats.
    pub(crate) alive: usize,
}

impl Holds {
    pub(crate) fn new() -> Self {
        Self { slab: Slab::new(), ids: Index::new(), ended: VecDeque::new(), alive: 0 }
    }

    pub(crate) fn slot(&self, id: HoldId) -> Option<u32> {
        self.ids.find(hash_of(id.0), |slot| self.slab[slot].id == id)
    }

    /// Where an id would stand that no hold has.
    #[inline]
    pub(crate) fn vacancy(&self, id: HoldId) -> Option<Vacancy> {
        self.ids.look_up(hash_of(id.0), |slot| self.slab[slot].id == id).err()
    }

    pub(crate) fn insert(&mut self, hold: Hold) -> u32 {
        match self.vacancy(hold.id) {
            Some(vacancy) => self.fill(vacancy, hold),
            None => panic!("two holds have one id"),
        }
    }

    /// Adds a hold, its id at a place looked up before.
    #[inline(always)]
    pub(crate) fn fill(&mut self, vacancy: Vacancy, hold: Hold) -> u32 {
        self.alive += usize::from(hold.state.has_seats());
        let slot = self.slab.insert(hold);
        self.ids.fill(vacancy, slot);
        slot
    }

    /// Moves a hold to another state, for good or for a while.
    pub(crate) fn set_state(&mut self, slot: u32, state: HoldState) {
        let hold = &mut self.slab[slot];
        self.alive -= usize::from(hold.state.has_seats());
        self.alive += usize::from(state.has_seats());
        hold.state = state;
    }

    /// The hold's life is over; its record stays as long as its key.
    pub(crate) fn end(&mut self, slot: u32, now: LogTimeMs) {
        self.slab[slot].set_ended(now);
        self.ended.push_back(slot);
    }

    /// The ended holds that may be forgotten.
    pub(crate) fn forgettable(&self, now: LogTimeMs) -> impl Iterator<Item = u32> {
        let over = move |&slot: &u32| self.slab[slot].forget_at_ms().is_some_and(|at| at <= now);
        self.ended.iter().copied().take_while(over)
    }

    /// The one that may be forgotten next.
    pub(crate) fn first_forgettable(&self, now: LogTimeMs) -> Option<u32> {
        self.forgettable(now).next()
    }

    /// Forgets a record; its key and those of its extensions.
    pub(crate) fn remove(&mut self, slot: u32) -> (KeyHash, Vec<KeyHash>) {
        let hold = &self.slab[slot];
        let (id, key) = (hold.id, hold.key);
        let extensions = hold.keyed().iter().map(|extension| extension.key).collect();
        self.ids.remove(hash_of(id.0), slot);
        self.slab.remove(slot);
        (key, extensions)
    }

    /// The table of ids, for reading ahead.
    pub(crate) fn ids(&self) -> &Index {
        &self.ids
    }

    pub(crate) fn clear_order(&mut self, slot: u32) {
        self.slab[slot].set_order(NONE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(places: u32, held_at_ms: LogTimeMs) -> Hold {
        let idempotency = Idempotency { key: 1, request: 2, buyer: 3, buyer_is_new: false };
        let places: Vec<PlaceRef> = (0..places).map(PlaceRef::seat).collect();
        Hold::granted((HoldId(1), &idempotency), (0, 0), (held_at_ms, 1000), &places)
    }

    #[test]
    fn a_hold_has_all_its_places_where_the_record_has_room_and_where_it_has_not() {
        for count in 1..=HOLD_SEATS_MAX as u32 {
            let mut hold = hold(count, 0);
            hold.set_order(5);
            assert!(hold.places().iter().map(|place| place.0).eq(0..count), "{count} places");
        }
    }

    #[test]
    fn a_hold_ends_at_the_very_time_however_late() {
        let after = [0, 1, u64::from(NOT_ENDED) - 2, NOT_ENDED.into(), 1 << 40];
        for after in after.into_iter().chain([u64::from(ENDED_LATE)]) {
            let mut hold = hold(1, 7);
            assert_eq!(hold.ended_at_ms(), None);
            hold.set_ended(7 + after);
            assert_eq!(hold.ended_at_ms(), Some(7 + after));
        }
    }
}
