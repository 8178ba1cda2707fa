//! Turns small random numbers into commands that make sense about as often as not: few seats, few
//! keys, few leases, so that everything meets everything.

mod channels;
mod codes;

use onsale_state::{
    command::{
        BeginCheckout, ChangeOnsale, Contact, DropChange, DropRevision, ExtendHold, Hold, HoldItem,
        HoldTerms, Idempotency, JobResult, KillSeats, LeaseJobs, OpenOnsale, PrepareEvent,
        PublishEvent, PutApiKey, PutSigningKey, RenameTicket, ReturnSeats, Selection,
        SellOverTheCounter, SwapSeat, WakeJob, Wish,
    },
    *,
};
use proptest::prelude::*;

use crate::{
    compare::next_due,
    kit::{self, club, festival, gallery, theatre},
    naive::Naive,
};

/// One command in the making: what kind, and four numbers to make it of.
#[derive(Clone, Copy, Debug)]
pub struct Draft {
    kind: u8,
    a: u16,
    b: u16,
    c: u16,
    d: u16,
}

/// One entry in the making: how time passes, and its commands.
#[derive(Clone, Debug)]
pub struct EntryDraft {
    time: u8,
    drafts: Vec<Draft>,
}

pub fn histories(entries: usize) -> impl Strategy<Value = Vec<EntryDraft>> {
    let draft = (0u8..100, any::<[u16; 4]>());
    let draft = draft.prop_map(|(kind, [a, b, c, d])| Draft { kind, a, b, c, d });
    let entry = (any::<u8>(), proptest::collection::vec(draft, 0..8));
    let entry = entry.prop_map(|(time, drafts)| EntryDraft { time, drafts });
    proptest::collection::vec(entry, 1..entries)
}

/// What a history remembers between entries.
#[derive(Default)]
pub struct Writer {
    next_id: u128,
    holds: Vec<u128>,
    orders: Vec<u128>,
}

fn pick<T: Copy>(from: &[T], at: u16) -> Option<T> {
    (!from.is_empty()).then(|| from[usize::from(at) % from.len()])
}

impl Writer {
    pub fn openings() -> Batch {
        let open = |open| CommandKind::OpenOnsale(Box::new(open));
        let mut commands = vec![open(theatre()), open(club()), open(festival()), open(gallery())];
        commands.extend((1..5).map(codes::first));
        let commands =
            commands.into_iter().map(|kind| Command { not_after_ms: kit::NEVER, kind }).collect();
        Batch { log_time_ms: 1_000_000, commands }
    }

    pub fn batch(&mut self, entry: &EntryDraft, model: &Naive) -> Batch {
        let next = next_due(model);
        let log_time_ms = match entry.time % 16 {
            0..=3 => model.now,
            4..=7 => model.now + u64::from(entry.time),
            8 => model.now + 20_000,
            9 => model.now.saturating_sub(5_000),
            10 | 11 => next.unwrap_or(model.now),
            12 => next.unwrap_or(model.now) - 1,
            13 => model.now + 15 * 60_000,
            14 if entry.time > 200 => model.now + 25 * 3_600_000,
            14 => model.now + 61_000,
            _ => model.now + 3_600_000,
        };
        let now = model.now.max(log_time_ms);
        let commands = entry.drafts.iter().map(|draft| {
            let not_after_ms = match draft.d % 32 {
                0 => now - 1,
                1 => now,
                _ => kit::NEVER,
            };
            Command { not_after_ms, kind: self.command(*draft, model) }
        });
        Batch { log_time_ms, commands: commands.collect() }
    }

    fn fresh(&mut self) -> u128 {
        self.next_id += 1;
        self.next_id
    }

    fn a_hold(&self, at: u16) -> u128 {
        pick(&self.holds, at).filter(|_| at % 16 != 0).unwrap_or(999_999)
    }

    /// A live one, if there is.
    fn a_live_hold(&self, at: u16, model: &Naive) -> u128 {
        let live = model.holds.iter().filter(|(_, hold)| hold.state == HoldState::Live);
        let live: Vec<u128> = live.map(|(&id, _)| id).collect();
        pick(&live, at).filter(|_| at % 8 != 0).unwrap_or_else(|| self.a_hold(at))
    }

