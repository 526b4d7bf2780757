//! `gantry build` and `gantry builder prune`, over the classic endpoint: the context travels as a tar.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path as FilePath, PathBuf};

use http::Method;

use crate::auth;
use crate::cli::Command;
use crate::client::{Body, Lines, Path, body_of, empty_body, written_body};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::flags::{Flag, Matches, values};
use crate::output::progress;
use crate::output::{print, println};
use crate::units;

/// Bytes of a Dockerfile that is read from standard input.
const DOCKERFILE_BYTES_MAX: u64 = 4 << 20;
/// Bytes that tell an archive from a Dockerfile.
const MAGIC_BYTES: usize = 512;
/// The Dockerfile's name in a context that was made for it.
const FROM_STDIN: &str = ".dockerfile.stdin";

pub(crate) static COMMAND: Command = Command {
    about: "Build an image from a Dockerfile",
    usage: "PATH | URL | -",
    arguments: (1, 1),
    flags: &[&[
        Flag::list("add-host", "Add a custom host-to-IP mapping (\"host:ip\")"),
        Flag::list("build-arg", "Set build-time variables"),
        Flag::strings("cache-from", "Images to consider as cache sources"),
        Flag::text("cgroup-parent", "Set the parent cgroup for the \"RUN\" instructions during build"),
        Flag::int("cpu-period", "Limit the CPU CFS (Completely Fair Scheduler) period"),
        Flag::int("cpu-quota", "Limit the CPU CFS (Completely Fair Scheduler) quota"),
        Flag::int("cpu-shares", "CPU shares (relative weight)").short('c'),
        Flag::text("cpuset-cpus", "CPUs in which to allow execution (0-3, 0,1)"),
        Flag::text("cpuset-mems", "MEMs in which to allow execution (0-3, 0,1)"),
        Flag::text("file", "Name of the Dockerfile (default: \"PATH/Dockerfile\")").short('f'),
        Flag::switch("force-rm", "Always remove intermediate containers"),
        Flag::text("iidfile", "Write the image ID to a file"),
        Flag::list("label", "Set metadata for an image"),
        Flag::bytes("memory", "Memory limit").short('m'),
        Flag::text("network", "Set the networking mode for the \"RUN\" instructions during build"),
        Flag::switch("no-cache", "Do not use cache when building the image"),
        Flag::list("output", "Output destination").short('o'),
        Flag::text("platform", "Set platform if server is multi-platform capable"),
        Flag::text("progress", "Set type of progress output (\"auto\", \"plain\")").default("auto"),
        Flag::switch("pull", "Always attempt to pull all referenced images"),
        Flag::switch("quiet", "Suppress the build output and print image ID on success").short('q'),
        Flag::switch_on("rm", "Remove intermediate containers after a successful build"),
        Flag::list("secret", "Secret to expose to the build"),
        Flag::bytes("shm-size", "Shared memory size for build containers"),
        Flag::list("ssh", "SSH agent socket or keys to expose to the build"),
        Flag::list("tag", "Image identifier (format: \"[registry/]repository[:tag]\")").short('t'),
        Flag::text("target", "Set the target build stage to build"),
    ]],
    interspersed: true,
    run: |context, matches| Box::pin(run(context, matches)),
};

pub(crate) static PRUNE: Command = Command {
    about: "Remove build cache",
    usage: "",
    arguments: (0, 0),
    flags: &[&[
        Flag::switch("all", "Remove all unused build cache, not just dangling ones").short('a'),
        Flag::list("filter", "Provide filter values (e.g. \"until=24h\")").check(values::filter),
        Flag::switch("force", "Do not prompt for confirmation").short('f'),
        Flag::bytes("keep-storage", "Amount of disk space to keep for cache"),
    ]],
    interspersed: true,
    run: |context, matches| Box::pin(prune(context, matches)),
};

/// A context on its way, and where the Dockerfile is in it.
struct Sent {
    body: Body,
    dockerfile: String,
    remote: Option<String>,
}

