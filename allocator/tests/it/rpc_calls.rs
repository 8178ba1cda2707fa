//! The public services of whole nodes, and of a process without a replica, over the wire.

use std::{net::TcpListener, time::Duration};

use onsale_allocator::front::Front;
use onsale_mesh::{Deadline, Failure, ShardClient, channel, server::serve_grpc};
use onsale_proto::{Code, allocator as pb, catalog::EventDocument, id, keyed};
use onsale_state::{CommandKind, command::PrepareEvent};
use pb::{
    allocator_service_client::AllocatorServiceClient, cluster_service_client::ClusterServiceClient,
    command::Kind, feed_service_client::FeedServiceClient, follow_response::Content,
};
use prost::Message as _;
use tokio_util::sync::CancellationToken;
use tonic::{Request, transport::Channel};

use crate::{
    cluster_support::{Cluster, PATIENCE, eventually, patient, run, secret},
    rpc_document::arena,
};

/// Stores, opens and publishes an event.
pub async fn create(client: &ShardClient, event_id: &str) -> EventDocument {
    let document = arena(event_id).encode_to_vec().into();
    let request = pb::CreateEventRequest { document, idempotency: None };
    let created = client.create_event(request, patient()).await.expect("created");
    EventDocument::decode(created.document).expect("a document")
}

fn staff_key(no: u8) -> Option<pb::Idempotency> {
    let key = vec![no; 16].into();
    Some(pb::Idempotency { key, request: no.into(), buyer: 5, buyer_is_new: false })
}

fn api(address: &str) -> AllocatorServiceClient<Channel> {
    AllocatorServiceClient::new(channel::connect(address).expect("an address"))
}

fn timed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(Duration::from_secs(20));
    request
}

fn wish(seats: &[&str]) -> pb::HoldWish {
    let seat_ids = seats.iter().map(ToString::to_string).collect();
    pb::HoldWish { seat_ids, ..pb::HoldWish::default() }
}

fn hold(event_id: &str, key: &str, buyer: &str, wishes: Vec<pb::HoldWish>) -> pb::HoldRequest {
    pb::HoldRequest {
        event_id: event_id.to_owned(),
        idempotency_key: key.to_owned(),
        buyer: buyer.to_owned(),
        wishes,
        ..pb::HoldRequest::default()
    }
}

