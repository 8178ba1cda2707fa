//! Owns what a node takes from the machine that it runs on, so that tests can give it another one.
//!
//! Must never decide anything.

use std::sync::Arc;

use crate::{
    log::{disk::Disk, real_disk::RealDisk},
    shard::log_time::WallClock,
};

/// What a node has around it; the system's by default.
pub struct Surroundings {
    /// Its wall clock.
    pub wall: WallClock,
    /// The disk of its log.
    pub disk: Arc<dyn Disk>,
}

impl Default for Surroundings {
    fn default() -> Self {
        let wall = Arc::new(onsale_proto::time::now_ms);
        Self { wall, disk: Arc::new(RealDisk::new()) }
    }
}
