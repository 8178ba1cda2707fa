//! Owns what the sandbox answers: objects, and errors in the gateway's shape.
//!
//! Must never leave out the parts that clients decide by: `type`, `code`, `decline_code`,
//! `payment_intent`.

use serde_json::{Value, json};

use super::objects::{Decline, Intent, Refund};

/// An answer before it is written, kept like this under its idempotency key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Intent(Box<Intent>),
    Refund(Refund),
    Json(Value),
    Error(Box<ApiError>),
    /// The page on which a buyer confirms.
    Page(Box<Intent>),
    /// Back to the shop after confirming.
    Redirect(String),
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        match self {
            Answer::Error(error) => error.status,
            Answer::Redirect(_) => 303,
            _ => 200,
        }
    }

    pub(crate) fn body(&self, base_url: &str) -> String {
        match self {
            Answer::Intent(intent) => intent.to_json(base_url).to_string(),
            Answer::Refund(refund) => refund.to_json().to_string(),
            Answer::Json(value) => value.to_string(),
            Answer::Error(error) => error.to_json(base_url).to_string(),
            Answer::Page(intent) => super::page::render(intent),
            Answer::Redirect(_) => String::new(),
        }
    }

    /// Whether this is kept under the request's key: only what began to be done is, refusals of
    /// the parameters are not.
    pub(crate) fn is_kept(&self) -> bool {
        matches!(self.status(), 200 | 402)
    }
}

impl From<ApiError> for Answer {
    fn from(error: ApiError) -> Answer {
        Answer::Error(Box::new(error))
    }
}

/// An error object.
#[derive(Clone, Debug, PartialEq, Default)]
pub(crate) struct ApiError {
    pub(crate) status: u16,
    pub(crate) kind: &'static str,
    pub(crate) code: Option<&'static str>,
    pub(crate) decline_code: Option<&'static str>,
    pub(crate) message: String,
    pub(crate) param: Option<String>,
    pub(crate) intent: Option<Box<Intent>>,
}

impl ApiError {
    /// 400 `invalid_request_error`.
    pub(crate) fn invalid(code: Option<&'static str>, param: &str, message: String) -> ApiError {
        ApiError {
            status: 400,
            kind: "invalid_request_error",
            code,
            message,
            param: (!param.is_empty()).then(|| param.to_owned()),
            ..ApiError::default()
        }
    }

    /// A required parameter is not there.
    pub(crate) fn missing(param: &str) -> ApiError {
        let message = format!("Missing required param: {param}.");
        ApiError::invalid(Some("parameter_missing"), param, message)
    }

    /// 404 `resource_missing`.
    pub(crate) fn no_such(what: &str, id: &str) -> ApiError {
        let shown: String = id.chars().take(64).collect();
        ApiError {
            status: 404,
            ..ApiError::invalid(
                Some("resource_missing"),
                what,
                format!("No such {what}: '{shown}'"),
            )
        }
    }

    /// 402 `card_error`.
    pub(crate) fn declined(decline: Decline, intent: Intent) -> ApiError {
        ApiError {
            status: 402,
            kind: "card_error",
            code: Some(decline.code),
            decline_code: Some(decline.decline_code),
            message: decline.message.to_owned(),
            intent: Some(Box::new(intent)),
            ..ApiError::default()
        }
    }

    /// The intent's state does not allow it.
    pub(crate) fn unexpected_state(intent: &Intent, message: String) -> ApiError {
        ApiError {
            intent: Some(Box::new(intent.clone())),
            ..ApiError::invalid(Some("payment_intent_unexpected_state"), "", message)
        }
    }

    pub(crate) fn to_json(&self, base_url: &str) -> Value {
        let mut error = json!({"type": self.kind, "message": self.message});
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                error[name] = value;
            }
        };
        put("code", self.code.map(Value::from));
        put("decline_code", self.decline_code.map(Value::from));
        put("param", self.param.clone().map(Value::from));
        let declined = self.intent.as_ref().filter(|_| self.status == 402);
        let charge = declined.and_then(|intent| intent.latest_charge.clone());
        put("charge", charge.map(Value::from));
        let intent = self.intent.as_ref().map(|intent| intent.to_json(base_url));
        put("payment_intent", intent);
        let docs =
            |code| format!("https://stripe.com/docs/error-codes/{}", str::replace(code, "_", "-"));
        put("doc_url", self.code.map(docs).map(Value::from));
        json!({"error": error})
    }
}
