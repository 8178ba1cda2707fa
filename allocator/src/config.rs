//! Owns a node's settings, and says everything that is wrong with them at once.
//!
//! Must never read the environment or a file: the binary does that. Must never hold a secret.

use std::path::PathBuf;

use onsale_mesh::Node;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::limits;

/// A node of the allocator cluster.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// This node's number, one of `nodes`.
    pub node: u64,
    /// The cluster's name; nodes of another name are refused.
    pub cluster: String,
    /// All nodes of the cluster, this one included.
    pub nodes: Vec<Node>,
    /// This node joins a running cluster; `nodes` are some of its nodes and this one.
    pub join: bool,
    /// Selling shards, fixed when the cluster is formed; the control group is shard 0 besides.
    pub shards: u32,
    /// Where this node keeps its log, snapshots and identity.
    pub data_dir: PathBuf,
    /// Size of a log segment in bytes.
    pub log_segment_bytes: u64,
    /// Entries after which a shard is snapshotted.
    pub snapshot_entries: u64,
    /// Log segments past which the shard that holds back the oldest one is snapshotted.
    pub log_segments_max: usize,
    /// Bytes of a shard's entries in memory past which the shard is snapshotted.
    pub log_memory_bytes_max: usize,
    /// Age in seconds of the oldest segment past which its holder is snapshotted, too.
    pub log_age_seconds_max: u64,
    /// Commands that wait for one shard's batcher; past it they are refused as `overloaded`.
    pub queue_commands_max: usize,
    /// How often a leader shows that it lives, in milliseconds.
    pub heartbeat_ms: u64,
    /// How long a follower keeps to a silent leader, in milliseconds; the first in line asks for
    /// the lead right after.
    pub election_ms: u64,
    /// Bounds of a shard's state, fixed when the cluster is formed.
    pub limits: StateLimits,
}

/// Bounds of a shard's state that are policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StateLimits {
    /// Idempotency keys remembered at once.
    pub dedup_entries_max: u32,
    /// Events of one shard.
    pub events_max: u32,
    /// Live holds of one shard.
    pub holds_max: u32,
    /// Orders of one shard.
    pub orders_max: u32,
    /// Longest time a payment may keep a hold from expiring, in milliseconds of log time.
    pub payment_fence_max_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            node: 1,
            cluster: "onsale".to_owned(),
            nodes: Vec::new(),
            join: false,
            shards: 4,
            data_dir: PathBuf::from("data/allocator"),
            log_segment_bytes: 64 << 20,
            snapshot_entries: 20_000,
            log_segments_max: 16,
            log_memory_bytes_max: 128 << 20,
            log_age_seconds_max: 12 * 60 * 60,
            queue_commands_max: limits::QUEUE_COMMANDS_MAX,
            heartbeat_ms: 60,
            election_ms: 300,
            limits: StateLimits::default(),
        }
    }
}

impl Default for StateLimits {
    fn default() -> Self {
        let limits = onsale_state::Limits::default();
        Self {
            dedup_entries_max: limits.dedup_entries_max,
            events_max: limits.events_max,
            holds_max: limits.holds_max,
            orders_max: limits.orders_max,
            payment_fence_max_ms: limits.payment_fence_max_ms,
        }
    }
}

impl From<StateLimits> for onsale_state::Limits {
    fn from(limits: StateLimits) -> Self {
        Self {
            dedup_entries_max: limits.dedup_entries_max,
            events_max: limits.events_max,
            holds_max: limits.holds_max,
            orders_max: limits.orders_max,
            payment_fence_max_ms: limits.payment_fence_max_ms,
        }
    }
}

