//! Owns what may happen to a payment intent: create, confirm, the buyer's action, capture, cancel.
//!
//! Must never let money be taken twice or after a cancel: every step asks the intent's state.

use super::{
    answer::{Answer, ApiError},
    books::Books,
    form::Form,
    objects::{Charge, Decline, Intent, Metadata, Status, Subject},
};
use crate::limits::{
    SANDBOX_AMOUNT_MAX, SANDBOX_METADATA_KEY_MAX, SANDBOX_METADATA_MAX, SANDBOX_METADATA_VALUE_MAX,
};

const CREATE: &[&str] = &[
    "amount",
    "automatic_payment_methods",
    "capture_method",
    "confirm",
    "confirmation_method",
    "currency",
    "description",
    "error_on_requires_action",
    "expand",
    "metadata",
    "off_session",
    "payment_method",
    "payment_method_data",
    "payment_method_options",
    "payment_method_types",
    "receipt_email",
    "return_url",
    "shipping",
    "statement_descriptor",
    "statement_descriptor_suffix",
    "use_stripe_sdk",
];
const CONFIRM: &[&str] = &[
    "expand",
    "off_session",
    "payment_method",
    "payment_method_options",
    "return_url",
    "use_stripe_sdk",
    "error_on_requires_action",
    "capture_method",
];
const CAPTURE: &[&str] = &[
    "amount_to_capture",
    "expand",
    "final_capture",
    "metadata",
    "statement_descriptor",
    "statement_descriptor_suffix",
];
const CANCEL: &[&str] = &["cancellation_reason", "expand"];

/// How a test card behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Card {
    Pays,
    Declines(Decline),
    AsksBuyer,
}

const fn declines(code: &'static str, decline_code: &'static str, message: &'static str) -> Card {
    Card::Declines(Decline { code, decline_code, message })
}

const BUYER_REFUSED: Decline = Decline {
    code: "payment_intent_authentication_failure",
    decline_code: "authentication_failed",
    message: "The provided payment method has failed authentication.",
};

fn card(method: &str) -> Option<Card> {
    Some(match method {
        "pm_card_visa" | "pm_card_mastercard" | "pm_card_amex" => Card::Pays,
        "pm_card_chargeDeclined" | "pm_card_visa_chargeDeclined" => {
            declines("card_declined", "generic_decline", "Your card was declined.")
        }
        "pm_card_chargeDeclinedInsufficientFunds"
        | "pm_card_visa_chargeDeclinedInsufficientFunds" => {
            declines("card_declined", "insufficient_funds", "Your card has insufficient funds.")
        }
        "pm_card_chargeDeclinedExpiredCard" => {
            declines("expired_card", "expired_card", "Your card has expired.")
        }
        "pm_card_authenticationRequired" => Card::AsksBuyer,
        _ => return None,
    })
}

/// Whether the sandbox knows this payment method.
pub(crate) fn is_method(method: &str) -> bool {
    card(method).is_some()
}

impl Books {
    pub(crate) fn create_intent(&mut self, form: &Form) -> Result<Answer, ApiError> {
        refuse_unknown(form, CREATE)?;
        let amount = amount(form, "amount")?.ok_or_else(|| ApiError::missing("amount"))?;
        let currency = currency(form)?;
        let confirm = flag(form, "confirm")?;
        let method = known_method(form)?;
        let manual_capture = match form.get("capture_method") {
            None | Some("automatic" | "automatic_async") => false,
            Some("manual") => true,
            Some(_) => return Err(bad("capture_method", "must be automatic or manual")),
        };
        if confirm && method.is_none() {
            return Err(bad("payment_method", "is needed to confirm a PaymentIntent"));
        }
        let metadata = metadata(form)?;
        let id = self.mint("pi_");
        let secret = self.mint("");
        self.intents.add(Intent {
            client_secret: format!("{id}_secret_{secret}"),
            id: id.clone(),
            created: self.now_s(),
            amount,
            currency,
            status: match method {
                Some(_) => Status::RequiresConfirmation,
                None => Status::RequiresPaymentMethod,
            },
            manual_capture,
            payment_method: method,
            metadata,
            description: form.get("description").map(str::to_owned),
            return_url: return_url(form)?,
            latest_charge: None,
            last_error: None,
            canceled_at: None,
            cancellation_reason: None,
            amount_received: 0,
        });
        self.tell_intent("payment_intent.created", &id);
        if confirm {
            return self.attempt(&id);
        }
        self.intent_answer(&id)
    }

