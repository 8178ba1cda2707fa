//! Owns the sandbox's records and how they look as the gateway's JSON objects.
//!
//! Must never decide what may happen to a record; that is [`super::intents`] and
//! [`super::refunds`].

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};

/// Free key-value pairs of the caller.
pub(crate) type Metadata = BTreeMap<String, String>;

/// A payment intent's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    RequiresPaymentMethod,
    RequiresConfirmation,
    RequiresAction,
    RequiresCapture,
    Canceled,
    Succeeded,
}

impl Status {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Status::RequiresPaymentMethod => "requires_payment_method",
            Status::RequiresConfirmation => "requires_confirmation",
            Status::RequiresAction => "requires_action",
            Status::RequiresCapture => "requires_capture",
            Status::Canceled => "canceled",
            Status::Succeeded => "succeeded",
        }
    }
}

/// Why a card was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decline {
    pub(crate) code: &'static str,
    pub(crate) decline_code: &'static str,
    pub(crate) message: &'static str,
}

/// Anything with an id, kept in order of creation.
pub(crate) trait Record {
    fn id(&self) -> &str;
    fn created(&self) -> u64;
}

/// Records by id and by age.
#[derive(Debug)]
pub(crate) struct Table<T> {
    rows: Vec<T>,
    places: HashMap<String, usize>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Table { rows: Vec::new(), places: HashMap::new() }
    }
}

impl<T: Record> Table<T> {
    pub(crate) fn add(&mut self, row: T) {
        self.places.insert(row.id().to_owned(), self.rows.len());
        self.rows.push(row);
    }

    pub(crate) fn get(&self, id: &str) -> Option<&T> {
        self.rows.get(*self.places.get(id)?)
    }

    pub(crate) fn get_mut(&mut self, id: &str) -> Option<&mut T> {
        self.rows.get_mut(*self.places.get(id)?)
    }

    pub(crate) fn place(&self, id: &str) -> Option<usize> {
        self.places.get(id).copied()
    }

    /// Oldest first.
    pub(crate) fn rows(&self) -> &[T] {
        &self.rows
    }
}

/// A payment intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Intent {
    pub(crate) id: String,
    /// Unix seconds.
    pub(crate) created: u64,
    pub(crate) amount: u64,
    pub(crate) currency: String,
    pub(crate) status: Status,
    pub(crate) manual_capture: bool,
    pub(crate) payment_method: Option<String>,
    pub(crate) metadata: Metadata,
    pub(crate) description: Option<String>,
    pub(crate) return_url: Option<String>,
    pub(crate) latest_charge: Option<String>,
    pub(crate) last_error: Option<Decline>,
    pub(crate) canceled_at: Option<u64>,
    pub(crate) cancellation_reason: Option<String>,
    pub(crate) amount_received: u64,
    pub(crate) client_secret: String,
}

impl Intent {
    pub(crate) fn amount_capturable(&self) -> u64 {
        match self.status {
            Status::RequiresCapture => self.amount,
            _ => 0,
        }
    }

    /// The object as its API shows it; `base_url` is where the sandbox's pages are.
    pub(crate) fn to_json(&self, base_url: &str) -> Value {
        let next_action = (self.status == Status::RequiresAction).then(|| {
            json!({"type": "redirect_to_url", "redirect_to_url": {
                "url": super::page::address(base_url, &self.id),
                "return_url": self.return_url,
            }})
        });
        json!({
            "id": self.id, "object": "payment_intent",
            "amount": self.amount, "amount_capturable": self.amount_capturable(),
            "amount_details": {"tip": {}}, "amount_received": self.amount_received,
            "application": null, "application_fee_amount": null,
            "automatic_payment_methods": null, "canceled_at": self.canceled_at,
            "cancellation_reason": self.cancellation_reason,
            "capture_method": if self.manual_capture { "manual" } else { "automatic" },
            "client_secret": self.client_secret, "confirmation_method": "automatic",
            "created": self.created, "currency": self.currency, "customer": null,
            "description": self.description,
            "last_payment_error": self.last_error.as_ref().map(|error| json!({
                "type": "card_error", "code": error.code, "decline_code": error.decline_code,
                "message": error.message, "charge": self.latest_charge,
            })),
            "latest_charge": self.latest_charge, "livemode": false, "metadata": self.metadata,
            "next_action": next_action, "on_behalf_of": null,
            "payment_method":
                if self.last_error.is_some() { None } else { self.payment_method.as_ref() },
            "payment_method_options": {}, "payment_method_types": ["card"], "processing": null,
            "receipt_email": null, "review": null, "setup_future_usage": null, "shipping": null,
            "source": null, "statement_descriptor": null, "statement_descriptor_suffix": null,
            "status": self.status.as_str(), "transfer_data": null, "transfer_group": null,
        })
    }
}

