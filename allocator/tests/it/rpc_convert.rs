//! What comes in is checked field by field; what goes out carries its code.

use bytes::Bytes;
use onsale_allocator::rpc::{
    control,
    convert::{self, decode_command, decode_outcome, encode_command, encode_outcome},
};
use onsale_mesh::Failure;
use onsale_proto::{Code, allocator as pb, id, keyed};
use onsale_state::{
    AreaTaken, CodeFault, CommandKind, Done, Held, HoldId, JobId, JobKind, LeasedJob, OrderId,
    Outcome, Place, Rejection,
    command::{ChannelEntry, HoldItem, JobResult, Wish},
};
use pb::{command::Kind, outcome::Result as Answer, settle_job_request::Result as Report};

const SHARD: u32 = 3;

fn hold_id() -> Bytes {
    id::to_bytes(u128::from(SHARD) << 112 | 77)
}

fn order_id() -> Bytes {
    id::to_bytes(u128::from(SHARD) << 112 | 77 << 16)
}

fn idempotency() -> pb::Idempotency {
    pb::Idempotency { key: Bytes::from_static(&[5; 16]), request: 6, buyer: 7, buyer_is_new: true }
}

fn hold() -> pb::HoldCommand {
    pb::HoldCommand {
        types: vec![0, 1, 0, 0],
        channel: Some(pb::ChannelEntry {
            key: "fans".to_owned(),
            key_hash: Bytes::from_static(&[8; 32]),
        }),
        code: Bytes::from_static(&[9; 16]),
        event_no: 1,
        hold_id: hold_id(),
        idempotency: Some(idempotency()),
        items: vec![
            pb::HoldItem { seats: vec![4, 5], ..pb::HoldItem::default() },
            pb::HoldItem {
                quantity: 2,
                category: Some(1),
                accessible: true,
                price_max_minor: Some(900),
                companions: 1,
                split: true,
                ..pb::HoldItem::default()
            },
        ],
    }
}

fn checkout() -> pb::BeginCheckoutCommand {
    let (salt, name, email) = ([9; 16], "Ada", "ada@example.org");
    pb::BeginCheckoutCommand {
        hold_id: hold_id(),
        order_id: order_id(),
        idempotency: Some(idempotency()),
        email: 11,
        card: Some(12),
        payment_method: "pm_card_visa".to_owned(),
        contact_commitment: keyed::contact_commitment(&salt, name, email).to_vec().into(),
        contact: Some(pb::Contact {
            salt: salt.to_vec().into(),
            name: name.to_owned(),
            email: email.to_owned(),
        }),
    }
}

fn sell() -> pb::SellCommand {
    pb::SellCommand { hold_id: hold_id(), order_id: order_id(), idempotency: Some(idempotency()) }
}

fn convert(kind: Kind) -> Result<CommandKind, Failure> {
    convert::command(pb::Command { kind: Some(kind) }, SHARD)
}

