//! Small words for building events, commands and shards.

use onsale_state::{
    command::{
        BeginCheckout, Contact, ExtendHold, Focus, Hold, HoldItem, Idempotency, JobResult,
        LeaseJobs, Offer, OpenOnsale, PriceLine, Quota, ReleaseHold, RowSpec, Rules, SectionKind,
        SectionSpec, SellOverTheCounter, SettleJob, Tier, Wish,
    },
    *,
};

pub const NEVER: u64 = u64::MAX;

pub fn rules() -> Rules {
    Rules {
        seats_per_order_max: 6,
        seats_per_buyer_max: 8,
        hold_ttl_ms: 60_000,
        hold_extensions_max: 1,
        ..Rules::default()
    }
}

pub fn row(label: &str, seats: u16, accessible: &[u16]) -> RowSpec {
    RowSpec { label: label.into(), seats, accessible: accessible.to_vec(), companion: vec![] }
}

pub fn seated(key: &str, category: u16, rows: Vec<RowSpec>) -> SectionSpec {
    let (kind, focus) = (SectionKind::Seated { rows }, Focus::default());
    SectionSpec { key: key.into(), category, kind, focus }
}

pub fn area(key: &str, category: u16, capacity: u32) -> SectionSpec {
    let (kind, focus) = (SectionKind::GeneralAdmission { capacity }, Focus::default());
    SectionSpec { key: key.into(), category, kind, focus }
}

pub fn opening(event: u32, prices: &[u64], sections: Vec<SectionSpec>) -> OpenOnsale {
    OpenOnsale {
        event,
        event_id: format!("evt_{event}").into(),
        revision: 1,
        currency: *b"EUR",
        onsale_at_ms: 0,
        prices_minor: prices.to_vec(),
        offer: None,
        sections,
        rules: rules(),
    }
}

/// Two seated sections and two areas, small enough to sell out: seats 0–11 and 12–23.
pub fn theatre() -> OpenOnsale {
    let stalls = seated("S", 1, vec![row("A", 6, &[]), row("B", 6, &[1, 2])]);
    let front = seated("F", 0, vec![row("A", 4, &[]), row("B", 4, &[]), row("C", 4, &[4])]);
    opening(1, &[9000, 5000, 2000], vec![stalls, front, area("G1", 2, 3), area("G2", 2, 10)])
}

/// Rows behind each other with every kind of seat: seats 0–19 and 20–24.
pub fn gallery() -> OpenOnsale {
    let mut front = row("A", 7, &[1]);
    front.companion = vec![2, 7];
    let mut middle = row("B", 6, &[6]);
    middle.companion = vec![5];
    let mut stand = seated("G", 0, vec![front, middle, row("C", 7, &[])]);
    stand.focus = Focus { row: 2, seat: 3 };
    let mut open = opening(4, &[4000, 2500], vec![stand, seated("H", 1, vec![row("A", 5, &[])])]);
    open.rules.no_orphans = true;
    open.rules.holds_per_buyer_max = 3;
    open
}

/// An area only, and free.
pub fn club() -> OpenOnsale {
    let mut open = opening(2, &[0], vec![area("FLOOR", 0, 20)]);
    open.rules.seats_per_buyer_max = 0;
    open.rules.hold_ttl_ms = 5_000;
    open.rules.hold_seconds_per_buyer_max = 30;
    open
}

/// Seats and two areas with ticket types, tiers and quotas.
pub fn festival() -> OpenOnsale {
    let stands = seated("S", 0, vec![row("A", 6, &[])]);
    let sections =
        vec![stands, area("G1", 1, 8), area("G2", 1, 8), seated("T", 0, vec![row("A", 3, &[])])];
    OpenOnsale { offer: Some(Box::new(offer(0))), ..opening(3, &[7000, 3000], sections) }
}

/// One of a few offers that the festival may have.
pub fn offer(no: u16) -> Offer {
    let tier = |price_minor, count, until_ms| Tier { price_minor, count, until_ms };
    let early = [tier(500, Some(2), None), tier(900, Some(4), Some(1_050_000))];
    let line = |category, ticket_type, price_minor, tiers: &[Tier]| PriceLine {
        category,
        ticket_type,
        price_minor,
        tiers: tiers[usize::from(no % 2)..].to_vec(),
    };
    let lines = vec![
        line(0, None, 7000, &[tier(6500, None, Some(1_200_000)), tier(6800, Some(1), None)]),
        line(0, Some(1), 3500, &[tier(0, Some(1), None)]),
        line(1, None, 3000, &early),
        line(1, Some(2), 0, &early),
    ];
    let quota = |key: &str, size: u32, sections: &[u16], types: &[u16]| Quota {
        key: key.into(),
        size: size - u32::from(no % 3),
        sections: sections.to_vec(),
        categories: if key == "ground" { vec![1] } else { vec![] },
        types: types.to_vec(),
    };
    let quotas = vec![
        quota("ground", 11, &[], &[]),
        quota("first area", 6, &[1], &[0, 1]),
        quota("children", 3, &[], &[1]),
        quota("side", 2, &[3], &[]),
    ];
    Offer { types: 3 + no / 8 % 2, lines, quotas }
}

/// One of a few first offers that an event without types may get.
pub fn first_offer(no: u16) -> Offer {
    let quota = |key: &str, size: u16, types: &[u16]| Quota {
        key: key.into(),
        size: (size + no / 16 % 4).into(),
        sections: vec![],
        categories: vec![],
        types: types.to_vec(),
    };
    let early = Tier { price_minor: 0, count: Some(2), until_ms: None };
    let half =
        PriceLine { category: 0, ticket_type: Some(1), price_minor: 500, tiers: vec![early] };
    let quotas = [quota("all", 18, &[]), quota("grown-ups", 4, &[0]), quota("kids", 2, &[1])];
    let types = no / 64 % 3;
    let lines = if types > 1 { vec![half] } else { vec![] };
    Offer { types, lines, quotas: quotas[..=usize::from(types)].to_vec() }
}

