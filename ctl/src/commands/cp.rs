//! `gantry cp`: files between a container and this machine, with the rules of cp -r for what becomes what.

use std::io::{self, Read, Write};
use std::path::{Component, Path as FilePath, PathBuf};

use base64::Engine as _;
use docker_api::archive::PathStat;
use http::Method;

use crate::cli::Command;
use crate::client::{Body, Path, body_of, empty_body, read_all, reader_of, written_body};
use crate::context::Context;
use crate::error::{Error, Result, reason};
use crate::flags::{Flag, Matches};
use crate::output::eprintln;
use crate::terminal;

/// Go's `ModeDir` and `ModeSymlink`.
const MODE_DIR: u32 = 1 << 31;
const MODE_SYMLINK: u32 = 1 << 27;

pub(crate) static COMMAND: Command = Command {
    about: "Copy files/folders between a container and the local filesystem",
    usage: "CONTAINER:SRC_PATH DEST_PATH|- | SRC_PATH|- CONTAINER:DEST_PATH",
    arguments: (2, 2),
    flags: &[&[
        Flag::switch("archive", "Archive mode (copy all uid/gid information)").short('a'),
        Flag::switch("follow-link", "Always follow symbol link in SRC_PATH").short('L'),
        Flag::switch("quiet", "Suppress progress output during copy. Progress output is automatically suppressed if no terminal is attached").short('q'),
    ]],
    interspersed: true,
    run: |context, matches| Box::pin(run(context, matches)),
};

async fn run(context: &Context, matches: &Matches) -> Result<()> {
    let (source, target) = (Place::parse(matches.arg(0)), Place::parse(matches.arg(1)));
    match (source, target) {
        (Place::Container(..), Place::Container(..)) => {
            Err(Error::message("copying between containers is not supported"))
        }
        (Place::Container(name, path), Place::Local(target)) => out(context, matches, &name, &path, &target).await,
        (Place::Local(source), Place::Container(name, path)) => into(context, matches, &source, &name, &path).await,
        (Place::Local(_), Place::Local(_)) => Err(Error::message("must specify at least one container source")),
    }
}

/// One side of a copy.
enum Place {
    Local(String),
    Container(String, String),
}

impl Place {
    /// `name:path`; a path that begins with `/` or `.` is a local one, whatever colons it has.
    fn parse(text: &str) -> Self {
        match text.split_once(':') {
            Some((name, path)) if !text.starts_with(['/', '.']) => Place::Container(name.to_owned(), path.to_owned()),
            _ => Place::Local(text.to_owned()),
        }
    }
}

/// Whether the text says that a directory is meant.
fn asserts_directory(path: &str) -> bool {
    path.ends_with('/') || path.ends_with("/.") || path == "."
}

fn archive_path(name: &str, path: &str) -> Result<Path> {
    Ok(Path::of("containers", name, "archive")?.query("path", path))
}