#[test]
fn good_commands_keep_every_field() {
    let Ok(CommandKind::Hold(made)) = convert(Kind::Hold(hold())) else { panic!("a hold") };
    assert_eq!(made.terms.as_ref().expect("terms").types, [0, 1, 0, 0]);
    let channel = made.terms.as_ref().and_then(|terms| terms.channel.clone());
    assert_eq!(channel, Some(ChannelEntry { key: "fans".into(), key_hash: Some([8; 32]) }));
    let code = u128::from_be_bytes([9; 16]);
    assert_eq!(made.terms.as_ref().and_then(|terms| terms.code), Some(code));
    let short = pb::HoldCommand { code: Bytes::from_static(&[9; 15]), ..hold() };
    assert_eq!(convert(Kind::Hold(short)).expect_err("refused").field, "code");
    let only = pb::HoldCommand { types: vec![], channel: None, ..hold() };
    let Ok(CommandKind::Hold(only)) = convert(Kind::Hold(only)) else { panic!("a hold") };
    assert_eq!(only.terms.and_then(|terms| terms.code), Some(code));
    let plain = pb::HoldCommand { types: vec![], channel: None, code: Bytes::new(), ..hold() };
    let Ok(CommandKind::Hold(plain)) = convert(Kind::Hold(plain)) else { panic!("a hold") };
    assert!(plain.terms.is_none(), "a plain hold stays as small as it is");
    assert_eq!(made.event, 1);
    assert_eq!(made.hold, HoldId(u128::from(SHARD) << 112 | 77));
    assert_eq!((made.idempotency.request, made.idempotency.buyer), (6, 7));
    assert!(made.idempotency.buyer_is_new);
    assert_eq!(made.items[0], HoldItem::Seats([4, 5].as_slice().into()));
    let best = HoldItem::BestAvailable(Wish {
        quantity: 2,
        category: Some(1),
        price_max_minor: Some(900),
        accessible: true,
        companions: 1,
        split: true,
        ..Wish::default()
    });
    assert_eq!(made.items[1], best);
    let Ok(CommandKind::BeginCheckout(made)) = convert(Kind::BeginCheckout(checkout())) else {
        panic!("a checkout")
    };
    assert_eq!((made.email, made.card), (11, Some(12)));
    assert_eq!((&*made.contact.name, &*made.payment_method), ("Ada", "pm_card_visa"));
    let Ok(CommandKind::SellOverTheCounter(made)) = convert(Kind::Sell(sell())) else {
        panic!("a sale")
    };
    assert_eq!(made.order, OrderId(u128::from(SHARD) << 112 | 77 << 16));
    let extend = pb::ExtendHoldCommand {
        hold_id: hold_id(),
        extensions_seen: 2,
        idempotency: sell().idempotency,
    };
    let Ok(CommandKind::ExtendHold(made)) = convert(Kind::ExtendHold(extend)) else {
        panic!("an extension")
    };
    assert_eq!(made.extensions_seen, 2);
    assert!(made.idempotency.is_some());
    let release = pb::ReleaseHoldCommand { hold_id: hold_id() };
    assert!(matches!(convert(Kind::ReleaseHold(release)), Ok(CommandKind::ReleaseHold(_))));
}

#[test]
fn malformed_holds_are_refused_by_field() {
    let item = |change: fn(&mut pb::HoldItem)| {
        move |hold: &mut pb::HoldCommand| change(&mut hold.items[0])
    };
    type Spoil = Box<dyn Fn(&mut pb::HoldCommand)>;
    let key = |change: fn(&mut pb::Idempotency)| -> Spoil {
        Box::new(move |hold| change(hold.idempotency.as_mut().expect("there")))
    };
    let channel = |change: fn(&mut pb::ChannelEntry)| -> Spoil {
        Box::new(move |hold| change(hold.channel.as_mut().expect("there")))
    };
    let table: Vec<(&str, Spoil)> = vec![
        ("event_no", Box::new(|h| h.event_no = 0)),
        ("hold_id", Box::new(|h| h.hold_id = Bytes::from_static(&[1; 15]))),
        ("hold_id", Box::new(|h| h.hold_id = id::to_bytes(4 << 112))),
        ("idempotency", Box::new(|h| h.idempotency = None)),
        ("idempotency/key", key(|it| it.key = Bytes::from_static(&[1; 17]))),
        ("idempotency/buyer", key(|it| it.buyer = 0)),
        ("items", Box::new(|h| h.items.clear())),
        ("items", Box::new(|h| h.items = vec![h.items[0].clone(); 17])),
        ("items/0/seats", Box::new(item(|it| it.seats = vec![3, 4, 3]))),
        ("items/0/seats", Box::new(item(|it| it.seats = (0..65).collect()))),
        ("items/1/quantity", Box::new(|h| h.items[1].quantity = 63)),
        ("items/1/quantity", Box::new(|h| h.items[1].quantity = u32::MAX)),
        ("items/1/quantity", Box::new(|h| h.items[1].quantity = 0)),
        ("items/0/quantity", Box::new(item(|it| it.quantity = 1))),
        ("items/0/category", Box::new(item(|it| it.category = Some(0)))),
        ("items/0/section", Box::new(item(|it| it.section = Some(0)))),
        ("items/0/accessible", Box::new(item(|it| it.accessible = true))),
        ("items/0/price_max_minor", Box::new(item(|it| it.price_max_minor = Some(0)))),
        ("items/0/companions", Box::new(item(|it| it.companions = 1))),
        ("items/0/split", Box::new(item(|it| it.split = true))),
        ("items/1/category", Box::new(|h| h.items[1].category = Some(65_536))),
        ("items/1/section", Box::new(|h| h.items[1].section = Some(65_536))),
        ("channel/key", channel(|it| it.key.clear())),
        ("channel/key", channel(|it| it.key = "k".repeat(65))),
        ("channel/key_hash", channel(|it| it.key_hash = Bytes::from_static(&[8; 31]))),
    ];
    for (at, (field, spoil)) in table.iter().enumerate() {
        let mut message = hold();
        spoil(&mut message);
        refused(convert(Kind::Hold(message)), field, at);
    }
}

