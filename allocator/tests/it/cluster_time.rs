//! Log time in a cluster whose nodes have clocks of their own: one that is wrong moves nothing, and
//! after an outage what was due has expired and nothing else.

use std::time::{Duration, Instant};

use bytes::Bytes;
use onsale_proto::id;
use onsale_state::{CommandKind, Done, EventNo, HoldId, HoldState};

use crate::cluster_support::{
    Cluster, Wall, eventually, held, hold, onsale_with_ttl, patient, run,
};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// Three nodes with clocks of their own, and event 1 (holds live ten minutes) in shard 1.
fn cluster() -> Cluster {
    let mut cluster = Cluster::new(3, 1);
    cluster.walls = Wall::each(3);
    cluster.start_all();
    run(open(&cluster, 1, 10 * MINUTE));
    cluster
}

async fn open(cluster: &Cluster, event: EventNo, ttl_ms: i64) {
    let ttl_ms = u32::try_from(ttl_ms).expect("a ttl");
    let outcome = cluster.propose(1, onsale_with_ttl(event, 1, 2, ttl_ms)).await;
    assert_eq!(outcome.result, Ok(Done::Ok));
}

async fn reserve(cluster: &Cluster, event: EventNo, key: u64) -> Bytes {
    let seat = u32::try_from(key % 20).expect("a seat");
    let outcome = cluster.client().submit(1, hold(1, event, key, &[seat], 0), patient()).await;
    held(outcome.expect("an outcome")).hold_id
}

/// The log time of the last entry that a majority has.
fn log_time_ms(cluster: &Cluster) -> u64 {
    let leader = cluster.leader(1);
    cluster.handle(leader).group(1).expect("the shard").read(onsale_state::Shard::log_time_ms)
}

fn state_of(cluster: &Cluster, at: usize, hold_id: &Bytes) -> HoldState {
    let hold = HoldId(id::from_bytes(hold_id).expect("an id"));
    let group = cluster.handle(at).group(1).expect("the shard");
    group.read(|shard| shard.hold(hold).expect("known").state)
}

/// Entries for a second and a half; log time keeps step with a right clock and never goes back.
fn time_keeps_step(cluster: &Cluster) {
    let begun = Instant::now();
    let mut last = log_time_ms(cluster);
    while begun.elapsed() < Duration::from_millis(1_500) {
        let before = cluster.walls[0].true_ms();
        run(cluster.propose(1, CommandKind::Tick));
        let now = log_time_ms(cluster);
        let after = cluster.walls[0].true_ms();
        assert!(now >= last, "log time went back: {last} to {now}");
        assert!(
            now + 2_000 > before && now < after + 2_000,
            "log time {now} is off: it is {before} to {after}"
        );
        last = now;
    }
}

fn one_wrong_clock_moves_nothing(of_leader: bool) {
    let cluster = cluster();
    let hold_id = run(reserve(&cluster, 1, 1));
    let leader = cluster.leader(1);
    let wrong = if of_leader { leader } else { (leader + 1) % 3 };
    for offset_ms in [DAY, -DAY, 0] {
        cluster.walls[wrong].set_off(offset_ms);
        time_keeps_step(&cluster);
        let leader = cluster.leader(1);
        assert_eq!(state_of(&cluster, leader, &hold_id), HoldState::Live, "{offset_ms} ms off");
    }
}

#[test]
fn a_leader_whose_clock_is_a_day_off_moves_nothing() {
    one_wrong_clock_moves_nothing(true);
}

#[test]
fn a_follower_whose_clock_is_a_day_off_moves_nothing() {
    one_wrong_clock_moves_nothing(false);
}

#[test]
fn a_wrong_clock_moves_nothing_when_its_node_takes_over_from_a_dead_leader() {
    for offset_ms in [DAY, -DAY] {
        let mut cluster = cluster();
        let hold_id = run(reserve(&cluster, 1, 1));
        let leader = cluster.leader(1);
        let others = [(leader + 1) % 3, (leader + 2) % 3];
        // Whoever is elected: the wrong clock is one of the two that are left.
        cluster.walls[others[0]].set_off(offset_ms);
        time_keeps_step(&cluster);
        cluster.kill(leader);
        time_keeps_step(&cluster);
        let leader = cluster.leader(1);
        assert_eq!(state_of(&cluster, leader, &hold_id), HoldState::Live, "{offset_ms} ms off");
    }
}

#[test]
fn after_an_outage_of_an_hour_what_was_due_has_expired_and_nothing_else() {
    let mut cluster = cluster();
    let (due, lasting) = run(async {
        open(&cluster, 2, 2 * HOUR).await;
        (reserve(&cluster, 1, 1).await, reserve(&cluster, 2, 2).await)
    });
    cluster.wait_equal(1);
    (0..3).for_each(|at| cluster.kill(at));
    cluster.walls.iter().for_each(|wall| wall.set_off(HOUR));
    cluster.start_all();
    // Nobody asks for anything: time does its work by itself.
    let leader = cluster.leader(1);
    eventually("the hold expires", || {
        (state_of(&cluster, leader, &due) == HoldState::Expired).then_some(())
    });
    cluster.wait_equal(1);
    for at in 0..3 {
        assert_eq!(state_of(&cluster, at, &due), HoldState::Expired);
        assert_eq!(state_of(&cluster, at, &lasting), HoldState::Live);
    }
    let hour_ms = u64::try_from(HOUR).expect("positive");
    let (time_ms, true_ms) = (log_time_ms(&cluster), cluster.walls[0].true_ms() + hour_ms);
    assert!(time_ms <= true_ms && time_ms + 30_000 > true_ms, "{time_ms}: it is {true_ms}");
}
