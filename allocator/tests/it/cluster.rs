//! A cluster forms, elects, replicates and is restarted.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use onsale_allocator::{Error, ProposeError, rpc::convert, shard::Collector};
use onsale_mesh::Deadline;
use onsale_proto::allocator::{self as pb, allocator_service_client::AllocatorServiceClient};
use onsale_state::{
    Command, CommandKind, Done, HoldId,
    command::{Idempotency, KillSeats, Selection},
};

use crate::cluster_support::{Cluster, eventually, held, hold, patient, run, try_start};

#[test]
fn one_node_forms_sells_and_finds_everything_again() {
    let mut cluster = Cluster::formed(1, 2);
    let seats = run(async {
        cluster.open_onsale(1, 1, 1, 2).await;
        let client = cluster.client();
        let taken = client.submit(1, hold(1, 1, 1, &[3, 4], 0), patient()).await.expect("held");
        held(taken).places.len()
    });
    assert_eq!(seats, 2);
    cluster.stop(0);
    cluster.start_all();
    run(async {
        let client = cluster.client();
        let again = client.submit(1, hold(1, 1, 1, &[3, 4], 0), patient()).await.expect("held");
        assert!(again.replayed, "the same key is the same hold after a restart");
        let refused = client.submit(1, hold(1, 1, 2, &[4, 5], 0), patient()).await;
        assert_eq!(refused.expect_err("seat 4 is held").seats, [4]);
    });
}

#[test]
fn three_nodes_form_spread_leaders_and_replicate_holds() {
    let cluster = Cluster::formed(3, 3);
    let leaders: BTreeSet<usize> = (0..=3).map(|shard| cluster.leader(shard)).collect();
    assert_eq!(leaders.len(), 3, "every node leads something at the start");
    run(async {
        let client = cluster.client();
        for shard in 1..=3 {
            cluster.open_onsale(shard, shard, 2, 3).await;
            let request = hold(shard, shard, 7, &[], 4);
            let outcome = client.submit(shard, request, patient()).await.expect("held");
            assert!(outcome.log_index > 0);
            let held = held(outcome);
            let id = HoldId(onsale_proto::id::from_bytes(&held.hold_id).expect("an id"));
            cluster.wait_equal(shard);
            for at in 0..3 {
                let group = cluster.handle(at).group(shard).expect("the shard");
                let places = group.read(|shard| shard.hold(id).map(|hold| hold.places.len()));
                assert_eq!(places, Some(4), "node {} has the hold", at + 1);
                assert_eq!(group.views().len(), 1, "node {} has the event's view", at + 1);
            }
        }
    });
}

#[test]
fn an_exact_read_sees_what_was_acknowledged_and_a_follower_names_the_leader() {
    let cluster = Cluster::formed(3, 1);
    run(async {
        cluster.open_onsale(1, 1, 1, 1).await;
        let leader = cluster.leader(1);
        let group = cluster.handle(leader).group(1).expect("the shard");
        group.read_index(patient()).await.expect("confirmed");
        assert!(group.read(|shard| shard.event(1).is_some()));
        let follower = cluster.handle((leader + 1) % 3).group(1).expect("the shard");
        let told = follower.read_index(patient()).await.expect_err("does not lead");
        let id = leader as u64 + 1;
        assert_eq!(told, ProposeError::NotLeader(id));
    });
}

#[test]
fn everything_acknowledged_survives_the_restart_of_all() {
    let mut cluster = Cluster::formed(3, 2);
    let before = run(async {
        cluster.open_onsale(1, 1, 1, 2).await;
        let client = cluster.client();
        let taken = client.submit(1, hold(1, 1, 5, &[0, 1], 0), patient()).await.expect("held");
        held(taken)
    });
    for at in 0..3 {
        cluster.kill(at);
    }
    cluster.start_all();
    run(async {
        let client = cluster.client();
        let again = client.submit(1, hold(1, 1, 5, &[0, 1], 0), patient()).await.expect("held");
        assert!(again.replayed);
        assert_eq!(held(again), before, "byte for byte the same answer");
        let outcome = cluster.propose(1, CommandKind::Tick).await;
        assert_eq!(outcome.result, Ok(Done::Ok));
    });
    cluster.wait_equal(1);
}

