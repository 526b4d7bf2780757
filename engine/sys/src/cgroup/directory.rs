//! Cgroup directories: clean paths, making and removing them, and who is inside.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::XattrFlags;

use super::{Error, Result, control_file};

/// Marks parents that were made here, so that whoever removes the last cgroup in them can remove them too, even after
/// a restart. The kernel keeps `trusted.*` attributes on cgroup directories of both versions.
const MADE_HERE: &str = "trusted.gantry.made";

/// More directories than this below one cgroup are a bug or an attack.
const DESCENDANTS_MAX: usize = 65_536;

/// Rounds of freezing, killing and thawing while freezing does not succeed.
const KILL_ROUNDS_MAX: usize = 20;

/// How often `make` begins again when a parent vanishes under it.
const MAKE_ATTEMPTS_MAX: usize = 8;

/// `/a/b` of any spelling of it.
///
/// # Errors
/// [`Error::Invalid`] for an empty path, `..`, NUL, or a name longer than the kernel takes.
pub(super) fn clean_path(path: &str) -> Result<String> {
    let refuse = |reason: &str| Err(Error::invalid("cgroupsPath", format!("{reason}: {path:?}")));
    let mut clean = String::with_capacity(path.len() + 1);
    for component in path.split('/') {
        match component {
            "" | "." => continue,
            ".." => return refuse("may not contain .."),
            name if name.len() > 255 => return refuse("has a name longer than 255 bytes"),
            name if name.contains(['\0', '\n']) => return refuse("contains a NUL or a line break"),
            name => {
                clean.push('/');
                clean.push_str(name);
            }
        }
    }
    if clean.is_empty() { refuse("names no cgroup") } else { Ok(clean) }
}

/// `root` and a clean path below it.
pub(super) fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

/// Makes `path` below `root`, adding to `made` what was not there. `prepare` is called with each parent and child,
/// from the top, after the child is there.
pub(super) fn make(
    root: &Path,
    path: &str,
    made: &mut Vec<PathBuf>,
    mut prepare: impl FnMut(&Path, &Path) -> Result<()>,
) -> Result<()> {
    let mut attempt = 0;
    'again: loop {
        attempt += 1;
        let mut parent = root.to_owned();
        let mut names = path.split('/').filter(|name| !name.is_empty()).peekable();
        while let Some(name) = names.next() {
            let child = parent.join(name);
            match fs::create_dir(&child) {
                Ok(()) => {
                    if names.peek().is_some() {
                        mark(&child);
                    }
                    made.push(child.clone());
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                // Somebody removed the parent, which was empty, in this moment.
                Err(error) if error.kind() == io::ErrorKind::NotFound && attempt < MAKE_ATTEMPTS_MAX => {
                    continue 'again;
                }
                Err(error) => return Err(Error::io("make", &child, error)),
            }
            match prepare(&parent, &child) {
                Err(_) if !child.is_dir() && attempt < MAKE_ATTEMPTS_MAX => continue 'again,
                other => other?,
            }
            parent = child;
        }
        return Ok(());
    }
}

/// Without the attribute (an unprivileged engine) the parent merely stays.
fn mark(directory: &Path) {
    let _ = rustix::fs::setxattr(directory, MADE_HERE, b"1", XattrFlags::empty());
}

fn is_marked(directory: &Path) -> bool {
    let mut value = [0u8; 1];
    rustix::fs::getxattr(directory, MADE_HERE, &mut value).is_ok()
}

/// Undoes a failed `make`: removes what is empty of `made`, last first.
pub(super) fn unmake(made: &[PathBuf]) {
    for directory in made.iter().rev() {
        // In use by another by now, or gone: either way not ours to insist on.
        let _ = fs::remove_dir(directory);
    }
}

/// Removes the cgroup at `path` below `root`, those below it, and empty parents that were made here. Waits until
/// `deadline` for processes to be gone.
pub(super) fn remove(root: &Path, path: &str, deadline: Instant) -> Result<()> {
    let leaf = below(root, path);
    let mut pause = Duration::from_millis(1);
    loop {
        match remove_tree(&leaf) {
            Ok(()) => break,
            Err(Error::Io { source, .. }) if is_busy(&source) && Instant::now() < deadline => {
                thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(100));
            }
            Err(error) => return Err(error),
        }
    }
    let mut parent = leaf.parent();
    while let Some(directory) = parent.filter(|directory| *directory != root && is_marked(directory)) {
        if fs::remove_dir(directory).is_err() {
            break;
        }
        parent = directory.parent();
    }
    Ok(())
}

