//! `ADD` from elsewhere: a file by its URL, a repository by git.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use sha2::Digest as _;
use sys::rooted::RootFd;
use tokio::io::AsyncWriteExt as _;

use crate::container::Stream;
use crate::content::make_private_dir;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ContainerId, Digest};

use super::client::LocalSource;
use super::executor::Execution;
use super::process::cancelled;
use super::source::Source;
use super::teller::Vertex;

/// How long nothing may come of a file before it is given up.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How long git may take.
const GIT_MAX: Duration = Duration::from_secs(1800);
/// Redirects that are followed.
const REDIRECTS_MAX: usize = 10;
/// Protocols that git may speak: never those that run programs or read files of the host.
const GIT_PROTOCOLS: &str = "https:http:git:ssh";

/// A file that was fetched.
#[derive(Debug)]
pub(super) struct Fetched {
    path: PathBuf,
    /// The last part of the URL's path, or what the server calls it.
    pub(super) name: String,
    pub(super) digest: Digest,
    /// `Last-Modified`, unix seconds; 0 without.
    pub(super) modified: i64,
}

impl Fetched {
    pub(super) fn open(&self) -> Result<std::fs::File> {
        Ok(std::fs::File::open(&self.path)?)
    }
}

/// A repository: `URL[#ref[:subdir]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitSource {
    /// What git clones.
    pub url: String,
    /// Branch, tag or commit; empty = the remote's default.
    pub reference: String,
    /// Directory in it; empty = all.
    pub subdir: String,
}

/// Whether a source of `ADD` is not in the context.
pub(super) fn is_remote(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://") || git_source(text).is_some()
}

/// Whether a text is a whole commit id.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Reads a source as a repository: `git://…`, `git@host:path`, `ssh://…`, `https://….git`, `github.com/…`.
#[must_use]
pub fn git_source(text: &str) -> Option<GitSource> {
    let (url, fragment) = text.split_once('#').unwrap_or((text, ""));
    let path = url.split_once("://").map_or(url, |(_, rest)| rest);
    let by_scheme = url.starts_with("git://") || url.starts_with("ssh://") || url.starts_with("git@");
    let over_http = (url.starts_with("http://") || url.starts_with("https://")) && path.ends_with(".git");
    let by_host = url.starts_with("github.com/");
    if !(by_scheme || over_http || by_host) {
        return None;
    }
    let url = if by_host { format!("https://{url}") } else { url.to_owned() };
    let (reference, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
    Some(GitSource { url, reference: reference.to_owned(), subdir: subdir.to_owned() })
}

/// Fetches a file and compares its digest.
///
/// # Errors
/// `InvalidArgument` for another digest or status than wanted; `Unavailable` for a server that cannot be reached.
pub(super) async fn fetch(
    execution: &Execution,
    url: &str,
    checksum: Option<&str>,
    vertex: &Vertex,
) -> Result<Fetched> {
    let wanted = checksum.map(str::parse::<Digest>).transpose().map_err(|e| e.context("--checksum"))?;
    let failed =
        |e: reqwest::Error| Error::new(ErrorKind::Unavailable, format!("fetch {url}")).with_source(e.without_url());
    let work = async {
        let response = get(url).await?;
        let modified = response.headers().get("last-modified").and_then(|value| http_time(value.to_str().ok()?));
        let name = name_of(response.url().path())
            .ok_or_else(|| Error::invalid(format!("{url}: the URL has no file name: give the destination one")))?;
        let path = execution.layers.scratch().join(format!("url-{}", ContainerId::random().short()));
        let total = response.content_length().unwrap_or(0);
        let digest = save(execution, response, &path, total, vertex, failed).await?;
        Ok::<_, Error>(Fetched { path, name, digest, modified: modified.unwrap_or(0) })
    };
    let fetched = tokio::select! {
        fetched = work => fetched?,
        () = execution.cancel.cancelled() => return Err(cancelled()),
    };
    if let Some(wanted) = wanted
        && wanted != fetched.digest
    {
        return Err(Error::invalid(format!("digest mismatch {}: {wanted}", fetched.digest)));
    }
    Ok(fetched)
}

/// Asks for a URL; answers what came with a status that means success.
pub(super) async fn get(url: &str) -> Result<reqwest::Response> {
    let failed =
        |e: reqwest::Error| Error::new(ErrorKind::Unavailable, format!("fetch {url}")).with_source(e.without_url());
    let client = crate::image::web_client(REDIRECTS_MAX, SILENCE_MAX).await?;
    let response = client.get(url).send().await.map_err(failed)?;
    if !response.status().is_success() {
        return Err(Error::invalid(format!("invalid response status {} of {url}", response.status().as_u16())));
    }
    Ok(response)
}

async fn save(
    execution: &Execution,
    response: reqwest::Response,
    path: &Path,
    total: u64,
    vertex: &Vertex,
    failed: impl Fn(reqwest::Error) -> Error,
) -> Result<Digest> {
    let bytes_max = execution.core.images.settings().layer_unpacked_bytes_max;
    let mut file = tokio::fs::File::create(path).await?;
    let mut hash = sha2::Sha256::new();
    let mut count = 0_u64;
    let mut body = response.bytes_stream();
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(&failed)?;
        count += piece.len() as u64;
        if count > bytes_max {
            return Err(Error::new(ErrorKind::ResourceExhausted, format!("the file is longer than {bytes_max} bytes")));
        }
        hash.update(&piece);
        file.write_all(&piece).await?;
        vertex.status("downloading".to_owned(), count, total, false).await?;
    }
    file.flush().await?;
    Ok(Digest::from_bytes(hash.finalize().into()))
}

