//! Leader and followers flush at the same time, and nobody is answered before a majority has.

use std::{
    io,
    path::Path,
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

use onsale_allocator::log::{
    disk::{AlignedBuf, Disk, FolderLock, SegmentFile},
    real_disk::RealDisk,
};
use onsale_mesh::Deadline;
use onsale_state::{Command, CommandKind};

use crate::cluster_support::{Cluster, eventually, onsale, run};

/// The system's disk, whose writes to the log wait while it is stalled.
#[derive(Clone, Debug, Default)]
pub struct StalledDisk {
    state: Arc<(Mutex<Writes>, Condvar)>,
}

/// What becomes of writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Writes {
    #[default]
    Done,
    Wait,
    /// They fail, those that have waited, too.
    Lost,
}

impl StalledDisk {
    fn set(&self, writes: Writes) {
        *self.state.0.lock().unwrap_or_else(PoisonError::into_inner) = writes;
        self.state.1.notify_all();
    }
}

impl Disk for StalledDisk {
    fn lock(&self, dir: &Path) -> io::Result<Box<dyn FolderLock>> {
        RealDisk::new().lock(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealDisk::new().list(dir)
    }

    fn create(&self, path: &Path, bytes: u64) -> io::Result<()> {
        RealDisk::new().create(path, bytes)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn SegmentFile>> {
        let file = RealDisk::new().open(path)?;
        Ok(Box::new(StalledSegment { file, state: self.state.clone() }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        RealDisk::new().read(path)
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        RealDisk::new().sync_file(path)
    }

    fn set_len(&self, path: &Path, bytes: u64) -> io::Result<()> {
        RealDisk::new().set_len(path, bytes)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk::new().rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk::new().remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk::new().sync_dir(dir)
    }
}

#[derive(Debug)]
struct StalledSegment {
    file: Box<dyn SegmentFile>,
    state: Arc<(Mutex<Writes>, Condvar)>,
}

impl SegmentFile for StalledSegment {
    fn write_at(&mut self, offset: u64, blocks: &AlignedBuf) -> io::Result<()> {
        let writes = self.state.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.state.1.wait_while(writes, |writes| *writes == Writes::Wait);
        let writes = *waited.unwrap_or_else(PoisonError::into_inner);
        match writes {
            Writes::Lost => Err(io::ErrorKind::StorageFull.into()),
            _ => self.file.write_at(offset, blocks),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// How long nobody may be answered. A majority without stalled disks takes a hundredth of it.
const NOT_SO_SOON: Duration = Duration::from_millis(500);

/// A formed cluster whose disks can be stalled. A silent leader is kept for so long.
fn stalling_cluster(nodes: u64, election_ms: u64) -> Cluster {
    let mut cluster = Cluster::new(nodes, 1);
    cluster.configs.iter_mut().for_each(|config| config.election_ms = election_ms);
    cluster.disks = (0..nodes).map(|_| StalledDisk::default()).collect();
    cluster.start_all();
    run(cluster.propose(1, CommandKind::Tick));
    cluster.wait_equal(1);
    cluster
}

/// Stalls these nodes' disks and proposes: the entry must reach all replicas, and nobody may apply
/// it before the disk of `released` goes on.
fn only_with(cluster: &Cluster, stalled: &[usize], released: usize) {
    let leader = cluster.leader(1);
    stalled.iter().for_each(|&at| cluster.disks[at].set(Writes::Wait));
    let group = |at: usize| cluster.handle(at).group(1).expect("the shard").clone();
    let next = group(leader).status().last_index + 1;
    run(async {
        let mut proposal = Box::pin(cluster.propose(1, CommandKind::Tick));
        let early = tokio::time::timeout(NOT_SO_SOON, &mut proposal).await;
        assert!(early.is_err(), "answered without a majority's disks: {early:?}");
        for at in 0..cluster.nodes.len() {
            if cluster.nodes.len() > 1 {
                eventually("it is sent before it is flushed", || {
                    (group(at).status().last_index >= next).then_some(())
                });
            }
            assert!(group(at).status().applied < next, "node {at} applied what may be lost");
        }
        cluster.disks[released].set(Writes::Done);
        assert!(proposal.await.result.is_ok());
    });
    stalled.iter().for_each(|&at| cluster.disks[at].set(Writes::Done));
    cluster.wait_equal(1);
}

#[test]
fn followers_that_have_it_on_disk_do_not_answer_for_their_leader() {
    let cluster = stalling_cluster(3, 30_000);
    let leader = cluster.leader(1);
    only_with(&cluster, &[leader], leader);
}

#[test]
fn a_leader_that_has_it_on_disk_waits_for_a_followers() {
    let cluster = stalling_cluster(3, 30_000);
    let leader = cluster.leader(1);
    let followers: Vec<usize> = (0..3).filter(|&at| at != leader).collect();
    only_with(&cluster, &followers, followers[1]);
    only_with(&cluster, &followers, followers[0]);
}

#[test]
fn a_node_alone_answers_for_nothing_that_is_not_on_its_disk() {
    let cluster = stalling_cluster(1, 30_000);
    only_with(&cluster, &[0], 0);
}

#[test]
fn memberships_decide_who_has_to_have_it_also_after_a_restart() {
    let mut cluster = stalling_cluster(3, 30_000);
    (0..3).for_each(|at| cluster.stop(at));
    // They wait so long before they elect anybody.
    cluster.configs.iter_mut().for_each(|config| config.election_ms = 3_000);
    cluster.start_all();
    run(cluster.propose(1, CommandKind::Tick));
    cluster.wait_equal(1);
    let leader = cluster.leader(1);
    only_with(&cluster, &[leader], leader);
}

/// What a leader had sent and lost with its disk's writes has an id that it must not give again:
/// the followers would keep their entry and confirm the other one.
#[test]
fn a_leader_that_lost_what_it_had_sent_does_not_lead_on_in_its_term() {
    let mut cluster = stalling_cluster(3, 3_000);
    let leader = cluster.leader(1);
    // The others elect nobody before it is back.
    let group = |cluster: &Cluster, at: usize| cluster.handle(at).group(1).expect("there").clone();
    let next = group(&cluster, leader).status().last_index + 1;
    cluster.disks[leader].set(Writes::Wait);
    run(async {
        let command = Command { not_after_ms: 0, kind: onsale(7, 1, 1) };
        let deadline = Deadline::after(NOT_SO_SOON);
        let early = group(&cluster, leader).propose(command, deadline).await;
        assert!(early.is_err(), "answered without its leader's disk: {early:?}");
    });
    for at in (0..3).filter(|&at| at != leader) {
        eventually("the followers have it", || {
            (group(&cluster, at).status().last_index >= next).then_some(())
        });
    }
    cluster.kill(leader);
    cluster.disks[leader].set(Writes::Lost);
    cluster.disks[leader] = StalledDisk::default();
    cluster.start(leader).expect("starts");
    run(cluster.open_onsale(1, 8, 1, 1));
    cluster.wait_equal(1);
    for at in 0..3 {
        let opened =
            group(&cluster, at).read(|shard| shard.events().any(|event| event.event() == 8));
        assert!(opened, "node {at} lost an onsale that was acknowledged");
    }
}
