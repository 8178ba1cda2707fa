//! Owns one buyer of a small sale: browse, hold, release or pay, wait for the ticket; and the
//! record of every answer that was a promise.
//!
//! Must never record what was not answered as done or as refused.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use onsale_proto::time::{from_rfc3339, now_ms};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    api::{Call, Client, Effort, Reply},
    audit::{End, HoldAck, OrderAck, Place},
    http::Target,
    limits,
    random::Dice,
    seats::EventSeats,
};

const PAYMENT_DECLINED_PERCENT: usize = 10;
const RELEASE_PERCENT: usize = 20;
const KEEP_PERCENT: usize = 10;
const REPEAT_PERCENT: usize = 15;
const POLL_PAUSE: Duration = Duration::from_millis(50);

/// What all buyers of a sale share.
pub struct Sale {
    /// Where it takes place.
    pub target: Target,
    /// What is sold.
    pub event_id: String,
    /// Its numbered seats.
    pub seats: EventSeats,
    /// Seats an order may have.
    pub seats_per_order_max: usize,
    /// Names this run.
    pub run: String,
    /// When buyers stop.
    pub until: Instant,
    /// The seed of their choices.
    pub seed: u64,
}

/// What one buyer experienced.
#[derive(Debug, Default)]
pub struct Story {
    /// Acknowledged holds.
    pub holds: Vec<HoldAck>,
    /// Requests to hold that were never answered.
    pub unknown_holds: u64,
    /// Refusals by code.
    pub refusals: BTreeMap<String, u64>,
    /// Answers that contradict the contract.
    pub contradictions: Vec<String>,
    /// What it took.
    pub effort: Effort,
}

impl Story {
    /// Adds another buyer's.
    pub fn add(&mut self, other: Story) {
        self.holds.extend(other.holds);
        self.unknown_holds += other.unknown_holds;
        for (code, count) in other.refusals {
            *self.refusals.entry(code).or_insert(0) += count;
        }
        self.contradictions.extend(other.contradictions);
        self.effort.add(other.effort);
    }
}

struct Buyer {
    sale: Arc<Sale>,
    number: u64,
    turn: u64,
    dice: Dice,
    client: Client,
    story: Story,
}

/// Plays one buyer until the sale's end; always the same choices for the same seed and answers.
pub async fn play(sale: Arc<Sale>, number: u64) -> Story {
    let mut buyer = Buyer {
        dice: Dice::new(sale.seed, number),
        client: Client::new(sale.target.clone()),
        number,
        turn: 0,
        story: Story::default(),
        sale,
    };
    buyer.browse().await;
    while Instant::now() < buyer.sale.until {
        buyer.turn += 1;
        buyer.client.forget_session();
        let held = buyer.hold().await;
        if !held {
            sleep(POLL_PAUSE).await;
        }
    }
    buyer.story.effort = buyer.client.effort;
    buyer.story
}

impl Buyer {
    async fn browse(&mut self) {
        let event = format!("/v1/events/{}", self.sale.event_id);
        for path in ["/v1/events".to_owned(), event.clone(), format!("{event}/availability")] {
            let reply = self.client.settle(&Call::get(&path), limits::INTENTION_BUDGET).await;
            if let Some(reply) = reply.filter(|reply| reply.status != 200) {
                let what = format!("GET {path}: {} {}", reply.status, reply.text("code"));
                self.story.contradictions.push(what);
            }
        }
    }

    /// One intention from hold to ticket; false when nothing was held.
    async fn hold(&mut self) -> bool {
        let wish = self.wish();
        let named = wish.get("seat_ids").is_some();
        let call = Call::post("/v1/reserve", &self.key("reserve"), &wish);
        let Some(reply) = self.client.settle(&call, limits::INTENTION_BUDGET).await else {
            self.story.unknown_holds += 1;
            return false;
        };
        if reply.status != 200 {
            self.refused("reserve", &reply);
            let names_seats = reply.json["seat_ids"].as_array().is_some_and(|s| !s.is_empty());
            if named && reply.text("code") == "seat_unavailable" && !names_seats {
                let what = "a refusal names no conflicting seat".to_owned();
                self.story.contradictions.push(what);
            }
            return false;
        }
        let Some(ack) = acknowledged(&reply) else {
            self.story.contradictions.push("a hold without id, token or end".to_owned());
            return false;
        };
        if self.dice.percent(REPEAT_PERCENT) {
            self.repeat(&call, &reply).await;
        }
        let end = self.decide(&ack).await;
        self.story.holds.push(HoldAck { end, ..ack });
        true
    }

    /// The same request again must get the same answer, byte for byte.
    async fn repeat(&mut self, call: &Call, first: &Reply) {
        let Some(again) = self.client.settle(call, limits::INTENTION_BUDGET).await else {
            return;
        };
        if again.raw != first.raw || again.status != first.status || !again.replayed {
            let what = format!(
                "{} {}: a repeat under the same key gave {} (replayed: {}) and {} bytes",
                call.method,
                call.path,
                again.status,
                again.replayed,
                if again.raw == first.raw { "the same" } else { "other" },
            );
            self.story.contradictions.push(what);
        }
    }

