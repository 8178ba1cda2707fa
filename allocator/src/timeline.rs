//! Owns where a batch's time goes: queue → flush → replicate → apply → reply.
//!
//! Few batches of a shard are on their way at a time and they keep their order, so that one mark
//! for each stage is enough: it belongs to the first batch that reached it, and one right behind
//! that is not timed there. Nothing is done per command. Must never be asked by anything that
//! decides.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use metrics::Histogram;

/// The marks of a shard's batch on the node that leads it.
pub(crate) struct Timeline {
    start: Instant,
    /// When the first command came that is not submitted; like all marks in µs, 0 is none.
    arrived: AtomicU64,
    /// Batches of ours that are on their way.
    in_flight: AtomicU64,
    flushed: AtomicU64,
    applied: AtomicU64,
    queue: Histogram,
    flush: Histogram,
    replicate: Histogram,
    reply: Histogram,
}

impl Timeline {
    pub(crate) fn new(
        queue: Histogram,
        flush: Histogram,
        replicate: Histogram,
        reply: Histogram,
    ) -> Timeline {
        let [arrived, in_flight, flushed, applied] = std::array::from_fn(|_| AtomicU64::new(0));
        let start = Instant::now();
        Timeline { start, arrived, in_flight, flushed, applied, queue, flush, replicate, reply }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX).max(1)
    }

    /// Takes a mark away; how long ago it was set.
    fn since(&self, mark: &AtomicU64) -> Option<Duration> {
        let at = mark.swap(0, Ordering::Relaxed);
        (at != 0).then(|| Duration::from_micros(self.now().saturating_sub(at)))
    }

    /// Sets a mark that is not set, if a batch of ours may be meant.
    fn mark(&self, mark: &AtomicU64) {
        if self.in_flight.load(Ordering::Relaxed) != 0 {
            let _ = mark.compare_exchange(0, self.now(), Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// A command was queued.
    pub(crate) fn arrive(&self) {
        if self.arrived.load(Ordering::Relaxed) == 0 {
            self.arrived.store(self.now(), Ordering::Relaxed);
        }
    }

    /// What is queued becomes a batch.
    pub(crate) fn submit(&self) {
        if let Some(waited) = self.since(&self.arrived) {
            self.queue.record(waited);
        }
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// What was appended since `appended` is flushed here.
    pub(crate) fn flush(&self, appended: Instant) {
        self.flush.record(appended.elapsed());
        self.mark(&self.flushed);
    }

    /// An entry with a batch is committed and will be applied.
    pub(crate) fn commit(&self) {
        if let Some(replicated) = self.since(&self.flushed) {
            self.replicate.record(replicated);
        }
    }

    /// It is applied.
    pub(crate) fn apply(&self) {
        self.mark(&self.applied);
    }

    /// Every command of the batch has its answer, or will never have one.
    pub(crate) fn reply(&self) {
        if let Some(replied) = self.since(&self.applied) {
            self.reply.record(replied);
        }
        if self.in_flight.fetch_sub(1, Ordering::Relaxed) == 1 {
            // What was never decided leaves nothing behind.
            self.flushed.store(0, Ordering::Relaxed);
            self.applied.store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use metrics::HistogramFn;

    use super::*;

    #[derive(Default)]
    struct Seen(Mutex<Vec<f64>>);

    impl HistogramFn for Seen {
        fn record(&self, value: f64) {
            self.0.lock().expect("whole").push(value);
        }
    }

    #[test]
    fn each_stage_of_a_batch_is_timed_once_and_a_followers_only_by_its_flush() {
        let seen: [Arc<Seen>; 4] = std::array::from_fn(|_| Arc::default());
        let [queue, flush, replicate, reply] = seen.clone().map(Histogram::from_arc);
        let timeline = Timeline::new(queue, flush, replicate, reply);
        let counts = || seen.each_ref().map(|stage| stage.0.lock().expect("whole").len());
        // An entry of another leader.
        timeline.flush(Instant::now());
        timeline.commit();
        timeline.apply();
        assert_eq!(counts(), [0, 1, 0, 0]);
        timeline.arrive();
        timeline.arrive();
        timeline.submit();
        timeline.arrive();
        timeline.flush(Instant::now());
        timeline.commit();
        timeline.apply();
        timeline.reply();
        assert_eq!(counts(), [1, 2, 1, 1]);
        // Two on their way: the first is timed, the second does not spoil it.
        timeline.submit();
        timeline.submit();
        timeline.flush(Instant::now());
        timeline.flush(Instant::now());
        timeline.commit();
        timeline.commit();
        timeline.apply();
        timeline.reply();
        timeline.reply();
        assert_eq!(counts(), [2, 4, 2, 2]);
        // A batch that was never decided leaves nothing behind.
        timeline.submit();
        timeline.flush(Instant::now());
        timeline.reply();
        timeline.submit();
        timeline.commit();
        timeline.reply();
        assert_eq!(counts(), [2, 5, 2, 2]);
    }
}
