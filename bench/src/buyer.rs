//! Owns one buyer: through the waiting room where there is one, hold, release or pay, wait for the
//! ticket; and the record of every answer that was a promise.
//!
//! Must never record what was not answered as done or as refused.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use onsale_proto::time::{from_rfc3339, now_ms};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    api::{Call, Client, Reply},
    audit::{End, HoldAck, OrderAck, Place},
    limits,
    load::{
        Options,
        op::{Fate, Op},
        tally::{self, Ended},
        wire::Shared,
    },
    random::Dice,
    story::Story,
};

const POLL_FIRST: Duration = Duration::from_millis(50);
const POLL_MAX: Duration = Duration::from_secs(1);

/// What buyers do, in parts of a hundred.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Habits {
    /// Seats of one wish, at most.
    pub seats_max: usize,
    /// Wishes are always for that many.
    pub seats_always: bool,
    /// Name their seats; the others take the best available.
    pub named_percent: usize,
    /// Keep a hold and do nothing.
    pub keep_percent: usize,
    /// Of the others: give it back.
    pub release_percent: usize,
    /// Of those who pay: with a card that is declined.
    pub declined_percent: usize,
    /// Repeat a request under the same key and compare.
    pub repeat_percent: usize,
    /// Buy until everything is sold, then go.
    pub until_sold_out: bool,
}

impl Default for Habits {
    fn default() -> Habits {
        Habits {
            seats_max: 4,
            seats_always: false,
            named_percent: 50,
            keep_percent: 10,
            release_percent: 20,
            declined_percent: 10,
            repeat_percent: 15,
            until_sold_out: false,
        }
    }
}

/// A buyer; one after the other on the same connection are different people.
pub struct Buyer {
    options: Arc<Options>,
    number: u64,
    turn: u64,
    dice: Dice,
    client: Client,
    admission: Option<String>,
    seats_now: usize,
    story: Story,
    /// Everything is sold, and that is all they wanted to know.
    pub done: bool,
}

impl Buyer {
    /// The buyer of connection `number`; always the same choices for the same seed and answers.
    pub fn new(options: Arc<Options>, number: u64) -> Buyer {
        Buyer {
            dice: Dice::new(options.seed, number),
            client: Client::new(options.target.clone()),
            seats_now: options.habits.seats_max.max(1),
            options,
            number,
            turn: 0,
            admission: None,
            story: Story::default(),
            done: false,
        }
    }

    /// What was experienced.
    pub fn end(mut self) -> Story {
        self.story.effort = self.client.effort;
        self.story
    }

    /// One intention from hold to ticket.
    pub async fn turn(&mut self, shared: &Shared, intended: Instant) {
        self.turn += 1;
        self.client.forget_session();
        self.admission = None;
        let wish = self.wish();
        let named = wish.get("seat_ids").is_some();
        let Some((call, reply)) = self.hold(shared, &wish, intended).await else {
            self.story.unknown_holds += 1;
            return;
        };
        if reply.status != 200 {
            self.refused_hold(&reply, named).await;
            return;
        }
        let Some(ack) = acknowledged(&reply) else {
            self.story.contradicted("a hold without id, token or end".to_owned());
            return;
        };
        self.enter(&ack);
        if self.dice.percent(self.options.habits.repeat_percent) {
            self.repeat(&call, &reply).await;
        }
        let end = self.decide(shared, &ack).await;
        self.story.keep(HoldAck { end, ..ack });
    }

    /// The wish is sent; through the waiting room when the event has one.
    async fn hold(
        &mut self,
        shared: &Shared,
        wish: &Value,
        intended: Instant,
    ) -> Option<(Call, Reply)> {
        let mut intended = intended;
        for _ in 0..2 {
            let mut call = Call::post("/v1/reserve", &self.key("reserve"), wish);
            if let Some(admission) = &self.admission {
                call = call.with("Admission-Token", admission.clone());
            }
            let sent = Instant::now();
            let reply = self.client.settle(&call, limits::INTENTION_BUDGET).await;
            let at_door = |reply: &Reply| reply.text("code") == "admission_required";
            if self.admission.is_none() && reply.as_ref().is_some_and(at_door) {
                self.stand_in_line(shared).await;
                if self.admission.is_some() {
                    intended = Instant::now();
                    continue;
                }
            }
            record(shared, Op::Hold, intended, sent, reply.as_ref());
            return Some((call, reply?));
        }
        None
    }