/// Reserves, extends, reads and sells over one address.
async fn walk(address: &str, name: &str, row: &str) {
    let mut api = api(address);
    let (one, two) = (format!("101-{row}-1"), format!("101-{row}-2"));
    let floor = pb::HoldWish { quantity: 2, section: "FLOOR".into(), ..pb::HoldWish::default() };
    let request = hold("evt_walk", name, name, vec![wish(&[&one, &two]), floor]);
    let held = api.hold(timed(request.clone())).await.expect("held").into_inner();
    let held = held.hold.expect("a hold");
    let names: Vec<&str> = held.seats.iter().map(|seat| seat.seat_id.as_str()).collect();
    assert_eq!(names, [one.as_str(), two.as_str(), "", ""]);
    assert_eq!((held.seats[1].section.as_str(), held.seats[1].number), ("101", 2));
    assert_eq!((held.seats[0].category.as_str(), held.seats[2].category.as_str()), ("A", "GA"));
    assert_eq!((held.total_minor, held.currency.as_str()), (2 * 9_500 + 2 * 4_000, "EUR"));
    let again = api.hold(timed(request.clone())).await.expect("held").into_inner();
    assert_eq!(again.hold.as_ref(), Some(&held), "a repeat gets the same hold");
    let other = pb::HoldRequest { wishes: vec![wish(&[&two])], ..request };
    let reused = api.hold(timed(other)).await.expect_err("another request under this key");
    assert_eq!(Code::from_status(&reused), Code::IdempotencyKeyReused);
    let late = hold("evt_walk", &format!("{name}-late"), "late", vec![wish(&[&two])]);
    let taken = api.hold(timed(late)).await.expect_err("held by another");
    assert_eq!(Code::from_status(&taken), Code::SeatUnavailable);
    assert!(taken.message().contains(&two), "{}", taken.message());

    let hold_id = held.hold_id.clone();
    let extend = pb::ExtendHoldRequest {
        hold_id: hold_id.clone(),
        extensions_seen: 0,
        idempotency_key: "extend".into(),
    };
    let repeat = extend.clone();
    let extended = api.extend_hold(timed(extend)).await.expect("extended").into_inner();
    assert!(extended.expires_at_ms >= held.expires_at_ms && extended.extensions == 1);
    let again = api.extend_hold(timed(repeat)).await.expect("the same again").into_inner();
    assert_eq!(again, extended);
    let read = pb::GetHoldRequest { hold_id: hold_id.clone() };
    let read = api.get_hold(timed(read)).await.expect("read").into_inner();
    assert_eq!((read.state.as_str(), read.places.len()), ("held", 4));
    assert_eq!((read.places[1].seat_id.as_str(), read.event_id.as_str()), (&*two, "evt_walk"));

    let sell = pb::SellRequest { hold_id: hold_id.clone(), idempotency_key: name.to_owned() };
    let sold = api.sell(timed(sell.clone())).await.expect("sold").into_inner();
    let again = api.sell(timed(sell)).await.expect("sold").into_inner();
    assert_eq!(sold, again, "a repeat gets the same order");
    let read = pb::GetOrderRequest { order_id: sold.order_id };
    let order = api.get_order(timed(read)).await.expect("read").into_inner();
    assert_eq!((order.status.as_str(), order.total_minor), ("processing", held.total_minor));
    let release = pb::ReleaseHoldRequest { hold_id };
    assert!(api.release_hold(timed(release)).await.is_err(), "sold seats are not given back");
}

#[test]
fn every_node_and_a_process_without_a_replica_serve_the_same_calls() {
    let mut cluster = Cluster::formed(3, 2);
    run(async {
        let client = cluster.client();
        create(&client, "evt_walk").await;
        let addresses: Vec<String> =
            cluster.configs[0].nodes.iter().map(|node| node.grpc.clone()).collect();
        walk(&addresses[0], "first", "A").await;
        refusals(&addresses[1]).await;

        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("non-blocking");
        let address = listener.local_addr().expect("an address").to_string();
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        let shutdown = CancellationToken::new();
        let front = Front::new(cluster.client(), secret());
        tokio::spawn(serve_grpc(listener, front.routes(), shutdown.clone()));
        walk(&address, "front", "B").await;
        refusals(&address).await;
        relayed(&address, &client).await;

        let mut status = ClusterServiceClient::new(channel::connect(&address).expect("address"));
        let all = status.get_status(pb::GetStatusRequest {}).await.expect("status").into_inner();
        assert!(all.nodes.len() == 3 && all.nodes.iter().all(|node| node.alive));
        assert_eq!(all.shards.len(), 3);
        for shard in &all.shards {
            let leader = shard.replicas.iter().find(|one| one.role == "leader").expect("one leads");
            assert_eq!((shard.leader, leader.lag), (leader.node, 0));
        }
        cluster.kill(2);
        let fewer = status.get_status(pb::GetStatusRequest {}).await.expect("status").into_inner();
        let alive: Vec<bool> = fewer.nodes.iter().map(|node| node.alive).collect();
        assert_eq!(alive, [true, true, false]);
        assert_eq!(fewer.shards[0].replicas[2].role, "unknown");
        shutdown.cancel();
    });
}

