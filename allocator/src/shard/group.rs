//! Owns one shard on this node as the services see it: propose, read, follow.
//!
//! Must never hold the state's lock across an await, nor for longer than a short read.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use onsale_mesh::Deadline;
use onsale_state::{Change, Command, EventNo, EventView, Outcome, Shard, ShardNo};
use parking_lot::Mutex;
use tokio::{
    sync::{Semaphore, mpsc, oneshot, watch},
    task::JoinSet,
};

use super::{
    batch::{Batcher, Collector, Item, Reply},
    log_time::{Clocks, LogTime},
    weight,
};
use crate::{
    checkpoints::Checkpoints,
    error::ProposeError,
    feed::Hub,
    limits::{BATCHES_IN_FLIGHT_MAX, QUEUE_LARGE_BYTES_MAX},
    metrics::ShardMetrics,
    raft::{Observer, Replica, ReplicaStatus, membership::Members},
};

/// Live holds make log time go on at least so often, for whoever follows it.
const LIVE_TICK_INTERVAL: Duration = Duration::from_secs(1);
/// Exact reads that wait for a majority's confirmation.
const READS_MAX: usize = 4_096;

/// All shards of a node by number, the control group (0) first.
pub type Groups = Arc<[Group]>;

/// What readers see of an event, by its number.
pub type Views = HashMap<EventNo, Arc<EventView>>;

/// One shard on this node. Cheap to clone.
#[derive(Clone)]
pub struct Group {
    inner: Arc<Inner>,
}

struct Inner {
    no: ShardNo,
    state: Arc<State>,
    replica: Replica,
    queue: mpsc::Sender<Item>,
    reads: mpsc::Sender<oneshot::Sender<Result<(), ProposeError>>>,
    room: Arc<Semaphore>,
    /// For the bytes of large commands in the queue.
    large_bytes: Arc<Semaphore>,
    metrics: ShardMetrics,
}

/// A shard's state and what hangs on it.
pub(crate) struct State {
    shard: Arc<Mutex<Shard>>,
    views: ArcSwap<Views>,
    hub: Hub,
    jobs_due: watch::Sender<u64>,
    applied: watch::Sender<u64>,
    node: u64,
    clocks: Clocks,
    log_time: Mutex<LogTime>,
    checkpoints: Mutex<Checkpoints>,
    agreed: AtomicU64,
    metrics: ShardMetrics,
}

impl State {
    pub(crate) fn new(node: u64, shard: Shard, clocks: Clocks, metrics: ShardMetrics) -> Self {
        let log_time = LogTime::new(shard.log_time_ms(), clocks.mono_ms());
        Self {
            shard: Arc::new(Mutex::new(shard)),
            views: ArcSwap::default(),
            hub: Hub::measured(metrics.feed.clone()),
            jobs_due: watch::Sender::new(0),
            applied: watch::Sender::new(0),
            node,
            clocks,
            log_time: Mutex::new(log_time),
            checkpoints: Mutex::default(),
            agreed: AtomicU64::new(0),
            metrics,
        }
    }

    pub(crate) fn shard(&self) -> Arc<Mutex<Shard>> {
        self.shard.clone()
    }

    /// Gives out the next entry's log time.
    pub(super) fn next_log_time(&self, voters: &[u64]) -> u64 {
        let median = self.clocks.median(self.node, voters);
        let next_ms = self.log_time.lock().next(self.clocks.mono_ms(), median);
        let skew_ms = next_ms as f64 - self.clocks.wall_ms() as f64;
        self.metrics.skew_seconds.set(skew_ms / 1_000.0);
        next_ms
    }

    /// What log time is now, if this node leads.
    pub(super) fn peek_log_time(&self, voters: &[u64]) -> u64 {
        let median = self.clocks.median(self.node, voters);
        self.log_time.lock().peek(self.clocks.mono_ms(), median)
    }

    /// Whether an idle shard needs an entry so that time does its work.
    pub(super) fn time_is_due(&self, now_ms: u64, idle: Duration) -> bool {
        let shard = self.shard.lock();
        let is_due = shard.next_due_at_ms().is_some_and(|due| due <= now_ms);
        is_due || (idle >= LIVE_TICK_INTERVAL && shard.is_waited_for())
    }

    fn refresh_views(&self, shard: &Shard) {
        let views = shard.events().map(|event| {
            let view = event.view();
            (view.event, view)
        });
        self.views.store(Arc::new(views.collect()));
    }
}

