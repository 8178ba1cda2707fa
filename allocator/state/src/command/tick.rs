//! `Tick`: nothing but the passing of time, which every entry brings.

use crate::{
    outcome::{Done, Outcome},
    shard::Shard,
};

impl Shard {
    pub(crate) fn tick(&mut self) -> Outcome {
        Outcome::done(Done::Ok)
    }
}
