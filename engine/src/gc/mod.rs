//! Garbage collection: what no image, snapshot or lease needs is removed.

mod edges;
mod mark;
mod sweep;

pub use edges::{Graph, Node};
pub use mark::reachable;
pub use sweep::Swept;
