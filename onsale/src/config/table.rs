//! Owns the one table of settings; the template, the checks and `docs/configuration.md` follow it.
//!
//! Must never contain a default that is unsafe for money: durability has no switch.

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// `table.name`.
    pub path: &'static str,
    /// As TOML; also says the type.
    pub default: &'static str,
    /// What it is, with unit and range.
    pub doc: &'static str,
    /// Never printed.
    pub secret: bool,
}

const fn setting(path: &'static str, default: &'static str, doc: &'static str) -> Setting {
    Setting { path, default, doc, secret: false }
}

const fn secret(path: &'static str, doc: &'static str) -> Setting {
    Setting { path, default: "\"\"", doc, secret: true }
}

/// Every setting, in the order of the template.
pub const SETTINGS: &[Setting] = &[
    setting("node.id", "1", "This node's number in cluster.nodes, from 1."),
    setting("node.data_dir", "\"/var/lib/onsale\"", "Folder of this node's log and snapshots."),
    setting(
        "node.grpc_listen",
        "\"127.0.0.1:8082\"",
        "gRPC for other nodes and internal services.",
    ),
    setting("node.ops_listen", "\"127.0.0.1:8081\"", "/livez, /readyz and /metrics."),
    setting("cluster.name", "\"onsale\"", "Nodes of another name are refused."),
    setting(
        "cluster.nodes",
        "[\"1=127.0.0.1:8082\"]",
        "Every allocator node as \"number=host:port\"; an odd number, the same on all nodes.",
    ),
    setting(
        "cluster.join",
        "false",
        "true: this node is added to a running cluster with `onsale cluster add-replica`;\n\
         cluster.nodes names nodes of that cluster and this one.",
    ),
    setting(
        "cluster.shards",
        "4",
        "Shards that sell events, 1 to 256; fixed when the cluster forms.",
    ),
    setting(
        "cluster.secret_file",
        "\"/etc/onsale/secret\"",
        "At least 32 random bytes, the same file on all nodes; tokens and sessions hang on it.\n\
         Make one: head -c 32 /dev/urandom > secret",
    ),
    setting("allocator.log_segment_bytes", "67108864", "Size of a log file, 10 MiB to 1 GiB."),
    setting("allocator.snapshot_entries", "50000", "Log entries between two snapshots of a shard."),
    setting("edge.listen", "\"127.0.0.1:8080\"", "Public HTTP."),
    setting("edge.public_url", "\"\"", "What buyers type; empty means http:// and edge.listen."),
    setting("edge.rate_per_second", "300", "Requests a second of one address; 0 is no limit."),
    setting(
        "edge.connections_max",
        "15000",
        "Open connections; more are refused at once. 0 is no limit.",
    ),
    setting(
        "edge.connections_per_address_max",
        "4096",
        "Open connections of one address; 0 is no limit.",
    ),
    setting(
        "edge.trusted_proxies",
        "[]",
        "Proxies whose X-Forwarded-For is believed: addresses or networks like 10.0.0.0/8.",
    ),
    setting("edge.catalog", "\"\"", "host:port of a catalog; empty means this node."),
    setting("edge.payments", "\"\"", "host:port of a payments node; empty means this node."),
    setting("payments.gateway_url", "\"https://api.stripe.com\"", "The gateway's address."),
    secret("payments.gateway_key", "The gateway's secret key."),
    secret("payments.webhook_secret", "With which the gateway signs its webhooks."),
    setting("payments.gateway_rate_max", "25", "Calls a second to the gateway; 0 is no limit."),
    setting(
        "payments.signing_key_file",
        "\"/etc/onsale/ticket-signing-key\"",
        "Ed25519 seed with which tickets are signed; made on first start if it is missing.",
    ),
    secret("keys.organizer", "An organizer's API key to install at start, at least 20 characters."),
    secret("keys.support", "A support API key to install at start."),
    secret("keys.finance", "A finance API key to install at start."),
    secret("keys.operator", "An operator API key to install at start."),
    setting("log.format", "\"auto\"", "auto (JSON unless on a terminal), json or text."),
    setting(
        "log.filter",
        "\"info,openraft=error\"",
        "Levels, e.g. info or info,onsale_edge=debug.",
    ),
];