async fn run(context: &Context, matches: &Matches) -> Result<()> {
    for (flag, why) in [
        ("secret", "secrets need BuildKit's session, which this client does not speak"),
        ("ssh", "agents are forwarded over BuildKit's session, which this client does not speak"),
        ("output", "this client only builds images"),
    ] {
        if !matches.list(flag).is_empty() {
            return Err(Error::message(format!("--{flag}: {why}: use docker buildx build")));
        }
    }
    if !["auto", "plain", "tty"].contains(&matches.text("progress")) {
        return Err(Error::message(format!("--progress: {:?} is not auto, plain or tty", matches.text("progress"))));
    }
    let sent = sent(matches)?;
    let path = query(matches, &sent)?;
    let registries = auth::registries_header(&context.config)?;
    let headers = [("content-type", "application/x-tar"), ("x-registry-config", registries.as_str())];
    let response = context.client.send(Method::POST, &path, sent.body, &headers).await?;
    let quiet = matches.on("quiet");
    let id = show(&mut Lines::new(response.into_body()), quiet).await?;
    if let Some(file) = matches.optional("iidfile") {
        std::fs::write(file, &id).map_err(|error| Error::message(format!("--iidfile {file}: {error}")))?;
    }
    if quiet { println(&id) } else { Ok(()) }
}

/// Prints what the build says; answers the image's id.
async fn show(lines: &mut Lines, quiet: bool) -> Result<String> {
    let mut id = String::new();
    while let Some(message) = lines.next().await? {
        progress::fail_on_error(&message)?;
        let made = message.at("aux.ID").as_str();
        if !made.is_empty() {
            id = made.to_owned();
        }
        let text = message.field("stream").as_str();
        match text.strip_prefix("sha256:") {
            Some(_) if quiet => id = text.trim().to_owned(),
            _ if quiet => {}
            _ => print(text)?,
        }
    }
    if id.is_empty() { Err(Error::message("the build ended without an image")) } else { Ok(id) }
}

fn bytes(text: &str) -> Result<i64> {
    units::parse_bytes(text).map_err(Error::Message)
}

fn query(matches: &Matches, sent: &Sent) -> Result<Path> {
    let mut path = Path::new("/build").query("version", "1").query("dockerfile", &sent.dockerfile);
    path = path.query_some("remote", sent.remote.as_deref().unwrap_or_default());
    for tag in matches.list("tag") {
        path = path.query("t", tag);
    }
    for host in matches.list("add-host") {
        path = path.query("extrahosts", host);
    }
    for (flag, key) in [
        ("target", "target"),
        ("platform", "platform"),
        ("network", "networkmode"),
        ("cgroup-parent", "cgroupparent"),
        ("cpuset-cpus", "cpusetcpus"),
        ("cpuset-mems", "cpusetmems"),
    ] {
        path = path.query_some(key, matches.text(flag));
    }
    for (flag, key) in [("cpu-period", "cpuperiod"), ("cpu-quota", "cpuquota"), ("cpu-shares", "cpushares")] {
        if matches.given(flag) {
            path = path.query(key, matches.text(flag));
        }
    }
    for (flag, key) in [("memory", "memory"), ("shm-size", "shmsize")] {
        if let Some(text) = matches.optional(flag) {
            path = path.query(key, &bytes(text)?.to_string());
        }
    }
    for (flag, key) in
        [("no-cache", "nocache"), ("pull", "pull"), ("quiet", "q"), ("force-rm", "forcerm"), ("rm", "rm")]
    {
        path = path.query(key, if matches.on(flag) { "1" } else { "0" });
    }
    let pairs = |flag: &str| -> BTreeMap<String, Option<String>> {
        let value = |text: &String| match text.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (text.clone(), std::env::var(text).ok()),
        };
        matches.list(flag).iter().map(value).collect()
    };
    let labels: BTreeMap<String, String> =
        pairs("label").into_iter().map(|(name, value)| (name, value.unwrap_or_default())).collect();
    path = path
        .query("buildargs", &serde_json::json!(pairs("build-arg")).to_string())
        .query("labels", &serde_json::json!(labels).to_string())
        .query("cachefrom", &serde_json::json!(matches.list("cache-from")).to_string());
    Ok(path)
}

fn sent(matches: &Matches) -> Result<Sent> {
    let (source, file) = (matches.arg(0), matches.text("file"));
    if source == "-" {
        if file == "-" {
            return Err(Error::message("invalid argument: can't use stdin for both build context and dockerfile"));
        }
        return from_stdin(file);
    }
    let named = if file.is_empty() { "Dockerfile".to_owned() } else { file.to_owned() };
    if source.contains("://") || source.starts_with("git@") || source.starts_with("github.com/") {
        return Ok(Sent { body: empty_body(), dockerfile: named, remote: Some(source.to_owned()) });
    }
    let dir = PathBuf::from(source);
    if !dir.is_dir() {
        return Err(Error::message(format!("unable to prepare context: path {source:?} not found")));
    }
    let (extra, dockerfile) = match file {
        "" => (None, named),
        "-" => (Some(read_stdin()?), FROM_STDIN.to_owned()),
        file => outside_or_inside(&dir, file)?,
    };
    let body = written_body(move |sink| write_context(sink, &dir, extra.as_deref()));
    Ok(Sent { body, dockerfile, remote: None })
}

