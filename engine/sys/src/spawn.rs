//! The one way to start another program: nothing is inherited but what is asked for.
#![expect(unsafe_code, reason = "placing descriptors between fork and exec")]

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What to start.
#[derive(Debug)]
pub struct Program {
    path: PathBuf,
    argv0: Option<OsString>,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    folder: Option<PathBuf>,
    stdio: [Option<OwnedFd>; 3],
    handed: Vec<(i32, OwnedFd)>,
    session: bool,
}

impl Program {
    /// A program by path (or by name, looked up in this process's `PATH`) with no arguments, an empty environment
    /// and `/dev/null` as its three streams.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            argv0: None,
            arguments: Vec::new(),
            environment: Vec::new(),
            folder: None,
            stdio: [None, None, None],
            handed: Vec::new(),
            session: false,
        }
    }

    /// What it sees as its own name.
    #[must_use]
    pub fn argv0(mut self, name: impl Into<OsString>) -> Self {
        self.argv0 = Some(name.into());
        self
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Adds an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Runs it in this folder.
    #[must_use]
    pub fn current_dir(mut self, folder: &Path) -> Self {
        self.folder = Some(folder.to_owned());
        self
    }

    /// Its standard input.
    #[must_use]
    pub fn stdin(mut self, fd: OwnedFd) -> Self {
        self.stdio[0] = Some(fd);
        self
    }

    /// Its standard output.
    #[must_use]
    pub fn stdout(mut self, fd: OwnedFd) -> Self {
        self.stdio[1] = Some(fd);
        self
    }

    /// Its standard error.
    #[must_use]
    pub fn stderr(mut self, fd: OwnedFd) -> Self {
        self.stdio[2] = Some(fd);
        self
    }

    /// Gives it a descriptor as number `number`, 3 or more.
    #[must_use]
    pub fn hand(mut self, number: i32, fd: OwnedFd) -> Self {
        self.handed.push((number, fd));
        self
    }

    /// Starts it in a session of its own, so that signals of our terminal do not reach it.
    #[must_use]
    pub fn new_session(mut self) -> Self {
        self.session = true;
        self
    }

    /// Starts it. The caller reaps it.
    ///
    /// # Errors
    /// Those of fork and exec, with the path.
    pub fn start(self) -> io::Result<i32> {
        self.start_prepared(|| Ok(()))
    }

    /// Starts it after `prepare` ran in the child, between fork and exec.
    ///
    /// # Errors
    /// Those of fork, `prepare` and exec, with the path.
    pub fn start_prepared(self, prepare: impl FnMut() -> io::Result<()> + Send + Sync + 'static) -> io::Result<i32> {
        let path = self.path.clone();
        let child = self.into_command(prepare).spawn();
        let child = child.map_err(|e| io::Error::new(e.kind(), format!("start {}: {e}", path.display())))?;
        i32::try_from(child.id()).map_err(io::Error::other)
    }

    fn into_command(self, mut prepare: impl FnMut() -> io::Result<()> + Send + Sync + 'static) -> Command {
        let mut command = Command::new(&self.path);
        command.args(&self.arguments).env_clear().envs(self.environment);
        if let Some(name) = self.argv0 {
            command.arg0(name);
        }
        if let Some(folder) = self.folder {
            command.current_dir(folder);
        }
        let [stdin, stdout, stderr] = self.stdio.map(|fd| fd.map_or_else(Stdio::null, Stdio::from));
        command.stdin(stdin).stdout(stdout).stderr(stderr);
        let (handed, session) = (self.handed, self.session);
        let hook = move || {
            prepare()?;
            if session {
                rustix::process::setsid()?;
            }
            place(&handed)
        };
        // SAFETY: the hook makes system calls on descriptors that it owns, and whatever the caller's `prepare` does,
        // which is documented to run between fork and exec.
        unsafe { command.pre_exec(hook) };
        command
    }
}

/// Puts each descriptor at its number, after lifting all of them out of the way of each other's numbers.
fn place(handed: &[(i32, OwnedFd)]) -> io::Result<()> {
    const LIFTED_FIRST: i32 = 512;
    let mut lifted = Vec::with_capacity(handed.len());
    for (number, fd) in handed {
        lifted.push((*number, rustix::io::fcntl_dupfd_cloexec(fd, LIFTED_FIRST)?));
    }
    for (number, fd) in &lifted {
        // SAFETY: plain integers; dup2 onto a number closes what was there, which is wanted and not owned by us.
        if unsafe { libc::dup2(fd.as_raw_fd(), *number) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
