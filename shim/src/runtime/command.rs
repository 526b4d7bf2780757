//! An OCI runtime program (runc, crun, youki) as a child process.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use shim_api::options::CgroupDriver;
use shim_api::proto::types::Mount as RootfsMount;
use sys::cgroup::{Cgroup, CgroupStats, Limits};
use sys::clone::CloneFlags;
use sys::mount::Propagation;
use sys::pidfd::PidFd;
use sys::spawn::Program;

use super::builtin::rootfs;
use crate::reaper::Reaper;
use crate::runtime::{
    CreateRequest, Created, ExecRequest, Failure, OciRuntime, Result, SharedMemory, Stdio, cgroup_of, root_path,
};

/// A runtime program that has not come back by then is stuck.
const DEADLINE: Duration = Duration::from_secs(110);
/// Of what the program has to say about a failure, this much is read.
const LOG_BYTES_MAX: u64 = 64 << 10;

/// The program and its containers.
#[derive(Debug)]
pub(crate) struct CommandRuntime {
    binary: PathBuf,
    root: PathBuf,
    driver: CgroupDriver,
    reaper: Rc<Reaper>,
    containers: RefCell<HashMap<String, Rc<Known>>>,
    calls: Cell<u64>,
}

#[derive(Debug)]
struct Known {
    bundle: PathBuf,
    cgroup: Option<Cgroup>,
}

impl CommandRuntime {
    /// `root` is the program's state folder.
    pub(crate) fn new(binary: PathBuf, root: PathBuf, driver: CgroupDriver, reaper: Rc<Reaper>) -> Self {
        Self { binary, root, driver, reaper, containers: RefCell::default(), calls: Cell::new(0) }
    }

    fn known(&self, id: &str) -> Result<Rc<Known>> {
        let found = self.containers.borrow().get(id).map(Rc::clone);
        found.ok_or_else(|| Failure::new("find", format!("container {id} does not exist")))
    }

    /// Thaws it, if it is there and frozen.
    pub(crate) fn thaw(&self, id: &str) {
        if let Some(cgroup) = self.known(id).ok().as_ref().and_then(|known| known.cgroup.as_ref()) {
            let _ = cgroup.thaw();
        }
    }

    /// A name for files of one call.
    fn next(&self) -> u64 {
        self.calls.set(self.calls.get() + 1);
        self.calls.get()
    }

    fn program(&self, log: &Path) -> Program {
        let mut program = Program::new(&self.binary).env("PATH", search_path()).arg("--root").arg(&self.root);
        program = program.arg("--log").arg(log);
        if self.driver == CgroupDriver::Systemd { program.arg("--systemd-cgroup") } else { program }
    }

    /// Runs a command of the program to its end.
    async fn run(&self, bundle: &Path, verb: &str, build: impl FnOnce(Program) -> Program) -> Result<()> {
        self.run_prepared(bundle, verb, build, || Ok(())).await
    }

    async fn run_prepared(
        &self,
        bundle: &Path,
        verb: &str,
        build: impl FnOnce(Program) -> Program,
        prepare: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
    ) -> Result<()> {
        let log = bundle.join(format!("runtime-{}.log", self.next()));
        let program = build(self.program(&log).arg(verb));
        let pid = program.start_prepared(prepare).map_err(|e| Failure::io("runtime", self.binary.display(), &e))?;
        let exit = tokio::time::timeout(DEADLINE, self.reaper.watch(pid)).await;
        let said = last_words(&log);
        let _ = std::fs::remove_file(&log);
        match exit {
            Ok(Ok(exit)) if exit.status == 0 => Ok(()),
            Ok(_) => Err(told(&self.binary, verb, &said)),
            Err(_elapsed) => {
                if let Ok(stuck) = PidFd::open(pid) {
                    let _ = stuck.send_signal(libc::SIGKILL);
                }
                Err(Failure::new("runtime", format!("{} {verb}: no end within {DEADLINE:?}", self.binary.display())))
            }
        }
    }

    /// The process whose id the program wrote.
    fn adopt(pid_file: &Path) -> Result<(i32, Option<PidFd>)> {
        let text = std::fs::read_to_string(pid_file).map_err(|e| Failure::io("pid file", pid_file.display(), &e))?;
        let _ = std::fs::remove_file(pid_file);
        let pid: i32 = text.trim().parse().map_err(|e| Failure::new("pid file", format!("{text:?}: {e}")))?;
        // A short-lived one may have ended and been collected already; the reaper keeps how.
        Ok((pid, PidFd::open(pid).ok()))
    }
}