impl Observer for State {
    fn applied(&self, index: u64, changes: &[Change], shard: &Shard) {
        if changes.iter().any(|change| matches!(change, Change::Event { .. })) {
            self.refresh_views(shard);
        }
        self.log_time.lock().applied(shard.log_time_ms(), self.clocks.mono_ms());
        self.checkpoints.lock().pass(index, || shard.chain());
        self.hub.publish(index, shard.log_time_ms(), changes, shard);
        if changes.iter().any(|change| matches!(change, Change::JobDue)) {
            self.jobs_due.send_modify(|times| *times += 1);
        }
        self.applied.send_replace(index);
    }

    fn replaced(&self, index: u64, shard: &Shard) {
        self.refresh_views(shard);
        self.log_time.lock().applied(shard.log_time_ms(), self.clocks.mono_ms());
        self.checkpoints.lock().clear();
        self.hub.reset(index, shard.log_time_ms());
        self.jobs_due.send_modify(|times| *times += 1);
        self.applied.send_replace(index);
    }
}

impl Group {
    /// Starts the tasks of a shard whose replica takes part already.
    pub(crate) fn start(
        no: ShardNo,
        state: Arc<State>,
        replica: Replica,
        queue_max: usize,
        metrics: ShardMetrics,
        tasks: &mut JoinSet<()>,
    ) -> Group {
        let (queue, items) = mpsc::channel(queue_max);
        let (reads, readers) = mpsc::channel(READS_MAX);
        let room = Arc::new(Semaphore::new(BATCHES_IN_FLIGHT_MAX));
        let large_bytes = Arc::new(Semaphore::new(QUEUE_LARGE_BYTES_MAX));
        let batcher = Batcher {
            replica: replica.clone(),
            state: state.clone(),
            metrics: metrics.clone(),
            wrote_at: Instant::now(),
            room: room.clone(),
        };
        tasks.spawn(batcher.run(items));
        tasks.spawn(ring(state.hub.clone()));
        tasks.spawn(confirm_reads(replica.clone(), readers));
        tasks.spawn(watch_leader(no, replica.clone(), metrics.clone()));
        let inner = Inner { no, state, replica, queue, reads, room, large_bytes, metrics };
        Group { inner: Arc::new(inner) }
    }

    /// The shard's number.
    #[must_use]
    pub fn no(&self) -> ShardNo {
        self.inner.no
    }

    /// Puts a command into the log and waits for its outcome. A `not_after_ms` of 0 becomes the
    /// deadline in log time.
    ///
    /// # Errors
    /// `NotLeader` and `Overloaded` when nothing was submitted; `Unknown` when it may have been.
    pub async fn propose(
        &self,
        command: Command,
        deadline: Deadline,
    ) -> Result<(u64, Outcome), ProposeError> {
        let (sender, receiver) = oneshot::channel();
        self.enqueue(Item { command, deadline, reply: Reply::one(sender), bytes: None });
        match tokio::time::timeout_at(deadline.instant(), receiver).await {
            Ok(Ok(decided)) => decided,
            _ => Err(ProposeError::Unknown),
        }
    }

    /// Queues a command whose answer goes to `collector` under `tag`; every item is answered.
    pub fn submit(
        &self,
        tag: u64,
        command: Command,
        deadline: Deadline,
        collector: &Arc<Collector>,
    ) {
        let reply = Reply::many(tag, self.inner.no, collector.clone());
        self.enqueue(Item { command, deadline, reply, bytes: None });
    }