    /// Joins the event's line and waits to be admitted.
    async fn stand_in_line(&mut self, shared: &Shared) {
        let joined = Instant::now();
        let path = format!("/v1/events/{}/line", self.event_id());
        let call = Call::post(path, &self.key("line"), &json!({}));
        let mut reply = self.client.settle(&call, limits::INTENTION_BUDGET).await;
        while let Some(place) = reply.as_ref().filter(|reply| reply.status < 300) {
            let token = place.text("line_token").to_owned();
            if place.text("state") == "admitted" {
                self.admission = Some(place.text("admission_token").to_owned());
                break;
            }
            if place.text("state") == "sold_out" || shared.is_over() {
                break;
            }
            sleep(POLL_MAX).await;
            let call = Call::get(format!("/v1/line/{token}"));
            let next = self.client.settle(&call, limits::INTENTION_BUDGET).await;
            reply = next.map(|mut next| {
                if next.text("line_token").is_empty() {
                    next.json["line_token"] = json!(token);
                }
                next
            });
        }
        record(shared, Op::Line, joined, joined, reply.as_ref());
    }

    async fn refused_hold(&mut self, reply: &Reply, named: bool) {
        self.refused("reserve", reply);
        let names_seats = reply.json["seat_ids"].as_array().is_some_and(|s| !s.is_empty());
        if named && reply.text("code") == "seat_unavailable" && !names_seats {
            self.story.contradicted("a refusal names no conflicting seat".to_owned());
        }
        if !self.options.habits.until_sold_out {
            return;
        }
        match reply.text("code") {
            "not_enough_together" if self.seats_now > 1 => self.seats_now /= 2,
            "sold_out" if reply.json["held_may_return_at"].is_null() => self.done = true,
            // Others hold the rest: it will be sold, or come back.
            _ => sleep(POLL_MAX).await,
        }
    }

    /// Whose the seats are now.
    fn enter(&mut self, ack: &HoldAck) {
        for seat in self.places(ack) {
            self.options.stock.ledger().claim(seat, ack.answered_ms, ack.expires_ms);
        }
    }

    fn places(&self, ack: &HoldAck) -> Vec<(usize, u64)> {
        let Some(event) = self.options.stock.events.first() else { return Vec::new() };
        let ids = ack.places.iter().filter_map(|place| place.seat_id.as_deref());
        ids.filter_map(|id| Some((0, event.position(id)?))).collect()
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
            self.story.contradicted(what);
        }
    }

    async fn decide(&mut self, shared: &Shared, ack: &HoldAck) -> End {
        let habits = self.options.habits.clone();
        if self.dice.percent(habits.keep_percent) {
            return End::Kept;
        }
        if self.dice.percent(habits.release_percent) {
            return self.release(shared, ack).await;
        }
        let declined = self.dice.percent(habits.declined_percent);
        let method = if declined { "pm_card_chargeDeclined" } else { "pm_card_visa" };
        let body = json!({
            "hold_id": ack.hold_id,
            "hold_token": ack.hold_token,
            "contact": {"name": "A Buyer", "email": self.email()},
            "payment_method": method,
        });
        let call = Call::post("/v1/checkout", &self.key("checkout"), &body);
        let sent = Instant::now();
        let reply = self.client.settle(&call, limits::INTENTION_BUDGET).await;
        record(shared, Op::Checkout, sent, sent, reply.as_ref());
        let Some(reply) = reply else {
            return End::CheckoutUnknown;
        };
        if reply.status != 202 {
            self.refused("checkout", &reply);
            return self.release(shared, ack).await;
        }
        if self.dice.percent(habits.repeat_percent) {
            self.repeat(&call, &reply).await;
        }
        let mut order = OrderAck {
            order_id: reply.text("order_id").to_owned(),
            order_token: reply.text("order_token").to_owned(),
            last_status: reply.text("status").to_owned(),
        };
        self.follow(&mut order).await;
        self.decided(shared, sent, declined, ack, &order);
        End::Ordered(order)
    }

    fn decided(
        &mut self,
        shared: &Shared,
        sent: Instant,
        declined: bool,
        ack: &HoldAck,
        order: &OrderAck,
    ) {
        let ended = Instant::now();
        let expected = if declined { "failed" } else { "confirmed" };
        let fate = match order.last_status.as_str() {
            status if status == expected => Fate::Good,
            "processing" => Fate::Lost,
            _ => Fate::Wrong,
        };
        let counted = Ended { intended: sent, sent, ended, fate };
        shared.tally().record(Op::Decision, counted, &order.last_status);
        if fate == Fate::Wrong {
            let what = format!("an order that should be {expected} is {}", order.last_status);
            self.story.contradicted(what);
        }
        if order.last_status == "confirmed" {
            self.story.last_confirmed = Some(ended);
            for seat in self.places(ack) {
                self.options.stock.ledger().sold(seat);
            }
        }
    }

    async fn release(&mut self, shared: &Shared, ack: &HoldAck) -> End {
        // Before it is sent: from then on the seats may be another's.
        for seat in self.places(ack) {
            self.options.stock.ledger().give_up(seat);
        }
        let (asked_ms, sent) = (now_ms(), Instant::now());
        let reply = release(&mut self.client, ack).await;
        record(shared, Op::Release, sent, sent, reply.as_ref());
        match reply {
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
        let mut pause = POLL_FIRST;
        while order.last_status == "processing" && Instant::now() < until {
            sleep(pause).await;
            pause = (pause * 2).min(POLL_MAX);
            let reply = read_order(&mut self.client, order).await;
            match reply {
                Some(reply) if reply.status == 200 => {
                    reply.text("status").clone_into(&mut order.last_status);
                }
                Some(reply) => {
                    let what = format!("an acknowledged order reads as {}", reply.status);
                    self.story.contradicted(what);
                    return;
                }
                None => {}
            }
        }
    }

    fn event_id(&self) -> &str {
        self.options.stock.events.first().map_or("", |event| &event.event_id)
    }

    fn wish(&mut self) -> Value {
        let habits = &self.options.habits;
        let count =
            if habits.seats_always { self.seats_now } else { 1 + self.dice.below(self.seats_now) };
        let event = self.options.stock.events.first();
        let seats = event.map_or(0, crate::seats::EventSeats::len);
        if seats == 0 || !self.dice.percent(habits.named_percent) {
            return json!({"event_id": self.event_id(), "quantity": count});
        }
        let first = self.dice.below(usize::try_from(seats).unwrap_or(usize::MAX)) as u64;
        let seat_ids = event.map(|event| event.neighbours(first, count as u64));
        json!({"event_id": self.event_id(), "seat_ids": seat_ids})
    }

    fn refused(&mut self, at: &str, reply: &Reply) {
        let code = reply.text("code");
        tally::count(&mut self.story.refusals, &format!("{at} {code}"));
        // Losing a race is business as usual; anything else is worth a look.
        if !matches!(reply.status, 409 | 410) || code.is_empty() {
            let what = format!("{at}: {} {code} {}", reply.status, reply.text("detail"));
            self.story.contradicted(what);
        }
    }

    fn key(&self, what: &str) -> String {
        format!("{}-{}-{}-{what}", self.options.run, self.number, self.turn)
    }

    fn email(&self) -> String {
        format!("buyer-{}-{}-{}@example.com", self.options.run, self.number, self.turn)
    }
}

