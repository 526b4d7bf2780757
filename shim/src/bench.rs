//! `containerd-shim-gantry-v1 runtime run --bundle DIR [--id ID] [--repeat N]`: drives the built-in runtime in this
//! process, so that it can be timed beside runc and crun. Not for users.

use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Instant;

use crate::oci::Spec;
use crate::reaper::Reaper;
use crate::runtime::builtin::Builtin;
use crate::runtime::{CreateRequest, Failure, OciRuntime as _, Stdio};

struct Options {
    bundle: PathBuf,
    id: String,
    repeat: u32,
    quiet: bool,
}

fn parse(arguments: &[String]) -> Result<Options, String> {
    let mut words = arguments.iter();
    if words.next().map(String::as_str) != Some("run") {
        return Err("runtime: the only command is run".to_owned());
    }
    let mut options = Options { bundle: PathBuf::from("."), id: "bench".to_owned(), repeat: 1, quiet: true };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word}: needs a value"));
        match word.as_str() {
            "--bundle" => options.bundle = PathBuf::from(value()?),
            "--id" => value()?.clone_into(&mut options.id),
            "--repeat" => options.repeat = value()?.parse().map_err(|_e| "--repeat: not a number".to_owned())?,
            "--timing" => options.quiet = false,
            other => return Err(format!("runtime run: unknown option {other}")),
        }
    }
    Ok(options)
}

/// Runs containers as asked; the exit code is the last one's.
pub(crate) fn main(arguments: &[String]) -> ExitCode {
    let options = match parse(arguments) {
        Ok(options) => options,
        Err(message) => return complain(&message, 2),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return complain(&e.to_string(), 1),
    };
    let local = tokio::task::LocalSet::new();
    match local.block_on(&runtime, run(&options)) {
        Ok(status) => ExitCode::from(u8::try_from(status).unwrap_or(255)),
        Err(failure) => complain(&failure.message, u8::try_from(failure.exit_code()).unwrap_or(1)),
    }
}

fn complain(message: &str, code: u8) -> ExitCode {
    #[expect(clippy::print_stderr, reason = "a command line tool's own errors")]
    {
        eprintln!("{message}");
    }
    ExitCode::from(code)
}

async fn run(options: &Options) -> Result<u32, Failure> {
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    let reaper = Rc::new(Reaper::default());
    tokio::task::spawn_local(Rc::clone(&reaper).run());
    let runtime = Builtin::new(Rc::clone(&reaper));
    let mut status = 0;
    for round in 0..options.repeat {
        let began = Instant::now();
        let spec = Rc::new(Spec::read(&options.bundle.join("config.json")).map_err(|e| Failure::new("config", e))?);
        status = once(&runtime, &reaper, options, spec).await?;
        if !options.quiet {
            #[expect(clippy::print_stderr, reason = "the figures that were asked for")]
            {
                eprintln!("{round} {:.3} ms", began.elapsed().as_secs_f64() * 1e3);
            }
        }
    }
    Ok(status)
}

async fn once(runtime: &Builtin, reaper: &Reaper, options: &Options, spec: Rc<Spec>) -> Result<u32, Failure> {
    let copy = |fd: rustix::fd::BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(fd, 3).ok();
    let stdio = Stdio {
        stdin: copy(rustix::stdio::stdin()),
        stdout: copy(rustix::stdio::stdout()),
        stderr: copy(rustix::stdio::stderr()),
        folder: None,
    };
    let request = CreateRequest {
        id: options.id.clone(),
        bundle: options.bundle.clone(),
        spec,
        rootfs: Vec::new(),
        stdio,
        cgroup_driver: shim_api::options::CgroupDriver::Cgroupfs,
        terminal_size: None,
        no_new_keyring: false,
        shm: None,
        init: false,
    };
    let created = runtime.create(request).await?;
    let exit = reaper.watch(created.pid);
    if let Err(failure) = runtime.start(&options.id).await {
        runtime.delete(&options.id).await?;
        return Err(failure);
    }
    let exit = exit.await.map_err(|_lost| Failure::new("wait", "lost the process"))?;
    runtime.delete(&options.id).await?;
    Ok(exit.status)
}