/// The program's words, with the step that callers tell apart: whether the user's program could be run.
pub(super) fn told(program: &Path, verb: &str, said: &str) -> Failure {
    // Each program has its own words, but for the kernel's own, which docker's CLI looks for as Go writes them.
    let said = said
        .replace("No such file or directory", "no such file or directory")
        .replace("Permission denied", "permission denied");
    let lower = said.to_lowercase();
    let errno = if lower.contains("not found in $path") || lower.contains("no such file or directory") {
        libc::ENOENT
    } else if lower.contains("permission denied") {
        libc::EACCES
    } else {
        0
    };
    let step = if errno != 0 && matches!(verb, "create" | "start" | "exec") { "exec" } else { "runtime" };
    Failure { step: step.to_owned(), errno, message: format!("{} {verb}: {said}", program.display()) }
}

pub(super) fn search_path() -> std::ffi::OsString {
    std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into())
}

/// The last message in the program's log (logrus text or crun's plain lines).
fn last_words(log: &Path) -> String {
    use std::io::Read as _;
    let mut text = String::new();
    if let Ok(file) = std::fs::File::open(log) {
        let _ = file.take(LOG_BYTES_MAX).read_to_string(&mut text);
    }
    let Some(line) = text.lines().last() else { return "failed without a word".to_owned() };
    match line.split_once("msg=\"") {
        Some((_, rest)) => rest.trim_end_matches('"').replace("\\\"", "\""),
        None => line.to_owned(),
    }
}

/// The streams of the new process are those of the program itself.
fn with_stdio(mut program: Program, stdio: Stdio) -> Program {
    if let Some(fd) = stdio.stdin {
        program = program.stdin(fd);
    }
    if let Some(fd) = stdio.stdout {
        program = program.stdout(fd);
    }
    if let Some(fd) = stdio.stderr {
        program = program.stderr(fd);
    }
    program
}

/// Where the program sends our end of a terminal.
struct ConsoleSocket {
    folder: PathBuf,
    listener: std::os::unix::net::UnixListener,
}

impl ConsoleSocket {
    /// In a folder with a short name, as socket addresses are short.
    fn new(number: u64) -> io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("gantry-{}-{number}", std::process::id()));
        std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
        let listener = std::os::unix::net::UnixListener::bind(folder.join("c"))?;
        Ok(Self { folder, listener })
    }

    fn path(&self) -> PathBuf {
        self.folder.join("c")
    }

    /// The terminal; the program has sent it by the time it ends.
    fn receive(&self, size: Option<(u16, u16)>) -> io::Result<OwnedFd> {
        self.listener.set_nonblocking(true)?;
        let (stream, _address) = self.listener.accept()?;
        let master = super::builtin::receive_descriptor(stream.as_fd())?;
        if let Some((width, height)) = size {
            sys::pty::set_size(&master, width, height)?;
        }
        Ok(master)
    }
}

impl Drop for ConsoleSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.path());
        let _ = std::fs::remove_dir(&self.folder);
    }
}

fn console_socket(wanted: bool, number: u64) -> Result<Option<ConsoleSocket>> {
    wanted.then(|| ConsoleSocket::new(number)).transpose().map_err(|e| Failure::io("console", "socket", &e))
}

/// Mounts that a program expects at paths of the host.
#[derive(Debug)]
pub(super) struct PrivateMounts(Vec<(OwnedFd, PathBuf)>);

impl PrivateMounts {
    /// The root file system, if it is not there already, and shared memory; the folders are made.
    pub(super) fn new(rootfs: &[RootfsMount], root: &Path, shm: Option<SharedMemory>) -> Result<Self> {
        let mut all = Vec::new();
        if !rootfs.is_empty() {
            all.push((rootfs::prepare(rootfs, root)?.mount, root.to_owned()));
        }
        all.extend(shm.map(|shm| (shm.mount, shm.source)));
        for (_, at) in &all {
            std::fs::create_dir_all(at).map_err(|e| Failure::io("rootfs", at.display(), &e))?;
        }
        Ok(Self(all))
    }

    /// Puts them there, in a mount namespace that only the program and its container see.
    pub(super) fn attach(&self) -> io::Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        sys::namespace::unshare(CloneFlags::NEW_MOUNT)?;
        sys::mount::change_propagation(Path::new("/"), Propagation::Slave)?;
        self.0.iter().try_for_each(|(mount, at)| sys::mount::attach_at(mount, at))
    }
}

