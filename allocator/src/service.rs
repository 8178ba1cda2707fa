//! Owns a node of the allocator from its folder to its gRPC routes: opening, running, ending.
//!
//! Must never end the process itself except through the fatal hook, nor serve before the folder is
//! known to be this node's.

use std::{path::Path, sync::Arc, time::Duration};

use onsale_mesh::{Failure, ShardClient, limits::MESSAGE_BYTES_MAX};
use onsale_proto::{
    allocator::{
        allocator_service_server::AllocatorServiceServer,
        cluster_service_server::ClusterServiceServer, control_service_server::ControlServiceServer,
        job_service_server::JobServiceServer, organizer_service_server::OrganizerServiceServer,
        raft_service_server::RaftServiceServer, support_service_server::SupportServiceServer,
    },
    keyed::Secret,
};
use onsale_state::{Shard, ShardNo};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::{server::NamedService, service::Routes};
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{
    Config, Error, Surroundings,
    care::Care,
    checkpoints::Comparer,
    log::{Log, LogConfig, LogError, Recovered, disk::Disk},
    metrics::ShardMetrics,
    raft::{self, Replica, make_dir_durable, network::Peers},
    rpc::{cluster::ClusterApi, feed::FeedServer, node::Node, raft::RaftApi},
    shard::{
        Group, Groups,
        group::State,
        hand_over::Leads,
        leadership::keep_leaders,
        log_time::Clocks,
        placement::{Identity, Standing},
    },
};

/// Called once when this node cannot go on: its disk failed or a replica ended. Ends the process
/// unless a test passes its own.
pub type FatalHook = Arc<dyn Fn(&str) + Send + Sync>;

/// What health is told of: the node, and its services by name.
const SERVICES: [&str; 9] = [
    "",
    <AllocatorServiceServer<()> as NamedService>::NAME,
    <JobServiceServer<()> as NamedService>::NAME,
    <ControlServiceServer<()> as NamedService>::NAME,
    <ClusterServiceServer<()> as NamedService>::NAME,
    <RaftServiceServer<()> as NamedService>::NAME,
    <OrganizerServiceServer<()> as NamedService>::NAME,
    <SupportServiceServer<()> as NamedService>::NAME,
    FeedServer::NAME,
];

/// What a process ends with when its storage failed.
const EXIT_STORAGE: i32 = 70;

/// A node, opened.
pub struct Service {
    config: Config,
    handle: Handle,
    client: ShardClient,
    log: Arc<Log>,
    clocks: Clocks,
    peers: Peers,
    secret: Secret,
    tasks: JoinSet<()>,
    fatal: FatalHook,
    health: HealthReporter,
    node: Node,
    leads: Leads,
    leave: CancellationToken,
}

/// What others may ask of a running node. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    groups: Groups,
    standing: Arc<Standing>,
}

impl Handle {
    /// Waits until every shard has a leader that this node knows.
    pub async fn ready(&self) {
        let mut formed = self.standing.formed();
        let _ = formed.wait_for(|formed| *formed).await;
        for group in self.groups.iter() {
            let mut changes = group.replica().changes();
            while group.leader() == 0 {
                if !changes.next().await {
                    return;
                }
            }
        }
    }

    /// Whether every shard has a leader that this node knows.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.standing.is_formed() && self.groups.iter().all(|group| group.leader() != 0)
    }

    /// All shards on this node, the control group (0) first.
    #[must_use]
    pub fn groups(&self) -> &Groups {
        &self.groups
    }

    /// One shard on this node.
    #[must_use]
    pub fn group(&self, shard: u32) -> Option<&Group> {
        self.groups.get(shard as usize)
    }
}

impl Service {
    /// Opens the folder, reads the log and snapshots back, and starts the replicas. A fatal error
    /// later ends the process.
    ///
    /// # Errors
    /// Wrong settings, a folder in use or of another node, damage; each says what to do.
    pub async fn open(config: Config, secret: Secret) -> Result<Service, Error> {
        let fatal = |reason: &str| {
            tracing::error!("{reason}; this process ends");
            std::process::exit(EXIT_STORAGE);
        };
        Service::open_with(config, secret, Arc::new(fatal)).await
    }

