//! Owns a breaker: after failures in a row its gate is shut for a while, then one call probes.
//!
//! Must never count a refusal as a failure: only a peer that does not answer sensibly is one.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// How the gate stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Calls go through.
    Open,
    /// No calls until the pause is over.
    Shut,
    /// One call is under way to find out.
    Probing,
}

/// Counts failures in a row and decides whether a call may be made.
#[derive(Debug)]
pub struct Breaker {
    failures_max: u32,
    pause_first: Duration,
    pause_max: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    failures: u32,
    shut_until: Option<Instant>,
    pause: Duration,
    probing: bool,
}

impl Breaker {
    /// Shuts after `failures_max` in a row, first for `pause_first`, then twice as long each time
    /// a probe fails, up to `pause_max`.
    #[must_use]
    pub fn new(failures_max: u32, pause_first: Duration, pause_max: Duration) -> Breaker {
        let state = State { failures: 0, shut_until: None, pause: pause_first, probing: false };
        Breaker { failures_max, pause_first, pause_max, state: Mutex::new(state) }
    }

    /// Whether a call may be made now; after a pause, one caller gets to probe.
    pub fn allow(&self) -> bool {
        let mut state = self.state.lock();
        match state.shut_until {
            None => true,
            Some(until) if Instant::now() >= until && !state.probing => {
                state.probing = true;
                true
            }
            Some(_) => false,
        }
    }

    /// The call was answered.
    pub fn succeeded(&self) {
        let mut state = self.state.lock();
        *state = State { failures: 0, shut_until: None, pause: self.pause_first, probing: false };
    }

    /// The call was not answered, or with nonsense.
    pub fn failed(&self) {
        let mut state = self.state.lock();
        state.failures = state.failures.saturating_add(1);
        if state.probing {
            state.pause = (state.pause * 2).min(self.pause_max);
        }
        if state.probing || state.failures >= self.failures_max {
            state.shut_until = Some(Instant::now() + state.pause);
        }
        state.probing = false;
    }

    /// How the gate stands, for metrics.
    #[must_use]
    pub fn gate(&self) -> Gate {
        let state = self.state.lock();
        match (state.shut_until, state.probing) {
            (None, _) => Gate::Open,
            (Some(_), true) => Gate::Probing,
            (Some(_), false) => Gate::Shut,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_gate_shuts_after_failures_and_one_call_probes() {
        let breaker = Breaker::new(2, Duration::from_secs(1), Duration::from_secs(3));
        breaker.failed();
        assert!(breaker.allow());
        breaker.failed();
        assert!(!breaker.allow());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(breaker.allow());
        assert_eq!(breaker.gate(), Gate::Probing);
        assert!(!breaker.allow(), "only one probes");
        breaker.failed();
        tokio::time::advance(Duration::from_millis(1_900)).await;
        assert!(!breaker.allow(), "the pause has doubled");
        tokio::time::advance(Duration::from_millis(200)).await;
        assert!(breaker.allow());
        breaker.succeeded();
        assert_eq!(breaker.gate(), Gate::Open);
        assert!(breaker.allow() && breaker.allow());
    }
}