    /// Mostly new; else one of few, with a content and buyer that may differ.
    fn idempotency(&mut self, draft: Draft) -> Idempotency {
        let known = draft.b % 4 == 0;
        let key = if known {
            u128::from(draft.a % 24)
        } else {
            // The low half is what changes carry.
            self.fresh() << 64 | u128::from(draft.a)
        };
        Idempotency {
            key,
            request: if known { u64::from(draft.c % 8 / 7) } else { u64::from(draft.c) },
            buyer: u64::from(draft.a % 5),
            buyer_is_new: draft.b % 16 == 4,
        }
    }

    fn command(&mut self, draft: Draft, model: &Naive) -> CommandKind {
        match draft.kind {
            0..=28 => self.hold(draft, model),
            29..=31 => self.channel(draft, model),
            32 | 33 => self.kill(draft),
            34 => self.codes(draft, model),
            35 | 36 => self.give_back(draft, model),
            37..=39 => self.ticket(draft, model),
            40..=49 => kit::release(self.a_live_hold(draft.a, model)),
            50..=55 => {
                let id = self.a_live_hold(draft.a, model);
                let seen = model.holds.get(&id).map_or(0, |hold| hold.extensions);
                CommandKind::ExtendHold(ExtendHold {
                    hold: HoldId(id),
                    extensions_seen: (seen + draft.b % 8 / 7).saturating_sub(draft.c % 8 / 7),
                    idempotency: (draft.b % 3 != 0).then(|| self.idempotency(draft)),
                })
            }
            56..=67 => self.checkout(draft, model),
            68..=70 => {
                let (hold, order) =
                    (HoldId(self.a_live_hold(draft.a, model)), self.an_order_id(draft));
                let idempotency = self.idempotency(draft);
                CommandKind::SellOverTheCounter(SellOverTheCounter { hold, order, idempotency })
            }
            71..=78 => CommandKind::LeaseJobs(LeaseJobs {
                lease: u64::from(draft.a % 5),
                jobs_max: draft.b % 4 + 1 - draft.c % 16 / 15,
                lease_ms: [0, 1, 10_000, 30_000, 60_000][usize::from(draft.b % 5)],
            }),
            79..=93 => self.settle(draft, model),
            94 | 95 => {
                let order = pick(&self.orders, draft.a).unwrap_or(5);
                CommandKind::WakeJob(WakeJob { order: OrderId(order) })
            }
            96 if draft.d % 4 == 0 => CommandKind::DropChange(DropChange {
                event: u32::from(draft.a % 3),
                revision: u64::from(draft.b % 8),
            }),
            96 | 97 => self.change(draft, model),
            98 => {
                let revision = 1 + u64::from(draft.a % 3);
                CommandKind::OpenOnsale(Box::new(OpenOnsale { revision, ..theatre() }))
            }
            _ => CommandKind::Tick,
        }
    }

    fn hold(&mut self, draft: Draft, model: &Naive) -> CommandKind {
        let idempotency = self.idempotency(draft);
        let hold = if draft.c % 16 == 9 { self.a_hold(draft.a) } else { self.fresh() };
        self.holds.push(hold);
        let event = match draft.d % 16 {
            0 => 7,
            1..=2 => 2,
            3..=5 => 3,
            6..=9 => 4,
            _ => 1,
        };
        let items = 1 + usize::from(draft.d % 5 / 3);
        let numbers = [draft.a, draft.b, draft.c, draft.d];
        let items = (0..items).map(|at| item(numbers[at], numbers[at + 1], numbers[at + 2]));
        let items: smallvec::SmallVec<[HoldItem; 1]> = items.collect();
        let offer = model.events.get(&event).and_then(|event| event.open.offer.as_ref());
        let types = types(offer.is_some_and(|offer| offer.types > 0), &items, draft);
        let channel = channels::a_channel(event, draft, model);
        let code = codes::a_code(event, draft, model);
        let says_more = !types.is_empty() || channel.is_some() || code.is_some();
        let terms = says_more.then(|| Box::new(HoldTerms { types, channel, code }));
        CommandKind::Hold(Hold { event, hold: HoldId(hold), idempotency, items, terms })
    }

    fn an_order_id(&mut self, draft: Draft) -> OrderId {
        let order = match draft.c % 32 {
            0 => pick(&self.orders, draft.a).unwrap_or(1 << 16),
            1 => 77,
            _ => self.fresh() << 16,
        };
        self.orders.push(order);
        OrderId(order)
    }

