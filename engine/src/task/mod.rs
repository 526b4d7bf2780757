//! The engine's side of shims: who runs the processes of a sandbox, and how to talk to it.
//!
//! [`TaskRuntime`] launches or finds the shim of a sandbox, [`Shim`] is one that answers. The real ones are in
//! `shim_launch.rs` and `connected_shim.rs`; tests bring their own.

mod attach;
mod connected_shim;
mod exits;
mod runtime;
mod shim_launch;
mod shim_process;

pub use attach::AttachEnds;
pub(crate) use attach::attached_pair;
pub(crate) use exits::{lost_exit, observe, recorded};
pub use runtime::{AttachWish, NewTask, ProcessExit, ProcessRef, Shim, ShimLaunch, TaskRuntime};
pub(crate) use shim_launch::ShimRuntime;
