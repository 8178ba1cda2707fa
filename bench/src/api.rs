//! Owns one client of the public API: a connection that is made again, a session cookie, and
//! repeating under the same key until there is an answer.
//!
//! Must never turn "no answer" into "refused".

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::time::sleep;

use crate::{
    http::{Connection, Target, header},
    limits,
};

/// A call as it is sent, the same bytes each time.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// `GET`, `POST`, `DELETE`.
    pub method: &'static str,
    /// Path and query.
    pub path: String,
    /// Headers besides host, length, type and cookie.
    pub headers: Vec<(&'static str, String)>,
    /// JSON.
    pub body: Option<String>,
}

impl Call {
    /// A GET.
    pub fn get(path: impl Into<String>) -> Call {
        Call { method: "GET", path: path.into(), ..Call::default() }
    }

    /// A POST of JSON under an idempotency key.
    pub fn post(path: impl Into<String>, key: &str, body: &Value) -> Call {
        Call {
            method: "POST",
            path: path.into(),
            headers: vec![("Idempotency-Key", key.to_owned())],
            body: Some(body.to_string()),
        }
    }

    /// With one more header.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Call {
        self.headers.push((name, value.into()));
        self
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The body as sent.
    pub raw: Vec<u8>,
    /// The body as JSON; null where it is none.
    pub json: Value,
    /// `Idempotent-Replayed: true`.
    pub replayed: bool,
    retry_after: Option<Duration>,
}

impl Reply {
    /// A text of the body, empty where there is none.
    pub fn text(&self, field: &str) -> &str {
        self.json[field].as_str().unwrap_or_default()
    }

    /// Whether it says nothing about what was asked: the same call has to be sent again.
    pub fn try_again(&self) -> bool {
        matches!(self.status, 429 | 503 | 504)
    }
}

/// How a client fared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effort {
    /// Requests sent.
    pub requests: u64,
    /// Attempts without an answer: broken connections, time-outs.
    pub broken: u64,
    /// Answers that asked to try again.
    pub retried: u64,
}

impl Effort {
    /// Adds another client's.
    pub fn add(&mut self, other: Effort) {
        self.requests += other.requests;
        self.broken += other.broken;
        self.retried += other.retried;
    }
}

/// One client.
pub struct Client {
    target: Target,
    connection: Option<Connection>,
    cookie: Option<String>,
    /// What it took so far.
    pub effort: Effort,
}

impl Client {
    /// A client without a session.
    pub fn new(target: Target) -> Client {
        Client { target, connection: None, cookie: None, effort: Effort::default() }
    }

    /// Becomes another buyer: without a session, on the same connection.
    pub fn forget_session(&mut self) {
        self.cookie = None;
    }

    /// Sends the call until it is answered by something else than "try again" or the time is
    /// over. `None`: nobody knows whether it was done.
    pub async fn settle(&mut self, call: &Call, budget: Duration) -> Option<Reply> {
        let until = Instant::now() + budget;
        loop {
            let pause = match self.once(call).await {
                Ok(reply) if !reply.try_again() => return Some(reply),
                Ok(reply) => {
                    self.effort.retried += 1;
                    reply.retry_after.unwrap_or(limits::RETRY_PAUSE)
                }
                Err(_) => {
                    self.effort.broken += 1;
                    limits::RETRY_PAUSE
                }
            };
            if Instant::now() + pause >= until {
                return None;
            }
            sleep(pause).await;
        }
    }

    /// Sends the call once.
    ///
    /// # Errors
    /// When there is no answer; the outcome is unknown then.
    pub async fn once(&mut self, call: &Call) -> std::io::Result<Reply> {
        self.effort.requests += 1;
        let request = self.encode(call);
        let open = self.connection.take().filter(|connection| !connection.is_gone());
        let mut connection = match open {
            Some(connection) => connection,
            None => Connection::open(&self.target).await?,
        };
        let answer = connection.exchange(&request, limits::ANSWER_TIMEOUT).await?;
        let retry_after = header(answer.head, "retry-after")
            .and_then(|seconds| seconds.parse().ok())
            .map(|seconds| Duration::from_secs(seconds).min(limits::RETRY_AFTER_MAX));
        let reply = Reply {
            status: answer.status,
            raw: answer.body.to_vec(),
            json: serde_json::from_slice(answer.body).unwrap_or_default(),
            replayed: header(answer.head, "idempotent-replayed") == Some("true"),
            retry_after,
        };
        if let Some(cookie) = header(answer.head, "set-cookie") {
            self.cookie = cookie.split(';').next().map(str::to_owned);
        }
        if !connection.closed {
            self.connection = Some(connection);
        }
        Ok(reply)
    }

    fn encode(&self, call: &Call) -> Vec<u8> {
        let body = call.body.as_deref().unwrap_or_default();
        let mut text = format!(
            "{} {} HTTP/1.1\r\nHost: {}\r\n",
            call.method, call.path, self.target.authority
        );
        let mut push = |name: &str, value: &str| {
            text.push_str(name);
            text.push_str(": ");
            text.push_str(value);
            text.push_str("\r\n");
        };
        if call.body.is_some() {
            push("Content-Type", "application/json");
            push("Content-Length", &body.len().to_string());
        }
        if let Some(cookie) = &self.cookie {
            push("Cookie", cookie);
        }
        for (name, value) in &call.headers {
            push(name, value);
        }
        text.push_str("\r\n");
        text.push_str(body);
        text.into_bytes()
    }
}
