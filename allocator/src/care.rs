//! Owns when a shard is snapshotted out of turn, so that the log lets go: by size, by number of
//! segments, and by age, so that personal data that was erased is gone from log and snapshots in
//! bounded time (design D15).
//!
//! Must never wait for one shard while another needs care: it looks, begins, and looks again.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use onsale_state::ShardNo;

use crate::{
    Config,
    limits::{
        ENTRIES_KEPT_AFTER_FORCED, FORCED_SNAPSHOT_MAX, LOG_CARE_INTERVAL, SNAPSHOTS_LOOK_INTERVAL,
    },
    log::Log,
    metrics,
    raft::ReplicaStatus,
    shard::{Group, Groups},
};

/// Looks after the log of a node.
pub(crate) struct Care<'a> {
    pub(crate) config: &'a Config,
    pub(crate) log: &'a Log,
    pub(crate) groups: &'a Groups,
}

/// What was begun for a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Forced {
    /// The snapshot must reach so far.
    upto: u64,
    /// Entries to keep in the log.
    keep: u64,
    since: Instant,
    /// The entries are being let go of, up to this one.
    purging: Option<u64>,
}

/// What to do next about a shard for which something was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Wait,
    Purge(u64),
    Done,
    /// It took too long: whatever was the reason may be one still.
    GiveUp,
}

impl Forced {
    fn step(&self, status: &ReplicaStatus, now: Instant) -> Step {
        let late = now.duration_since(self.since) >= FORCED_SNAPSHOT_MAX;
        match self.purging {
            Some(upto) if status.purged >= upto => Step::Done,
            None if status.snapshot >= self.upto => {
                Step::Purge(status.snapshot.saturating_sub(self.keep))
            }
            _ if late => Step::GiveUp,
            _ => Step::Wait,
        }
    }
}

impl Care<'_> {
    /// Until dropped.
    pub(crate) async fn run(&self) {
        let mut every = tokio::time::interval(LOG_CARE_INTERVAL);
        let mut forced = BTreeMap::new();
        let mut looked_at = Instant::now();
        let age = Duration::from_secs(self.config.log_age_seconds_max);
        loop {
            every.tick().await;
            let holder = self.log.oldest_holder();
            metrics::say_log(&self.log.stats(), holder.map_or(1, |holder| holder.segments));
            for group in self.groups.iter() {
                if forced.contains_key(&group.no()) {
                    go_on(group, &mut forced).await;
                } else if let Some((keep, why)) = self.needs_snapshot(group) {
                    begin(group, keep, why, &mut forced).await;
                }
            }
            if self.is_old(self.log.segment_opened_at_ms()) {
                self.log.begin_segment();
            }
            if looked_at.elapsed() >= SNAPSHOTS_LOOK_INTERVAL.min(age) {
                looked_at = Instant::now();
                for group in self.groups.iter() {
                    group.replica().drop_old_snapshots(age).await;
                }
            }
        }
    }

    fn is_old(&self, since_ms: u64) -> bool {
        let age_ms = onsale_proto::time::now_ms().saturating_sub(since_ms);
        age_ms / 1_000 > self.config.log_age_seconds_max
    }

    fn needs_snapshot(&self, group: &Group) -> Option<(u64, &'static str)> {
        if let Some(holder) = self.log.oldest_holder().filter(|holder| holder.shard == group.no()) {
            if holder.segments > self.config.log_segments_max as u64 {
                return Some((0, "it holds back the oldest of too many segments"));
            }
            if self.is_old(holder.opened_at_ms) {
                return Some((0, "it holds back an old segment"));
            }
        }
        let bytes = self.log.shard(group.no()).state().ram_bytes;
        let much = bytes > self.config.log_memory_bytes_max;
        much.then_some((ENTRIES_KEPT_AFTER_FORCED, "its entries take much memory"))
    }
}

async fn begin(group: &Group, keep: u64, why: &str, forced: &mut BTreeMap<ShardNo, Forced>) {
    tracing::info!(shard = group.no(), "a snapshot is forced: {why}");
    group.metrics().snapshots_forced.increment(1);
    let status = group.status();
    let begun = Forced { upto: status.applied, keep, since: Instant::now(), purging: None };
    forced.insert(group.no(), begun);
    if status.snapshot < status.applied {
        group.replica().begin_snapshot().await;
    }
}

async fn go_on(group: &Group, forced: &mut BTreeMap<ShardNo, Forced>) {
    let Some(begun) = forced.get_mut(&group.no()) else { return };
    match begun.step(&group.status(), Instant::now()) {
        Step::Wait => return,
        Step::Purge(upto) => {
            begun.purging = Some(upto);
            return group.replica().purge_to(upto).await;
        }
        Step::Done => {}
        Step::GiveUp => {
            let seconds = FORCED_SNAPSHOT_MAX.as_secs();
            tracing::warn!(shard = group.no(), "a forced snapshot took longer than {seconds} s");
        }
    }
    forced.remove(&group.no());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::Role;

    fn status(snapshot: u64, purged: u64) -> ReplicaStatus {
        ReplicaStatus {
            role: Role::Follower,
            leader: 1,
            term: 1,
            last_index: 100,
            applied: 100,
            snapshot,
            purged,
            initialised: true,
            voters: vec![1],
            ended: None,
        }
    }

    #[test]
    fn a_forced_snapshot_is_waited_for_then_purged_then_forgotten_and_never_for_ever() {
        let since = Instant::now();
        let mut forced = Forced { upto: 90, keep: 10, since, purging: None };
        let late = since + FORCED_SNAPSHOT_MAX;
        assert_eq!(forced.step(&status(89, 0), since), Step::Wait);
        assert_eq!(forced.step(&status(89, 0), late), Step::GiveUp);
        assert_eq!(forced.step(&status(95, 0), late), Step::Purge(85));
        forced.purging = Some(85);
        assert_eq!(forced.step(&status(95, 84), since), Step::Wait);
        assert_eq!(forced.step(&status(95, 84), late), Step::GiveUp);
        assert_eq!(forced.step(&status(95, 85), since), Step::Done);
    }
}
