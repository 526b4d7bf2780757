//! The scenarios: what a person, a script or a kubelet does, through the real clients, in a world of its own each,
//! with the leak census equal before and after.
//!
//! `with_docker` scenarios run the unmodified docker CLI and are proven on Debian's dockerd first:
//! `GANTRY_E2E_ENGINE=dockerd cargo test -p e2e with_docker`. `with_gantry` run the same with our client. The others are about
//! what only this engine does.

mod attach_ws;
mod build;
mod build_corpus;
mod build_remote;
mod buildkit;
mod checkpoints;
mod cli_flags;
mod cli_tables;
mod client;
mod client_side;
mod cni;
mod commit;
mod compose;
mod concurrency;
mod copy;
mod create_fields;
mod cri;
mod cri_kills;
mod cri_pods;
mod cri_security;
mod cri_stats;
mod daemon_life;
mod daemon_restart;
mod errors;
mod events;
mod handlers;
mod hangs;
mod http2;
mod images;
mod libraries;
mod lifecycle;
mod limits;
mod log_drivers;
mod logs;
mod network;
mod network_connect;
mod network_names;
mod node;
mod pod_bridge;
mod push;
mod registry_questions;
mod resume;
mod run;
mod security;
mod shared_memory;
mod stream_leaks;
mod streaming;
mod terminal;
mod volumes;
