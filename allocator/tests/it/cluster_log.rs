//! What a cluster does with its log: large entries, snapshots by size, what is gone.

use onsale_allocator::Error;
use onsale_state::{CommandKind, Done, command::PrepareEvent};

use crate::cluster_support::{Cluster, eventually, run, try_start};

/// A document as large as they may be.
fn large_document(no: u64) -> CommandKind {
    CommandKind::PrepareEvent(Box::new(PrepareEvent {
        event_id: format!("evt_{no}").into(),
        organizer: "org".into(),
        revision: 1,
        idempotency: None,
        document: vec![b'x'; 1 << 21].into(),
    }))
}

#[test]
fn an_idle_shard_does_not_pin_the_log() {
    let mut cluster = Cluster::new(1, 1);
    cluster.configs[0].log_segments_max = 2;
    cluster.start_all();
    run(async {
        cluster.open_onsale(1, 1, 1, 1).await;
        let idle = cluster.handle(0).group(1).expect("the shard").clone();
        let before = idle.status();
        assert_eq!((before.snapshot, before.purged), (0, 0));
        for no in 0..24 {
            cluster.propose(0, large_document(no)).await;
        }
        eventually("the idle shard is snapshotted and lets go", || {
            let status = idle.status();
            (status.snapshot >= before.applied && status.purged >= before.applied).then_some(())
        });
    });
}

#[test]
fn the_largest_entries_reach_every_replica_and_do_not_stay_in_memory() {
    let mut cluster = Cluster::new(3, 1);
    for config in &mut cluster.configs {
        config.log_memory_bytes_max = 4 << 20;
    }
    cluster.start_all();
    run(async {
        for no in 0..6 {
            let outcome = cluster.propose(0, large_document(no)).await;
            assert!(matches!(outcome.result, Ok(Done::Prepared { .. })), "{outcome:?}");
        }
    });
    cluster.wait_equal(0);
    for at in 0..3 {
        let group = cluster.handle(at).group(0).expect("the control group").clone();
        assert_eq!(group.read(|shard| shard.documents().count()), 6);
        eventually("a snapshot is forced by size", || (group.status().snapshot > 0).then_some(()));
    }
}

#[test]
fn a_log_whose_snapshots_are_gone_refuses_to_start() {
    let mut cluster = Cluster::new(1, 1);
    cluster.configs[0].snapshot_entries = 100;
    cluster.start_all();
    run(async {
        let group = cluster.handle(0).group(1).expect("the shard").clone();
        while group.status().purged <= 10 {
            cluster.propose(1, CommandKind::Tick).await;
        }
    });
    cluster.stop(0);
    let snapshots = cluster.folder(0).join("snapshots").join("shard-1");
    std::fs::remove_dir_all(snapshots).expect("gone");
    let refused = try_start(&cluster.configs[0]).err().expect("refused");
    assert!(matches!(refused, Error::Hole { shard: 1, snapshot: 0, .. }), "{refused}");
}
