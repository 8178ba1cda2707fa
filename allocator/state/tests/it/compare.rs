//! Everything one can observe of a shard, compared with the naive model.

use std::collections::BTreeMap;

use onsale_state::*;

use crate::naive::{Answer, Naive, undecided};

/// What a follower of the change feed knows.
#[derive(Default)]
pub struct Follower {
    seats: BTreeMap<(u32, u32), (SeatState, u64, u64)>,
    areas: BTreeMap<(u32, u16), (u32, u32, u32)>,
    orders: BTreeMap<u128, OrderStatus>,
}

impl Follower {
    pub fn follow(&mut self, changes: &[Change], shard: &Shard) {
        for change in changes {
            match change {
                Change::Seats { event, state, seats, key_tag, until_ms } => {
                    for &seat in seats {
                        self.seats.insert((*event, seat), (*state, *until_ms, *key_tag));
                    }
                }
                Change::GeneralAdmission { event, section, held, sold, killed } => {
                    self.areas.insert((*event, *section), (*held, *sold, *killed));
                }
                // Its availability goes with it.
                Change::Event { event, .. } => {
                    let view = shard.event(*event).expect("event").view();
                    for no in 0..view.seat_map.sections().len() as u16 {
                        let area = view.area(no).map(|it| (it.held(), it.sold(), it.killed()));
                        self.areas.extend(area.map(|area| ((*event, no), area)));
                    }
                }
                Change::Order { order, status, .. } => {
                    self.orders.insert(order.0, *status);
                }
                _ => {}
            }
        }
    }
}

/// Reasons are prose; the model knows fields only.
fn plain(outcome: &Outcome) -> Answer {
    let result = match &outcome.result {
        Err(Rejection::Invalid { field, reason }) => {
            assert!(!reason.is_empty());
            Err(Rejection::Invalid { field, reason: "" })
        }
        other => other.clone(),
    };
    (outcome.replayed, result)
}

pub fn outcomes(batch: &Batch, real: &[Outcome], model: &[Answer]) {
    assert_eq!(real.len(), batch.commands.len());
    for ((real, model), command) in real.iter().zip(model).zip(&batch.commands) {
        assert_eq!(&plain(real), model, "outcome of {command:?}");
    }
}

pub fn states(shard: &Shard, model: &Naive, follower: &Follower) {
    assert_eq!(shard.check_invariants(), []);
    assert_eq!(shard.log_time_ms(), model.now);
    for (&no, event) in &model.events {
        let view = shard.event(no).expect("event").view();
        assert_eq!((&view.event_id, view.revision), (&event.open.event_id, event.open.revision));
        assert_eq!(view.prices_minor.to_vec(), event.open.prices_minor);
        assert_eq!((view.rules, view.onsale_at_ms), (event.open.rules, event.open.onsale_at_ms));
        let mut counts = vec![[0u32; 4]; event.open.sections.len()];
        for seat in 0..event.seats.len() as u32 {
            let facts = model.seat(no, seat);
            assert_eq!(view.seat_state(seat), Some(facts.0), "event {no} seat {seat}");
            let followed = follower.seats.get(&(no, seat)).copied();
            assert_eq!(followed.unwrap_or((SeatState::Available, 0, 0)), facts, "seat {seat}");
            counts[usize::from(event.seats[seat as usize].section)][facts.0 as usize] += 1;
        }
        for (section, availability) in view.availability().into_iter().enumerate() {
            let mut expected = counts[section];
            let kind = &event.open.sections[section].kind;
            if let command::SectionKind::GeneralAdmission { capacity } = kind {
                let (held, sold) = model.area(no, section as u16);
                let killed = model.killed(no, section as u16);
                let held = model.shown_held(no, section as u16).max(held);
                expected = [capacity - held - sold - killed, held, sold, killed];
                let followed = follower.areas.get(&(no, section as u16)).copied();
                assert_eq!(followed.unwrap_or_default(), (held, sold, killed));
            }
            let SectionAvailability { available, held, sold, killed, .. } = availability;
            assert_eq!([available, held, sold, killed], expected, "event {no} section {section}");
        }
        assert_eq!(shard.event(no).expect("event").channels(), model.channel_views(no));
        let kills = shard.event(no).expect("event").killed_seats();
        let kills = kills.map(|(seat, reason)| (seat, reason.to_owned()));
        assert_eq!(kills.collect::<BTreeMap<_, _>>(), event.kills);
        let areas = shard.event(no).expect("event").killed_areas();
        let areas = areas.map(|(section, reason, n)| ((section, reason.to_owned()), n));
        assert_eq!(areas.collect::<BTreeMap<_, _>>(), event.area_kills);
        for (&code, (_, uses)) in &event.codes {
            let counted = shard.event(no).expect("event").uses_of_code(code);
            assert_eq!(counted, Some(*uses), "event {no} code {code}");
        }
        for buyer in 1..6 {
            let seats = shard.event(no).expect("event").seats_of_buyer(buyer);
            assert_eq!(seats as usize, model.seats_of(no, buyer));
            let spent = shard.event(no).expect("event").spent_seat_ms(buyer);
            assert_eq!(spent, event.spent.get(&buyer).copied().unwrap_or(0));
        }
    }
    holds(shard, model);
    orders(shard, model, follower);
    rest(shard, model);
}

