//! What few holds say beside their wishes. Must never be looked at where a hold says nothing.

use crate::{
    channels::ChannelKeyHash,
    codec::{Reader, Sink, put_u8, put_u128, put_varint},
    error::DecodeError,
    ids::{CodeHash, TypeNo},
    limits::COMMAND_BYTES_MAX,
};

/// What few buyers say beside their wishes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HoldTerms {
    /// Ticket types, one a place, in the order of the wishes; empty: all of the first type.
    pub types: Vec<TypeNo>,
    /// The channel that the buyer comes through.
    pub channel: Option<ChannelEntry>,
    /// Keyed hash of the code that the buyer brought.
    pub code: Option<CodeHash>,
}

/// A way in to places that are set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelEntry {
    /// The channel's key.
    pub key: Box<str>,
    /// Keyed hash of the secret that the buyer brought; made by who knows the cluster's secret, so
    /// that nobody else can.
    pub key_hash: Option<ChannelKeyHash>,
}

impl HoldTerms {
    pub(super) fn encode(&self, out: &mut impl Sink) {
        put_varint(out, self.types.len() as u64);
        for &no in &self.types {
            put_varint(out, no.into());
        }
        put_u8(out, self.channel.is_some().into());
        if let Some(channel) = &self.channel {
            channel.encode(out);
        }
        put_u8(out, self.code.is_some().into());
        if let Some(code) = self.code {
            put_u128(out, code);
        }
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let types = r.count(usize::MAX, 1, "types")?;
        let types = (0..types).map(|_| r.u16("a type")).collect::<Result<_, _>>()?;
        Ok(Self { types, channel: r.opt(ChannelEntry::decode)?, code: r.opt(Reader::u128)? })
    }
}

impl ChannelEntry {
    fn encode(&self, out: &mut impl Sink) {
        put_varint(out, self.key.len() as u64);
        self.key.bytes().for_each(|byte| put_u8(out, byte));
        put_u8(out, self.key_hash.is_some().into());
        self.key_hash.iter().flatten().for_each(|&byte| put_u8(out, byte));
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let key = r.str(COMMAND_BYTES_MAX, "a channel's key")?;
        Ok(Self { key, key_hash: r.opt(Reader::array)? })
    }
}
