//! One process per sandbox: owns processes, stdio, logs and exit codes; holds the built-in OCI runtime.
//!
//! The process has **one thread, for ever**. That is what makes it sound to clone it and go on in Rust without an
//! exec (`sys::clone::clone3`), and it keeps a shim below a megabyte. So: tokio's `current_thread` runtime only, no
//! `spawn_blocking`, no `tokio::fs`, no `std::thread`.
//!
//! Absent by design: the engine, HTTP, databases.

mod bench;
mod oci;
mod reaper;
mod runtime;

fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("runtime") => bench::main(&arguments[1..]),
        _ => std::process::ExitCode::from(2),
    }
}
