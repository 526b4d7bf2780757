//! What a process is before it becomes the user's program: streams, folder, limits, user, capabilities, filter. The
//! same for a container's first process and for exec.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::process::{Resource, Rlimit};
use sys::capability::{CapabilitySet, CapabilitySets};
use sys::rooted::RootFd;
use sys::seccomp;

use super::user_file;
use crate::oci::{Capabilities, Process};
use crate::runtime::{Failure, Result, Stdio};

/// Where a program is looked for when the environment has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Everything about the process, made ready before it is cloned.
#[derive(Debug)]
pub(super) struct ProcessPlan {
    process: Process,
    capabilities: CapabilitySets,
    filter: Option<Rc<seccomp::Program>>,
    keyring: Option<CString>,
    stdio: Stdio,
}

/// Finished but for the exec.
#[derive(Debug)]
pub(super) struct Prepared {
    program: CString,
    argv: Vec<CString>,
    envp: Vec<CString>,
    late_filter: Option<Rc<seccomp::Program>>,
}

impl ProcessPlan {
    pub(super) fn new(
        process: &Process,
        filter: Option<Rc<seccomp::Program>>,
        keyring: Option<CString>,
        stdio: Stdio,
    ) -> Result<Self> {
        let capabilities = capability_sets(process.capabilities.as_ref())?;
        check_lsm(process)?;
        Ok(Self { process: process.clone(), capabilities, filter, keyring, stdio })
    }

    pub(super) fn wants_terminal(&self) -> bool {
        self.process.terminal
    }

    /// Descriptors that must survive until the streams are placed.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = i32> {
        [&self.stdio.stdin, &self.stdio.stdout, &self.stdio.stderr].into_iter().flatten().map(AsRawFd::as_raw_fd)
    }

    /// In the child: does all but the exec. `terminal` is the slave of a new terminal.
    pub(super) fn apply(mut self, root: &RootFd, terminal: Option<OwnedFd>) -> Result<Prepared> {
        self.place_streams(terminal)?;
        if let Some(keyring) = &self.keyring {
            join_session_keyring(keyring);
        }
        let env = self.environment(root);
        self.enter_folder(root)?;
        set_labels(&self.process)?;
        if let Some(umask) = self.process.user.umask {
            rustix::process::umask(Mode::from_raw_mode(umask & 0o777));
        } else {
            rustix::process::umask(Mode::from_raw_mode(0o022));
        }
        let no_new_privileges = self.process.no_new_privileges;
        if no_new_privileges {
            rustix::thread::set_no_new_privs(true).map_err(|e| Failure::io("no_new_privs", "", &e.into()))?;
        }
        let filter = self.filter.take();
        let late_filter = if no_new_privileges {
            filter
        } else {
            // Without no_new_privs a filter needs CAP_SYS_ADMIN, which is about to go.
            filter.map_or(Ok(()), |filter| load(&filter))?;
            None
        };
        self.change_user()?;
        let (program, argv, envp) = self.find_program(&env)?;
        Ok(Prepared { program, argv, envp, late_filter })
    }

    fn place_streams(&mut self, terminal: Option<OwnedFd>) -> Result<()> {
        let about = |e: io::Error| Failure::io("stdio", "", &e);
        if let Some(slave) = terminal {
            sys::pty::set_controlling(&slave).map_err(about)?;
            let _ = rustix::fs::fchown(&slave, Some(rustix::fs::Uid::from_raw(self.process.user.uid)), None);
            for number in 0..3 {
                dup_onto(&slave, number).map_err(about)?;
            }
            return Ok(());
        }
        let streams = [self.stdio.stdin.take(), self.stdio.stdout.take(), self.stdio.stderr.take()];
        for (number, stream) in (0..).zip(streams) {
            let stream = match stream {
                Some(stream) => stream,
                None => self.null().map_err(about)?,
            };
            self.own_stream(&stream);
            dup_onto(&stream, number).map_err(about)?;
        }
        Ok(())
    }

    /// The container's `/dev/null`, whatever it is: it gets nothing of ours.
    fn null(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        Ok(rustix::fs::open("/dev/null", flags, Mode::empty())?)
    }

    /// A user other than root may open `/dev/stdout` again, as web servers do for their logs.
    fn own_stream(&self, stream: &OwnedFd) {
        let is_pipe =
            rustix::fs::fstat(stream).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo);
        if is_pipe && self.process.user.uid != 0 {
            let _ = rustix::fs::fchown(stream, Some(rustix::fs::Uid::from_raw(self.process.user.uid)), None);
        }
    }

    /// The environment, with a `HOME` from the container's user file where none is given.
    fn environment(&self, root: &RootFd) -> Vec<String> {
        let mut env = self.process.env.clone();
        if !env.iter().any(|entry| entry.starts_with("HOME=")) {
            let home = user_file::home_of(root, self.process.user.uid).unwrap_or_else(|| "/".to_owned());
            env.push(format!("HOME={home}"));
        }
        env
    }

    /// Enters the working folder, made if missing, by descriptor under the root: `/proc/self/fd/N` leads nowhere
    /// (CVE-2024-21626).
    fn enter_folder(&self, root: &RootFd) -> Result<()> {
        let cwd = &self.process.cwd;
        let about = |e: io::Error| Failure::io("chdir", cwd.display(), &e);
        let folder = root.mkdir_all(cwd, Mode::from_raw_mode(0o755), &mut |_| ()).map_err(about)?;
        rustix::process::fchdir(&folder).map_err(|e| about(e.into()))?;
        let seen = rustix::process::getcwd(Vec::new()).map_err(|e| about(e.into()))?;
        if seen.as_bytes().first() != Some(&b'/') {
            return Err(Failure::new(
                "chdir",
                format!("chdir {}: it is outside of the container's root", cwd.display()),
            ));
        }
        Ok(())
    }

    fn change_user(&self) -> Result<()> {
        let user = &self.process.user;
        let about = |what: &str| {
            let what = what.to_owned();
            move |e: io::Error| Failure::io("user", what, &e)
        };
        sys::capability::drop_bounding(self.capabilities.bounding).map_err(about("bounding capabilities"))?;
        sys::capability::keep_across_setuid(true).map_err(about("keep capabilities"))?;
        super::raw::set_identity(user.uid, user.gid, &user.additional_gids)
            .map_err(about(&format!("{}:{}", user.uid, user.gid)))?;
        sys::capability::apply(&self.capabilities).map_err(about("capabilities"))
    }

    /// Finds the program as a shell would: in the `PATH` of the container's environment, unless it has a slash.
    fn find_program(&self, env: &[String]) -> Result<(CString, Vec<CString>, Vec<CString>)> {
        let name = &self.process.args[0];
        let c_string = |text: &str| CString::new(text).map_err(|_nul| Failure::new("exec", "exec: NUL byte"));
        let argv = self.process.args.iter().map(|a| c_string(a)).collect::<Result<Vec<_>>>()?;
        let envp = env.iter().map(|e| c_string(e)).collect::<Result<Vec<_>>>()?;
        let path = env.iter().rev().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
        let found = look_up(name, path).map_err(|errno| not_found(name, errno))?;
        Ok((c_string(&found.to_string_lossy())?, argv, envp))
    }
}