/// An attempt to take money from a card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Charge {
    pub(crate) id: String,
    /// Unix seconds.
    pub(crate) created: u64,
    pub(crate) intent: String,
    pub(crate) amount: u64,
    pub(crate) currency: String,
    pub(crate) amount_captured: u64,
    pub(crate) amount_refunded: u64,
    pub(crate) captured: bool,
    pub(crate) failure: Option<Decline>,
    pub(crate) payment_method: String,
    pub(crate) balance_transaction: Option<String>,
    pub(crate) metadata: Metadata,
}

impl Charge {
    pub(crate) fn to_json(&self) -> Value {
        let last4 = if self.failure.is_some() { "0002" } else { "4242" };
        json!({
            "id": self.id, "object": "charge", "amount": self.amount,
            "amount_captured": self.amount_captured, "amount_refunded": self.amount_refunded,
            "application": null, "application_fee": null, "application_fee_amount": null,
            "balance_transaction": self.balance_transaction,
            "billing_details": {"address": null, "email": null, "name": null, "phone": null},
            "calculated_statement_descriptor": null, "captured": self.captured,
            "created": self.created, "currency": self.currency, "customer": null,
            "description": null, "disputed": false,
            "failure_balance_transaction": null,
            "failure_code": self.failure.as_ref().map(|failure| failure.code),
            "failure_message": self.failure.as_ref().map(|failure| failure.message),
            "fraud_details": {}, "livemode": false, "metadata": self.metadata,
            "on_behalf_of": null, "outcome": null, "paid": self.failure.is_none(),
            "payment_intent": self.intent, "payment_method": self.payment_method,
            "payment_method_details": {"type": "card", "card": {
                "brand": "visa", "country": "US", "exp_month": 8, "exp_year": 2034,
                "funding": "credit", "last4": last4, "network": "visa",
            }},
            "receipt_email": null, "receipt_number": null, "receipt_url": null,
            "refunded": self.amount_refunded > 0 && self.amount_refunded == self.amount,
            "review": null, "shipping": null, "source": null, "source_transfer": null,
            "statement_descriptor": null, "statement_descriptor_suffix": null,
            "status": if self.failure.is_none() { "succeeded" } else { "failed" },
            "transfer_data": null, "transfer_group": null,
        })
    }
}

/// Money given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refund {
    pub(crate) id: String,
    /// Unix seconds.
    pub(crate) created: u64,
    pub(crate) intent: String,
    pub(crate) charge: String,
    pub(crate) amount: u64,
    pub(crate) currency: String,
    pub(crate) reason: Option<String>,
    pub(crate) metadata: Metadata,
    pub(crate) balance_transaction: String,
}

impl Refund {
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "id": self.id, "object": "refund", "amount": self.amount,
            "balance_transaction": self.balance_transaction, "charge": self.charge,
            "created": self.created, "currency": self.currency,
            "destination_details": {"type": "card", "card": {"type": "refund"}},
            "metadata": self.metadata, "payment_intent": self.intent, "reason": self.reason,
            "receipt_number": null, "source_transfer_reversal": null, "status": "succeeded",
            "transfer_reversal": null,
        })
    }
}

/// One line of the account's books.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Transaction {
    pub(crate) id: String,
    /// Unix seconds.
    pub(crate) created: u64,
    /// Positive for money taken, negative for money given back.
    pub(crate) amount: i64,
    pub(crate) currency: String,
    pub(crate) source: String,
    pub(crate) kind: &'static str,
}

impl Transaction {
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "id": self.id, "object": "balance_transaction", "amount": self.amount,
            "available_on": self.created, "created": self.created, "currency": self.currency,
            "description": null, "exchange_rate": null, "fee": 0, "fee_details": [],
            "net": self.amount, "reporting_category": self.kind, "source": self.source,
            "status": "available", "type": self.kind,
        })
    }
}

/// What an event tells about, as it was then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Intent(Intent),
    Charge(Charge),
    Refund(Refund),
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) id: String,
    /// Unix seconds.
    pub(crate) created: u64,
    pub(crate) kind: &'static str,
    pub(crate) subject: Subject,
    pub(crate) key: Option<String>,
}

impl Event {
    pub(crate) fn to_json(&self, base_url: &str) -> Value {
        let object = match &self.subject {
            Subject::Intent(intent) => intent.to_json(base_url),
            Subject::Charge(charge) => charge.to_json(),
            Subject::Refund(refund) => refund.to_json(),
        };
        json!({
            "id": self.id, "object": "event", "api_version": super::API_VERSION,
            "created": self.created, "data": {"object": object}, "livemode": false,
            "pending_webhooks": 0, "request": {"id": null, "idempotency_key": self.key},
            "type": self.kind,
        })
    }
}

macro_rules! records {
    ($($name:ident),*) => { $(
        impl Record for $name {
            fn id(&self) -> &str { &self.id }
            fn created(&self) -> u64 { self.created }
        }
    )* };
}
records!(Intent, Charge, Refund, Transaction, Event);
