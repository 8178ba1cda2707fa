//! Owns handing the gateway's webhooks on to the payment workers, byte for byte.
//!
//! Must never read them: who checks the signature needs the raw body, and nobody trusts the rest.

use std::sync::Arc;

use http::{HeaderName, StatusCode};
use onsale_mesh::Failure;
use onsale_proto::{
    Code,
    payments::{ReceiveWebhookRequest, payments_service_client::PaymentsServiceClient},
};

use crate::{
    documents::timed,
    problem::Problem,
    reply::{self, Reply},
    request::Request,
    service::Edge,
};

const SIGNATURE: HeaderName = HeaderName::from_static("stripe-signature");
const SIGNATURE_CHARS_MAX: usize = 2_048;

/// `POST /webhooks/stripe`
pub(crate) async fn webhook(edge: Arc<Edge>, request: Request) -> Result<Reply, Problem> {
    let signature = request
        .header(&SIGNATURE)
        .filter(|signature| (1..=SIGNATURE_CHARS_MAX).contains(&signature.len()))
        .ok_or_else(|| Problem::field("Stripe-Signature", "is required"))?;
    let message =
        ReceiveWebhookRequest { body: request.body.clone(), signature: signature.to_owned() };
    let deadline = request.deadline;
    let mut payments = PaymentsServiceClient::new(edge.payments.clone());
    let call = payments.receive_webhook(timed(message, deadline.remaining()));
    match tokio::time::timeout_at(deadline.instant(), call).await {
        Ok(Ok(_)) => Ok(reply::json(StatusCode::OK, &b"{\"received\":true}"[..])),
        Ok(Err(status)) => match Code::from_status(&status) {
            Code::InvalidRequest | Code::Unauthenticated | Code::Forbidden => {
                Err(Problem::field("Stripe-Signature", "does not fit the body"))
            }
            // The gateway sends it again.
            Code::OutcomeUnknown => Err(late()),
            _ => Err(Failure::from(status).into()),
        },
        Err(_) => Err(late()),
    }
}

fn late() -> Problem {
    Problem::new(Code::Unavailable, "not taken in time; send it again")
}
