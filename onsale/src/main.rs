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

fn runtime() -> Result<tokio::runtime::Runtime, Failed> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failed::new(format!("no runtime: {error}")))
}
