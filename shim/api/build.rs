//! Compiles the protocol files with pure-Rust tools, so that no `protoc` is needed.

use std::error::Error;
use std::path::Path;

const FILES: &[&str] = &[
    "bootstrap.proto",
    "events_service.proto",
    "gantry.proto",
    "metrics_v1.proto",
    "metrics_v2.proto",
    "runc_options.proto",
    "runtime_options.proto",
    "sandbox.proto",
    "task.proto",
    "task_events.proto",
    "task_types.proto",
    "ttrpc.proto",
    "types.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new("proto");
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, [root])?;
    prost_build::Config::new().bytes(["ttrpc.Request.payload", "ttrpc.Response.payload"]).compile_fds(descriptors)?;
    Ok(())
}
