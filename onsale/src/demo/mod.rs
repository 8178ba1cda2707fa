//! Owns `onsale demo`: every role on this machine, three replicas, the payment sandbox, three
//! events on sale. A newcomer's first command, and what the load harness runs against.
//!
//! Must never take a short cut past gRPC or the log: what it shows is what a cluster does.

mod folder;
mod processes;
mod seed;

use std::{io::Write as _, net::SocketAddr, time::Duration};

use onsale_mesh::{Node, ShardClient, ops, server, telemetry, telemetry::LogFormat};
use onsale_payments::sandbox;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    assembly::{Assembly, Tier},
    cli::DemoArgs,
    config::Settings,
    demo::folder::Folder,
    exit::{Exit, Failed},
    roles::{self, Roles},
    stop,
};

/// Selling shards of the demo.
const SHARDS: u32 = 4;
/// What one address may ask for in a second (contract).
const RATE_PER_SECOND: u32 = 300;
/// How often readiness is looked at.
const READY_POLL: Duration = Duration::from_millis(10);
const CLUSTER: &str = "onsale-demo";

/// Runs the demo until it is told to stop.
pub async fn demo(args: DemoArgs) -> Result<Exit, Failed> {
    let filter =
        std::env::var("ONSALE_LOG__FILTER").unwrap_or_else(|_| "warn,openraft=error".to_owned());
    telemetry::init(LogFormat::Auto, &filter);
    // Before the parts start: what they register earlier is lost.
    let metrics = telemetry::install_metrics()?;
    let stop = stop::on_signal()?;
    let folder = Folder::open(args.data_dir.clone(), args.replicas)?;
    let secret = roles::read_secret(&folder.secret_file())?;
    let mut demo = Demo::bind(&args, folder).await?;
    let mut assembly = Assembly::new();
    let readiness = ops::Readiness::default();

    demo.start_replicas(&args, &secret, &mut assembly).await?;
    demo.start_sandbox(&mut assembly)?;
    let ops_stop = assembly.stop_of(Tier::Back);
    let ops_listener = demo.ops.take().ok_or_else(|| Failed::new("started twice"))?;
    tokio::spawn(ops::serve(ops_listener, Some(metrics), readiness.clone(), ops_stop));

    let client = ShardClient::new(demo.nodes.clone())?;
    let settings = demo.settings(&args, None);
    tokio::spawn(client.clone().keep_current());
    let mut roles = Roles {
        assembly: &mut assembly,
        client: client.clone(),
        settings: &settings,
        readiness: &readiness,
        health: server::HealthReporter::new(),
        secret,
    };
    let mut routes = server::merge(roles.front()?, roles.catalog()?);
    routes = server::merge(routes, roles.payments()?);
    let edge = demo.edge.take().ok_or_else(|| Failed::new("started twice"))?;
    roles.edge(edge)?;
    let grpc = demo.grpc.take().ok_or_else(|| Failed::new("started twice"))?;
    roles::serve_grpc(&mut assembly, Tier::Middle, grpc, routes);

    let seeded = readiness.part("events");
    let (keys, empty, listen) = (settings.keys.clone(), args.empty, args.listen);
    tokio::spawn(async move {
        roles::install_keys(client.clone(), keys.clone()).await;
        seed::wait_until_known(listen, &keys).await;
        if !empty {
            seed::seed(&client).await;
            seed::wait_until_listed(listen).await;
        }
        seeded.set(true);
    });
    tokio::spawn(announce(readiness, demo.banner(&args), args.listen, stop.clone()));
    assembly.run_until(stop).await?;
    demo.folder.close();
    Ok(Exit::Done)
}

/// Everything that is bound and known before the parts start.
struct Demo {
    folder: Folder,
    nodes: Vec<Node>,
    replicas: Vec<Option<TcpListener>>,
    sandbox: Option<TcpListener>,
    sandbox_url: String,
    edge: Option<TcpListener>,
    ops: Option<TcpListener>,
    grpc: Option<TcpListener>,
}

impl Demo {
    async fn bind(args: &DemoArgs, folder: Folder) -> Result<Demo, Failed> {
        let edge = roles::bind(args.listen, "--listen").await?;
        let ops = roles::bind(args.ops_listen, "--ops-listen").await?;
        let grpc = roles::bind(args.grpc_listen, "--grpc-listen").await?;
        let ports = folder.ports();
        let (sandbox, address) = bind_near(ports.first().copied().unwrap_or(0)).await?;
        let mut used = vec![address.port()];
        let (mut nodes, mut replicas) = (Vec::new(), Vec::new());
        for id in 1..=args.replicas {
            let place = usize::try_from(id).unwrap_or(0);
            let (listener, address) = bind_near(ports.get(place).copied().unwrap_or(0)).await?;
            nodes.push(Node { id, grpc: address.to_string() });
            used.push(address.port());
            replicas.push(Some(listener));
        }
        folder.keep_ports(&used)?;
        Ok(Demo {
            folder,
            nodes,
            replicas,
            sandbox: Some(sandbox),
            sandbox_url: format!("http://{address}"),
            edge: Some(edge),
            ops: Some(ops),
            grpc: Some(grpc),
        })
    }

