//! A cluster in one process: each node with a runtime, a folder and a port of its own, so that one
//! can be killed without a word to the others.

use std::{
    future::Future,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use onsale_allocator::{Config, Error, Handle, ProposeError, Service, Surroundings};
use onsale_mesh::{Deadline, Node, ShardClient};
use onsale_proto::{
    allocator::{self as pb, command::Kind},
    id,
    keyed::Secret,
};
use onsale_state::{
    Command, CommandKind, Done, EventNo, Outcome,
    command::{Focus, OpenOnsale, RowSpec, Rules, SectionKind, SectionSpec},
};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::cluster_flush::StalledDisk;

/// Longest wait for anything; the machine may be very busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Cluster {
    _dir: TempDir,
    pub configs: Vec<Config>,
    /// The nodes' wall clocks, where they are not the system's.
    pub walls: Vec<Arc<Wall>>,
    /// The nodes' disks, where they are not just the system's.
    pub disks: Vec<StalledDisk>,
    pub nodes: Vec<Option<Running>>,
}

pub struct Running {
    runtime: Option<Runtime>,
    shutdown: CancellationToken,
    pub handle: Handle,
    ended: mpsc::Receiver<Result<(), Error>>,
    over: Arc<AtomicBool>,
}

impl Running {
    /// Whether the node has ended by itself; [`Running::ended`] says how.
    pub fn has_ended(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// What ended the node by itself.
    pub fn ended(&self) -> Result<(), Error> {
        self.ended.recv_timeout(PATIENCE).expect("the node ends")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub fn secret() -> Secret {
    Secret::new(&[7; 32]).expect("a secret")
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}

impl Cluster {
    /// The settings of a new cluster; nothing runs yet.
    pub fn new(nodes: u64, shards: u32) -> Cluster {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let list: Vec<Node> =
            (1..=nodes).map(|id| Node { id, grpc: free_address().to_string() }).collect();
        let configs = (1..=nodes).map(|id| Config {
            node: id,
            cluster: "test".to_owned(),
            nodes: list.clone(),
            shards,
            data_dir: dir.path().join(format!("node-{id}")),
            log_segment_bytes: 12 << 20,
            ..Config::default()
        });
        let configs: Vec<Config> = configs.collect();
        let nodes = (0..nodes).map(|_| None).collect();
        Cluster { _dir: dir, configs, walls: Vec::new(), disks: Vec::new(), nodes }
    }

    /// A new cluster, formed and with leaders.
    pub fn formed(nodes: u64, shards: u32) -> Cluster {
        let mut cluster = Cluster::new(nodes, shards);
        cluster.start_all();
        cluster
    }

    /// Starts every node that does not run and waits until all are ready.
    pub fn start_all(&mut self) {
        for at in 0..self.nodes.len() {
            if self.nodes[at].is_none() {
                self.start(at).expect("starts");
            }
        }
        self.wait_ready();
    }

    pub fn wait_ready(&self) {
        for node in self.nodes.iter().flatten() {
            eventually("a node is ready", || node.handle.is_ready().then_some(()));
        }
    }

    /// Starts one node; it may still wait for its peers. A folder that its killed predecessor has
    /// not let go of yet is tried again.
    pub fn start(&mut self, at: usize) -> Result<(), Error> {
        let running = start_node(&self.configs[at], || self.surroundings(at))?;
        self.nodes[at] = Some(running);
        Ok(())
    }

    fn surroundings(&self, at: usize) -> Surroundings {
        let mut surroundings = Surroundings::default();
        if let Some(wall) = self.walls.get(at).cloned() {
            surroundings.wall = Arc::new(move || wall.now_ms());
        }
        if let Some(disk) = self.disks.get(at).cloned() {
            surroundings.disk = Arc::new(disk);
        }
        surroundings
    }

    /// The settings of one more node that joins; its place.
    pub fn newcomer(&mut self, id: u64) -> usize {
        let own = Node { id, grpc: free_address().to_string() };
        let data_dir = self._dir.path().join(format!("node-{id}"));
        let mut config = Config { node: id, join: true, data_dir, ..self.configs[0].clone() };
        config.nodes.push(own);
        self.configs.push(config);
        self.nodes.push(None);
        self.configs.len() - 1
    }

    /// How many shards each running node leads, by its own word.
    pub fn leads(&self) -> Vec<usize> {
        let led = |node: &Running| node.handle.groups().iter().filter(|g| g.leads()).count();
        self.nodes.iter().flatten().map(led).collect()
    }

    /// Ends a node in the middle of whatever it does.
    pub fn kill(&mut self, at: usize) {
        self.nodes[at] = None;
    }

    /// Ends a node as an operator would.
    pub fn stop(&mut self, at: usize) {
        let node = self.nodes[at].take().expect("runs");
        node.shutdown.cancel();
        node.ended().expect("ends well");
    }

    pub fn handle(&self, at: usize) -> &Handle {
        &self.nodes[at].as_ref().expect("runs").handle
    }

    pub fn client(&self) -> ShardClient {
        ShardClient::new(self.configs[0].nodes.clone()).expect("a client")
    }

    pub fn folder(&self, at: usize) -> PathBuf {
        self.configs[at].data_dir.clone()
    }

    /// The place of the node that leads the shard, by its own word.
    pub fn leader(&self, shard: u32) -> usize {
        eventually("the shard has a leader", || {
            self.nodes.iter().position(|node| {
                node.as_ref()
                    .is_some_and(|node| node.handle.group(shard).is_some_and(|group| group.leads()))
            })
        })
    }

    /// Proposes to whoever leads, until there is an outcome.
    pub async fn propose(&self, shard: u32, kind: CommandKind) -> Outcome {
        let until = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < until, "no outcome in time");
            let node = &self.nodes[self.leader(shard)].as_ref().expect("runs").handle;
            let group = node.group(shard).expect("the shard");
            let command = Command { not_after_ms: 0, kind: kind.clone() };
            let deadline = Deadline::after(Duration::from_secs(2));
            match group.propose(command, deadline).await {
                Ok((_, outcome)) => return outcome,
                Err(ProposeError::Overloaded) => panic!("overloaded"),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Opens an onsale of `sections` sections with rows of ten seats.
    pub async fn open_onsale(&self, shard: u32, event: EventNo, sections: u16, rows: u16) {
        let outcome = self.propose(shard, onsale(event, sections, rows)).await;
        assert_eq!(outcome.result, Ok(Done::Ok));
    }

    /// Waits until every running node has applied the same entries of the shard; says the index.
    pub fn wait_equal(&self, shard: u32) -> u64 {
        let states = || -> Vec<(u64, [u8; 32])> {
            let groups = self.nodes.iter().flatten().filter_map(|node| node.handle.group(shard));
            groups.map(|group| group.read(|shard| (shard.last_index(), shard.chain()))).collect()
        };
        eventually("replicas are equal", || {
            let states = states();
            let equal = states.windows(2).all(|pair| pair[0].0 == pair[1].0);
            if equal {
                assert!(states.windows(2).all(|pair| pair[0] == pair[1]), "states differ");
            }
            equal.then(|| states[0].0)
        })
    }
}

fn start_node(config: &Config, surroundings: impl Fn() -> Surroundings) -> Result<Running, Error> {
    let until = Instant::now() + PATIENCE;
    loop {
        match try_start_in(config, surroundings()) {
            Err(Error::Log(error)) if error.to_string().contains("in use") => {
                assert!(Instant::now() < until, "the folder is never let go of");
                std::thread::sleep(Duration::from_millis(20));
            }
            other => return other,
        }
    }
}

/// A wall clock that can be wrong. It starts in 2027 and has nothing to do with the system's.
pub struct Wall {
    start: Instant,
    offset_ms: AtomicI64,
}

impl Wall {
    /// A right one for each of so many nodes.
    pub fn each(nodes: usize) -> Vec<Arc<Wall>> {
        let start = Instant::now();
        (0..nodes).map(|_| Arc::new(Wall { start, offset_ms: AtomicI64::new(0) })).collect()
    }

    /// What a right clock shows.
    pub fn true_ms(&self) -> u64 {
        1_800_000_000_000 + self.start.elapsed().as_millis() as u64
    }

    /// Makes it wrong by so much.
    pub fn set_off(&self, offset_ms: i64) {
        self.offset_ms.store(offset_ms, Ordering::Relaxed);
    }

    fn now_ms(&self) -> u64 {
        self.true_ms().saturating_add_signed(self.offset_ms.load(Ordering::Relaxed))
    }
}

pub fn try_start(config: &Config) -> Result<Running, Error> {
    try_start_in(config, Surroundings::default())
}

fn try_start_in(config: &Config, surroundings: Surroundings) -> Result<Running, Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let fatal = Arc::new(|reason: &str| eprintln!("fatal: {reason}"));
    let opening = Service::open_in(config.clone(), secret(), fatal, surroundings);
    let service = runtime.block_on(opening);
    let service = match service {
        Ok(service) => service,
        Err(error) => {
            runtime.shutdown_background();
            return Err(error);
        }
    };
    let address = config.nodes.iter().find(|node| node.id == config.node).expect("in the list");
    let address = address.grpc.clone();
    let listener = runtime.block_on(async {
        let until = Instant::now() + PATIENCE;
        loop {
            match tokio::net::TcpListener::bind(&address).await {
                Ok(listener) => return listener,
                Err(error) => {
                    assert!(Instant::now() < until, "{address}: {error}");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    });
    let shutdown = CancellationToken::new();
    let handle = service.handle();
    let (say, ended) = mpsc::channel();
    let over = Arc::new(AtomicBool::new(false));
    let ending = over.clone();
    let serving = onsale_mesh::server::serve_grpc(listener, service.routes(), shutdown.clone());
    runtime.spawn(serving);
    let until = shutdown.clone();
    runtime.spawn(async move {
        let _ = say.send(service.run(until).await);
        ending.store(true, Ordering::Relaxed);
    });
    Ok(Running { runtime: Some(runtime), shutdown, handle, ended, over })
}

/// Waits for something to be so.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Runs the test's own side on a runtime that no node shares.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(test)
}

pub fn onsale(event: EventNo, sections: u16, rows: u16) -> CommandKind {
    onsale_with_ttl(event, sections, rows, 600_000)
}

pub fn onsale_with_ttl(event: EventNo, sections: u16, rows: u16, ttl_ms: u32) -> CommandKind {
    let row = |no: u16| RowSpec { label: format!("R{no}").into(), seats: 10, ..RowSpec::default() };
    let section = |no: u16| SectionSpec {
        key: format!("S{no}").into(),
        category: 0,
        kind: SectionKind::Seated { rows: (1..=rows).map(row).collect() },
        focus: Focus::default(),
    };
    CommandKind::OpenOnsale(Box::new(OpenOnsale {
        event,
        event_id: format!("evt_{event}").into(),
        revision: 1,
        currency: *b"EUR",
        onsale_at_ms: 0,
        prices_minor: vec![5_000],
        offer: None,
        sections: (1..=sections).map(section).collect(),
        rules: Rules {
            seats_per_order_max: 8,
            seats_per_buyer_max: 0,
            hold_ttl_ms: ttl_ms,
            hold_extensions_max: 2,
            ..Rules::default()
        },
    }))
}

/// A hold of named seats, or of the best `quantity`; the same `key` is the same request.
pub fn hold(shard: u32, event: EventNo, key: u64, seats: &[u32], quantity: u32) -> pb::Command {
    let item = pb::HoldItem { seats: seats.to_vec(), quantity, ..pb::HoldItem::default() };
    let idempotency = pb::Idempotency {
        key: id::to_bytes(u128::from(key) << 64 | 0x1234_5678),
        request: key,
        buyer: key | 1 << 40,
        buyer_is_new: false,
    };
    pb::Command {
        kind: Some(Kind::Hold(pb::HoldCommand {
            types: Vec::new(),
            channel: None,
            code: bytes::Bytes::new(),
            event_no: event,
            hold_id: id::to_bytes(id::new_hold(shard).expect("randomness")),
            idempotency: Some(idempotency),
            items: vec![item],
        })),
    }
}

pub fn release(hold_id: &bytes::Bytes) -> pb::Command {
    let hold_id = hold_id.clone();
    pb::Command { kind: Some(Kind::ReleaseHold(pb::ReleaseHoldCommand { hold_id })) }
}

/// What was held, from an outcome.
pub fn held(outcome: pb::Outcome) -> pb::Held {
    match outcome.result {
        Some(pb::outcome::Result::Held(held)) => held,
        other => panic!("not held: {other:?}"),
    }
}

pub fn patient() -> Deadline {
    Deadline::after(PATIENCE)
}