impl Prepared {
    /// In the child: becomes the program. Returns only with why not.
    pub(super) fn exec(self) -> Failure {
        if let Some(filter) = &self.late_filter
            && let Err(failure) = load(filter)
        {
            return failure;
        }
        let error = sys::clone::execve(&self.program, &self.argv, &self.envp);
        let name = self.argv.first().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        not_found(&name, error.raw_os_error().unwrap_or(0))
    }
}

fn look_up(name: &str, path: &str) -> std::result::Result<PathBuf, i32> {
    if name.contains('/') {
        return check_program(Path::new(name)).map(|()| PathBuf::from(name));
    }
    let mut denied = false;
    for folder in path.split(':') {
        let folder = if folder.is_empty() { "." } else { folder };
        let candidate = Path::new(folder).join(name);
        match check_program(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(libc::EACCES) => denied = true,
            Err(_) => {}
        }
    }
    Err(if denied { libc::EACCES } else { 0 })
}

fn check_program(path: &Path) -> std::result::Result<(), i32> {
    let errno = |e: rustix::io::Errno| e.raw_os_error();
    let stat = rustix::fs::stat(path).map_err(errno)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Err(libc::EISDIR);
    }
    rustix::fs::accessat(rustix::fs::CWD, path, rustix::fs::Access::EXEC_OK, AtFlags::EACCESS).map_err(errno)
}

/// The sentence that command line tools of containers know, with Go's wording of the cause.
fn not_found(name: &str, errno: i32) -> Failure {
    let (errno, cause) = match errno {
        0 => (libc::ENOENT, "executable file not found in $PATH".to_owned()),
        libc::ENOENT => (errno, format!("stat {name}: no such file or directory")),
        libc::EISDIR => (errno, "is a directory".to_owned()),
        libc::EACCES => (errno, "permission denied".to_owned()),
        libc::ENOEXEC => (errno, "exec format error".to_owned()),
        other => (other, io::Error::from_raw_os_error(other).to_string()),
    };
    Failure { step: "exec".to_owned(), errno, message: format!("exec: {name:?}: {cause}") }
}

fn load(filter: &seccomp::Program) -> Result<()> {
    filter.load().map_err(|e| Failure::io("seccomp", "", &e)).map(drop)
}

/// `dup2`, or clears close-on-exec when it is at its number already.
fn dup_onto(fd: impl AsFd, number: i32) -> io::Result<()> {
    super::raw::dup_onto(fd.as_fd(), number)
}

fn join_session_keyring(name: &CString) {
    super::raw::join_session_keyring(name);
}