#[test]
fn other_malformed_commands_are_refused_by_field() {
    type Spoil = fn(&mut pb::BeginCheckoutCommand);
    let table: &[(&str, Spoil)] = &[
        ("hold_id", |c| c.hold_id.clear()),
        ("order_id", |c| c.order_id = Bytes::from_static(&[0; 3])),
        ("order_id", |c| c.order_id = id::to_bytes(u128::from(SHARD) << 112 | 1)),
        ("order_id", |c| c.order_id = id::to_bytes(9 << 112)),
        ("idempotency", |c| c.idempotency = None),
        ("email", |c| c.email = 0),
        ("card", |c| c.card = Some(0)),
        ("payment_method", |c| c.payment_method.clear()),
        ("payment_method", |c| c.payment_method = "x".repeat(256)),
        ("contact_commitment", |c| c.contact_commitment = Bytes::from_static(&[0; 31])),
        ("contact_commitment", |c| c.contact_commitment = Bytes::from_static(&[0; 32])),
        ("contact", |c| c.contact = None),
        ("contact/salt", |c| c.contact.as_mut().expect("there").salt.clear()),
        ("contact/name", |c| c.contact.as_mut().expect("there").name.clear()),
        ("contact/email", |c| c.contact.as_mut().expect("there").email = "x".repeat(321)),
    ];
    for (at, (field, spoil)) in table.iter().enumerate() {
        let mut message = checkout();
        spoil(&mut message);
        let result = convert(Kind::BeginCheckout(message));
        if let Err(failure) = &result {
            assert!(!failure.to_string().contains("ada@"), "an error tells no contact data");
        }
        refused(result, field, at);
    }
    let extend =
        pb::ExtendHoldCommand { hold_id: hold_id(), extensions_seen: 65_536, idempotency: None };
    refused(convert(Kind::ExtendHold(extend)), "extensions_seen", 0);
    let release = pb::ReleaseHoldCommand { hold_id: Bytes::new() };
    refused(convert(Kind::ReleaseHold(release)), "hold_id", 0);
    let unsold = pb::SellCommand { idempotency: None, ..sell() };
    refused(convert(Kind::Sell(unsold)), "idempotency", 0);
    refused(convert::command(pb::Command { kind: None }, SHARD), "command", 0);
}