    fn enqueue(&self, mut item: Item) {
        let inner = &self.inner;
        if !inner.replica.leads() {
            return item.reply.send_now(Err(ProposeError::NotLeader(inner.replica.leader())));
        }
        let Ok(bytes) = weight::queue_room(&inner.large_bytes, &item.command) else {
            inner.metrics.queue_refused.increment(1);
            return item.reply.send_now(Err(ProposeError::Overloaded));
        };
        item.bytes = bytes;
        inner.metrics.timeline.arrive();
        match inner.queue.try_send(item) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(item)) => {
                inner.metrics.queue_refused.increment(1);
                item.reply.send_now(Err(ProposeError::Overloaded));
            }
            Err(mpsc::error::TrySendError::Closed(item)) => {
                item.reply.send_now(Err(ProposeError::NotLeader(0)));
            }
        }
    }

    /// Looks at the state as this replica has it. `look` must be short: `apply` waits for it.
    pub fn read<R>(&self, look: impl FnOnce(&Shard) -> R) -> R {
        look(&self.inner.state.shard.lock())
    }

    /// After this, [`Self::read`] sees everything that was acknowledged before the call.
    ///
    /// # Errors
    /// `NotLeader` when this node does not lead or no majority confirmed it in time.
    pub async fn read_index(&self, deadline: Deadline) -> Result<(), ProposeError> {
        if !self.inner.replica.leads() {
            return Err(ProposeError::NotLeader(self.inner.replica.leader()));
        }
        let (sender, receiver) = oneshot::channel();
        self.inner.reads.try_send(sender).map_err(|_| ProposeError::Overloaded)?;
        match tokio::time::timeout_at(deadline.instant(), receiver).await {
            Ok(Ok(confirmed)) => confirmed,
            _ => Err(ProposeError::NotLeader(0)),
        }
    }

    /// Events as readers see them, without any lock.
    #[must_use]
    pub fn views(&self) -> Arc<Views> {
        self.inner.state.views.load_full()
    }

    /// One event as readers see it.
    #[must_use]
    pub fn view(&self, event: EventNo) -> Option<Arc<EventView>> {
        self.inner.state.views.load().get(&event).cloned()
    }

    /// The shard's change feed on this node.
    #[must_use]
    pub fn feed(&self) -> &Hub {
        &self.inner.state.hub
    }

    /// Counts up when a payment job may be due.
    #[must_use]
    pub fn jobs_due(&self) -> watch::Receiver<u64> {
        self.inner.state.jobs_due.subscribe()
    }

    /// Index of the last entry applied here.
    #[must_use]
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.inner.state.applied.subscribe()
    }

    /// What log time is now, as far as this node can tell.
    #[must_use]
    pub fn log_time_ms(&self) -> u64 {
        self.inner.state.peek_log_time(&self.inner.replica.voters())
    }

    /// Whether this node leads the shard; the lead may be lost at any moment.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.inner.replica.leads()
    }

    /// Who leads the shard as far as this node knows; 0 is nobody.
    #[must_use]
    pub fn leader(&self) -> u64 {
        self.inner.replica.leader()
    }

    /// What the shard's replica says of itself.
    #[must_use]
    pub fn status(&self) -> ReplicaStatus {
        self.inner.replica.status()
    }

    /// Snapshots everything applied so far; whether that was durable in time.
    pub async fn snapshot(&self, deadline: Deadline) -> bool {
        let (replica, applied) = (&self.inner.replica, self.status().applied);
        let mut changes = replica.changes();
        let snapshotting = async {
            while replica.status().snapshot < applied {
                replica.begin_snapshot().await;
                let before = replica.status().snapshot;
                while replica.status().snapshot == before {
                    if !changes.next().await {
                        return false;
                    }
                }
            }
            true
        };
        tokio::time::timeout_at(deadline.instant(), snapshotting).await.unwrap_or(false)
    }

    /// Looks at what this replica was at its last checkpoints.
    pub(crate) fn checkpoints<R>(&self, look: impl FnOnce(&Checkpoints) -> R) -> R {
        look(&self.inner.state.checkpoints.lock())
    }

    /// Up to which entry a majority's states are known to agree with this replica's.
    #[must_use]
    pub fn agreed_index(&self) -> u64 {
        self.inner.state.agreed.load(Ordering::Relaxed)
    }

    pub(crate) fn agree(&self, index: u64) {
        self.inner.state.agreed.store(index, Ordering::Relaxed);
        self.inner.metrics.checkpoint_index.set(index as f64);
    }

    /// The nodes whose replicas vote.
    pub(crate) fn voters(&self) -> Vec<u64> {
        self.inner.replica.voters()
    }

    /// The shard's members as this node knows them.
    #[must_use]
    pub fn members(&self) -> Members {
        self.inner.replica.members()
    }

    pub(crate) fn replica(&self) -> &Replica {
        &self.inner.replica
    }

    /// Room for batches on their way through the log; whoever has all of it is alone.
    pub(super) fn room(&self) -> &Arc<Semaphore> {
        &self.inner.room
    }

    pub(crate) fn metrics(&self) -> &ShardMetrics {
        &self.inner.metrics
    }
}

