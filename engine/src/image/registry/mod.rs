//! The client of the OCI distribution protocol: what is fetched, from where, with which credentials.
//!
//! Rules that hold everywhere here: credentials go only to the registry that they were given for, never along a redirect
//! to another host or to a mirror; what began with TLS never goes on without; every body has a limit and every wait a
//! deadline; nothing a registry says is used as a path.

mod challenge;
mod client;
mod credential;
mod endpoint;
mod fetch;
mod hosts;
mod search;
mod tls;
mod token;
mod upload;

pub(crate) use client::{Registry, Repository, web_client};
pub use credential::RegistryAuth;
pub(crate) use endpoint::Endpoint;
pub(crate) use fetch::FetchedManifest;
pub use search::SearchResult;
pub(crate) use upload::{BlobFile, Mounted};
