//! Owns the way of commands into the log on the leader (design D6): what is queued becomes one
//! entry, no timer, few entries at a time; outcomes go back by place with one wake per caller.
//!
//! Must never answer "failed" about a command that was submitted: that is "unknown". Must never
//! submit a command whose time is over.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use onsale_mesh::Deadline;
use onsale_state::{
    Batch, Command, CommandKind, Outcome, ShardNo,
    limits::{BATCH_BYTES_MAX, BATCH_COMMANDS_MAX},
};
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::{
    group::State,
    weight::{too_large, weight},
};
use crate::{
    error::ProposeError,
    limits::{
        BATCH_GATHER_YIELDS, BATCH_WAIT_MAX, BATCHES_IN_FLIGHT_MAX, LOST_LEAD_WAIT_MAX,
        TICK_INTERVAL,
    },
    metrics::ShardMetrics,
    raft::{Changes, Replica, Submitted},
};

/// The index of the entry that decided a command, and what came of it.
pub type Decided = Result<(u64, Outcome), ProposeError>;

/// The answer to one tagged item.
#[derive(Debug)]
pub struct Answer {
    /// The caller's tag.
    pub tag: u64,
    /// The shard that was asked.
    pub shard: ShardNo,
    /// What came of it.
    pub decided: Decided,
}

/// Where the answers of many items meet: one per stream. A batch's answers wake its reader once.
#[derive(Debug, Default)]
pub struct Collector {
    answers: Mutex<Vec<Answer>>,
    ready: Notify,
}

impl Collector {
    /// Puts an answer in without waking the reader.
    fn put(&self, answer: Answer) {
        self.answers.lock().push(answer);
    }

    /// Puts an answer in and wakes the reader.
    pub fn answer(&self, answer: Answer) {
        self.put(answer);
        self.ready.notify_one();
    }

    /// Waits for answers and takes all there are into an empty list, whose room the next ones
    /// get. For one reader. Cancel safe.
    pub async fn take(&self, into: &mut Vec<Answer>) {
        debug_assert!(into.is_empty(), "answers would be given back");
        loop {
            std::mem::swap(&mut *self.answers.lock(), into);
            if !into.is_empty() {
                return;
            }
            self.ready.notified().await;
        }
    }
}

/// A command in the queue.
pub(super) struct Item {
    pub(super) command: Command,
    pub(super) deadline: Deadline,
    pub(super) reply: Reply,
    /// A large command's part of the bytes that may wait.
    pub(super) bytes: Option<OwnedSemaphorePermit>,
}

/// Who waits for the outcome. Dropped unanswered it answers "unknown".
pub(super) struct Reply(Option<Waiting>);

enum Waiting {
    One(oneshot::Sender<Decided>),
    Many { tag: u64, shard: ShardNo, collector: Arc<Collector> },
}

impl Reply {
    pub(super) fn one(sender: oneshot::Sender<Decided>) -> Self {
        Self(Some(Waiting::One(sender)))
    }

    pub(super) fn many(tag: u64, shard: ShardNo, collector: Arc<Collector>) -> Self {
        Self(Some(Waiting::Many { tag, shard, collector }))
    }

    /// Answers; a collector that now has to be woken is remembered once.
    fn send(mut self, decided: Decided, woken: &mut Vec<Arc<Collector>>) {
        match self.0.take() {
            Some(Waiting::One(sender)) => drop(sender.send(decided)),
            Some(Waiting::Many { tag, shard, collector }) => {
                collector.put(Answer { tag, shard, decided });
                if !woken.iter().any(|known| Arc::ptr_eq(known, &collector)) {
                    woken.push(collector);
                }
            }
            None => {}
        }
    }

    /// Answers and wakes at once.
    pub(super) fn send_now(self, decided: Decided) {
        let mut woken = Vec::new();
        self.send(decided, &mut woken);
        wake(woken);
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(waiting) = self.0.take() {
            Reply(Some(waiting)).send_now(Err(ProposeError::Unknown));
        }
    }
}

fn wake(woken: Vec<Arc<Collector>>) {
    for collector in woken {
        collector.ready.notify_one();
    }
}

