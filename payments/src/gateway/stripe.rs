//! Owns Stripe's REST API: paths, forms, keys, errors, states.
//!
//! Every answer is read as hostile input: bounded, typed, ids checked before they stand in a path.
//! Must never log a key, a body or a payment method.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use onsale_mesh::breaker::{Breaker, Gate};
use reqwest::{Method, RequestBuilder, StatusCode, header};
use serde::{Deserialize, de::DeserializeOwned};

use super::{Answer, Call, Gateway, Intent, Payment, Status, is_id};
use crate::{
    Error,
    limits::{
        GATEWAY_ANSWER_BYTES_MAX, GATEWAY_CALL_TIMEOUT, GATEWAY_FAILURES_MAX, GATEWAY_PAUSE_FIRST,
        GATEWAY_PAUSE_MAX, NEXT_ACTION_URL_BYTES_MAX, REASON_BYTES_MAX,
    },
    metrics as names,
};

const VERSION: &str = "2024-06-20";

/// Stripe, or a server like it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Stripe {
    inner: Arc<Inner>,
}

struct Inner {
    client: reqwest::Client,
    url: String,
    key: String,
    return_url: String,
    limiter: Option<DefaultDirectRateLimiter>,
    breaker: Breaker,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stripe").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Stripe {
    /// A client of the gateway at `url`. `{order_id}` in `return_url` becomes the order's id;
    /// `rate_max` bounds calls a second.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn new(
        url: &str,
        key: &str,
        return_url: &str,
        rate_max: Option<u32>,
    ) -> Result<Stripe, Error> {
        let rate = rate_max.and_then(std::num::NonZeroU32::new);
        let inner = Inner {
            client: super::http_client(url, GATEWAY_CALL_TIMEOUT)?,
            url: url.trim_end_matches('/').to_owned(),
            key: key.to_owned(),
            return_url: return_url.to_owned(),
            limiter: rate.map(|rate| RateLimiter::direct(Quota::per_second(rate))),
            breaker: Breaker::new(GATEWAY_FAILURES_MAX, GATEWAY_PAUSE_FIRST, GATEWAY_PAUSE_MAX),
        };
        Ok(Stripe { inner: Arc::new(inner) })
    }

    /// The payment of that id, for those who know nothing else of it.
    pub async fn retrieve(&self, intent: &str) -> Answer {
        if !is_id(intent) {
            return Answer::NotFound;
        }
        let request = self.request(Method::GET, &format!("/v1/payment_intents/{intent}"), None);
        self.answered("retrieve", request, intent_of).await.answer
    }

    fn request(&self, method: Method, path: &str, key: Option<String>) -> RequestBuilder {
        let request = self
            .inner
            .client
            .request(method, format!("{}{path}", self.inner.url))
            .bearer_auth(&self.inner.key)
            .header("Stripe-Version", VERSION);
        match key {
            Some(key) => request.header("Idempotency-Key", key),
            None => request,
        }
    }

    async fn authorise(&self, payment: &Payment) -> Heard {
        let return_url = self.inner.return_url.replace("{order_id}", &payment.order_id);
        let form = [
            ("amount", payment.amount_minor.to_string()),
            ("currency", payment.currency.to_ascii_lowercase()),
            ("payment_method", payment.payment_method.clone()),
            ("payment_method_types[]", "card".to_owned()),
            ("confirm", "true".to_owned()),
            ("capture_method", "manual".to_owned()),
            ("metadata[order_id]", payment.order_id.clone()),
            ("return_url", return_url),
        ];
        let key = format!("{}:authorise", payment.order_id);
        let request = self.request(Method::POST, "/v1/payment_intents", Some(key));
        self.answered("authorise", request.form(&form), intent_of).await
    }

    async fn capture(&self, payment: &Payment, intent: &str, turn: u32) -> Heard {
        let path = format!("/v1/payment_intents/{intent}/capture");
        let request = self
            .request(Method::POST, &path, Some(key_of(payment, "capture", turn)))
            .form(&[("amount_to_capture", payment.amount_minor)]);
        self.answered("capture", request, intent_of).await
    }

    async fn cancel(&self, payment: &Payment, intent: &str, turn: u32) -> Heard {
        let path = format!("/v1/payment_intents/{intent}/cancel");
        let request = self
            .request(Method::POST, &path, Some(key_of(payment, "void", turn)))
            .form(&[("cancellation_reason", "abandoned")]);
        self.answered("cancel", request, intent_of).await
    }

    async fn give_back(&self, payment: &Payment, intent: &str) -> Answer {
        let key = format!("{}:give_back", payment.order_id);
        let request = self
            .request(Method::POST, "/v1/refunds", Some(key))
            .form(&[("payment_intent", intent)]);
        let read = |_: RefundObject| Some(Answer::GivenBack);
        self.answered("give_back", request, read).await.answer
    }

    async fn search(&self, payment: &Payment) -> Answer {
        // metadata['order_id']:'…'; an order's id needs no escapes.
        let path = format!(
            "/v1/payment_intents/search?limit=10&query=metadata%5B%27order_id%27%5D%3A%27{}%27",
            payment.order_id
        );
        let request = self.request(Method::GET, &path, None);
        let order = payment.order_id.clone();
        let read = move |found: SearchObject| {
            let intents: Option<Vec<Intent>> = found.data.into_iter().map(read_intent).collect();
            let own = |intent: &Intent| intent.order_id.as_deref() == Some(order.as_str());
            // There is one, unless keys were lost; then the one that moved money counts.
            Some(
                intents?
                    .into_iter()
                    .filter(own)
                    .max_by_key(|intent| weight(intent.status))
                    .map_or(Answer::NotFound, Answer::Intent),
            )
        };
        self.answered("search", request, read).await.answer
    }

    /// Sends a request when rate and gate allow it and reads its answer.
    async fn answered<T: DeserializeOwned>(
        &self,
        name: &'static str,
        request: RequestBuilder,
        read: impl FnOnce(T) -> Option<Answer>,
    ) -> Heard {
        if !self.inner.breaker.allow() {
            return Heard::new(Answer::Unknown { retry_after: Some(GATEWAY_PAUSE_FIRST) });
        }
        // Whoever gives up waiting counts as a failure, or a probe would stay under way for ever.
        let mut outcome = Verdict { breaker: &self.inner.breaker, answered: false };
        if let Some(limiter) = &self.inner.limiter {
            limiter.until_ready().await;
        }
        let started = Instant::now();
        let received = receive(request).await;
        metrics::histogram!(names::GATEWAY_SECONDS).record(started.elapsed().as_secs_f64());
        let heard = match received {
            Some(received) => {
                outcome.answered = !received.status.is_server_error();
                Heard { replayed: received.replayed, answer: received.judge(read) }
            }
            None => Heard::new(Answer::Unknown { retry_after: None }),
        };
        drop(outcome);
        let shut = self.gate() != Gate::Open;
        metrics::gauge!(names::GATEWAY_SHUT).set(if shut { 1.0 } else { 0.0 });
        let answer = heard.answer.name();
        metrics::counter!(names::GATEWAY_CALLS, "call" => name, "answer" => answer).increment(1);
        heard
    }
}

