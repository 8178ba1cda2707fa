//! Owns the sandbox's HTTP: keys, bounds, who may ask what, and writing answers.
//!
//! Must never answer before what the answer tells is on the disk.

use std::sync::{Arc, Mutex, PoisonError};

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    response::Response,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;

use super::{
    answer::{Answer, ApiError},
    books::{Books, Executed, Post},
    journal::Journal,
    page, reads,
    webhooks::Webhooks,
};
use crate::{Error, limits::SANDBOX_IN_FLIGHT_MAX};

/// Everything a request needs.
#[derive(Debug)]
pub(crate) struct Sandbox {
    pub(crate) key: String,
    pub(crate) base_url: String,
    pub(crate) limiter: Option<DefaultDirectRateLimiter>,
    pub(crate) books: Mutex<Books>,
    pub(crate) journal: Option<Journal>,
    pub(crate) webhooks: Option<Webhooks>,
    pub(crate) permits: Semaphore,
}

impl Sandbox {
    pub(crate) fn new(
        key: String,
        base_url: String,
        rate_max: Option<u32>,
        books: Books,
        journal: Option<Journal>,
        webhooks: Option<Webhooks>,
    ) -> Sandbox {
        let rate = rate_max.and_then(std::num::NonZeroU32::new);
        Sandbox {
            key,
            base_url,
            limiter: rate.map(|rate| RateLimiter::direct(Quota::per_second(rate))),
            books: Mutex::new(books),
            journal,
            webhooks,
            permits: Semaphore::new(SANDBOX_IN_FLIGHT_MAX),
        }
    }

    async fn answer(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<(Answer, bool), Error> {
        let _permit = self.permits.acquire().await;
        let path = uri.path();
        if !path.starts_with(page::PREFIX)
            && let Some(refusal) = self.refuse(headers)
        {
            return Ok((refusal.into(), false));
        }
        match *method {
            Method::GET | Method::HEAD => {
                let (answer, upto) = {
                    let books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
                    let query = uri.query().unwrap_or_default();
                    let answer = reads::get(&books, path, query, &self.base_url);
                    (answer, self.journal.as_ref().map(Journal::last))
                };
                self.flushed(upto).await?;
                Ok((answer, false))
            }
            Method::POST => self.post(path, headers, body).await,
            _ => Ok((super::books::unrecognized(method.as_str(), path).into(), false)),
        }
    }

    async fn post(
        &self,
        path: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<(Answer, bool), Error> {
        let invalid = |message: &str| {
            let error = ApiError::invalid(None, "", message.to_owned());
            Ok((Answer::from(error), false))
        };
        let Ok(form) = std::str::from_utf8(body) else {
            return invalid("The body is not UTF-8.");
        };
        let key = match headers.get("idempotency-key").map(HeaderValue::to_str) {
            None => None,
            Some(Ok(key)) => Some(key.to_owned()),
            Some(Err(_)) => return invalid("The Idempotency-Key is not ASCII."),
        };
        let mut seed = [0; 16];
        getrandom::fill(&mut seed).map_err(|error| Error::Randomness(error.to_string()))?;
        let mut post = Post {
            at_ms: onsale_proto::time::now_ms(),
            seed: u128::from_be_bytes(seed),
            path: path.to_owned(),
            form: form.to_owned(),
            key: key.filter(|_| !path.starts_with(page::PREFIX)),
        };
        let (executed, upto) = self.execute(&mut post)?;
        self.flushed(upto).await?;
        if let Some(webhooks) = &self.webhooks {
            webhooks.send(executed.events);
        }
        Ok((executed.answer, executed.replayed))
    }

    /// State and journal change together, in one order.
    fn execute(&self, post: &mut Post) -> Result<(Executed, Option<u64>), Error> {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        post.at_ms = post.at_ms.max(books.now_ms);
        let executed = books.execute(post);
        let upto = match &self.journal {
            None => None,
            Some(journal) if executed.changed => Some(journal.append(post)?),
            Some(journal) => Some(journal.last()),
        };
        Ok((executed, upto))
    }

    async fn flushed(&self, upto: Option<u64>) -> Result<(), Error> {
        match (&self.journal, upto) {
            (Some(journal), Some(upto)) => journal.flushed(upto).await,
            _ => Ok(()),
        }
    }

    fn refuse(&self, headers: &HeaderMap) -> Option<ApiError> {
        let given = headers.get(header::AUTHORIZATION).and_then(key_of);
        let known = given.is_some_and(|key| key.as_bytes().ct_eq(self.key.as_bytes()).into());
        if !known {
            return Some(ApiError {
                status: 401,
                kind: "invalid_request_error",
                message: "Invalid API Key provided, or none. Use 'Authorization: Bearer KEY'."
                    .to_owned(),
                ..ApiError::default()
            });
        }
        let limited = self.limiter.as_ref().is_some_and(|limiter| limiter.check().is_err());
        limited.then(|| ApiError {
            status: 429,
            kind: "invalid_request_error",
            code: Some("rate_limit"),
            message: "Request rate limit exceeded.".to_owned(),
            ..ApiError::default()
        })
    }
}

/// The key of `Bearer KEY` or of `Basic base64(KEY:)`.
fn key_of(header: &HeaderValue) -> Option<String> {
    let (scheme, value) = header.to_str().ok()?.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(value.trim().to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(value.trim()).ok()?).ok()?;
    Some(decoded.split(':').next().unwrap_or_default().to_owned())
}

/// The one handler: the sandbox's paths are told apart in [`super::books`] and [`reads`].
pub(crate) async fn handle(
    State(sandbox): State<Arc<Sandbox>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match sandbox.answer(&method, &uri, &headers, &body).await {
        Ok((answer, replayed)) => write(&answer, replayed, &headers, &sandbox.base_url),
        Err(error) => {
            tracing::error!(%error, "the sandbox cannot answer");
            let error = ApiError {
                status: 500,
                kind: "api_error",
                message: "Something went wrong on the sandbox's side.".to_owned(),
                ..ApiError::default()
            };
            write(&error.into(), false, &headers, &sandbox.base_url)
        }
    }
}

fn write(answer: &Answer, replayed: bool, request: &HeaderMap, base_url: &str) -> Response {
    let mut response = Response::new(Body::from(answer.body(base_url)));
    let status = StatusCode::from_u16(answer.status());
    *response.status_mut() = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    let content = match answer {
        Answer::Page(_) => "text/html; charset=utf-8",
        _ => "application/json",
    };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert("stripe-version", HeaderValue::from_static(super::API_VERSION));
    if let Ok(id) = request_id() {
        headers.insert("request-id", id);
    }
    if let Some(key) = request.get("idempotency-key") {
        headers.insert("idempotency-key", key.clone());
    }
    if replayed {
        headers.insert("idempotent-replayed", HeaderValue::from_static("true"));
    }
    match answer {
        Answer::Page(_) => {
            headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(page::POLICY));
        }
        Answer::Redirect(url) => {
            if let Ok(url) = HeaderValue::from_str(url) {
                headers.insert(header::LOCATION, url);
            }
        }
        Answer::Error(error) if error.status == 429 => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        _ => {}
    }
    response
}

fn request_id() -> Result<HeaderValue, Error> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| Error::Randomness(error.to_string()))?;
    let id = format!("req_{:016x}", u64::from_be_bytes(bytes));
    HeaderValue::from_str(&id).map_err(|error| Error::Randomness(error.to_string()))
}
