//! Owns the verdict over a sale, from outside: what was acknowledged against what is there now.
//!
//! Pure. Must never excuse a contradiction: what cannot be decided is counted as undecided, what
//! contradicts itself is a violation.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::seats::EventSeats;

/// How far clocks may be apart before a hold's own end counts as the end of its seats.
const CLOCK_MARGIN_MS: u64 = 2_000;

/// A place of a hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// `None` in general admission.
    pub seat_id: Option<String>,
    /// Section key.
    pub section: String,
}

/// What became of a hold, as far as its buyer was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing was done about it.
    Kept,
    /// Its release was sent at this time (Unix ms) and acknowledged.
    Released { asked_ms: u64 },
    /// Its release was sent at this time and never answered.
    ReleaseUnknown { asked_ms: u64 },
    /// A checkout was acknowledged.
    Ordered(OrderAck),
    /// A checkout was sent and never answered.
    CheckoutUnknown,
}

/// An acknowledged checkout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderAck {
    /// Public id.
    pub order_id: String,
    /// Its secret.
    pub order_token: String,
    /// The last status the buyer saw.
    pub last_status: String,
}

/// An acknowledged hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldAck {
    /// Public id.
    pub hold_id: String,
    /// Its secret.
    pub hold_token: String,
    /// What it holds.
    pub places: Vec<Place>,
    /// When the answer was there, Unix ms.
    pub answered_ms: u64,
    /// When it ends by itself, Unix ms.
    pub expires_ms: u64,
    /// What became of it.
    pub end: End,
}

/// An order as it is read at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenOrder {
    /// HTTP status of the reading.
    pub http: u16,
    /// The order's status.
    pub status: String,
    /// Ticket ids with their seats.
    pub tickets: Vec<(String, Option<String>)>,
}

/// A hold as it is read at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenHold {
    /// HTTP status of the reading.
    pub http: u16,
    /// "held", "in_checkout", "sold", "expired" or "released".
    pub state: String,
}

/// A section's availability.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenSection {
    /// Places of the seat map.
    pub capacity: u64,
    /// Counts as published.
    pub available: u64,
    /// Held.
    pub held: u64,
    /// Sold.
    pub sold: u64,
    /// Withdrawn.
    pub killed: u64,
    /// The place of its first seat in the event.
    pub first_seat: u64,
    /// State of each seat in row order, 0 to 3; empty in general admission.
    pub states: Vec<u8>,
}

/// What was found at the end.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// When reading began, Unix ms.
    pub at_ms: u64,
    /// By hold id.
    pub holds: HashMap<String, SeenHold>,
    /// By order id.
    pub orders: HashMap<String, SeenOrder>,
    /// By section key.
    pub sections: BTreeMap<String, SeenSection>,
    /// The event's seats.
    pub seats: EventSeats,
    /// Sold places by section before the sale.
    pub sold_before: BTreeMap<String, u64>,
}

impl Seen {
    /// How a seat is shown.
    fn state(&self, section: &str, seat_id: &str) -> Option<u8> {
        let section = self.sections.get(section)?;
        let place = self.seats.position(seat_id)?.checked_sub(section.first_seat)?;
        section.states.get(usize::try_from(place).ok()?).copied()
    }
}

/// What kind of promise was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// One place, two owners.
    Oversold,
    /// What was acknowledged is not so.
    LostAcknowledgement,
    /// Numbers that should agree do not.
    BooksDisagree,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Which kind.
    pub kind: Kind,
    /// What exactly.
    pub what: String,
}

/// The verdict.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Verdict {
    /// All broken promises.
    pub violations: Vec<Violation>,
    /// Orders that were not decided in time.
    pub undecided_orders: u64,
    /// Confirmed orders.
    pub confirmed_orders: u64,
    /// Valid tickets.
    pub tickets: u64,
    /// Holds checked.
    pub holds: u64,
}

impl Verdict {
    fn broken(&mut self, kind: Kind, what: String) {
        self.violations.push(Violation { kind, what });
    }
}

/// Compares all acknowledged answers with what was found.
pub fn audit(acks: &[HoldAck], seen: &Seen) -> Verdict {
    let mut verdict = Verdict { holds: acks.len() as u64, ..Verdict::default() };
    one_owner_at_a_time(acks, seen, &mut verdict);
    for ack in acks {
        hold_is_as_told(ack, seen, &mut verdict);
    }
    let sold = orders_are_as_told(acks, seen, &mut verdict);
    availability_agrees(acks, seen, &sold, &mut verdict);
    verdict
}

/// The status a buyer saw last can only have gone on to these.
fn is_sold(status: &str) -> bool {
    matches!(status, "confirmed" | "partially_refunded" | "refunded" | "disputed")
}

fn order<'a>(ack: &'a HoldAck, seen: &'a Seen) -> Option<(&'a OrderAck, &'a SeenOrder)> {
    let End::Ordered(order) = &ack.end else {
        return None;
    };
    Some((order, seen.orders.get(&order.order_id)?))
}

/// Until when the seats were this hold's for certain, Unix ms.
fn certain_until(ack: &HoldAck, seen: &Seen) -> u64 {
    match &ack.end {
        End::Released { asked_ms } | End::ReleaseUnknown { asked_ms } => *asked_ms,
        _ if order(ack, seen).is_some_and(|(_, order)| is_sold(&order.status)) => u64::MAX,
        _ => ack.expires_ms.saturating_sub(CLOCK_MARGIN_MS),
    }
}

