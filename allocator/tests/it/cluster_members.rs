//! Leaders move and nodes come and go while buyers buy: nothing acknowledged is lost, and nobody is
//! told that it is not known.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use onsale_allocator::Error;
use onsale_mesh::{Deadline, Failure, ShardClient};
use onsale_proto::{Code, allocator as pb};
use tokio::runtime::Runtime;

use crate::cluster_support::{Cluster, eventually, held, hold, patient, run};

/// Somebody who takes one seat after the other, and how it went.
struct Buyers {
    runtime: Runtime,
    stop: Arc<AtomicBool>,
    bought: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<(Duration, Vec<Failure>)>>,
}

const BUYERS: u64 = 4;

impl Buyers {
    fn start(cluster: &Cluster) -> Buyers {
        run(cluster.open_onsale(1, 1, 50, 200));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let client = runtime.block_on(async { cluster.client() });
        runtime.spawn(client.clone().keep_current());
        let (stop, bought) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let tasks = (0..BUYERS)
            .map(|first| {
                let (client, stop, bought) = (client.clone(), stop.clone(), bought.clone());
                runtime.spawn(buy(client, first, stop, bought))
            })
            .collect();
        let buyers = Buyers { runtime, stop, bought, tasks };
        buyers.go_on();
        buyers
    }

    /// Waits until some more was bought.
    fn go_on(&self) {
        let from = self.bought.load(Ordering::Relaxed);
        let enough = || self.bought.load(Ordering::Relaxed) >= from + 40;
        eventually("buyers go on", || enough().then_some(()));
    }

    /// The longest time without an answer, and what failed within a request's three seconds.
    fn end(self) -> (Duration, Vec<Failure>) {
        self.stop.store(true, Ordering::Relaxed);
        let mut gap = Duration::ZERO;
        let mut failed = Vec::new();
        for task in self.tasks {
            let (longest, failures) = self.runtime.block_on(task).expect("a buyer ends");
            gap = gap.max(longest);
            failed.extend(failures);
        }
        (gap, failed)
    }
}

async fn buy(
    client: ShardClient,
    first: u64,
    stop: Arc<AtomicBool>,
    bought: Arc<AtomicU64>,
) -> (Duration, Vec<Failure>) {
    let (mut gap, mut failed) = (Duration::ZERO, Vec::new());
    let mut key = first;
    let mut answered_at = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let seat = u32::try_from(key).expect("a seat");
        // More patient than the edge: how long it takes is for `onsale-bench` to say (T2, T3).
        let budget = Deadline::after(onsale_mesh::limits::REQUEST_BUDGET * 3);
        match client.submit(1, hold(1, 1, key, &[seat], 0), budget).await {
            Ok(outcome) => {
                held(outcome);
                bought.fetch_add(1, Ordering::Relaxed);
            }
            Err(failure) => failed.push(failure),
        }
        gap = gap.max(answered_at.elapsed());
        answered_at = Instant::now();
        key += BUYERS;
    }
    (gap, failed)
}

/// Adds a node to every shard, the control group first, as the command does.
async fn add_everywhere(client: &ShardClient, node: u64, grpc: &str, shards: u32) {
    for shard in 0..=shards {
        let request = pb::AddReplicaRequest { shard, node, grpc: grpc.to_owned() };
        loop {
            match client.add_replica(request.clone(), patient()).await {
                Ok(answer) if answer.role == "voter" => break,
                Ok(_) => {}
                Err(failure) => assert!(failure.code.retryable(), "{failure}"),
            }
        }
    }
}

async fn remove_everywhere(client: &ShardClient, node: u64, shards: u32) {
    for shard in (0..=shards).rev() {
        let request = pb::RemoveReplicaRequest { shard, node, check_only: false };
        let answer = client.remove_replica(request, patient()).await.expect("is taken away");
        assert_eq!(answer.role, "none");
    }
}

