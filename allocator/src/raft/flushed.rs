//! Owns which appends of a shard's replica are flushed on this node, and who else has to have an
//! entry before it is committed.
//!
//! openraft's core waits for each append's flush before it does anything else: before it sends the
//! entries on, and before it reads what peers have answered. So it is told at once that an append
//! is written, and whatever it would conclude from that waits here: a follower answers when its
//! flush is over, and a leader hears an answer when its own is over, too. Then an entry that needs
//! another voter is committed only when both have it on disk, and both flush at the same time. Must
//! never be used where a node is a quorum by itself: nobody would wait.

use std::{
    collections::BTreeSet,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::types::{Membership, StoredMembership};
use crate::limits::APPENDS_AHEAD_MAX;

/// Memberships of the log that are remembered, in case entries are taken back. When none is left,
/// openraft waits for its flushes.
const MEMBERSHIPS_MAX: usize = 16;

/// A replica's appends, counted. All its handles share one.
#[derive(Debug)]
pub(crate) struct Appends {
    node: u64,
    begun: AtomicU64,
    flushed: watch::Sender<Flushed>,
    /// The last one is in force.
    memberships: Mutex<Vec<Known>>,
}

/// A membership in the log.
#[derive(Clone, Debug)]
struct Known {
    index: u64,
    /// It commits nothing without another node.
    needs_others: bool,
    /// Its voters, ascending; none while they are being changed.
    voters: Arc<[u64]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Flushed {
    number: u64,
    failed: bool,
}

impl Appends {
    /// Of this node's replica, before its first append.
    pub(crate) fn new(node: u64) -> Self {
        let flushed = watch::Sender::default();
        Self { node, begun: AtomicU64::new(0), flushed, memberships: Mutex::default() }
    }

    /// One more append is handed to the log; it is the number given back. For one task.
    pub(super) fn begin(&self) -> u64 {
        self.begun.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// An append and all before it are on disk, or never will be.
    pub(super) fn ended(&self, number: u64, flushed: bool) {
        self.flushed.send_modify(|state| {
            state.number = number;
            state.failed |= !flushed;
        });
    }

    /// How many appends were handed to the log: the mark to wait for.
    pub(super) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Acquire)
    }

    /// Waits until all appends up to this mark are on disk. Cancel safe.
    ///
    /// # Errors
    /// When the log has failed: nothing may be concluded from what it holds.
    pub(super) async fn flushed(&self, mark: u64) -> io::Result<()> {
        if mark == 0 {
            return Ok(());
        }
        let mut flushed = self.flushed.subscribe();
        let reached = flushed.wait_for(|state| state.failed || state.number >= mark).await;
        match reached {
            Ok(state) if !state.failed => Ok(()),
            _ => Err(stopped()),
        }
    }

    /// A membership that stands in the log at `index`, or stood there before a snapshot took it in.
    pub(super) fn learn(&self, index: u64, membership: &Membership) {
        let configs = membership.get_joint_config();
        let voters = match &configs[..] {
            [voters] => voters.iter().copied().collect(),
            _ => Arc::default(),
        };
        let known = Known { index, needs_others: needs_others(self.node, configs), voters };
        let mut memberships = self.memberships.lock();
        memberships.retain(|other| other.index != index);
        memberships.push(known);
        // A snapshot's may be older than the log's last.
        memberships.sort_by_key(|known| known.index);
        if memberships.len() > MEMBERSHIPS_MAX {
            memberships.remove(0);
        }
    }

    /// The membership of a snapshot up to `last_index`: what the log had before does not count.
    pub(super) fn learn_from_snapshot(&self, last_index: u64, stored: &StoredMembership) {
        self.memberships.lock().retain(|known| known.index > last_index);
        if let Some(log_id) = stored.log_id() {
            self.learn(log_id.index, stored.membership());
        }
    }

    /// Entries from `index` on are taken back.
    pub(super) fn forget_from(&self, index: u64) {
        self.memberships.lock().retain(|known| known.index < index);
    }

    /// Whether nothing is committed without another node, as far as is known.
    pub(super) fn need_others(&self) -> bool {
        self.memberships.lock().last().is_some_and(|known| known.needs_others)
    }

    /// Whether this node is known to be a quorum by itself.
    pub(super) fn commits_alone(&self) -> bool {
        self.memberships.lock().last().is_some_and(|known| !known.needs_others)
    }

    /// Whether openraft may have one more append that is not flushed, and that is begun already.
    pub(super) fn have_room(&self) -> bool {
        let flushed = self.flushed.borrow().number;
        self.begun().saturating_sub(flushed) <= APPENDS_AHEAD_MAX
    }

    /// An error once an append could not be flushed.
    pub(super) fn check(&self) -> io::Result<()> {
        if self.flushed.borrow().failed { Err(stopped()) } else { Ok(()) }
    }

    /// Whether this is the node's own number.
    pub(super) fn is_of(&self, node: u64) -> bool {
        self.node == node
    }

    /// The voters, ascending; none while they are being changed.
    pub(super) fn voters(&self) -> Arc<[u64]> {
        self.memberships.lock().last().map(|known| known.voters.clone()).unwrap_or_default()
    }
}

fn stopped() -> io::Error {
    io::Error::other("this node's log has stopped")
}

/// Whether there is a quorum to be had that this node alone is not.
fn needs_others(node: u64, configs: &[BTreeSet<u64>]) -> bool {
    configs.iter().any(|voters| voters.iter().any(|voter| *voter != node))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::types::LogId;

    fn membership(configs: &[&[u64]]) -> Membership {
        let configs = configs.iter().map(|voters| voters.iter().copied().collect()).collect();
        Membership::new(configs, ())
    }

    #[tokio::test]
    async fn who_waits_for_a_flush_hears_of_its_end_and_of_no_earlier_one() {
        let appends = Arc::new(Appends::new(1));
        assert!(appends.flushed(appends.begun()).await.is_ok(), "nothing was appended");
        let (first, second) = (appends.begin(), appends.begin());
        let mark = appends.begun();
        let waiting = tokio::spawn({
            let appends = appends.clone();
            async move { appends.flushed(mark).await }
        });
        tokio::task::yield_now().await;
        appends.ended(first, true);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        appends.ended(second, true);
        assert!(waiting.await.expect("no panic").is_ok());
        assert!(appends.flushed(mark).await.is_ok());
    }

    #[tokio::test]
    async fn after_a_failed_flush_nothing_is_flushed_any_more() {
        let appends = Appends::new(1);
        let (first, second) = (appends.begin(), appends.begin());
        appends.ended(first, false);
        assert!(appends.flushed(first).await.is_err());
        appends.ended(second, true);
        assert!(appends.flushed(second).await.is_err());
    }

    #[test]
    fn only_so_many_appends_are_not_flushed() {
        let appends = Appends::new(1);
        let mut last = 0;
        for _ in 0..APPENDS_AHEAD_MAX {
            last = appends.begin();
            assert!(appends.have_room());
        }
        let one_more = appends.begin();
        assert!(!appends.have_room());
        appends.ended(last, true);
        assert!(appends.have_room());
        assert!(appends.check().is_ok());
        appends.ended(one_more, false);
        assert!(appends.check().is_err());
    }

    #[test]
    fn a_snapshot_takes_the_place_of_what_the_log_had_up_to_it() {
        let appends = Appends::new(1);
        appends.learn(90, &membership(&[&[1, 2]]));
        let log_id = LogId::new(openraft::CommittedLeaderId::new(1, 2), 50);
        let stored = StoredMembership::new(Some(log_id), membership(&[&[1]]));
        appends.learn_from_snapshot(100, &stored);
        assert!(appends.commits_alone());
        appends.learn(120, &membership(&[&[1, 2]]));
        appends.learn_from_snapshot(110, &stored);
        assert!(appends.need_others(), "the log has a newer one");
    }

    #[test]
    fn a_node_that_is_a_quorum_by_itself_needs_nobody() {
        let appends = Appends::new(1);
        assert!(!appends.need_others() && !appends.commits_alone(), "nothing is known");
        for (configs, others) in [
            (&[&[1_u64][..]][..], false),
            (&[&[1], &[1, 2]], true),
            (&[&[1, 2]], true),
            (&[&[2]], true),
            (&[&[1, 2, 3], &[1]], true),
            (&[&[1]], false),
        ] {
            appends.learn(appends.begin(), &membership(configs));
            assert_eq!(appends.need_others(), others, "{configs:?}");
            assert_eq!(appends.commits_alone(), !others, "{configs:?}");
        }
    }

    #[test]
    fn a_membership_that_is_taken_back_is_not_in_force_any_more() {
        let appends = Appends::new(1);
        appends.learn(3, &membership(&[&[1]]));
        appends.learn(7, &membership(&[&[1, 2]]));
        appends.forget_from(8);
        assert!(appends.need_others());
        appends.forget_from(7);
        assert!(!appends.need_others());
        appends.learn(7, &membership(&[&[1, 2, 3]]));
        assert_eq!(appends.voters()[..], [1, 2, 3]);
        appends.learn(5, &membership(&[&[1]]));
        assert!(appends.need_others(), "a snapshot's membership is older than the log's");
        appends.learn(9, &membership(&[&[1, 2, 3], &[1, 2]]));
        assert!(appends.need_others() && appends.voters().is_empty(), "it is being changed");
        appends.forget_from(2);
        assert!(!appends.need_others(), "nothing is known");
    }
}