#[test]
fn malformed_job_messages_are_refused_by_field() {
    type Spoil = fn(&mut pb::LeaseJobsRequest);
    let good =
        pb::LeaseJobsRequest { shard: SHARD, lease: 1, jobs_max: 64, lease_ms: 1, wait_ms: 0 };
    assert!(convert::lease_jobs(&good).is_ok());
    let table: &[(&str, Spoil)] = &[
        ("lease", |l| l.lease = 0),
        ("jobs_max", |l| l.jobs_max = 0),
        ("jobs_max", |l| l.jobs_max = 65),
        ("jobs_max", |l| l.jobs_max = u32::MAX),
        ("lease_ms", |l| l.lease_ms = 0),
        ("lease_ms", |l| l.lease_ms = 3_600_001),
    ];
    for (at, (field, spoil)) in table.iter().enumerate() {
        let mut message = good;
        spoil(&mut message);
        refused(convert::lease_jobs(&message), field, at);
    }
    let wake = pb::WakeJobRequest { order_id: Bytes::from_static(&[1]) };
    refused(convert::wake_job(&wake, SHARD), "order_id", 0);
}

#[test]
fn malformed_reports_are_refused_by_field() {
    let text = |bytes: usize| "x".repeat(bytes);
    let signed = |count: usize, bytes: usize| pb::Signed {
        signing_key: 1,
        signatures: vec![Bytes::from(vec![1; bytes]); count],
    };
    let action = |url: usize, poll_after_ms| {
        Report::ActionRequired(pb::ActionRequired {
            payment_intent: "pi_1".to_owned(),
            next_action_url: text(url),
            poll_after_ms,
        })
    };
    let declined = |reason: usize| {
        Report::Declined(pb::Declined { payment_intent: String::new(), reason: text(reason) })
    };
    let table = [
        ("authorised/payment_intent", Report::Authorised(pb::Authorised::default())),
        ("action_required/next_action_url", action(0, 1)),
        ("action_required/next_action_url", action(2_049, 1)),
        ("action_required/poll_after_ms", action(9, 86_400_001)),
        ("declined/reason", declined(0)),
        ("declined/reason", declined(65)),
        ("captured/signatures", Report::Captured(signed(0, 64))),
        ("captured/signatures", Report::Captured(signed(65, 64))),
        ("captured/signatures/0", Report::Captured(signed(2, 63))),
        ("issued/signatures/0", Report::Issued(signed(1, 65))),
        ("capture_refused/reason", Report::CaptureRefused(pb::Refused::default())),
        ("retry/after_ms", Report::Retry(pb::Retry { after_ms: u32::MAX })),
    ];
    for (at, (field, report)) in table.into_iter().enumerate() {
        refused(convert::settle_job(settle(1, Some(report))), field, at);
    }
    refused(convert::settle_job(settle(0, Some(declined(5)))), "job_id", 0);
    refused(convert::settle_job(settle(1, None)), "result", 0);
    let Ok(CommandKind::SettleJob(made)) = convert::settle_job(settle(1, Some(declined(5)))) else {
        panic!("a report")
    };
    let expected = JobResult::Declined { payment_intent: None, reason: "xxxxx".into() };
    assert_eq!((made.job, made.lease, made.result), (JobId(1), 9, expected));
}

fn settle(job_id: u64, result: Option<Report>) -> pb::SettleJobRequest {
    pb::SettleJobRequest { shard: SHARD, job_id, lease: 9, result }
}

#[test]
fn malformed_keys_are_refused_by_field() {
    let key = |hash: usize, role: &str, owner: &str| pb::PutApiKeyRequest {
        key: Some(pb::ApiKey {
            key_hash: vec![1; hash].into(),
            role: role.to_owned(),
            owner: owner.to_owned(),
        }),
    };
    assert!(control::api_key(key(32, "support", "desk")).is_ok());
    refused(control::api_key(key(31, "support", "desk")), "key/key_hash", 0);
    refused(control::api_key(key(32, "root", "desk")), "key/role", 0);
    refused(control::api_key(key(32, "support", "")), "key/owner", 0);
    refused(control::api_key(pb::PutApiKeyRequest { key: None }), "key", 0);
    let public_key = Bytes::from_static(&[1; 33]);
    let key = pb::SigningKey { key_id: 1, public_key };
    refused(control::signing_key(pb::PutSigningKeyRequest { key: Some(key) }), "key/public_key", 0);
}

