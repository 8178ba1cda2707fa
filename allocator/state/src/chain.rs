//! Owns the hash chain over entries, outcomes and changes: replicas that decide differently have
//! different chains at once.
//!
//! Must never see contact data, nor a slot.

use crate::{
    audit::{put_change, put_outcome},
    change::Change,
    codec::put_varint,
    command::{Batch, Command, CommandKind, Hold, HoldItem},
    ids::{HoldId, SeatNo},
    outcome::{Done, Held, Outcome, Rejection},
    seat_word::SeatState,
    shard::{Shard, key_tag},
};

/// How a step is written: in full, or in a short form for the three commonest.
const FULL: u8 = 0;
const GRANTED: u8 = 1;
const REFUSED: u8 = 2;
const RELEASED: u8 = 3;

/// The next link of a shard's chain while its entry is applied:
/// BLAKE3(chain ‖ index ‖ log time ‖ changes by time alone ‖ for each command: command without
/// contact, outcome, changes ‖ changes at the end).
///
/// A short form leaves out only what follows from what it has: it is taken when outcome and changes
/// are compared with what they would be, and are that.
pub(crate) struct Link {
    /// What was written, and room behind it.
    bytes: Vec<u8>,
    /// Where the room begins.
    end: usize,
    now: u64,
}

/// Bytes of a step in a short form at most: head, a time, and each seat's share.
const LINE_MAX: usize = HEAD + 8 + 16 * SHORT_SEATS_MAX;

/// Room that is made at a time.
const ROOM: usize = 1024;

const _: () = {
    assert!(LINE_MAX <= ROOM, "there is room for a line");
    assert!(HEAD + 1 + 2 * 4 * SHORT_SEATS_MAX <= LINE_MAX, "a refusal fits a line");
    assert!(RELEASED_HEAD + 4 * SHORT_SEATS_MAX <= LINE_MAX, "a release fits a line");
    assert!(SHORT_SEATS_MAX <= u8::MAX as usize, "a line counts its seats in a byte");
};

impl Link {
    /// Begins; what time alone ended is told first. `bytes` is only room.
    pub(crate) fn begin(
        shard: &Shard,
        batch: &Batch,
        changes: &[Change],
        mut bytes: Vec<u8>,
    ) -> Self {
        bytes.clear();
        bytes.extend_from_slice(&shard.chain);
        put_varint(&mut bytes, shard.last_index);
        put_varint(&mut bytes, batch.log_time_ms);
        put_varint(&mut bytes, shard.log_time_ms);
        put_varint(&mut bytes, batch.commands.len() as u64);
        let mut link = Self { end: bytes.len(), bytes, now: shard.log_time_ms };
        put_changes(changes, link.now, link.more());
        link.end = link.bytes.len();
        link
    }

    /// A command and what came of it.
    #[inline]
    pub(crate) fn step(&mut self, command: &Command, outcome: &Outcome, changes: &[Change]) {
        let is_short = match (&command.kind, &outcome.result) {
            (CommandKind::Hold(hold), Ok(Done::Held(held))) => {
                !outcome.replayed && self.granted(command.not_after_ms, hold, held, changes)
            }
            (CommandKind::Hold(hold), Err(Rejection::SeatUnavailable { seats })) => {
                changes.is_empty() && self.refused(command.not_after_ms, hold, seats)
            }
            (CommandKind::ReleaseHold(release), Ok(Done::Ok)) => {
                !outcome.replayed && self.released(command.not_after_ms, release.hold, changes)
            }
            _ => false,
        };
        if !is_short {
            self.full(command, outcome, changes);
        }
    }

    /// What came at the end, and the link.
    pub(crate) fn finish(mut self, changes: &[Change]) -> ([u8; 32], Vec<u8>) {
        put_changes(changes, self.now, self.more());
        (*blake3::hash(&self.bytes).as_bytes(), self.bytes)
    }

    /// The bytes without the room, to add others.
    fn more(&mut self) -> &mut Vec<u8> {
        self.bytes.truncate(self.end);
        &mut self.bytes
    }

    /// Room for a line. It is written where it stands: bytes that are copied right after they were
    /// written make the processor wait.
    #[inline(always)]
    fn line(&mut self) -> &mut [u8; LINE_MAX] {
        if self.bytes.len() < self.end + LINE_MAX {
            self.bytes.resize(self.end + ROOM, 0);
        }
        match self.bytes[self.end..].first_chunk_mut() {
            Some(line) => line,
            None => panic!("there is no room for a line"),
        }
    }

    fn full(&mut self, command: &Command, outcome: &Outcome, changes: &[Change]) {
        let now = self.now;
        let bytes = self.more();
        bytes.push(FULL);
        command.encode_for_chain(now, bytes);
        let asked = match &command.kind {
            CommandKind::Hold(command) => Some(command.hold),
            _ => None,
        };
        put_outcome(bytes, outcome, asked, now);
        put_changes(changes, now, bytes);
        self.end = self.bytes.len();
    }