pub fn key(key: u128) -> Idempotency {
    Idempotency { key, request: 1, buyer: 0, buyer_is_new: false }
}

pub fn hold_items(event: u32, id: u128, items: &[HoldItem]) -> CommandKind {
    let idempotency = Idempotency { key: id, request: 1, buyer: 0, buyer_is_new: false };
    CommandKind::Hold(Hold {
        event,
        hold: HoldId(id),
        idempotency,
        items: items.into(),
        terms: None,
    })
}

pub fn hold_seats(id: u128, seats: &[u32]) -> CommandKind {
    hold_items(1, id, &[HoldItem::Seats(seats.into())])
}

pub fn best(quantity: u16) -> HoldItem {
    HoldItem::BestAvailable(wish(quantity))
}

pub fn wish(quantity: u16) -> Wish {
    Wish { quantity, ..Wish::default() }
}

pub fn release(id: u128) -> CommandKind {
    CommandKind::ReleaseHold(ReleaseHold { hold: HoldId(id) })
}

pub fn extend(id: u128, extensions_seen: u16) -> CommandKind {
    let idempotency = None;
    CommandKind::ExtendHold(ExtendHold { hold: HoldId(id), extensions_seen, idempotency })
}

pub fn order_id(no: u128) -> OrderId {
    OrderId(no << 16)
}

pub fn checkout(hold: u128, order: u128) -> CommandKind {
    CommandKind::BeginCheckout(Box::new(BeginCheckout {
        hold: HoldId(hold),
        order: order_id(order),
        idempotency: key(1000 + order),
        email: 0,
        card: None,
        payment_method: "pm_card_visa".into(),
        contact_commitment: [7; 32],
        contact: Contact { salt: [1; 16], name: "Ada".into(), email: "ada@example.org".into() },
    }))
}

pub fn counter(hold: u128, order: u128) -> CommandKind {
    CommandKind::SellOverTheCounter(SellOverTheCounter {
        hold: HoldId(hold),
        order: order_id(order),
        idempotency: key(1000 + order),
    })
}

pub fn lease(lease: u64) -> CommandKind {
    CommandKind::LeaseJobs(LeaseJobs { lease, jobs_max: 10, lease_ms: 30_000 })
}

pub fn settle(job: u64, lease: u64, result: JobResult) -> CommandKind {
    CommandKind::SettleJob(Box::new(SettleJob { job: JobId(job), lease, result }))
}

pub fn authorised() -> JobResult {
    JobResult::Authorised { payment_intent: "pi_1".into() }
}

pub fn captured(tickets: usize) -> JobResult {
    JobResult::Captured { signing_key: 3, signatures: vec![[9; 64]; tickets] }
}

pub fn declined() -> JobResult {
    JobResult::Declined { payment_intent: Some("pi_1".into()), reason: "card_declined".into() }
}

/// A shard and the means to talk to it one command at a time.
pub struct Desk {
    pub shard: Shard,
    pub changes: Vec<Change>,
}

impl Desk {
    pub fn new(limits: Limits) -> Self {
        Self { shard: Shard::new(1, 4, limits), changes: Vec::new() }
    }

    /// With the theatre and the club on sale, at log time 1000.
    pub fn open() -> Self {
        let mut desk = Self::new(Limits::default());
        for open in [theatre(), club()] {
            desk.ok(1000, CommandKind::OpenOnsale(Box::new(open)));
        }
        desk
    }

    pub fn entry(&mut self, log_time_ms: u64, kinds: Vec<CommandKind>) -> Vec<Outcome> {
        let commands =
            kinds.into_iter().map(|kind| Command { not_after_ms: NEVER, kind }).collect();
        let batch = Batch { log_time_ms, commands };
        let mut outcomes = Vec::new();
        let index = self.shard.last_index() + 1;
        apply(&mut self.shard, index, &batch, &mut outcomes, &mut self.changes);
        assert_eq!(self.shard.check_invariants(), []);
        outcomes
    }

    pub fn tell(&mut self, log_time_ms: u64, kind: CommandKind) -> Outcome {
        self.entry(log_time_ms, vec![kind]).remove(0)
    }

    pub fn ok(&mut self, log_time_ms: u64, kind: CommandKind) -> Done {
        let outcome = self.tell(log_time_ms, kind);
        assert!(!outcome.replayed);
        outcome.result.expect("done")
    }

    pub fn no(&mut self, log_time_ms: u64, kind: CommandKind) -> Rejection {
        let chain = self.shard.chain();
        let outcome = self.tell(log_time_ms, kind);
        assert!(!outcome.replayed);
        assert_ne!(self.shard.chain(), chain);
        outcome.result.expect_err("a rejection")
    }

    pub fn seat(&self, seat: u32) -> SeatState {
        self.shard.event(1).expect("event").view().seat_state(seat).expect("seat")
    }
}

/// The seats of a granted hold.
pub fn seats_of(done: Done) -> Vec<u32> {
    let Done::Held(held) = done else { panic!("{done:?} is not a hold") };
    held.places.iter().filter_map(|place| place.seat).collect()
}

pub fn invalid_field(rejection: Rejection) -> &'static str {
    let Rejection::Invalid { field, .. } = rejection else { panic!("{rejection:?}") };
    field
}
