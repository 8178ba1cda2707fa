//! The front that all peers share: axum, the contract's request and answer, one seat a request.
//! What people build first; nothing here is ours.
//!
//! It checks no event, no price and no key: all of that is in the peer's favour.

use std::{fmt::Write as _, net::SocketAddr};

use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use onsale_proto::time::{now_ms, to_rfc3339};
use serde::{Deserialize, Serialize};

/// Life of a hold.
pub const HOLD_MS: u64 = 600_000;
const PRICE_MINOR: u64 = 5_000;

/// axum before Redis: the peer that `onsale-bench compare` measures.
/// What keeps the holds.
pub trait Store: Clone + Send + Sync + 'static {
    /// Takes a seat for a hold unless it is taken; whether it was. `Err`: nobody knows.
    fn hold(
        &self,
        event: &str,
        seat: &str,
        hold: &str,
    ) -> impl Future<Output = Result<bool, ()>> + Send;
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reserve {
    event_id: String,
    seat_ids: Vec<String>,
}

#[derive(Serialize)]
struct Seat<'a> {
    seat_id: &'a str,
    section: &'a str,
    row: &'a str,
    number: u32,
    category: &'a str,
    price_minor: u64,
}

#[derive(Serialize)]
struct Held<'a> {
    hold_id: String,
    hold_token: String,
    event_id: &'a str,
    seats: [Seat<'a>; 1],
    total_minor: u64,
    currency: &'a str,
    expires_at: String,
    expires_in_seconds: u64,
}

#[derive(Serialize)]
struct Problem<'a> {
    r#type: &'a str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    retryable: bool,
    seat_ids: &'a [String],
}

/// Serves until the process ends; says `ready URL` when it does.
///
/// # Errors
/// When the address is taken.
pub async fn serve<S: Store>(listen: SocketAddr, store: S) -> anyhow::Result<()> {
    let routes = Router::new().route("/v1/reserve", post(reserve::<S>)).with_state(store);
    let listener = tokio::net::TcpListener::bind(listen).await?;
    let nodelay = axum::serve::ListenerExt::tap_io(listener, |socket| {
        let _ = socket.set_nodelay(true);
    });
    println!("ready http://{}", axum::serve::Listener::local_addr(&nodelay)?);
    axum::serve(nodelay, routes).await?;
    Ok(())
}

async fn reserve<S: Store>(State(store): State<S>, headers: HeaderMap, body: Bytes) -> Response {
    if !headers.contains_key("idempotency-key") {
        return problem(StatusCode::BAD_REQUEST, "idempotency_key_required", &[]);
    }
    let Ok(wish) = serde_json::from_slice::<Reserve>(&body) else {
        return problem(StatusCode::BAD_REQUEST, "invalid_request", &[]);
    };
    let [seat_id] = wish.seat_ids.as_slice() else {
        return problem(StatusCode::BAD_REQUEST, "invalid_request", &wish.seat_ids);
    };
    let Some((section, row, number)) = split(seat_id) else {
        return problem(StatusCode::BAD_REQUEST, "invalid_request", &wish.seat_ids);
    };
    let (Ok(hold), Ok(token)) = (random_hex(), random_hex()) else {
        return problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", &[]);
    };
    match store.hold(&wish.event_id, seat_id, &hold).await {
        Ok(true) => {}
        Ok(false) => return problem(StatusCode::CONFLICT, "seat_unavailable", &wish.seat_ids),
        Err(()) => return problem(StatusCode::GATEWAY_TIMEOUT, "outcome_unknown", &[]),
    }
    let seat = Seat { seat_id, section, row, number, category: "A", price_minor: PRICE_MINOR };
    let held = Held {
        hold_id: format!("hold_{hold}"),
        hold_token: token,
        event_id: &wish.event_id,
        seats: [seat],
        total_minor: PRICE_MINOR,
        currency: "EUR",
        expires_at: to_rfc3339(now_ms() + HOLD_MS),
        expires_in_seconds: HOLD_MS / 1_000,
    };
    Json(held).into_response()
}

fn problem(status: StatusCode, code: &str, seat_ids: &[String]) -> Response {
    let body = Problem {
        r#type: "about:blank",
        title: code,
        status: status.as_u16(),
        detail: code,
        code,
        retryable: status.is_server_error(),
        seat_ids,
    };
    (status, [(header::CONTENT_TYPE, "application/problem+json")], Json(body)).into_response()
}

/// Section, row and number of `101-A-12`.
fn split(seat_id: &str) -> Option<(&str, &str, u32)> {
    let (rest, number) = seat_id.rsplit_once('-')?;
    let (section, row) = rest.rsplit_once('-')?;
    Some((section, row, number.parse().ok()?))
}

fn random_hex() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    let mut text = String::with_capacity(32);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_id_has_three_parts() {
        assert_eq!(split("101-A-12"), Some(("101", "A", 12)));
        assert_eq!(split("A-12"), None);
        assert_eq!(split("101-A-x"), None);
    }

    #[test]
    fn keys_differ() {
        let key = || random_hex().expect("randomness");
        assert_eq!(key().len(), 32);
        assert_ne!(key(), key());
    }
}
