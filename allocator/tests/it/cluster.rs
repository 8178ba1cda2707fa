//! A cluster forms, elects, replicates and is restarted.

use std::collections::BTreeSet;

use onsale_allocator::Error;
use onsale_state::{Done, HoldId};

use crate::cluster_support::{Cluster, held, hold, patient, run, try_start};

#[test]
fn one_node_forms_sells_and_finds_everything_again() {
    let mut cluster = Cluster::formed(1, 2);
    let seats = run(async {
        cluster.open_onsale(1, 1, 1, 2).await;
        let client = cluster.client();
        let taken = client
            .submit(1, hold(1, 1, 1, &[3, 4], 0), patient())
            .await
            .expect("held");
        held(taken).places.len()
    });
    assert_eq!(seats, 2);
    cluster.stop(0);
    cluster.start_all();
    run(async {
        let client = cluster.client();
        let again = client
            .submit(1, hold(1, 1, 1, &[3, 4], 0), patient())
            .await
            .expect("held");
        assert!(
            again.replayed,
            "the same key is the same hold after a restart"
        );
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
            let outcome = client
                .submit(shard, request, patient())
                .await
                .expect("held");
            assert!(outcome.log_index > 0);
            let held = held(outcome);
            let id = HoldId(onsale_proto::id::from_bytes(&held.hold_id).expect("an id"));
            cluster.wait_equal(shard);
            for at in 0..3 {
                let group = cluster.handle(at).group(shard).expect("the shard");
                let places = group.read(|shard| shard.hold(id).map(|hold| hold.places.len()));
                assert_eq!(places, Some(4), "node {} has the hold", at + 1);
                assert_eq!(
                    group.views().len(),
                    1,
                    "node {} has the event's view",
                    at + 1
                );
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
        let follower = cluster
            .handle((leader + 1) % 3)
            .group(1)
            .expect("the shard");
        let told = follower
            .read_index(patient())
            .await
            .expect_err("does not lead");
        let id = leader as u64 + 1;
        assert_eq!(told, onsale_allocator::ProposeError::NotLeader(id));
    });
}

#[test]
fn everything_acknowledged_survives_the_restart_of_all() {
    let mut cluster = Cluster::formed(3, 2);
    let before = run(async {
        cluster.open_onsale(1, 1, 1, 2).await;
        let client = cluster.client();
        let taken = client
            .submit(1, hold(1, 1, 5, &[0, 1], 0), patient())
            .await
            .expect("held");
        held(taken)
    });
    for at in 0..3 {
        cluster.kill(at);
    }
    cluster.start_all();
    run(async {
        let client = cluster.client();
        let again = client
            .submit(1, hold(1, 1, 5, &[0, 1], 0), patient())
            .await
            .expect("held");
        assert!(again.replayed);
        assert_eq!(held(again), before, "byte for byte the same answer");
        let outcome = cluster.propose(1, onsale_state::CommandKind::Tick).await;
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
    assert!(
        matches!(refused, Error::ForeignFolder { node: 1, .. }),
        "{refused}"
    );
}

#[test]
fn an_emptied_node_is_refused_with_the_command_that_replaces_it() {
    let mut cluster = Cluster::formed(3, 1);
    cluster.stop(1);
    std::fs::remove_dir_all(cluster.folder(1)).expect("emptied");
    cluster
        .start(1)
        .expect("opens; it has to ask its peers first");
    let node = cluster.nodes[1].take().expect("runs");
    let refused = node.ended().expect_err("refused");
    assert!(
        matches!(refused, Error::Emptied { node: 2, .. }),
        "{refused}"
    );
    assert!(
        refused
            .to_string()
            .contains("onsale cluster remove-replica --node 2"),
        "{refused}"
    );
    drop(node);
    run(cluster.open_onsale(1, 1, 1, 1));
}