    /// Like [`Self::open`], with what happens on a fatal error.
    ///
    /// # Errors
    /// Like [`Self::open`].
    pub async fn open_with(
        config: Config,
        secret: Secret,
        fatal: FatalHook,
    ) -> Result<Service, Error> {
        Service::open_in(config, secret, fatal, Surroundings::default()).await
    }

    /// Like [`Self::open_with`], in other surroundings than the system's.
    ///
    /// # Errors
    /// Like [`Self::open`].
    pub async fn open_in(
        config: Config,
        secret: Secret,
        fatal: FatalHook,
        surroundings: Surroundings,
    ) -> Result<Service, Error> {
        let clocks = Clocks::new(surroundings.wall);
        let wrong = config.check();
        if !wrong.is_empty() {
            return Err(Error::Config(wrong));
        }
        let (log, recovered) = open_log(&config, surroundings.disk, fatal.clone()).await?;
        let identity = identity(&config, &recovered)?;
        let standing = Arc::new(Standing::new(&config, identity.as_ref()));
        let limits = identity.map_or(config.limits, |identity| identity.limits);
        let unusable = |failure: Failure| Error::Config(vec![failure.to_string()]);
        let peers = Peers::new(&config.cluster, &config.nodes, clocks.clone());
        let peers = peers.map_err(unusable)?;
        let client = ShardClient::new(config.nodes.clone()).map_err(unusable)?;
        let mut tasks = JoinSet::new();
        let mut groups = Vec::new();
        for no in 0..=config.shards {
            let no = ShardNo::try_from(no).unwrap_or(ShardNo::MAX);
            let shards = ShardNo::try_from(config.shards).unwrap_or(ShardNo::MAX);
            let shard = Shard::new(no, shards, limits.into());
            let opened = Opened { config: &config, log: &log, peers: &peers, clocks: &clocks };
            groups.push(opened.group(shard, &mut tasks).await?);
        }
        let health = HealthReporter::new();
        let handle = Handle { groups: groups.into(), standing };
        let leads = Leads {
            groups: handle.groups.clone(),
            standing: handle.standing.clone(),
            client: client.clone(),
            peers: peers.clone(),
        };
        let node = Node::new(handle.groups.clone(), client.clone(), &config.cluster);
        Ok(Service {
            config,
            handle,
            client,
            log: Arc::new(log),
            clocks,
            peers,
            secret,
            tasks,
            fatal,
            health,
            node,
            leads,
            leave: CancellationToken::new(),
        })
    }

    /// This node's services; health and reflection are the server's (`onsale_mesh::server`).
    #[must_use]
    pub fn routes(&self) -> Routes {
        let groups = self.handle.groups.clone();
        let raft = RaftApi {
            cluster: self.config.cluster.clone(),
            groups: groups.clone(),
            clocks: self.clocks.clone(),
            identified: self.handle.standing.identified(),
        };
        let raft = RaftServiceServer::new(raft)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let cluster = ClusterApi { leads: self.leads.clone() };
        let routes = self.node.routes(self.secret.clone());
        routes.add_service(raft).add_service(ClusterServiceServer::new(cluster))
    }

    /// What others may ask of this node.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Tells this reporter of the node (""), of each service by its name, and of each shard
    /// (`shard-N`) whether it is served.
    #[must_use]
    pub fn reporting_to(mut self, health: HealthReporter) -> Service {
        self.health = health;
        self
    }

    /// Hands over what this node leads as soon as this is cancelled; without it, once it stops.
    #[must_use]
    pub fn leaving_at(mut self, leave: CancellationToken) -> Service {
        self.leave = leave;
        self
    }

