//! How a shim begins: launched by our engine with its sockets as descriptors (`serve`), or by containerd with its
//! `start` and `delete` commands.

use std::ffi::CString;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Write as _;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use prost::Message as _;
use shim_api::bundle::{ContainerBundle, ShimBundle};
use shim_api::options::CgroupDriver;
use shim_api::proto::task::v3::DeleteResponse;
use shim_api::proto::types::{RuntimeInfo, RuntimeVersion};
use shim_api::time::{now_unix_ns, timestamp};
use sys::mount::MountAttributes;
use sys::spawn::Program;

use crate::oci::Spec;
use crate::runtime::builtin::raw;
use crate::serve::{self, Start};

/// Descriptor of the listening ttrpc socket.
const LISTENER_FD: i32 = 3;
/// Descriptor of the sandbox's network namespace, if it has one.
const NETWORK_FD: i32 = 4;
/// `NSFS_MAGIC` (linux/magic.h).
const NSFS_MAGIC: u64 = 0x6e73_6673;
/// Annotations whose value groups containers in one shim.
const GROUPS: [&str; 2] = ["io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"];
/// Where containerd's shims have their sockets.
const SOCKETS: &str = "/run/containerd/s";
const NAME: &str = "io.containerd.gantry.v1";

/// The command line, ours and containerd's (Go's flag package: one dash or two, value apart or after `=`).
#[derive(Debug, Default)]
struct Arguments {
    command: String,
    id: String,
    namespace: String,
    address: String,
    bundle: String,
    socket: String,
    /// The program file has been made unwritable already.
    sealed: bool,
    info: bool,
    version: bool,
}

fn parse(arguments: &[String]) -> Result<Arguments, String> {
    let mut out = Arguments::default();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let Some(flag) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else {
            out.command.clone_from(word);
            continue;
        };
        let (name, inline) = flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value.to_owned())));
        let mut value =
            || inline.clone().or_else(|| words.next().cloned()).ok_or_else(|| format!("{word}: needs a value"));
        match name {
            "id" => out.id = value()?,
            "namespace" => out.namespace = value()?,
            "address" => out.address = value()?,
            "bundle" => out.bundle = value()?,
            "socket" => out.socket = value()?,
            "publish-binary" => drop(value()?),
            "debug" => {}
            "sealed" => out.sealed = true,
            "info" => out.info = true,
            "v" | "version" => out.version = true,
            other => return Err(format!("unknown option {other}")),
        }
    }
    Ok(out)
}

/// Does what the command line says.
pub(crate) fn main(arguments: &[String]) -> Result<(), String> {
    let arguments = parse(arguments)?;
    if arguments.version {
        return print(format!("{NAME} {}\n", env!("CARGO_PKG_VERSION")).as_bytes());
    }
    if arguments.info {
        let version = RuntimeVersion { version: env!("CARGO_PKG_VERSION").to_owned(), revision: String::new() };
        let info = RuntimeInfo { name: NAME.to_owned(), version: Some(version), ..RuntimeInfo::default() };
        return print(&info.encode_to_vec());
    }
    match arguments.command.as_str() {
        "serve" if !arguments.sealed => Err(format!("serve: {}", seal())),
        "serve" => serve_command(&arguments),
        "start" => start_command(&arguments),
        "delete" => delete_command(&arguments),
        "" => Err("a command is required: serve, start or delete".to_owned()),
        other => Err(format!("unknown command {other}")),
    }
}

fn print(bytes: &[u8]) -> Result<(), String> {
    std::io::stdout().write_all(bytes).map_err(|e| format!("standard output: {e}"))
}

