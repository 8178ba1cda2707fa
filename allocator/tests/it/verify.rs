//! What is on disk is proved, and what is broken there is named.

use std::{
    fs,
    path::{Path, PathBuf},
};

use onsale_allocator::{
    log::{disk::Disk as _, real_disk::RealDisk},
    raft::snapshot,
    verify::{Proof, Report, verify},
};
use onsale_state::{Batch, Shard};

use crate::cluster_support::{Cluster, eventually, hold, patient, release, run};

/// Sells and releases for a while in all shards.
fn trade(cluster: &Cluster, rounds: u64) {
    run(async {
        let client = cluster.client();
        let shards = cluster.configs[0].shards;
        for shard in 1..=shards {
            cluster.open_onsale(shard, shard, 2, 3).await;
        }
        for round in 0..rounds {
            for shard in 1..=shards {
                let command = hold(shard, shard, round, &[], 2);
                if let Ok(outcome) = client.submit(shard, command, patient()).await
                    && round % 2 == 0
                {
                    let held = crate::cluster_support::held(outcome);
                    let _ = client.submit(shard, release(&held.hold_id), patient()).await;
                }
            }
        }
    });
    for shard in 0..=cluster.configs[0].shards {
        cluster.wait_equal(shard);
    }
}

fn stopped(nodes: u64, snapshot_entries: u64, rounds: u64) -> (Cluster, Vec<PathBuf>) {
    let mut cluster = Cluster::new(nodes, 2);
    for config in &mut cluster.configs {
        config.snapshot_entries = snapshot_entries;
    }
    cluster.start_all();
    trade(&cluster, rounds);
    let places = 0..cluster.nodes.len();
    places.clone().for_each(|at| cluster.stop(at));
    let dirs = places.map(|at| cluster.folder(at)).collect();
    (cluster, dirs)
}

fn files(dir: &Path, suffix: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            found.extend(files(&entry, suffix));
        } else if entry.to_string_lossy().ends_with(suffix) {
            found.push(entry);
        }
    }
    found.sort();
    found
}

fn flip(file: &Path, at: usize) {
    let mut bytes = fs::read(file).expect("readable");
    bytes[at] ^= 0x10;
    fs::write(file, bytes).expect("writable");
}

/// Waits until a killed node's threads are out of its folder.
fn let_go(dir: &Path) {
    let disk = RealDisk::buffered();
    eventually("the folder is free", || disk.lock(&dir.join("log")).ok());
}

fn says(report: &Report, code: u8) -> String {
    let text = report.to_string();
    assert_eq!(report.exit_code(), code, "{text}");
    text
}

#[test]
fn replicas_of_a_clean_cluster_are_proved_from_their_first_entry() {
    let (_cluster, dirs) = stopped(3, 20_000, 12);
    let report = verify(&dirs);
    let text = says(&report, 0);
    assert!(text.contains("from the first entry") && text.contains("sound"), "{text}");
    for (at, replica) in report.replicas.iter().enumerate() {
        assert_eq!(replica.node, Some(at as u64 + 1));
        assert_eq!(replica.shards.len(), 3);
        for shard in &replica.shards {
            assert_eq!(shard.proof, Proof::FirstEntry);
            assert!(shard.committed > 0 && shard.verified_to <= shard.committed);
        }
        assert!(replica.shards[1].commands >= 12 && replica.shards[1].counts[0] == 1);
    }
    let json = serde_json::to_value(&report).expect("as JSON");
    assert_eq!(json["replicas"][0]["shards"][0]["chain"].as_str().map(str::len), Some(64));
}

#[test]
fn snapshots_are_compared_with_the_log_that_leads_to_them() {
    let (_cluster, dirs) = stopped(1, 100, 160);
    assert!(!files(&dirs[0], ".snapshot").is_empty(), "there are snapshots");
    let report = verify(&dirs);
    println!("{}", says(&report, 0));
    let compared: u64 = report.replicas[0].shards.iter().map(|one| one.snapshots_compared).sum();
    let from_snapshot =
        report.replicas[0].shards.iter().any(|one| matches!(one.proof, Proof::Snapshot(_)));
    assert!(compared > 0 || from_snapshot, "{report}");
}