    /// The settings of a replica, or of the roles around them.
    fn settings(&self, args: &DemoArgs, replica: Option<&Node>) -> Settings {
        let credentials = self.folder.credentials();
        Settings {
            node: replica.map_or(1, |node| node.id),
            data_dir: match replica {
                Some(node) => self.folder.node_dir(node.id),
                None => self.folder.dir().to_owned(),
            },
            grpc_listen: args.grpc_listen,
            ops_listen: args.ops_listen,
            cluster: CLUSTER.to_owned(),
            nodes: self.nodes.clone(),
            join: false,
            shards: SHARDS,
            secret_file: self.folder.secret_file(),
            log_segment_bytes: 16 << 20,
            snapshot_entries: 50_000,
            edge_listen: args.listen,
            public_url: format!("http://{}", args.listen),
            rate_per_second: (!args.no_limits).then_some(RATE_PER_SECOND),
            connections_max: 15_000,
            connections_per_address_max: None,
            trusted_proxies: Vec::new(),
            catalog: None,
            payments: None,
            gateway_url: self.sandbox_url.clone(),
            gateway_key: credentials.gateway_key.clone(),
            webhook_secret: credentials.webhook_secret.clone(),
            gateway_rate_max: None,
            signing_key_file: self.folder.dir().join("ticket-signing-key"),
            keys: credentials.keys(),
            log_format: LogFormat::Auto,
            log_filter: "warn,openraft=error".to_owned(),
        }
    }

    async fn start_replicas(
        &mut self,
        args: &DemoArgs,
        secret: &onsale_proto::keyed::Secret,
        assembly: &mut Assembly,
    ) -> Result<(), Failed> {
        if args.processes {
            // The processes bind the ports themselves.
            self.replicas.clear();
            let all: Vec<Settings> =
                self.nodes.iter().map(|node| self.settings(args, Some(node))).collect();
            let stop = assembly.stop_of(Tier::Back);
            let keeper = processes::Keeper::new(&self.folder, &all, !args.no_respawn)?;
            assembly.spawn(Tier::Back, keeper.run(stop));
            return Ok(());
        }
        for (node, listener) in self.nodes.clone().iter().zip(std::mem::take(&mut self.replicas)) {
            let settings = self.settings(args, Some(node));
            let readiness = ops::Readiness::default();
            let mut roles = Roles {
                assembly,
                client: ShardClient::new(self.nodes.clone())?,
                settings: &settings,
                readiness: &readiness,
                health: server::HealthReporter::new(),
                secret: secret.clone(),
            };
            let routes = roles.allocator().await?;
            if let Some(listener) = listener {
                roles::serve_grpc(assembly, Tier::Back, listener, routes);
            }
        }
        Ok(())
    }

    fn start_sandbox(&mut self, assembly: &mut Assembly) -> Result<(), Failed> {
        let credentials = self.folder.credentials();
        let config = sandbox::Config {
            gateway_key: credentials.gateway_key.clone(),
            webhook_secret: credentials.webhook_secret.clone(),
            webhook_url: self
                .edge
                .as_ref()
                .and_then(|edge| edge.local_addr().ok())
                .map(|edge| format!("http://{edge}/webhooks/stripe")),
            data_dir: Some(self.folder.dir().join("sandbox")),
            ..sandbox::Config::default()
        };
        self.folder.write_credentials(&self.sandbox_url)?;
        let listener = self.sandbox.take().ok_or_else(|| Failed::new("started twice"))?;
        let stop = assembly.stop_of(Tier::Back);
        assembly.spawn(Tier::Back, async move {
            let served = sandbox::run(config, listener, stop).await;
            served.map_err(|error| Failed::new(format!("sandbox: {error}")))
        });
        Ok(())
    }

    /// Addresses and keys for people.
    fn banner(&self, args: &DemoArgs) -> String {
        let credentials = self.folder.credentials();
        let rows = [
            ("buyers", format!("http://{}", args.listen)),
            ("API docs", format!("http://{}/docs", args.listen)),
            ("operators", format!("http://{}/metrics", args.ops_listen)),
            ("gRPC", args.grpc_listen.to_string()),
            ("payment sandbox", self.sandbox_url.clone()),
            ("organizer key", credentials.organizer_key.clone()),
            ("support key", credentials.support_key.clone()),
            ("folder", self.folder.dir().display().to_string()),
        ];
        let lines: String =
            rows.iter().map(|(name, value)| format!("  {name:<16} {value}\n")).collect();
        format!("\nonsale demo, {} replicas\n{lines}", self.nodes.len())
    }
}

/// Prints the table and the `ready` line once every part can serve.
async fn announce(
    readiness: ops::Readiness,
    banner: String,
    listen: SocketAddr,
    stop: CancellationToken,
) {
    while !readiness.is_ready() {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(READY_POLL) => {}
        }
    }
    eprintln!("{banner}");
    // A script that closed our stdout does not want to know.
    let _ = writeln!(std::io::stdout(), "ready http://{listen}");
}

/// Binds the port of last time if it is free, else any.
async fn bind_near(port: u16) -> Result<(TcpListener, SocketAddr), Failed> {
    let failed = |error| Failed::new(format!("no port on 127.0.0.1: {error}"));
    let listener = match TcpListener::bind(("127.0.0.1", port)).await {
        Ok(listener) => listener,
        Err(_) => TcpListener::bind(("127.0.0.1", 0)).await.map_err(failed)?,
    };
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}
