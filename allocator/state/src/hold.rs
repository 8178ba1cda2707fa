//! Owns the record of a hold: a live one's, and an ended one's that is kept as long as its key.
//!
//! Must never touch a seat.

use std::ops::Deref;

use crate::{
    command::Idempotency,
    event::{PlaceRef, PlaceRefs},
    ids::{BuyerHash, ChannelNo, CodeHash, HoldId, KeyHash, LogTimeMs, RequestHash},
    limits::DEDUP_AFTER_HOLD_MS,
    offer::Deals,
    outcome::Done,
    shared_terms::{OWN_TERMS, SharedTerms},
    slab::NONE,
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

/// A hold, and the dedup entry of the request that made it.
///
/// A cache line, for a shard remembers a million of them and each command reads one or two: what
/// few holds have is in an extra. Whoever adds to a hold adds it there.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(crate) struct Hold {
    pub(crate) id: HoldId,
    pub(crate) key: KeyHash,
    pub(crate) request: RequestHash,
    pub(crate) buyer: BuyerHash,
    rest: Rest,
}

const _: () = assert!(size_of::<Option<Hold>>() == 64, "a hold has a line");

/// The rest of a hold; an extra takes the room of what is rarely there together.
#[derive(Clone, Debug)]
enum Rest {
    /// Neighbouring seats, or places of one area; ended not too late, if it has.
    Plain { life: Life, terms: u16, held_at: u32, first: PlaceRef, ended_after_ms: u32 },
    /// Any hold.
    Extra { state: HoldState, terms: u16, held_at: u32, extra: Box<HoldExtra> },
}

/// Not ended yet.
const NOT_ENDED: u32 = u32::MAX;

/// State, and number of places, in a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Life(u8);

impl Life {
    const STATE_BITS: u32 = 3;
    const PLACES_MAX: usize = (1 << (u8::BITS - Self::STATE_BITS)) - 1;

    fn new(state: HoldState, places: usize) -> Self {
        Self((places as u8) << Self::STATE_BITS | state as u8)
    }

    fn state(self) -> HoldState {
        match self.0 & ((1 << Self::STATE_BITS) - 1) {
            0 => HoldState::Live,
            1 => HoldState::InCheckout,
            2 => HoldState::Sold,
            3 => HoldState::Released,
            _ => HoldState::Expired,
        }
    }

    fn places(self) -> u32 {
        u32::from(self.0 >> Self::STATE_BITS)
    }
}

const _: () = assert!(HoldState::Expired as u8 == 4, "the last state is the one left over");

/// The place after `first`, and so on: the next seat, or another place of the same area.
fn nth_from(first: PlaceRef, nth: u32) -> PlaceRef {
    if first.is_seat() { PlaceRef(first.0 + nth) } else { first }
}

/// The first of neighbours that a plain record can name.
#[inline]
fn neighbours(places: &[PlaceRef]) -> Option<PlaceRef> {
    let &first = places.first()?;
    let follow = |(nth, &place): (u32, &PlaceRef)| place.0 == nth_from(first, nth).0;
    let all = places.len() <= Life::PLACES_MAX && (0..).zip(places).skip(1).all(follow);
    all.then_some(first)
}

/// What few holds have.
#[derive(Clone, Debug)]
pub(crate) struct HoldExtra {
    places: PlaceRefs,
    /// The slot of the order that has it in checkout or has bought it; or [`NONE`].
    order: u32,
    /// How long after it was held it ended.
    ended_after_ms: Option<u64>,
    /// Its expiry, once it was extended.
    expires_at_ms: Option<LogTimeMs>,
    extensions: u16,
    deals: Deals,
    /// The channel that it came through; 0 is none.
    channel: ChannelNo,
    /// The code that its buyer used.
    code: Option<CodeHash>,
    /// Extensions whose requests had a key, which lives as long as the hold's.
    keyed: Vec<Extension>,
    /// Its terms, where their table has no room for them.
    own_terms: Option<SharedTerms>,
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
    fn of(places: PlaceRefs) -> Self {
        Self {
            places,
            order: NONE,
            ended_after_ms: None,
            expires_at_ms: None,
            extensions: 0,
            deals: None,
            channel: 0,
            code: None,
            keyed: Vec::new(),
            own_terms: None,
        }
    }
}

