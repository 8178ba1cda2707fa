//! Owns the form of a ticket's code: a JSON Web Signature (RFC 7515, compact, EdDSA of RFC 8037)
//! over the ticket's id, event and seat, and the key set with which anyone checks it.
//!
//! The code is a function of the ticket and its signature, so only the 64 signature bytes are
//! stored. Must never hold a private key: signing is the payment workers' part.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// What is signed: `header.payload`, both base64url.
#[must_use]
pub fn signing_input(
    key_id: u32,
    ticket_id: &str,
    event_id: &str,
    seat_id: Option<&str>,
) -> String {
    let header = json!({"alg": "EdDSA", "kid": key_name(key_id), "typ": "JWT"});
    let payload = match seat_id {
        Some(seat) => json!({"tkt": ticket_id, "evt": event_id, "seat": seat}),
        None => json!({"tkt": ticket_id, "evt": event_id}),
    };
    format!("{}.{}", encode(&header), encode(&payload))
}

/// The whole code: the signing input and the signature.
#[must_use]
pub fn assemble(signing_input: &str, signature: &[u8]) -> String {
    format!("{signing_input}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// One public key as a JSON Web Key.
#[must_use]
pub fn json_web_key(key_id: u32, public_key: &[u8]) -> Value {
    json!({
        "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig",
        "kid": key_name(key_id), "x": URL_SAFE_NO_PAD.encode(public_key),
    })
}

/// A key's number in public spelling.
#[must_use]
pub fn key_name(key_id: u32) -> String {
    format!("{key_id:08x}")
}

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}
