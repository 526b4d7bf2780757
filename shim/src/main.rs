//! One process per sandbox: owns processes, stdio, logs and exit codes; holds the built-in OCI runtime.
//!
//! The process has **one thread, for ever**. That is what makes it sound to clone it and go on in Rust without an
//! exec (`sys::clone::clone3`), and it keeps a shim below a megabyte. So: tokio's `current_thread` runtime only, no
//! `spawn_blocking`, no `tokio::fs`, no `std::thread`.
//!
//! Absent by design: the engine, HTTP, databases.

mod bench;
mod bootstrap;
mod container;
mod events;
mod io;
mod journal;
mod metrics;
mod oci;
mod process;
mod reaper;
mod runtime;
mod sandbox_service;
mod serve;
mod state;
mod task_service;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "runtime") {
        return bench::main(&arguments[1..]);
    }
    match bootstrap::main(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            journal::say(&message);
            ExitCode::FAILURE
        }
    }
}
