//! Owns one follower's way through the feed: what it has, what it gets next, when it must start
//! again.
//!
//! Must never hold more than a handful of messages: the rest stays in the shared memory.

use std::collections::VecDeque;

use bytes::Bytes;
use onsale_state::LogTimeMs;
use tokio::{sync::watch, time::Instant};

use super::{Hub, Look, Place, Snapshot, encode};
use crate::limits::{FEED_BURST_MAX, FEED_CATCH_UP_MAX, FEED_QUIET_MAX, FEED_SILENCE_MAX};

/// A follower of a shard's feed: encoded `FollowResponse`s, one after the other.
pub struct Subscription {
    hub: Hub,
    _place: Place,
    news: watch::Receiver<u64>,
    ready: VecDeque<Bytes>,
    position: u64,
    log_time_ms: LogTimeMs,
    spoke_at: Instant,
    /// Until when this replica may still reach the position.
    catch_up_until: Instant,
    over: bool,
}

impl Subscription {
    pub(super) fn resume(hub: Hub, place: Place, news: watch::Receiver<u64>, from: u64) -> Self {
        let now = Instant::now();
        Self {
            hub,
            _place: place,
            news,
            ready: VecDeque::new(),
            position: from,
            log_time_ms: 0,
            spoke_at: now,
            catch_up_until: now + FEED_CATCH_UP_MAX,
            over: false,
        }
    }

    pub(super) fn start(
        hub: Hub,
        place: Place,
        news: watch::Receiver<u64>,
        snapshot: Snapshot,
    ) -> Self {
        let mut follower = Self::resume(hub, place, news, snapshot.index);
        follower.log_time_ms = snapshot.log_time_ms;
        follower.ready = snapshot.messages.into();
        follower
    }

    /// The index after the last message that was given out or lies ready.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Whether a message lies ready to be taken.
    #[must_use]
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The next message; waits for it. After a `reset` there is none.
    ///
    /// Cancel safe: nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                self.spoke_at = Instant::now();
                return Some(message);
            }
            if self.over {
                return None;
            }
            self.news.borrow_and_update();
            let now = Instant::now();
            let wake_at = match self.hub.look(self.position, FEED_BURST_MAX) {
                Look::Entries(messages, index, log_time_ms) => {
                    self.ready = messages.into();
                    self.move_on(index, log_time_ms);
                    continue;
                }
                Look::Gone(index, log_time_ms) => {
                    self.give_up(index, log_time_ms);
                    continue;
                }
                Look::Ahead(index, log_time_ms) if now >= self.catch_up_until => {
                    self.give_up(index, log_time_ms);
                    continue;
                }
                Look::Ahead(..) => self.catch_up_until,
                Look::Nothing(index, log_time_ms) => {
                    let news = index > self.position || log_time_ms > self.log_time_ms;
                    let pause = if news { FEED_QUIET_MAX } else { FEED_SILENCE_MAX };
                    if now >= self.spoke_at + pause {
                        self.ready.push_back(encode::nothing(index, log_time_ms));
                        self.move_on(index, log_time_ms);
                        continue;
                    }
                    // Entries without changes wake nobody: they are looked for.
                    (self.spoke_at + pause).min(now + FEED_QUIET_MAX)
                }
            };
            self.wait(wake_at).await;
        }
    }

    async fn wait(&mut self, until: Instant) {
        tokio::select! {
            changed = self.news.changed() => self.over |= changed.is_err(),
            () = tokio::time::sleep_until(until) => {}
        }
    }

    fn move_on(&mut self, index: u64, log_time_ms: LogTimeMs) {
        let now = Instant::now();
        self.position = index;
        self.log_time_ms = log_time_ms;
        self.catch_up_until = now + FEED_CATCH_UP_MAX;
    }

    fn give_up(&mut self, index: u64, log_time_ms: LogTimeMs) {
        self.hub.inner.metrics.resets.increment(1);
        self.ready.push_back(encode::reset(index, log_time_ms));
        self.over = true;
    }
}