async fn stat(context: &Context, name: &str, path: &str) -> Result<PathStat> {
    let response = context.client.send(Method::HEAD, &archive_path(name, path)?, empty_body(), &[]).await;
    match response {
        Ok(response) => stat_of(response.headers()),
        // An answer to HEAD has no message.
        Err(Error::Daemon { status: 404, .. }) => {
            context.client.get(&Path::of("containers", name, "json")?).await?;
            let message = format!("Could not find the file {path} in container {name}");
            Err(Error::Daemon { status: 404, message })
        }
        // Nor has any other: GET says why.
        Err(Error::Daemon { .. }) => match context.client.get(&archive_path(name, path)?).await {
            Ok(response) => stat_of(response.headers()),
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    }
}

fn stat_of(headers: &http::HeaderMap) -> Result<PathStat> {
    let wrong = || Error::message("the daemon does not say what is copied (X-Docker-Container-Path-Stat)");
    let text = headers.get("x-docker-container-path-stat").ok_or_else(wrong)?;
    let json = base64::engine::general_purpose::STANDARD.decode(text).map_err(|_| wrong())?;
    serde_json::from_slice(&json).map_err(|_| wrong())
}

/// Where a link in a container leads, seen from the link.
fn link_target(path: &str, stat: &PathStat) -> String {
    if stat.link_target.starts_with('/') {
        return stat.link_target.clone();
    }
    let parent = FilePath::new(path).parent().unwrap_or(FilePath::new("/"));
    parent.join(&stat.link_target).to_string_lossy().into_owned()
}

async fn out(context: &Context, matches: &Matches, name: &str, path: &str, target: &str) -> Result<()> {
    if path.is_empty() {
        return Err(Error::message("container path cannot be empty"));
    }
    let mut source = path.to_owned();
    let mut base = base_of(path);
    if matches.on("follow-link") {
        let known = stat(context, name, path).await?;
        if known.mode & MODE_SYMLINK != 0 {
            source = link_target(path, &known);
            base = base.or_else(|| base_of(&source));
        }
    }
    let response = context.client.get(&archive_path(name, &source)?).await?;
    let known = stat_of(response.headers())?;
    if target == "-" {
        if terminal::stdout_is_terminal() {
            return Err(Error::message("cowardly refusing to copy to a terminal: redirect the output"));
        }
        let mut reader = reader_of(response.into_body());
        return blocking(move || io::copy(&mut reader, &mut io::stdout().lock()).map(|_| ())).await;
    }
    let contents = source.ends_with("/.") || source == ".";
    let plan = local_plan(target, base.unwrap_or_default(), known.mode & MODE_DIR != 0, contents)?;
    let owners = matches.on("archive");
    let archive = reader_of(response.into_body());
    let bytes = blocking(move || unpack(archive, &plan, owners)).await?;
    told(matches, "Successfully copied", bytes, target);
    Ok(())
}

/// Where the entries of an archive go: into `directory`, with their first name replaced by `name`.
struct LocalPlan {
    directory: PathBuf,
    /// `None`: the first name is left out.
    name: Option<String>,
}

fn local_plan(target: &str, base: String, is_dir: bool, contents: bool) -> Result<LocalPlan> {
    let path = PathBuf::from(target);
    let name = (!contents).then_some(base);
    match std::fs::metadata(&path) {
        Ok(meta) if meta.is_dir() => Ok(LocalPlan { directory: path, name }),
        Ok(_) if is_dir => Err(Error::message("cannot copy directory")),
        Ok(_) if asserts_directory(target) => Err(Error::message("not a directory")),
        Err(_) if !is_dir && asserts_directory(target) => Err(Error::message("no such directory")),
        _ => {
            let directory = match path.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
                _ => PathBuf::from("."),
            };
            if !directory.is_dir() {
                return Err(Error::message(format!(
                    "invalid output path: directory {:?} does not exist",
                    directory.display()
                )));
            }
            let name = base_of(target).ok_or_else(|| Error::message(format!("{target}: no file name")))?;
            Ok(LocalPlan { directory, name: Some(name) })
        }
    }
}

/// The last name of a path; none for one that ends in `.`, `..` or is a root.
fn base_of(path: &str) -> Option<String> {
    if path.ends_with("/.") || path == "." {
        return None;
    }
    FilePath::new(path).file_name().map(|name| name.to_string_lossy().into_owned())
}

