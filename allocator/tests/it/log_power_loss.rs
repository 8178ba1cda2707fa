//! The power fails at every operation of the disk, and everything not flushed is forgotten.
//!
//! Random histories over several shards; after each crash the log must open, and what it holds must
//! be exactly what some prefix of the submitted records adds up to, not shorter than what was
//! acknowledged. The model below knows nothing of segments, frames or files.

#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, VecDeque},
    io::ErrorKind,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use onsale_allocator::log::{
    Done, Log, LogConfig, LogError, LogRecord, ShardLog, scan,
    sim_disk::{Fault, SimDisk},
};

use crate::log_common::{entry, sim_dir, small, wait};

const SHARDS: u16 = 3;

#[derive(Clone, Debug)]
enum Step {
    Vote(Bytes),
    Entry(LogRecord),
    Truncate(u64),
    Purge(u64, Bytes),
    Committed(u64, Bytes),
}

/// What a shard's log should hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    vote: Option<Bytes>,
    purged: Option<(u64, Bytes)>,
    committed: Option<(u64, Bytes)>,
    entries: VecDeque<LogRecord>,
}

impl Model {
    fn next(&self) -> u64 {
        let last = self.entries.back().map(|entry| entry.index);
        last.or(self.purged.as_ref().map(|purged| purged.0)).map_or(0, |index| index + 1)
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Vote(vote) => self.vote = Some(vote.clone()),
            Step::Entry(entry) => self.entries.push_back(entry.clone()),
            Step::Truncate(from) => self.entries.retain(|entry| entry.index < *from),
            Step::Committed(index, id) => self.committed = Some((*index, id.clone())),
            Step::Purge(to, id) => {
                self.purged = Some((*to, id.clone()));
                self.entries.retain(|entry| entry.index > *to);
            }
        }
    }

    fn of(log: &ShardLog) -> Self {
        let state = log.state();
        Self {
            vote: state.vote,
            purged: state.purged.map(|mark| (mark.index, mark.id)),
            committed: state.committed.map(|mark| (mark.index, mark.id)),
            entries: log.read(0..u64::MAX, usize::MAX).into(),
        }
    }
}

type Models = BTreeMap<u16, Model>;

