//! `PutApiKey` and `PutSigningKey`: hashes of API keys and public keys of tickets. Both are
//! idempotent by content; what is stored is never replaced.

use crate::{
    change::Change,
    codec::{Reader, put_bytes, put_varint},
    control::ApiKeyRecord,
    error::DecodeError,
    limits::{COMMAND_BYTES_MAX, CONTROL_KEYS_MAX, NAME_BYTES_MAX},
    outcome::{Done, Outcome, Rejection},
    shard::Shard,
};

/// Store the SHA-256 of an API key and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutApiKey {
    /// SHA-256 of the key.
    pub key_hash: [u8; 32],
    /// `organizer`, `support`, `finance` or `operator`.
    pub role: Box<str>,
    /// Whose key it is, e.g. an organizer's id.
    pub owner: Box<str>,
}

/// Store a public key with which tickets are checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutSigningKey {
    /// Its number, derived from the key by its owner; the same number with another key is refused.
    pub key_id: u32,
    /// Ed25519.
    pub public_key: [u8; 32],
}

impl PutApiKey {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.key_hash);
        put_bytes(out, self.role.as_bytes());
        put_bytes(out, self.owner.as_bytes());
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            key_hash: r.array()?,
            role: r.str(COMMAND_BYTES_MAX, "role")?,
            owner: r.str(COMMAND_BYTES_MAX, "owner")?,
        })
    }
}

impl PutSigningKey {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.key_id.into());
        out.extend_from_slice(&self.public_key);
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { key_id: r.u32("key_id")?, public_key: r.array()? })
    }
}

fn invalid(field: &'static str, reason: &'static str) -> Outcome {
    Outcome::rejected(Rejection::Invalid { field, reason })
}

impl Shard {
    pub(crate) fn put_api_key(
        &mut self,
        command: &PutApiKey,
        changes: &mut Vec<Change>,
    ) -> Outcome {
        let record = ApiKeyRecord { role: command.role.clone(), owner: command.owner.clone() };
        if let Some(known) = self.control.api_keys.get(&command.key_hash) {
            if *known == record {
                return Outcome::replayed(Done::Ok);
            }
            return invalid("key_hash", "is another key's");
        }
        if self.control.api_keys.len() >= CONTROL_KEYS_MAX {
            return Outcome::rejected(Rejection::Overloaded { bound: "control_keys_max" });
        }
        if !matches!(&*record.role, "organizer" | "support" | "finance" | "operator") {
            return invalid("role", "must be organizer, support, finance or operator");
        }
        if record.owner.is_empty() || record.owner.len() > NAME_BYTES_MAX {
            return invalid("owner", "must have 1 to 64 bytes");
        }
        self.control.api_keys.insert(command.key_hash, record);
        changes.push(Change::ApiKey { key_hash: command.key_hash });
        Outcome::done(Done::Ok)
    }

    pub(crate) fn put_signing_key(
        &mut self,
        command: &PutSigningKey,
        changes: &mut Vec<Change>,
    ) -> Outcome {
        if let Some(known) = self.control.signing_keys.get(&command.key_id) {
            if *known == command.public_key {
                return Outcome::replayed(Done::Ok);
            }
            return invalid("key_id", "is another key's");
        }
        if self.control.signing_keys.len() >= CONTROL_KEYS_MAX {
            return Outcome::rejected(Rejection::Overloaded { bound: "control_keys_max" });
        }
        self.control.signing_keys.insert(command.key_id, command.public_key);
        changes.push(Change::SigningKey { key_id: command.key_id });
        Outcome::done(Done::Ok)
    }
}
