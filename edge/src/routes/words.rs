//! Owns the words in which the table describes a route.
//!
//! Must never know a route.

use onsale_proto::Code;

use super::{Auth, BodyUse, Class, KeyUse, Route, Success};

const JSON: &str = "application/json";

impl Route {
    pub(super) fn auth(mut self, auth: Auth) -> Route {
        self.auth = auth;
        match auth {
            Auth::Anyone | Auth::Gateway => {}
            Auth::HoldToken | Auth::OrderToken => self.codes.push(Code::Unauthenticated),
            Auth::OrderTokenOrSupport | Auth::Staff(_) => {
                self.codes.extend([Code::Unauthenticated, Code::Forbidden]);
            }
        }
        self
    }

    pub(super) fn class(mut self, class: Class) -> Route {
        self.class = class;
        self
    }

    pub(super) fn key(mut self, key: KeyUse) -> Route {
        self.key = key;
        if key == KeyUse::Required {
            self.codes.push(Code::IdempotencyKeyRequired);
        }
        if key != KeyUse::None {
            self.codes.push(Code::IdempotencyKeyReused);
        }
        self
    }

    pub(super) fn body(mut self, body: BodyUse) -> Route {
        self.body = body;
        if matches!(body, BodyUse::Json(_) | BodyUse::OptionalJson(_) | BodyUse::Form(_)) {
            self.codes.push(Code::UnsupportedMediaType);
        }
        self
    }

    pub(super) fn body_max(mut self, bytes: usize) -> Route {
        self.body_bytes_max = bytes;
        self
    }

    pub(super) fn query(mut self, names: &'static [&'static str]) -> Route {
        self.query = names;
        self
    }

    pub(super) fn headers(mut self, names: &'static [&'static str]) -> Route {
        self.headers = names;
        self
    }

    pub(super) fn answers(
        mut self,
        status: u16,
        says: &'static str,
        schema: &'static str,
    ) -> Route {
        let content = if schema.is_empty() { "" } else { JSON };
        self.successes.push(Success { status, says, content, schema });
        self
    }

    pub(super) fn answers_with(
        mut self,
        status: u16,
        says: &'static str,
        content: &'static str,
    ) -> Route {
        self.successes.push(Success { status, says, content, schema: "" });
        self
    }

    pub(super) fn codes(mut self, codes: &[Code]) -> Route {
        self.codes.extend(codes);
        self
    }

    /// It changes something, so that its outcome can be unknown.
    pub(super) fn changes(self) -> Route {
        self.codes(&[Code::OutcomeUnknown])
    }
}
