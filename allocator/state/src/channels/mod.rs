//! Owns which places of an event are set aside for channels, and the way to them.
//!
//! A channel's seats are a second pool beside the general one: bits and counts of their own, built
//! alike. Who comes through a channel chooses while the pools have changed places, so that no rule
//! of choosing knows of channels. An area's places have no names: of those that are nobody's, each
//! channel has as many as it was given and has not used up, and the general pool has the rest.
//!
//! Must never decide who may hold what: only where it is looked for.

mod allotment;
mod check;
mod codec;

pub use check::ChannelView;
pub(crate) use check::Taken;

use std::{collections::BTreeMap, sync::atomic::Ordering};

use crate::{
    command::HoldItem,
    event::{EventState, PlaceKind, PlaceRef, PlaceRefs, Searched},
    ids::{ChannelNo, LogTimeMs, SeatNo, SectionNo},
    outcome::Rejection,
    seat_map::{SeatMap, Spot},
    seat_word::SeatWord,
    wishes::{self, Refused, Terms},
};

/// The hash of a channel's secret.
pub type ChannelKeyHash = [u8; 32];

/// One channel of an event.
#[derive(Clone, Debug)]
pub(crate) struct Channel {
    pub(crate) key: Box<str>,
    /// Given once, never to another channel of the event.
    pub(crate) number: ChannelNo,
    /// Who has the secret may use it; `None` where there is none.
    pub(crate) key_hash: Option<ChannelKeyHash>,
    /// When what is unsold goes to the general pool.
    pub(crate) release_at_ms: Option<LogTimeMs>,
    /// May its buyers have what everybody may?
    pub(crate) general_too: bool,
    /// A bit for each seat set aside, whoever has it now.
    seats: Vec<u64>,
    areas: BTreeMap<SectionNo, Area>,
    /// Places that are held or sold by who came through it.
    pub(crate) taken: u32,
    /// Of them, those that are sold.
    pub(crate) sold: u32,
    pool: Pool,
}

/// Places of an area.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Area {
    allotted: u32,
    /// Held or sold by who came through the channel, from its allotment first.
    taken: u32,
}

impl Area {
    /// What the channel has not used up.
    fn left(self) -> u32 {
        self.allotted.saturating_sub(self.taken)
    }
}

/// What of a channel's places is available, built as an event's general stock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Pool {
    free: Vec<u64>,
    /// By section and kind.
    available: Vec<[u32; 3]>,
    searched: Vec<Searched>,
}

impl Pool {
    fn new(event: &EventState) -> Self {
        let sections = event.stock.len();
        Self {
            free: vec![0; event.free.len()],
            available: vec![[0; 3]; sections],
            searched: vec![Searched::default(); sections],
        }
    }

    /// The general pool and this one change places.
    fn swap(&mut self, event: &mut EventState) {
        std::mem::swap(&mut self.free, &mut event.free);
        let mine = self.available.iter_mut().zip(&mut self.searched);
        for (stock, (available, searched)) in event.stock.iter_mut().zip(mine) {
            std::mem::swap(available, &mut stock.available);
            std::mem::swap(searched, &mut stock.searched);
        }
    }

    /// The general pool has this one's places too; the answer is what it was before.
    fn join(&self, event: &mut EventState) -> Pool {
        let before = Pool {
            free: event.free.clone(),
            available: event.stock.iter().map(|stock| stock.available).collect(),
            searched: event.stock.iter().map(|stock| stock.searched).collect(),
        };
        event.free.iter_mut().zip(&self.free).for_each(|(free, mine)| *free |= mine);
        for (stock, mine) in event.stock.iter_mut().zip(&self.available) {
            stock.available.iter_mut().zip(mine).for_each(|(all, mine)| *all += mine);
            stock.searched = Searched::default();
        }
        before
    }

    fn shift(&mut self, spot: &Spot, kind: usize, comes: bool) {
        let no = usize::from(spot.section);
        let (word, available) = (&mut self.free[spot.word], &mut self.available[no][kind]);
        assert!((*word & spot.bit == 0) == comes, "a channel's seat comes or goes twice");
        *word ^= spot.bit;
        if comes {
            *available += 1;
            self.searched[no].forget(kind);
        } else {
            *available -= 1;
            self.searched[no].orphaning = 0;
        }
    }
}