    async fn decide(&mut self, ack: &HoldAck) -> End {
        if self.dice.percent(KEEP_PERCENT) {
            return End::Kept;
        }
        if self.dice.percent(RELEASE_PERCENT) {
            return self.release(ack).await;
        }
        let declined = self.dice.percent(PAYMENT_DECLINED_PERCENT);
        let method = if declined { "pm_card_chargeDeclined" } else { "pm_card_visa" };
        let body = json!({
            "hold_id": ack.hold_id,
            "hold_token": ack.hold_token,
            "contact": {"name": "A Buyer", "email": self.email()},
            "payment_method": method,
        });
        let call = Call::post("/v1/checkout", &self.key("checkout"), &body);
        let Some(reply) = self.client.settle(&call, limits::INTENTION_BUDGET).await else {
            return End::CheckoutUnknown;
        };
        if reply.status != 202 {
            self.refused("checkout", &reply);
            return self.release(ack).await;
        }
        if self.dice.percent(REPEAT_PERCENT) {
            self.repeat(&call, &reply).await;
        }
        let mut order = OrderAck {
            order_id: reply.text("order_id").to_owned(),
            order_token: reply.text("order_token").to_owned(),
            last_status: reply.text("status").to_owned(),
        };
        self.follow(&mut order).await;
        let expected = if declined { "failed" } else { "confirmed" };
        if order.last_status != expected && order.last_status != "processing" {
            let what = format!("{method} ended as {}", order.last_status);
            self.story.contradictions.push(what);
        }
        End::Ordered(order)
    }

    async fn release(&mut self, ack: &HoldAck) -> End {
        let asked_ms = now_ms();
        match release(&mut self.client, ack).await {
            Some(reply) if matches!(reply.status, 200 | 204) => End::Released { asked_ms },
            // Gone: by an attempt of ours that was not answered, or by its own end.
            Some(reply) if reply.status == 410 => End::ReleaseUnknown { asked_ms },
            Some(reply) => {
                self.refused("release", &reply);
                End::Kept
            }
            None => End::ReleaseUnknown { asked_ms },
        }
    }

    async fn follow(&mut self, order: &mut OrderAck) {
        let until = Instant::now() + limits::ORDER_DECISION_MAX;
        while order.last_status == "processing" && Instant::now() < until {
            sleep(POLL_PAUSE).await;
            let reply = read_order(&mut self.client, order).await;
            match reply {
                Some(reply) if reply.status == 200 => {
                    reply.text("status").clone_into(&mut order.last_status);
                }
                Some(reply) => {
                    let what = format!("an acknowledged order reads as {}", reply.status);
                    self.story.contradictions.push(what);
                    return;
                }
                None => {}
            }
        }
    }

    fn wish(&mut self) -> Value {
        let event_id = &self.sale.event_id;
        let count = 1 + self.dice.below(self.sale.seats_per_order_max.min(4));
        let seats = self.sale.seats.len();
        if seats == 0 || self.dice.percent(50) {
            return json!({"event_id": event_id, "quantity": count});
        }
        let first = self.dice.below(usize::try_from(seats).unwrap_or(usize::MAX)) as u64;
        let seat_ids = self.sale.seats.neighbours(first, count as u64);
        json!({"event_id": event_id, "seat_ids": seat_ids})
    }

    fn refused(&mut self, at: &str, reply: &Reply) {
        let code = reply.text("code");
        *self.story.refusals.entry(format!("{at} {code}")).or_insert(0) += 1;
        // Losing a race is business as usual; anything else is worth a look.
        if !matches!(reply.status, 409 | 410) || code.is_empty() {
            let what = format!("{at}: {} {code} {}", reply.status, reply.text("detail"));
            self.story.contradictions.push(what);
        }
    }

    fn key(&self, what: &str) -> String {
        format!("{}-{}-{}-{what}", self.sale.run, self.number, self.turn)
    }

    fn email(&self) -> String {
        format!("buyer-{}-{}-{}@example.com", self.sale.run, self.number, self.turn)
    }
}

/// Asks for a hold's end; `None` when nobody knows.
pub async fn release(client: &mut Client, ack: &HoldAck) -> Option<Reply> {
    let call =
        Call { method: "DELETE", path: format!("/v1/holds/{}", ack.hold_id), ..Call::default() };
    client.settle(&call.with("Hold-Token", &ack.hold_token), limits::INTENTION_BUDGET).await
}

/// Reads a hold.
pub async fn read_hold(client: &mut Client, ack: &HoldAck) -> Option<Reply> {
    let call = Call::get(format!("/v1/holds/{}", ack.hold_id)).with("Hold-Token", &ack.hold_token);
    client.settle(&call, limits::INTENTION_BUDGET).await
}

/// Reads an order.
pub async fn read_order(client: &mut Client, order: &OrderAck) -> Option<Reply> {
    let call =
        Call::get(format!("/v1/orders/{}", order.order_id)).with("Order-Token", &order.order_token);
    client.settle(&call, limits::INTENTION_BUDGET).await
}

fn acknowledged(reply: &Reply) -> Option<HoldAck> {
    let seats = reply.json["seats"].as_array()?;
    let places = seats.iter().map(|seat| {
        Some(Place {
            seat_id: seat["seat_id"].as_str().map(str::to_owned),
            section: seat["section"].as_str()?.to_owned(),
        })
    });
    let text = |field: &str| reply.json[field].as_str().filter(|text| !text.is_empty());
    Some(HoldAck {
        hold_id: text("hold_id")?.to_owned(),
        hold_token: text("hold_token")?.to_owned(),
        places: places.collect::<Option<Vec<_>>>()?,
        answered_ms: now_ms(),
        expires_ms: from_rfc3339(text("expires_at")?)?,
        end: End::Kept,
    })
}
