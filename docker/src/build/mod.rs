//! `/build`: the classic builder's endpoint, and the cache that all builds share.

mod classic;
mod client;
mod options;
mod prune;
mod words;

pub(crate) use classic::build;
pub(crate) use prune::{cancel, prune, rows};
