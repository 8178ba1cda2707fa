//! Channels: whose a place is that nobody has is asked each time.

use std::collections::{BTreeMap, BTreeSet};

use onsale_state::{
    command::{DropChannel, Hold, PutChannel},
    *,
};

use super::{Naive, invalid, places::has_seats};

#[derive(Clone, Debug)]
pub struct NaiveChannel {
    pub key: String,
    pub number: u32,
    pub hash: Option<[u8; 32]>,
    pub release_at: Option<u64>,
    pub general_too: bool,
    pub seats: BTreeSet<u32>,
    pub areas: BTreeMap<u16, u32>,
}

/// Where a hold's places may come from.
#[derive(Clone, Copy)]
pub enum Pool {
    General,
    Own(u32),
    Both(u32),
}

impl Naive {
    /// Places that are held or sold by who came through a channel.
    pub fn through(&self, event: u32, number: u32) -> Vec<Place> {
        let alive = |state| matches!(state, HoldState::Live | HoldState::InCheckout);
        let holds = self
            .holds
            .values()
            .filter(|hold| hold.event == event && hold.channel == number && alive(hold.state));
        let held = holds.flat_map(|hold| hold.answer.places.to_vec());
        held.chain(self.bought_through(event, number)).collect()
    }

    fn bought_through(&self, event: u32, number: u32) -> Vec<Place> {
        let orders = self.orders.values().filter(|order| {
            order.event == event && order.channel == number && has_seats(order.status)
        });
        orders.flat_map(|order| order.places.clone()).collect()
    }

    /// Whose places of an area are that nobody has: each channel's, and everybody's.
    pub fn dealt_area(&self, event: u32, section: u16) -> (BTreeMap<u32, u32>, u32) {
        let (held, sold) = self.area(event, section);
        let capacity = self.capacity(event, section).unwrap_or(0);
        let mut rest = capacity - held - sold - self.killed(event, section);
        let mut dealt = BTreeMap::new();
        for channel in &self.events[&event].channels {
            let used = self.through(event, channel.number);
            let used = used.iter().filter(|p| p.seat.is_none() && p.section == section).count();
            let allotted = channel.areas.get(&section).copied().unwrap_or(0);
            let part = rest.min(allotted.saturating_sub(used as u32));
            dealt.insert(channel.number, part);
            rest -= part;
        }
        (dealt, rest)
    }

    /// Places of an area that readers see as held.
    pub fn shown_held(&self, event: u32, section: u16) -> u32 {
        let set_aside: u32 = self.dealt_area(event, section).0.values().sum();
        self.area(event, section).0 + set_aside
    }

    fn owner(&self, event: u32, seat: u32) -> Option<&NaiveChannel> {
        self.events[&event].channels.iter().find(|channel| channel.seats.contains(&seat))
    }

    /// When a seat that is set aside is everybody's by itself; 0 if never.
    pub fn set_aside_until(&self, event: u32, seat: u32) -> Option<u64> {
        self.owner(event, seat).map(|channel| channel.release_at.unwrap_or(0))
    }

    /// May the seat be had from this pool?
    pub fn has(&self, event: u32, seat: u32, pool: Pool) -> bool {
        let owner = self.owner(event, seat).map(|channel| channel.number);
        self.plain_seat(event, seat).0 == SeatState::Available
            && match pool {
                Pool::General => owner.is_none(),
                Pool::Own(number) => owner == Some(number),
                Pool::Both(number) => owner.is_none_or(|owner| owner == number),
            }
    }

    /// How many places of an area this pool has.
    pub fn left(&self, event: u32, section: u16, pool: Pool) -> u32 {
        let (dealt, general) = self.dealt_area(event, section);
        let own = |number| dealt.get(&number).copied().unwrap_or(0);
        match pool {
            Pool::General => general,
            Pool::Own(number) => own(number),
            Pool::Both(number) => general + own(number),
        }
    }

    /// The channel that a hold comes through; 0 is none.
    pub fn channel_of(&self, asked: &Hold) -> Result<u32, Rejection> {
        let Some(entry) = asked.terms.as_ref().and_then(|terms| terms.channel.as_ref()) else {
            return Ok(0);
        };
        let channels = &self.events[&asked.event].channels;
        match channels.iter().find(|channel| *channel.key == *entry.key) {
            Some(it) if it.hash.is_none() || it.hash == entry.key_hash => Ok(it.number),
            _ => Err(Rejection::ChannelForbidden),
        }
    }

