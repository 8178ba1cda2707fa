//! Channels in the making, and ways in.

use onsale_state::command::{ChannelEntry, CommandKind, DropChannel, PutChannel};

use super::{Draft, Writer, selection};
use crate::naive::{Naive, NaiveChannel, Pool};

/// Channels are few, so that they meet.
const CHANNELS: [(&str, Option<[u8; 32]>); 4] =
    [("fans", None), ("club", Some([1; 32])), ("box", Some([2; 32])), ("", None)];

/// A way in that mostly fits, for every other hold of an event that has channels.
pub fn a_channel(event: u32, draft: Draft, model: &Naive) -> Option<ChannelEntry> {
    let known = &model.events.get(&event)?.channels;
    if draft.a / 16 % 2 == 0 || known.is_empty() {
        return (draft.a % 64 == 5).then(|| ChannelEntry { key: "nobody".into(), key_hash: None });
    }
    let channel = &known[usize::from(draft.b / 8) % known.len()];
    let key_hash = if draft.b % 16 == 7 { Some([9; 32]) } else { channel.hash };
    Some(ChannelEntry { key: channel.key.as_str().into(), key_hash })
}

impl Writer {
    /// Mostly put; seats that are had go in now and then.
    pub(super) fn channel(&mut self, draft: Draft, model: &Naive) -> CommandKind {
        let Draft { a, b, c, d, .. } = draft;
        let (key, key_hash) = CHANNELS[usize::from(c % 13 / 4)];
        let event = [1, 1, 1, 3, 4, 1, 2, 7][usize::from(d % 8)];
        let idempotency = self.idempotency(draft);
        if d / 8 % 4 == 0 {
            let key = key.into();
            return CommandKind::DropChannel(Box::new(DropChannel { event, idempotency, key }));
        }
        let mut places = selection(Draft { d: 0, ..draft }).1;
        let seats = model.events.get(&event).map_or(0, |event| event.seats.len() as u32);
        places.seats =
            (0..seats).filter(|seat| (seat + u32::from(a)) % 24 < u32::from(b % 14)).collect();
        if d / 32 % 8 > 0 {
            let channels = model.events.get(&event).map(|event| &event.channels);
            let own = |seat: &u32| {
                let has = |channel: &&NaiveChannel| channel.seats.contains(seat);
                let owner = channels.and_then(|channels| channels.iter().find(has));
                owner.is_some_and(|owner| owner.key == key)
            };
            places.seats.retain(|seat| own(seat) || model.has(event, *seat, Pool::General));
        }
        let area = |no: u16| (no, u32::from(b / 16 % 5) + 1);
        places.areas = match (event, c / 64 % 4) {
            (1, 0) => vec![area(2), area(3)],
            (1, 1) => vec![area(3)],
            (2, 0 | 1) => vec![area(0)],
            (3, 0 | 1) => vec![area(1), area(2)],
            _ => vec![],
        };
        CommandKind::PutChannel(Box::new(PutChannel {
            event,
            idempotency,
            key: key.into(),
            key_hash,
            places,
            release_at_ms: (a / 32 % 3 > 0).then(|| model.now + u64::from(a / 128 % 5) * 20_000),
            general_too: b / 128 % 2 == 1,
        }))
    }
}
