//! Owns the parts that run in this process and the order in which they stop: first what faces
//! buyers, then the workers behind it, last the replicas.
//!
//! Must never leave a part running unwatched: one that ends early ends the process.

use std::{future::Future, time::Duration};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{exit::Failed, stop};

/// How near a part is to buyers; nearer ones stop earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// Takes requests from outside.
    Front = 0,
    /// Works on what was taken.
    Middle = 1,
    /// Holds the state.
    State = 2,
    /// Carries calls between nodes, the last that a replica makes included.
    Back = 3,
}

const TIERS: usize = 4;

/// The running parts.
pub struct Assembly {
    stops: [CancellationToken; TIERS],
    parts: [JoinSet<Result<(), Failed>>; TIERS],
}

impl Assembly {
    /// Nothing runs yet.
    pub fn new() -> Assembly {
        Assembly {
            stops: std::array::from_fn(|_| CancellationToken::new()),
            parts: std::array::from_fn(|_| JoinSet::new()),
        }
    }

    /// The token that tells a tier's parts to stop.
    pub fn stop_of(&self, tier: Tier) -> CancellationToken {
        self.stops[tier as usize].clone()
    }

    /// Runs a part; it must end soon after its tier's token is cancelled, and not before.
    pub fn spawn(
        &mut self,
        tier: Tier,
        part: impl Future<Output = Result<(), Failed>> + Send + 'static,
    ) {
        self.parts[tier as usize].spawn(part);
    }

    /// Waits for `stop`, or for a part that ends early, then stops tier by tier.
    ///
    /// # Errors
    /// The first part's failure.
    pub async fn run_until(mut self, stop: CancellationToken) -> Result<(), Failed> {
        let early = {
            let [front, middle, state, back] = &mut self.parts;
            tokio::select! {
                () = stop.cancelled() => None,
                Some(ended) = front.join_next() => Some(ended),
                Some(ended) = middle.join_next() => Some(ended),
                Some(ended) = state.join_next() => Some(ended),
                Some(ended) = back.join_next() => Some(ended),
            }
        };
        let result = match early {
            None => Ok(()),
            Some(Ok(Err(failed))) => Err(failed),
            Some(Ok(Ok(()))) => Err(Failed::new("a part ended by itself")),
            Some(Err(error)) => Err(Failed::new(format!("a part panicked: {error}"))),
        };
        self.stop(stop::STOP_MAX).await;
        result
    }

    async fn stop(&mut self, within: Duration) {
        let all = async {
            for (stop, parts) in self.stops.iter().zip(&mut self.parts) {
                stop.cancel();
                while let Some(ended) = parts.join_next().await {
                    if let Ok(Err(failed)) = ended {
                        tracing::warn!(%failed, "a part did not stop cleanly");
                    }
                }
            }
        };
        if tokio::time::timeout(within, all).await.is_err() {
            tracing::warn!("some parts did not stop in time and are cut off");
        }
    }
}
