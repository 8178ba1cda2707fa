//! A real process is killed while it writes on the real disk. The page cache survives that, so this
//! proves less than the power-loss test; it proves that the real disk is driven the same way.

#![allow(clippy::unwrap_used)]

use std::{
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
};

use onsale_allocator::log::{LogConfig, real_disk::RealDisk};

use crate::log_common::{entries, open, small};

const DIR: &str = "ONSALE_TEST_LOG_KILL_DIR";
const BUFFERED: &str = "ONSALE_TEST_LOG_KILL_BUFFERED";

fn disk(buffered: bool) -> RealDisk {
    if buffered { RealDisk::buffered() } else { RealDisk::new() }
}

/// The process that is killed; does nothing when run as a test.
#[test]
fn child_that_appends_until_it_is_killed() {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else {
        return;
    };
    let disk = disk(std::env::var_os(BUFFERED).is_some());
    let (log, _) = open(LogConfig { background: true, ..small(&dir) }, &disk);
    let shard = log.shard(1);
    let next = shard.state().last.map_or(0, |last| last.1 + 1);
    for index in next.. {
        let done = move |result: std::io::Result<()>| {
            result.unwrap();
            println!("durable {index}");
        };
        shard.append(
            entries(1, 1, index..index + 1, 300 + (index % 7) as usize * 500),
            Box::new(done),
        );
    }
}

#[test]
fn what_a_killed_process_acknowledged_is_there() {
    for buffered in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let mut acknowledged = 0;
        for round in 0..4 {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args(["--exact", "log_kill::child_that_appends_until_it_is_killed"]);
            command.args(["--nocapture"]).env(DIR, dir.path());
            if buffered {
                command.env(BUFFERED, "1");
            }
            let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
            let lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let durable =
                lines.filter_map(|line| line.unwrap().strip_prefix("durable ")?.parse().ok());
            for index in durable.take(50 + 37 * round) {
                acknowledged = index;
            }
            child.kill().unwrap();
            child.wait().unwrap();
            let (log, _) = open(small(dir.path()), &disk(buffered));
            let kept = log.shard(1).read(0..u64::MAX, usize::MAX);
            assert!(kept.len() as u64 > acknowledged, "{} kept, {acknowledged} said", kept.len());
            for entry in kept {
                let bytes = 300 + (entry.index % 7) as usize * 500;
                assert_eq!(vec![entry.clone()], entries(1, 1, entry.index..entry.index + 1, bytes));
            }
        }
    }
}