    pub(crate) fn confirm_intent(&mut self, id: &str, form: &Form) -> Result<Answer, ApiError> {
        refuse_unknown(form, CONFIRM)?;
        let method = known_method(form)?;
        let return_url = return_url(form)?;
        let intent = self.open_intent(id)?;
        let allowed = match intent.status {
            Status::RequiresPaymentMethod => method.is_some(),
            Status::RequiresConfirmation | Status::RequiresAction => true,
            _ => false,
        };
        if !allowed {
            let status = intent.status.as_str();
            let message = format!(
                "You cannot confirm this PaymentIntent because it has a status of {status} and \
                 no new payment method was given."
            );
            return Err(ApiError::unexpected_state(intent, message));
        }
        if method.is_some() {
            intent.payment_method = method;
        }
        if return_url.is_some() {
            intent.return_url = return_url;
        }
        self.attempt(id)
    }

    /// Tries the intent's card.
    fn attempt(&mut self, id: &str) -> Result<Answer, ApiError> {
        let intent = self.open_intent(id)?;
        intent.last_error = None;
        let method = intent.payment_method.clone().unwrap_or_default();
        match card(&method) {
            Some(Card::Pays) => self.authorised(id),
            Some(Card::AsksBuyer) => {
                intent.status = Status::RequiresAction;
                self.tell_intent("payment_intent.requires_action", id);
                self.intent_answer(id)
            }
            Some(Card::Declines(decline)) => {
                self.charge(id, Some(decline))?;
                self.refused(id, decline)
            }
            None => Err(ApiError::no_such("payment_method", &method)),
        }
    }

    fn authorised(&mut self, id: &str) -> Result<Answer, ApiError> {
        self.charge(id, None)?;
        let intent = self.open_intent(id)?;
        intent.status = Status::RequiresCapture;
        if intent.manual_capture {
            self.tell_intent("payment_intent.amount_capturable_updated", id);
            return self.intent_answer(id);
        }
        let amount = intent.amount;
        self.take(id, amount)
    }

    fn refused(&mut self, id: &str, decline: Decline) -> Result<Answer, ApiError> {
        let intent = self.open_intent(id)?;
        intent.status = Status::RequiresPaymentMethod;
        intent.last_error = Some(decline);
        let shown = intent.clone();
        self.tell_intent("payment_intent.payment_failed", id);
        Err(ApiError::declined(decline, shown))
    }

    fn charge(&mut self, id: &str, failure: Option<Decline>) -> Result<(), ApiError> {
        let charge_id = self.mint("ch_");
        let created = self.now_s();
        let intent = self.open_intent(id)?;
        intent.latest_charge = Some(charge_id.clone());
        let charge = Charge {
            id: charge_id,
            created,
            intent: intent.id.clone(),
            amount: intent.amount,
            currency: intent.currency.clone(),
            amount_captured: 0,
            amount_refunded: 0,
            captured: false,
            failure,
            payment_method: intent.payment_method.clone().unwrap_or_default(),
            balance_transaction: None,
            metadata: intent.metadata.clone(),
        };
        self.charges.add(charge);
        Ok(())
    }

