//! Credentials, which never print.

use std::fmt;

/// What a caller proves itself with to one registry. `Debug` shows no secret.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RegistryAuth {
    /// User name; with `password`.
    pub username: String,
    /// Password or access token; with `username`.
    pub password: String,
    /// An OAuth2 refresh token, used in place of a password.
    pub identity_token: String,
    /// A bearer token to be sent as it is.
    pub registry_token: String,
    /// The registry that these are for, as the client wrote it; empty for the one that is pulled from.
    pub server_address: String,
}

impl RegistryAuth {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.username.is_empty()
            && self.password.is_empty()
            && self.identity_token.is_empty()
            && self.registry_token.is_empty()
    }
}

impl fmt::Debug for RegistryAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryAuth").field("server_address", &self.server_address).finish_non_exhaustive()
    }
}
