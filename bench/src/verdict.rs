//! Owns the audit after a run: reads everything back over HTTP and compares it with what was
//! acknowledged.
//!
//! Memory is bounded by the seats on sale (four bytes each) and by named limits: all seats are
//! compared, a fixed number of holds and orders is read back one by one.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use onsale_proto::time::now_ms;
use serde_json::Value;
use tokio::time::sleep;

use crate::{
    api::{Call, Client},
    audit::{self, End, HoldAck, Kind, Seen, SeenHold, SeenOrder, SeenSection, Violation},
    buyer, event, limits,
    load::Options,
    result::AuditResult,
    story::Story,
};

const AUDIT_PAUSE: Duration = Duration::from_millis(200);

/// What was there before the load.
pub struct Before {
    /// Seat maps by event.
    pub maps: Vec<Value>,
    /// Sold places of the first event by section.
    pub sold: std::collections::BTreeMap<String, u64>,
}

impl Before {
    /// Reads it.
    ///
    /// # Errors
    /// When an event cannot be read.
    pub async fn read(client: &mut Client, events: &[String]) -> anyhow::Result<Before> {
        let mut before = Before { maps: Vec::new(), sold: std::collections::BTreeMap::new() };
        for (number, event_id) in events.iter().enumerate() {
            let map = event::seats(client, event_id).await?.1;
            if number == 0 {
                let sections = event::availability(client, &map).await?;
                before.sold =
                    sections.iter().map(|(key, section)| (key.clone(), section.sold)).collect();
            }
            before.maps.push(map);
        }
        Ok(before)
    }
}

/// Where the gateway's books are.
#[derive(Clone, Debug)]
pub struct Books {
    /// The gateway.
    pub target: crate::http::Target,
    /// Its key.
    pub key: String,
}

/// Audits a load that is over.
///
/// # Errors
/// When the system does not answer.
pub async fn audit(
    options: &Options,
    before: &Before,
    books: Option<&Books>,
    feed_lag_max: Duration,
) -> anyhow::Result<AuditResult> {
    let mut client = Client::new(options.target.clone());
    let story = std::mem::take(&mut *options.story());
    let mut seen = Seen { sold_before: before.sold.clone(), ..Seen::default() };
    seen.seats = options.stock.events.first().cloned().unwrap_or_default();
    seen.at_ms = now_ms();
    for ack in &story.holds {
        read_back(&mut client, ack, &mut seen).await?;
    }
    let mut result = summary(options, &story);
    sampled(&mut client, options, &mut result).await?;
    let until = Instant::now() + feed_lag_max;
    loop {
        let found = compare(&mut client, options, before, &story, &mut seen).await?;
        let (violations, verdict) = found;
        if violations.is_empty() || Instant::now() >= until {
            result.confirmed_orders = verdict.confirmed_orders;
            result.tickets = verdict.tickets;
            result.undecided_orders = verdict.undecided_orders;
            add(&mut result, violations);
            break;
        }
        sleep(AUDIT_PAUSE).await;
    }
    if let Some(books) = books {
        compare_books(books, &seen, &mut result).await;
    }
    give_back(&mut client, &story.holds).await;
    result.judge();
    Ok(result)
}

fn summary(options: &Options, story: &Story) -> AuditResult {
    let ledger = options.stock.ledger();
    let unsure =
        |ack: &&HoldAck| matches!(ack.end, End::ReleaseUnknown { .. } | End::CheckoutUnknown);
    let buyers = story.holds.len() as u64 + story.holds_not_kept;
    AuditResult {
        holds: ledger.granted.max(buyers),
        holds_read_back: story.holds.len() as u64,
        unknown: ledger.unknown
            + story.unknown_holds
            + story.holds.iter().filter(unsure).count() as u64,
        violations: ledger.violations.clone(),
        violations_count: ledger.violations_count,
        contradictions: story.contradictions.clone(),
        contradictions_count: story.contradictions_count,
        ..AuditResult::default()
    }
}

fn add(result: &mut AuditResult, violations: Vec<Violation>) {
    result.violations_count += violations.len() as u64;
    let room = limits::PRINTED_VIOLATIONS_MAX.saturating_sub(result.violations.len());
    result.violations.extend(violations.into_iter().take(room));
}

