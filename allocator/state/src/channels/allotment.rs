//! Owns how places are set aside for a channel and how they come back to the general pool: when
//! they are taken from it, when it is dropped, when its time comes.
//!
//! Must never take a place from its buyer.

use std::sync::atomic::Ordering;

use smallvec::SmallVec;

use super::{Area, Channel, Channels, Pool, seats_of};
use crate::{
    change::Change,
    command::{PutChannel, Selection},
    event::{EventState, PlaceRef},
    ids::{ChannelNo, LogTimeMs, SeatNo, SectionNo},
    limits::CHANNELS_MAX,
    outcome::Rejection,
    seat_word::{SeatState, SeatWord},
    shard::{announce, announce_area, announce_seats},
};

impl Channel {
    /// Is anything set aside for it?
    pub(super) fn is_allotted(&self) -> bool {
        self.seats.iter().any(|&word| word != 0) || self.areas.values().any(|it| it.allotted > 0)
    }

    /// So many places of these areas, none of others; the answer is where that is another number.
    fn allot_areas(&mut self, areas: &[(SectionNo, u32)]) -> Vec<SectionNo> {
        for &(section, _) in areas {
            self.areas.entry(section).or_default();
        }
        let mut others = Vec::new();
        for (&section, area) in &mut self.areas {
            let named = areas.iter().find(|(no, _)| *no == section);
            let allotted = named.map_or(0, |&(_, places)| places);
            if std::mem::replace(&mut area.allotted, allotted) != allotted {
                others.push(section);
            }
        }
        self.areas.retain(|_, area| *area != Area::default());
        others
    }
}

impl EventState {
    /// What of a new allotment is not to be had: seats that are not the channel's and not
    /// everybody's, and areas with fewer places than would have to be set aside.
    pub(crate) fn check_allotment(&self, key: &str, places: &Selection) -> Result<(), Rejection> {
        let channels = self.channels.as_deref();
        let channel = channels.and_then(|channels| channels.find(key));
        if channel.is_none() && channels.is_some_and(|it| it.0.len() >= CHANNELS_MAX) {
            return Err(Rejection::Overloaded { bound: "channels_max" });
        }
        let is_its_own =
            |seat| channel.is_some_and(|channel| channel.has(&self.spot_and_kind(seat).0));
        let gone = |&seat: &SeatNo| self.is_free(seat) != Some(true) && !is_its_own(seat);
        let seats: Vec<SeatNo> = places.seats.iter().copied().filter(gone).collect();
        let short = |&&(section, places): &&(SectionNo, u32)| {
            let no = usize::from(section);
            let area = channel.and_then(|channel| channel.areas.get(&section));
            let before = area.copied().unwrap_or_default();
            let has = channel.map_or(0, |channel| channel.pool.available[no][0]);
            let needs = Area { allotted: places, ..before }.left();
            places > before.allotted && needs > has + self.stock[no].available[0]
        };
        let short = places.areas.iter().filter(short);
        let areas: Vec<_> = short.map(|&(section, _)| self.taken(section)).collect();
        if seats.is_empty() && areas.is_empty() {
            return Ok(());
        }
        Err(Rejection::AllotmentUnavailable { seats, areas })
    }