/// Malformed calls change nothing and say what is wrong.
async fn refusals(address: &str) {
    let mut api = api(address);
    let best = || vec![pb::HoldWish { quantity: 1, ..pb::HoldWish::default() }];
    let long = "x".repeat(256);
    let with = |change: fn(&mut pb::HoldWish)| {
        let mut wishes = best();
        change(&mut wishes[0]);
        wishes
    };
    let table = [
        (Code::InvalidRequest, "event_id", hold("", "k", "b", best())),
        (Code::NotFound, "event", hold("evt_none", "k", "b", best())),
        (Code::IdempotencyKeyRequired, "", hold("evt_walk", "", "b", best())),
        (Code::InvalidRequest, "idempotency_key", hold("evt_walk", &long, "b", best())),
        (Code::InvalidRequest, "buyer", hold("evt_walk", "k", "", best())),
        (Code::InvalidRequest, "buyer", hold("evt_walk", "k", &long, best())),
        (Code::InvalidRequest, "wishes", hold("evt_walk", "k", "b", vec![])),
        (
            Code::InvalidRequest,
            "wishes/0/seat_ids/1",
            hold("evt_walk", "k", "b", vec![wish(&["101-A-9", "101-A-11"])]),
        ),
        (
            Code::InvalidRequest,
            "wishes/0/category",
            hold("evt_walk", "k", "b", with(|wish| wish.category = "Z".into())),
        ),
        (
            Code::InvalidRequest,
            "wishes/0/section",
            hold("evt_walk", "k", "b", with(|wish| wish.section = "Z".into())),
        ),
        (
            Code::InvalidRequest,
            "items/0/quantity",
            hold("evt_walk", "k", "b", with(|wish| wish.quantity = 0)),
        ),
    ];
    for (at, (code, said, request)) in table.into_iter().enumerate() {
        let status = api.hold(timed(request)).await.expect_err(said);
        assert_eq!(Code::from_status(&status), code, "row {at}: {status}");
        assert!(status.message().contains(said), "row {at}: {status}");
    }
    let unknown = id::format(id::HOLD, id::new_hold(1).expect("randomness"));
    for hold_id in ["", "hold_1", "ord_00000000000000000000000000"] {
        let read = pb::GetHoldRequest { hold_id: hold_id.to_owned() };
        let status = api.get_hold(timed(read)).await.expect_err("no id");
        assert_eq!(Code::from_status(&status), Code::InvalidRequest);
    }
    let read = pb::GetHoldRequest { hold_id: unknown.clone() };
    let status = api.get_hold(timed(read)).await.expect_err("no such hold");
    assert_eq!(Code::from_status(&status), Code::NotFound, "{status}");
    let sell = pb::SellRequest { hold_id: unknown, idempotency_key: String::new() };
    let status = api.sell(timed(sell)).await.expect_err("no key");
    assert_eq!(Code::from_status(&status), Code::IdempotencyKeyRequired);
    let nowhere = id::format(id::HOLD, id::new_hold(77).expect("randomness"));
    let read = pb::GetHoldRequest { hold_id: nowhere };
    let status = api.get_hold(timed(read)).await.expect_err("no such shard");
    assert_eq!(Code::from_status(&status), Code::NotFound, "{status}");
    let order_id = "ord_?".to_owned();
    let status = api.get_order(timed(pb::GetOrderRequest { order_id })).await.expect_err("no id");
    assert_eq!(Code::from_status(&status), Code::InvalidRequest);
}

/// The command stream through a process without a replica.
async fn relayed(address: &str, client: &ShardClient) {
    let event = create(client, "evt_relayed").await;
    let node = onsale_mesh::Node { id: 1, grpc: address.to_owned() };
    let through = ShardClient::new(vec![node]).expect("a client");
    let shard = event.shard;
    for key in 0..20 {
        let command = crate::cluster_support::hold(shard, event.event_no, key, &[], 1);
        let outcome = through.submit(shard, command.clone(), patient()).await.expect("held");
        let again = through.submit(shard, command, patient()).await.expect("held");
        assert!(again.replayed && outcome.result == again.result);
    }
    let command = crate::cluster_support::hold(shard, 9_999, 99, &[], 1);
    let refused = through.submit(shard, command, patient()).await.expect_err("no such event");
    assert_eq!(refused.code, Code::NotFound);
}

