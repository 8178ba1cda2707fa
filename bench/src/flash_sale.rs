//! Owns `flash-sale`: a small sale over HTTP against a running system, and its audit from outside.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use onsale_proto::time::now_ms;
use serde::Serialize;
use serde_json::Value;
use tokio::{task::JoinSet, time::sleep};

use crate::{
    api::{Client, Effort},
    audit::{self, End, HoldAck, Kind, Seen, SeenHold, SeenOrder, Verdict},
    buyer::{self, Sale, Story},
    event,
    http::Target,
    random,
};

const AUDIT_PAUSE: Duration = Duration::from_millis(200);

/// What to play.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where.
    pub target: Target,
    /// Which event.
    pub event_id: String,
    /// How many buyers at once.
    pub buyers: u64,
    /// How long they buy.
    pub seconds: u64,
    /// Repeats an earlier run's choices.
    pub seed: Option<u64>,
    /// How long the feed may lag behind acknowledged answers.
    pub feed_lag_max: Duration,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Which event.
    pub event_id: String,
    /// Repeats these choices.
    pub seed: u64,
    /// Buyers at once.
    pub buyers: u64,
    /// How long it took without the audit.
    pub seconds: f64,
    /// Requests sent.
    pub requests: u64,
    /// Attempts without an answer, repeated.
    pub broken_attempts: u64,
    /// Answers "try again", repeated.
    pub retried_attempts: u64,
    /// Holds granted.
    pub holds: u64,
    /// Of them released again.
    pub released: u64,
    /// Orders confirmed.
    pub confirmed_orders: u64,
    /// Tickets.
    pub tickets: u64,
    /// Orders not decided in time.
    pub undecided_orders: u64,
    /// Requests to hold, release or check out that were never answered.
    pub unknown: u64,
    /// Refusals by step and code.
    pub refusals: std::collections::BTreeMap<String, u64>,
    /// Answers that contradict the contract.
    pub contradictions: Vec<String>,
    /// Broken promises.
    pub violations: Vec<audit::Violation>,
}

impl Report {
    /// An oversell or a lost acknowledgement, or books that disagree.
    pub fn broken(&self) -> bool {
        !self.violations.is_empty()
    }

    /// Everything went as the contract says and came to its end.
    pub fn clean(&self) -> bool {
        !self.broken() && self.contradictions.is_empty() && self.undecided_orders == 0
    }

    /// Oversold places found.
    pub fn oversold(&self) -> usize {
        self.violations.iter().filter(|violation| violation.kind == Kind::Oversold).count()
    }
}

/// Plays and audits.
///
/// # Errors
/// When the event cannot be read at the start or at the end.
pub async fn run(options: Options) -> anyhow::Result<Report> {
    let mut client = Client::new(options.target.clone());
    let event = event::read(&mut client, &format!("/v1/events/{}", options.event_id)).await?;
    let (seats, map) = event::seats(&mut client, &options.event_id).await?;
    let before = event::availability(&mut client, &map).await?;
    let seed = options.seed.map_or_else(random::seed, Ok)?;
    let started = Instant::now();
    let sale = Arc::new(Sale {
        target: options.target.clone(),
        event_id: options.event_id.clone(),
        seats,
        seats_per_order_max: event["rules"]["seats_per_order_max"]
            .as_u64()
            .and_then(|max| usize::try_from(max).ok())
            .map_or(8, |max| max.max(1)),
        run: random::run_id()?,
        until: started + Duration::from_secs(options.seconds),
        seed,
    });
    let mut buyers = JoinSet::new();
    for number in 0..options.buyers {
        buyers.spawn(buyer::play(Arc::clone(&sale), number));
    }
    let mut story = Story::default();
    while let Some(played) = buyers.join_next().await {
        story.add(played.context("a buyer ended early")?);
    }
    let elapsed = started.elapsed();
    let mut seen = Seen {
        sold_before: before.iter().map(|(key, section)| (key.clone(), section.sold)).collect(),
        ..Seen::default()
    };
    let lag = options.feed_lag_max;
    let verdict = verdict(&mut client, &map, &story.holds, &mut seen, lag).await?;
    give_back(&mut client, &story.holds).await;
    story.effort.add(client.effort);
    Ok(report(&options, seed, elapsed, story, verdict))
}