fn one_owner_at_a_time(acks: &[HoldAck], seen: &Seen, verdict: &mut Verdict) {
    let mut owners: BTreeMap<&str, Vec<(u64, u64, &str)>> = BTreeMap::new();
    for ack in acks {
        let until = certain_until(ack, seen);
        for seat in ack.places.iter().filter_map(|place| place.seat_id.as_deref()) {
            owners.entry(seat).or_default().push((ack.answered_ms, until, &ack.hold_id));
        }
    }
    for (seat, mut times) in owners {
        times.sort_unstable();
        let mut latest: Option<(u64, &str)> = None;
        for (from, until, hold) in times {
            if let Some((busy_until, other)) = latest
                && from < busy_until
            {
                let what = format!("seat {seat} was {other}'s and {hold}'s at the same time");
                verdict.broken(Kind::Oversold, what);
            }
            if latest.is_none_or(|(busy_until, _)| until > busy_until) {
                latest = Some((until, hold));
            }
        }
    }
}

fn hold_is_as_told(ack: &HoldAck, seen: &Seen, verdict: &mut Verdict) {
    let hold = &ack.hold_id;
    let Some(found) = seen.holds.get(hold) else {
        return;
    };
    let alive = found.http == 200 && matches!(found.state.as_str(), "held" | "in_checkout");
    let what = match &ack.end {
        End::Kept if ack.expires_ms > seen.at_ms + CLOCK_MARGIN_MS && !alive => {
            format!("{hold} was granted and has not ended, but is {} {}", found.http, found.state)
        }
        End::Released { .. } if alive || found.state == "sold" => {
            format!("{hold} was released, but is {}", found.state)
        }
        _ => return,
    };
    verdict.broken(Kind::LostAcknowledgement, what);
}

/// Sold places by section.
fn orders_are_as_told(
    acks: &[HoldAck],
    seen: &Seen,
    verdict: &mut Verdict,
) -> BTreeMap<String, u64> {
    let (mut sold, mut tickets, mut seats) = (BTreeMap::new(), HashSet::new(), HashSet::new());
    for ack in acks {
        let Some((told, found)) = order(ack, seen) else {
            continue;
        };
        let id = &told.order_id;
        if found.http != 200 {
            let what = format!("{id} was acknowledged, but reading it gives {}", found.http);
            verdict.broken(Kind::LostAcknowledgement, what);
            continue;
        }
        if is_sold(&told.last_status) && !is_sold(&found.status) {
            let what = format!("{id} was {}, but is {}", told.last_status, found.status);
            verdict.broken(Kind::LostAcknowledgement, what);
        }
        if found.status == "processing" {
            verdict.undecided_orders += 1;
        }
        if !is_sold(&found.status) {
            continue;
        }
        verdict.confirmed_orders += 1;
        let mut wanted: Vec<&Option<String>> =
            ack.places.iter().map(|place| &place.seat_id).collect();
        let mut got: Vec<&Option<String>> = found.tickets.iter().map(|(_, seat)| seat).collect();
        wanted.sort_unstable();
        got.sort_unstable();
        if wanted != got {
            let what = format!("{id} has tickets for {got:?}, its hold had {wanted:?}");
            verdict.broken(Kind::BooksDisagree, what);
        }
        for place in &ack.places {
            *sold.entry(place.section.clone()).or_insert(0) += 1;
        }
        for (ticket, seat) in &found.tickets {
            verdict.tickets += 1;
            if !tickets.insert(ticket.as_str()) {
                verdict.broken(Kind::Oversold, format!("{ticket} was given out twice"));
            }
            if let Some(seat) = seat
                && !seats.insert(seat.as_str())
            {
                verdict.broken(Kind::Oversold, format!("seat {seat} was sold twice ({id})"));
            }
        }
    }
    sold
}

fn availability_agrees(
    acks: &[HoldAck],
    seen: &Seen,
    sold: &BTreeMap<String, u64>,
    verdict: &mut Verdict,
) {
    for (key, section) in &seen.sections {
        counts_add_up(key, section, verdict);
        let before = seen.sold_before.get(key).copied().unwrap_or(0);
        let ours = sold.get(key).copied().unwrap_or(0);
        if section.sold < before + ours {
            let what = format!(
                "section {key} shows {} sold, but {before} were before and {ours} were confirmed",
                section.sold
            );
            verdict.broken(Kind::LostAcknowledgement, what);
        }
    }
    for ack in acks {
        let (state, word) = match &ack.end {
            End::Kept if ack.expires_ms > seen.at_ms + CLOCK_MARGIN_MS => (1, "held"),
            _ if order(ack, seen).is_some_and(|(_, order)| order.status == "confirmed") => {
                (2, "sold")
            }
            _ => continue,
        };
        for place in &ack.places {
            let Some(seat) = &place.seat_id else { continue };
            if seen.state(&place.section, seat).is_some_and(|shown| shown != state) {
                let what = format!("seat {seat} of {} is not shown as {word}", ack.hold_id);
                verdict.broken(Kind::LostAcknowledgement, what);
            }
        }
    }
}

fn counts_add_up(key: &str, section: &SeenSection, verdict: &mut Verdict) {
    let owned = section.held + section.sold;
    if owned > section.capacity {
        let what = format!("section {key}: {owned} held or sold of {}", section.capacity);
        verdict.broken(Kind::Oversold, what);
    }
    let counts = [section.available, section.held, section.sold, section.killed];
    if counts.iter().sum::<u64>() != section.capacity {
        let what = format!("section {key}: {counts:?} do not add up to {}", section.capacity);
        verdict.broken(Kind::BooksDisagree, what);
    }
    if section.states.is_empty() {
        return;
    }
    let mut shown = [0; 4];
    for state in &section.states {
        shown[usize::from(*state & 3)] += 1;
    }
    if shown != counts {
        let what = format!("section {key}: counts {counts:?}, but its seats show {shown:?}");
        verdict.broken(Kind::BooksDisagree, what);
    }
}

#[cfg(test)]
mod tests;
