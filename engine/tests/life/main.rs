//! Containers and pods against the real shim and the real kernel, in namespaces of the test's own.
//!
//! Needs root, `unshare` and the shim built (`cargo build --workspace`); without them the tests fail and say so.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod lab;

mod container;
mod pod;
mod recovery;
