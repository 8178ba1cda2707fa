//! Owns the command line: names, flags, help (contract §1).
//!
//! Must never read files or the network: it only says what was asked.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Ticketing for flash sales: every seat sold exactly once.
#[derive(Debug, Parser)]
#[command(name = "onsale", version, about, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Everything on this machine: replicas, sandbox payments, three events on sale.
    #[command(after_help = "Example: onsale demo --data-dir ./data\n\
        Prints `ready URL` on stdout when it answers; addresses and keys on stderr.")]
    Demo(DemoArgs),
    /// One node of a cluster.
    #[command(
        after_help = "Example: onsale config template > node.toml; onsale run --config node.toml"
    )]
    Run(RunArgs),
    /// Look after a running cluster.
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Proves from the files of stopped replicas that every rule was kept; exit 5 if not.
    Verify {
        /// Folders of replicas, e.g. data/node-1 data/node-2.
        #[arg(required = true, value_name = "DIR")]
        dirs: Vec<PathBuf>,
        /// One JSON document on stdout.
        #[arg(long)]
        json: bool,
    },
    /// The configuration file of `onsale run`.
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Keep everything here; without it, in a temporary folder that is removed at the end.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Public HTTP.
    #[arg(long, default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// /livez, /readyz, /metrics.
    #[arg(long, default_value = "127.0.0.1:8081")]
    pub ops_listen: SocketAddr,
    /// gRPC for internal services.
    #[arg(long, default_value = "127.0.0.1:8082")]
    pub grpc_listen: SocketAddr,
    /// Copies of everything: 1, 3 or 5.
    #[arg(long, default_value_t = 3, value_parser = replicas)]
    pub replicas: u64,
    /// Each replica is an operating system process of its own.
    #[arg(long)]
    pub processes: bool,
    /// A replica process that died stays dead.
    #[arg(long, requires = "processes")]
    pub no_respawn: bool,
    /// No per-client rate limit and no waiting room: for load tests.
    #[arg(long)]
    pub no_limits: bool,
    /// No seeded events.
    #[arg(long)]
    pub empty: bool,
}

#[derive(Debug, Args)]
pub struct RunArgs {
    /// The node's TOML file; `onsale config template` prints one.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// What this node does; none named means everything.
    #[arg(long = "role", value_enum)]
    pub roles: Vec<Role>,
    /// End when stdin ends: for a parent process that must not leave orphans.
    #[arg(long, hide = true)]
    pub stop_with_parent: bool,
}

/// What a node can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Holds replicas of the shards.
    Allocator,
    /// Lists and searches events.
    Catalog,
    /// Talks to the payment gateway.
    Payments,
    /// Serves buyers over HTTP.
    Edge,
}

#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Nodes, leaders and how far behind each replica is.
    Status {
        /// Any node of the cluster.
        #[arg(long, default_value = "127.0.0.1:8082", value_name = "HOST:PORT")]
        grpc: String,
        /// One JSON document on stdout.
        #[arg(long)]
        json: bool,
    },
    /// Hands a shard's lead to another node; writes wait for some milliseconds.
    TransferLeader {
        /// Which shard.
        #[arg(long)]
        shard: u32,
        /// To which node.
        #[arg(long, value_name = "NODE")]
        to: u64,
        /// Any node of the cluster.
        #[arg(long, default_value = "127.0.0.1:8082", value_name = "HOST:PORT")]
        grpc: String,
        /// One JSON document on stdout.
        #[arg(long)]
        json: bool,
    },
    /// Adds a node to a running cluster: it catches up, then votes. May be repeated.
    #[command(after_help = "First start the node with cluster.join = true; its cluster.nodes \
        names nodes of the cluster and itself.\n\
        Example: onsale cluster add-replica --node 4 --grpc 10.0.0.4:8082")]
    AddReplica {
        /// The node's number; one that was never in use.
        #[arg(long)]
        node: u64,
        /// Where the other nodes reach it.
        #[arg(long, value_name = "HOST:PORT")]
        grpc: String,
        /// Whom to ask: any node of the cluster; without it, the node that is added.
        #[arg(long, value_name = "HOST:PORT")]
        at: Option<String>,
        /// One JSON document on stdout.
        #[arg(long)]
        json: bool,
    },
    /// Takes a node out of the cluster; refused where no majority would live. May be repeated.
    RemoveReplica {
        /// The node's number; it is never used again.
        #[arg(long)]
        node: u64,
        /// Any node of the cluster.
        #[arg(long, default_value = "127.0.0.1:8082", value_name = "HOST:PORT")]
        grpc: String,
        /// One JSON document on stdout.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Prints a commented file with every setting's default.
    Template,
    /// Says everything that is wrong with a file; exit 2 if anything is.
    Check {
        /// The file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Prints the values in force and where each comes from; secrets are redacted.
    Print {
        /// The file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// One JSON document on stdout.
        #[arg(long)]
        json: bool,
    },
}

fn replicas(text: &str) -> Result<u64, String> {
    match text {
        "1" => Ok(1),
        "3" => Ok(3),
        "5" => Ok(5),
        _ => Err("a majority needs an odd number: 1, 3 or 5".to_owned()),
    }
}