    /// Forms or joins the cluster, and keeps the node going until `shutdown`. The routes must be
    /// served meanwhile: peers ask.
    ///
    /// # Errors
    /// Why the node must not be part of the cluster (see design D19), or what ended it.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), Error> {
        let mut tasks = std::mem::take(&mut self.tasks);
        let ended = tokio::select! {
            biased;
            () = shutdown.cancelled() => {
                self.leads.leave().await;
                Ok(())
            }
            // Before the tasks: it knows why a replica ended.
            ended = Box::pin(self.live()) => ended,
            // They go on as long as their replica; without its batcher a leader would refuse all.
            Some(task) = tasks.join_next() => Err(ended_task(task)),
        };
        if let Err(
            error @ (Error::Replica { .. }
            | Error::Task { .. }
            | Error::Diverged { .. }
            | Error::Divided { .. }),
        ) = &ended
        {
            (self.fatal)(&error.to_string());
        }
        for group in self.handle.groups.iter() {
            group.replica().shutdown().await;
        }
        tasks.shutdown().await;
        if let Some(log) = Arc::into_inner(self.log) {
            let _ = tokio::task::spawn_blocking(move || log.shutdown()).await;
        }
        ended
    }

    async fn live(&self) -> Result<(), Error> {
        let standing = &self.handle.standing;
        let forming = async {
            standing.form(&self.client, &self.handle.groups).await?;
            self.remember_members().await
        };
        let (config, groups) = (&self.config, &self.handle.groups);
        let peers = &self.peers;
        let comparer = Comparer { node: config.node, peers, groups };
        let care = Care { config, log: &self.log, groups };
        let leaving = async {
            self.leave.cancelled().await;
            self.leads.leave().await;
            std::future::pending::<()>().await;
        };
        let electing =
            keep_leaders(standing.node, self.handle.groups.clone(), self.config.election_ms);
        tokio::select! {
            failed = forming => failed,
            () = leaving => Ok(()),
            () = electing => Ok(()),
            () = self.leads.clone().keep_spread() => Ok(()),
            () = self.client.clone().keep_current() => Ok(()),
            failed = watch_replicas(&self.handle.groups) => Err(failed),
            () = self.report_health() => Ok(()),
            () = self.node.clone().run(CancellationToken::new()) => Ok(()),
            differs = comparer.run() => Err(differs),
            () = care.run() => Ok(()),
        }
    }

    /// Writes down who the members are whenever that changes. Ends with a failure only.
    async fn remember_members(&self) -> Result<(), Error> {
        let Some(control) = self.handle.groups.first() else {
            return std::future::pending().await;
        };
        let mut changes = control.replica().changes();
        loop {
            let members = control.replica().members();
            if !members.nodes.is_empty() {
                let nodes: Vec<u64> = members.nodes.keys().copied().collect();
                self.handle.standing.remember_members(&nodes)?;
            }
            if !changes.next().await {
                return std::future::pending().await;
            }
        }
    }

    /// Says of each shard whether it is served, to whoever asks for health.
    async fn report_health(&self) {
        let mut every = tokio::time::interval(Duration::from_millis(250));
        let mut said: Vec<Option<bool>> = vec![None; self.handle.groups.len() + SERVICES.len()];
        loop {
            every.tick().await;
            let ready = self.handle.is_ready();
            let services = SERVICES.iter().map(|name| ((*name).to_owned(), ready));
            let shards = self.handle.groups.iter();
            let shards = shards.map(|group| (format!("shard-{}", group.no()), group.leader() != 0));
            for (said, (name, ready)) in said.iter_mut().zip(services.chain(shards)) {
                if *said != Some(ready) {
                    *said = Some(ready);
                    let serving =
                        if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
                    self.health.set_service_status(name, serving).await;
                }
            }
        }
    }
}

/// What opening a shard needs.
struct Opened<'a> {
    config: &'a Config,
    log: &'a Log,
    peers: &'a Peers,
    clocks: &'a Clocks,
}

impl Opened<'_> {
    async fn group(&self, shard: Shard, tasks: &mut JoinSet<()>) -> Result<Group, Error> {
        let config = self.config;
        let no = shard.shard();
        let metrics = ShardMetrics::new(no);
        let state = State::new(config.node, shard, self.clocks.clone(), metrics.clone());
        let state = Arc::new(state);
        let parts = raft::Parts {
            shard_no: no,
            node: config.node,
            data_dir: &config.data_dir,
            heartbeat_ms: config.heartbeat_ms,
            election_ms: config.election_ms,
            snapshot_entries: config.snapshot_entries,
            log: self.log.shard(no),
            shard: state.shard(),
            observer: state.clone(),
            peers: self.peers.clone(),
            metrics: metrics.clone(),
        };
        let replica = Replica::start(parts).await?;
        Ok(Group::start(no, state, replica, config.queue_commands_max, metrics, tasks))
    }
}