impl Config {
    /// Everything that is wrong, one sentence each; empty when the settings can be used.
    #[must_use]
    pub fn check(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut demand = |holds: bool, sentence: String| {
            if !holds {
                wrong.push(sentence);
            }
        };
        let name_bytes = self.cluster.len();
        demand(
            (1..=limits::CLUSTER_NAME_BYTES_MAX).contains(&name_bytes),
            format!("cluster must have 1 to {} bytes", limits::CLUSTER_NAME_BYTES_MAX),
        );
        demand(
            (1..=limits::NODES_MAX).contains(&self.nodes.len()),
            format!("nodes must be 1 to {}", limits::NODES_MAX),
        );
        let mut ids: Vec<u64> = self.nodes.iter().map(|node| node.id).collect();
        ids.sort_unstable();
        demand(!ids.contains(&0), "nodes: ids count from 1".to_owned());
        demand(
            ids.windows(2).all(|pair| pair[0] != pair[1]),
            "nodes: each id may stand once".to_owned(),
        );
        demand(ids.contains(&self.node), format!("node {} does not stand in nodes", self.node));
        for node in &self.nodes {
            let checked = is_address(&node.grpc);
            demand(checked, format!("nodes: {} is not host:port", node.grpc));
        }
        demand(
            (1..=limits::SHARDS_MAX).contains(&self.shards),
            format!("shards must be 1 to {}", limits::SHARDS_MAX),
        );
        demand(!self.data_dir.as_os_str().is_empty(), "data_dir must be a folder".to_owned());
        demand(
            (limits::LOG_SEGMENT_BYTES_MIN..=1 << 30).contains(&self.log_segment_bytes)
                && self.log_segment_bytes.is_multiple_of(4096),
            "log_segment_bytes must be 10 MiB to 1 GiB and a multiple of 4096".to_owned(),
        );
        demand(self.snapshot_entries >= 100, "snapshot_entries must be at least 100".to_owned());
        demand(self.log_segments_max >= 2, "log_segments_max must be at least 2".to_owned());
        demand(
            self.log_memory_bytes_max >= 1 << 20,
            "log_memory_bytes_max must be at least 1 MiB".to_owned(),
        );
        demand(
            self.log_age_seconds_max >= 60,
            "log_age_seconds_max must be at least 60".to_owned(),
        );
        demand(
            (1..=1 << 20).contains(&self.queue_commands_max),
            "queue_commands_max must be 1 to 1,048,576".to_owned(),
        );
        demand(
            (10..=10_000).contains(&self.heartbeat_ms),
            "heartbeat_ms must be 10 to 10,000".to_owned(),
        );
        demand(
            self.election_ms >= 3 * self.heartbeat_ms,
            "election_ms must be at least three times heartbeat_ms".to_owned(),
        );
        wrong
    }

    /// What all nodes of the cluster must agree on, as one short text.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut ids: Vec<u64> = self.nodes.iter().map(|node| node.id).collect();
        ids.sort_unstable();
        let agreed = format!(
            "onsale cluster v1\n{}\n{ids:?}\n{}\n{:?}",
            self.cluster, self.shards, self.limits
        );
        short_digest(&agreed)
    }

    /// What a node that joins must agree on, as one short text.
    #[must_use]
    pub fn settings_fingerprint(&self) -> String {
        let agreed =
            format!("onsale node v1\n{}\n{}\n{:?}", self.cluster, self.shards, self.limits);
        short_digest(&agreed)
    }

    /// The nodes' ids, ascending.
    #[must_use]
    pub fn node_ids(&self) -> Vec<u64> {
        let mut ids: Vec<u64> = self.nodes.iter().map(|node| node.id).collect();
        ids.sort_unstable();
        ids
    }
}

fn short_digest(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// `host:port` with a port that one can connect to.
fn is_address(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Config {
        let node = |id: u64| Node { id, grpc: format!("127.0.0.1:{}", 7000 + id) };
        Config { nodes: vec![node(1), node(2), node(3)], ..Config::default() }
    }

    #[test]
    fn good_settings_have_no_faults_and_bad_ones_are_all_named() {
        assert_eq!(three().check(), Vec::<String>::new());
        let bad =
            Config { node: 9, cluster: String::new(), shards: 0, election_ms: 100, ..three() };
        let wrong = bad.check();
        assert_eq!(wrong.len(), 4, "{wrong:?}");
    }

    #[test]
    fn the_fingerprint_ignores_order_and_addresses_but_not_limits() {
        let one = three();
        let mut other = three();
        other.nodes.reverse();
        other.nodes[0].grpc = "elsewhere:1".to_owned();
        other.node = 2;
        assert_eq!(one.fingerprint(), other.fingerprint());
        other.limits.holds_max = 7;
        assert_ne!(one.fingerprint(), other.fingerprint());
    }
}
