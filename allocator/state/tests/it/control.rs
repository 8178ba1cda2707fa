//! Documents and keys of the control group, rule by rule.

use onsale_state::{
    command::{PrepareEvent, PublishEvent, PutApiKey, PutSigningKey},
    *,
};

use crate::kit::{Desk, key};

fn control() -> Desk {
    let mut desk = Desk::new(Limits::default());
    desk.shard = Shard::new(0, 3, Limits::default());
    desk
}

fn prepare(event_id: &str, revision: u64, document: &[u8], with_key: Option<u128>) -> CommandKind {
    CommandKind::PrepareEvent(Box::new(PrepareEvent {
        event_id: event_id.into(),
        organizer: "org_1".into(),
        revision,
        idempotency: with_key.map(key),
        document: document.into(),
    }))
}

fn publish(event_id: &str, revision: u64) -> CommandKind {
    CommandKind::PublishEvent(PublishEvent { event_id: event_id.into(), revision })
}

#[test]
fn events_get_numbers_and_shards_in_turn() {
    let mut desk = control();
    let mut given = Vec::new();
    for id in ["a", "b", "c", "d"] {
        let Done::Prepared { event, shard, .. } = desk.ok(1, prepare(id, 1, b"x", None)) else {
            unreachable!()
        };
        given.push((event, shard));
    }
    assert_eq!(given, [(1, 1), (2, 2), (3, 3), (4, 1)]);
}

#[test]
fn readers_see_a_revision_when_it_is_published_and_the_old_one_until_then() {
    let mut desk = control();
    desk.ok(1, prepare("a", 1, b"one", None));
    assert_eq!(desk.shard.document("a").unwrap().published, None);
    desk.ok(1, publish("a", 1));
    let published = Change::Published { event_id: "a".into(), revision: 1 };
    assert!(desk.changes.contains(&published));
    assert!(desk.tell(1, publish("a", 1)).replayed);
    desk.ok(1, prepare("a", 2, b"two", None));
    let record = desk.shard.document("a").unwrap().clone();
    assert_eq!(record.published, Some((1, b"one".as_slice().into())));
    assert_eq!(record.prepared, Some((2, b"two".as_slice().into())));
    assert_eq!(desk.no(1, publish("a", 3)), Rejection::StaleRevision { in_force: 1 });
    assert_eq!(desk.no(1, publish("b", 1)), Rejection::NotFound { what: "event" });
}

#[test]
fn a_revision_is_prepared_once_and_only_the_next_one() {
    let mut desk = control();
    assert_eq!(desk.no(1, prepare("a", 2, b"x", None)), Rejection::StaleRevision { in_force: 0 });
    desk.ok(1, prepare("a", 1, b"x", None));
    assert!(desk.tell(1, prepare("a", 1, b"x", None)).replayed);
    assert_eq!(desk.no(1, prepare("a", 1, b"y", None)), Rejection::StaleRevision { in_force: 0 });
    assert_eq!(desk.no(1, prepare("a", 2, b"y", None)), Rejection::StaleRevision { in_force: 0 });
    desk.ok(1, publish("a", 1));
    assert!(desk.tell(1, prepare("a", 1, b"x", None)).replayed);
    assert_eq!(desk.no(1, prepare("a", 1, b"y", None)), Rejection::StaleRevision { in_force: 1 });
}

#[test]
fn a_key_answers_the_same_for_a_day() {
    let mut desk = control();
    let first = desk.ok(1, prepare("a", 1, b"x", Some(5)));
    let again = desk.tell(limits::DEDUP_ORDER_MS, prepare("b", 1, b"y", Some(5)));
    assert_eq!((again.replayed, again.result), (true, Ok(first)));
    desk.ok(limits::DEDUP_ORDER_MS + 1, prepare("b", 1, b"y", Some(5)));
}

#[test]
fn another_organizers_event_cannot_be_changed() {
    let mut desk = control();
    desk.ok(1, prepare("a", 1, b"x", None));
    desk.ok(1, publish("a", 1));
    let CommandKind::PrepareEvent(mut command) = prepare("a", 2, b"x", None) else {
        unreachable!()
    };
    command.organizer = "org_2".into();
    let refused = desk.no(1, CommandKind::PrepareEvent(command));
    assert!(matches!(refused, Rejection::Invalid { field: "organizer", .. }));
}

#[test]
fn keys_are_stored_once_and_never_replaced() {
    let mut desk = control();
    let signing = |public_key| {
        CommandKind::PutSigningKey(PutSigningKey { key_id: 4, public_key: [public_key; 32] })
    };
    desk.ok(1, signing(1));
    assert!(desk.tell(1, signing(1)).replayed);
    assert!(matches!(desk.no(1, signing(2)), Rejection::Invalid { field: "key_id", .. }));
    let api = |role: &str, owner: &str| {
        let (role, owner) = (role.into(), owner.into());
        CommandKind::PutApiKey(PutApiKey { key_hash: [1; 32], role, owner })
    };
    assert!(matches!(desk.no(1, api("root", "a")), Rejection::Invalid { field: "role", .. }));
    desk.ok(1, api("support", "a"));
    assert!(desk.tell(1, api("support", "a")).replayed);
    let refused = desk.no(1, api("support", "b"));
    assert!(matches!(refused, Rejection::Invalid { field: "key_hash", .. }));
    assert_eq!(&*desk.shard.api_key(&[1; 32]).unwrap().owner, "a");
}
