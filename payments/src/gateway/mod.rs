//! Owns what the rest of the crate knows about a payment gateway: calls, and answers that have
//! been checked for sense.
//!
//! Only this folder knows Stripe. Must never decide what an answer means for an order; that is
//! [`crate::checkout`].

mod stripe;

use std::time::Duration;

use onsale_mesh::breaker::Gate;
pub use stripe::Stripe;

use crate::{
    Error,
    limits::{GATEWAY_CONNECT_TIMEOUT, GATEWAY_ID_BYTES_MAX},
};

/// What is paid, as every call about it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// `ord_…`: the payment's name at the gateway, and the root of its idempotency keys.
    pub order_id: String,
    /// In minor units, more than 0.
    pub amount_minor: u64,
    /// ISO 4217; letter case does not matter.
    pub currency: String,
    /// The gateway's name of the payment method.
    pub payment_method: String,
}

/// One call to the gateway. Under one key a call is done once, however often it is repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Reserve the money; key `<order>:authorise`.
    Authorise,
    /// How the payment stands.
    Retrieve(String),
    /// Take the reserved money. A payment is taken once by its own state, so a fresh key (after
    /// the first one's answer was lost to an error of the gateway) is safe.
    Capture {
        /// The payment.
        intent: String,
        /// 0 is the key `<order>:capture`; others are fresh ones.
        turn: u32,
    },
    /// Let the reserved money go, and make sure that none is reserved later.
    Cancel {
        /// The payment.
        intent: String,
        /// 0 is the key `<order>:void`; others are fresh ones.
        turn: u32,
    },
    /// Give taken money back, all of it; key `<order>:give_back`.
    GiveBack(String),
    /// Look the payment up by its order.
    Search,
}

impl Call {
    /// For metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Call::Authorise => "authorise",
            Call::Retrieve(_) => "retrieve",
            Call::Capture { .. } => "capture",
            Call::Cancel { .. } => "cancel",
            Call::GiveBack(_) => "give_back",
            Call::Search => "search",
        }
    }
}

/// What the gateway said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The payment as it stands now.
    Intent(Intent),
    /// The money went back.
    GivenBack,
    /// The card was refused.
    Declined {
        /// The payment, if the gateway made one.
        intent: Option<String>,
        /// E.g. `insufficient_funds`.
        reason: String,
    },
    /// The call was refused for good: repeating it is of no use.
    Refused {
        /// E.g. `resource_missing`.
        reason: String,
    },
    /// There is no such payment.
    NotFound,
    /// Under this key the gateway will not say what became of the call: look the payment up.
    KeySpent,
    /// No answer, or not now. The call may have been done.
    Unknown {
        /// What the gateway asks for.
        retry_after: Option<Duration>,
    },
}

impl Answer {
    /// For metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Answer::Intent(_) => "intent",
            Answer::GivenBack => "given_back",
            Answer::Declined { .. } => "declined",
            Answer::Refused { .. } => "refused",
            Answer::NotFound => "not_found",
            Answer::KeySpent => "key_spent",
            Answer::Unknown { .. } => "unknown",
        }
    }
}

/// A payment at the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// The gateway's id.
    pub id: String,
    /// Where it stands.
    pub status: Status,
    /// In minor units.
    pub amount_minor: u64,
    /// Reserved and not taken, in minor units.
    pub capturable_minor: u64,
    /// Taken, in minor units.
    pub received_minor: u64,
    /// ISO 4217, as the gateway spells it.
    pub currency: String,
    /// Whose payment it says it is.
    pub order_id: Option<String>,
    /// Where the buyer confirms.
    pub next_action_url: Option<String>,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
}

/// A payment's state at the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The card was refused or none was given.
    RequiresPaymentMethod,
    /// Nothing was tried yet.
    RequiresConfirmation,
    /// The buyer has to confirm.
    RequiresAction,
    /// The gateway is at it.
    Processing,
    /// The money is reserved.
    RequiresCapture,
    /// Nothing is reserved and nothing will be.
    Canceled,
    /// The money is taken.
    Succeeded,
}

/// A gateway. A call that was given up may still be done.
pub trait Gateway: Send + Sync {
    /// Makes one call about a payment.
    fn call(&self, payment: &Payment, call: &Call) -> impl Future<Output = Answer> + Send;

    /// Whether it answers at all.
    fn gate(&self) -> Gate;
}

/// An id that may stand in a path.
#[must_use]
pub fn is_id(text: &str) -> bool {
    let sober = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !text.is_empty() && text.len() <= GATEWAY_ID_BYTES_MAX && text.bytes().all(sober)
}

/// A client for one server. The machine's certificates are read for `https` only, so that a
/// machine without any can run the sandbox.
///
/// # Errors
/// When TLS is needed and there are no certificates.
pub(crate) fn http_client(url: &str, timeout: Duration) -> Result<reqwest::Client, Error> {
    // Fails when a provider is installed already, which is as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .timeout(timeout)
        .connect_timeout(GATEWAY_CONNECT_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .tcp_nodelay(true)
        .user_agent(concat!("onsale/", env!("CARGO_PKG_VERSION")));
    if !url.starts_with("https://") {
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(|error| Error::Client(error.to_string()))
}