impl Channel {
    fn has(&self, spot: &Spot) -> bool {
        self.seats[spot.word] & spot.bit != 0
    }

    /// When its places are everybody's by themselves; 0 if never.
    fn until_ms(&self) -> LogTimeMs {
        self.release_at_ms.unwrap_or(0)
    }
}

/// The seats of a bitmap, ascending.
fn seats_of(map: &SeatMap, bits: &[u64]) -> Vec<SeatNo> {
    let mut seats = Vec::new();
    for row in map.rows() {
        for (nth, &word) in bits[row.words()].iter().enumerate() {
            let mut word = word;
            while word != 0 {
                seats.push(row.first_seat + (nth * 64) as SeatNo + word.trailing_zeros());
                word &= word - 1;
            }
        }
    }
    seats
}

/// All channels of an event, at least one, by number.
#[derive(Clone, Debug)]
pub(crate) struct Channels(Vec<Channel>);

impl Channels {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Channel> {
        self.0.iter()
    }

    fn at(&self, number: ChannelNo) -> Option<usize> {
        self.0.binary_search_by_key(&number, |channel| channel.number).ok()
    }

    fn find(&self, key: &str) -> Option<&Channel> {
        self.0.iter().find(|channel| *channel.key == *key)
    }

    fn owner(&mut self, spot: &Spot) -> Option<&mut Channel> {
        self.0.iter_mut().find(|channel| channel.has(spot))
    }

    /// Takes a seat back that is nobody's any more, if it is a channel's.
    #[cold]
    pub(crate) fn take_back(&mut self, spot: &Spot, kind: usize) -> bool {
        let owner = self.owner(spot);
        owner.map(|channel| channel.pool.shift(spot, kind, true)).is_some()
    }

    /// Deals a section's places that are nobody's: each channel's part first; the rest is the
    /// general pool's.
    pub(crate) fn deal_area(&mut self, section: SectionNo, mut nobodys: u32) -> u32 {
        for channel in &mut self.0 {
            let left = channel.areas.get(&section).map_or(0, |area| area.left());
            let part = left.min(nobodys);
            channel.pool.available[usize::from(section)][0] = part;
            nobodys -= part;
        }
        nobodys
    }

    /// Places of an area that are nobody's and yet not everybody's.
    fn set_aside(&self, section: SectionNo) -> u32 {
        self.0.iter().map(|channel| channel.pool.available[usize::from(section)][0]).sum()
    }

    /// When the next allotment is released.
    fn next_release_ms(&self) -> Option<LogTimeMs> {
        self.0
            .iter()
            .filter(|channel| channel.is_allotted())
            .filter_map(|it| it.release_at_ms)
            .min()
    }
}

impl EventState {
    /// Refuses who names a channel that there is not, or brings another secret than it has.
    pub(crate) fn admit_to_channel(
        &self,
        key: &str,
        key_hash: Option<&ChannelKeyHash>,
    ) -> Result<ChannelNo, Rejection> {
        let channel = self.channels.as_ref().and_then(|channels| channels.find(key));
        match channel {
            Some(channel) if channel.key_hash.is_none() => Ok(channel.number),
            Some(channel) if channel.key_hash.as_ref() == key_hash => Ok(channel.number),
            _ => Err(Rejection::ChannelForbidden),
        }
    }

    /// `wishes::pick` for who comes through a channel: all places from its allotment; if those are
    /// not to be had and it may, from it and the general pool together.
    pub(crate) fn pick_in_channel(
        &mut self,
        number: ChannelNo,
        items: &[HoldItem],
        terms: Terms<'_>,
    ) -> Result<PlaceRefs, Refused> {
        // Taken away meanwhile: places that a wish puts back go where they came from.
        let Some(mut channels) = self.channels.take() else {
            return wishes::pick(self, items, terms);
        };
        let at = channels.at(number);
        let channel = at.and_then(|at| channels.0.get_mut(at));
        let picked = match channel {
            Some(channel) => self.pick_with(channel, items, terms),
            None => wishes::pick(self, items, terms),
        };
        self.channels = Some(channels);
        picked
    }

