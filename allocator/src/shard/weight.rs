//! Owns how much of an entry's room a command takes.
//!
//! Must never say less than it does take: an entry above its bound is one that no replica can read
//! back, and its shard stands still for good.

use std::sync::Arc;

use onsale_state::{
    Command, CommandKind, Outcome,
    command::HoldItem,
    limits::{BATCH_BYTES_MAX, BATCH_DECODE_BYTES_MAX, COMMAND_BYTES_MAX},
    outcome::Rejection,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use crate::limits::LARGE_COMMAND_BYTES;

/// What a batch has beside its commands, and what a command's times may take at the most.
const SMALL: usize = 96;

const _: () = assert!(BATCH_BYTES_MAX + SMALL < COMMAND_BYTES_MAX);
const _: () = assert!(COMMAND_BYTES_MAX + SMALL < BATCH_DECODE_BYTES_MAX);

/// The bytes that a command takes in an entry, or some more. Cheap for what comes often.
pub(super) fn weight(command: &Command) -> usize {
    match &command.kind {
        CommandKind::Hold(hold) if hold.terms.is_none() => {
            let bytes = |item: &HoldItem| match item {
                HoldItem::Seats(seats) => 8 + seats.len() * 5,
                HoldItem::BestAvailable(_) => 32,
            };
            SMALL + hold.items.iter().map(bytes).sum::<usize>()
        }
        CommandKind::ReleaseHold(_) | CommandKind::ExtendHold(_) | CommandKind::Tick => SMALL,
        _ => SMALL + command.encoded_len(),
    }
}

/// The bytes of a large command among those that may wait; none for all others.
///
/// # Errors
/// There is no room for it now.
pub(super) fn queue_room(
    bytes: &Arc<Semaphore>,
    command: &Command,
) -> Result<Option<OwnedSemaphorePermit>, TryAcquireError> {
    let weight = weight(command);
    if weight < LARGE_COMMAND_BYTES {
        return Ok(None);
    }
    let weight = u32::try_from(weight).unwrap_or(u32::MAX);
    bytes.clone().try_acquire_many_owned(weight).map(Some)
}

/// The answer to a command of this weight that no entry could take.
pub(super) fn too_large(weight: usize) -> Option<Outcome> {
    let reason = "takes more room than one command may";
    let refused = Rejection::Invalid { field: "command", reason };
    (weight > COMMAND_BYTES_MAX).then_some(Outcome { replayed: false, result: Err(refused) })
}

#[cfg(test)]
mod tests {
    use onsale_state::{
        Batch, HoldId,
        command::{
            ChannelEntry, CodeBatch, CodeEffect, CodeTerms, HoldTerms, Idempotency, KillSeats,
            PutChannel, PutCodes, ReleaseHold, ReturnSeats, Selection,
        },
        limits::{CODES_PER_COMMAND_MAX, EVENT_SEATS_MAX},
    };

    use super::*;

    #[test]
    fn what_a_batch_takes_in_can_be_read_back_however_large_its_commands_are() {
        let idempotency = Idempotency { key: 1, request: 2, buyer: 3, buyer_is_new: false };
        let seats: Vec<u32> = (0..EVENT_SEATS_MAX).collect();
        let places = Selection { seats, areas: Vec::new() };
        let terms = CodeTerms {
            label: "l".repeat(64).into(),
            effect: CodeEffect::Presale,
            uses_max: u32::MAX,
            valid_from_ms: u64::MAX,
            valid_until_ms: Some(u64::MAX),
            categories: (0..1_000).collect(),
        };
        let hashes = (0..CODES_PER_COMMAND_MAX as u128).map(|no| u128::MAX - no).collect();
        let batches = vec![CodeBatch { terms, hashes }];
        let entry = ChannelEntry { key: "c".repeat(64).into(), key_hash: Some([9; 32]) };
        let kinds = [
            CommandKind::KillSeats(Box::new(KillSeats {
                event: 1,
                idempotency,
                places: places.clone(),
                reason: "r".repeat(64).into(),
            })),
            CommandKind::ReturnSeats(Box::new(ReturnSeats {
                event: 1,
                idempotency,
                places: places.clone(),
            })),
            CommandKind::PutChannel(Box::new(PutChannel {
                event: 1,
                idempotency,
                key: "k".repeat(64).into(),
                key_hash: Some([7; 32]),
                places,
                release_at_ms: Some(u64::MAX),
                general_too: true,
            })),
            CommandKind::PutCodes(Box::new(PutCodes { event: 1, idempotency, batches })),
            CommandKind::Hold(onsale_state::command::Hold {
                event: 1,
                hold: HoldId(1),
                idempotency,
                items: [HoldItem::Seats((0..64).map(|no| u32::MAX - no).collect())].into(),
                terms: Some(Box::new(HoldTerms {
                    types: std::iter::repeat_n(63, 64).collect(),
                    channel: Some(entry),
                    code: Some(u128::MAX),
                })),
            }),
            CommandKind::ReleaseHold(ReleaseHold { hold: HoldId(u128::MAX) }),
        ];
        for kind in kinds {
            let command = Command { not_after_ms: u64::MAX, kind };
            let (weight, bytes) = (weight(&command), command.encoded_len());
            assert!(weight >= bytes, "{weight} for {bytes} bytes");
            let batch = Batch { log_time_ms: 0, commands: vec![command] };
            let mut written = Vec::new();
            batch.encode(&mut written);
            assert!(Batch::decode(&written).expect("reads") == batch);
        }
    }

    #[test]
    fn a_command_that_no_entry_could_take_is_refused_and_the_largest_that_fits_is_not() {
        assert!(too_large(COMMAND_BYTES_MAX + 1).is_some());
        assert!(too_large(COMMAND_BYTES_MAX).is_none());
    }
}