    /// Named seats, granted at once, told as one change.
    #[inline(always)]
    fn granted(&mut self, not_after: u64, hold: &Hold, held: &Held, changes: &[Change]) -> bool {
        let Some(named) = named(hold) else { return false };
        let [Change::Seats { event, state: SeatState::Held, seats, key_tag: tag, until_ms }] =
            changes
        else {
            return false;
        };
        let head = (held.hold, held.held_at_ms) == (hold.hold, self.now);
        let told = (*event, *tag, *until_ms)
            == (hold.event, key_tag(hold.idempotency.key), held.expires_at_ms);
        let count = (held.places.len(), seats.len()) == (named.len(), named.len());
        let the_same = named.iter().zip(&held.places).zip(seats).all(|((&seat, place), &told)| {
            (place.seat, place.ticket_type, told) == (Some(seat), 0, seat)
        });
        if !(head && told && count && the_same) {
            return false;
        }
        let line = self.line();
        put_head(line, GRANTED, not_after, hold, named.len());
        line[HEAD..HEAD + 8].copy_from_slice(&held.expires_at_ms.to_le_bytes());
        let mut at = HEAD + 8;
        for (place, bytes) in held.places.iter().zip(line[at..].chunks_exact_mut(16)) {
            bytes[..4].copy_from_slice(&place.seat.unwrap_or(0).to_le_bytes());
            bytes[4..6].copy_from_slice(&place.section.to_le_bytes());
            bytes[6..8].copy_from_slice(&place.category.to_le_bytes());
            bytes[8..].copy_from_slice(&place.price_minor.to_le_bytes());
            at += 16;
        }
        self.end += at;
        true
    }

    /// Named seats that are not all to be had.
    #[inline(always)]
    fn refused(&mut self, not_after_ms: u64, hold: &Hold, seats: &[SeatNo]) -> bool {
        let Some(named) = named(hold).filter(|named| seats.len() <= named.len()) else {
            return false;
        };
        let line = self.line();
        put_head(line, REFUSED, not_after_ms, hold, named.len());
        let at = HEAD + put_seats(&mut line[HEAD..], named);
        line[at] = seats.len() as u8;
        self.end += at + 1 + put_seats(&mut line[at + 1..], seats);
        true
    }

    /// A hold given back, told as one change.
    #[inline(always)]
    fn released(&mut self, not_after_ms: u64, hold: HoldId, changes: &[Change]) -> bool {
        let [Change::Seats { event, state: SeatState::Available, seats, key_tag: 0, until_ms: 0 }] =
            changes
        else {
            return false;
        };
        if seats.len() > SHORT_SEATS_MAX {
            return false;
        }
        let line = self.line();
        line[0] = RELEASED;
        line[1] = seats.len() as u8;
        line[2..6].copy_from_slice(&event.to_le_bytes());
        line[6..22].copy_from_slice(&hold.0.to_le_bytes());
        line[22..RELEASED_HEAD].copy_from_slice(&not_after_ms.to_le_bytes());
        self.end += RELEASED_HEAD + put_seats(&mut line[RELEASED_HEAD..], seats);
        true
    }
}

fn put_changes(changes: &[Change], now: u64, bytes: &mut Vec<u8>) {
    put_varint(bytes, changes.len() as u64);
    for change in changes {
        put_change(bytes, change, now);
    }
}

/// Bytes of what [`put_head`] writes.
const HEAD: usize = 63;

/// Everything about a hold of named seats but the seats.
#[inline(always)]
fn put_head(line: &mut [u8; LINE_MAX], form: u8, not_after_ms: u64, hold: &Hold, seats: usize) {
    let idempotency = &hold.idempotency;
    line[0] = form;
    line[1] = seats as u8;
    line[2] = idempotency.buyer_is_new.into();
    line[3..7].copy_from_slice(&hold.event.to_le_bytes());
    line[7..23].copy_from_slice(&hold.hold.0.to_le_bytes());
    line[23..39].copy_from_slice(&idempotency.key.to_le_bytes());
    line[39..47].copy_from_slice(&idempotency.request.to_le_bytes());
    line[47..55].copy_from_slice(&idempotency.buyer.to_le_bytes());
    line[55..HEAD].copy_from_slice(&not_after_ms.to_le_bytes());
}

/// Writes seats; how many bytes.
#[inline(always)]
fn put_seats(line: &mut [u8], seats: &[SeatNo]) -> usize {
    for (seat, bytes) in seats.iter().zip(line.chunks_exact_mut(4)) {
        bytes.copy_from_slice(&seat.to_le_bytes());
    }
    4 * seats.len()
}

/// Bytes of a release but its seats.
const RELEASED_HEAD: usize = 30;

/// Seats of a step in a short form.
const SHORT_SEATS_MAX: usize = 8;

/// The seats of a hold that is one wish for a few named ones. The wish is taken apart to the last
/// field, so that none can be added that a short form would not see.
#[inline(always)]
fn named(hold: &Hold) -> Option<&[SeatNo]> {
    let Hold { event: _, hold: _, idempotency: _, items, terms } = hold;
    match items.as_slice() {
        [HoldItem::Seats(seats)] if terms.is_none() && seats.len() <= SHORT_SEATS_MAX => {
            Some(seats)
        }
        _ => None,
    }
}
