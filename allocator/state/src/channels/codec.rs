//! Owns how an event's channels are written down in a snapshot: what was given to each, by key.
//! Who has what of it is made again from holds and orders.

use super::{Area, Channel, Channels, Pool, seats_of};
use crate::{
    codec::{Reader, put_bytes, put_opt_varint, put_varint},
    error::DecodeError,
    event::EventState,
    ids::SeatNo,
    limits::{CHANNELS_MAX, EVENT_SECTIONS_MAX, NAME_BYTES_MAX},
};

/// Runs of neighbouring seats, each as long as it can be: the first, and how many.
fn runs(seats: &[SeatNo]) -> Vec<(SeatNo, u32)> {
    let runs = seats.chunk_by(|a, b| a + 1 == *b);
    runs.filter_map(|run| Some((*run.first()?, run.len() as u32))).collect()
}

impl Channel {
    fn encode(&self, seats: &[SeatNo], out: &mut Vec<u8>) {
        put_varint(out, self.number.into());
        put_bytes(out, self.key.as_bytes());
        out.push(self.key_hash.is_some().into());
        out.extend(self.key_hash.iter().flatten());
        put_opt_varint(out, self.release_at_ms);
        out.push(self.general_too.into());
        let runs = runs(seats);
        put_varint(out, runs.len() as u64);
        let mut end = 0;
        for (first, seats) in runs {
            put_varint(out, (first - end).into());
            put_varint(out, seats.into());
            end = first + seats;
        }
        let areas: Vec<_> = self.areas.iter().filter(|(_, area)| area.allotted > 0).collect();
        put_varint(out, areas.len() as u64);
        for (&section, area) in areas {
            put_varint(out, section.into());
            put_varint(out, area.allotted.into());
        }
    }

    fn decode(r: &mut Reader<'_>, event: &EventState) -> Result<Self, DecodeError> {
        let mut channel = Channel {
            number: r.u32("a channel's number")?,
            key: r.str(NAME_BYTES_MAX, "a channel's key")?,
            key_hash: r.opt(Reader::array)?,
            release_at_ms: r.opt(Reader::varint)?,
            general_too: r.bool()?,
            seats: vec![0; event.free.len()],
            areas: Default::default(),
            taken: 0,
            sold: 0,
            pool: Pool::new(event),
        };
        channel.decode_seats(r, event)?;
        for _ in 0..r.count(EVENT_SECTIONS_MAX, 2, "areas")? {
            let (section, allotted) = (r.u16("a section")?, r.u32("places")?);
            let spec = event.seat_map.section(section);
            let after = channel.areas.last_key_value().is_none_or(|(&last, _)| last < section);
            if !after || allotted == 0 || spec.is_none_or(|it| it.area_capacity.is_none()) {
                return Err(DecodeError::Invalid { what: "a channel's area" });
            }
            channel.areas.insert(section, Area { allotted, taken: 0 });
        }
        Ok(channel)
    }

    fn decode_seats(&mut self, r: &mut Reader<'_>, event: &EventState) -> Result<(), DecodeError> {
        let of = event.seat_map.seats();
        let mut end: SeatNo = 0;
        for nth in 0..r.count(of as usize, 2, "a channel's seats")? {
            let (gap, seats) = (r.u32("a seat")?, r.u32("seats")?);
            let first = end.checked_add(gap);
            let last = first.and_then(|first| first.checked_add(seats));
            let (Some(first), Some(last)) = (first, last.filter(|&last| last <= of)) else {
                return Err(DecodeError::Invalid { what: "a channel's seats" });
            };
            if seats == 0 || (nth > 0 && gap == 0) {
                return Err(DecodeError::Invalid { what: "a channel's seats" });
            }
            for seat in first..last {
                let (spot, _) = event.spot_and_kind(seat);
                self.seats[spot.word] |= spot.bit;
            }
            end = last;
        }
        Ok(())
    }
}

impl EventState {
    /// Equal channels give equal bytes, whatever was before.
    pub(crate) fn encode_channels(&self, out: &mut Vec<u8>) {
        put_varint(out, self.channels_made.into());
        let channels = self.channels.as_deref();
        put_varint(out, channels.map_or(0, |channels| channels.0.len()) as u64);
        for channel in channels.iter().flat_map(|channels| channels.iter()) {
            channel.encode(&seats_of(&self.seat_map, &channel.seats), out);
        }
    }

    /// Reads what `encode_channels` wrote; nothing is set aside yet.
    pub(crate) fn decode_channels(&mut self, r: &mut Reader<'_>) -> Result<(), DecodeError> {
        let invalid = Err(DecodeError::Invalid { what: "a channel" });
        self.channels_made = r.u32("channels_made")?;
        let mut channels: Vec<Channel> = Vec::new();
        for _ in 0..r.count(CHANNELS_MAX, 7, "channels")? {
            let channel = Channel::decode(r, self)?;
            let last = channels.last().map_or(0, |last| last.number);
            let known = channels.iter().any(|other| other.key == channel.key);
            let both = |other: &Channel| {
                other.seats.iter().zip(&channel.seats).any(|(one, other)| one & other != 0)
            };
            let is_free = !channels.iter().any(both);
            if channel.number <= last || known || !is_free || channel.key.is_empty() {
                return invalid;
            }
            channels.push(channel);
        }
        if channels.last().is_some_and(|last| last.number > self.channels_made) {
            return invalid;
        }
        self.channels = (!channels.is_empty()).then(|| Box::new(Channels(channels)));
        Ok(())
    }
}
