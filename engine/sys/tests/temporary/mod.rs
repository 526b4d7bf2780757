//! What the tests of cgroups share: a cgroup that goes with its test, and processes in it.

use std::io::Write;
use std::os::fd::AsFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sys::cgroup::{Cgroup, DeviceKind, DeviceRule, Limits, Memory, OomWatch};

pub(crate) const MIB: i64 = 1 << 20;

/// A cgroup with the processes in it; both go when the test ends, however it ends.
pub(crate) struct Temporary {
    pub(crate) cgroup: Cgroup,
    children: Vec<Child>,
}

impl Temporary {
    pub(crate) fn of(cgroup: Cgroup) -> Self {
        Self { cgroup, children: Vec::new() }
    }

    /// A shell that runs `script` inside: it waits for a line before it begins.
    pub(crate) fn run(&mut self, script: &str) -> u32 {
        let mut child = Command::new("/bin/sh")
            .args(["-c", &format!("read go; {script}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.cgroup.add(i32::try_from(child.id()).unwrap()).unwrap();
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();
        let pid = child.id();
        self.children.push(child);
        pid
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.children.pop().unwrap().wait().unwrap()
    }

    /// Lets a process take more memory than there is: the watch that saw the kills, and how many it saw.
    pub(crate) fn run_out_of_memory(&mut self) -> (OomWatch, u64) {
        let mut watch = self.cgroup.oom_events().unwrap();
        assert_eq!(watch.read().unwrap().new_kills, 0);
        self.run("head -c 64m /dev/zero | tail | sleep 30");
        let timeout = Timespec { tv_sec: 1, tv_nsec: 0 };
        let mut seen = 0;
        eventually("a kill", || {
            let fd = watch.as_fd().try_clone_to_owned().unwrap();
            poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)).unwrap();
            seen += watch.read().unwrap().new_kills;
            seen > 0
        });
        (watch, seen)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = self.cgroup.kill_all();
        for mut child in self.children.drain(..) {
            let _ = child.wait();
        }
        let removed = self.cgroup.remove();
        if !std::thread::panicking() {
            removed.unwrap();
            eventually("the end of the cgroup", || !self.cgroup.exists());
        }
    }
}

pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn memory(limit: i64, swap: i64) -> Limits {
    Limits { memory: Some(Memory { limit: Some(limit), swap: Some(swap), ..Memory::default() }), ..Limits::default() }
}

pub(crate) fn rule(allow: bool, kind: DeviceKind, numbers: Option<(i64, i64)>, access: &str) -> DeviceRule {
    let (major, minor) = numbers.unzip();
    DeviceRule { allow, kind, major, minor, access: access.to_owned() }
}