/// Wakes the feed's followers.
async fn ring(hub: Hub) {
    hub.ring().await;
}

/// One confirmation by a majority answers all reads that were waiting when it began.
async fn confirm_reads(
    replica: Replica,
    mut readers: mpsc::Receiver<oneshot::Sender<Result<(), ProposeError>>>,
) {
    let mut waiting = Vec::new();
    while readers.recv_many(&mut waiting, READS_MAX).await > 0 {
        let confirming = tokio::time::timeout(crate::limits::READ_WAIT_MAX, replica.linearize());
        let confirmed = confirming.await.unwrap_or(Err(ProposeError::NotLeader(0)));
        for reader in waiting.drain(..) {
            let _ = reader.send(confirmed);
        }
    }
}

async fn watch_leader(no: ShardNo, replica: Replica, metrics: ShardMetrics) {
    let mut changes = replica.changes();
    let mut leader = 0;
    loop {
        let now = replica.leader();
        if now != leader && now != 0 {
            metrics.leader_changes.increment(1);
            tracing::info!(shard = no, leader = now, "the shard has a leader");
        }
        leader = now;
        metrics.leads.set(if replica.leads() { 1.0 } else { 0.0 });
        if !changes.next().await {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use onsale_state::{
        Batch, CommandKind, HoldId,
        command::{
            Focus, Hold, HoldItem, Idempotency, OpenOnsale, PutChannel, Rules, SectionKind,
            SectionSpec, Selection, Wish,
        },
    };

    use super::*;

    const NOW_MS: u64 = 1_000_000;
    const RELEASE_AT_MS: u64 = NOW_MS + 100 * 24 * 3_600 * 1_000;

    fn idempotency(key: u128) -> Idempotency {
        Idempotency { key, request: 1, buyer: 1, buyer_is_new: false }
    }

    fn club() -> CommandKind {
        let kind = SectionKind::GeneralAdmission { capacity: 50 };
        let key = "F".into();
        CommandKind::OpenOnsale(Box::new(OpenOnsale {
            event: 1,
            event_id: "evt_1".into(),
            revision: 1,
            currency: *b"EUR",
            onsale_at_ms: 0,
            prices_minor: vec![5_000],
            offer: None,
            sections: vec![SectionSpec { key, category: 0, kind, focus: Focus::default() }],
            rules: Rules { seats_per_order_max: 4, hold_ttl_ms: 60_000, ..Rules::default() },
        }))
    }

    fn set_aside() -> CommandKind {
        CommandKind::PutChannel(Box::new(PutChannel {
            event: 1,
            idempotency: idempotency(1),
            key: "fans".into(),
            key_hash: None,
            places: Selection { seats: Vec::new(), areas: vec![(0, 10)] },
            release_at_ms: Some(RELEASE_AT_MS),
            general_too: false,
        }))
    }

    fn hold() -> CommandKind {
        CommandKind::Hold(Hold {
            event: 1,
            hold: HoldId(1 << 100),
            idempotency: idempotency(2),
            items: [HoldItem::BestAvailable(Wish { quantity: 1, ..Wish::default() })].into(),
            terms: None,
        })
    }

    #[test]
    fn an_idle_shard_is_ticked_for_holds_and_not_for_an_allotment_that_ends_in_months() {
        let shard = Shard::new(1, 1, onsale_state::Limits::default());
        let state = State::new(1, shard, Clocks::default(), ShardMetrics::new(1));
        let apply = |index, kind| {
            let commands = vec![Command { not_after_ms: u64::MAX, kind }];
            let (mut outcomes, mut changes) = (Vec::new(), Vec::new());
            let batch = Batch { log_time_ms: NOW_MS, commands };
            state.shard.lock().apply(index, &batch, &mut outcomes, &mut changes);
            assert!(outcomes.iter().all(|outcome| outcome.result.is_ok()), "{outcomes:?}");
        };
        apply(1, club());
        apply(2, set_aside());
        let long = LIVE_TICK_INTERVAL * 10;
        assert!(!state.time_is_due(NOW_MS + 10_000, long));
        assert!(state.time_is_due(RELEASE_AT_MS, Duration::ZERO));
        apply(3, hold());
        assert!(state.time_is_due(NOW_MS + 10_000, long));
        assert!(!state.time_is_due(NOW_MS + 10_000, LIVE_TICK_INTERVAL / 2));
    }
}
