//! Owns the sandbox's state and the one way it changes: [`Books::execute`], a function of the
//! state and a request that brings its time and its randomness with it, so that the journal can
//! play it again.
//!
//! Must never read a clock, make randomness or do IO.

use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{
    answer::{Answer, ApiError},
    form::Form,
    objects::{Charge, Event, Intent, Record as _, Refund, Subject, Table, Transaction},
    page,
};
use crate::limits::{SANDBOX_EVENTS_MAX, SANDBOX_KEY_AGE_MAX_MS, SANDBOX_KEY_CHARS_MAX};

/// A request that may change something; one line of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Post {
    /// Unix milliseconds.
    pub(crate) at_ms: u64,
    /// Random; ids are made from it.
    pub(crate) seed: u128,
    pub(crate) path: String,
    /// The body as it came.
    pub(crate) form: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
}

/// What a request came to.
#[derive(Debug)]
pub(crate) struct Executed {
    pub(crate) answer: Answer,
    /// The answer was kept from an earlier request with this key.
    pub(crate) replayed: bool,
    /// Something changed: the request belongs into the journal.
    pub(crate) changed: bool,
    /// What happened, for webhooks.
    pub(crate) events: Vec<Event>,
}

/// Everything the sandbox knows.
#[derive(Debug, Default)]
pub(crate) struct Books {
    pub(crate) now_ms: u64,
    pub(crate) intents: Table<Intent>,
    pub(crate) charges: Table<Charge>,
    pub(crate) refunds: Table<Refund>,
    pub(crate) transactions: Table<Transaction>,
    pub(crate) events: VecDeque<Event>,
    keys: HashMap<String, Kept>,
    key_ages: VecDeque<(u64, String)>,
    // The request being executed.
    seed: u128,
    minted: u32,
    key: Option<String>,
    fresh: Vec<Event>,
}

#[derive(Debug)]
struct Kept {
    request: [u8; 32],
    answer: Answer,
}

impl Books {
    /// Does what the request asks, once for each key.
    pub(crate) fn execute(&mut self, post: &Post) -> Executed {
        self.now_ms = self.now_ms.max(post.at_ms);
        self.forget_old_keys();
        let request = fingerprint(post);
        if let Some(key) = &post.key {
            if let Some(refusal) = refuse_key(key) {
                return unchanged(refusal.into(), false);
            }
            if let Some(kept) = self.keys.get(key) {
                return if kept.request == request {
                    unchanged(kept.answer.clone(), true)
                } else {
                    unchanged(other_parameters(key).into(), false)
                };
            }
        }
        (self.seed, self.minted) = (post.seed, 0);
        self.key.clone_from(&post.key);
        let answer = match Form::parse(&post.form) {
            Ok(form) => self.dispatch(&post.path, &form).unwrap_or_else(Answer::from),
            Err(reason) => ApiError::invalid(None, "", reason.to_owned()).into(),
        };
        let mut changed = !self.fresh.is_empty();
        if let Some(key) = &post.key
            && answer.is_kept()
        {
            let kept = Kept { request, answer: answer.clone() };
            self.keys.insert(key.clone(), kept);
            self.key_ages.push_back((self.now_ms, key.clone()));
            changed = true;
        }
        Executed { answer, replayed: false, changed, events: std::mem::take(&mut self.fresh) }
    }

    fn dispatch(&mut self, path: &str, form: &Form) -> Result<Answer, ApiError> {
        if let Some(intent) = path.strip_prefix(page::PREFIX) {
            return self.decide_action(intent, form);
        }
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        match parts.as_slice() {
            ["v1", "payment_intents"] => self.create_intent(form),
            ["v1", "payment_intents", id, "confirm"] => self.confirm_intent(id, form),
            ["v1", "payment_intents", id, "capture"] => self.capture_intent(id, form),
            ["v1", "payment_intents", id, "cancel"] => self.cancel_intent(id, form),
            ["v1", "refunds"] => self.create_refund(form),
            _ => Err(unrecognized("POST", path)),
        }
    }

