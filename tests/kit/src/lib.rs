//! What a test needs around the program under test: an isolated world (namespaces, cgroup, data root) that dies with
//! the test, the engine started in it, a registry, images made from generated trees, the leak census and the canary.
//!
//! Must not know: the engine's types. Everything here looks from outside, at processes, files, sockets and the kernel.
//! Needs root; a test that lacks it fails and says so.

pub mod canary;
pub mod census;
pub mod command;
pub mod crowd;
pub mod daemon;
pub mod dns;
pub mod http;
pub mod image;
pub mod pty;
pub mod registry;
pub mod relay;
pub mod wait;
pub mod world;

pub use canary::Canary;
pub use census::Census;
pub use command::{Run, run};
pub use daemon::{Daemon, EngineKind};
pub use relay::Relay;
pub use world::{Outside, World};