fn refused(result: Result<CommandKind, Failure>, field: &str, row: usize) {
    let failure = result.expect_err(field);
    assert_eq!(failure.code, Code::InvalidRequest, "row {row}: {failure}");
    assert_eq!(failure.field, field, "row {row}: {failure}");
    assert!(failure.detail.contains("must") || failure.detail.contains("required"), "{failure}");
}

#[test]
fn every_rejection_has_its_code_and_keeps_what_it_knows() {
    let taken = AreaTaken { section: 2, held: 1, sold: 3, killed: 4 };
    let shown = pb::AreaTaken { section: 2, held: 1, sold: 3, killed: 4 };
    let held = Some(5);
    let table = [
        (Rejection::TooLate, Code::Unavailable),
        (Rejection::IdempotencyKeyReused, Code::IdempotencyKeyReused),
        (Rejection::Overloaded { bound: "holds_max" }, Code::Overloaded),
        (Rejection::NotFound { what: "hold" }, Code::NotFound),
        (Rejection::Invalid { field: "items/0/seats", reason: "no" }, Code::InvalidRequest),
        (Rejection::NotOnSale { onsale_at_ms: 5 }, Code::NotOnSale),
        (Rejection::HoldExpired, Code::HoldExpired),
        (Rejection::HoldInCheckout, Code::HoldInCheckout),
        (Rejection::ExtensionLimitReached, Code::ExtensionLimitReached),
        (Rejection::BuyerLimitReached { seats_max: 4 }, Code::BuyerLimitReached),
        (Rejection::CodeInvalid { fault: CodeFault::Expired }, Code::CodeInvalid),
        (Rejection::CodeUsedUp, Code::CodeUsedUp),
        (
            Rejection::HoardingLimitReached { holds_max: 2, hold_seconds_max: 0 },
            Code::HoardingLimitReached,
        ),
        (Rejection::SeatUnavailable { seats: vec![1, 2] }, Code::SeatUnavailable),
        (
            Rejection::CompanionWithoutAccessible { seats: vec![1] },
            Code::CompanionWithoutAccessible,
        ),
        (Rejection::OrphanSeats { seats: vec![1, 9], mend: vec![2] }, Code::OrphanSeats),
        (Rejection::SoldOut { held_may_return_at_ms: held }, Code::SoldOut),
        (Rejection::NotEnoughTogether { held_may_return_at_ms: held }, Code::NotEnoughTogether),
        (Rejection::StaleLease, Code::Conflict),
        (Rejection::StaleRevision { in_force: 3 }, Code::Conflict),
        (Rejection::WrongShard, Code::NotFound),
        (Rejection::OrderUnconfirmed, Code::Conflict),
        (Rejection::PriceDiffers { price_minor: 5, other_minor: 6 }, Code::PriceDiffers),
        (Rejection::SeatsSold { seats: vec![1, 2], areas: vec![taken] }, Code::SeatsSold),
        (Rejection::SeatsNotKilled { seats: vec![7], areas: vec![taken] }, Code::SeatsNotKilled),
        (Rejection::CapacityBelowTaken { areas: vec![taken] }, Code::CapacityBelowTaken),
    ];
    for (rejection, code) in table {
        let outcome = Outcome { replayed: false, result: Err(rejection.clone()) };
        let message = convert::outcome(8, &outcome);
        assert_eq!(message.log_index, 8);
        let Some(Answer::Rejected(rejected)) = message.result else { panic!("{rejection:?}") };
        assert!(!rejected.unknown && rejected.leader == 0);
        let failure = Failure::from(rejected);
        assert_eq!(failure.code, code);
        assert_eq!(failure, convert::rejection(&rejection), "nothing is lost on the way");
        assert!(!failure.detail.is_empty());
        match rejection {
            Rejection::SeatUnavailable { seats } => assert_eq!(failure.seats, seats),
            Rejection::SeatsSold { seats, .. } | Rejection::SeatsNotKilled { seats, .. } => {
                assert_eq!((&*failure.seats, failure.areas()), (&*seats, &[shown][..]));
            }
            Rejection::CapacityBelowTaken { .. } => assert_eq!(failure.areas(), [shown]),
            Rejection::OrphanSeats { seats, mend } => {
                assert_eq!((&*failure.seats, failure.mend_seats()), (&*seats, &*mend));
            }
            Rejection::NotOnSale { .. } | Rejection::SoldOut { .. } => {
                assert_eq!(failure.at_ms, Some(5));
            }
            Rejection::Invalid { field, .. } => assert_eq!(failure.field, field),
            Rejection::Overloaded { bound } => assert!(failure.detail.contains(bound)),
            _ => {}
        }
    }
}

