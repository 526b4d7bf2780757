//! What every command has at hand: the client and the user's configuration.

use std::path::PathBuf;
use std::rc::Rc;

use crate::client::{Client, DEFAULT_HOST, TlsFiles, parse_host};
use crate::config_file::{self, ConfigFile};
use crate::error::{Error, Result};
use crate::flags::{Flag, Matches};

/// The flags before the command.
pub(crate) const GLOBAL_FLAGS: &[Flag] = &[
    Flag::text("config", "Location of client config files (default \"~/.docker\")"),
    Flag::switch("debug", "Enable debug mode").short('D'),
    Flag::list("host", "Daemon socket to connect to (default DOCKER_HOST, then unix:///run/gantry/gantry.sock)")
        .short('H'),
    Flag::switch("tls", "Use TLS; implied by --tlsverify. The daemon's certificate is always verified"),
    Flag::text("tlscacert", "Trust certs signed only by this CA (default \"~/.docker/ca.pem\")"),
    Flag::text("tlscert", "Path to TLS certificate file (default \"~/.docker/cert.pem\")"),
    Flag::text("tlskey", "Path to TLS key file (default \"~/.docker/key.pem\")"),
    Flag::switch("tlsverify", "Use TLS and verify the remote"),
    Flag::switch("version", "Print version information and quit").short('v'),
];

/// What commands work with.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) client: Rc<Client>,
    pub(crate) config: ConfigFile,
    /// How the command was called: `gantry container ls`.
    pub(crate) path: String,
}

impl Context {
    /// From the global flags and the environment.
    pub(crate) fn new(global: &Matches, path: String) -> Result<Self> {
        let folder = config_file::folder(global.text("config"));
        let config = config_file::load(&folder);
        let tls_asked = global.on("tls")
            || global.on("tlsverify")
            || std::env::var_os("DOCKER_TLS_VERIFY").is_some_and(|value| !value.is_empty());
        let host = match global.list("host") {
            [] => environment("DOCKER_HOST").unwrap_or_else(|| DEFAULT_HOST.to_owned()),
            [host] => host.clone(),
            _ => return Err(Error::message("Specify only one -H")),
        };
        let host = parse_host(&host, tls_asked)
            .map_err(|reason| Error::message(format!("unable to resolve gantry endpoint: {reason}")))?;
        let cert_folder = environment("DOCKER_CERT_PATH").map_or(folder, PathBuf::from);
        let file = |flag: &str, name: &str| match global.optional(flag) {
            Some(path) => PathBuf::from(path),
            None => cert_folder.join(name),
        };
        for flag in ["tlscert", "tlskey"] {
            if let Some(path) = global.optional(flag).filter(|path| !std::path::Path::new(path).exists()) {
                return Err(Error::message(format!(
                    "could not read TLS file {path} of --{flag}: no such file or directory"
                )));
            }
        }
        let tls = (tls_asked || host.tls).then(|| TlsFiles {
            ca: file("tlscacert", "ca.pem"),
            cert: file("tlscert", "cert.pem"),
            key: file("tlskey", "key.pem"),
        });
        let version = environment("DOCKER_API_VERSION");
        let headers = config.http_headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let client = Client::new(host, tls, version.as_deref(), headers);
        Ok(Context { client: Rc::new(client), config, path })
    }

    /// The keys that detach: the flag's, the configuration's, or ctrl-p,ctrl-q. Bad ones are ignored with a word.
    pub(crate) fn detach_keys(&self, flag: &str) -> Vec<u8> {
        let text = if flag.is_empty() { self.config.detach_keys.as_str() } else { flag };
        if text.is_empty() {
            return crate::detach::DEFAULT_KEYS.to_vec();
        }
        crate::detach::parse_keys(text).unwrap_or_else(|reason| {
            crate::output::eprintln(&format!("invalid detach keys provided: {reason}"));
            crate::detach::DEFAULT_KEYS.to_vec()
        })
    }
}

/// A variable that is set and not empty.
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