#[test]
fn a_flipped_byte_in_the_middle_of_a_log_is_named_with_its_offset() {
    let (_cluster, dirs) = stopped(3, 20_000, 12);
    let log = files(&dirs[0].join("log"), "").into_iter().find(|file| {
        fs::read(file).is_ok_and(|bytes| bytes.iter().skip(8_192).any(|byte| *byte != 0))
    });
    let log = log.expect("a segment with entries");
    let bytes = fs::read(&log).expect("readable");
    // In the middle of what was written: well after the head, well before the end.
    let end = bytes.iter().rposition(|byte| *byte != 0).expect("not empty");
    let at = (end / 2) & !4_095 | 100;
    flip(&log, at);
    let report = verify(&dirs);
    let text = says(&report, 5);
    let found = &report.replicas[0].damage[0];
    assert_eq!(found.file, log);
    assert!(found.offset <= at as u64 && at as u64 - found.offset < 1 << 20, "{text}");
    assert!(text.contains("remedy") && text.contains(&log.display().to_string()), "{text}");
    assert!(report.replicas[1].is_sound() && report.replicas[2].is_sound(), "{text}");
    flip(&log, at);
    says(&verify(&dirs), 0);
}

#[test]
fn a_flipped_byte_in_a_snapshot_is_named() {
    let (_cluster, dirs) = stopped(1, 100, 160);
    let snapshot = files(&dirs[0], ".snapshot").pop().expect("a snapshot");
    let middle = fs::read(&snapshot).expect("readable").len() / 2;
    flip(&snapshot, middle);
    let report = verify(&dirs);
    let text = says(&report, 5);
    assert!(report.replicas[0].damage.iter().any(|found| found.file == snapshot), "{text}");
}

#[test]
fn replicas_with_different_histories_are_a_broken_invariant() {
    let (_one, first) = stopped(1, 20_000, 6);
    let (_two, second) = stopped(1, 20_000, 6);
    let report = verify(&[first[0].clone(), second[0].clone()]);
    let text = says(&report, 5);
    assert!(!report.differences.is_empty() && text.contains("INV-6"), "{text}");
    says(&verify(&first), 0);
    says(&verify(&second), 0);
}

#[test]
fn an_empty_or_missing_folder_holds_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    says(&verify(&[folder.path().to_owned()]), 3);
    says(&verify(&[folder.path().join("none")]), 3);
    says(&verify(&[]), 3);
}

#[test]
fn verifying_changes_nothing() {
    let (_cluster, dirs) = stopped(1, 20_000, 3);
    let all = || -> Vec<(PathBuf, Vec<u8>)> {
        let files = files(&dirs[0], "").into_iter();
        files.map(|file| (file.clone(), fs::read(&file).expect("readable"))).collect()
    };
    let before = all();
    let _report = verify(&dirs);
    assert!(before == all());
}

#[test]
fn a_snapshot_with_good_checksums_and_another_state_is_found_out() {
    let (_cluster, dirs) = stopped(1, 100, 200);
    let snapshot = files(&dirs[0], ".snapshot").pop().expect("a snapshot");
    let report = verify(&dirs);
    says(&report, 0);
    let (no, loaded) = snapshot::read_any(&snapshot).expect("reads back");
    let shard = &report.replicas[0].shards[usize::from(no)];
    assert!(shard.snapshots_compared > 0, "the log leads to it: {report}");
    let mut state = Shard::decode_snapshot(&loaded.state).expect("a state");
    let (mut outcomes, mut changes) = (Vec::new(), Vec::new());
    let batch = Batch { log_time_ms: state.log_time_ms() + 1, commands: Vec::new() };
    state.apply(state.last_index() + 1, &batch, &mut outcomes, &mut changes);
    let mut forged = Vec::new();
    state.encode_snapshot(&mut forged);
    let store = snapshot::Store::open(&dirs[0], no).expect("the folder");
    store.write(&loaded.meta, |writer| writer.put(&forged)).expect("written");
    let text = says(&verify(&dirs), 5);
    assert!(text.contains("INV-6") && text.contains(&snapshot.display().to_string()), "{text}");
}

#[test]
fn replicas_that_were_killed_at_work_are_sound() {
    let mut cluster = Cluster::formed(3, 2);
    trade(&cluster, 3);
    run(async {
        let client = cluster.client();
        let mut writers = tokio::task::JoinSet::new();
        for key in 1_000..1_064 {
            let client = client.clone();
            let shard = key as u32 % 2 + 1;
            writers.spawn(async move {
                let deadline = onsale_mesh::Deadline::after(std::time::Duration::from_secs(1));
                client.submit(shard, hold(shard, shard, key, &[], 1), deadline).await
            });
        }
        // Some have their answer, the others are under way.
        for _ in 0..8 {
            let _ = writers.join_next().await;
        }
        (0..3).for_each(|at| cluster.kill(at));
    });
    let dirs: Vec<PathBuf> = (0..3).map(|at| cluster.folder(at)).collect();
    dirs.iter().for_each(|dir| let_go(dir));
    says(&verify(&dirs), 0);
    cluster.start_all();
    for shard in 0..=2 {
        cluster.wait_equal(shard);
    }
    (0..3).for_each(|at| cluster.stop(at));
    says(&verify(&dirs), 0);
}
