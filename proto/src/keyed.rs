//! Owns every keyed hash: tokens that prove a hold or an order, and the hashes by which
//! idempotency keys, sessions, addresses and cards stand in the log.
//!
//! All are HMAC-SHA256 under the cluster's secret, each with a label of its own and length-prefixed
//! parts, so that none can stand for another. A token is derived from its id, so no store has to
//! keep it. The secret must never leave this type.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// The cluster's secret: 32 bytes from a file that all edges, allocators and workers share.
#[derive(Clone)]
pub struct Secret {
    mac: Hmac<Sha256>,
}

impl Secret {
    /// From the file's content: at least 32 bytes.
    ///
    /// # Errors
    /// A sentence that says what is wrong, without the content.
    pub fn new(bytes: &[u8]) -> Result<Secret, String> {
        if bytes.len() < 32 {
            return Err(format!("the secret has {} bytes, at least 32 are needed", bytes.len()));
        }
        let mac = Hmac::<Sha256>::new_from_slice(bytes).map_err(|error| error.to_string())?;
        Ok(Secret { mac })
    }

    /// The token that proves a hold to be its bearer's.
    #[must_use]
    pub fn hold_token(&self, hold: u128) -> String {
        token(&self.hash("hold_token", &[&hold.to_be_bytes()]))
    }

    /// Whether the token is that hold's; takes the same time for every wrong one.
    #[must_use]
    pub fn proves_hold(&self, hold: u128, presented: &str) -> bool {
        same(&self.hold_token(hold), presented)
    }

    /// The token that proves an order to be its bearer's.
    #[must_use]
    pub fn order_token(&self, order: u128) -> String {
        token(&self.hash("order_token", &[&order.to_be_bytes()]))
    }

    /// Whether the token is that order's.
    #[must_use]
    pub fn proves_order(&self, order: u128, presented: &str) -> bool {
        same(&self.order_token(order), presented)
    }

    /// How an idempotency key stands in the log. `scope` is the event or the API key, and the kind
    /// of request.
    #[must_use]
    pub fn key_hash(&self, scope: &str, key: &str) -> u128 {
        long(&self.hash("idempotency_key", &[scope.as_bytes(), key.as_bytes()]))
    }

    /// The hash of a request's content, in a canonical form of the caller's choice.
    #[must_use]
    pub fn request_hash(&self, content: &[u8]) -> u64 {
        short(&self.hash("request", &[content]))
    }

    /// How a buyer stands in the log: `kind` is `session`, `email`, `card` or `customer`.
    /// Never 0.
    #[must_use]
    pub fn buyer_hash(&self, kind: &str, value: &str) -> u64 {
        short(&self.hash("buyer", &[kind.as_bytes(), value.as_bytes()])).max(1)
    }

    /// How a channel's secret stands in the log.
    #[must_use]
    pub fn channel_key_hash(&self, event_id: &str, channel: &str, secret: &str) -> [u8; 32] {
        let parts = [event_id.as_bytes(), channel.as_bytes(), secret.as_bytes()];
        self.hash("channel_key", &parts)
    }

    /// How a presale or voucher code stands in the log; it comes from [`normalise_code`].
    #[must_use]
    pub fn code_hash(&self, event_id: &str, code: &str) -> u128 {
        long(&self.hash("code", &[event_id.as_bytes(), code.as_bytes()]))
    }

    /// Any other value bound to a label, e.g. a session cookie's signature.
    #[must_use]
    pub fn sign(&self, label: &str, value: &[u8]) -> [u8; 32] {
        self.hash(label, &[value])
    }

    fn hash(&self, label: &str, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.mac.clone();
        mac.update(&[u8::try_from(label.len()).unwrap_or(u8::MAX)]);
        mac.update(label.as_bytes());
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

/// How an API key is stored and looked up.
#[must_use]
pub fn api_key_hash(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

/// Commits to contact data without telling it (design D15).
#[must_use]
pub fn contact_commitment(salt: &[u8; 16], name: &str, email: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(salt);
    for part in [name, email] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// A presale or voucher code as it counts: small and capital letters are the same, and spaces
/// around it are nothing.
#[must_use]
pub fn normalise_code(code: &str) -> String {
    code.trim().to_ascii_uppercase()
}

/// One spelling for one mailbox: trimmed and in lower case.
#[must_use]
pub fn normalise_email(email: &str) -> String {
    email.trim().to_lowercase()
}

fn token(hash: &[u8; 32]) -> String {
    URL_SAFE_NO_PAD.encode(&hash[..24])
}

fn long(hash: &[u8; 32]) -> u128 {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    u128::from_be_bytes(bytes)
}

fn short(hash: &[u8; 32]) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hash[..8]);
    u64::from_be_bytes(bytes)
}

fn same(expected: &str, presented: &str) -> bool {
    expected.as_bytes().ct_eq(presented.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_prove_only_their_own_thing() {
        let secret = Secret::new(&[7; 32]).expect("long enough");
        let token = secret.hold_token(1);
        assert!(secret.proves_hold(1, &token));
        assert!(!secret.proves_hold(2, &token));
        assert!(!secret.proves_order(1, &token));
        assert!(!Secret::new(&[8; 32]).expect("long enough").proves_hold(1, &token));
        assert!(Secret::new(b"short").is_err());
    }

    #[test]
    fn parts_cannot_flow_into_each_other() {
        let secret = Secret::new(&[7; 32]).expect("long enough");
        assert_ne!(secret.key_hash("ab", "c"), secret.key_hash("a", "bc"));
        assert_ne!(secret.buyer_hash("email", "a@b"), secret.buyer_hash("card", "a@b"));
        assert_ne!(secret.code_hash("evt_1", "FANS"), secret.code_hash("evt_2", "FANS"));
        assert_ne!(secret.code_hash("evt_1", "FANS"), secret.key_hash("evt_1", "FANS"));
        let channel = |event, channel, key| secret.channel_key_hash(event, channel, key);
        assert_ne!(channel("evt_1", "fans", "key"), channel("evt_2", "fans", "key"));
        assert_ne!(channel("evt_1", "fans", "key"), channel("evt_1", "fan", "skey"));
    }
}