/// Buys named seats and waits until the order is confirmed.
///
/// # Errors
/// When anything of it does not go as it should.
pub async fn buy(
    client: &mut Client,
    event_id: &str,
    seat_ids: &[String],
    key: &str,
) -> anyhow::Result<()> {
    client.forget_session();
    let wish = json!({"event_id": event_id, "seat_ids": seat_ids});
    let call = Call::post("/v1/reserve", &format!("{key}-hold"), &wish);
    let reply = client.settle(&call, limits::INTENTION_BUDGET).await.context("no answer")?;
    let ack = acknowledged(&reply).filter(|_| reply.status == 200);
    let ack = ack.with_context(|| format!("no hold: {} {}", reply.status, reply.text("code")))?;
    let body = json!({
        "hold_id": ack.hold_id,
        "hold_token": ack.hold_token,
        "contact": {"name": "A Buyer", "email": format!("{key}@example.com")},
        "payment_method": "pm_card_visa",
    });
    let call = Call::post("/v1/checkout", &format!("{key}-order"), &body);
    let reply = client.settle(&call, limits::INTENTION_BUDGET).await.context("no answer")?;
    let order = OrderAck {
        order_id: reply.text("order_id").to_owned(),
        order_token: reply.text("order_token").to_owned(),
        last_status: reply.text("status").to_owned(),
    };
    let until = Instant::now() + limits::ORDER_DECISION_MAX;
    while Instant::now() < until {
        let reply = read_order(client, &order).await.context("no answer")?;
        match reply.text("status") {
            "confirmed" => return Ok(()),
            "processing" => sleep(POLL_FIRST).await,
            status => anyhow::bail!("{} is {status} ({})", order.order_id, reply.status),
        }
    }
    anyhow::bail!("{} was not decided in time", order.order_id)
}

/// Counts a step of a buyer, repeats included.
fn record(shared: &Shared, op: Op, intended: Instant, sent: Instant, reply: Option<&Reply>) {
    let fate = reply.map_or(Fate::Lost, |reply| op.judge(reply.status));
    let code = reply.map_or("no_answer", |reply| reply.text("code"));
    let ended = Ended { intended, sent, ended: Instant::now(), fate };
    shared.tally().record(op, ended, code);
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