/// An answer, and whether it was kept from an earlier call under the same key.
struct Heard {
    answer: Answer,
    replayed: bool,
}

impl Heard {
    fn new(answer: Answer) -> Heard {
        Heard { answer, replayed: false }
    }
}

fn key_of(payment: &Payment, verb: &str, turn: u32) -> String {
    match turn {
        0 => format!("{}:{verb}", payment.order_id),
        turn => format!("{}:{verb}:{turn}", payment.order_id),
    }
}

impl Gateway for Stripe {
    async fn call(&self, payment: &Payment, call: &Call) -> Answer {
        let heard = match call {
            Call::Authorise => self.authorise(payment).await,
            Call::Retrieve(intent) => return self.retrieve(intent).await,
            Call::Capture { intent, turn } if is_id(intent) => {
                self.capture(payment, intent, *turn).await
            }
            Call::Cancel { intent, turn } if is_id(intent) => {
                self.cancel(payment, intent, *turn).await
            }
            Call::Capture { .. } | Call::Cancel { .. } => return Answer::NotFound,
            Call::GiveBack(intent) => return self.give_back(payment, intent).await,
            Call::Search => return self.search(payment).await,
        };
        match heard.answer {
            // A kept answer tells how the payment stood then; ask how it stands now.
            Answer::Intent(intent) if heard.replayed => self.retrieve(&intent.id).await,
            answer => answer,
        }
    }

    fn gate(&self) -> Gate {
        self.inner.breaker.gate()
    }
}

struct Verdict<'a> {
    breaker: &'a Breaker,
    answered: bool,
}

impl Drop for Verdict<'_> {
    fn drop(&mut self) {
        if self.answered {
            self.breaker.succeeded();
        } else {
            self.breaker.failed();
        }
    }
}

struct Received {
    status: StatusCode,
    replayed: bool,
    retry_after: Option<Duration>,
    body: Vec<u8>,
}

/// Everything of the answer, or `None` when it did not come whole.
async fn receive(request: RequestBuilder) -> Option<Received> {
    let mut response = request.send().await.ok()?;
    let header = |name: &str| response.headers().get(name)?.to_str().ok().map(str::to_owned);
    let replayed = header("idempotent-replayed").is_some_and(|value| value == "true");
    let seconds = header(header::RETRY_AFTER.as_str()).and_then(|value| value.parse().ok());
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        if body.len() + chunk.len() > GATEWAY_ANSWER_BYTES_MAX {
            return None;
        }
        body.extend_from_slice(&chunk);
    }
    Some(Received {
        status: response.status(),
        replayed,
        retry_after: seconds.map(Duration::from_secs),
        body,
    })
}