#[test]
fn an_event_is_created_once_changed_in_order_and_seen_by_followers() {
    let cluster = Cluster::formed(3, 2);
    run(async {
        let client = cluster.client();
        let mut follower = client.follow(0);
        let document = arena("evt_c").encode_to_vec();
        let request =
            pb::CreateEventRequest { document: document.into(), idempotency: staff_key(1) };
        let made = client.create_event(request.clone(), patient()).await.expect("created");
        let read = EventDocument::decode(made.document.clone()).expect("a document");
        assert!(read.event_no > 0 && read.shard > 0 && read.revision == 1 && !made.replayed);
        let again = client.create_event(request, patient()).await.expect("created");
        assert_eq!((again.document, again.replayed), (made.document, true));

        let change = |revision: u64, key: u8, price_minor: u64| {
            let mut content = read.clone();
            content.revision = revision;
            content.categories[0].price_minor = price_minor;
            let document = content.encode_to_vec().into();
            pb::ChangeEventRequest { document, idempotency: staff_key(key) }
        };
        let changed = client.change_event(change(2, 2, 1), patient()).await.expect("changed");
        let changed = EventDocument::decode(changed.document).expect("a document");
        assert_eq!((changed.revision, changed.categories[0].price_minor), (2, 1));
        let again = client.change_event(change(2, 2, 1), patient()).await.expect("changed");
        assert!(again.replayed);
        let stale = client.change_event(change(2, 3, 2), patient()).await.expect_err("stale");
        assert_eq!(stale.code, Code::Conflict, "{stale}");
        let mut other_map = read.clone();
        (other_map.revision, other_map.sections[0].rows[0].seats) = (3, 11);
        let document = other_map.encode_to_vec().into();
        let request = pb::ChangeEventRequest { document, idempotency: staff_key(4) };
        let refused = client.change_event(request, patient()).await.expect_err("the map is fixed");
        assert_eq!(refused.code, Code::InvalidRequest);

        let mut revisions = Vec::new();
        while revisions.last() != Some(&2) {
            let message = tokio::time::timeout(PATIENCE, follower.next()).await.expect("goes on");
            revisions.extend(published(&message));
        }
        assert!(revisions.is_sorted(), "{revisions:?}");
        let held = client
            .submit(read.shard, crate::cluster_support::hold(read.shard, 1, 5, &[0], 0), patient())
            .await
            .expect("held");
        let price = crate::cluster_support::held(held).places[0].price_minor;
        assert_eq!(price, 1, "the new price is in force");
    });
}

