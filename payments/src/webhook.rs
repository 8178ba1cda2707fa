//! Owns webhooks: is it the gateway's, and whose job should look again.
//!
//! A webhook is a hint. Its content is never trusted, even when the signature is right: the
//! payment it names is fetched from the gateway, and the order that payment names is woken, whose
//! job then asks the gateway itself. So doubled, late and reordered webhooks change nothing.
//! Must never read a body before its signature was checked over the bytes as they came.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use onsale_mesh::{Deadline, Failure, ShardClient};
use onsale_proto::{Code, allocator::WakeJobRequest, id};
use serde::Deserialize;
use sha2::Sha256;
use tokio::sync::Semaphore;

use crate::{
    gateway::{Answer, Status, Stripe, is_id},
    limits::{
        WAKE_BUDGET, WEBHOOK_BYTES_MAX, WEBHOOK_SIGNATURE_BYTES_MAX, WEBHOOK_SIGNATURES_MAX,
        WEBHOOK_TOLERANCE_SECONDS, WEBHOOKS_IN_FLIGHT_MAX,
    },
    metrics as names,
};

/// Events after which a waiting job finds something new.
const NEWS: [&str; 4] = [
    "payment_intent.amount_capturable_updated",
    "payment_intent.payment_failed",
    "payment_intent.canceled",
    "payment_intent.succeeded",
];

/// Why a webhook is not the gateway's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forged {
    /// No time, no signature, or nonsense.
    #[error("the signature header is not well formed")]
    Malformed,
    /// Sent too long ago, or from the future.
    #[error("the signature's time is too far from ours")]
    Stale,
    /// None of the signatures is ours.
    #[error("no signature fits")]
    Wrong,
}

/// A `Stripe-Signature` header for these bytes at that time (Unix seconds).
#[must_use]
pub fn sign(secret: &str, body: &[u8], now_s: u64) -> String {
    let hash = mac(secret, now_s, body).map(|mac| mac.finalize().into_bytes());
    let mut header = format!("t={now_s},v1=");
    for byte in hash.iter().flatten() {
        header.push_str(&format!("{byte:02x}"));
    }
    header
}

/// Whether the header signs exactly these bytes, not longer ago than the tolerance. There may be
/// several `v1` while a secret is being replaced; one has to fit.
///
/// # Errors
/// Why not.
pub fn verify(secret: &str, header: &str, body: &[u8], now_s: u64) -> Result<(), Forged> {
    if secret.is_empty() || header.len() > WEBHOOK_SIGNATURE_BYTES_MAX {
        return Err(Forged::Malformed);
    }
    let mut time = None;
    let mut signatures = Vec::new();
    for part in header.split(',') {
        match part.trim().split_once('=') {
            Some(("t", text)) if time.is_none() => {
                time = Some(text.parse::<u64>().map_err(|_| Forged::Malformed)?);
            }
            Some(("t", _)) => return Err(Forged::Malformed),
            Some(("v1", text)) if signatures.len() < WEBHOOK_SIGNATURES_MAX => {
                signatures.extend(unhex(text));
            }
            _ => {}
        }
    }
    let time = time.ok_or(Forged::Malformed)?;
    if signatures.is_empty() {
        return Err(Forged::Malformed);
    }
    let mac = mac(secret, time, body).ok_or(Forged::Malformed)?;
    // `verify_slice` takes the same time for every wrong signature.
    let fits = |signature: &Vec<u8>| mac.clone().verify_slice(signature).is_ok();
    if signatures.iter().filter(|signature| fits(signature)).count() == 0 {
        return Err(Forged::Wrong);
    }
    if now_s.abs_diff(time) > WEBHOOK_TOLERANCE_SECONDS {
        return Err(Forged::Stale);
    }
    Ok(())
}

fn mac(secret: &str, time: u64, body: &[u8]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?;
    mac.update(time.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    Some(mac)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    (0..32).map(|place| u8::from_str_radix(text.get(place * 2..place * 2 + 2)?, 16).ok()).collect()
}

/// Receives webhooks and wakes jobs.
pub(crate) struct Webhooks {
    pub(crate) gateway: Stripe,
    pub(crate) shards: ShardClient,
    pub(crate) shards_count: u32,
    pub(crate) secret: String,
    pub(crate) permits: Semaphore,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    object: Object,
}

#[derive(Deserialize)]
struct Object {
    id: String,
}

impl Webhooks {
    pub(crate) fn new(
        gateway: Stripe,
        shards: ShardClient,
        shards_count: u32,
        secret: String,
    ) -> Webhooks {
        Webhooks {
            gateway,
            shards,
            shards_count,
            secret,
            permits: Semaphore::new(WEBHOOKS_IN_FLIGHT_MAX),
        }
    }

    /// Checks a webhook and wakes the job it may be about. An error asks the gateway to send it
    /// again, except when it is not the gateway's at all.
    pub(crate) async fn receive(&self, body: &[u8], signature: &str) -> Result<(), Failure> {
        let received = self.handle(body, signature).await;
        let result = match &received {
            Ok(result) => result,
            Err(failure) => failure.code.as_str(),
        };
        metrics::counter!(names::WEBHOOKS, "result" => result.to_owned()).increment(1);
        received.map(|_| ())
    }

    async fn handle(&self, body: &[u8], signature: &str) -> Result<&'static str, Failure> {
        if body.len() > WEBHOOK_BYTES_MAX {
            return Err(Failure::new(Code::PayloadTooLarge, "the webhook is too large"));
        }
        let now_s = onsale_proto::time::now_ms() / 1000;
        verify(&self.secret, signature, body, now_s)
            .map_err(|forged| Failure::invalid("Stripe-Signature", forged.to_string()))?;
        let event: Event = serde_json::from_slice(body)
            .map_err(|_| Failure::invalid("body", "this is not an event"))?;
        if !NEWS.contains(&event.kind.as_str()) || !is_id(&event.data.object.id) {
            return Ok("ignored");
        }
        let Ok(_permit) = self.permits.try_acquire() else {
            return Err(Failure::new(Code::Overloaded, "too many webhooks at once"));
        };
        let intent = match self.gateway.retrieve(&event.data.object.id).await {
            Answer::Intent(intent) => intent,
            Answer::NotFound | Answer::Refused { .. } => return Ok("ignored"),
            _ => {
                return Err(Failure::new(Code::Unavailable, "the gateway does not answer"));
            }
        };
        let order = intent.order_id.and_then(|order| id::parse(id::ORDER, &order));
        let Some(order) = order else {
            return Ok("ignored");
        };
        let shard = id::shard_of(order);
        if intent.status == Status::RequiresAction || shard == 0 || shard > self.shards_count {
            return Ok("ignored");
        }
        let request = WakeJobRequest { order_id: id::to_bytes(order) };
        match self.shards.wake_job(request, Deadline::after(WAKE_BUDGET)).await {
            Ok(_) => Ok("woken"),
            Err(failure) if failure.code.retryable() => Err(failure),
            Err(_) => Ok("nothing_waits"),
        }
    }
}

/// A new random webhook secret in the gateway's spelling.
///
/// # Errors
/// When the operating system gives no randomness.
pub fn new_secret() -> Result<String, crate::Error> {
    let mut bytes = [0; 24];
    getrandom::fill(&mut bytes).map_err(|error| crate::Error::Randomness(error.to_string()))?;
    Ok(format!("whsec_{}", STANDARD.encode(bytes)))
}