/// Without the payloads.
fn outline(models: &Models) -> String {
    let mut text = String::new();
    for (shard, model) in models {
        let entries: Vec<String> =
            model.entries.iter().map(|entry| format!("{}:{}", entry.index, entry.term)).collect();
        let vote = model.vote.as_ref().and_then(|vote| vote.first());
        let purged = model.purged.as_ref().map(|mark| mark.0);
        let committed = model.committed.as_ref().map(|mark| mark.0);
        text += &format!("\n  {shard}: vote {vote:?} purged {purged:?} ");
        text += &format!("committed {committed:?} entries {entries:?}");
    }
    text
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

/// One history on one disk.
struct History {
    random: Random,
    disk: SimDisk,
    /// What the last recovery found.
    base: Models,
    /// What was submitted since, in order.
    steps: Vec<(u16, Step)>,
    /// What all that adds up to.
    now: Models,
    /// Committed marks that wait for the shard's next request.
    waiting: BTreeMap<u16, Step>,
    /// How many of `steps` were acknowledged; raised by callbacks.
    acknowledged: Arc<AtomicUsize>,
    term: u64,
    checks: u64,
}

impl History {
    fn new(seed: u64) -> Self {
        let models: Models = (1..=SHARDS).map(|shard| (shard, Model::default())).collect();
        Self {
            random: Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
            disk: SimDisk::new(seed),
            base: models.clone(),
            steps: Vec::new(),
            now: models,
            waiting: BTreeMap::new(),
            acknowledged: Arc::default(),
            term: 1,
            checks: 0,
        }
    }

    fn config() -> LogConfig {
        small(&sim_dir())
    }

    fn open(&self) -> Result<Log, LogError> {
        let disk = Arc::new(self.disk.clone());
        Log::open(Self::config(), disk, Arc::new(|_: &LogError| ())).map(|opened| opened.0)
    }

    fn take(&mut self, shard: u16, step: Step) {
        self.now.entry(shard).or_default().apply(&step);
        self.steps.push((shard, step));
    }

    /// The callback for everything submitted up to now: acknowledged once, in order.
    fn done(&self) -> Done {
        let (count, acknowledged) = (self.steps.len(), Arc::clone(&self.acknowledged));
        Box::new(move |result| {
            if result.is_ok() {
                assert!(acknowledged.swap(count, Ordering::SeqCst) <= count, "out of order");
            }
        })
    }

    /// One random request; false when it only remembered a committed mark.
    fn request(&mut self, log: &Log) -> bool {
        let shard = 1 + self.random.below(u64::from(SHARDS)) as u16;
        let handle = log.shard(shard);
        let model = self.now[&shard].clone();
        let first = model.entries.front().map(|entry| entry.index);
        let choice = self.random.below(20);
        if choice >= 18 {
            if let Some(first) = first {
                let index = first + self.random.below(model.next() - first);
                let id = Bytes::from(vec![index as u8; 24]);
                handle.save_committed(index, id.clone());
                self.waiting.insert(shard, Step::Committed(index, id));
            }
            return false;
        }
        if let Some(committed) = self.waiting.remove(&shard) {
            self.take(shard, committed);
        }
        match (choice, first) {
            (0..=2, _) => {
                self.term += 1;
                let vote = Bytes::from(self.term.to_le_bytes().to_vec());
                self.take(shard, Step::Vote(vote.clone()));
                handle.save_vote(vote, self.done());
            }
            (3..=4, Some(first)) => {
                let from = first + self.random.below(model.next() - first + 1);
                self.take(shard, Step::Truncate(from));
                handle.truncate_from(from, self.done());
            }
            (5..=7, Some(first)) => {
                // Sometimes past the end, as an installed snapshot does.
                let to = first + self.random.below(model.next() - first + 3);
                let id = Bytes::from(vec![to as u8; 24]);
                self.take(shard, Step::Purge(to, id.clone()));
                handle.purge_to(to, id, self.done());
            }
            _ => {
                let count = 1 + self.random.below(3);
                let term = self.term;
                let mut records = Vec::new();
                for index in model.next()..model.next() + count {
                    let bytes = 1 + self.random.below(1500) as usize;
                    let record = entry(shard, term, index, bytes);
                    self.take(shard, Step::Entry(record.clone()));
                    records.push(record);
                }
                handle.append(records, self.done());
            }
        }
        true
    }

    /// Requests, some waited for, some piled up, until there are enough or the log has stopped.
    fn run(&mut self, log: &Log, requests: u64) {
        for _ in 0..requests {
            let submitted = self.request(log);
            if submitted && self.random.below(3) > 0 {
                let shard = log.shard(1);
                self.term += 1;
                let vote = Bytes::from(self.term.to_le_bytes().to_vec());
                if let Some(committed) = self.waiting.remove(&1) {
                    self.take(1, committed);
                }
                self.take(1, Step::Vote(vote.clone()));
                let done = self.done();
                let answer = wait(|answered| {
                    let both = move |result: std::io::Result<()>| {
                        done(result.as_ref().map(|_| ()).map_err(|e| e.kind().into()));
                        answered(result);
                    };
                    shard.save_vote(vote, Box::new(both));
                });
                if answer.is_err() {
                    return;
                }
            }
        }
    }

    /// Compares with every prefix that may be there; goes on from the one that is.
    fn check(&mut self, log: &Log, context: &str) {
        let found: Models = (1..=SHARDS).map(|no| (no, Model::of(&log.shard(no)))).collect();
        let acknowledged = self.acknowledged.load(Ordering::SeqCst);
        let mut models = self.base.clone();
        for (place, (shard, step)) in self.steps.iter().enumerate() {
            if place >= acknowledged && models == found {
                break;
            }
            models.entry(*shard).or_default().apply(step);
        }
        let steps = self.steps.len();
        assert!(
            models == found,
            "{context}: acknowledged {acknowledged} of {steps}\nexpected {}\nfound {}",
            outline(&models),
            outline(&found)
        );
        self.now = found.clone();
        self.base = found;
        self.steps.clear();
        self.waiting.clear();
        self.acknowledged = Arc::default();
        self.checks += 1;
    }

    fn forget(&mut self, context: &str) {
        // A kill leaves the page cache alone; it makes nothing durable either.
        if self.random.below(4) == 0 {
            self.disk.kill();
        } else {
            self.disk.power_loss();
        }
        let report = scan(&sim_dir(), &self.disk, &mut |_| ()).unwrap();
        assert_eq!(report.damage, [], "{context}");
    }
}

/// Runs a history, with a fault at an operation of the first life; then more crashes, one of them
/// during the opening; everything checked. Returns operations of the first life and checks made.
fn play(seed: u64, fault: Option<(u64, Fault)>) -> (u64, u64) {
    let context = format!("seed {seed}, fault {fault:?}");
    let mut history = History::new(seed);
    if let Some((operation, fault)) = fault {
        history.disk.plan(operation, fault);
    }
    if let Ok(log) = history.open() {
        history.run(&log, 14);
        drop(log);
    }
    let operations = history.disk.operations();
    for life in 0..3 {
        history.forget(&context);
        // The opening itself may be cut short, again and again.
        if life > 0 {
            let crash = history.disk.operations() + history.random.below(9);
            history.disk.plan(crash, Fault::Crash);
        }
        match history.open() {
            Ok(log) => {
                history.check(&log, &context);
                history.run(&log, 4);
            }
            Err(LogError::Damaged(damage)) => panic!("{context}: a crash looks like {damage}"),
            Err(_) => assert!(life > 0, "{context}: nothing was planned"),
        }
    }
    history.forget(&context);
    let log = history.open().unwrap_or_else(|error| panic!("{context}: {error}"));
    history.check(&log, &context);
    (operations, history.checks)
}

/// Every operation of some histories, on a few threads.
fn play_all(seeds: std::ops::Range<u64>, fault: Fault) -> (u64, u64) {
    let mut crashes = 0;
    let mut checks = 0;
    for seed in seeds {
        let (operations, _) = play(seed, None);
        for operation in 0..operations + 3 {
            checks += play(seed, Some((operation, fault))).1;
            crashes += 1;
        }
    }
    (crashes, checks)
}

#[test]
fn nothing_acknowledged_is_lost_when_the_power_fails_at_any_operation() {
    let (crashes, checks) = play_all(0..60, Fault::Crash);
    println!("{crashes} crash points, {checks} recoveries compared");
    assert!(crashes > 3000 && checks > crashes);
}

#[test]
fn nothing_acknowledged_is_lost_when_any_operation_fails() {
    for (seeds, kind) in [(100..115, ErrorKind::Other), (115..130, ErrorKind::StorageFull)] {
        let (errors, checks) = play_all(seeds, Fault::Error(kind));
        assert!(errors > 700 && checks > errors, "{errors} {checks}");
    }
}

#[test]
fn requests_that_pile_up_survive_together_or_not_at_all() {
    // Many requests in one frame, the frame torn: none of them may be half there.
    for seed in 500..700 {
        let mut history = History::new(seed);
        let log = history.open().unwrap();
        let crash = history.disk.operations() + 1 + history.random.below(12);
        history.disk.plan(crash, Fault::Crash);
        for _ in 0..30 {
            history.request(&log);
        }
        drop(log);
        history.forget("piled up");
        let log = history.open().unwrap();
        history.check(&log, "piled up");
    }
}