#[test]
fn a_folder_serves_one_process_and_one_node() {
    let mut cluster = Cluster::formed(1, 1);
    let twice = try_start(&cluster.configs[0]).err().expect("refused");
    assert!(twice.to_string().contains("in use"), "{twice}");
    cluster.stop(0);
    let mut other = cluster.configs[0].clone();
    other.cluster = "another".to_owned();
    let refused = try_start(&other).err().expect("refused");
    assert!(matches!(refused, Error::ForeignFolder { node: 1, .. }), "{refused}");
}

#[test]
fn an_emptied_node_is_refused_with_the_command_that_replaces_it() {
    let mut cluster = Cluster::formed(3, 1);
    cluster.stop(1);
    std::fs::remove_dir_all(cluster.folder(1)).expect("emptied");
    cluster.start(1).expect("opens; it has to ask its peers first");
    let node = cluster.nodes[1].take().expect("runs");
    let refused = node.ended().expect_err("refused");
    assert!(matches!(refused, Error::Emptied { node: 2, .. }), "{refused}");
    assert!(refused.to_string().contains("onsale cluster remove-replica --node 2"), "{refused}");
    drop(node);
    run(cluster.open_onsale(1, 1, 1, 1));
}

#[test]
fn a_node_that_lost_its_log_but_not_its_snapshots_is_refused_for_it_forgot_its_votes() {
    let mut cluster = Cluster::new(3, 1);
    cluster.configs.iter_mut().for_each(|config| config.snapshot_entries = 100);
    cluster.start_all();
    let snapshots = cluster.folder(1).join("snapshots").join("shard-1");
    run(async {
        for _ in 0..120 {
            cluster.propose(1, CommandKind::Tick).await;
        }
    });
    eventually("the shard is snapshotted", || {
        let mut files = std::fs::read_dir(&snapshots).expect("a folder").flatten();
        files.find(|file| file.path().extension().is_some_and(|end| end == "snapshot"))
    });
    cluster.stop(1);
    std::fs::remove_dir_all(cluster.folder(1).join("log")).expect("lost");
    let refused = cluster.start(1).expect_err("refused");
    assert!(matches!(refused, Error::Emptied { node: 2, .. }), "{refused}");
}

#[test]
fn a_new_cluster_waits_until_all_its_nodes_are_there() {
    let mut cluster = Cluster::new(3, 1);
    cluster.start(0).expect("starts");
    cluster.start(1).expect("starts");
    run(async {
        let client = cluster.client();
        for node in [1, 2] {
            let described = client.describe(node, patient()).await.expect("answers");
            assert!(!described.identified && !described.initialised, "node {node} began alone");
        }
        assert!(!cluster.folder(0).join("identity.json").exists());
    });
    cluster.start_all();
    run(async {
        let described = cluster.client().describe(1, patient()).await.expect("answers");
        assert!(described.identified && described.initialised);
        assert_eq!(described.shards.len(), 2);
    });
}

#[test]
fn a_full_queue_refuses_at_once_and_a_command_over_its_time_is_never_applied() {
    let mut cluster = Cluster::new(1, 1);
    cluster.configs[0].queue_commands_max = 4;
    cluster.start_all();
    run(async {
        cluster.open_onsale(1, 1, 4, 10).await;
        let group = cluster.handle(0).group(1).expect("the shard").clone();
        let collector = Arc::new(Collector::default());
        for seat in 0..400_u32 {
            let command = hold(1, 1, u64::from(seat), &[seat], 0);
            let kind = convert::command(command, 1).expect("a command");
            let command = Command { not_after_ms: 0, kind };
            group.submit(seat.into(), command, patient(), &collector);
        }
        let (mut answers, mut taken) = (Vec::new(), Vec::new());
        while answers.len() < 400 {
            collector.take(&mut taken).await;
            answers.append(&mut taken);
        }
        let done = answers.iter().filter(|answer| answer.decided.is_ok()).count();
        let refused = answers.iter().filter(|a| a.decided == Err(ProposeError::Overloaded));
        assert_eq!(done + refused.count(), 400);
        assert!((4..400).contains(&done), "{done} of 400 through a queue of 4");
        let late = convert::command(hold(1, 1, 999, &[399], 0), 1).expect("a command");
        let late = Command { not_after_ms: 0, kind: late };
        group.submit(7, late, Deadline::after(Duration::ZERO), &collector);
        collector.take(&mut taken).await;
        assert_eq!(taken[0].decided, Err(ProposeError::NotLeader(1)));
        let holds = group.read(|shard| shard.hold_ids().len());
        assert_eq!(holds, done, "what was not acknowledged here is not held");
    });
}