    /// A new id under the request's seed.
    pub(crate) fn mint(&mut self, prefix: &str) -> String {
        const LETTERS: &[u8; 62] =
            b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        self.minted += 1;
        let mut hash = Sha256::new();
        hash.update(self.seed.to_be_bytes());
        hash.update(self.minted.to_be_bytes());
        let digest: [u8; 32] = hash.finalize().into();
        let mut id = prefix.to_owned();
        for byte in &digest[..24] {
            id.push(char::from(LETTERS[usize::from(*byte) % LETTERS.len()]));
        }
        id
    }

    /// Unix seconds, as objects carry it.
    pub(crate) fn now_s(&self) -> u64 {
        self.now_ms / 1000
    }

    /// Notes that something happened.
    pub(crate) fn tell(&mut self, kind: &'static str, subject: Subject) {
        let event = Event {
            id: self.mint("evt_"),
            created: self.now_s(),
            kind,
            subject,
            key: self.key.clone(),
        };
        if self.events.len() == SANDBOX_EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event.clone());
        self.fresh.push(event);
    }

    /// Tells about an intent as it stands now.
    pub(crate) fn tell_intent(&mut self, kind: &'static str, id: &str) {
        if let Some(intent) = self.intents.get(id).cloned() {
            self.tell(kind, Subject::Intent(intent));
        }
    }

    /// Writes a line into the account's books and names it.
    pub(crate) fn book(
        &mut self,
        kind: &'static str,
        amount: i64,
        currency: &str,
        source: &str,
    ) -> String {
        let transaction = Transaction {
            id: self.mint("txn_"),
            created: self.now_s(),
            amount,
            currency: currency.to_owned(),
            source: source.to_owned(),
            kind,
        };
        let id = transaction.id().to_owned();
        self.transactions.add(transaction);
        id
    }

    /// The intent, as an answer.
    pub(crate) fn intent_answer(&self, id: &str) -> Result<Answer, ApiError> {
        let intent = self.intents.get(id);
        let intent = intent.ok_or_else(|| ApiError::no_such("payment_intent", id))?;
        Ok(Answer::Intent(Box::new(intent.clone())))
    }

    fn forget_old_keys(&mut self) {
        while let Some((at_ms, key)) = self.key_ages.front()
            && self.now_ms.saturating_sub(*at_ms) > SANDBOX_KEY_AGE_MAX_MS
        {
            self.keys.remove(key);
            self.key_ages.pop_front();
        }
    }
}

/// 404 for a path that is not there.
pub(crate) fn unrecognized(method: &str, path: &str) -> ApiError {
    let shown: String = path.chars().take(128).collect();
    ApiError {
        status: 404,
        ..ApiError::invalid(None, "", format!("Unrecognized request URL ({method}: {shown})."))
    }
}

fn unchanged(answer: Answer, replayed: bool) -> Executed {
    Executed { answer, replayed, changed: false, events: Vec::new() }
}

fn refuse_key(key: &str) -> Option<ApiError> {
    let bad = key.is_empty() || key.chars().count() > SANDBOX_KEY_CHARS_MAX;
    bad.then(|| {
        let message = format!("Idempotency keys have 1 to {SANDBOX_KEY_CHARS_MAX} characters.");
        ApiError::invalid(None, "", message)
    })
}

fn other_parameters(key: &str) -> ApiError {
    ApiError {
        status: 400,
        kind: "idempotency_error",
        message: format!(
            "Keys for idempotent requests can only be used with the same parameters they were \
             first used with. Try using a key other than '{key}' if you meant to execute a \
             different request."
        ),
        ..ApiError::default()
    }
}

fn fingerprint(post: &Post) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update((post.path.len() as u64).to_be_bytes());
    hash.update(&post.path);
    hash.update(&post.form);
    hash.finalize().into()
}
