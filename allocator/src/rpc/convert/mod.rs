//! Owns the border between messages and commands: what comes in is checked field by field, what
//! goes out gets its public names and codes.
//!
//! Must never decide anything about seats, nor repeat foreign bytes in an error: an error names
//! the field, says what is wrong and what would be right.

mod channel;
mod codes;
mod command;
mod internal;
mod job;
mod outcome;
mod staff;

pub use channel::{channel, drop_channel, put_channel};
pub use codes::{codes, put_codes};
pub use command::{command, contact, idempotency, state_key};
pub use internal::{decode_command, decode_outcome, encode_command, encode_outcome};
pub use job::{job, job_kind_name, lease_jobs, settle_job, wake_job};
pub use outcome::{
    hold_answer, labelled_place, not_leader, order_answer, order_status_name, outcome, place,
    rejected, rejection, unknown,
};
pub use staff::{kill_seats, rename_tickets, return_seats, swap_seat};

use onsale_mesh::Failure;
use onsale_proto::{Code, id};

/// `invalid_request` for a field, e.g. `items/0/seats`, with what would be right.
#[must_use]
pub fn invalid(field: &str, remedy: &str) -> Failure {
    Failure::invalid(field, remedy)
}

/// `not_found` for a thing, e.g. `hold`.
#[must_use]
pub fn not_found(what: &str) -> Failure {
    Failure::new(Code::NotFound, format!("there is no such {what}"))
}

/// The 16 bytes of a hold's id that lives in `shard`.
pub(crate) fn hold_bytes(field: &str, bytes: &[u8], shard: u32) -> Result<u128, Failure> {
    let hold = id::from_bytes(bytes).ok_or_else(|| invalid(field, "must be 16 bytes"))?;
    in_shard(field, hold, shard)?;
    Ok(hold)
}

/// The 16 bytes of an order's id that lives in `shard`.
pub(crate) fn order_bytes(field: &str, bytes: &[u8], shard: u32) -> Result<u128, Failure> {
    let order = id::from_bytes(bytes).ok_or_else(|| invalid(field, "must be 16 bytes"))?;
    if order & 0xffff != 0 {
        return Err(invalid(field, "must end in 16 zero bits: they number its tickets"));
    }
    in_shard(field, order, shard)?;
    Ok(order)
}

fn in_shard(field: &str, bits: u128, shard: u32) -> Result<(), Failure> {
    if id::shard_of(bits) == shard {
        return Ok(());
    }
    Err(invalid(field, "must begin with the number of the shard it is sent to"))
}

/// A string of `min` to `max` bytes.
pub(crate) fn text(field: &str, value: &str, min: usize, max: usize) -> Result<Box<str>, Failure> {
    if (min..=max).contains(&value.len()) {
        return Ok(value.into());
    }
    Err(invalid(field, &format!("must have {min} to {max} bytes")))
}

/// Exactly `N` bytes.
pub(crate) fn array<const N: usize>(field: &str, bytes: &[u8]) -> Result<[u8; N], Failure> {
    bytes.try_into().map_err(|_| invalid(field, &format!("must be {N} bytes")))
}