    /// Sets places aside; those that were and are not named any more go to the general pool. The
    /// command has been checked.
    pub(crate) fn put_channel(&mut self, put: &PutChannel, changes: &mut Vec<Change>) {
        let mut channel = self.take_channel(put);
        let until_ms = channel.until_ms();
        let before = std::mem::take(&mut channel.seats);
        let mut seats = vec![0; self.free.len()];
        for &seat in &put.places.seats {
            let (spot, _) = self.spot_and_kind(seat);
            seats[spot.word] |= spot.bit;
        }
        let gone: Vec<u64> = before.iter().zip(&seats).map(|(had, has)| had & !has).collect();
        channel.seats = seats;
        let new: Vec<u64> =
            before.iter().zip(&channel.seats).map(|(had, has)| has & !had).collect();
        let freed = self.give_up(&mut channel, &gone);
        let taken = self.set_aside(&mut channel, &new);
        let touched = channel.allot_areas(&put.places.areas);
        channel.release_at_ms = put.release_at_ms;
        channel.general_too = put.general_too;
        channel.key_hash = put.key_hash;
        let told = if until_ms == channel.until_ms() {
            taken
        } else {
            seats_of(&self.seat_map, &channel.pool.free)
        };
        self.return_channel(channel);
        announce_seats(self, &freed, SeatState::Available, changes);
        self.announce_set_aside(&told, changes);
        for section in touched {
            self.balance_area(section);
            announce_area(self, section, changes);
        }
        self.next_release();
    }

    /// The channel, out of the list; a new one if there is none of that key.
    fn take_channel(&mut self, put: &PutChannel) -> Channel {
        let known = self.channels.as_mut().and_then(|channels| {
            let at = channels.0.iter().position(|channel| *channel.key == *put.key)?;
            Some(channels.0.remove(at))
        });
        known.unwrap_or_else(|| {
            self.channels_made += 1;
            Channel {
                key: put.key.clone(),
                number: self.channels_made,
                key_hash: None,
                release_at_ms: None,
                general_too: false,
                seats: vec![0; self.free.len()],
                areas: Default::default(),
                taken: 0,
                sold: 0,
                pool: Pool::new(self),
            }
        })
    }

    pub(super) fn return_channel(&mut self, channel: Channel) {
        let channels = &mut self.channels.get_or_insert_with(|| Box::new(Channels(Vec::new()))).0;
        let at = channels.partition_point(|other| other.number < channel.number);
        channels.insert(at, channel);
    }

    /// A channel's available seats of a bitmap are everybody's; which ones.
    fn give_up(&mut self, channel: &mut Channel, bits: &[u64]) -> Vec<SeatNo> {
        let free: Vec<u64> = bits.iter().zip(&channel.pool.free).map(|(a, b)| a & b).collect();
        let seats = seats_of(&self.seat_map, &free);
        for &seat in &seats {
            let (spot, kind) = self.spot_and_kind(seat);
            channel.pool.shift(&spot, kind, false);
            self.write_nobodys(seat, SeatWord::SET_ASIDE, SeatWord::AVAILABLE);
            self.unpick_to_general(&spot, kind);
        }
        seats
    }

    /// Seats of a bitmap that everybody might have are the channel's; which ones.
    pub(super) fn set_aside(&mut self, channel: &mut Channel, bits: &[u64]) -> Vec<SeatNo> {
        let free: Vec<u64> = bits.iter().zip(&self.free).map(|(a, b)| a & b).collect();
        let seats = seats_of(&self.seat_map, &free);
        for &seat in &seats {
            assert!(self.try_pick(seat), "seat {seat} was set aside twice");
            let (spot, kind) = self.spot_and_kind(seat);
            channel.pool.shift(&spot, kind, true);
            self.write_nobodys(seat, SeatWord::AVAILABLE, SeatWord::SET_ASIDE);
        }
        seats
    }

    pub(crate) fn write_nobodys(&self, seat: SeatNo, from: SeatWord, to: SeatWord) {
        let cell = &self.words[seat as usize];
        assert!(cell.load(Ordering::Relaxed) == from.0, "seat {seat} is not {from:?}");
        cell.store(to.0, Ordering::Release);
    }

    /// Drops a channel: its places are everybody's, those of its buyers when they are given back.
    pub(crate) fn drop_channel(&mut self, key: &str, changes: &mut Vec<Change>) -> bool {
        let number = self.channels.as_ref().and_then(|it| it.find(key)).map(|it| it.number);
        let Some(number) = number else { return false };
        self.end_allotment(number, true, changes);
        self.next_release();
        true
    }