fn published(message: &pb::FollowResponse) -> Vec<u64> {
    let document = |change: &pb::FeedChange| match &change.kind {
        Some(pb::feed_change::Kind::Document(document)) => Some(document.revision),
        _ => None,
    };
    match &message.content {
        Some(Content::Snapshot(all)) => all.documents.iter().map(|it| it.revision).collect(),
        Some(Content::Changes(some)) => some.changes.iter().filter_map(document).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn an_interrupted_publication_is_finished_by_whoever_leads() {
    let mut cluster = Cluster::formed(3, 2);
    run(async {
        // As if the leader had died right after storing the document.
        let content = EventDocument { organizer: "org_1".to_owned(), ..arena("evt_orphan") };
        let prepare = PrepareEvent {
            event_id: "evt_orphan".into(),
            organizer: "org_1".into(),
            revision: 1,
            idempotency: None,
            document: content.encode_to_vec().into(),
        };
        let prepared = cluster.propose(0, CommandKind::PrepareEvent(Box::new(prepare))).await;
        assert!(prepared.result.is_ok());
    });
    let leader = cluster.leader(0);
    cluster.kill(leader);
    let next = cluster.leader(0);
    eventually("the event is published", || {
        let control = cluster.handle(next).group(0).expect("the control group");
        control.read(|shard| {
            // A new leader applies what was committed before it a moment after it was elected.
            let record = shard.document("evt_orphan")?;
            (record.published.is_some() && record.prepared.is_none()).then_some(())
        })
    });
    run(async {
        let again = create(&cluster.client(), "evt_orphan").await;
        assert_eq!(again.revision, 1, "creating it again finds it");
    });
}

fn checkout(hold_id: &bytes::Bytes, shard: u32) -> pb::Command {
    let salt = [3; 16];
    let commitment = keyed::contact_commitment(&salt, "Ada", "ada@example.org");
    pb::Command {
        kind: Some(Kind::BeginCheckout(pb::BeginCheckoutCommand {
            hold_id: hold_id.clone(),
            order_id: id::to_bytes(id::new_order(shard).expect("randomness")),
            idempotency: Some(pb::Idempotency {
                key: vec![8; 16].into(),
                request: 8,
                buyer: 8,
                buyer_is_new: false,
            }),
            email: 1,
            card: None,
            payment_method: "pm_card_visa".to_owned(),
            contact_commitment: commitment.to_vec().into(),
            contact: Some(pb::Contact {
                salt: salt.to_vec().into(),
                name: "Ada".to_owned(),
                email: "ada@example.org".to_owned(),
            }),
        })),
    }
}

fn lease(shard: u32, lease: u64, wait_ms: u32) -> pb::LeaseJobsRequest {
    pb::LeaseJobsRequest { shard, lease, jobs_max: 8, lease_ms: 60_000, wait_ms }
}

async fn settle(
    client: &ShardClient,
    (shard, job_id, lease): (u32, u64, u64),
    result: pb::settle_job_request::Result,
) -> Result<String, Failure> {
    let request = pb::SettleJobRequest { shard, job_id, lease, result: Some(result) };
    client.settle_job(request, patient()).await.map(|answer| answer.status)
}

#[test]
fn a_payment_goes_from_lease_to_confirmed_and_every_report_may_be_repeated() {
    use pb::settle_job_request::Result as Report;
    let cluster = Cluster::formed(3, 1);
    run(async {
        let client = cluster.client();
        let event = create(&client, "evt_paid").await;
        let shard = event.shard;
        let taken = crate::cluster_support::hold(shard, event.event_no, 1, &[0, 1], 0);
        let taken = client.submit(shard, taken, patient()).await.expect("held");
        let taken = crate::cluster_support::held(taken);

        let empty = client.lease_jobs(lease(shard, 5, 0), patient()).await.expect("an answer");
        assert!(empty.jobs.is_empty());
        // The worker waits before there is work.
        let waiting = {
            let client = client.clone();
            tokio::spawn(async move { client.lease_jobs(lease(shard, 6, 10_000), patient()).await })
        };
        let begun = client.submit(shard, checkout(&taken.hold_id, shard), patient()).await;
        begun.expect("in checkout");
        let leased = waiting.await.expect("no panic").expect("leased").jobs;
        assert_eq!((leased.len(), leased[0].kind.as_str()), (1, "authorise"));
        let job = &leased[0];
        assert_eq!((job.event_id.as_str(), job.amount_minor), ("evt_paid", 19_000));
        let names: Vec<&str> = job.places.iter().map(|place| place.seat_id.as_str()).collect();
        assert_eq!(names, ["101-A-1", "101-A-2"]);
        let again = client.lease_jobs(lease(shard, 6, 0), patient()).await.expect("an answer");
        assert_eq!(again.jobs[0].job_id, job.job_id, "a lost answer is given again");

        let authorised = || Report::Authorised(pb::Authorised { payment_intent: "pi".to_owned() });
        let stale = settle(&client, (shard, job.job_id, 7), authorised()).await;
        assert_eq!(stale.expect_err("not its lease").code, Code::Conflict);
        for _ in 0..2 {
            let status = settle(&client, (shard, job.job_id, 6), authorised()).await;
            assert_eq!(status.as_deref(), Ok("processing"));
        }
        let capture = client.lease_jobs(lease(shard, 9, 5_000), patient()).await.expect("jobs");
        assert_eq!(capture.jobs[0].kind, "capture");
        let signatures = vec![vec![1; 64].into(), vec![2; 64].into()];
        let captured = Report::Captured(pb::Signed { signing_key: 4, signatures });
        let status = settle(&client, (shard, capture.jobs[0].job_id, 9), captured).await;
        assert_eq!(status.as_deref(), Ok("confirmed"));
        let order = id::from_bytes(&job.order_id).expect("an id");
        let order = client.get_order(order, patient()).await.expect("read");
        assert_eq!((order.status.as_str(), order.signatures.len()), ("confirmed", 2));
        let hold = id::from_bytes(&taken.hold_id).expect("an id");
        let hold = client.get_hold(hold, patient()).await.expect("read");
        assert_eq!((hold.state.as_str(), hold.order_id == job.order_id), ("sold", true));
        let wake = pb::WakeJobRequest { order_id: job.order_id.clone() };
        let _ = client.wake_job(wake, patient()).await;
    });
}

#[test]
fn the_feed_over_the_wire_is_a_snapshot_then_changes_from_any_replica() {
    let cluster = Cluster::formed(3, 1);
    run(async {
        let client = cluster.client();
        let event = create(&client, "evt_feed").await;
        let first = crate::cluster_support::hold(1, event.event_no, 1, &[0], 0);
        let first = client.submit(1, first, patient()).await.expect("held").log_index;
        for node in &cluster.configs[0].nodes {
            let mut feed = FeedServiceClient::new(channel::connect(&node.grpc).expect("address"));
            let request = pb::FollowRequest { shard: 1, from_index: first };
            let mut resumed = feed.follow(request).await.expect("follows").into_inner();
            let request = pb::FollowRequest { shard: 1, from_index: 0 };
            let mut fresh = feed.follow(request).await.expect("follows").into_inner();
            let message = fresh.message().await.expect("lives").expect("a message");
            assert!(matches!(message.content, Some(Content::Snapshot(_))));
            let key = 100 + node.id;
            let command = crate::cluster_support::hold(1, event.event_no, key, &[], 1);
            let index = client.submit(1, command, patient()).await.expect("held").log_index;
            for stream in [&mut resumed, &mut fresh] {
                loop {
                    let message = stream.message().await.expect("lives").expect("a message");
                    assert!(message.index <= index || node.id > 0);
                    if message.index >= index {
                        break;
                    }
                }
            }
            let request = pb::FollowRequest { shard: 9, from_index: 0 };
            let status = feed.follow(request).await.expect_err("no such shard");
            assert_eq!(Code::from_status(&status), Code::NotFound);
        }
    });
}

#[test]
fn a_call_without_a_leader_ends_within_its_deadline() {
    let mut cluster = Cluster::formed(3, 1);
    run(async { create(&cluster.client(), "evt_walk").await });
    cluster.kill(1);
    cluster.kill(2);
    run(async {
        let address = cluster.configs[0].nodes[0].grpc.clone();
        let started = std::time::Instant::now();
        let wishes = vec![wish(&["101-A-1"])];
        let request = Request::new(hold("evt_walk", "k", "b", wishes));
        let status = api(&address).hold(request).await.expect_err("no majority");
        let code = Code::from_status(&status);
        assert!(code == Code::OutcomeUnknown || code == Code::Unavailable, "{status}");
        assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
        let deadline = Deadline::after(Duration::from_millis(300));
        let hold = id::new_hold(1).expect("randomness");
        let read = cluster.client().get_hold(hold, deadline).await.expect_err("no exact read");
        assert_eq!(read.code, Code::Unavailable, "{read}");
    });
}
