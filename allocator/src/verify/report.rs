//! Owns what a verification says, for people and for scripts.
//!
//! Must never carry personal data or a payload.

use std::{fmt, path::PathBuf};

use serde::{Serialize, Serializer};

/// What came out of a verification.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// One per folder, as they were named.
    pub replicas: Vec<ReplicaReport>,
    /// Where replicas contradict each other.
    pub differences: Vec<Difference>,
}

/// What one folder holds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ReplicaReport {
    /// The folder.
    pub dir: PathBuf,
    /// There is neither log nor snapshot.
    pub is_empty: bool,
    /// Whose folder it is.
    pub node: Option<u64>,
    /// What does not read back.
    pub damage: Vec<Finding>,
    /// What is normal but worth knowing, e.g. a write that a crash interrupted.
    pub notes: Vec<String>,
    /// Its shards.
    pub shards: Vec<ShardReport>,
}

/// Data that does not read back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which file.
    pub file: PathBuf,
    /// Byte offset in it.
    pub offset: u64,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

/// From where on a shard was recomputed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// From its first entry.
    FirstEntry,
    /// From a snapshot that ends at this index; what came before it is gone.
    Snapshot(u64),
}

/// One shard of a folder.
#[derive(Clone, Debug, Serialize)]
pub struct ShardReport {
    /// Its number.
    pub shard: u16,
    /// From where on it was recomputed.
    pub proof: Proof,
    /// Entries applied again.
    pub entries: u64,
    /// Commands in them.
    pub commands: u64,
    /// Index up to which everything was recomputed.
    pub verified_to: u64,
    /// Index up to which entries are known to be committed.
    pub committed: u64,
    /// Entries beyond that: the cluster may or may not have decided them.
    pub undecided: Option<Undecided>,
    /// Snapshots that the recomputed state was compared with.
    pub snapshots_compared: u64,
    /// The hash chain at `verified_to`.
    #[serde(serialize_with = "hex")]
    pub chain: [u8; 32],
    /// Log time at `verified_to`.
    pub log_time_ms: u64,
    /// Events, live holds, orders.
    pub counts: [usize; 3],
    /// Broken invariants.
    pub broken: Vec<Broken>,
}

/// Entries that are in the log but not known to be committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Undecided {
    /// The first index.
    pub first: u64,
    /// The last index.
    pub last: u64,
}

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// Its number, e.g. `INV-1`.
    pub id: String,
    /// After which entry it was seen.
    pub index: u64,
    /// What is wrong.
    pub detail: String,
}

/// Two replicas that contradict each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Which shard.
    pub shard: u16,
    /// The first index at which they differ.
    pub index: u64,
    /// The one.
    pub one: PathBuf,
    /// The other.
    pub other: PathBuf,
}

impl Report {
    /// Whether everything that is there is as it must be.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.differences.is_empty() && self.replicas.iter().all(ReplicaReport::is_sound)
    }

    /// 0 all is well, 3 a folder holds nothing, 5 something is broken.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        if !self.is_sound() {
            return 5;
        }
        let nothing = self.replicas.is_empty() || self.replicas.iter().any(|one| one.is_empty);
        if nothing { 3 } else { 0 }
    }
}

impl ReplicaReport {
    /// Whether everything in this folder is as it must be.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damage.is_empty() && self.shards.iter().all(|shard| shard.broken.is_empty())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for replica in &self.replicas {
            write!(f, "{replica}")?;
        }
        for it in &self.differences {
            writeln!(
                f,
                "BROKEN INV-6 shard {} entry {}: {} and {} have different histories",
                it.shard,
                it.index,
                it.one.display(),
                it.other.display()
            )?;
        }
        match self.exit_code() {
            0 => writeln!(f, "sound: every checksum, invariant and hash chain holds"),
            3 => writeln!(f, "nothing to verify in at least one folder"),
            _ => writeln!(f, "BROKEN: see above"),
        }
    }
}

impl fmt::Display for ReplicaReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = self.node.map(|node| format!(" (node {node})")).unwrap_or_default();
        writeln!(f, "{}{node}", self.dir.display())?;
        if self.is_empty {
            writeln!(f, "  neither log nor snapshots here")?;
        }
        for shard in &self.shards {
            writeln!(f, "  {shard}")?;
            for it in &shard.broken {
                writeln!(f, "  BROKEN {} after entry {}: {}", it.id, it.index, it.detail)?;
            }
        }
        for note in &self.notes {
            writeln!(f, "  note: {note}")?;
        }
        for it in &self.damage {
            let file = it.file.display();
            writeln!(f, "  DAMAGED {file}: offset {}: {}", it.offset, it.what)?;
            writeln!(f, "    remedy: {}", it.remedy)?;
        }
        Ok(())
    }
}

impl fmt::Display for ShardReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [events, holds, orders] = self.counts;
        write!(
            f,
            "shard {}: {} entries with {} commands ",
            self.shard, self.entries, self.commands
        )?;
        match self.proof {
            Proof::FirstEntry => write!(f, "from the first entry")?,
            Proof::Snapshot(index) => write!(f, "from the snapshot at {index}")?,
        }
        write!(
            f,
            " to {}; {events} events, {holds} live holds, {orders} orders",
            self.verified_to
        )?;
        if self.snapshots_compared > 0 {
            write!(f, "; {} snapshots compared", self.snapshots_compared)?;
        }
        if let Some(Undecided { first, last }) = self.undecided {
            write!(f, "; entries {first} to {last} undecided")?;
        }
        write!(f, "; chain {}", to_hex(&self.chain[..8]))
    }
}

fn hex<S: Serializer>(bytes: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&to_hex(bytes))
}

fn to_hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