    fn checkout(&mut self, draft: Draft, model: &Naive) -> CommandKind {
        let order = self.an_order_id(draft);
        CommandKind::BeginCheckout(Box::new(BeginCheckout {
            hold: HoldId(self.a_live_hold(draft.a, model)),
            order,
            idempotency: self.idempotency(draft),
            email: u64::from(draft.b % 3),
            card: (draft.c % 3 > 0).then(|| u64::from(draft.c % 4)),
            payment_method: if draft.c % 32 == 3 { "" } else { "pm_card_visa" }.into(),
            contact_commitment: [draft.a as u8; 32],
            contact: Contact { salt: [2; 16], name: "N".into(), email: "e@example.org".into() },
        }))
    }

    fn settle(&mut self, draft: Draft, model: &Naive) -> CommandKind {
        let leased = model.jobs.iter().filter(|(_, job)| job.lease != 0);
        let leased: Vec<u64> = leased.map(|(&id, _)| id).collect();
        let any = u64::from(draft.a) % (model.last_job + 2);
        let id = pick(&leased, draft.a).filter(|_| draft.b % 8 != 0).unwrap_or(any);
        let job = model.jobs.get(&id);
        let report = model.reports.get(&id);
        if let Some((lease, result, _)) = report.filter(|_| draft.c % 4 == 0) {
            return kit::settle(id, *lease, result.clone());
        }
        let lease = match job {
            Some(job) if draft.b % 8 != 1 => job.lease,
            _ => u64::from(draft.a % 5),
        };
        let tickets = job.map_or(1, |job| model.orders[&job.order].places.len());
        let tickets = tickets + usize::from(draft.d % 16 == 5);
        let fitting = job.filter(|_| draft.c % 16 != 1).map(|job| job.kind);
        let intent: Box<str> = format!("pi_{}", draft.a % 3).into();
        let retry = JobResult::Retry { after_ms: u32::from(draft.d % 3) * 20_000 };
        let signatures = vec![[draft.a as u8; 64]; tickets];
        let result = match (fitting, draft.d % 8) {
            (_, 0) => retry,
            (Some(JobKind::Authorise), 1..=4) => JobResult::Authorised { payment_intent: intent },
            (Some(JobKind::Authorise), 5) => JobResult::ActionRequired {
                payment_intent: intent,
                next_action_url: "https://bank.example/confirm".into(),
                poll_after_ms: u32::from(draft.a % 2) * 10_000,
            },
            (Some(JobKind::Authorise), _) => JobResult::Declined {
                payment_intent: (draft.a % 2 == 0).then_some(intent),
                reason: "card_declined".into(),
            },
            (Some(JobKind::Capture), 1..=5) => JobResult::Captured { signing_key: 4, signatures },
            (Some(JobKind::Capture), _) => JobResult::CaptureRefused { reason: "expired".into() },
            (Some(JobKind::Issue), _) => JobResult::Issued { signing_key: 5, signatures },
            (Some(JobKind::Void), _) => JobResult::Voided,
            (None, 1) => JobResult::Voided,
            (None, 2..=4) => JobResult::Authorised { payment_intent: intent },
            (None, 5) => JobResult::Captured { signing_key: 4, signatures },
            (None, _) => JobResult::Issued { signing_key: 4, signatures },
        };
        kit::settle(id, lease, result)
    }

    fn kill(&mut self, draft: Draft) -> CommandKind {
        let reason = ["", "camera", "house", "camera"][usize::from(draft.c % 4)];
        let reason = if draft.c % 64 == 63 { "x".repeat(65) } else { reason.to_owned() };
        let (event, places) = selection(draft);
        let idempotency = self.idempotency(draft);
        CommandKind::KillSeats(Box::new(KillSeats {
            event,
            idempotency,
            places,
            reason: reason.into(),
        }))
    }

    /// What is withdrawn, for the most part.
    fn give_back(&mut self, draft: Draft, model: &Naive) -> CommandKind {
        let (event, mut places) = selection(draft);
        let killed: Vec<u32> =
            model.events.get(&event).map_or(vec![], |event| event.kills.keys().copied().collect());
        if draft.c % 4 > 0 && !killed.is_empty() {
            let first = usize::from(draft.b) % killed.len();
            places.seats =
                killed[first..].iter().copied().take(1 + usize::from(draft.a % 3)).collect();
        }
        let idempotency = self.idempotency(draft);
        CommandKind::ReturnSeats(Box::new(ReturnSeats { event, idempotency, places }))
    }

