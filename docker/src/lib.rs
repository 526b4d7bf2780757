//! The Docker door: Engine REST API over unix sockets and TCP with mutual TLS. Translates, decides nothing.
//!
//! Where to begin reading: [`routes`](self) is the list of endpoints, one function each; `to_spec` translates requests,
//! `view` translates answers, `status_code` translates errors; `hijack` is where a connection stops being HTTP.
//!
//! This crate must not know CRI, the kernel (`sys`), shims, or how anything is carried out.

mod api_version;
mod auth;
mod build;
mod buildkit;
mod call;
mod containers;
mod detach_keys;
mod exec;
mod filters;
mod guard;
mod hijack;
mod images;
mod log_stream;
mod networks;
mod pods;
mod query;
mod reply;
mod request_body;
mod router;
mod routes;
mod server;
mod size;
mod status_code;
mod stream_frame;
mod system;
mod tap;
mod time;
mod tls;
mod to_spec;
mod view;
mod volumes;

pub use server::{Door, Listener, Settings, serve};
pub use tls::{TlsFiles, server_config as tls_config};