#[test]
fn what_was_done_is_told_in_full() {
    let place = Place { seat: Some(3), section: 1, category: 2, ticket_type: 1, price_minor: 500 };
    let held = Done::Held(Held {
        hold: HoldId(5),
        held_at_ms: 6,
        expires_at_ms: 7,
        places: [place].as_slice().into(),
    });
    let message = convert::outcome(9, &Outcome { replayed: true, result: Ok(held) });
    assert!(message.replayed);
    let Some(Answer::Held(held)) = message.result else { panic!("held") };
    assert_eq!(id::from_bytes(&held.hold_id), Some(5));
    assert_eq!((held.held_at_ms, held.expires_at_ms), (6, 7));
    assert_eq!(held.places[0].seat, Some(3));
    let sold = Done::Sold { order: OrderId(1 << 16) };
    let message = convert::outcome(9, &Outcome { replayed: false, result: Ok(sold) });
    assert!(matches!(message.result, Some(Answer::OrderMade(made)) if made.order_id.len() == 16));
}

#[test]
fn unknown_and_not_leader_say_so() {
    let Some(Answer::Rejected(unknown)) = convert::unknown().result else { panic!() };
    assert!(unknown.unknown && unknown.code == "unavailable");
    let Some(Answer::Rejected(other)) = convert::not_leader(3).result else { panic!() };
    assert!(!other.unknown && other.leader == 3);
}

#[test]
fn internal_commands_and_outcomes_travel_unharmed() {
    let command = CommandKind::WakeJob(onsale_state::command::WakeJob { order: OrderId(1 << 16) });
    let back = decode_command(&encode_command(command.clone())).expect("decodes");
    assert_eq!(back, command);
    assert!(decode_command(b"nonsense").is_err());
    let done = Outcome { replayed: false, result: Ok(Done::Ok) };
    assert!(decode_outcome(&encode_outcome(&convert::outcome(1, &done))).is_ok());
    let refused = Outcome { replayed: false, result: Err(Rejection::StaleLease) };
    let failure = decode_outcome(&encode_outcome(&convert::outcome(1, &refused)));
    assert_eq!(failure.expect_err("refused").code, Code::Conflict);
}

#[test]
fn a_job_of_an_unknown_event_still_has_its_places() {
    let job = LeasedJob {
        job: JobId(4),
        kind: JobKind::Capture,
        order: OrderId(1 << 16),
        event: 1,
        amount_minor: 900,
        currency: *b"EUR",
        payment_method: "pm".into(),
        payment_intent: Some("pi".into()),
        attempts: 2,
        first_leased_at_ms: 10,
        places: [Place { seat: None, section: 0, category: 0, ticket_type: 0, price_minor: 900 }]
            .as_slice()
            .into(),
        tickets: [3][..].into(),
    };
    let message = convert::job(&job, None, 12);
    assert_eq!((message.kind.as_str(), message.currency.as_str()), ("capture", "EUR"));
    assert_eq!((message.payment_intent.as_str(), message.places.len()), ("pi", 1));
}