fn name_of(path: &str) -> Option<String> {
    let last = path.rsplit('/').next().unwrap_or_default();
    let name = percent_encoding::percent_decode_str(last).decode_utf8_lossy().into_owned();
    let usable = !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0']);
    usable.then_some(name)
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_time(text: &str) -> Option<i64> {
    let text = text.strip_suffix("GMT")?.trim();
    let time = jiff::fmt::strtime::parse("%a, %d %b %Y %H:%M:%S", text).ok()?;
    Some(time.to_datetime().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second())
}

/// Clones a repository with the git program of this machine; hooks, submodules of the local file system and programs
/// for other protocols are switched off.
///
/// # Errors
/// `NotImplemented` when there is no git here; `InvalidArgument` with what git says, and for a subdirectory that is not
/// inside.
pub(super) async fn git(
    execution: &Execution,
    wanted: &GitSource,
    keep_git_dir: bool,
    commit: Option<&str>,
    vertex: &Vertex,
) -> Result<Arc<Source>> {
    let dir = execution.layers.scratch().join(format!("git-{}", ContainerId::random().short()));
    let cloned = tokio::select! {
        cloned = clone(wanted, &dir, commit, Some(vertex)) => cloned,
        () = execution.cancel.cancelled() => Err(cancelled()),
    };
    cloned?;
    let place = subdirectory(&dir, &wanted.subdir)?;
    if !keep_git_dir {
        let root = RootFd::open(&dir)?.open_dir(Path::new(""))?;
        root.remove_all(std::ffi::OsStr::new(".git"))?;
    }
    Source::local(Arc::new(LocalSource::new(place, None)), None).map(Arc::new)
}

/// A directory of a repository, which must be in it: its symlinks are followed inside.
///
/// # Errors
/// `InvalidArgument` when it is not there.
pub fn subdirectory(dir: &Path, subdir: &str) -> Result<PathBuf> {
    if subdir.is_empty() {
        return Ok(dir.to_owned());
    }
    let wrong = || Error::invalid(format!("invalid subdirectory {subdir:?}: it is not a directory of the repository"));
    let root = RootFd::open(dir)?;
    let real = root.resolve(Path::new(subdir)).map_err(|_| wrong())?;
    let real = real.strip_prefix("/").unwrap_or(&real);
    let first_is_git = real.components().next().is_some_and(|part| part.as_os_str() == ".git");
    if first_is_git || root.open_dir(real).is_err() {
        return Err(wrong());
    }
    Ok(dir.join(real))
}

/// Clones into `dir`, which is made.
///
/// # Errors
/// As [`git`].
pub async fn clone_into(wanted: &GitSource, dir: &Path) -> Result<()> {
    clone(wanted, dir, None, None).await
}

async fn clone(wanted: &GitSource, dir: &Path, commit: Option<&str>, vertex: Option<&Vertex>) -> Result<()> {
    if wanted.url.starts_with('-') || wanted.reference.starts_with('-') {
        return Err(Error::invalid(format!("{}#{}: not a repository", wanted.url, wanted.reference)));
    }
    make_private_dir(dir)?;
    let reference = if wanted.reference.is_empty() { "HEAD" } else { wanted.reference.as_str() };
    run_git(dir, &["init", "--quiet"], vertex).await?;
    run_git(dir, &["remote", "add", "origin", &wanted.url], vertex).await?;
    let fetch = ["fetch", "--quiet", "--depth=1", "--no-recurse-submodules", "--", "origin", reference];
    if let Err(error) = run_git(dir, &fetch, vertex).await {
        // Not every server gives a commit by its id: the whole history has it.
        if !is_commit(reference) {
            return Err(error);
        }
        run_git(dir, &["fetch", "--quiet", "--no-recurse-submodules", "--tags", "origin"], vertex).await?;
        run_git(dir, &["checkout", "--quiet", "--detach", reference], vertex).await?;
        return Ok(());
    }
    run_git(dir, &["checkout", "--quiet", "--detach", "FETCH_HEAD"], vertex).await?;
    if let Some(commit) = commit {
        let head = run_git(dir, &["rev-parse", "HEAD"], None).await?;
        if head.trim() != commit {
            return Err(Error::invalid(format!("expected checksum to match {commit}, got {}", head.trim())));
        }
    }
    Ok(())
}

async fn run_git(dir: &Path, args: &[&str], vertex: Option<&Vertex>) -> Result<String> {
    let mut command = tokio::process::Command::new("git");
    // Nothing of the host's configuration, no hooks, no prompts.
    command
        .args(["-c", "core.hooksPath=/dev/null", "-c", "protocol.file.allow=never", "-c", "core.fsmonitor=false"])
        .args(["-c", "core.symlinks=true", "-c", "safe.directory=*"])
        .args(args)
        .current_dir(dir)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", dir)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_ALLOW_PROTOCOL", GIT_PROTOCOLS)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let output = tokio::time::timeout(GIT_MAX, command.output()).await;
    let output = output.map_err(|_| Error::new(ErrorKind::DeadlineExceeded, "git has taken too long"))?;
    let output = output.map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => {
            Error::not_implemented("a git repository: the git program is not installed where the daemon runs")
        }
        _ => Error::from(e).context("run git"),
    })?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if let (Some(vertex), false) = (vertex, said.is_empty()) {
        vertex.log(Stream::Stderr, format!("{said}\n").into()).await?;
    }
    if !output.status.success() {
        return Err(Error::invalid(format!("git {}: {said}", args.first().unwrap_or(&""))));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_are_told_from_files() {
        let of = |text: &str| git_source(text).map(|git| (git.url, git.reference, git.subdir));
        let some = |url: &str, reference: &str, subdir: &str| Some((url.into(), reference.into(), subdir.into()));
        assert_eq!(of("https://x/y.git#main:sub/dir"), some("https://x/y.git", "main", "sub/dir"));
        assert_eq!(of("git@x:y"), some("git@x:y", "", ""));
        assert_eq!(of("github.com/a/b"), some("https://github.com/a/b", "", ""));
        assert_eq!(of("https://x/y.tar.gz"), None);
        assert!(is_remote("http://x/y") && !is_remote("./http"));
    }

    #[test]
    fn a_subdirectory_stays_inside() {
        let dir = tempfile::tempdir().unwrap();
        let repository = dir.path().join("r");
        std::fs::create_dir_all(repository.join("a/b")).unwrap();
        std::fs::create_dir(repository.join(".git")).unwrap();
        std::fs::create_dir(dir.path().join("outside")).unwrap();
        std::os::unix::fs::symlink("../../outside", repository.join("a/out")).unwrap();
        std::os::unix::fs::symlink("b", repository.join("a/in")).unwrap();
        assert_eq!(subdirectory(&repository, "a/in").unwrap(), repository.join("a/b"));
        for escape in ["../outside", "a/out", ".git", "/../../outside", "nosuch"] {
            assert!(subdirectory(&repository, escape).is_err(), "{escape}");
        }
    }

    #[test]
    fn names_and_times_of_files() {
        assert_eq!(name_of("/a/b%20c.txt").as_deref(), Some("b c.txt"));
        assert_eq!([name_of("/"), name_of("/a/.."), name_of("/%2F")], [None, None, None]);
        assert_eq!(http_time("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
    }
}