/// Runs this program again from a read-only mount of its own file, which nothing else sees. A process in a container
/// that gets hold of its `/proc/<pid>/exe` cannot write to it then (CVE-2019-5736), and unlike a copy in memory it
/// costs nothing, as all shims share the file's pages. Returns only with why it failed.
fn seal() -> String {
    let own = Path::new("/proc/self/exe");
    let attributes = MountAttributes { set: MountAttributes::RDONLY | MountAttributes::NOSUID, clear: 0 };
    let made = sys::mount::clone_tree(own, false)
        .and_then(|mount| sys::mount::set_attributes(&mount, false, attributes).map(|()| mount));
    let mount = match made {
        Ok(mount) => mount,
        Err(e) => return format!("read-only mount of the own program: {e}"),
    };
    let c_strings = |strings: Vec<std::ffi::OsString>| -> Vec<CString> {
        strings.into_iter().filter_map(|s| CString::new(s.into_encoded_bytes()).ok()).collect()
    };
    let mut argv: Vec<std::ffi::OsString> = std::env::args_os().collect();
    argv.push("--sealed".into());
    let envp = std::env::vars_os().map(|(mut name, value)| {
        name.push("=");
        name.push(value);
        name
    });
    let Ok(path) = CString::new(format!("/proc/self/fd/{}", mount.as_raw_fd())) else { return String::new() };
    sys::clone::execve(&path, &c_strings(argv), &c_strings(envp.collect())).to_string()
}

fn serve_command(arguments: &Arguments) -> Result<(), String> {
    let listener = raw::inherited(LISTENER_FD)
        .filter(|fd| rustix::net::sockopt::socket_acceptconn(fd).unwrap_or(false))
        .ok_or("serve: descriptor 3 is not a listening socket")?;
    let network = raw::inherited(NETWORK_FD).filter(is_namespace);
    raw::ignore_signals();
    // After exec by descriptor the name would be a number.
    let _ = rustix::thread::set_name(c"containerd-shim");
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let bundle = ShimBundle::at(PathBuf::from(&arguments.bundle));
    let containerd = std::env::var("TTRPC_ADDRESS").ok().filter(|address| !address.is_empty());
    let attach = !arguments.bundle.is_empty() && containerd.is_none();
    if attach {
        own_log(&bundle.log())?;
    }
    let events = containerd.map(|address| {
        let path = PathBuf::from(address.trim_start_matches("unix://"));
        (path, arguments.namespace.clone())
    });
    let socket = (!arguments.socket.is_empty()).then(|| PathBuf::from(&arguments.socket));
    let start = Start { bundle, listener: UnixListener::from(listener), network, events, attach };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| format!("event loop: {e}"))?;
    let served = tokio::task::LocalSet::new().block_on(&runtime, serve::run(start));
    if let Some(socket) = socket {
        let _ = std::fs::remove_file(socket);
    }
    served.map_err(|e| format!("serve: {e}"))
}

fn is_namespace(fd: &OwnedFd) -> bool {
    rustix::fs::fstatfs(fd).is_ok_and(|stat| u64::try_from(stat.f_type).is_ok_and(|magic| magic == NSFS_MAGIC))
}

fn own_log(path: &Path) -> Result<(), String> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let log = std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    let log = log.map_err(|e| format!("{}: {e}", path.display()))?;
    raw::dup_onto(log.as_fd(), 2).map_err(|e| format!("{}: {e}", path.display()))
}

/// containerd's `start`: finds the group's shim or makes one, and prints where it listens.
fn start_command(arguments: &Arguments) -> Result<(), String> {
    let bundle = std::env::current_dir().map_err(|e| format!("bundle: {e}"))?;
    let spec = Spec::read(&bundle.join("config.json"))?;
    let group = GROUPS.iter().find_map(|name| spec.annotations.get(*name)).unwrap_or(&arguments.id);
    let socket = socket_path(&arguments.address, &arguments.namespace, group);
    let address = format!("unix://{}", socket.display());
    if UnixStream::connect(&socket).is_err() {
        launch(arguments, &bundle, &socket)?;
    }
    std::fs::write(bundle.join("address"), &address).map_err(|e| format!("address: {e}"))?;
    let newest = std::env::var("MAX_SHIM_VERSION").ok().and_then(|text| text.parse::<u32>().ok()).unwrap_or(2);
    if newest >= 3 {
        let reply = serde_json::json!({"version": 3, "address": address, "protocol": "ttrpc"});
        return print(reply.to_string().as_bytes());
    }
    print(address.as_bytes())
}

