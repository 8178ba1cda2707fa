//! A few seconds at full load with a snapshot after every few entries. Ten minutes of it, with a
//! million seats, are `cargo run --release -p onsale-allocator --example snapshot_bench soak`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use onsale_mesh::ShardClient;

use crate::cluster_support::{Cluster, eventually, held, hold, patient, release, run};

const TIME: Duration = Duration::from_secs(5);
const SNAPSHOT_ENTRIES: u64 = 100;

async fn buy_on(client: ShardClient, buyer: u32, stop: Arc<AtomicBool>) -> u64 {
    let mut key = u64::from(buyer) << 32;
    while !stop.load(Ordering::Relaxed) {
        key += 1;
        let taken = client.submit(1, hold(1, 1, key, &[buyer], 0), patient()).await;
        let taken = held(taken.expect("an outcome"));
        client.submit(1, release(&taken.hold_id), patient()).await.expect("an outcome");
    }
    key & 0xffff_ffff
}

#[test]
fn snapshot_after_snapshot_at_full_load_nothing_ends_and_nothing_piles_up() {
    let mut cluster = Cluster::new(3, 1);
    for config in &mut cluster.configs {
        config.snapshot_entries = SNAPSHOT_ENTRIES;
    }
    cluster.start_all();
    run(async {
        cluster.open_onsale(1, 1, 1, 4).await;
        let (client, stop) = (cluster.client(), Arc::new(AtomicBool::new(false)));
        let mut buyers = tokio::task::JoinSet::new();
        for buyer in 0..32 {
            buyers.spawn(buy_on(client.clone(), buyer, stop.clone()));
        }
        let groups: Vec<_> =
            (0..3).map(|at| cluster.handle(at).group(1).expect("the shard").clone()).collect();
        let begun = Instant::now();
        let enough = SNAPSHOT_ENTRIES * 5;
        tokio::task::spawn_blocking(move || {
            eventually("each has made some snapshots", || {
                let made = groups.iter().all(|group| group.status().snapshot > enough);
                (made && begun.elapsed() >= TIME).then_some(())
            });
        })
        .await
        .expect("waits");
        stop.store(true, Ordering::Relaxed);
        let mut bought = 0;
        while let Some(count) = buyers.join_next().await {
            bought += count.expect("nobody was told an untruth");
        }
        assert!(bought > 100, "{bought}");
    });
    cluster.wait_equal(1);
    for at in 0..3 {
        let node = cluster.nodes[at].as_ref().expect("was started");
        assert!(!node.has_ended(), "node {at}");
        let group = node.handle.group(1).expect("the shard");
        eventually("the log lets go of what is in a snapshot", || {
            let status = group.status();
            (status.last_index - status.purged < 5 * SNAPSHOT_ENTRIES).then_some(())
        });
        let snapshots = cluster.folder(at).join("snapshots").join("shard-1");
        eventually("two snapshots stay", || {
            let files = std::fs::read_dir(&snapshots).expect("lists").count();
            (files <= 2).then_some(())
        });
        group.read(|shard| assert_eq!(shard.check_invariants(), vec![]));
    }
}