    /// Takes authorised money; what is not taken is let go.
    fn take(&mut self, id: &str, amount: u64) -> Result<Answer, ApiError> {
        let intent = self.open_intent(id)?;
        intent.status = Status::Succeeded;
        intent.amount_received = amount;
        let (currency, charge) = (intent.currency.clone(), intent.latest_charge.clone());
        let charge = charge.unwrap_or_default();
        let signed = i64::try_from(amount).unwrap_or(i64::MAX);
        let transaction = self.book("charge", signed, &currency, &charge);
        if let Some(charge) = self.charges.get_mut(&charge) {
            charge.captured = true;
            charge.amount_captured = amount;
            charge.balance_transaction = Some(transaction);
            let charge = charge.clone();
            self.tell("charge.captured", Subject::Charge(charge));
        }
        self.tell_intent("payment_intent.succeeded", id);
        self.intent_answer(id)
    }

    pub(crate) fn capture_intent(&mut self, id: &str, form: &Form) -> Result<Answer, ApiError> {
        refuse_unknown(form, CAPTURE)?;
        let wanted = amount(form, "amount_to_capture")?;
        let intent = self.open_intent(id)?;
        if intent.status != Status::RequiresCapture {
            let message = match intent.status {
                Status::Succeeded => "This PaymentIntent could not be captured because it has \
                    already been captured."
                    .to_owned(),
                other => format!(
                    "This PaymentIntent could not be captured because it has a status of {}. \
                     Only a PaymentIntent with one of the following statuses may be captured: \
                     requires_capture.",
                    other.as_str()
                ),
            };
            return Err(ApiError::unexpected_state(intent, message));
        }
        let amount = wanted.unwrap_or(intent.amount);
        if amount > intent.amount {
            return Err(ApiError::invalid(
                Some("amount_too_large"),
                "amount_to_capture",
                "The amount to capture is larger than what is capturable.".to_owned(),
            ));
        }
        self.take(id, amount)
    }

    pub(crate) fn cancel_intent(&mut self, id: &str, form: &Form) -> Result<Answer, ApiError> {
        refuse_unknown(form, CANCEL)?;
        let reason = form.get("cancellation_reason").map(str::to_owned);
        const REASONS: [&str; 4] =
            ["duplicate", "fraudulent", "requested_by_customer", "abandoned"];
        if let Some(reason) = &reason
            && !REASONS.contains(&reason.as_str())
        {
            return Err(bad("cancellation_reason", "is not one of those there are"));
        }
        let now = self.now_s();
        let intent = self.open_intent(id)?;
        if matches!(intent.status, Status::Canceled | Status::Succeeded) {
            let status = intent.status.as_str();
            let message = format!(
                "You cannot cancel this PaymentIntent because it has a status of {status}."
            );
            return Err(ApiError::unexpected_state(intent, message));
        }
        let was_authorised = intent.status == Status::RequiresCapture;
        intent.status = Status::Canceled;
        intent.canceled_at = Some(now);
        intent.cancellation_reason = reason;
        let charge = intent.latest_charge.clone().unwrap_or_default();
        if was_authorised && let Some(charge) = self.charges.get_mut(&charge) {
            charge.amount_refunded = charge.amount;
        }
        self.tell_intent("payment_intent.canceled", id);
        self.intent_answer(id)
    }

    /// The buyer's answer on the sandbox's page.
    pub(crate) fn decide_action(&mut self, id: &str, form: &Form) -> Result<Answer, ApiError> {
        let intent = self.open_intent(id)?;
        let waiting = intent.status == Status::RequiresAction;
        let back = intent.return_url.clone();
        match (form.get("outcome"), waiting) {
            (Some("succeed" | "fail"), false) => {}
            (Some("succeed"), true) => drop(self.authorised(id)?),
            (Some("fail"), true) => drop(self.refused(id, BUYER_REFUSED)),
            _ => return Err(bad("outcome", "must be succeed or fail")),
        }
        let intent = self.open_intent(id)?;
        Ok(match back {
            Some(url) => {
                let joint = if url.contains('?') { '&' } else { '?' };
                let status = match intent.status {
                    Status::RequiresCapture | Status::Succeeded => "succeeded",
                    _ => "failed",
                };
                Answer::Redirect(format!(
                    "{url}{joint}payment_intent={id}&redirect_status={status}"
                ))
            }
            None => Answer::Page(Box::new(intent.clone())),
        })
    }