fn unpack(archive: impl Read, plan: &LocalPlan, owners: bool) -> io::Result<u64> {
    let mut archive = tar::Archive::new(archive);
    archive.set_preserve_permissions(true);
    archive.set_preserve_mtime(true);
    archive.set_preserve_ownerships(owners);
    let mut bytes = 0;
    let mut directories = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let Some(path) = plan.place(&entry.path()?)? else { continue };
        plan.check_parents(&path)?;
        bytes += entry.size();
        match entry.header().entry_type() {
            tar::EntryType::Link => {
                let link = entry.link_name()?.ok_or_else(|| io::Error::other("a link to nothing"))?;
                let Some(first) = plan.place(&link)? else { continue };
                plan.check_parents(&first)?;
                clear(&path)?;
                std::fs::hard_link(plan.directory.join(first), plan.directory.join(&path))?;
            }
            tar::EntryType::Directory => {
                let whole = plan.directory.join(&path);
                if std::fs::symlink_metadata(&whole).is_ok_and(|meta| !meta.is_dir()) {
                    return Err(io::Error::other(format!(
                        "cannot overwrite non-directory {} with directory",
                        whole.display()
                    )));
                }
                std::fs::create_dir_all(&whole)?;
                directories.push((whole, entry.header().mode()?));
            }
            _ => {
                let whole = plan.directory.join(&path);
                if std::fs::symlink_metadata(&whole).is_ok_and(|meta| meta.is_dir()) {
                    return Err(io::Error::other(format!(
                        "cannot overwrite directory {} with non-directory",
                        whole.display()
                    )));
                }
                entry.unpack(whole)?;
            }
        }
    }
    // Last, so that a directory without the right to write can be filled.
    for (path, mode) in directories.into_iter().rev() {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    }
    Ok(bytes)
}

fn clear(path: &FilePath) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl LocalPlan {
    /// The path below the directory; nothing when only the top is named. `..` is refused.
    fn place(&self, path: &FilePath) -> io::Result<Option<PathBuf>> {
        let mut names = Vec::new();
        for component in path.components() {
            match component {
                Component::Normal(name) => names.push(name.to_owned()),
                Component::CurDir | Component::RootDir => {}
                _ => return Err(io::Error::other(format!("the archive leads out: {}", path.display()))),
            }
        }
        // "./x" of a directory's contents has no first name of its own.
        let own =
            path.components().next().is_some_and(|first| first == Component::CurDir || first == Component::RootDir);
        if !own && !names.is_empty() {
            names.remove(0);
        }
        let placed: PathBuf = self.name.iter().map(Into::into).chain(names).collect();
        Ok(Some(placed).filter(|placed| !placed.as_os_str().is_empty()))
    }

    /// No directory on the way below ours may be a link that the archive brought.
    fn check_parents(&self, path: &FilePath) -> io::Result<()> {
        let mut at = self.directory.clone();
        for component in path.parent().into_iter().flat_map(FilePath::components) {
            at.push(component);
            if std::fs::symlink_metadata(&at).is_ok_and(|meta| meta.is_symlink()) {
                return Err(io::Error::other(format!("{} is a link on the way", at.display())));
            }
        }
        Ok(())
    }
}

async fn into(context: &Context, matches: &Matches, source: &str, name: &str, path: &str) -> Result<()> {
    if path.is_empty() {
        return Err(Error::message("container path cannot be empty"));
    }
    let mut target = path.to_owned();
    let mut known = match stat(context, name, &target).await {
        Ok(known) => Some(known),
        Err(error) if error.is_not_found() => {
            context.client.get(&Path::of("containers", name, "json")?).await?;
            None
        }
        Err(error) => return Err(error),
    };
    if let Some(link) = known.as_ref().filter(|known| known.mode & MODE_SYMLINK != 0) {
        target = link_target(&target, link);
        known = stat(context, name, &target).await.ok();
    }
    let is_dir = known.as_ref().is_some_and(|known| known.mode & MODE_DIR != 0);
    if source == "-" {
        if !is_dir {
            return Err(Error::message(format!("destination \"{name}:{path}\" must be a directory")));
        }
        return send(context, matches, name, &target, body_of(io::stdin())).await;
    }
    let (directory, base) = remote_plan(source, &target, known.is_some(), is_dir, matches.on("follow-link"))?;
    let (from, follow) = (PathBuf::from(source), matches.on("follow-link"));
    let total = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counted = std::sync::Arc::clone(&total);
    let body = written_body(move |sink| {
        let bytes = pack(sink, &from, &base, follow)?;
        counted.store(bytes, std::sync::atomic::Ordering::Relaxed);
        Ok(())
    });
    send(context, matches, name, &directory, body).await?;
    told(matches, "Successfully copied", total.load(std::sync::atomic::Ordering::Relaxed), &format!("{name}:{path}"));
    Ok(())
}