impl OciRuntime for CommandRuntime {
    async fn create(&self, request: CreateRequest) -> Result<Created> {
        let CreateRequest { id, bundle, spec, rootfs: mounts, stdio, terminal_size, no_new_keyring, init, shm, .. } =
            request;
        if init {
            return Err(Failure::new("config", "init: only the built-in runtime provides one"));
        }
        let cgroup = cgroup_of(&spec, &id, self.driver).ok();
        let mounts = PrivateMounts::new(&mounts, &root_path(&spec, &bundle), shm)?;
        let number = self.next();
        let terminal = spec.process.as_ref().is_some_and(|process| process.terminal);
        let console = console_socket(terminal, number)?;
        let pid_file = bundle.join(format!("runtime-{number}.pid"));
        self.reaper.forget_unclaimed();
        let build = |mut program: Program| {
            program = program.arg("--bundle").arg(&bundle).arg("--pid-file").arg(&pid_file);
            if let Some(console) = &console {
                program = program.arg("--console-socket").arg(console.path());
            }
            if no_new_keyring {
                program = program.arg("--no-new-keyring");
            }
            with_stdio(program.arg(&id), stdio)
        };
        let prepare = move || mounts.attach();
        self.run_prepared(&bundle, "create", build, prepare).await?;
        let (pid, pidfd) = Self::adopt(&pid_file)?;
        let console = console
            .map(|console| console.receive(terminal_size))
            .transpose()
            .map_err(|e| Failure::io("console", "", &e))?;
        self.containers.borrow_mut().insert(id, Rc::new(Known { bundle, cgroup }));
        Ok(Created { pid, pidfd, console, warnings: Vec::new(), elsewhere: None })
    }

    async fn start(&self, id: &str) -> Result<()> {
        self.run(&self.known(id)?.bundle, "start", |program| program.arg(id)).await
    }

    async fn exec(&self, id: &str, request: ExecRequest) -> Result<Created> {
        let known = self.known(id)?;
        let number = self.next();
        let (file, pid_file) =
            (known.bundle.join(format!("exec-{number}.json")), known.bundle.join(format!("exec-{number}.pid")));
        std::fs::write(&file, &request.process_json).map_err(|e| Failure::io("exec", file.display(), &e))?;
        let console = console_socket(request.process.terminal, number)?;
        self.reaper.forget_unclaimed();
        let build = |mut program: Program| {
            program = program.arg("--process").arg(&file).arg("--pid-file").arg(&pid_file).arg("--detach");
            if let Some(console) = &console {
                program = program.arg("--tty").arg("--console-socket").arg(console.path());
            }
            with_stdio(program.arg(id), request.stdio)
        };
        let ran = self.run(&known.bundle, "exec", build).await;
        let _ = std::fs::remove_file(&file);
        ran?;
        let (pid, pidfd) = Self::adopt(&pid_file)?;
        let console = console
            .map(|console| console.receive(request.terminal_size))
            .transpose()
            .map_err(|e| Failure::io("console", "", &e))?;
        Ok(Created { pid, pidfd, console, warnings: Vec::new(), elsewhere: None })
    }

    async fn kill(&self, id: &str, signal: i32, all: bool) -> Result<()> {
        let known = self.known(id)?;
        if all
            && signal == libc::SIGKILL
            && let Some(cgroup) = &known.cgroup
        {
            return cgroup.kill_all().map_err(|e| Failure::new("cgroup", e.to_string()));
        }
        self.run(&known.bundle, "kill", |program| {
            let program = if all { program.arg("--all") } else { program };
            program.arg(id).arg(signal.to_string())
        })
        .await
    }

    async fn pause(&self, id: &str) -> Result<()> {
        self.run(&self.known(id)?.bundle, "pause", |program| program.arg(id)).await
    }

    async fn resume(&self, id: &str) -> Result<()> {
        self.run(&self.known(id)?.bundle, "resume", |program| program.arg(id)).await
    }

    async fn update(&self, id: &str, _limits: &Limits, limits_json: &[u8]) -> Result<()> {
        let known = self.known(id)?;
        let file = known.bundle.join(format!("update-{}.json", self.next()));
        std::fs::write(&file, limits_json).map_err(|e| Failure::io("update", file.display(), &e))?;
        let ran = self.run(&known.bundle, "update", |program| program.arg("--resources").arg(&file).arg(id)).await;
        let _ = std::fs::remove_file(&file);
        ran
    }

    fn stats(&self, id: &str) -> Result<CgroupStats> {
        let known = self.known(id)?;
        let cgroup = known.cgroup.as_ref().ok_or_else(|| Failure::new("cgroup", "the cgroup is not known"))?;
        cgroup.stats().map_err(|e| Failure::new("cgroup", e.to_string()))
    }

    fn pids(&self, id: &str) -> Result<Vec<i32>> {
        let known = self.known(id)?;
        let cgroup = known.cgroup.as_ref().ok_or_else(|| Failure::new("cgroup", "the cgroup is not known"))?;
        Ok(cgroup.pids().map_err(|e| Failure::new("cgroup", e.to_string()))?.into_iter().collect())
    }

    async fn delete(&self, id: &str) -> Result<()> {
        let Some(known) = self.containers.borrow_mut().remove(id) else { return Ok(()) };
        self.run(&known.bundle, "delete", |program| program.arg("--force").arg(id)).await
    }
}
