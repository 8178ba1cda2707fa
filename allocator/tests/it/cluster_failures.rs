//! Nodes die at any moment: nothing acknowledged is lost, nothing is done twice.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use onsale_mesh::{Deadline, ShardClient};
use onsale_proto::Code;
use onsale_state::CommandKind;

use crate::cluster_support::{Cluster, PATIENCE, eventually, held, hold, patient, run};

/// Takes seats one after the other under keys of its own until told to stop; what was
/// acknowledged: key → hold id.
async fn buy_on(client: ShardClient, first: u64, stop: Arc<AtomicBool>) -> BTreeMap<u64, Bytes> {
    let mut acknowledged = BTreeMap::new();
    let mut key = first;
    while !stop.load(Ordering::Relaxed) {
        let seat = u32::try_from(key).expect("a seat");
        match client.submit(1, hold(1, 1, key, &[seat], 0), patient()).await {
            Ok(outcome) => acknowledged.insert(key, held(outcome).hold_id),
            // Not known, or nobody took it: the same again.
            Err(failure) if failure.code.retryable() => continue,
            Err(failure) => panic!("{failure}"),
        };
        key += 4;
    }
    acknowledged
}

/// Buyers go on while `disturb` does its worst; then every acknowledged hold is asked for again.
fn nothing_is_lost_while(cluster: &mut Cluster, disturb: impl FnOnce(&mut Cluster)) {
    run(cluster.open_onsale(1, 1, 20, 100));
    let stop = Arc::new(AtomicBool::new(false));
    let buyers = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let client = buyers.block_on(async { cluster.client() });
    let buying: Vec<_> =
        (0..4).map(|at| buyers.spawn(buy_on(client.clone(), at, stop.clone()))).collect();
    let counts = cluster.handle(cluster.leader(1)).group(1).expect("the shard").applied();
    eventually("buyers are at work", || (*counts.borrow() > 20).then_some(()));
    disturb(cluster);
    let leader = cluster.leader(1);
    let applied = cluster.handle(leader).group(1).expect("the shard").applied();
    let from = *applied.borrow();
    eventually("buyers go on", || (*applied.borrow() > from + 20).then_some(()));
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = BTreeMap::new();
    for buyer in buying {
        acknowledged.extend(buyers.block_on(buyer).expect("no buyer was told an untruth"));
    }
    buyers.block_on(async {
        for (key, hold_id) in &acknowledged {
            let seat = u32::try_from(*key).expect("a seat");
            let again = client.submit(1, hold(1, 1, *key, &[seat], 0), patient()).await;
            let again = again.expect("held");
            assert!(again.replayed, "key {key} was acknowledged and is not known");
            assert_eq!(&held(again).hold_id, hold_id, "key {key} is another hold");
        }
    });
    cluster.start_all();
    cluster.wait_equal(1);
    for at in 0..cluster.nodes.len() {
        let group = cluster.handle(at).group(1).expect("the shard");
        let held = group.read(|shard| shard.hold_ids().len());
        assert!(held >= acknowledged.len(), "{held} holds of {}", acknowledged.len());
        group.read(|shard| assert_eq!(shard.check_invariants(), vec![]));
    }
}

#[test]
fn killed_leader_is_replaced_and_nothing_acknowledged_is_lost() {
    let mut cluster = Cluster::formed(3, 1);
    nothing_is_lost_while(&mut cluster, |cluster| {
        let leader = cluster.leader(1);
        let killed_at = Instant::now();
        cluster.kill(leader);
        let next = cluster.leader(1);
        assert_ne!(next, leader);
        println!("another leader after {:?}", killed_at.elapsed());
    });
}

#[test]
fn all_nodes_killed_at_once_come_back_with_everything_acknowledged() {
    let mut cluster = Cluster::formed(3, 1);
    nothing_is_lost_while(&mut cluster, |cluster| {
        for at in 0..3 {
            cluster.kill(at);
        }
        cluster.start_all();
    });
}