    fn open_intent(&mut self, id: &str) -> Result<&mut Intent, ApiError> {
        let intent = self.intents.get_mut(id);
        intent.ok_or_else(|| ApiError::no_such("payment_intent", id))
    }
}

fn bad(param: &str, what: &str) -> ApiError {
    ApiError::invalid(None, param, format!("Invalid {param}: it {what}."))
}

/// Refuses parameters that the call does not have.
pub(crate) fn refuse_unknown(form: &Form, known: &[&str]) -> Result<(), ApiError> {
    form.unknown(known).map_or(Ok(()), |name| {
        let shown: String = name.chars().take(64).collect();
        let message = format!("Received unknown parameter: {shown}");
        Err(ApiError::invalid(Some("parameter_unknown"), &shown, message))
    })
}

/// A positive amount in minor units.
pub(crate) fn amount(form: &Form, name: &str) -> Result<Option<u64>, ApiError> {
    let Some(text) = form.get(name) else {
        return Ok(None);
    };
    match text.parse::<u64>() {
        Ok(0) => Err(ApiError::invalid(
            Some("parameter_invalid_integer"),
            name,
            "This value must be greater than or equal to 1.".to_owned(),
        )),
        Ok(amount) if amount > SANDBOX_AMOUNT_MAX => Err(ApiError::invalid(
            Some("amount_too_large"),
            name,
            format!("Amount must be no more than {SANDBOX_AMOUNT_MAX}"),
        )),
        Ok(amount) => Ok(Some(amount)),
        Err(_) => Err(ApiError::invalid(
            Some("parameter_invalid_integer"),
            name,
            "Invalid integer".to_owned(),
        )),
    }
}

/// Key-value pairs within the gateway's bounds.
pub(crate) fn metadata(form: &Form) -> Result<Metadata, ApiError> {
    let mut pairs = Metadata::new();
    for (key, value) in form.under("metadata") {
        let fits = !key.is_empty()
            && key.chars().count() <= SANDBOX_METADATA_KEY_MAX
            && value.chars().count() <= SANDBOX_METADATA_VALUE_MAX;
        if !fits {
            return Err(bad("metadata", "has a key or a value that is too long"));
        }
        pairs.insert(key.to_owned(), value.to_owned());
    }
    if pairs.len() > SANDBOX_METADATA_MAX {
        return Err(bad("metadata", "has too many pairs"));
    }
    Ok(pairs)
}

fn currency(form: &Form) -> Result<String, ApiError> {
    let text = form.get("currency").ok_or_else(|| ApiError::missing("currency"))?;
    let text = text.to_ascii_lowercase();
    if text.len() == 3 && text.bytes().all(|letter| letter.is_ascii_lowercase()) {
        return Ok(text);
    }
    Err(bad("currency", "must be three letters"))
}

fn flag(form: &Form, name: &str) -> Result<bool, ApiError> {
    match form.get(name) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(bad(name, "must be true or false")),
    }
}

fn known_method(form: &Form) -> Result<Option<String>, ApiError> {
    match form.get("payment_method") {
        None | Some("") => Ok(None),
        Some(method) if is_method(method) => Ok(Some(method.to_owned())),
        Some(method) => {
            Err(ApiError { status: 400, ..ApiError::no_such("payment_method", method) })
        }
    }
}

fn return_url(form: &Form) -> Result<Option<String>, ApiError> {
    match form.get("return_url") {
        None => Ok(None),
        Some(url) if is_web_address(url) => Ok(Some(url.to_owned())),
        Some(_) => {
            Err(ApiError::invalid(Some("url_invalid"), "return_url", "Not a valid URL".to_owned()))
        }
    }
}

fn is_web_address(url: &str) -> bool {
    let web = url.starts_with("https://") || url.starts_with("http://");
    web && url.len() <= 2_048 && url.bytes().all(|byte| byte.is_ascii_graphic())
}
