//! PURE. Engine views -> wire types.

pub(crate) mod container;
pub(crate) mod host_config;
pub(crate) mod image;
pub(crate) mod network;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod stats;
pub(crate) mod status;
pub(crate) mod volume;

#[cfg(test)]
mod tests;
