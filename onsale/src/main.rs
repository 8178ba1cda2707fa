//! `onsale`: one binary, every role (design D17). Reads the command line and does what it says.
//!
//! Must never hold logic of a role: those live in their crates; here they are wired.

mod assembly;
mod cli;
mod cluster;
mod config;
mod demo;
mod exit;
mod memory;
mod node;
mod roles;
mod stop;
mod verify;

use std::process::ExitCode;

use clap::Parser as _;

use crate::{
    cli::{Cli, Command, ConfigCommand},
    exit::{Exit, Failed},
};

fn main() -> ExitCode {
    memory::keep_what_was_freed();
    let cli = Cli::parse();
    match run(cli) {
        Ok(exit) => exit.into(),
        Err(failed) => {
            eprintln!("error: {failed}");
            failed.exit.into()
        }
    }
}

fn run(cli: Cli) -> Result<Exit, Failed> {
    match cli.command {
        Command::Demo(args) => runtime()?.block_on(demo::demo(args)),
        Command::Run(args) => runtime()?.block_on(node::run(args)),
        Command::Cluster(command) => runtime()?.block_on(cluster::run(command)),
        Command::Verify { dirs, json } => verify::verify(&dirs, json),
        Command::Config(ConfigCommand::Template) => {
            print!("{}", config::template());
            Ok(Exit::Done)
        }
        Command::Config(ConfigCommand::Check { config }) => config::check(&config),
        Command::Config(ConfigCommand::Print { config, json }) => config::print(&config, json),
    }
}

/// One core is left to the log's writers and the system: a second worker on two cores passes tasks
/// to and fro more than it does (docs/adr/0007). `TOKIO_WORKER_THREADS` says otherwise.
fn runtime() -> Result<tokio::runtime::Runtime, Failed> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if std::env::var_os("TOKIO_WORKER_THREADS").is_none() {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        runtime.worker_threads(cores.saturating_sub(1).max(1));
    }
    let runtime = runtime.enable_all().build();
    runtime.map_err(|error| Failed::new(format!("no runtime: {error}")))
}