#[test]
fn a_lead_moves_under_load_without_a_failed_request_and_moves_to_where_it_is_only_once() {
    let cluster = Cluster::formed(3, 1);
    let buyers = Buyers::start(&cluster);
    run(async {
        let client = cluster.client();
        for _ in 0..5 {
            let to = (cluster.leader(1) as u64 + 1) % 3 + 1;
            let request = pb::TransferLeaderRequest { shard: 1, to };
            let moved = client.transfer_leader(request, patient()).await.expect("moves");
            assert_eq!((moved.leader, moved.changed), (to, true));
            eventually("it leads", || (cluster.leader(1) as u64 + 1 == to).then_some(()));
            let again = client.transfer_leader(request, patient()).await.expect("is there");
            assert_eq!((again.leader, again.changed), (to, false));
            buyers.go_on();
        }
        let nobody = pb::TransferLeaderRequest { shard: 1, to: 9 };
        let refused = client.transfer_leader(nobody, patient()).await.expect_err("no node 9");
        assert_eq!(refused.code, Code::NotFound);
        let nowhere = pb::TransferLeaderRequest { shard: 77, to: 1 };
        let refused = client.transfer_leader(nowhere, patient()).await.expect_err("no shard 77");
        assert_eq!(refused.code, Code::NotFound);
    });
    let (gap, failed) = buyers.end();
    println!("five hand-overs: longest gap {gap:?}");
    assert!(failed.is_empty(), "{failed:?}");
    cluster.wait_equal(1);
}

#[test]
fn stopping_and_starting_every_node_in_turn_fails_no_request() {
    let mut cluster = Cluster::formed(3, 1);
    let buyers = Buyers::start(&cluster);
    for at in 0..3 {
        let led = (0..=1).filter(|shard| cluster.leader(*shard) == at).count();
        cluster.stop(at);
        let leaders: Vec<usize> = (0..=1).map(|shard| cluster.leader(shard)).collect();
        assert!(!leaders.contains(&at), "node {at} led {led} and has handed them over");
        buyers.go_on();
        cluster.start_all();
        buyers.go_on();
    }
    let (gap, failed) = buyers.end();
    println!("three nodes in turn: longest gap {gap:?}");
    assert!(failed.is_empty(), "{failed:?}");
    cluster.wait_equal(1);
}

#[test]
fn leads_are_spread_again_when_a_node_is_back() {
    let mut cluster = Cluster::formed(3, 5);
    let away = cluster.leader(1);
    cluster.kill(away);
    for shard in 0..=5 {
        assert_ne!(cluster.leader(shard), away);
    }
    cluster.start_all();
    let back_at = Instant::now();
    let spread = || cluster.leads().iter().all(|led| *led == 2);
    eventually("every node leads two of six", || spread().then_some(()));
    println!("leads are spread {:?} after the node was back", back_at.elapsed());
}

#[test]
fn a_node_joins_by_snapshot_under_load_and_another_one_leaves() {
    let mut cluster = Cluster::new(3, 1);
    for config in &mut cluster.configs {
        config.snapshot_entries = 100;
    }
    cluster.start_all();
    let buyers = Buyers::start(&cluster);
    let group = cluster.handle(cluster.leader(1)).group(1).expect("the shard").clone();
    eventually("entries are purged", || (group.status().purged > 20).then_some(()));
    let newcomer = cluster.newcomer(4);
    cluster.start(newcomer).expect("starts");
    let grpc = cluster.configs[newcomer].nodes[3].grpc.clone();
    let operator = Runtime::new().expect("a runtime");
    let client = operator.block_on(async { cluster.client() });
    operator.spawn(client.clone().keep_current());
    operator.block_on(add_everywhere(&client, 4, &grpc, 1));
    let group = cluster.handle(newcomer).group(1).expect("the shard").clone();
    eventually("it votes", || (group.status().voters == [1, 2, 3, 4]).then_some(()));
    assert!(group.status().snapshot > 0, "it came by snapshot: {:?}", group.status());
    cluster.wait_ready();
    let leaver = cluster.leader(1) as u64 + 1;
    operator.block_on(remove_everywhere(&client, leaver, 1));
    // Once more: nothing is left to do.
    operator.block_on(remove_everywhere(&client, leaver, 1));
    buyers.go_on();
    let at = usize::try_from(leaver - 1).expect("a place");
    cluster.kill(at);
    buyers.go_on();
    eventually("the client knows the members", || {
        let nodes: Vec<u64> = client.nodes().iter().map(|node| node.id).collect();
        (nodes.contains(&4) && !nodes.contains(&leaver)).then_some(())
    });
    // A number that was in use is used up, whatever the disk of its node looks like.
    std::fs::remove_dir_all(cluster.folder(at)).expect("emptied");
    cluster.configs[at].join = true;
    cluster.start(at).expect("opens");
    let ended = cluster.nodes[at].take().expect("it").ended();
    assert!(matches!(ended, Err(Error::Emptied { .. })), "{ended:?}");
    let (gap, failed) = buyers.end();
    println!("a node came and one went: longest gap {gap:?}");
    assert!(failed.is_empty(), "{failed:?}");
    cluster.wait_equal(1);
}