impl Received {
    fn judge<T: DeserializeOwned>(self, read: impl FnOnce(T) -> Option<Answer>) -> Answer {
        let unknown = Answer::Unknown { retry_after: self.retry_after };
        if self.status.is_success() {
            return serde_json::from_slice(&self.body).ok().and_then(read).unwrap_or(unknown);
        }
        let error: Option<ErrorBody> = serde_json::from_slice(&self.body).ok();
        let error = error.map(|body| body.error);
        match self.status.as_u16() {
            404 => error.map_or(unknown, |_| Answer::NotFound),
            400 | 402 => error.map_or(unknown, ErrorObject::judge),
            409 | 429 => unknown,
            // The gateway keeps its own failures under the key too.
            500.. if self.replayed => Answer::KeySpent,
            _ => unknown,
        }
    }
}

#[derive(Deserialize)]
struct ErrorBody {
    error: ErrorObject,
}

#[derive(Deserialize)]
struct ErrorObject {
    #[serde(rename = "type")]
    kind: String,
    code: Option<String>,
    decline_code: Option<String>,
    payment_intent: Option<IntentObject>,
}

impl ErrorObject {
    fn judge(self) -> Answer {
        let code = self.code.unwrap_or_default();
        let reason = |text: &str| short(if text.is_empty() { &self.kind } else { text });
        match self.kind.as_str() {
            "card_error" => Answer::Declined {
                intent: self.payment_intent.map(|intent| intent.id).filter(|id| is_id(id)),
                reason: reason(self.decline_code.as_deref().unwrap_or(&code)),
            },
            "idempotency_error" => Answer::KeySpent,
            "invalid_request_error" => match (code.as_str(), self.payment_intent) {
                ("rate_limit" | "lock_timeout", _) => Answer::Unknown { retry_after: None },
                ("charge_already_refunded", _) => Answer::GivenBack,
                // "Already captured", "already canceled": the state says it.
                ("payment_intent_unexpected_state", Some(intent)) => {
                    let refused = Answer::Refused { reason: reason(&code) };
                    read_intent(intent).map_or(refused, Answer::Intent)
                }
                _ => Answer::Refused { reason: reason(&code) },
            },
            _ => Answer::Unknown { retry_after: None },
        }
    }
}

#[derive(Deserialize)]
struct IntentObject {
    id: String,
    object: String,
    status: String,
    amount: u64,
    #[serde(default)]
    amount_capturable: u64,
    #[serde(default)]
    amount_received: u64,
    currency: String,
    #[serde(default)]
    metadata: Option<MetadataObject>,
    next_action: Option<NextActionObject>,
    last_payment_error: Option<LastErrorObject>,
}

#[derive(Deserialize)]
struct MetadataObject {
    order_id: Option<String>,
}

#[derive(Deserialize)]
struct NextActionObject {
    redirect_to_url: Option<RedirectObject>,
}

#[derive(Deserialize)]
struct RedirectObject {
    url: Option<String>,
}

#[derive(Deserialize)]
struct LastErrorObject {
    code: Option<String>,
    decline_code: Option<String>,
}

#[derive(Deserialize)]
struct SearchObject {
    data: Vec<IntentObject>,
}

#[derive(Deserialize)]
struct RefundObject {
    #[serde(rename = "id")]
    _id: String,
}

fn intent_of(object: IntentObject) -> Option<Answer> {
    read_intent(object).map(Answer::Intent)
}

fn read_intent(object: IntentObject) -> Option<Intent> {
    if object.object != "payment_intent" || !is_id(&object.id) {
        return None;
    }
    let status = match object.status.as_str() {
        "requires_payment_method" => Status::RequiresPaymentMethod,
        "requires_confirmation" => Status::RequiresConfirmation,
        "requires_action" => Status::RequiresAction,
        "processing" => Status::Processing,
        "requires_capture" => Status::RequiresCapture,
        "canceled" => Status::Canceled,
        "succeeded" => Status::Succeeded,
        _ => return None,
    };
    let url = object.next_action.and_then(|action| action.redirect_to_url?.url);
    let error = object.last_payment_error.and_then(|error| error.decline_code.or(error.code));
    Some(Intent {
        id: object.id,
        status,
        amount_minor: object.amount,
        capturable_minor: object.amount_capturable,
        received_minor: object.amount_received,
        currency: object.currency,
        order_id: object.metadata.and_then(|metadata| metadata.order_id),
        next_action_url: url.filter(|url| is_web_address(url)),
        last_error: error.map(|error| short(&error)),
    })
}

/// Only what a browser may be sent to; nothing else gets into the log.
fn is_web_address(url: &str) -> bool {
    url.len() <= NEXT_ACTION_URL_BYTES_MAX
        && reqwest::Url::parse(url)
            .is_ok_and(|url| matches!(url.scheme(), "https" | "http") && url.has_host())
}

fn short(text: &str) -> String {
    let sober = |letter: &char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-');
    text.chars().filter(sober).take(REASON_BYTES_MAX).collect()
}

fn weight(status: Status) -> u8 {
    match status {
        Status::Succeeded => 6,
        Status::RequiresCapture => 5,
        Status::Processing => 4,
        Status::RequiresAction => 3,
        Status::RequiresConfirmation => 2,
        Status::RequiresPaymentMethod => 1,
        Status::Canceled => 0,
    }
}