/// ENOTEMPTY: a cgroup was made below in between; EBUSY: processes.
fn is_busy(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBUSY | libc::ENOTEMPTY))
}

fn remove_tree(leaf: &Path) -> Result<()> {
    match fs::remove_dir(leaf) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if is_busy(&error) => {}
        Err(error) => return Err(Error::io("remove", leaf, error)),
    }
    for directory in tree(leaf)?.iter().rev() {
        match fs::remove_dir(directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Error::io("remove", directory, error)),
            _ => {}
        }
    }
    Ok(())
}

/// `leaf` and all cgroups below it, parents first. One that vanishes meanwhile is left out.
pub(super) fn tree(leaf: &Path) -> Result<Vec<PathBuf>> {
    let mut found = vec![leaf.to_owned()];
    let mut next = 0;
    while next < found.len() {
        let directory = found[next].clone();
        next += 1;
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if is_gone(&error) => continue,
            Err(error) => return Err(Error::io("list", &directory, error)),
        };
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) if is_gone(&error) => break,
                Err(error) => return Err(Error::io("list", &directory, error)),
            };
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                found.push(entry.path());
            }
        }
        if found.len() > DESCENDANTS_MAX {
            return Err(Error::invalid("cgroupsPath", format!("more than {DESCENDANTS_MAX} cgroups in it")));
        }
    }
    Ok(found)
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV))
}

/// The processes in `leaf` and below.
///
/// # Errors
/// [`Error::NotFound`] if `leaf` does not exist.
pub(super) fn pids(leaf: &Path) -> Result<BTreeSet<i32>> {
    if !leaf.is_dir() {
        return Err(Error::NotFound { path: leaf.to_owned() });
    }
    let mut pids = BTreeSet::new();
    for directory in tree(leaf)? {
        // A threaded cgroup (v2) answers EOPNOTSUPP, which `read` passes over: its domain lists the process.
        let text = control_file::read(&directory, "cgroup.procs")?.unwrap_or_default();
        pids.extend(text.lines().filter_map(|line| line.trim().parse::<i32>().ok()).filter(|pid| *pid > 0));
    }
    Ok(pids)
}

/// Moves `pid` into `directory`. The kernel answers EINVAL while the process is still being forked; runc and others
/// retry that for a moment, and so does this.
pub(super) fn add(directory: &Path, pid: i32) -> Result<()> {
    let file = directory.join("cgroup.procs");
    let mut attempts_left = 5;
    loop {
        attempts_left -= 1;
        match control_file::write_raw(&file, &pid.to_string()) {
            Ok(()) => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) && attempts_left > 0 => {
                thread::sleep(Duration::from_millis(30));
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) && !directory.is_dir() => {
                return Err(Error::NotFound { path: directory.to_owned() });
            }
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {
                return Err(Error::io("move a process that has ended into", directory, error));
            }
            Err(error) => return Err(Error::io("write", &file, error)),
        }
    }
}

/// Kills what is in the cgroup `path` process by process, in rounds: a cgroup that stands still while it is done needs
/// one, another as many as it forks.
///
/// # Errors
/// [`Error::TimedOut`] when it still forks after [`KILL_ROUNDS_MAX`] rounds, and what the calls given fail with.
pub(super) fn kill_each(
    path: &str,
    freeze: impl Fn() -> Result<()>,
    pids: impl Fn() -> Result<BTreeSet<i32>>,
    thaw: impl Fn() -> Result<()>,
) -> Result<()> {
    let mut killed = BTreeSet::new();
    for _ in 0..KILL_ROUNDS_MAX {
        let frozen = freeze().is_ok();
        let inside = pids()?;
        inside.iter().try_for_each(|pid| kill(*pid))?;
        let thawed = thaw();
        if frozen || inside.is_subset(&killed) {
            return thawed;
        }
        killed.extend(inside);
    }
    Err(Error::TimedOut { waiting_for: format!("the processes of {path} to stop forking") })
}

/// Sends SIGKILL to a process; one that has ended is fine.
fn kill(pid: i32) -> Result<()> {
    let Some(pid) = rustix::process::Pid::from_raw(pid) else { return Ok(()) };
    match rustix::process::kill_process(pid, rustix::process::Signal::KILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(errno) => {
            Err(Error::io("kill", Path::new(&format!("/proc/{pid}", pid = pid.as_raw_nonzero())), errno.into()))
        }
    }
}