impl Hold {
    /// A live hold, granted at `held_at_ms`, on terms that have this number.
    #[inline(always)]
    pub(crate) fn granted(
        id: HoldId,
        idempotency: &Idempotency,
        (held_at_ms, terms): (LogTimeMs, u16),
        places: &[PlaceRef],
    ) -> Self {
        let (state, held_at) = (HoldState::Live, held_at_ms as u32);
        let rest = match neighbours(places) {
            Some(first) => {
                let life = Life::new(state, places.len());
                Rest::Plain { life, terms, held_at, first, ended_after_ms: NOT_ENDED }
            }
            None => {
                let extra = Box::new(HoldExtra::of(places.into()));
                Rest::Extra { state, terms, held_at, extra }
            }
        };
        let &Idempotency { key, request, buyer, buyer_is_new: _ } = idempotency;
        Self { id, key, request, buyer, rest }
    }

    #[inline]
    pub(crate) fn state(&self) -> HoldState {
        match &self.rest {
            Rest::Plain { life, .. } => life.state(),
            Rest::Extra { state, .. } => *state,
        }
    }

    pub(crate) fn set_state(&mut self, new: HoldState) {
        match &mut self.rest {
            Rest::Plain { life, .. } => *life = Life::new(new, life.places() as usize),
            Rest::Extra { state, .. } => *state = new,
        }
    }

    /// The number of its terms, and when it was held, as far as it says.
    #[inline]
    pub(crate) fn terms_and_time(&self) -> (u16, u32) {
        match self.rest {
            Rest::Plain { terms, held_at, .. } | Rest::Extra { terms, held_at, .. } => {
                (terms, held_at)
            }
        }
    }

    /// The terms of a hold whose terms are its own.
    pub(crate) fn own_terms(&self) -> Option<&SharedTerms> {
        self.extra().and_then(|extra| extra.own_terms.as_ref())
    }

    /// Keeps terms for which there is no room elsewhere.
    #[cold]
    pub(crate) fn set_own_terms(&mut self, its: SharedTerms) {
        self.extra_mut().own_terms = Some(its);
        match &mut self.rest {
            Rest::Plain { terms, .. } | Rest::Extra { terms, .. } => *terms = OWN_TERMS,
        }
    }

    /// Its places, in the order of the wishes.
    #[inline]
    pub(crate) fn places(&self) -> PlaceRefs {
        match &self.rest {
            &Rest::Plain { life, first, .. } => {
                let mut places = PlaceRefs::new();
                (0..life.places()).for_each(|nth| places.push(nth_from(first, nth)));
                places
            }
            Rest::Extra { extra, .. } => extra.places.clone(),
        }
    }

    /// The first of them, if it can be told without another read.
    #[inline]
    pub(crate) fn first_place(&self) -> Option<PlaceRef> {
        match self.rest {
            Rest::Plain { first, .. } => Some(first),
            Rest::Extra { .. } => None,
        }
    }

    #[inline]
    fn extra(&self) -> Option<&HoldExtra> {
        match &self.rest {
            Rest::Plain { .. } => None,
            Rest::Extra { extra, .. } => Some(extra),
        }
    }

    fn extra_mut(&mut self) -> &mut HoldExtra {
        if let Rest::Plain { life, terms, held_at, ended_after_ms, .. } = self.rest {
            let mut extra = Box::new(HoldExtra::of(self.places()));
            extra.ended_after_ms =
                (ended_after_ms != NOT_ENDED).then_some(u64::from(ended_after_ms));
            self.rest = Rest::Extra { state: life.state(), terms, held_at, extra };
        }
        match &mut self.rest {
            Rest::Extra { extra, .. } => extra,
            Rest::Plain { .. } => panic!("an extra was not added"),
        }
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

    pub(crate) fn extensions(&self) -> u16 {
        self.extra().map_or(0, |extra| extra.extensions)
    }

    /// Its extensions that a key leads to.
    pub(crate) fn keyed(&self) -> &[Extension] {
        self.extra().map_or(&[], |extra| &extra.keyed)
    }

    pub(crate) fn add_keyed(&mut self, extension: Extension) {
        self.extra_mut().keyed.push(extension);
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
        let extra = self.extra_mut();
        extra.extensions = extensions;
        extra.expires_at_ms = Some(expires_at_ms);
    }

    fn ended_after_ms(&self) -> Option<u64> {
        match &self.rest {
            Rest::Plain { ended_after_ms: NOT_ENDED, .. } => None,
            Rest::Plain { ended_after_ms, .. } => Some(u64::from(*ended_after_ms)),
            Rest::Extra { extra, .. } => extra.ended_after_ms,
        }
    }

    /// It ended so long after it was held.
    pub(crate) fn set_ended_after(&mut self, after_ms: u64) {
        if let Rest::Plain { ended_after_ms, .. } = &mut self.rest
            && after_ms < u64::from(NOT_ENDED)
        {
            *ended_after_ms = after_ms as u32;
        } else {
            self.extra_mut().ended_after_ms = Some(after_ms);
        }
    }
}

/// A hold with the terms on which it was granted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HoldRef<'a> {
    pub(crate) hold: &'a Hold,
    pub(crate) terms: &'a SharedTerms,
}

