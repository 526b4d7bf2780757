//! What the machine or the kernel limits: the OOM score without the right to lower it, read-only trees, compressed logs,
//! and the shim itself being killed.

use testkit::{World, wait};

use crate::client::world_with_busybox;

const CAP_SYS_RESOURCE_BIT: u32 = 24;

fn may_lower_the_score() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find_map(|l| l.strip_prefix("CapEff:")).expect("CapEff");
    let effective = u64::from_str_radix(line.trim(), 16).expect("a mask");
    effective >> CAP_SYS_RESOURCE_BIT & 1 == 1
}

/// Raising the score always works; lowering it where root may, and is clamped with one warning where root may not.
#[test]
fn the_oom_score_is_set_or_clamped() {
    let world = world_with_busybox();
    let score = |wanted: &str| {
        let run =
            world.docker(["run", "--rm", "--oom-score-adj", wanted, "busybox", "cat", "/proc/self/oom_score_adj"]);
        run.ok().parse::<i32>().expect("a score")
    };
    assert_eq!(score("500"), 500);
    let lowered = score("-500");
    if may_lower_the_score() {
        assert_eq!(lowered, -500);
    } else {
        let own = std::fs::read_to_string(format!("/proc/{}/oom_score_adj", world.daemon().pid())).expect("score");
        assert_eq!(lowered, own.trim().parse::<i32>().expect("a score"), "the lowest that root has here");
    }
    let refused = world.docker(["run", "--rm", "--oom-score-adj", "2000", "busybox", "true"]);
    assert!(refused.failure().contains("2000"), "{refused}");
}

/// A bind that is read-only is so with everything mounted below it.
#[test]
fn a_read_only_bind_is_read_only_below_too() {
    let world = world_with_busybox();
    let top = world.dir().join("top");
    std::fs::create_dir_all(top.join("below")).expect("directory");
    world.sh(&format!("mount -t tmpfs tmpfs {}", top.join("below").display()));
    let script = "touch /top/x 2>/dev/null || echo no; touch /top/below/x 2>/dev/null || echo no";
    let run = |options: &str| {
        let mount = format!("type=bind,source={},target=/top,readonly{options}", top.display());
        world.docker(["run", "--rm", "--mount", &mount, "busybox", "sh", "-c", script]).ok()
    };
    assert_eq!(run(",bind-recursive=readonly,bind-propagation=rprivate"), "no\nno");
    assert_eq!(run(""), "no\nno", "the default where the kernel has mount_setattr");
    assert_eq!(run(",bind-recursive=writable"), "no");
    world.sh(&format!("umount {}", top.join("below").display()));
}

/// Rotated logs that are compressed are read as if they were not.
#[test]
fn compressed_logs_are_read_back() {
    let world = world_with_busybox();
    let before = world.census();
    let script = "for i in $(seq 1 3000); do echo line $i; [ $((i % 200)) = 0 ] && usleep 50000; done; true";
    let options = ["--log-opt", "max-size=20k", "--log-opt", "max-file=4", "--log-opt", "compress=true"];
    world.docker([&["run", "--name", "loud"], &options[..], &["busybox", "sh", "-c", script]].concat()).ok();
    let path = world.docker(["inspect", "-f", "{{.LogPath}}", "loud"]).ok();
    let folder = std::path::Path::new(&path).parent().expect("folder").to_path_buf();
    wait::until("a compressed log", std::time::Duration::from_secs(10), || {
        let names = std::fs::read_dir(&folder).expect("folder").flatten();
        names.into_iter().any(|e| e.file_name().to_string_lossy().ends_with(".gz")).then_some(())
    });
    let kept = world.docker(["logs", "loud"]).ok();
    let numbers: Vec<u32> = kept.lines().map(|l| l["line ".len()..].parse().expect("a number")).collect();
    assert_eq!(numbers.last(), Some(&3000));
    assert!(numbers.len() > 600, "the compressed files are read, too: {}", numbers.len());
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "no gap within what is kept");
    world.docker(["rm", "loud"]).ok();
    world.assert_nothing_left(&before);
}

/// A shim that is killed takes its containers along: they are reported as ended, and nothing of them is left.
#[test]
fn a_killed_shim_is_noticed_and_cleaned_up() {
    let world = world_with_busybox();
    let before = world.census();
    world.docker(["run", "-d", "--name", "orphan", "-p", "8080:80", "busybox", "sleep", "1000"]).ok();
    let waiter = std::thread::spawn({
        let mut command = world.client("docker");
        command.args(["wait", "orphan"]);
        move || testkit::command::run_with(command, b"")
    });
    kill_shims(&world);
    waiter.join().expect("wait").ok();
    let state = world.docker(["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "orphan"]).ok();
    assert!(state.starts_with("exited ") && state != "exited 0", "{state}");
    wait::until("the process to be gone", std::time::Duration::from_secs(10), || {
        let sleeping = |pid: &i32| {
            let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.starts_with("sleep\u{0}1000")
        };
        (!world.processes().iter().any(sleeping)).then_some(())
    });
    world.docker(["start", "orphan"]).ok();
    assert_eq!(world.docker(["exec", "orphan", "echo", "again"]).ok(), "again");
    world.docker(["rm", "-f", "orphan"]).ok();
    world.assert_nothing_left(&before);
}

/// The init runs under the container's filter and with its rights, reaps what is orphaned, and ends with the program.
#[test]
fn an_init_is_process_1_under_the_default_profile() {
    let world = world_with_busybox();
    let before = world.census();
    let script = "[ $$ -ne 1 ] || exit 1; (sleep 0.1 &); sleep 0.3; ps -o pid,stat | grep -c Z; exit 7";
    for options in [&[][..], &["--security-opt", "no-new-privileges"], &["--user", "1000"]] {
        let run = world.docker([&["run", "--rm", "--init"], options, &["busybox", "sh", "-c", script]].concat());
        assert_eq!(run.fails(7), "", "{options:?}");
        assert_eq!(run.out(), "0", "no zombie is left: {options:?}");
    }
    world.docker(["run", "-d", "--name", "inside", "--init", "busybox", "sleep", "1000"]).ok();
    world.docker(["stop", "-t", "20", "inside"]).ok();
    let code = world.docker(["inspect", "-f", "{{.State.ExitCode}}", "inside"]).ok();
    assert_eq!(code, "143", "the signal reached the program, which is not process 1");
    world.docker(["rm", "inside"]).ok();
    world.assert_nothing_left(&before);
}

fn kill_shims(world: &World) {
    let shims = world.processes().into_iter().filter(|pid| {
        std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with("containerd-shim"))
    });
    for pid in shims {
        let pid = rustix::process::Pid::from_raw(pid).expect("pid");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("kill");
    }
}