fn launch(arguments: &Arguments, bundle: &Path, socket: &Path) -> Result<(), String> {
    let named = |e: std::io::Error| format!("{}: {e}", socket.display());
    if let Some(folder) = socket.parent() {
        std::fs::create_dir_all(folder).map_err(named)?;
    }
    let listener = shim_api::unix_path::listen(socket).map_err(named)?;
    let own = std::env::current_exe().map_err(|e| format!("own path: {e}"))?;
    let mut program = Program::new(own)
        .args(["serve", "--id", &arguments.id, "--namespace", &arguments.namespace, "--address", &arguments.address])
        .arg("--socket")
        .arg(socket)
        .current_dir(bundle)
        .hand(LISTENER_FD, OwnedFd::from(listener))
        .new_session();
    for name in ["TTRPC_ADDRESS", "PATH"] {
        if let Some(value) = std::env::var_os(name) {
            program = program.env(name, value);
        }
    }
    if let Ok(log) = sys::fifo::open_write(&bundle.join("log")) {
        program = program.stderr(log);
    }
    program.start().map(drop).map_err(|e| e.to_string())
}

/// A short name: socket addresses are.
fn socket_path(address: &str, namespace: &str, group: &str) -> PathBuf {
    let hash = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, address, namespace, group).hash(&mut hasher);
        hasher.finish()
    };
    Path::new(SOCKETS).join(format!("gantry-{:016x}{:016x}", hash(1), hash(2)))
}

/// containerd's `delete`: what is left of a container whose shim is gone.
fn delete_command(arguments: &Arguments) -> Result<(), String> {
    let bundle = if arguments.bundle.is_empty() {
        std::env::current_dir().unwrap_or_default()
    } else {
        PathBuf::from(&arguments.bundle)
    };
    let record = ContainerBundle::at(bundle.clone()).read_exit("").ok().flatten();
    if let Ok(spec) = Spec::read(&bundle.join("config.json"))
        && let Ok(cgroup) = crate::runtime::cgroup_of(&spec, &arguments.id, CgroupDriver::Cgroupfs)
    {
        let _ = cgroup.thaw();
        let _ = cgroup.kill_all();
        std::thread::sleep(Duration::from_millis(50));
        let _ = cgroup.remove();
    }
    let answer = DeleteResponse {
        pid: record.as_ref().map_or(0, |record| record.pid),
        exit_status: record.as_ref().map_or(137, |record| record.exit_status),
        exited_at: Some(timestamp(record.map_or_else(now_unix_ns, |record| record.exited_at_ns))),
    };
    print(&answer.encode_to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(String::from).collect()
    }

    #[test]
    fn containerds_flags_are_understood() {
        let line = "-namespace default -address /run/c.sock -publish-binary /usr/bin/containerd -id abc -debug start";
        let arguments = parse(&words(line)).unwrap();
        assert_eq!((&*arguments.namespace, &*arguments.id, &*arguments.command), ("default", "abc", "start"));
    }

    #[test]
    fn an_unknown_flag_is_refused() {
        assert!(parse(&words("serve --bogus")).unwrap_err().contains("bogus"));
    }

    #[test]
    fn the_same_group_has_the_same_socket() {
        let path = socket_path("/run/c.sock", "k8s.io", "pod");
        assert_eq!(path, socket_path("/run/c.sock", "k8s.io", "pod"));
        assert_ne!(path, socket_path("/run/c.sock", "k8s.io", "other"));
        assert!(path.as_os_str().len() < 100);
    }
}
