//! Owns commands as they go over the stream: encoded once, before their item has a tag.
//!
//! On the wire a packed item is a `SubmitItem`. Must never differ from it: a test holds that.

use bytes::Bytes;
use prost::Message as _;

use crate::allocator::Command;

/// A command, encoded; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct PackedCommand(Bytes);

impl PackedCommand {
    /// Encodes a command.
    #[must_use]
    pub fn new(command: &Command) -> PackedCommand {
        PackedCommand(command.encode_to_vec().into())
    }

    /// The item of a stream that submits this command.
    #[must_use]
    pub fn item(&self, shard: u32, budget_ms: u32) -> PackedItem {
        PackedItem { tag: 0, shard, budget_ms, command: self.0.clone() }
    }
}

/// A `SubmitRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PackedRequest {
    /// Its items.
    #[prost(message, repeated, tag = "1")]
    pub items: Vec<PackedItem>,
}

/// A `SubmitItem`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PackedItem {
    /// Unique among the unanswered items of a stream.
    #[prost(uint64, tag = "1")]
    pub tag: u64,
    #[prost(uint32, tag = "2")]
    shard: u32,
    #[prost(uint32, tag = "3")]
    budget_ms: u32,
    #[prost(bytes = "bytes", tag = "4")]
    command: Bytes,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocator::{HoldCommand, Idempotency, SubmitItem, SubmitRequest, command::Kind};

    #[test]
    fn a_packed_request_is_a_submit_request_on_the_wire() {
        let key = Bytes::from_static(&[7; 16]);
        let idempotency = Idempotency { key, request: 9, buyer: 3, buyer_is_new: true };
        let hold = HoldCommand {
            event_no: 5,
            hold_id: Bytes::from_static(&[1; 16]),
            idempotency: Some(idempotency),
            ..HoldCommand::default()
        };
        let command = Command { kind: Some(Kind::Hold(hold)) };
        let packed = PackedCommand::new(&command);
        let mut items = vec![packed.item(2, 500), packed.item(3, 400)];
        items[1].tag = 17;
        let command = Some(command);
        let plain = SubmitRequest {
            items: vec![
                SubmitItem { tag: 0, shard: 2, budget_ms: 500, command: command.clone() },
                SubmitItem { tag: 17, shard: 3, budget_ms: 400, command },
            ],
        };
        assert_eq!(PackedRequest { items }.encode_to_vec(), plain.encode_to_vec());
    }
}
