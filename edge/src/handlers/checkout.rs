//! Owns `POST /v1/checkout`: hold and contact → an order that is being paid.
//!
//! Must never let a name or an address into a hash without a key, a log line or an error.

use std::sync::Arc;

use bytes::Bytes;
use http::{StatusCode, header};
use onsale_mesh::Deadline;
use onsale_proto::{
    Code,
    allocator::{BeginCheckoutCommand, Command, Contact, command, outcome},
    id, keyed,
};
use serde::Serialize;
use serde_json::Value;

use super::holds;
use crate::{
    idempotency::{self, Canonical},
    json::{At, Faults, Object},
    limits,
    problem::Problem,
    reply::{self, Reply},
    request::Request,
    service::Edge,
    session::Session,
};

/// The gateway's shared test methods begin so: they name nobody's card.
const TEST_METHOD_PREFIX: &str = "pm_card_";

/// What a checkout says.
pub(crate) struct Checkout {
    pub hold_id: String,
    pub hold_token: String,
    pub name: String,
    pub email: String,
    pub payment_method: String,
}

/// An order that was begun.
pub(crate) struct Begun {
    pub order: u128,
    pub replayed: bool,
}

#[derive(Serialize)]
struct Answer<'a> {
    order_id: &'a str,
    order_token: String,
    status: &'static str,
    status_url: &'a str,
}

impl Checkout {
    /// Reads the body.
    pub(crate) fn read(body: &Value) -> Result<Checkout, Problem> {
        let mut faults = Faults::default();
        let checkout = Checkout::read_object(body, &mut faults);
        match checkout {
            Some(checkout) if faults.is_empty() => Ok(checkout),
            _ => Err(Problem::fields(faults.into_errors())),
        }
    }

    fn read_object(body: &Value, faults: &mut Faults) -> Option<Checkout> {
        const FIELDS: [&str; 4] = ["hold_id", "hold_token", "contact", "payment_method"];
        let object = Object::read(body, At::Root, &FIELDS, faults)?;
        let hold_id = object.need_text("hold_id", 1..=64, faults);
        let hold_token = object.need_text("hold_token", 1..=128, faults);
        let contact = object.need("contact", faults).and_then(|contact| {
            let at = At::Field(&object.at, "contact");
            read_contact(contact, at, faults)
        });
        let method = object.text("payment_method", 1..=limits::PAYMENT_METHOD_CHARS_MAX, faults);
        if method.is_some_and(|method| !method.bytes().all(|byte| byte.is_ascii_graphic())) {
            object.fault("payment_method", "must be visible ASCII characters", faults);
        }
        let (name, email) = contact?;
        Some(Checkout {
            hold_id: hold_id?.to_owned(),
            hold_token: hold_token?.to_owned(),
            name,
            email,
            payment_method: method.unwrap_or("").to_owned(),
        })
    }

    /// The content as it is hashed, under the cluster's key.
    fn canonical(&self) -> Canonical {
        let mut canonical = Canonical::default();
        canonical.text("checkout");
        canonical.text(&self.hold_id);
        canonical.text(&self.name);
        canonical.text(&self.email);
        canonical.text(&self.payment_method);
        canonical
    }
}

fn read_contact(value: &Value, at: At<'_>, faults: &mut Faults) -> Option<(String, String)> {
    let contact = Object::read(value, at, &["name", "email"], faults)?;
    let name = name(&contact, faults);
    contact.need("email", faults);
    let email = email(&contact, faults);
    Some((name?.to_owned(), email?.to_owned()))
}

/// A person's name.
pub(crate) fn name<'a>(object: &Object<'a>, faults: &mut Faults) -> Option<&'a str> {
    let name = object.need_text("name", 1..=limits::NAME_CHARS_MAX, faults)?;
    if name.trim().is_empty() || name.contains('\n') {
        object.fault("name", "must be one line and not blank", faults);
    }
    if name.len() > limits::NAME_BYTES_MAX {
        object.fault("name", "is too long", faults);
    }
    Some(name)
}

/// An e-mail address, if there is one.
pub(crate) fn email<'a>(object: &Object<'a>, faults: &mut Faults) -> Option<&'a str> {
    let email = object.text("email", 3..=limits::EMAIL_CHARS_MAX, faults)?;
    if !is_address(email) {
        object.fault("email", "is not an e-mail address", faults);
    }
    Some(email)
}

/// Whether mail could go there: what is exact about addresses only the mail server knows.
fn is_address(text: &str) -> bool {
    let text = text.trim();
    let Some((local, domain)) = text.rsplit_once('@') else {
        return false;
    };
    let plain = |part: &str| !part.chars().any(|c| c.is_whitespace() || "<>(),;:\"@".contains(c));
    text.len() <= limits::EMAIL_CHARS_MAX
        && (1..=64).contains(&local.len())
        && plain(local)
        && plain(domain)
        && domain.split('.').all(|label| !label.is_empty())
}