impl Deref for HoldRef<'_> {
    type Target = Hold;

    fn deref(&self) -> &Hold {
        self.hold
    }
}

impl HoldRef<'_> {
    /// Its event's slot.
    pub(crate) fn event(&self) -> u32 {
        self.terms.event
    }

    pub(crate) fn price_list(&self) -> u16 {
        self.terms.price_list
    }

    pub(crate) fn held_at_ms(&self) -> LogTimeMs {
        self.terms.time(self.terms_and_time().1)
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
        self.held_at_ms().saturating_add(self.terms.ttl_ms.into())
    }

    /// When it ended, with the payment of its order; `None` before.
    pub(crate) fn ended_at_ms(&self) -> Option<LogTimeMs> {
        self.ended_after_ms().map(|after| self.held_at_ms().wrapping_add(after))
    }

    /// When its record is forgotten.
    pub(crate) fn forget_at_ms(&self) -> Option<LogTimeMs> {
        self.ended_at_ms().map(|ended| ended.saturating_add(DEDUP_AFTER_HOLD_MS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::HOLD_SEATS_MAX;

    const IDEMPOTENCY: Idempotency =
        Idempotency { key: 1, request: 2, buyer: 3, buyer_is_new: false };

    fn hold(places: &[PlaceRef], held_at_ms: LogTimeMs) -> Hold {
        Hold::granted(HoldId(1), &IDEMPOTENCY, (held_at_ms, 0), places)
    }

    #[test]
    fn a_hold_has_all_its_places_wherever_they_are() {
        let seats = |numbers: &[u32]| -> Vec<_> {
            numbers.iter().map(|&number| PlaceRef::seat(number)).collect()
        };
        let mut cases: Vec<Vec<PlaceRef>> = (1..=HOLD_SEATS_MAX as u32)
            .flat_map(|count| {
                let neighbours = (7..7 + count).map(PlaceRef::seat).collect();
                [neighbours, vec![PlaceRef::area(3); count as usize]]
            })
            .collect();
        cases.extend([seats(&[8, 7]), seats(&[1, 2, 4]), seats(&[5, 6, 7, 9, 10])]);
        cases.push(vec![PlaceRef::area(1), PlaceRef::area(2)]);
        cases.push(vec![PlaceRef::seat(0), PlaceRef::area(0), PlaceRef::area(0)]);
        cases.push(vec![PlaceRef::area(0), PlaceRef::seat(0)]);
        for places in cases {
            let mut hold = hold(&places, 0);
            assert_eq!(hold.places().as_slice(), places);
            hold.set_state(HoldState::InCheckout);
            assert_eq!((hold.state(), hold.places().as_slice()), (HoldState::InCheckout, &*places));
            hold.set_order(5);
            assert_eq!((hold.state(), hold.places().as_slice()), (HoldState::InCheckout, &*places));
        }
    }

    #[test]
    fn a_hold_was_held_and_ended_at_the_very_time_however_late() {
        let after = [0, 1, u64::from(NOT_ENDED) - 1, NOT_ENDED.into(), 1 << 40];
        let held = [0, 7, u64::from(u32::MAX), 1 << 32, (1 << 45) + 5];
        for (held_at_ms, after) in held.into_iter().flat_map(|at| after.map(|after| (at, after))) {
            let terms = &SharedTerms::new((0, 0), (held_at_ms, 1000));
            let mut record = hold(&[PlaceRef::seat(1)], held_at_ms);
            let hold = HoldRef { hold: &record, terms };
            assert_eq!((hold.held_at_ms(), hold.ended_at_ms()), (held_at_ms, None));
            record.set_ended_after(after);
            for order in [NONE, 9] {
                record.set_order(order);
                let hold = HoldRef { hold: &record, terms };
                assert_eq!(hold.held_at_ms(), held_at_ms);
                assert_eq!(hold.ended_at_ms(), Some(held_at_ms + after));
            }
        }
    }
}