/// A Dockerfile beside the context travels under a name of its own.
fn outside_or_inside(dir: &FilePath, file: &str) -> Result<(Option<Vec<u8>>, String)> {
    let unreadable = |error: io::Error| Error::message(format!("unable to read Dockerfile {file}: {error}"));
    let real = std::fs::canonicalize(file).map_err(unreadable)?;
    let root = std::fs::canonicalize(dir).map_err(unreadable)?;
    match real.strip_prefix(&root) {
        Ok(inside) => Ok((None, inside.to_string_lossy().into_owned())),
        Err(_) => Ok((Some(std::fs::read(&real).map_err(unreadable)?), FROM_STDIN.to_owned())),
    }
}

fn read_stdin() -> Result<Vec<u8>> {
    let mut text = Vec::new();
    io::stdin().take(DOCKERFILE_BYTES_MAX).read_to_end(&mut text)?;
    Ok(text)
}

/// Standard input is a context as a tar, or a Dockerfile alone.
fn from_stdin(file: &str) -> Result<Sent> {
    let mut magic = Vec::new();
    io::stdin().take(MAGIC_BYTES as u64).read_to_end(&mut magic)?;
    let is_archive = [&b"\x1f\x8b"[..], b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd"].iter().any(|m| magic.starts_with(m))
        || magic.get(257..262) == Some(b"ustar");
    if is_archive {
        let dockerfile = if file.is_empty() { "Dockerfile".to_owned() } else { file.to_owned() };
        return Ok(Sent { body: body_of(io::Cursor::new(magic).chain(io::stdin())), dockerfile, remote: None });
    }
    let mut text = magic;
    text.extend(read_stdin()?);
    let body = written_body(move |sink| {
        let mut tar = tar::Builder::new(sink);
        append_text(&mut tar, "Dockerfile", &text)?;
        tar.finish()
    });
    Ok(Sent { body, dockerfile: "Dockerfile".to_owned(), remote: None })
}

/// The directory as a tar, nothing in it followed. What `.dockerignore` names is left out by the daemon.
fn write_context(sink: &mut dyn Write, dir: &FilePath, dockerfile: Option<&[u8]>) -> io::Result<()> {
    let mut tar = tar::Builder::new(sink);
    tar.follow_symlinks(false);
    if let Some(text) = dockerfile {
        append_text(&mut tar, FROM_STDIN, text)?;
    }
    append_below(&mut tar, dir, FilePath::new(""))?;
    tar.finish()
}

fn append_below(tar: &mut tar::Builder<&mut dyn Write>, dir: &FilePath, below: &FilePath) -> io::Result<()> {
    let mut entries: Vec<_> = std::fs::read_dir(dir.join(below))?.collect::<io::Result<_>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let (path, kind) = (below.join(entry.file_name()), entry.file_type()?);
        if kind.is_dir() {
            tar.append_dir(&path, entry.path())?;
            append_below(tar, dir, &path)?;
        } else if kind.is_file() {
            tar.append_file(&path, &mut File::open(entry.path())?)?;
        } else if kind.is_symlink() {
            tar.append_path_with_name(entry.path(), &path)?;
        }
    }
    Ok(())
}

fn append_text(tar: &mut tar::Builder<&mut dyn Write>, name: &str, text: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    tar.append_data(&mut header, name, text)
}

async fn prune(context: &Context, matches: &Matches) -> Result<()> {
    let all = matches.on("all");
    let what = if all { "all build cache" } else { "all dangling build cache" };
    super::prune::confirm(matches, &format!("This will remove {what}."))?;
    let mut path = Path::new("/build/prune").filters(matches.list("filter"));
    if all {
        path = path.query("all", "1");
    }
    if let Some(text) = matches.optional("keep-storage") {
        path = path.query("keep-storage", &bytes(text)?.to_string());
    }
    let answer = super::prune::ask(context, &path).await?;
    super::prune::tell(
        "Deleted build cache objects:",
        &super::prune::texts(answer.field("CachesDeleted")),
        Some(&answer),
    )
}
