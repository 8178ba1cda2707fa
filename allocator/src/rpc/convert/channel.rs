//! Owns the border for channels: what organizers set aside, and how buyers name the one they come
//! through.
//!
//! Must never see a channel's secret, only its keyed hash.

use bytes::Bytes;
use onsale_mesh::Failure;
use onsale_proto::allocator as pb;
use onsale_state::{
    ChannelKeyHash, ChannelView,
    command::{ChannelEntry, CommandKind, DropChannel, PutChannel},
    limits::NAME_BYTES_MAX,
};

use super::{
    array, idempotency,
    outcome::area_quantity,
    staff::{event_no, selection},
    text,
};

/// The channel that a message describes.
///
/// # Errors
/// `invalid_request` with the field and what it must be.
pub fn put_channel(message: pb::PutChannelRequest) -> Result<CommandKind, Failure> {
    Ok(CommandKind::PutChannel(Box::new(PutChannel {
        event: event_no(message.event_no)?,
        idempotency: idempotency(message.idempotency.as_ref())?,
        key: text("key", &message.key, 1, NAME_BYTES_MAX)?,
        key_hash: key_hash("key_hash", &message.key_hash)?,
        places: selection(message.seats, &message.areas)?,
        release_at_ms: message.release_at_ms,
        general_too: message.general_too,
    })))
}

/// The channel that a message gives up.
///
/// # Errors
/// `invalid_request` with the field and what it must be.
pub fn drop_channel(message: &pb::DropChannelRequest) -> Result<CommandKind, Failure> {
    Ok(CommandKind::DropChannel(Box::new(DropChannel {
        event: event_no(message.event_no)?,
        idempotency: idempotency(message.idempotency.as_ref())?,
        key: text("key", &message.key, 1, NAME_BYTES_MAX)?,
    })))
}

/// The channel through which a buyer comes.
pub(super) fn entry(message: &pb::ChannelEntry) -> Result<ChannelEntry, Failure> {
    Ok(ChannelEntry {
        key: text("channel/key", &message.key, 1, NAME_BYTES_MAX)?,
        key_hash: key_hash("channel/key_hash", &message.key_hash)?,
    })
}

/// A channel as its organizer sees it.
#[must_use]
pub fn channel(channel: ChannelView) -> pb::Channel {
    pb::Channel {
        key: channel.key.into(),
        has_secret: channel.has_secret,
        release_at_ms: channel.release_at_ms,
        general_too: channel.general_too,
        seats: channel.seats,
        areas: channel.areas.into_iter().map(area_quantity).collect(),
        available: channel.available,
        taken: channel.taken,
        sold: channel.sold,
    }
}

fn key_hash(field: &str, bytes: &Bytes) -> Result<Option<ChannelKeyHash>, Failure> {
    if bytes.is_empty() { Ok(None) } else { array(field, bytes).map(Some) }
}
