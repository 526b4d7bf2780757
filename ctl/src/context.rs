//! What every command has at hand: the client and the user's configuration.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::client::{Client, DEFAULT_HOST, Host, TlsFiles, parse_host};
use crate::config_file::{self, ConfigFile};
use crate::context_store::{DEFAULT, Store};
use crate::error::{Error, Result};
use crate::flags::{Flag, Matches};

/// The flags before the command.
pub(crate) const GLOBAL_FLAGS: &[Flag] = &[
    Flag::text("config", "Location of client config files (default \"~/.docker\")"),
    Flag::text(
        "context",
        "Name of the context to use to connect to the daemon (overrides DOCKER_HOST env var and default context set with \"gantry context use\")",
    )
    .short('c'),
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

/// Commands that speak to no daemon: a context that is lost does not keep them from their work.
const LOCAL_COMMANDS: [&str; 4] = ["gantry completion", "gantry context", "gantry logout", "gantry man"];

/// What commands work with.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) client: Rc<Client>,
    pub(crate) config: ConfigFile,
    /// How the command was called: `gantry container ls`.
    pub(crate) path: String,
    /// The folder of the user's configuration.
    pub(crate) folder: PathBuf,
    /// The name of docker's context in force.
    pub(crate) named: String,
    /// Where the context `default` leads.
    pub(crate) default_host: String,
}

/// A daemon's address and how to be sure of it.
struct Target {
    host: Host,
    tls: Option<TlsFiles>,
}

impl Context {
    /// From the global flags and the environment.
    pub(crate) fn new(global: &Matches, path: String) -> Result<Self> {
        let folder = config_file::folder(global.text("config"));
        let config = config_file::load(&folder);
        let named = context_name(global, &config)?;
        let asked = match global.list("host") {
            [] => environment("DOCKER_HOST"),
            [host] => Some(host.clone()),
            _ => return Err(Error::message("Specify only one -H")),
        };
        let default_host = asked.unwrap_or_else(|| DEFAULT_HOST.to_owned());
        let target = if named == DEFAULT {
            by_flags(global, &default_host, &folder)
        } else {
            stored(&Store::of(&folder), &named)
        };
        let target = match target {
            Err(_) if LOCAL_COMMANDS.iter().any(|local| path.starts_with(local)) => {
                by_flags(global, DEFAULT_HOST, &folder)?
            }
            other => other?,
        };
        let version = environment("DOCKER_API_VERSION");
        let headers = config.http_headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let client = Client::new(target.host, target.tls, version.as_deref(), headers);
        Ok(Context { client: Rc::new(client), config, path, folder, named, default_host })
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

/// Which context is in force: `-H` and `DOCKER_HOST` go before what is configured, `--context` before those.
fn context_name(global: &Matches, config: &ConfigFile) -> Result<String> {
    let asked = global.text("context");
    if !asked.is_empty() && !global.list("host").is_empty() {
        return Err(Error::message("conflicting options: cannot specify both --host and --context"));
    }
    let by_host = !global.list("host").is_empty() || environment("DOCKER_HOST").is_some();
    let name = match asked {
        "" if by_host => DEFAULT.to_owned(),
        "" => environment("DOCKER_CONTEXT").unwrap_or_else(|| config.current_context.clone()),
        asked => asked.to_owned(),
    };
    Ok(if name.is_empty() { DEFAULT.to_owned() } else { name })
}

/// The daemon of the context `default`.
fn by_flags(global: &Matches, host: &str, folder: &Path) -> Result<Target> {
    let tls_asked = global.on("tls")
        || global.on("tlsverify")
        || std::env::var_os("DOCKER_TLS_VERIFY").is_some_and(|value| !value.is_empty());
    let host = parse_host(host, tls_asked)
        .map_err(|reason| Error::message(format!("unable to resolve gantry endpoint: {reason}")))?;
    let cert_folder = environment("DOCKER_CERT_PATH").map_or(folder.to_owned(), PathBuf::from);
    let file = |flag: &str, name: &str| match global.optional(flag) {
        Some(path) => PathBuf::from(path),
        None => cert_folder.join(name),
    };
    for flag in ["tlscert", "tlskey"] {
        if let Some(path) = global.optional(flag).filter(|path| !Path::new(path).exists()) {
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
    Ok(Target { host, tls })
}

/// The daemon of a stored context.
fn stored(store: &Store, name: &str) -> Result<Target> {
    let unresolved =
        |reason: &dyn std::fmt::Display| Error::message(format!("unable to resolve gantry endpoint: {reason}"));
    let endpoint = store.get(name).map_err(|e| unresolved(&e))?.docker();
    if endpoint.skip_tls_verify {
        return Err(unresolved(&format!(
            "context {name:?}: SkipTLSVerify is not supported: the daemon is always verified"
        )));
    }
    let files = store.tls(name);
    let host = if endpoint.host.is_empty() { DEFAULT_HOST } else { &endpoint.host };
    let host = parse_host(host, !files.is_empty()).map_err(|e| unresolved(&e))?;
    let folder = store.tls_folder(name).join("docker");
    let tls = (!files.is_empty() || host.tls).then(|| TlsFiles {
        ca: folder.join("ca.pem"),
        cert: folder.join("cert.pem"),
        key: folder.join("key.pem"),
    });
    Ok(Target { host, tls })
}

/// A variable that is set and not empty.
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