#[test]
fn a_minority_answers_nothing_and_says_that_the_outcome_is_unknown() {
    let mut cluster = Cluster::formed(3, 1);
    run(cluster.open_onsale(1, 1, 1, 1));
    let leader = cluster.leader(1);
    for at in (0..3).filter(|at| *at != leader) {
        cluster.kill(at);
    }
    run(async {
        let client = cluster.client();
        let deadline = Deadline::after(Duration::from_millis(1_500));
        let told = client.submit(1, hold(1, 1, 1, &[1], 0), deadline).await;
        let told = told.expect_err("nobody confirmed it");
        assert_eq!(told.code, Code::OutcomeUnknown, "{told}");
        let group = cluster.handle(leader).group(1).expect("the shard");
        assert!(group.read_index(Deadline::after(Duration::from_secs(1))).await.is_err());
    });
    cluster.start_all();
    run(async {
        let client = cluster.client();
        let again = client.submit(1, hold(1, 1, 1, &[1], 0), patient()).await.expect("held");
        assert_eq!(held(again).places.len(), 1, "the repeat finds or makes one hold");
        cluster.wait_equal(1);
        let holds = cluster.handle(0).group(1).expect("it").read(|shard| shard.hold_ids().len());
        assert_eq!(holds, 1);
    });
}

#[test]
fn a_node_that_was_away_for_long_catches_up_by_snapshot() {
    let mut cluster = Cluster::new(3, 1);
    for config in &mut cluster.configs {
        config.snapshot_entries = 100;
    }
    cluster.start_all();
    run(cluster.open_onsale(1, 1, 10, 10));
    let away = (cluster.leader(1) + 1) % 3;
    cluster.kill(away);
    run(async {
        let client = cluster.client();
        client.submit(1, hold(1, 1, 1, &[17, 18], 0), patient()).await.expect("held");
        let leader = cluster.leader(1);
        let group = cluster.handle(leader).group(1).expect("the shard");
        let until = tokio::time::Instant::now() + PATIENCE;
        while group.status().purged <= 10 {
            assert!(tokio::time::Instant::now() < until, "never purged: {:?}", group.status());
            cluster.propose(1, CommandKind::Tick).await;
        }
    });
    let purged = cluster.handle(cluster.leader(1)).group(1).expect("it").status().purged;
    cluster.start(away).expect("starts");
    let group = cluster.handle(away).group(1).expect("the shard").clone();
    eventually("the snapshot is there", || (group.status().applied >= purged).then_some(()));
    assert!(group.status().snapshot >= purged, "{:?}", group.status());
    cluster.wait_equal(1);
    assert_eq!(group.read(|shard| shard.hold_ids().len()), 1);
    assert_eq!(group.views().len(), 1, "its readers see the event");
    cluster.kill(away);
    cluster.start_all();
    cluster.wait_equal(1);
    let group = cluster.handle(away).group(1).expect("the shard");
    assert_eq!(group.read(|shard| shard.hold_ids().len()), 1, "from its own snapshot and log");
}

#[test]
fn a_hold_expires_by_itself_in_an_idle_shard() {
    let cluster = Cluster::formed(3, 1);
    run(async {
        let CommandKind::OpenOnsale(mut open) = crate::cluster_support::onsale(1, 1, 1) else {
            panic!("an onsale")
        };
        open.rules.hold_ttl_ms = 1_000;
        cluster.propose(1, CommandKind::OpenOnsale(open)).await;
        let client = cluster.client();
        client.submit(1, hold(1, 1, 1, &[3], 0), patient()).await.expect("held");
        for at in 0..3 {
            let group = cluster.handle(at).group(1).expect("the shard");
            let view = eventually("the event's view", || group.view(1));
            eventually("the seat is available again", || {
                let state = view.seat_state(3);
                (state == Some(onsale_state::SeatState::Available)).then_some(())
            });
        }
    });
}