/// Reads everything back; availability as often as the feed may still be behind.
async fn verdict(
    client: &mut Client,
    map: &Value,
    holds: &[HoldAck],
    seen: &mut Seen,
    feed_lag_max: Duration,
) -> anyhow::Result<Verdict> {
    seen.at_ms = now_ms();
    for ack in holds {
        read_back(client, ack, seen).await?;
    }
    let until = Instant::now() + feed_lag_max;
    loop {
        seen.sections = event::availability(client, map).await?;
        let verdict = audit::audit(holds, seen);
        if verdict.violations.is_empty() || Instant::now() >= until {
            return Ok(verdict);
        }
        sleep(AUDIT_PAUSE).await;
    }
}

async fn read_back(client: &mut Client, ack: &HoldAck, seen: &mut Seen) -> anyhow::Result<()> {
    if let End::Ordered(order) = &ack.end {
        let reply = buyer::read_order(client, order).await;
        let reply = reply.with_context(|| format!("{}: no answer", order.order_id))?;
        let tickets = reply.json["tickets"].as_array().into_iter().flatten().map(|ticket| {
            let text = |field: &str| ticket[field].as_str().map(str::to_owned);
            (text("ticket_id").unwrap_or_default(), text("seat_id"))
        });
        let found = SeenOrder {
            http: reply.status,
            status: reply.text("status").to_owned(),
            tickets: tickets.collect(),
        };
        seen.orders.insert(order.order_id.clone(), found);
        return Ok(());
    }
    let reply = buyer::read_hold(client, ack).await;
    let reply = reply.with_context(|| format!("{}: no answer", ack.hold_id))?;
    let state = match reply.text("state") {
        "" => reply.text("status"),
        state => state,
    };
    let found = SeenHold { http: reply.status, state: state.to_owned() };
    seen.holds.insert(ack.hold_id.clone(), found);
    Ok(())
}

/// A guest leaves the place as it was found, as far as it can.
async fn give_back(client: &mut Client, holds: &[HoldAck]) {
    for ack in holds.iter().filter(|ack| ack.end == End::Kept) {
        let _ = buyer::release(client, ack).await;
    }
}

fn report(
    options: &Options,
    seed: u64,
    elapsed: Duration,
    story: Story,
    verdict: Verdict,
) -> Report {
    let count =
        |wanted: fn(&End) -> bool| story.holds.iter().filter(|ack| wanted(&ack.end)).count() as u64;
    let unknown = count(|end| matches!(end, End::ReleaseUnknown { .. } | End::CheckoutUnknown));
    let Effort { requests, broken, retried } = story.effort;
    Report {
        event_id: options.event_id.clone(),
        seed,
        buyers: options.buyers,
        seconds: elapsed.as_secs_f64(),
        requests,
        broken_attempts: broken,
        retried_attempts: retried,
        holds: verdict.holds,
        released: count(|end| matches!(end, End::Released { .. })),
        confirmed_orders: verdict.confirmed_orders,
        tickets: verdict.tickets,
        undecided_orders: verdict.undecided_orders,
        unknown: story.unknown_holds + unknown,
        refusals: story.refusals,
        contradictions: story.contradictions,
        violations: verdict.violations,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_shop::{self, Fault};

    async fn played(fault: Fault) -> Report {
        let target = fake_shop::start(fault).await;
        let options = Options {
            target,
            event_id: "evt_fake".to_owned(),
            buyers: 12,
            seconds: 1,
            seed: Some(7),
            feed_lag_max: Duration::from_millis(300),
        };
        run(options).await.expect("played to the end")
    }

    #[tokio::test]
    async fn an_honest_shop_passes_and_sells() {
        let report = played(Fault::None).await;
        assert!(report.clean(), "{:?} {:?}", report.violations, report.contradictions);
        assert!(report.tickets > 0 && report.released > 0, "{report:?}");
    }

    #[tokio::test]
    async fn a_shop_that_sells_a_seat_twice_is_found_out() {
        let report = played(Fault::SellsTwice).await;
        assert!(report.oversold() > 0, "{report:?}");
    }

    #[tokio::test]
    async fn a_shop_that_forgets_an_order_is_found_out() {
        let report = played(Fault::ForgetsOrders).await;
        let lost = |violation: &audit::Violation| violation.kind == Kind::LostAcknowledgement;
        assert!(report.violations.iter().any(lost), "{report:?}");
    }

    #[tokio::test]
    async fn a_shop_that_answers_a_repeat_anew_is_found_out() {
        let report = played(Fault::ForgetsKeys).await;
        assert!(!report.clean(), "{report:?}");
        assert!(report.contradictions.iter().any(|what| what.contains("same key")));
    }
}
