//! Owns what must hold of an event's channels, counted again from what was given to them and from
//! who has what, and what of it readers may see.

use std::collections::BTreeMap;

use super::{Area, Channel, Channels, seats_of};
use crate::{
    event::EventState,
    ids::{ChannelNo, LogTimeMs, SeatNo, SectionNo},
    seat_word::SeatWord,
};

/// Places held or sold by who came through a channel: in all, and by area.
pub(crate) type Taken = BTreeMap<ChannelNo, (u32, BTreeMap<SectionNo, u32>)>;

/// A channel as its organizer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelView {
    /// Its key.
    pub key: Box<str>,
    /// Does it take a secret to use it?
    pub has_secret: bool,
    /// When what is unsold goes to the general pool.
    pub release_at_ms: Option<LogTimeMs>,
    /// May its buyers have what everybody may?
    pub general_too: bool,
    /// Seats set aside, sold ones too, ascending; none after the release.
    pub seats: Vec<SeatNo>,
    /// Places of areas set aside, sold ones too.
    pub areas: Vec<(SectionNo, u32)>,
    /// Places set aside that are nobody's.
    pub available: u32,
    /// Places that are held or sold by who came through it.
    pub taken: u32,
    /// Of them, those that are sold.
    pub sold: u32,
}

impl Channel {
    fn view(&self, event: &EventState) -> ChannelView {
        let areas = self.areas.iter().filter(|(_, area)| area.allotted > 0);
        ChannelView {
            key: self.key.clone(),
            has_secret: self.key_hash.is_some(),
            release_at_ms: self.release_at_ms,
            general_too: self.general_too,
            seats: seats_of(&event.seat_map, &self.seats),
            areas: areas.map(|(&section, area)| (section, area.allotted)).collect(),
            available: self.pool.available.iter().flatten().sum(),
            taken: self.taken,
            sold: self.sold,
        }
    }

    /// Does it count who came through it as they are?
    fn counts(&self, taken: &Taken) -> bool {
        let none = (0, BTreeMap::new());
        let (all, areas) = taken.get(&self.number).unwrap_or(&none);
        let mine = self.areas.iter().filter(|(_, area)| area.taken > 0);
        self.taken == *all && mine.map(|(&no, area)| (no, area.taken)).eq(areas.clone())
    }
}

impl EventState {
    /// All channels, in the order in which they were made.
    pub fn channels(&self) -> Vec<ChannelView> {
        let channels = self.channels.iter().flat_map(|channels| channels.iter());
        channels.map(|channel| channel.view(self)).collect()
    }

    /// Marks the seats that are nobody's and set aside; the answer is what is wrong, and by section
    /// what channels should have of areas of which so many places are nobody's.
    pub(crate) fn check_channels(
        &self,
        words: &mut [SeatWord],
        nobodys: impl Fn(SectionNo) -> u32,
        taken: &Taken,
    ) -> Result<Vec<u32>, &'static str> {
        let mut areas = vec![0; self.stock.len()];
        let Some(channels) = &self.channels else {
            return Ok(areas);
        };
        let mut made_again = Channels(Vec::new());
        for channel in channels.iter() {
            if !channel.counts(taken) {
                return Err("a channel miscounts what was taken through it");
            }
            let mut again = channel.clone();
            again.pool.free.fill(0);
            again.pool.available.fill([0; 3]);
            for seat in seats_of(&self.seat_map, &channel.seats) {
                let word = &mut words[seat as usize];
                if *word == SeatWord::SET_ASIDE {
                    return Err("a seat is two channels'");
                }
                if *word == SeatWord::AVAILABLE {
                    *word = SeatWord::SET_ASIDE;
                    let (spot, kind) = self.spot_and_kind(seat);
                    again.pool.shift(&spot, kind, true);
                }
            }
            made_again.0.push(again);
        }
        for (section, set_aside) in areas.iter_mut().enumerate() {
            let section = section as SectionNo;
            if self.seat_map.section(section).is_some_and(|it| it.area_capacity.is_some()) {
                let nobodys = nobodys(section);
                *set_aside = nobodys - made_again.deal_area(section, nobodys);
            }
        }
        let same = |(one, other): (&Channel, &Channel)| {
            (&one.pool.free, &one.pool.available) == (&other.pool.free, &other.pool.available)
        };
        if !channels.iter().zip(made_again.iter()).all(same) {
            return Err("a channel has not what it should");
        }
        let next = channels.next_release_ms();
        if self.clock.release_at_ms != next {
            return Err("an allotment is not released at its time");
        }
        let is_sound = |area: &Area| area.allotted > 0 || area.taken > 0 || area.left() == 0;
        match channels.iter().flat_map(|channel| channel.areas.values()).all(is_sound) {
            true => Ok(areas),
            false => Err("an area is set aside for nothing"),
        }
    }
}