    /// The pools in which a hold looks, one after the other.
    pub fn pools(&self, asked: &Hold) -> Vec<Pool> {
        let number = self.channel_of(asked).expect("it was admitted");
        let channels = &self.events[&asked.event].channels;
        match channels.iter().find(|channel| channel.number == number) {
            None => vec![Pool::General],
            Some(it) if it.general_too => vec![Pool::Own(number), Pool::Both(number)],
            Some(_) => vec![Pool::Own(number)],
        }
    }

    pub(super) fn put_channel(&mut self, asked: &PutChannel) -> Result<Done, Rejection> {
        let no = asked.event;
        if self.events.contains_key(&no) && !(1..=64).contains(&asked.key.len()) {
            return invalid("key");
        }
        self.check_places(no, &asked.places)?;
        if asked.release_at_ms.is_some_and(|at| at <= self.now) {
            return invalid("release_at");
        }
        let event = &self.events[&no];
        let known = event.channels.iter().find(|channel| *channel.key == *asked.key);
        if known.is_none() && event.channels.len() >= limits::CHANNELS_MAX {
            return Err(Rejection::Overloaded { bound: "channels_max" });
        }
        let number = known.map_or(event.channels_made + 1, |channel| channel.number);
        let its = |seat: u32| known.is_some_and(|channel| channel.seats.contains(&seat));
        let gone = |&seat: &u32| !its(seat) && !self.has(no, seat, Pool::General);
        let seats: Vec<u32> = asked.places.seats.iter().copied().filter(gone).collect();
        let short = |&&(section, places): &&(u16, u32)| {
            let before = known.map_or(0, |it| it.areas.get(&section).copied().unwrap_or(0));
            let used = self.through(no, number);
            let used = used.iter().filter(|p| p.seat.is_none() && p.section == section).count();
            let needs = places.saturating_sub(used as u32);
            places > before && needs > self.left(no, section, Pool::Both(number))
        };
        let short = asked.places.areas.iter().filter(short);
        let areas: Vec<AreaTaken> = short.map(|&(section, _)| self.taken(no, section)).collect();
        if !seats.is_empty() || !areas.is_empty() {
            return Err(Rejection::AllotmentUnavailable { seats, areas });
        }
        let event = self.events.get_mut(&no).expect("event");
        event.channels_made = event.channels_made.max(number);
        event.channels.retain(|channel| channel.number != number);
        event.channels.push(NaiveChannel {
            key: asked.key.to_string(),
            number,
            hash: asked.key_hash,
            release_at: asked.release_at_ms,
            general_too: asked.general_too,
            seats: asked.places.seats.iter().copied().collect(),
            areas: asked.places.areas.iter().copied().collect(),
        });
        event.channels.sort_by_key(|channel| channel.number);
        Ok(Done::Ok)
    }

    pub(super) fn drop_channel(&mut self, asked: &DropChannel) -> Result<Done, Rejection> {
        let Some(event) = self.events.get_mut(&asked.event) else {
            return Err(Rejection::NotFound { what: "event" });
        };
        let before = event.channels.len();
        event.channels.retain(|channel| *channel.key != *asked.key);
        match event.channels.len() == before {
            true => Err(Rejection::NotFound { what: "channel" }),
            false => Ok(Done::Ok),
        }
    }

    /// Allotments whose time has come are everybody's.
    pub(super) fn release_allotments(&mut self) {
        let now = self.now;
        for event in self.events.values_mut() {
            for channel in &mut event.channels {
                if channel.release_at.is_some_and(|at| at <= now) {
                    channel.seats.clear();
                    channel.areas.clear();
                }
            }
        }
    }

    /// When allotments of an event will be released.
    pub fn releases(&self, event: u32) -> impl Iterator<Item = u64> {
        let channels = self.events[&event].channels.iter();
        let allotted = channels.filter(|it| !it.seats.is_empty() || !it.areas.is_empty());
        allotted.filter_map(|channel| channel.release_at)
    }

    pub fn channel_views(&self, event: u32) -> Vec<ChannelView> {
        let view = |channel: &NaiveChannel| {
            let number = channel.number;
            let seats: Vec<u32> = channel.seats.iter().copied().collect();
            let free = seats.iter().filter(|&&seat| self.has(event, seat, Pool::Own(number)));
            let areas = channel.areas.keys().map(|&no| self.left(event, no, Pool::Own(number)));
            ChannelView {
                key: channel.key.as_str().into(),
                has_secret: channel.hash.is_some(),
                release_at_ms: channel.release_at,
                general_too: channel.general_too,
                available: free.count() as u32 + areas.sum::<u32>(),
                areas: channel.areas.iter().map(|(&no, &places)| (no, places)).collect(),
                taken: self.through(event, number).len() as u32,
                sold: self.bought_through(event, number).len() as u32,
                seats,
            }
        };
        self.events[&event].channels.iter().map(view).collect()
    }
}