fn holds(shard: &Shard, model: &Naive) {
    let ids: Vec<u128> = shard.hold_ids().iter().map(|id| id.0).collect();
    assert_eq!(ids, model.holds.keys().copied().collect::<Vec<_>>());
    for (&id, hold) in &model.holds {
        let view = shard.hold(HoldId(id)).expect("hold");
        assert_eq!((view.event, view.state), (hold.event, hold.state));
        assert_eq!((view.expires_at_ms, view.extensions), (hold.expires_at_ms, hold.extensions));
        assert_eq!((&view.places, view.held_at_ms), (&hold.answer.places, hold.answer.held_at_ms));
        assert_eq!(view.order.map(|order| order.0), hold.order);
    }
}

fn orders(shard: &Shard, model: &Naive, follower: &Follower) {
    let ids: Vec<u128> = shard.order_ids().iter().map(|id| id.0).collect();
    assert_eq!(ids, model.orders.keys().copied().collect::<Vec<_>>());
    for (&id, order) in &model.orders {
        let view = shard.order(OrderId(id)).expect("order");
        assert_eq!((view.event, view.hold.0), (order.event, order.hold));
        assert_eq!(view.status, order.status);
        assert_eq!(follower.orders.get(&id), Some(&order.status));
        let failure = view.failure.map(|why| (why.code.as_str(), why.reason.to_string()));
        assert_eq!(failure, order.failure);
        assert_eq!(view.places.to_vec(), order.places);
        assert_eq!(view.total_minor, order.places.iter().map(|p| p.price_minor).sum::<u64>());
        assert_eq!((view.created_at_ms, view.fence_until_ms), (order.created, order.fence));
        assert_eq!(view.payment_intent.as_deref(), order.intent.as_deref());
        assert_eq!(view.next_action_url.as_deref(), order.url.as_deref());
        let signed = |at: usize| !order.unsigned.contains(&order.numbers[at]);
        let signatures = order.signatures.iter().enumerate();
        let signatures = signatures.map(|(at, signature)| signed(at).then_some(*signature));
        assert_eq!(view.signatures, signatures.collect::<Vec<_>>());
        assert_eq!(
            (view.signing_key, view.tickets.to_vec()),
            (order.signing_key, order.numbers.clone())
        );
        let moved = view.moved.iter();
        let moved = moved.map(|it| (it.ticket, it.place, it.at_ms, it.reason.to_string()));
        assert_eq!(moved.collect::<Vec<_>>(), order.moved);
        assert_eq!(shard.contact(OrderId(id)), order.contact.as_ref());
        for number in 1..16 {
            assert_eq!(shard.holder(OrderId(id), number), order.holders.get(&number));
        }
    }
}

fn rest(shard: &Shard, model: &Naive) {
    let alive = |hold: &&crate::naive::NaiveHold| {
        matches!(hold.state, HoldState::Live | HoldState::InCheckout)
    };
    let due = model.jobs.values().filter(|job| job.due_at() <= model.now).count();
    let expected = Counts {
        events: model.events.len() + model.documents.len(),
        holds: model.holds.values().filter(alive).count(),
        orders: model.orders.len(),
        dedup: model.keys.len(),
        jobs: model.jobs.len(),
        due_jobs: due,
    };
    assert_eq!(shard.counts(), expected);
    if let Some(next) = next_due(model) {
        let told = shard.next_due_at_ms();
        assert!(told.is_some_and(|told| told <= next), "{told:?} is later than {next}");
    }
    for record in shard.documents() {
        let document = &model.documents[&*record.event_id];
        assert_eq!((record.event, record.shard), (document.event, document.shard));
        let plain = |stored: &Option<(u64, Box<[u8]>)>| {
            stored.as_ref().map(|(revision, bytes)| (*revision, bytes.to_vec()))
        };
        assert_eq!(plain(&record.published), document.published);
        assert_eq!(plain(&record.prepared), document.prepared);
    }
    assert_eq!(shard.api_keys().count(), model.api_keys.len());
    let keys: BTreeMap<u32, [u8; 32]> = shard.signing_keys().map(|(id, key)| (id, *key)).collect();
    assert_eq!(keys, model.signing_keys);
}

/// When time alone changes something next.
pub fn next_due(model: &Naive) -> Option<u64> {
    let holds = model.holds.values().filter(|hold| hold.state == HoldState::Live);
    let fences = model.orders.values().filter(|order| undecided(order.status));
    let jobs = model.jobs.values().map(|job| job.due_at()).filter(|&due| due > model.now);
    let releases = model.events.keys().flat_map(|&event| model.releases(event));
    let holds = holds.map(|hold| hold.expires_at_ms).chain(releases);
    holds.chain(fences.map(|o| o.fence)).chain(jobs).min()
}
