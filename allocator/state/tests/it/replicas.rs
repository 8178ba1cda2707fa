//! Replicas with different pasts decide the same.

use onsale_state::{
    command::{OpenOnsale, PutChannel, Selection},
    *,
};

use crate::kit::{Desk, key, theatre};

#[test]
fn allotments_of_two_events_end_in_one_order_also_on_a_replica_from_a_snapshot() {
    let mut desk = Desk::new(Limits::default());
    // The event that came first has the higher number, so that its slot and its number disagree.
    for event in [2, 1] {
        let open = OpenOnsale { event, event_id: format!("evt_{event}").into(), ..theatre() };
        desk.ok(1, CommandKind::OpenOnsale(Box::new(open)));
    }
    for event in [2, 1] {
        let asked = PutChannel {
            event,
            idempotency: key(event.into()),
            key: "fans".into(),
            key_hash: None,
            places: Selection { seats: vec![event, 4], areas: vec![] },
            release_at_ms: Some(5_000),
            general_too: false,
        };
        desk.ok(2, CommandKind::PutChannel(Box::new(asked)));
    }
    let mut bytes = Vec::new();
    desk.shard.encode_snapshot(&mut bytes);
    let restored = Shard::decode_snapshot(&bytes).expect("a snapshot");
    let chains = [desk.shard, restored].map(|mut shard| {
        let tick = Command { not_after_ms: u64::MAX, kind: CommandKind::Tick };
        let batch = Batch { log_time_ms: 5_000, commands: vec![tick] };
        let (mut outcomes, mut changes) = (Vec::new(), Vec::new());
        let index = shard.last_index() + 1;
        shard.apply(index, &batch, &mut outcomes, &mut changes);
        (changes, shard.chain())
    });
    assert!(chains[0].0.len() >= 2, "nothing was released: {:?}", chains[0].0);
    assert_eq!(chains[0], chains[1]);
}