/// Reads a sample of the load's holds back by id.
async fn sampled(
    client: &mut Client,
    options: &Options,
    result: &mut AuditResult,
) -> anyhow::Result<()> {
    let sample = options.stock.ledger().sample();
    let mut lost = Vec::new();
    for hold in sample {
        let call = Call::get(format!("/v1/holds/{}", hold.hold_id));
        let call = call.with("Hold-Token", &hold.hold_token);
        let reply = client.settle(&call, limits::INTENTION_BUDGET).await;
        let reply = reply.with_context(|| format!("{}: no answer", hold.hold_id))?;
        let alive = reply.status == 200 && state(&reply.json) == "held";
        if !alive && hold.expires_ms > now_ms() + 2_000 {
            let what = format!("{} was granted, but is {}", hold.hold_id, reply.status);
            lost.push(Violation { kind: Kind::LostAcknowledgement, what });
        }
        result.holds_read_back += 1;
    }
    add(result, lost);
    Ok(())
}

/// Availability of every event against the ledger, and of the first against its buyers' story.
async fn compare(
    client: &mut Client,
    options: &Options,
    before: &Before,
    story: &Story,
    seen: &mut Seen,
) -> anyhow::Result<(Vec<Violation>, audit::Verdict)> {
    let mut violations = Vec::new();
    let mut verdict = audit::Verdict::default();
    for (number, map) in before.maps.iter().enumerate() {
        let sections = event::availability(client, map).await?;
        if let Some(event) = options.stock.events.get(number)
            && options.stock.ledger().covers(number)
        {
            let in_order = in_order(&sections);
            violations.extend(options.stock.ledger().check(number, event, &in_order));
        }
        seen.sections = sections;
        let (holds, other) =
            if number == 0 { (&story.holds[..], None) } else { (&[][..], Some(0)) };
        let other = other.map(|_: u8| Seen { sections: seen.sections.clone(), ..Seen::default() });
        let found = audit::audit(holds, other.as_ref().unwrap_or(seen));
        violations.extend(found.violations.iter().cloned());
        if number == 0 {
            verdict = found;
        }
    }
    Ok((violations, verdict))
}

fn in_order(sections: &std::collections::BTreeMap<String, SeenSection>) -> Vec<SeenSection> {
    sections.values().cloned().collect()
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
    let found = SeenHold { http: reply.status, state: state(&reply.json).to_owned() };
    seen.holds.insert(ack.hold_id.clone(), found);
    Ok(())
}

fn state(hold: &Value) -> &str {
    hold["state"].as_str().or_else(|| hold["status"].as_str()).unwrap_or_default()
}

/// The gateway's captures against the orders: each confirmed order is captured, nothing else is.
async fn compare_books(books: &Books, seen: &Seen, result: &mut AuditResult) {
    let mut client = Client::new(books.target.clone());
    let call = Call::get("/sandbox/books");
    let call = call.with("Authorization", format!("Bearer {}", books.key));
    let reply = client.settle(&call, limits::INTENTION_BUDGET).await;
    let Some(reply) = reply.filter(|reply| reply.status == 200) else { return };
    let mut captured: HashMap<&str, u64> = HashMap::new();
    for intent in reply.json["payment_intents"].as_array().into_iter().flatten() {
        let order = intent["order_id"].as_str().unwrap_or_default();
        if intent["captured_minor"].as_u64().unwrap_or(0) > 0 {
            *captured.entry(order).or_insert(0) += 1;
        }
    }
    let mut wrong = Vec::new();
    for (id, order) in &seen.orders {
        let captures = captured.get(id.as_str()).copied().unwrap_or(0);
        let what = match (order.status.as_str(), captures) {
            ("confirmed", 1) | ("failed", 0) | ("processing", _) => continue,
            ("partially_refunded" | "refunded" | "disputed", 1) => continue,
            (status, captures) => format!("{id} is {status}, captured {captures} times"),
        };
        wrong.push(Violation { kind: Kind::BooksDisagree, what });
    }
    result.payments_compared = Some(seen.orders.len() as u64);
    add(result, wrong);
}

/// A guest leaves the place as it was found, as far as it can.
async fn give_back(client: &mut Client, holds: &[HoldAck]) {
    for ack in holds.iter().filter(|ack| ack.end == End::Kept) {
        let _ = buyer::release(client, ack).await;
    }
}
