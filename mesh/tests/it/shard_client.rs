//! Finding the leader, repeating, and never calling an unknown outcome a failure.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use onsale_mesh::{Deadline, Failure, Node, ShardClient};
use onsale_proto::{Code, allocator as pb};
use tokio_util::sync::CancellationToken;

use crate::node::{Behaviour, TestNode};

fn release() -> pb::Command {
    let release = pb::ReleaseHoldCommand { hold_id: vec![1; 16].into() };
    pb::Command { kind: Some(pb::command::Kind::ReleaseHold(release)) }
}

async fn submit(nodes: &[&TestNode], budget: Duration) -> Result<pb::Outcome, Failure> {
    let nodes: Vec<Node> = nodes.iter().map(|node| node.node.clone()).collect();
    let client = ShardClient::new(nodes).expect("addresses");
    client.submit(1, release(), Deadline::after(budget)).await
}

#[tokio::test]
async fn a_redirect_is_followed_and_remembered() {
    let stop = CancellationToken::new();
    let one = TestNode::start(1, Behaviour::Redirects(2), &stop).await;
    let two = TestNode::start(2, Behaviour::Does, &stop).await;
    let client = ShardClient::new(vec![one.node.clone(), two.node.clone()]).expect("addresses");
    for _ in 0..5 {
        let deadline = Deadline::after(Duration::from_secs(3));
        client.submit(1, release(), deadline).await.expect("done by the leader");
        client.get_order(1 << 112, deadline).await.expect("read from the leader");
    }
    assert_eq!(one.seen.load(Ordering::SeqCst), 1, "asked once, then remembered");
    assert_eq!(two.seen.load(Ordering::SeqCst), 10);
    stop.cancel();
}

#[tokio::test]
async fn a_broken_stream_is_an_unknown_outcome_and_is_repeated() {
    let stop = CancellationToken::new();
    let node = TestNode::start(1, Behaviour::BreaksOnce, &stop).await;
    submit(&[&node], Duration::from_secs(3)).await.expect("done by the repeat");
    assert_eq!(node.seen.load(Ordering::SeqCst), 2);
    stop.cancel();
}

#[tokio::test]
async fn silence_after_sending_is_unknown_and_never_a_failure() {
    let stop = CancellationToken::new();
    let node = TestNode::start(1, Behaviour::IsSilent, &stop).await;
    let failure = submit(&[&node], Duration::from_millis(700)).await.expect_err("no answer");
    assert_eq!(failure.code, Code::OutcomeUnknown, "{failure}");
    stop.cancel();
}

#[tokio::test]
async fn a_full_queue_after_silence_is_still_unknown() {
    let stop = CancellationToken::new();
    let node = TestNode::start(1, Behaviour::IsSilentThenFull, &stop).await;
    let failure = submit(&[&node], Duration::from_millis(900)).await.expect_err("no outcome");
    assert_eq!(failure.code, Code::OutcomeUnknown, "{failure}");
    assert!(node.seen.load(Ordering::SeqCst) > 1, "it was asked again");
    stop.cancel();
}

#[tokio::test]
async fn a_call_whose_connection_breaks_is_repeated() {
    let stop = CancellationToken::new();
    let node = TestNode::start(1, Behaviour::BreaksOnce, &stop).await;
    let client = ShardClient::new(vec![node.node.clone()]).expect("an address");
    let deadline = Deadline::after(Duration::from_secs(3));
    client.get_order(1 << 112, deadline).await.expect("done by the repeat");
    stop.cancel();
}

#[tokio::test]
async fn a_dead_leader_that_is_still_named_uses_up_the_time_and_not_the_attempts() {
    let stop = CancellationToken::new();
    let follower = TestNode::start(1, Behaviour::Redirects(2), &stop).await;
    let dead = Node { id: 2, grpc: "127.0.0.1:9".to_owned() };
    let client = ShardClient::new(vec![follower.node.clone(), dead]).expect("addresses");
    let (budget, begun) = (Duration::from_secs(2), Instant::now());
    let failure = client.submit(1, release(), Deadline::after(budget)).await.expect_err("nobody");
    assert_eq!(failure.code, Code::Unavailable, "{failure}");
    assert!(begun.elapsed() >= budget, "gave up after {:?}", begun.elapsed());
    stop.cancel();
}

#[tokio::test]
async fn nobody_there_is_unavailable_because_nothing_was_sent() {
    let nobody = vec![Node { id: 1, grpc: "127.0.0.1:9".to_owned() }];
    let client = ShardClient::new(nobody).expect("an address");
    let deadline = Deadline::after(Duration::from_millis(700));
    let failure = client.get_order(1 << 112, deadline).await.expect_err("nobody");
    assert_eq!(failure.code, Code::Unavailable, "{failure}");
}

#[tokio::test]
async fn a_rejection_is_the_answer_and_not_repeated() {
    let stop = CancellationToken::new();
    let node = TestNode::start(1, Behaviour::Rejects("sold_out"), &stop).await;
    let failure = submit(&[&node], Duration::from_secs(3)).await.expect_err("a rejection");
    assert_eq!(failure.code, Code::SoldOut);
    assert_eq!(node.seen.load(Ordering::SeqCst), 1);
    stop.cancel();
}

#[tokio::test]
async fn without_any_leader_the_attempts_end_with_the_deadline() {
    let stop = CancellationToken::new();
    let node = TestNode::start(1, Behaviour::Redirects(0), &stop).await;
    let failure = submit(&[&node], Duration::from_millis(400)).await.expect_err("no leader");
    assert_eq!(failure.code, Code::Unavailable, "{failure}");
    assert!(node.seen.load(Ordering::SeqCst) > 1, "it was asked again");
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_commands_at_once_get_each_their_own_answer() {
    let stop = CancellationToken::new();
    let node = TestNode::start(1, Behaviour::Does, &stop).await;
    let client = ShardClient::new(vec![node.node.clone()]).expect("an address");
    let all = (0..2_000).map(|_| {
        let client = client.clone();
        async move { client.submit(1, release(), Deadline::after(Duration::from_secs(3))).await }
    });
    for outcome in join_all(all).await {
        outcome.expect("done");
    }
    assert_eq!(node.seen.load(Ordering::SeqCst), 2_000, "nothing is sent twice");
    stop.cancel();
}
