//! Owns the way from an event's form to an order: hold, extend, release, check out.
//!
//! Must never put a token into a URL: it goes into a cookie that only the hold's own path sees.

use std::sync::Arc;

use askama::Template;
use onsale_proto::id;

use super::{
    HOLD_COOKIE, HOLD_COOKIE_SECONDS, ORDER_COOKIE, ORDER_COOKIE_SECONDS, lasting, moment, money,
    page, wish_form,
};
use crate::{
    handlers::{
        checkout::{self, Checkout},
        holds, places,
        reserve::{self, identify},
    },
    idempotency, offer_view,
    problem::Problem,
    reply::{self, Reply},
    request::{Form, Request},
    service::Edge,
    session::set_cookie,
};

struct Line<'a> {
    what: String,
    ticket_type: &'a str,
    price: String,
}

#[derive(Template)]
#[template(path = "hold.html")]
struct HoldPage<'a> {
    hold_id: &'a str,
    event_id: &'a str,
    event: &'a str,
    state: &'a str,
    typed: bool,
    lines: Vec<Line<'a>>,
    total: String,
    remaining: String,
    expires: String,
    extensions: u32,
    can_extend: bool,
    order_id: Option<String>,
    key: String,
}

/// `POST /events/{event_id}/reserve`
pub(crate) async fn reserve(edge: Arc<Edge>, request: Request) -> Result<Reply, Problem> {
    let form = request.form()?;
    let key = form_key(&form)?;
    let event_id = request.param(0);
    let view = edge.documents.get(event_id, request.deadline).await?;
    let wishes = wish_form::wishes(&view, &form, &edge.secret)?;
    let (key, session) = identify(&edge, &request, event_id, key);
    let granted = reserve::hold(&edge, &view, &wishes, (key, &session), request.deadline).await?;
    let path = format!("/holds/{}", id::format(id::HOLD, granted.hold));
    let mut reply = reply::see_other(&path);
    let token = edge.secret.hold_token(granted.hold);
    let secure = edge.config.secure_cookies;
    set_cookie(&mut reply, HOLD_COOKIE, &token, &path, HOLD_COOKIE_SECONDS, secure);
    session.set_cookie(&mut reply, &edge.secret, secure);
    Ok(reply)
}

fn form_key(form: &Form) -> Result<&str, Problem> {
    let key = form.get("key").unwrap_or("");
    idempotency::check(key).map_err(|detail| Problem::field("key", detail))?;
    Ok(key)
}

/// The hold that the path names, if the browser has its token.
fn proven(edge: &Edge, request: &Request) -> Result<u128, Problem> {
    let token = request.cookie(HOLD_COOKIE).unwrap_or("");
    holds::prove(edge, request.param(0), token).map_err(|_| {
        Problem::not_found("there is no such hold, or it was made with another browser")
    })
}

/// `GET /holds/{hold_id}`
pub(crate) async fn hold(edge: Arc<Edge>, request: Request) -> Result<Reply, Problem> {
    request.query(&[])?;
    let hold = proven(&edge, &request)?;
    let (state, view) = holds::read(&edge, hold, request.deadline).await?;
    let currency = &view.document.currency;
    let lines = state.places.iter().map(|place| Line {
        what: places::seat_id(&view, place).unwrap_or_else(|| {
            let section = view.section(place.section);
            section.map_or_else(String::new, |section| section.name.clone())
        }),
        ticket_type: offer_view::type_name(&view.document, place.ticket_type),
        price: money(place.price_minor, currency),
    });
    let total = state.places.iter().map(|place| place.price_minor).sum();
    let rules = view.document.rules.unwrap_or_default();
    page(&HoldPage {
        hold_id: request.param(0),
        event_id: &state.event_id,
        event: &view.document.name,
        state: &state.state,
        typed: !view.document.types.is_empty(),
        lines: lines.collect(),
        total: money(total, currency),
        remaining: lasting(holds::remaining_seconds(&state)),
        expires: moment(state.expires_at_ms),
        extensions: state.extensions,
        can_extend: state.extensions < rules.hold_extensions_max,
        order_id: id::from_bytes(&state.order_id).map(|order| id::format(id::ORDER, order)),
        key: idempotency::new_key()?,
    })
}

/// `POST /holds/{hold_id}/extend`
pub(crate) async fn extend(edge: Arc<Edge>, request: Request) -> Result<Reply, Problem> {
    let form = request.form()?;
    let hold = proven(&edge, &request)?;
    let seen = match form.get("seen") {
        Some(text) => {
            let seen = text.parse::<u16>();
            Some(seen.map_err(|_| Problem::field("seen", "must be a whole number"))?.into())
        }
        None => None,
    };
    holds::lengthen(&edge, hold, (seen, None), request.deadline).await?;
    Ok(reply::see_other(&format!("/holds/{}", request.param(0))))
}

/// `POST /holds/{hold_id}/release`
pub(crate) async fn release(edge: Arc<Edge>, request: Request) -> Result<Reply, Problem> {
    request.form()?;
    let hold = proven(&edge, &request)?;
    let (state, _) = holds::read(&edge, hold, request.deadline).await?;
    holds::give_back(&edge, hold, request.deadline).await?;
    Ok(reply::see_other(&format!("/events/{}", state.event_id)))
}

/// `POST /holds/{hold_id}/checkout`
pub(crate) async fn checkout(edge: Arc<Edge>, request: Request) -> Result<Reply, Problem> {
    let form = request.form()?;
    let key = form_key(&form)?;
    proven(&edge, &request)?;
    let text = |name| form.get(name).unwrap_or("");
    let mut body = serde_json::json!({
        "hold_id": request.param(0),
        "hold_token": request.cookie(HOLD_COOKIE).unwrap_or(""),
        "contact": { "name": text("name").trim(), "email": text("email").trim() },
    });
    if let Some(method) = form.get("payment_method") {
        body["payment_method"] = method.into();
    }
    let checkout = Checkout::read(&body)?;
    let begun = checkout::begin(&edge, &request, key, &checkout, request.deadline).await?;
    let path = format!("/orders/{}", id::format(id::ORDER, begun.order));
    let mut reply = reply::see_other(&path);
    let token = edge.secret.order_token(begun.order);
    let secure = edge.config.secure_cookies;
    set_cookie(&mut reply, ORDER_COOKIE, &token, &path, ORDER_COOKIE_SECONDS, secure);
    Ok(reply)
}