fn ended_task(task: Result<(), tokio::task::JoinError>) -> Error {
    let reason = task.err().map_or_else(|| "it is over".to_owned(), |error| error.to_string());
    Error::Task { reason }
}

/// Waits until a replica has ended; says why.
async fn watch_replicas(groups: &Groups) -> Error {
    let watching = groups.iter().map(|group| {
        Box::pin(async move {
            let mut changes = group.replica().changes();
            loop {
                if let Some(reason) = group.status().ended {
                    return Error::Replica { shard: group.no().into(), reason };
                }
                if !changes.next().await {
                    let reason = "the replica has ended".to_owned();
                    return Error::Replica { shard: group.no().into(), reason };
                }
            }
        })
    });
    futures_util::future::select_all(watching).await.0
}

async fn open_log(
    config: &Config,
    disk: Arc<dyn Disk>,
    fatal: FatalHook,
) -> Result<(Log, Recovered), Error> {
    let dir = config.data_dir.join("log");
    let segment_bytes = config.log_segment_bytes;
    let opening = tokio::task::spawn_blocking(move || {
        make_dir_durable(&dir).map_err(|error| Error::io(&dir, error))?;
        let log = LogConfig { segment_bytes, ..LogConfig::new(dir) };
        let hook = Arc::new(move |error: &LogError| fatal(&error.to_string()));
        Ok(Log::open(log, disk, hook)?)
    });
    opening.await.map_err(|error| Error::Other(format!("opening the log: {error}")))?
}

/// Whose folder this is; `None` when it is empty.
fn identity(config: &Config, recovered: &Recovered) -> Result<Option<Identity>, Error> {
    let has_data = !recovered.shards.is_empty() || has_snapshots(&config.data_dir);
    let identity = Identity::read(&config.data_dir)?;
    match &identity {
        Some(identity) => {
            identity.check(config)?;
            // Every shard of a formed cluster has voted here. Snapshots without the log are no
            // whole folder either: a vote given before could be given again.
            let voted = |no: u32| {
                let log = ShardNo::try_from(no).ok().and_then(|no| recovered.shards.get(&no));
                log.is_some_and(|log| log.vote.is_some())
            };
            if identity.formed && !(0..=identity.shards).all(voted) {
                let other = config.nodes.iter().find(|node| node.id != config.node);
                return Err(Error::Emptied {
                    node: config.node,
                    cluster: config.cluster.clone(),
                    folder: config.data_dir.join("log"),
                    peer: config.node,
                    ask: other.map_or_else(|| "HOST:PORT".to_owned(), |node| node.grpc.clone()),
                });
            }
        }
        None if has_data => {
            return Err(Error::Other(format!(
                "{} has a log or snapshots but no identity.json: it is not a whole folder of a \
                 node; restore the file, or replace this replica with `onsale cluster \
                 remove-replica` and `add-replica`",
                config.data_dir.display()
            )));
        }
        None => {}
    }
    Ok(identity)
}

fn has_snapshots(data_dir: &Path) -> bool {
    let shards = std::fs::read_dir(data_dir.join("snapshots"));
    shards
        .into_iter()
        .flatten()
        .flatten()
        .any(|shard| std::fs::read_dir(shard.path()).is_ok_and(|mut files| files.next().is_some()))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_node_whose_batcher_is_gone_ends_instead_of_refusing_everybody() {
        let dir = tempfile::tempdir().expect("a folder");
        let config = Config {
            nodes: vec![onsale_mesh::Node { id: 1, grpc: "127.0.0.1:7001".to_owned() }],
            shards: 1,
            data_dir: dir.path().to_owned(),
            log_segment_bytes: 12 << 20,
            ..Config::default()
        };
        let told = Arc::new(AtomicBool::new(false));
        let hook = told.clone();
        let fatal = Arc::new(move |_: &str| hook.store(true, Ordering::Relaxed));
        let secret = Secret::new(&[7; 32]).expect("a secret");
        let mut service = Service::open_with(config, secret, fatal).await.expect("opens");
        service.tasks.abort_all();
        let ended = service.run(CancellationToken::new()).await.expect_err("ends");
        assert!(matches!(ended, Error::Task { .. }), "{ended}");
        assert!(told.load(Ordering::Relaxed), "the process ends");
    }
}