/// The one task that submits a shard's batches.
pub(super) struct Batcher {
    pub(super) replica: Replica,
    pub(super) state: Arc<State>,
    pub(super) metrics: ShardMetrics,
    /// When this task last wrote anything, to see whether the shard is idle.
    pub(super) wrote_at: Instant,
    /// Room for batches in flight.
    pub(super) room: Arc<Semaphore>,
}

impl Batcher {
    /// Runs until the queue is closed and empty.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Item>) {
        let mut waiting = VecDeque::with_capacity(BATCH_COMMANDS_MAX);
        let mut received = Vec::with_capacity(BATCH_COMMANDS_MAX);
        let mut tick = tokio::time::interval(TICK_INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            if waiting.is_empty() {
                tokio::select! {
                    biased;
                    taken = queue.recv_many(&mut received, BATCH_COMMANDS_MAX) => {
                        if taken == 0 {
                            // What was submitted is seen through.
                            let _ = self.room.acquire_many(BATCHES_IN_FLIGHT_MAX as u32).await;
                            return;
                        }
                    }
                    _ = tick.tick() => {
                        self.tick().await;
                        continue;
                    }
                }
                waiting.extend(received.drain(..));
            }
            let Ok(permit) = self.room.clone().acquire_owned().await else {
                return;
            };
            // Under load, lets what is ready on its way here arrive first: fewer, larger entries.
            for _ in 0..BATCH_GATHER_YIELDS {
                tokio::task::yield_now().await;
            }
            while waiting.len() < BATCH_COMMANDS_MAX {
                let Ok(item) = queue.try_recv() else { break };
                waiting.push_back(item);
            }
            self.metrics.queue_commands.set((queue.len() + waiting.len()) as f64);
            self.submit(&mut waiting, permit).await;
        }
    }

    /// Makes one batch of what fits and submits it; a task of its own sees it through, so that the
    /// next one can be on its way before.
    async fn submit(&mut self, waiting: &mut VecDeque<Item>, permit: OwnedSemaphorePermit) {
        let mut woken = Vec::new();
        if !self.replica.leads() {
            let leader = self.replica.leader();
            for item in waiting.drain(..) {
                item.reply.send(Err(ProposeError::NotLeader(leader)), &mut woken);
            }
            return wake(woken);
        }
        let log_time_ms = self.state.next_log_time(&self.replica.voters());
        let (batch, replies) = self.form(log_time_ms, waiting);
        if replies.is_empty() {
            return;
        }
        self.metrics.timeline.submit();
        let submission = self.hand_in(batch, replies).await;
        let timeline = self.metrics.timeline.clone();
        tokio::spawn(async move {
            submission.see_through().await;
            timeline.reply();
            drop(permit);
        });
    }

    /// From here on no answer means "unknown".
    async fn hand_in(&mut self, batch: Batch, replies: Vec<Reply>) -> Submission {
        let submitted_at = Instant::now();
        self.wrote_at = submitted_at;
        // Taken before, so that a lead lost in between is noticed.
        let changes = self.replica.changes();
        let submitted = self.replica.submit(batch).await;
        let commit_seconds = self.metrics.commit_seconds.clone();
        let unknown = self.metrics.unknown.clone();
        Submission { submitted_at, changes, submitted, replies, commit_seconds, unknown }
    }

    /// Takes what fits one batch; what is over its time is answered and left out.
    fn form(&self, log_time_ms: u64, waiting: &mut VecDeque<Item>) -> (Batch, Vec<Reply>) {
        let mut commands = Vec::with_capacity(waiting.len().min(BATCH_COMMANDS_MAX));
        let mut replies = Vec::with_capacity(commands.capacity());
        let now = tokio::time::Instant::now();
        let mut bytes = 0;
        let mut closed = &self.metrics.closed_by_queue;
        while let Some(item) = waiting.front() {
            let weight = weight(&item.command);
            if !commands.is_empty() && bytes + weight > BATCH_BYTES_MAX {
                closed = &self.metrics.closed_by_bytes;
                break;
            }
            if commands.len() == BATCH_COMMANDS_MAX {
                closed = &self.metrics.closed_by_commands;
                break;
            }
            let Some(Item { mut command, deadline, reply, bytes: _waited }) = waiting.pop_front()
            else {
                break;
            };
            let left = deadline.remaining_at(now);
            if left.is_zero() {
                self.metrics.expired.increment(1);
                // It was never submitted; whoever still listens may ask again.
                reply.send_now(Err(ProposeError::NotLeader(self.replica.leader())));
                continue;
            }
            if let Some(refused) = too_large(weight) {
                reply.send_now(Ok((0, refused)));
                continue;
            }
            if command.not_after_ms == 0 {
                let left_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
                command.not_after_ms = log_time_ms.saturating_add(left_ms);
            }
            bytes += weight;
            commands.push(command);
            replies.push(reply);
        }
        closed.increment(1);
        self.metrics.batch_commands.record(commands.len() as f64);
        self.metrics.batch_bytes.record(bytes as f64);
        (Batch { log_time_ms, commands }, replies)
    }

    /// Lets time pass in an idle shard, where time has something to do.
    async fn tick(&mut self) {
        let Ok(_permit) = self.room.clone().acquire_owned().await else {
            return;
        };
        if !self.replica.leads() {
            return;
        }
        let now_ms = self.state.peek_log_time(&self.replica.voters());
        if !self.state.time_is_due(now_ms, self.wrote_at.elapsed()) {
            return;
        }
        self.metrics.ticks.increment(1);
        let log_time_ms = self.state.next_log_time(&self.replica.voters());
        let command = Command { not_after_ms: u64::MAX, kind: CommandKind::Tick };
        let batch = Batch { log_time_ms, commands: vec![command] };
        self.hand_in(batch, Vec::new()).await.see_through().await;
    }
}

