//! gantry: the docker-style client for people. Talks only REST, to gantryd or any Docker daemon.
//!
//! This crate knows the wire types of `docker-api` and nothing of the engine.

mod auth;
mod cli;
mod client;
mod commands;
mod config_file;
mod context;
mod context_store;
mod detach;
mod error;
mod flags;
mod output;
mod reference;
mod run_options;
mod signals;
mod streams;
mod terminal;
mod timestamps;
mod units;

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    // One thread: a command waits far more than it computes, and a small start is most of its time.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            output::eprintln(&format!("gantry: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let local = tokio::task::LocalSet::new();
    ExitCode::from(runtime.block_on(local.run_until(cli::main(&words))))
}