    /// Ends the allotments whose time has come, each in one step.
    pub(crate) fn release_allotments(&mut self, now: LogTimeMs, changes: &mut Vec<Change>) {
        if self.clock.release_at_ms.is_none_or(|at| at > now) {
            return;
        }
        let mut due: SmallVec<[(LogTimeMs, ChannelNo); 4]> = SmallVec::new();
        for channel in self.channels.iter().flat_map(|channels| channels.iter()) {
            let at = channel.release_at_ms.filter(|&at| at <= now && channel.is_allotted());
            due.extend(at.map(|at| (at, channel.number)));
        }
        due.sort_unstable();
        for (_, number) in due {
            self.end_allotment(number, false, changes);
        }
        self.next_release();
    }

    fn end_allotment(&mut self, number: ChannelNo, drop: bool, changes: &mut Vec<Change>) {
        let Some(channels) = &mut self.channels else { return };
        let Some(at) = channels.at(number) else { return };
        let mut channel = channels.0.remove(at);
        let all = std::mem::replace(&mut channel.seats, vec![0; self.free.len()]);
        let freed = self.give_up(&mut channel, &all);
        let touched = channel.allot_areas(&[]);
        if !drop {
            self.return_channel(channel);
        } else if self.channels.as_ref().is_some_and(|channels| channels.0.is_empty()) {
            self.channels = None;
        }
        announce_seats(self, &freed, SeatState::Available, changes);
        for section in touched {
            self.balance_area(section);
            announce_area(self, section, changes);
        }
    }

    fn next_release(&mut self) {
        self.clock.release_at_ms =
            self.channels.as_ref().and_then(|channels| channels.next_release_ms());
    }

    /// Says of places that are nobody's what they are: everybody's, or set aside.
    pub(crate) fn announce_nobodys(&self, places: &[PlaceRef], changes: &mut Vec<Change>) {
        let is_set_aside = |place: &PlaceRef| place.is_seat() && self.is_set_aside(place.0);
        let (aside, others): (Vec<PlaceRef>, Vec<PlaceRef>) =
            places.iter().copied().partition(is_set_aside);
        if !others.is_empty() {
            announce(self, &others, SeatState::Available, 0, 0, changes);
        }
        let aside: Vec<SeatNo> = aside.iter().map(|place| place.0).collect();
        self.announce_set_aside(&aside, changes);
    }

    /// Says that seats are set aside, each channel's in one change.
    fn announce_set_aside(&self, seats: &[SeatNo], changes: &mut Vec<Change>) {
        for channel in self.channels.iter().flat_map(|channels| channels.iter()) {
            let its = |seat: &SeatNo| channel.has(&self.spot_and_kind(*seat).0);
            let seats: SmallVec<_> = seats.iter().copied().filter(its).collect();
            if !seats.is_empty() {
                let (event, state, until_ms) = (self.event, SeatState::Held, channel.until_ms());
                changes.push(Change::Seats { event, state, seats, key_tag: 0, until_ms });
            }
        }
    }

    /// All allotments again, out of what nobody has; after everybody has got theirs.
    pub(crate) fn restore_channels(&mut self) {
        let numbers: Vec<ChannelNo> =
            self.channels.iter().flat_map(|it| it.iter()).map(|it| it.number).collect();
        for number in numbers {
            let Some(channels) = &mut self.channels else { return };
            let Some(at) = channels.at(number) else { return };
            let mut channel = channels.0.remove(at);
            let seats = channel.seats.clone();
            self.set_aside(&mut channel, &seats);
            self.return_channel(channel);
        }
        let areas: Vec<SectionNo> = self
            .channels
            .iter()
            .flat_map(|channels| channels.iter())
            .flat_map(|channel| channel.areas.keys().copied())
            .collect();
        areas.into_iter().for_each(|section| self.balance_area(section));
        self.next_release();
    }
}
