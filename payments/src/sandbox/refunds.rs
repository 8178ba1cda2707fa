//! Owns giving money back.
//!
//! Must never give back more than was taken.

use super::{
    answer::{Answer, ApiError},
    books::Books,
    form::Form,
    intents::{amount, metadata, refuse_unknown},
    objects::{Refund, Subject},
};

const CREATE: &[&str] = &["amount", "charge", "expand", "metadata", "payment_intent", "reason"];
const REASONS: [&str; 3] = ["duplicate", "fraudulent", "requested_by_customer"];

impl Books {
    pub(crate) fn create_refund(&mut self, form: &Form) -> Result<Answer, ApiError> {
        refuse_unknown(form, CREATE)?;
        let wanted = amount(form, "amount")?;
        let reason = form.get("reason").map(str::to_owned);
        if let Some(reason) = &reason
            && !REASONS.contains(&reason.as_str())
        {
            let message = format!("Invalid reason: must be one of {}", REASONS.join(", "));
            return Err(ApiError::invalid(None, "reason", message));
        }
        let metadata = metadata(form)?;
        let charge_id = self.charge_of(form)?;
        let (id, now) = (self.mint("re_"), self.now_s());
        let charge = self.charges.get_mut(&charge_id);
        let charge = charge.ok_or_else(|| ApiError::no_such("charge", &charge_id))?;
        let left = charge.amount_captured.saturating_sub(charge.amount_refunded);
        if !charge.captured || left == 0 {
            return Err(ApiError::invalid(
                Some("charge_already_refunded"),
                "",
                format!("Charge {charge_id} has already been refunded or was never captured."),
            ));
        }
        let amount = wanted.unwrap_or(left);
        if amount > left {
            let message = format!(
                "Refund amount ({amount}) is greater than unrefunded amount on charge ({left})"
            );
            return Err(ApiError::invalid(Some("amount_too_large"), "amount", message));
        }
        charge.amount_refunded += amount;
        let charge = charge.clone();
        let signed = i64::try_from(amount).unwrap_or(i64::MAX);
        let refund = Refund {
            balance_transaction: self.book("refund", -signed, &charge.currency, &id),
            id,
            created: now,
            intent: charge.intent.clone(),
            charge: charge.id.clone(),
            amount,
            currency: charge.currency.clone(),
            reason,
            metadata,
        };
        self.refunds.add(refund.clone());
        self.tell("refund.created", Subject::Refund(refund.clone()));
        self.tell("charge.refunded", Subject::Charge(charge));
        Ok(Answer::Refund(refund))
    }

    fn charge_of(&self, form: &Form) -> Result<String, ApiError> {
        if let Some(charge) = form.get("charge") {
            return Ok(charge.to_owned());
        }
        let id = form.get("payment_intent");
        let id = id.ok_or_else(|| ApiError::missing("payment_intent"))?;
        let intent = self.intents.get(id);
        let intent = intent.ok_or_else(|| ApiError::no_such("payment_intent", id))?;
        intent.latest_charge.clone().ok_or_else(|| {
            let message = format!("PaymentIntent {id} has no successful charge to refund.");
            ApiError::unexpected_state(intent, message)
        })
    }
}
