//! Owns the two ways of `RaftService.Propose`: one internal command in, its outcome out.
//!
//! Must never be reachable by buyers: the command is taken as it is.

use bytes::Bytes;
use onsale_mesh::Failure;
use onsale_proto::{Code, allocator as pb};
use onsale_state::command::{Batch, Command, CommandKind};
use prost::Message as _;

use super::invalid;

/// A command as it travels to the leader of its shard.
#[must_use]
pub fn encode_command(kind: CommandKind) -> Bytes {
    let commands = vec![Command { not_after_ms: 0, kind }];
    let mut bytes = Vec::new();
    Batch { log_time_ms: 0, commands }.encode(&mut bytes);
    bytes.into()
}

/// The command that travelled.
///
/// # Errors
/// `invalid_request` when the bytes are not exactly one command.
pub fn decode_command(bytes: &[u8]) -> Result<CommandKind, Failure> {
    let batch = Batch::decode(bytes).map_err(|error| invalid("payload", &error.to_string()))?;
    match <[Command; 1]>::try_from(batch.commands) {
        Ok([command]) => Ok(command.kind),
        Err(_) => Err(invalid("payload", "must be one command")),
    }
}

/// An outcome on its way back.
#[must_use]
pub fn encode_outcome(outcome: &pb::Outcome) -> Bytes {
    outcome.encode_to_vec().into()
}

/// The outcome that came back; a rejection is an error with its code.
///
/// # Errors
/// The rejection's code; `internal` when the bytes are no outcome.
pub fn decode_outcome(bytes: &[u8]) -> Result<pb::Outcome, Failure> {
    let outcome = pb::Outcome::decode(bytes)
        .map_err(|_| Failure::new(Code::Internal, "the leader's answer is no outcome"))?;
    match outcome.result {
        Some(pb::outcome::Result::Rejected(rejected)) => Err(rejected.into()),
        _ => Ok(outcome),
    }
}
