//! A replica whose state is another than its log makes it: it is found by comparison and halts.

use std::time::{Duration, Instant};

use onsale_allocator::{Error, raft::snapshot::Store};
use onsale_mesh::Deadline;
use onsale_state::{Batch, Command, CommandKind, Limits, Shard};

use crate::cluster_support::{Cluster, PATIENCE, Running, eventually, run};

/// A shard whose replicas have snapshots, all nodes stopped.
fn stopped(nodes: u64) -> Cluster {
    let mut cluster = Cluster::new(nodes, 1);
    for config in &mut cluster.configs {
        config.snapshot_entries = 100;
    }
    cluster.start_all();
    run(async {
        while cluster
            .nodes
            .iter()
            .flatten()
            .any(|node| node.handle.group(1).expect("the shard").status().snapshot == 0)
        {
            cluster.propose(1, CommandKind::Tick).await;
        }
    });
    cluster.wait_equal(1);
    (0..cluster.nodes.len()).for_each(|at| cluster.stop(at));
    cluster
}

/// Gives a stopped replica a snapshot of a state that its log does not lead to: its checksums are
/// good, but as many commands as `lies` were applied that nobody proposed.
fn tamper(cluster: &Cluster, at: usize, lies: usize) {
    let store = Store::open(&cluster.folder(at), 1).expect("opens");
    let loaded = store.load().expect("reads").expect("a snapshot");
    let state = Shard::decode_snapshot(&loaded.state).expect("a state");
    let mut forged = Shard::new(1, 1, Limits::default());
    let lie = Command { not_after_ms: 7, kind: CommandKind::Tick };
    let batch = Batch { log_time_ms: state.log_time_ms(), commands: vec![lie; lies] };
    forged.apply(state.last_index(), &batch, &mut Vec::new(), &mut Vec::new());
    assert_ne!(forged.chain(), state.chain());
    let mut bytes = Vec::new();
    forged.encode_snapshot(&mut bytes);
    store.write(&loaded.meta, |writer| writer.put(&bytes)).expect("writes");
}

/// Starts all nodes; entries are made until `done`.
fn work_until(cluster: &mut Cluster, mut done: impl FnMut(&Cluster) -> bool) {
    for at in 0..cluster.nodes.len() {
        cluster.start(at).expect("starts");
    }
    run(async {
        let until = Instant::now() + PATIENCE;
        while !done(cluster) {
            assert!(Instant::now() < until, "nobody halts");
            for node in cluster.nodes.iter().flatten() {
                let group = node.handle.group(1).expect("the shard");
                if group.leads() {
                    let tick = Command { not_after_ms: 0, kind: CommandKind::Tick };
                    let _ = group.propose(tick, Deadline::after(Duration::from_secs(1))).await;
                }
            }
            tokio::task::yield_now().await;
        }
    });
}

fn agreed(cluster: &Cluster, at: usize) -> u64 {
    cluster.handle(at).group(1).expect("the shard").agreed_index()
}

#[test]
fn a_replica_outside_the_majority_halts_the_leader_too_and_the_others_go_on() {
    let (mut leaders, mut followers) = (0, 0);
    // Who leads is the election's to say: another round until both were tried.
    for at in (0..3).cycle().take(15) {
        if leaders > 0 && followers > 0 {
            return;
        }
        let mut cluster = stopped(3);
        tamper(&cluster, at, 1);
        let mut led = false;
        work_until(&mut cluster, |cluster| {
            let node = cluster.nodes[at].as_ref().expect("was started");
            led |= node.handle.group(1).expect("the shard").leads();
            node.has_ended()
        });
        leaders += usize::from(led);
        followers += usize::from(!led);
        let ended = cluster.nodes[at].take().expect("was started").ended().expect_err("halts");
        let text = ended.to_string();
        assert!(matches!(ended, Error::Diverged { shard: 1, index } if index > 0), "{text}");
        assert!(text.contains("onsale cluster remove-replica"), "{text}");
        // The others are a majority, of one opinion.
        let others = [(at + 1) % 3, (at + 2) % 3];
        let before = agreed(&cluster, others[0]).max(agreed(&cluster, others[1]));
        run(async {
            for _ in 0..128 {
                cluster.propose(1, CommandKind::Tick).await;
            }
        });
        eventually("the others agree and go on", || {
            others.iter().all(|at| agreed(&cluster, *at) > before).then_some(())
        });
    }
    panic!("{leaders} leaders and {followers} followers were tampered with");
}

#[test]
fn without_a_majority_all_halt() {
    let mut cluster = stopped(3);
    tamper(&cluster, 1, 1);
    tamper(&cluster, 2, 2);
    work_until(&mut cluster, |cluster| cluster.nodes.iter().flatten().all(Running::has_ended));
    for node in cluster.nodes.drain(..).flatten() {
        let ended = node.ended().expect_err("halts");
        assert!(matches!(ended, Error::Divided { shard: 1, .. }), "{ended}");
    }
}

#[test]
fn replicas_that_agree_say_so_and_go_on() {
    let mut cluster = stopped(3);
    cluster.start_all();
    run(async {
        for _ in 0..200 {
            cluster.propose(1, CommandKind::Tick).await;
        }
    });
    let last = cluster.wait_equal(1);
    eventually("all agree up to the last checkpoint", || {
        (0..3).all(|at| agreed(&cluster, at) + 64 > last).then_some(())
    });
    assert!(cluster.nodes.iter().flatten().all(|node| !node.has_ended()));
}
