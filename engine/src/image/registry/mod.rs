//! The client of the OCI distribution protocol.

mod credential;

pub use credential::RegistryAuth;