    fn ticket(&mut self, draft: Draft, model: &Naive) -> CommandKind {
        let ticketed = model.orders.iter();
        let ticketed = ticketed.filter(|(_, order)| order.status == OrderStatus::Confirmed);
        let ticketed: Vec<u128> = ticketed.map(|(&id, _)| id).collect();
        let any = pick(&self.orders, draft.a).unwrap_or(5);
        let order = pick(&ticketed, draft.a).filter(|_| draft.b % 8 > 0).unwrap_or(any);
        let numbers = model.orders.get(&order).map_or(vec![1], |order| order.numbers.clone());
        let ticket = pick(&numbers, draft.c).unwrap_or(1) + draft.c % 16 / 15;
        let (order, idempotency) = (OrderId(order), self.idempotency(draft));
        if draft.kind == 37 {
            let name = if draft.c % 16 == 7 { "" } else { ["Ada", "Bo"][usize::from(draft.d % 2)] };
            return CommandKind::RenameTicket(Box::new(RenameTicket {
                order,
                ticket: (draft.d % 3 > 0).then_some(ticket),
                idempotency,
                contact_commitment: [draft.d as u8; 32],
                contact: Contact { salt: [3; 16], name: name.into(), email: "".into() },
            }));
        }
        CommandKind::SwapSeat(Box::new(SwapSeat {
            order,
            ticket,
            to_seat: u32::from(draft.d % 26),
            idempotency,
            reason: ["", "broken seat"][usize::from(draft.a % 2)].into(),
        }))
    }

    fn change(&mut self, draft: Draft, model: &Naive) -> CommandKind {
        let event = [0, 1, 2, 3, 4, 3][usize::from(draft.a % 6)];
        let known = model.events.get(&event);
        let mut rules = known.map_or(kit::rules(), |event| event.open.rules);
        rules.hold_ttl_ms = [5_000, 60_000, 90_000, 10][usize::from(draft.b % 4)];
        rules.seats_per_buyer_max = [0, 3, 8][usize::from(draft.c % 3)];
        rules.hold_extensions_max = draft.c % 3;
        rules.no_orphans = draft.d % 4 > 0;
        rules.holds_per_buyer_max = [0, 3, 1][usize::from(draft.d / 4 % 3)];
        rules.hold_seconds_per_buyer_max = [0, 100, 20][usize::from(draft.d / 16 % 3)];
        let categories = known.map_or(1, |event| event.open.prices_minor.len());
        let categories = categories + usize::from(draft.d % 8 == 0);
        let mut prices_minor: Vec<u64> = (0..categories as u16)
            .map(|category| u64::from((draft.b % 3 + category / 2 * draft.a % 3) % 3) * 1000)
            .collect();
        let mut offer = known.and_then(|event| event.open.offer.clone());
        if event == 3 {
            prices_minor = vec![7000, 3000];
            offer = (draft.c % 8 > 0).then(|| Box::new(kit::offer(draft.c)));
        } else if (event, draft.c % 16) == (1, 9) || (event, draft.c % 16) == (2, 5) {
            offer = Some(Box::new(kit::first_offer(draft.c)));
        }
        CommandKind::ChangeOnsale(Box::new(ChangeOnsale {
            event,
            revision: known.map_or(1, |event| event.open.revision) + u64::from(draft.a % 4 > 0),
            onsale_at_ms: if draft.b % 4 == 0 { model.now + 30_000 } else { 0 },
            prices_minor,
            offer,
            rules,
            capacities: if event == 3 { vec![] } else { capacities(draft) },
        }))
    }
}

/// Seats of the theatre in any order, mostly a run; places of its areas.
fn selection(draft: Draft) -> (u32, Selection) {
    let Draft { a, b, d, .. } = draft;
    let event = [1, 1, 1, 1, 1, 2, 1, 7][usize::from(d % 8)];
    let first = u32::from(a % 24);
    let mut seats: Vec<u32> = (first..first + u32::from(b % 5)).collect();
    if event == 2 {
        seats.clear();
    }
    if d % 32 == 9 {
        seats.reverse();
    }
    let area = if event == 2 { 0 } else { 2 + a % 3 };
    let areas = if d % 3 == 0 { vec![(area, u32::from(b % 7))] } else { vec![] };
    (event, Selection { seats, areas })
}