/// A batch on its way through the log.
struct Submission {
    submitted_at: Instant,
    changes: Changes,
    submitted: Option<Submitted>,
    replies: Vec<Reply>,
    commit_seconds: metrics::Histogram,
    unknown: metrics::Counter,
}

impl Submission {
    /// Waits for the outcomes and answers everyone.
    async fn see_through(mut self) {
        let mut woken = Vec::new();
        match self.outcomes().await {
            Some((index, outcomes))
                if outcomes.len() == self.replies.len() || self.replies.is_empty() =>
            {
                for (reply, outcome) in self.replies.into_iter().zip(outcomes) {
                    reply.send(Ok((index, outcome)), &mut woken);
                }
            }
            _ => {
                self.unknown.increment(1);
                for reply in self.replies {
                    reply.send(Err(ProposeError::Unknown), &mut woken);
                }
            }
        }
        wake(woken);
    }

    /// `None` is "unknown".
    async fn outcomes(&mut self) -> Option<(u64, Vec<Outcome>)> {
        let submitted = self.submitted.as_mut()?;
        let outcomes = tokio::select! {
            outcomes = submitted.outcomes() => outcomes,
            () = tokio::time::sleep(BATCH_WAIT_MAX) => None,
            () = self.changes.lost_lead() => {
                // The entry may be the new leader's next commit: a moment more can know it.
                let waiting = tokio::time::timeout(LOST_LEAD_WAIT_MAX, submitted.outcomes());
                waiting.await.ok().flatten()
            }
        };
        self.commit_seconds.record(self.submitted_at.elapsed());
        outcomes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(tag: u64) -> Answer {
        Answer { tag, shard: 1, decided: Err(ProposeError::Overloaded) }
    }

    #[tokio::test]
    async fn answers_of_a_batch_are_taken_together() {
        let collector = Collector::default();
        collector.put(answer(1));
        collector.put(answer(2));
        collector.ready.notify_one();
        let mut answers = Vec::new();
        collector.take(&mut answers).await;
        let tags: Vec<u64> = answers.drain(..).map(|answer| answer.tag).collect();
        assert_eq!(tags, [1, 2]);
        collector.answer(answer(3));
        collector.take(&mut answers).await;
        assert_eq!(answers.len(), 1);
    }

    #[tokio::test]
    async fn a_command_that_is_dropped_on_the_way_is_answered_unknown() {
        let collector = Arc::new(Collector::default());
        drop(Reply::many(7, 1, collector.clone()));
        let mut answers = Vec::new();
        collector.take(&mut answers).await;
        assert_eq!(answers[0].tag, 7);
        assert_eq!(answers[0].decided, Err(ProposeError::Unknown));
        let (sender, receiver) = oneshot::channel();
        drop(Reply::one(sender));
        assert_eq!(receiver.await, Ok(Err(ProposeError::Unknown)));
    }
}
