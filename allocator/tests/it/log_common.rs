//! What the log's tests share.

#![allow(clippy::unwrap_used)]

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
};

use bytes::Bytes;
use onsale_allocator::log::{
    Done, FatalHook, Log, LogConfig, LogError, LogRecord, Recovered, disk::Disk,
};
use parking_lot::Mutex;

/// Errors that a log reported as fatal.
pub type Fatals = Arc<Mutex<Vec<String>>>;

/// A hook that remembers instead of ending the process.
pub fn remember() -> (FatalHook, Fatals) {
    let fatals = Fatals::default();
    let hook = Arc::clone(&fatals);
    (Arc::new(move |error: &LogError| hook.lock().push(error.to_string())), fatals)
}

/// Small segments, everything on the writer's thread.
pub fn small(dir: &Path) -> LogConfig {
    LogConfig {
        segment_bytes: 16 << 10,
        flush_bytes_max: 4096,
        background: false,
        ..LogConfig::new(dir)
    }
}

/// The folder of tests on a simulated disk.
pub fn sim_dir() -> PathBuf {
    PathBuf::from("/sim/log")
}

/// Opens and expects that to work.
pub fn open(config: LogConfig, disk: &(impl Disk + Clone)) -> (Log, Recovered) {
    try_open(config, disk).unwrap()
}

/// Opens with a hook that does nothing.
pub fn try_open(
    config: LogConfig,
    disk: &(impl Disk + Clone),
) -> Result<(Log, Recovered), LogError> {
    Log::open(config, Arc::new(disk.clone()), Arc::new(|_: &LogError| ()))
}

/// An entry whose payload has no zero byte and depends on everything.
pub fn entry(shard: u16, term: u64, index: u64, bytes: usize) -> LogRecord {
    let seed = u64::from(shard) * 7 + term * 31 + index * 131;
    let payload: Bytes = (0..bytes as u64).map(|n| ((seed + n) % 255) as u8 + 1).collect();
    LogRecord { term, index, origin: 1 + term % 3, tag: (index % 3) as u8, payload }
}

/// Entries of one term.
pub fn entries(shard: u16, term: u64, range: std::ops::Range<u64>, bytes: usize) -> Vec<LogRecord> {
    range.map(|index| entry(shard, term, index, bytes)).collect()
}

/// Waits for the callback of what `submit` starts.
pub fn wait(submit: impl FnOnce(Done)) -> io::Result<()> {
    let (sender, receiver) = mpsc::channel();
    submit(Box::new(move |result| sender.send(result).unwrap()));
    receiver.recv().unwrap()
}