#[test]
fn adding_goes_on_after_the_leader_that_did_it_was_killed() {
    let mut cluster = Cluster::formed(3, 1);
    let newcomer = cluster.newcomer(4);
    cluster.start(newcomer).expect("starts");
    let grpc = cluster.configs[newcomer].nodes[3].grpc.clone();
    let adding = Runtime::new().expect("a runtime");
    let client = adding.block_on(async { cluster.client() });
    let task = adding.spawn(async move { add_everywhere(&client, 4, &grpc, 1).await });
    let leader = cluster.leader(0);
    let group = cluster.handle(leader).group(0).expect("the shard").clone();
    eventually("it has begun", || group.members().nodes.contains_key(&4).then_some(()));
    cluster.kill(leader);
    adding.block_on(task).expect("it is added");
    cluster.start_all();
    for shard in 0..=1 {
        let group = cluster.handle(newcomer).group(shard).expect("the shard").clone();
        eventually("it votes", || (group.status().voters == [1, 2, 3, 4]).then_some(()));
        cluster.wait_equal(shard);
    }
}

#[test]
fn no_replica_is_taken_away_that_the_majority_hangs_on() {
    let mut cluster = Cluster::formed(3, 1);
    let leader = cluster.leader(1);
    let dead = (leader + 1) % 3;
    let other = (leader + 2) % 3;
    cluster.kill(dead);
    run(async {
        let client = cluster.client();
        for (node, check_only) in [(other, true), (other, false), (leader, false)] {
            let request = pb::RemoveReplicaRequest { shard: 1, node: node as u64 + 1, check_only };
            let refused = client.remove_replica(request, patient()).await.expect_err("refused");
            assert_eq!(refused.code, Code::Conflict, "{refused}");
            assert!(refused.detail.contains("no majority"), "{refused}");
        }
        assert_eq!(cluster.handle(leader).group(1).expect("it").status().voters, [1, 2, 3]);
        // The dead one may go.
        let request =
            pb::RemoveReplicaRequest { shard: 1, node: dead as u64 + 1, check_only: false };
        let gone = client.remove_replica(request, patient()).await.expect("goes");
        assert_eq!((gone.role.as_str(), gone.changed), ("none", true));
        run_hold(&client).await;
    });
}

async fn run_hold(client: &ShardClient) {
    let told = client.submit(1, hold(1, 1, 1, &[1], 0), patient()).await;
    let told = told.expect_err("nothing is on sale, but it was decided");
    assert!(!told.code.retryable(), "{told}");
}

#[test]
fn a_node_is_not_added_under_anothers_address_or_number() {
    let mut cluster = Cluster::formed(3, 1);
    let newcomer = cluster.newcomer(4);
    cluster.start(newcomer).expect("starts");
    run(async {
        let client = cluster.client();
        let grpc = cluster.configs[newcomer].nodes[3].grpc.clone();
        let taken = cluster.configs[0].nodes[1].grpc.clone();
        for (node, grpc) in [(5, grpc.clone()), (4, taken)] {
            let request = pb::AddReplicaRequest { shard: 1, node, grpc };
            let refused = client.add_replica(request, patient()).await.expect_err("refused");
            assert_eq!(refused.code, Code::Conflict, "{refused}");
        }
        let request = pb::AddReplicaRequest { shard: 1, node: 2, grpc };
        let refused = client.add_replica(request, patient()).await;
        assert!(refused.is_err_and(|refused| refused.code == Code::Conflict));
    });
}