    fn pick_with(
        &mut self,
        channel: &mut Channel,
        items: &[HoldItem],
        terms: Terms<'_>,
    ) -> Result<PlaceRefs, Refused> {
        channel.pool.swap(self);
        let picked = wishes::pick(self, items, terms);
        channel.pool.swap(self);
        if picked.is_ok() || !channel.general_too {
            return picked;
        }
        let before = channel.pool.join(self);
        let picked = wishes::pick(self, items, terms);
        self.free = before.free;
        for (at, stock) in self.stock.iter_mut().enumerate() {
            (stock.available, stock.searched) = (before.available[at], before.searched[at]);
        }
        for place in picked.iter().flatten() {
            // Areas are dealt anew when their places are held.
            let PlaceKind::Seat(seat) = place.kind() else { continue };
            if !self.try_pick(seat) {
                let (spot, kind) = self.spot_and_kind(seat);
                channel.pool.shift(&spot, kind, false);
            }
        }
        picked
    }

    /// Takes an available seat out of whichever pool it is in.
    pub(crate) fn take_out(&mut self, seat: SeatNo) {
        if self.try_pick(seat) {
            return;
        }
        let (spot, kind) = self.spot_and_kind(seat);
        let owner = self.channels.as_mut().and_then(|channels| channels.owner(&spot));
        match owner {
            Some(channel) => channel.pool.shift(&spot, kind, false),
            None => panic!("seat {seat} was picked twice"),
        }
    }

    /// Is the seat available to who came through this channel, or to everybody?
    pub(crate) fn is_free_to(&self, seat: SeatNo, number: ChannelNo) -> bool {
        let set_aside = || {
            let channels = self.channels.as_ref()?;
            let channel = channels.0.get(channels.at(number)?)?;
            let (spot, _) = self.spot_and_kind(seat);
            Some(channel.pool.free[spot.word] & spot.bit != 0)
        };
        self.is_free(seat) == Some(true) || set_aside().unwrap_or(false)
    }

    /// Counts places of who came through a channel, as they come or as they go: before they are
    /// moved, so that areas are dealt by the right counts.
    #[inline(always)]
    pub(crate) fn count_channel(&mut self, number: ChannelNo, places: &[PlaceRef], comes: bool) {
        if self.channels.is_some() {
            self.count_through(number, places, comes);
        }
    }

    #[cold]
    fn count_through(&mut self, number: ChannelNo, places: &[PlaceRef], comes: bool) {
        let Some(channels) = &mut self.channels else { return };
        let Some(channel) = channels.at(number).and_then(|at| channels.0.get_mut(at)) else {
            return;
        };
        let shift = |count: &mut u32| {
            *count = if comes { *count + 1 } else { *count - 1 };
        };
        for place in places {
            shift(&mut channel.taken);
            if let PlaceKind::Area(section) = place.kind() {
                shift(&mut channel.areas.entry(section).or_default().taken);
            }
        }
    }

    /// Counts places that who came through a channel bought; `false`: whose money was refused.
    #[inline(always)]
    pub(crate) fn count_sold(&mut self, number: ChannelNo, places: usize, is_sold: bool) {
        if let Some(channels) = &mut self.channels
            && let Some(channel) = channels.at(number).and_then(|at| channels.0.get_mut(at))
        {
            let places = places as u32;
            channel.sold = if is_sold { channel.sold + places } else { channel.sold - places };
        }
    }

    /// Deals the areas of places anew that were picked in a channel and are not held after all.
    pub(crate) fn balance_areas(&mut self, places: &[PlaceRef]) {
        for place in places {
            if let PlaceKind::Area(section) = place.kind() {
                self.balance_area(section);
            }
        }
    }

    /// An area's places that readers see as held: the held ones, and those set aside.
    pub(crate) fn shown_held(&self, section: SectionNo) -> u32 {
        let set_aside = self.channels.as_ref().map_or(0, |channels| channels.set_aside(section));
        self.stock[usize::from(section)].held + set_aside
    }

    /// A seat's word, if it is set aside and nobody's.
    pub(crate) fn is_set_aside(&self, seat: SeatNo) -> bool {
        self.words[seat as usize].load(Ordering::Relaxed) == SeatWord::SET_ASIDE.0
    }
}
