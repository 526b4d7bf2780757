//! Credentials, which never print.

use std::fmt;

use base64::Engine as _;

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

    /// Puts `basic`, base64 of `user:password` as in docker's configuration, in place of the two fields unless a user
    /// is named already. `None` when it is not that.
    #[must_use]
    pub fn with_basic(mut self, basic: &str) -> Option<Self> {
        if self.username.is_empty() && !basic.is_empty() {
            let bytes = base64::engine::general_purpose::STANDARD.decode(basic.trim()).ok()?;
            let text = String::from_utf8(bytes).ok()?;
            let (user, secret) = text.split_once(':')?;
            (self.username, self.password) = (user.to_owned(), secret.trim_end_matches('\0').to_owned());
        }
        Some(self)
    }

    /// Whether they were given for `registry` (`docker.io`, `localhost:5000`): an address of another one is not.
    pub(crate) fn is_for(&self, registry: &str) -> bool {
        let address = self.server_address.trim();
        let address = address.split_once("://").map_or(address, |(_, rest)| rest);
        let host = address.split('/').next().unwrap_or("");
        let hub = |host: &str| matches!(host, "docker.io" | "index.docker.io" | "registry-1.docker.io");
        host.is_empty() || host == registry || (hub(host) && hub(registry))
    }
}

impl fmt::Debug for RegistryAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryAuth").field("server_address", &self.server_address).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_belong_to_their_registry_and_do_not_print() {
        let auth = |address: &str| RegistryAuth {
            username: "user".into(),
            password: "s3cret".into(),
            server_address: address.into(),
            ..RegistryAuth::default()
        };
        assert!(auth("").is_for("anything"));
        assert!(auth("https://index.docker.io/v1/").is_for("docker.io"));
        assert!(auth("localhost:5000").is_for("localhost:5000"));
        assert!(!auth("localhost:5000").is_for("localhost:5001"));
        assert!(!auth("https://index.docker.io/v1/").is_for("evil.example"));
        assert!(!format!("{:?}", auth("x")).contains("s3cret"));
    }
}