/// The sets of the spec; none of them when it has no capabilities. The inheritable set is never filled.
fn capability_sets(asked: Option<&Capabilities>) -> Result<CapabilitySets> {
    let set = |field: &str, names: &[String]| {
        CapabilitySet::from_names(names)
            .map_err(|e| Failure::new("capabilities", format!("process.capabilities.{field}: {e}")))
    };
    let none = Capabilities::default();
    let asked = asked.unwrap_or(&none);
    Ok(CapabilitySets {
        bounding: set("bounding", &asked.bounding)?,
        effective: set("effective", &asked.effective)?,
        permitted: set("permitted", &asked.permitted)?,
        ambient: set("ambient", &asked.ambient)?,
    })
}

fn check_lsm(process: &Process) -> Result<()> {
    let apparmor = process.apparmor_profile.as_str();
    if !matches!(apparmor, "" | "unconfined") && !Path::new("/sys/module/apparmor").exists() {
        let message = format!("process.apparmorProfile: {apparmor}: AppArmor is not enabled on this host");
        return Err(Failure::new("apparmor", message));
    }
    if !process.selinux_label.is_empty() && !Path::new("/sys/fs/selinux/enforce").exists() {
        let message = "process.selinuxLabel: SELinux is not enabled on this host".to_owned();
        return Err(Failure::new("selinux", message));
    }
    Ok(())
}

/// Labels take effect at exec. They are written through a procfs of our own (CVE-2019-16884).
fn set_labels(process: &Process) -> Result<()> {
    let apparmor = process.apparmor_profile.as_str();
    let apparmor = (!matches!(apparmor, "" | "unconfined")).then(|| format!("exec {apparmor}"));
    if apparmor.is_none() && process.selinux_label.is_empty() {
        return Ok(());
    }
    let about = |e: io::Error| Failure::io("label", "", &e);
    let fd = sys::mount::new_filesystem("proc", &[], 0).map_err(about)?;
    let proc = sys::proc::ProcFs::from_fd(fd).map_err(about)?;
    let own = format!("{}/attr", rustix::process::getpid().as_raw_nonzero());
    if let Some(profile) = apparmor {
        proc.write(&Path::new(&own).join("apparmor/exec"), profile.as_bytes()).map_err(about)?;
    }
    if !process.selinux_label.is_empty() {
        proc.write(&Path::new(&own).join("exec"), process.selinux_label.as_bytes()).map_err(about)?;
    }
    Ok(())
}

/// Sets the limits of process `pid`, from outside.
pub(super) fn set_rlimits(pid: i32, process: &Process) -> Result<()> {
    for limit in &process.rlimits {
        let resource = resource(&limit.kind)
            .ok_or_else(|| Failure::new("rlimit", format!("process.rlimits: unknown type {}", limit.kind)))?;
        let value = |n: u64| (n != u64::MAX).then_some(n);
        let new = Rlimit { current: value(limit.soft), maximum: value(limit.hard) };
        rustix::process::prlimit(rustix::process::Pid::from_raw(pid), resource, new).map_err(|e| {
            Failure::io("rlimit", format!("{} soft {} hard {}", limit.kind, limit.soft, limit.hard), &e.into())
        })?;
    }
    Ok(())
}

fn resource(name: &str) -> Option<Resource> {
    Some(match name {
        "RLIMIT_AS" => Resource::As,
        "RLIMIT_CORE" => Resource::Core,
        "RLIMIT_CPU" => Resource::Cpu,
        "RLIMIT_DATA" => Resource::Data,
        "RLIMIT_FSIZE" => Resource::Fsize,
        "RLIMIT_LOCKS" => Resource::Locks,
        "RLIMIT_MEMLOCK" => Resource::Memlock,
        "RLIMIT_MSGQUEUE" => Resource::Msgqueue,
        "RLIMIT_NICE" => Resource::Nice,
        "RLIMIT_NOFILE" => Resource::Nofile,
        "RLIMIT_NPROC" => Resource::Nproc,
        "RLIMIT_RSS" => Resource::Rss,
        "RLIMIT_RTPRIO" => Resource::Rtprio,
        "RLIMIT_RTTIME" => Resource::Rttime,
        "RLIMIT_SIGPENDING" => Resource::Sigpending,
        "RLIMIT_STACK" => Resource::Stack,
        _ => return None,
    })
}

/// Sets how readily process `pid` is killed when memory is short. Where the right to lower it is missing
/// (an engine nested in a container), the lowest value that we have ourselves is taken, and the caller is told.
pub(super) fn set_oom_score(pid: i32, wanted: Option<i32>) -> Result<Option<String>> {
    let Some(wanted) = wanted else { return Ok(None) };
    let path = format!("/proc/{pid}/oom_score_adj");
    match std::fs::write(&path, wanted.to_string()) {
        Err(e) if e.raw_os_error() == Some(libc::EACCES) => {}
        other => return other.map(|()| None).map_err(|e| Failure::io("oom_score_adj", wanted, &e)),
    }
    Ok(Some(format!("oom_score_adj {wanted} is not permitted without CAP_SYS_RESOURCE; the shim's own value is kept")))
}
