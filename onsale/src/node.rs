//! Owns `onsale run`: one node of a cluster, with the roles it was given.
//!
//! Must never have a code path of its own that the demo does not take: both use [`Roles`].

use onsale_mesh::{
    ShardClient, ops,
    server::{self, HealthReporter},
    telemetry,
};

use crate::{
    assembly::{Assembly, Tier},
    cli::{Role, RunArgs},
    config,
    exit::{Exit, Failed},
    roles::{self, Roles},
    stop,
};

/// Runs the node until it is told to stop.
pub async fn run(args: RunArgs) -> Result<Exit, Failed> {
    let settings = config::load(&args.config).map_err(Failed::usage)?;
    telemetry::init(settings.log_format, &settings.log_filter);
    let stop = stop::on_signal()?;
    if args.stop_with_parent {
        stop::with_parent(stop.clone());
    }
    let secret = roles::read_secret(&settings.secret_file)?;
    let metrics = telemetry::install_metrics()?;
    let has = |role| args.roles.contains(&role) || args.roles.is_empty();
    let readiness = ops::Readiness::default();
    let mut assembly = Assembly::new();

    let ops_listener = roles::bind(settings.ops_listen, "node.ops_listen").await?;
    let grpc_listener = roles::bind(settings.grpc_listen, "node.grpc_listen").await?;
    let edge_listener = match has(Role::Edge) {
        true => Some(roles::bind(settings.edge_listen, "edge.listen").await?),
        false => None,
    };
    let ops_stop = assembly.stop_of(Tier::Back);
    tokio::spawn(ops::serve(ops_listener, Some(metrics), readiness.clone(), ops_stop));

    let client = ShardClient::new(settings.nodes.clone())?;
    let mut roles = Roles {
        assembly: &mut assembly,
        client: client.clone(),
        settings: &settings,
        readiness: &readiness,
        health: HealthReporter::new(),
        secret,
    };
    let mut routes = match has(Role::Allocator) {
        true => roles.allocator().await?,
        false => roles.front()?,
    };
    if has(Role::Catalog) {
        routes = server::merge(routes, roles.catalog()?);
    }
    if has(Role::Payments) {
        routes = server::merge(routes, roles.payments()?);
    }
    if let Some(listener) = edge_listener {
        roles.edge(listener)?;
    }
    tokio::spawn(client.clone().keep_current());
    tokio::spawn(roles::install_keys(client, settings.keys.clone()));
    roles::serve_grpc(&mut assembly, Tier::Back, grpc_listener, routes);
    tracing::info!(node = settings.node, grpc = %settings.grpc_listen, "started");
    assembly.run_until(stop).await?;
    Ok(Exit::Done)
}
