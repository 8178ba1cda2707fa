//! Owns what one connection of a load does with an arrival: the request for it, and what its
//! answer means for the ledger.
//!
//! Must never enter anything into the ledger that was not acknowledged.

use std::{io::Write as _, sync::Arc, time::Instant};

use onsale_proto::time::{from_rfc3339, now_ms};
use serde_json::Value;

use super::{
    Options,
    op::{Fate, Op},
    wire::{Shared, Wire, text_behind},
};
use crate::{buyer::Buyer, ledger::Sampled, random::Dice};

/// One connection's player.
pub struct Player {
    /// The load's.
    pub options: Arc<Options>,
    number: u64,
    wire: Wire,
    dice: Dice,
    request: Vec<u8>,
    sent: u64,
    buyer: Option<Box<Buyer>>,
}

impl Player {
    /// Of connection `number`.
    pub fn new(options: Arc<Options>, number: u64, wire: Wire) -> Player {
        let dice = Dice::new(options.seed, number);
        let request = Vec::with_capacity(512);
        Player { options, number, wire, dice, request, sent: 0, buyer: None }
    }

    /// The next kind of request, by the scenario's shares.
    pub fn draw(&mut self) -> Op {
        self.options.mix.draw(&mut self.dice)
    }

    /// Whether there is nothing left to ask for.
    pub fn is_done(&self) -> bool {
        self.buyer.as_ref().is_some_and(|buyer| buyer.done)
    }

    /// Plays one arrival to its end.
    pub async fn play(&mut self, shared: &Shared, op: Op, intended: Instant) {
        match op {
            Op::Event | Op::Section => self.read(shared, op, intended).await,
            Op::Reserve => match self.options.stock.fresh() {
                Some(seat) => self.reserve(shared, op, seat, intended).await,
                None => shared.run_out(),
            },
            Op::Lose => match self.options.stock.lost(&mut self.dice) {
                Some(seat) => self.reserve(shared, op, seat, intended).await,
                None => shared.run_out(),
            },
            Op::Bot => match self.options.stock.front(&mut self.dice) {
                Some(seat) => self.reserve(shared, op, seat, intended).await,
                None => shared.run_out(),
            },
            Op::Best => self.best(shared, intended).await,
            _ => self.buy(shared, intended).await,
        }
    }

    /// What the connection's buyer experienced goes to the load's story.
    pub async fn end(&mut self, _shared: &Shared) {
        if let Some(buyer) = self.buyer.take() {
            self.options.story().add(buyer.end());
        }
    }

    async fn buy(&mut self, shared: &Shared, intended: Instant) {
        let number = self.number;
        let options = &self.options;
        let buyer =
            self.buyer.get_or_insert_with(|| Box::new(Buyer::new(Arc::clone(options), number)));
        buyer.turn(shared, intended).await;
    }

    async fn read(&mut self, shared: &Shared, op: Op, intended: Instant) {
        let Some((event, key)) = self.options.stock.section(&mut self.dice) else {
            shared.run_out();
            return;
        };
        self.request.clear();
        let (host, event) = (&self.options.target.authority, &event.event_id);
        // Writing to a Vec cannot fail.
        let _ = match op {
            Op::Section => write!(
                self.request,
                "GET /v1/events/{event}/availability?section={key} HTTP/1.1\r\nHost: {host}\r\n\r\n"
            ),
            _ => write!(self.request, "GET /v1/events/{event} HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        };
        self.wire.send(shared, op, &self.request, intended).await;
    }

    /// Asks for one named seat; with retries, again under the same key when nobody answered.
    async fn reserve(&mut self, shared: &Shared, op: Op, seat: (usize, u64), intended: Instant) {
        let options = Arc::clone(&self.options);
        let Some(event) = options.stock.events.get(seat.0) else { return };
        let Some(seat_id) = event.id(seat.1) else { return };
        let wish = format!(r#"{{"event_id":"{}","seat_ids":["{seat_id}"]}}"#, event.event_id);
        self.prepare(&wish);
        let mut intended = intended;
        for attempt in 0..=options.retries {
            let heard = self.wire.send(shared, op, &self.request, intended).await;
            match heard.fate {
                Fate::Good if heard.status == 200 => {
                    granted(&options, seat, heard.body);
                    return;
                }
                Fate::Lost | Fate::Unknown | Fate::Limited
                    if attempt < options.retries && !shared.is_over() =>
                {
                    intended = Instant::now();
                }
                Fate::Lost | Fate::Unknown => {
                    options.stock.ledger().unknown += 1;
                    return;
                }
                _ => return,
            }
        }
    }

    async fn best(&mut self, shared: &Shared, intended: Instant) {
        let options = Arc::clone(&self.options);
        let Some(event) = options.stock.events.first() else {
            shared.run_out();
            return;
        };
        self.prepare(&format!(r#"{{"event_id":"{}","quantity":2}}"#, event.event_id));
        let heard = self.wire.send(shared, Op::Best, &self.request, intended).await;
        if heard.fate == Fate::Good {
            let body: Value = serde_json::from_slice(heard.body).unwrap_or_default();
            for seat in body["seats"].as_array().into_iter().flatten() {
                let id = seat["seat_id"].as_str().unwrap_or_default();
                if let Some(place) = event.position(id) {
                    granted(&options, (0, place), heard.body);
                }
            }
        } else if matches!(heard.fate, Fate::Lost | Fate::Unknown) {
            options.stock.ledger().unknown += 2;
        }
    }

    /// A `POST /v1/reserve` under a key of its own.
    fn prepare(&mut self, wish: &str) {
        self.sent += 1;
        self.request.clear();
        // Writing to a Vec cannot fail.
        let _ = write!(
            self.request,
            "POST /v1/reserve HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Idempotency-Key: {}-{:x}-{:x}\r\nContent-Length: {}\r\n\r\n{wish}",
            self.options.target.authority,
            self.options.run,
            self.number,
            self.sent,
            wish.len()
        );
    }
}

/// Enters an acknowledged hold.
fn granted(options: &Options, seat: (usize, u64), body: &[u8]) {
    let now = now_ms();
    let expires = text_behind(body, b"\"expires_at\":\"").and_then(from_rfc3339).unwrap_or(now);
    let mut ledger = options.stock.ledger();
    ledger.claim(seat, now, expires);
    if ledger.wants()
        && let Some(hold_id) = text_behind(body, b"\"hold_id\":\"")
        && let Some(token) = text_behind(body, b"\"hold_token\":\"")
    {
        let (hold_id, hold_token) = (hold_id.to_owned(), token.to_owned());
        ledger.keep(Sampled { hold_id, hold_token, expires_ms: expires });
    }
}