#[test]
fn large_commands_are_refused_before_they_fill_the_memory() {
    let mut cluster = Cluster::new(1, 1);
    cluster.start_all();
    run(async {
        cluster.open_onsale(1, 1, 4, 10).await;
        let group = cluster.handle(0).group(1).expect("the shard").clone();
        let collector = Arc::new(Collector::default());
        // Each is a megabyte of the 32 that may wait, and more than a batch's time to apply.
        let seats: Vec<u32> = (0..1_000_000).collect();
        for key in 0..120_u64 {
            let idempotency =
                Idempotency { key: key.into(), request: 1, buyer: 1, buyer_is_new: false };
            let places = Selection { seats: seats.clone(), areas: Vec::new() };
            let reason = "storm".into();
            let kill = KillSeats { event: 1, idempotency, places, reason };
            let kind = CommandKind::KillSeats(Box::new(kill));
            group.submit(key, Command { not_after_ms: 0, kind }, patient(), &collector);
        }
        let (mut answers, mut taken) = (Vec::new(), Vec::new());
        while answers.len() < 120 {
            collector.take(&mut taken).await;
            answers.append(&mut taken);
        }
        let refused = answers.iter().filter(|a| a.decided == Err(ProposeError::Overloaded));
        let refused = refused.count();
        assert!((1..=88).contains(&refused), "{refused} of 120 refused");
        let command = convert::command(hold(1, 1, 1, &[1], 0), 1).expect("a command");
        let command = Command { not_after_ms: 0, kind: command };
        group.submit(99, command, patient(), &collector);
        collector.take(&mut taken).await;
        assert!(taken[0].decided.is_ok(), "{:?}", taken[0].decided);
    });
}

#[test]
fn a_stream_answers_every_item_also_those_that_make_no_sense() {
    let cluster = Cluster::formed(1, 1);
    run(async {
        cluster.open_onsale(1, 1, 1, 1).await;
        let item = |tag: u64, shard: u32, command: Option<pb::Command>| pb::SubmitItem {
            tag,
            shard,
            budget_ms: 5_000,
            command,
        };
        let mut short = hold(1, 1, 3, &[3], 0);
        if let Some(pb::command::Kind::Hold(hold)) = &mut short.kind {
            hold.hold_id = bytes::Bytes::from_static(b"short");
        }
        let items = vec![
            item(1, 1, Some(hold(1, 1, 1, &[1], 0))),
            item(2, 1, None),
            item(3, 99, Some(hold(1, 1, 2, &[2], 0))),
            item(4, 0, Some(hold(1, 1, 2, &[2], 0))),
            item(5, 1, Some(short)),
            item(6, 1, Some(hold(1, 77, 4, &[4], 0))),
        ];
        let address = &cluster.configs[0].nodes[0].grpc;
        let channel = onsale_mesh::channel::connect(address).expect("an address");
        let mut client = AllocatorServiceClient::new(channel);
        let request = tokio_stream::iter([pb::SubmitRequest { items }]);
        let mut answers = client.submit(request).await.expect("a stream").into_inner();
        let mut codes = BTreeMap::new();
        while let Some(message) = answers.message().await.expect("the stream ends well") {
            for answer in message.answers {
                let code = match answer.outcome.and_then(|outcome| outcome.result) {
                    Some(pb::outcome::Result::Rejected(rejected)) => rejected.code,
                    other => format!("{}", other.is_some()),
                };
                codes.insert(answer.tag, code);
            }
        }
        let codes: Vec<&str> = codes.values().map(String::as_str).collect();
        let invalid = "invalid_request";
        let expected = ["true", invalid, "not_found", "not_found", invalid, "not_found"];
        assert_eq!(codes, expected);
    });
}