/// `POST /v1/checkout`
pub(crate) async fn checkout(edge: Arc<Edge>, request: Request) -> Result<Reply, Problem> {
    let key = idempotency::required(request.headers())?;
    let checkout = Checkout::read(&request.json()?)?;
    let begun = begin(&edge, &request, &key, &checkout, request.deadline).await?;
    let order_id = id::format(id::ORDER, begun.order);
    let status_url = format!("/v1/orders/{order_id}");
    let mut reply = reply::json_of(
        StatusCode::ACCEPTED,
        &Answer {
            order_id: &order_id,
            order_token: edge.secret.order_token(begun.order),
            status: "processing",
            status_url: &status_url,
        },
    );
    reply::set(&mut reply, header::LOCATION, &status_url);
    reply::set(&mut reply, header::RETRY_AFTER, "1");
    reply::mark_replayed(&mut reply, begun.replayed);
    Ok(reply)
}

/// Fences the hold and makes its order.
pub(crate) async fn begin(
    edge: &Edge,
    request: &Request,
    key: &str,
    checkout: &Checkout,
    deadline: Deadline,
) -> Result<Begun, Problem> {
    let hold = holds::prove(edge, &checkout.hold_id, &checkout.hold_token)?;
    // A key's scope is the event, which only the hold knows.
    let state = edge.shards.get_hold(hold, deadline).await;
    let event_id = state.map_err(holds::unread)?.event_id;
    let key = edge.secret.key_hash(&event_id, key);
    let order = id::new_order(id::shard_of(hold))?;
    let command = Command {
        kind: Some(command::Kind::BeginCheckout(message(
            edge,
            request,
            key,
            checkout,
            (hold, order),
        )?)),
    };
    let outcome = edge.shards.submit(id::shard_of(hold), command, deadline).await;
    let outcome = outcome.map_err(|mut failure| {
        if checkout.payment_method.is_empty() && failure.field.ends_with("payment_method") {
            failure.detail = "is required".into();
        }
        failure
    })?;
    let Some(outcome::Result::OrderMade(made)) = outcome.result else {
        return Err(Problem::new(Code::Internal, "a checkout was answered by something else"));
    };
    let made = id::from_bytes(&made.order_id)
        .ok_or_else(|| Problem::new(Code::Internal, "an order has no id"))?;
    Ok(Begun { order: made, replayed: outcome.replayed && made != order })
}

fn message(
    edge: &Edge,
    request: &Request,
    key: u128,
    checkout: &Checkout,
    (hold, order): (u128, u128),
) -> Result<BeginCheckoutCommand, Problem> {
    let secret = &edge.secret;
    let session = Session::of(request, key, secret);
    let content = secret.request_hash(checkout.canonical().bytes());
    let buyer = session.buyer(secret);
    let email = keyed::normalise_email(&checkout.email);
    let method = &checkout.payment_method;
    let names_a_card = !method.is_empty() && !method.starts_with(TEST_METHOD_PREFIX);
    let mut salt = [0; 16];
    getrandom::fill(&mut salt)?;
    let commitment = keyed::contact_commitment(&salt, &checkout.name, &checkout.email);
    Ok(BeginCheckoutCommand {
        hold_id: id::to_bytes(hold),
        order_id: id::to_bytes(order),
        idempotency: Some(idempotency::message(key, content, buyer, session.is_new)),
        email: secret.buyer_hash("email", &email),
        card: names_a_card.then(|| secret.buyer_hash("card", method)),
        payment_method: method.clone(),
        contact_commitment: Bytes::copy_from_slice(&commitment),
        contact: Some(Contact {
            salt: Bytes::copy_from_slice(&salt),
            name: checkout.name.clone(),
            email: checkout.email.clone(),
        }),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn body() -> Value {
        json!({
            "hold_id": "hold_1", "hold_token": "t", "payment_method": "pm_card_visa",
            "contact": {"name": "Ada Lovelace", "email": "ada@example.com"},
        })
    }

    #[test]
    fn a_checkout_is_read() {
        let checkout = Checkout::read(&body()).expect("good");
        assert_eq!(checkout.email, "ada@example.com");
        assert_eq!(checkout.payment_method, "pm_card_visa");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let long = "x".repeat(256);
        let cases = [
            ("/hold_id", json!(null)),
            ("/hold_token", json!(7)),
            ("/payment_method", json!(long)),
            ("/payment_method", json!("with space")),
            ("/contact", json!("Ada")),
            ("/contact/name", json!("")),
            ("/contact/name", json!("  ")),
            ("/contact/name", json!("A\u{0}")),
            ("/contact/name", json!("x".repeat(201))),
            ("/contact/email", json!("ada")),
            ("/contact/email", json!("ada@")),
            ("/contact/email", json!("@example.com")),
            ("/contact/email", json!("a b@example.com")),
            ("/contact/email", json!("a@b@example.com")),
            ("/contact/email", json!("a@example..com")),
            ("/contact/email", json!(format!("{long}@example.com"))),
        ];
        for (pointer, value) in cases {
            let mut body = body();
            *body.pointer_mut(pointer).expect("a field") = value.clone();
            let problem = Checkout::read(&body).err().expect(pointer);
            assert_eq!(problem.errors()[0].pointer, pointer, "{value}");
            assert!(!problem.detail().contains("example.com"), "{}", problem.detail());
        }
        let mut body = body();
        body["contact"]["phone"] = json!("1");
        let problem = Checkout::read(&body).err().expect("unknown field");
        assert_eq!(problem.errors()[0].pointer, "/contact/phone");
    }
}