/// Mostly none.
fn capacities(draft: Draft) -> Vec<(u16, u32)> {
    let places = u32::from(draft.c / 2 % 6);
    match (draft.a % 3, draft.d % 8) {
        (1, 1..=3) => vec![(2 + draft.c % 2, places)],
        (1, 4) => vec![(2, places), (3, 12)],
        (1, 5) => vec![(3, 12), (2 + draft.c % 2, places)],
        (2, 1..=4) => vec![(0, places * 2)],
        _ => vec![],
    }
}

/// Types that mostly fit, where the event has some.
fn types(typed: bool, items: &[HoldItem], draft: Draft) -> Vec<u16> {
    if draft.c % 4 == 0 || (!typed && draft.b % 16 != 1) {
        return vec![];
    }
    let places: usize = items
        .iter()
        .map(|item| match item {
            HoldItem::Seats(seats) => seats.len(),
            HoldItem::BestAvailable(wish) => usize::from(wish.quantity + wish.companions),
        })
        .sum();
    let places = places + usize::from(draft.b % 16 == 2);
    let types = (0..places as u16).map(|nth| (draft.a / 8 + nth * (draft.b % 3)) % 3);
    let types = types.map(|no| if draft.d % 16 == 8 { no + 1 } else { no });
    types.collect()
}

fn item(a: u16, b: u16, c: u16) -> HoldItem {
    if a % 2 == 0 {
        let n = [1, 1, 1, 2, 2, 3, 5, 0][usize::from(b % 8)];
        let seats = (0..n).map(|nth| u32::from(c.wrapping_add(nth * (1 + b % 3)) % 25));
        return HoldItem::Seats(seats.collect());
    }
    HoldItem::BestAvailable(Wish {
        quantity: b % 8,
        category: (c % 4 == 0).then_some(c / 4 % 4),
        section: (c % 4 == 1).then_some(c / 4 % 5),
        price_max_minor: (c % 8 == 2).then_some(u64::from(c / 8 % 4) * 2500),
        accessible: a % 8 == 1,
        companions: if a % 16 == 1 { b / 8 % 3 } else { u16::from(b / 8 % 64 == 1) },
        split: b / 64 % 2 == 1,
    })
}

/// A command for the control group, now and then one for another shard.
pub fn control_command(numbers: [u16; 4], model: &Naive) -> CommandKind {
    let [a, b, c, d] = numbers;
    let event_id = format!("evt_{}", b % 4);
    let in_force = model.documents.get(&event_id);
    let in_force = in_force.and_then(|known| known.published.as_ref()).map_or(0, |p| p.0);
    match a % 8 {
        0..=3 => CommandKind::PrepareEvent(Box::new(PrepareEvent {
            event_id: event_id.as_str().into(),
            organizer: if d % 8 == 0 { "org_2" } else { "org_1" }.into(),
            revision: in_force + u64::from(c % 4 > 0),
            idempotency: (c % 3 > 0).then(|| Idempotency {
                key: u128::from(d % 12),
                request: u64::from(c % 5 / 4),
                buyer: u64::from(d % 6 / 5),
                buyer_is_new: false,
            }),
            document: vec![d as u8 % 2; usize::from(d % 4)].into(),
        })),
        4 if d % 3 == 0 => CommandKind::DropRevision(DropRevision {
            event_id: event_id.as_str().into(),
            revision: in_force + u64::from(c % 4),
        }),
        4..=5 => CommandKind::PublishEvent(PublishEvent {
            event_id: event_id.as_str().into(),
            revision: in_force + u64::from(c % 3 > 0),
        }),
        6 if c % 2 == 0 => CommandKind::PutApiKey(PutApiKey {
            key_hash: [b as u8 % 3; 32],
            role: "support".into(),
            owner: if d % 4 == 0 { "a" } else { "b" }.into(),
        }),
        6 => CommandKind::PutSigningKey(PutSigningKey {
            key_id: u32::from(b % 3),
            public_key: [d as u8 % 2; 32],
        }),
        _ => kit::release(1),
    }
}
