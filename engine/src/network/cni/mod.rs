//! CNI 1.1: pods in the network that a cluster's plugins make.
//!
//! ```text
//! list.rs        PURE: a configuration list, its versions, the document that a plugin reads
//! request.rs     PURE: what is asked for a pod: arguments and capabilities
//! result.rs      PURE: what a plugin answers, in each of the specification's forms
//! folder.rs      the configuration directory, read again when it changes
//! plugin.rs      one run of one plugin: deadline, bounded output, its error in words
//! attachments.rs what was added, on disk, so that DEL gets what ADD got
//! pod_network.rs the handle: add, delete, check, collect garbage, readiness
//! ```
//!
//! Invariants: what ADD may have done is on disk before it is done, and stays there until DEL has succeeded; DEL runs with
//! the configuration of its ADD, whatever the directory holds by then; a namespace's path is passed to DEL only while it
//! still is that namespace; no plugin runs longer than its deadline.

mod attachments;
mod folder;
mod list;
mod plugin;
mod pod_network;
mod request;
mod result;

pub(crate) use pod_network::{PodNetwork, parse_subnets};
pub(crate) use request::PodFacts;