/// The directory in the container and the name there; `.` for the contents of a directory.
fn remote_plan(source: &str, target: &str, exists: bool, is_dir: bool, follow: bool) -> Result<(String, String)> {
    let inside = asserts_directory(source);
    let meta = if follow || inside { std::fs::metadata(source) } else { std::fs::symlink_metadata(source) };
    let meta = meta.map_err(|error| Error::message(format!("lstat {source}: {}", reason(&error))))?;
    if inside && !meta.is_dir() {
        return Err(Error::message(format!("{source}: not a directory")));
    }
    let contents = source.ends_with("/.") || source == ".";
    if exists && is_dir {
        let base = if contents { ".".to_owned() } else { base_of(source).unwrap_or_else(|| ".".to_owned()) };
        return Ok((target.to_owned(), base));
    }
    if meta.is_dir() && exists {
        return Err(Error::message(format!("cannot copy directory to {target:?}: it is a file")));
    }
    if !meta.is_dir() && asserts_directory(target) {
        return Err(Error::message(if exists { "not a directory" } else { "no such directory" }));
    }
    let path = FilePath::new(target);
    let parent = path
        .parent()
        .map_or_else(|| "/".to_owned(), |parent| format!("/{}", parent.to_string_lossy().trim_start_matches('/')));
    let base = base_of(target).ok_or_else(|| Error::message(format!("{target}: no file name")))?;
    Ok((parent, base))
}

async fn send(context: &Context, matches: &Matches, name: &str, directory: &str, body: Body) -> Result<()> {
    let mut path = archive_path(name, directory)?.query("noOverwriteDirNonDir", "true");
    if matches.on("archive") {
        path = path.query("copyUIDGID", "true");
    }
    let headers = [("content-type", "application/x-tar")];
    let response = context.client.send(Method::PUT, &path, body, &headers).await?;
    read_all(response.into_body()).await.map(|_| ())
}

/// Writes `source` as a tar whose first name is `base`.
fn pack(sink: &mut dyn Write, source: &FilePath, base: &str, follow: bool) -> io::Result<u64> {
    let mut builder = tar::Builder::new(sink);
    builder.follow_symlinks(false);
    // Only the source itself is followed, not what is in it.
    let top = if follow { std::fs::canonicalize(source)? } else { source.to_owned() };
    let bytes = pack_one(&mut builder, &top, FilePath::new(base))?;
    builder.finish()?;
    Ok(bytes)
}

fn pack_one(builder: &mut tar::Builder<&mut dyn Write>, path: &FilePath, name: &FilePath) -> io::Result<u64> {
    use std::os::unix::fs::FileTypeExt as _;
    let told = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let meta = std::fs::symlink_metadata(path).map_err(told)?;
    // A tar has no sockets.
    if meta.file_type().is_socket() {
        return Ok(0);
    }
    if !meta.is_dir() {
        builder.append_path_with_name(path, name).map_err(told)?;
        return Ok(if meta.is_file() { meta.len() } else { 0 });
    }
    builder.append_dir(name, path).map_err(told)?;
    let mut names: Vec<_> = std::fs::read_dir(path).map_err(told)?.collect::<io::Result<Vec<_>>>()?;
    names.sort_by_key(std::fs::DirEntry::file_name);
    let mut bytes = 0;
    for entry in names {
        bytes += pack_one(builder, &entry.path(), &name.join(entry.file_name()))?;
    }
    Ok(bytes)
}

fn told(matches: &Matches, what: &str, bytes: u64, target: &str) {
    if !matches.on("quiet") && terminal::stderr_is_terminal() {
        eprintln(&format!("{what} {} to {target}", crate::units::human_size(bytes as f64, 4)));
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T> {
    let (done, result) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || drop(done.send(work())));
    let result = result.await.map_err(|_| Error::message("the copy was broken off"))?;
    result.map_err(|error| {
        if error.kind() == io::ErrorKind::BrokenPipe { error.into() } else { Error::message(error.to_string()) }
    })
}
