//! The shim through its own protocol, as the engine uses it. Needs root, `unshare` and `busybox-static`.

mod support;

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use shim_api::attach::{AttachRequest, FrameKind, attach};
use shim_api::options::{ExecOptions, LogSink, START_FAILURE_URL, StartFailure, TaskOptions};
use shim_api::proto::task::v3 as wire;
use support::World;

fn shell(command: &str) -> serde_json::Value {
    json!({"args": ["sh", "-c", command], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}})
}

#[tokio::test]
async fn a_container_runs_logs_and_ends() {
    let world = World::new().await;
    let command = "echo $GREETING; hostname; echo err >&2; cat /proc/1/comm; printf end; exit 7";
    let (status, log) = world.run("a", &world.spec("a", &["sh", "-c", command])).await;
    assert_eq!(status, 7);
    let mut lines: Vec<_> = log.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["crane", "end", "err", "hello", "sh"]);
    world.end().await;
}

#[tokio::test]
async fn the_exit_record_stays_until_delete() {
    let world = World::new().await;
    let (options, _log) = world.logged("a");
    world.create("a", &world.spec("a", &["sh", "-c", "exit 3"]), &options).await.unwrap();
    world.start("a", "").await.unwrap();
    assert_eq!(world.wait("a", "").await, 3);
    let bundle = world.bundle.container("a");
    assert_eq!(bundle.read_exit("").unwrap().unwrap().exit_status, 3);
    assert_eq!(world.delete("a", "").await.unwrap().exit_status, 3);
    assert_eq!(bundle.read_exit("").unwrap(), None);
    assert!(world.delete("a", "").await.is_err());
    world.end().await;
}

#[tokio::test]
async fn a_missing_program_is_told_by_name_and_number() {
    let world = World::new().await;
    for (program, exit_code) in [("no-such-program", 127), ("/etc/passwd", 126), ("/bin", 126)] {
        let (options, _log) = world.logged("a");
        let made = match world.create("a", &world.spec("a", &[program]), &options).await {
            Ok(_) => world.start("a", "").await,
            Err(error) => Err(error),
        };
        let error = made.unwrap_err();
        assert!(error.message.contains(&format!("exec: {program:?}:")), "{}", error.message);
        let detail: StartFailure = error.detail(START_FAILURE_URL).unwrap();
        assert_eq!(detail.exit_code, exit_code, "{}", error.message);
        assert!(support::cgroups_named(&world.cgroup("a")).is_empty());
    }
    world.end().await;
}

#[tokio::test]
async fn exec_joins_the_container() {
    let world = World::new().await;
    world.create("a", &world.spec("a", &["sleep", "1000"]), &TaskOptions::default()).await.unwrap();
    world.start("a", "").await.unwrap();
    world.exec("a", "e1", shell("hostname; cat /proc/1/comm; read x; echo got $x; exit 5"), true).await.unwrap();
    let request = AttachRequest { id: "a".into(), exec_id: "e1".into(), stdin: true, stdout: true, stderr: true };
    let (mut reader, mut writer) = attach(&world.bundle.attach_socket(), &request).await.unwrap();
    world.start("a", "e1").await.unwrap();
    writer.stdin(Bytes::from_static(b"word\n")).await.unwrap();
    let mut out = Vec::new();
    loop {
        let frame = reader.next().await.unwrap().expect("an end frame");
        match frame.kind {
            FrameKind::Stdout => out.extend_from_slice(&frame.payload),
            FrameKind::End => break,
            other => panic!("{other:?} {:?}", frame.payload),
        }
    }
    assert_eq!(String::from_utf8_lossy(&out), "crane\nsleep\ngot word\n");
    assert_eq!(world.wait("a", "e1").await, 5);
    world.delete("a", "e1").await.unwrap();
    world.kill("a", 9).await.unwrap();
    assert_eq!(world.wait("a", "").await, 137);
    world.delete("a", "").await.unwrap();
    world.end().await;
}

#[tokio::test]
async fn stdin_ends_when_its_only_client_goes() {
    let world = World::new().await;
    let (mut options, log) = world.logged("a");
    options.stdin = true;
    options.stdin_once = true;
    world.create("a", &world.spec("a", &["cat"]), &options).await.unwrap();
    let request = AttachRequest { id: "a".into(), stdin: true, stdout: true, ..AttachRequest::default() };
    let (mut reader, mut writer) = attach(&world.bundle.attach_socket(), &request).await.unwrap();
    world.start("a", "").await.unwrap();
    writer.stdin(Bytes::from_static(b"through\n")).await.unwrap();
    let frame = reader.next().await.unwrap().unwrap();
    assert_eq!(&frame.payload[..], b"through\n");
    writer.close_stdin().await.unwrap();
    assert_eq!(world.wait("a", "").await, 0);
    world.delete("a", "").await.unwrap();
    assert_eq!(support::read_log(&log), "through\n");
    world.end().await;
}

#[tokio::test]
async fn a_terminal_has_its_size_and_its_name() {
    let world = World::new().await;
    let (options, log) = world.logged("a");
    let mut spec = world.spec("a", &["sh", "-c", "tty; stty size; ls -l /dev/console | grep -c 136,"]);
    spec["process"]["terminal"] = json!(true);
    let options =
        TaskOptions { terminal_size: Some(shim_api::options::TerminalSize { width: 101, height: 43 }), ..options };
    world.create("a", &spec, &options).await.unwrap();
    world.start("a", "").await.unwrap();
    assert_eq!(world.wait("a", "").await, 0);
    world.delete("a", "").await.unwrap();
    assert_eq!(support::read_log(&log).replace('\r', ""), "/dev/pts/0\n43 101\n1\n");
    world.end().await;
}

#[tokio::test]
async fn a_new_connection_finds_everything_as_it_was() {
    let world = World::new().await;
    world.create("a", &world.spec("a", &["sleep", "1000"]), &TaskOptions::default()).await.unwrap();
    let pid = world.start("a", "").await.unwrap();
    let again = shim_api::ttrpc::Client::connect(&world.bundle.socket()).await.unwrap();
    let again = shim_api::task::TaskClient::new(again, shim_api::task::TaskVersion::V2, support::TIMEOUT);
    let state = again.state(&wire::StateRequest { id: "a".into(), exec_id: String::new() }).await.unwrap();
    assert_eq!(state.pid, pid);
    assert_eq!(state.status(), shim_api::proto::v1::types::Status::Running);
    world.kill("a", 15).await.unwrap_or(());
    world.kill("a", 9).await.unwrap();
    world.wait("a", "").await;
    world.delete("a", "").await.unwrap();
    world.end().await;
}

#[tokio::test]
async fn output_of_a_grandchild_does_not_hold_the_exit_back() {
    let world = World::new().await;
    world.create("a", &world.spec("a", &["sleep", "1000"]), &TaskOptions::default()).await.unwrap();
    world.start("a", "").await.unwrap();
    let process = serde_json::value::to_raw_value(&shell("sleep 1000 & echo done")).unwrap();
    let path = world.folder.path().join("e.log");
    let options =
        ExecOptions { process, log: LogSink::CriFile { path: path.clone() }, stdin: false, wait_for_attach: false };
    let request = wire::ExecProcessRequest {
        id: "a".into(),
        exec_id: "e".into(),
        spec: Some(shim_api::options::to_any(shim_api::options::EXEC_OPTIONS_URL, &options).unwrap()),
        ..wire::ExecProcessRequest::default()
    };
    world.client.exec(&request).await.unwrap();
    world.start("a", "e").await.unwrap();
    let status = tokio::time::timeout(Duration::from_secs(8), world.wait("a", "e")).await.expect("not held back");
    assert_eq!(status, 0);
    assert_eq!(support::read_log(&path), "done\n");
    world.kill("a", 9).await.unwrap();
    world.wait("a", "").await;
    world.delete("a", "").await.unwrap();
    world.end().await;
}

#[tokio::test]
async fn no_output_is_lost_at_the_end() {
    let world = World::new().await;
    let (status, log) = world.run("a", &world.spec("a", &["seq", "1", "50000"])).await;
    assert_eq!(status, 0);
    let expected: String = (1..=50_000).map(|n| format!("{n}\n")).collect();
    assert!(log == expected, "{} bytes of {}", log.len(), expected.len());
    world.end().await;
}

#[tokio::test]
async fn pause_freezes_and_stats_count() {
    let world = World::new().await;
    world.create("a", &world.spec("a", &["sleep", "1000"]), &TaskOptions::default()).await.unwrap();
    world.start("a", "").await.unwrap();
    world.client.pause(&wire::PauseRequest { id: "a".into() }).await.unwrap();
    let state = world.client.state(&wire::StateRequest { id: "a".into(), exec_id: String::new() }).await.unwrap();
    assert_eq!(state.status(), shim_api::proto::v1::types::Status::Paused);
    assert!(world.client.pause(&wire::PauseRequest { id: "a".into() }).await.is_err());
    world.client.resume(&wire::ResumeRequest { id: "a".into() }).await.unwrap();
    let stats = world.client.stats(&wire::StatsRequest { id: "a".into() }).await.unwrap().stats.unwrap();
    let stats: sys::cgroup::CgroupStats = shim_api::options::from_any(&stats).unwrap();
    assert!(stats.memory.usage > 0 && stats.pids.current == 1, "{stats:?}");
    let pids = world.client.pids(&wire::PidsRequest { id: "a".into() }).await.unwrap();
    assert_eq!(pids.processes.len(), 1);
    world.kill("a", 9).await.unwrap();
    world.wait("a", "").await;
    world.delete("a", "").await.unwrap();
    world.end().await;
}

#[tokio::test]
async fn a_kill_for_lack_of_memory_is_told() {
    let world = World::new().await;
    let mut spec = world.spec("a", &["sh", "-c", "dd if=/dev/zero of=/dev/null bs=100M count=1"]);
    spec["linux"]["resources"]["memory"] = json!({"limit": 20 << 20, "swap": 20 << 20});
    world.create("a", &spec, &TaskOptions::default()).await.unwrap();
    world.start("a", "").await.unwrap();
    assert_eq!(world.wait("a", "").await, 137);
    let record = world.bundle.container("a").read_exit("").unwrap().unwrap();
    assert!(record.oom_killed, "{record:?}");
    let state = world.client.state(&wire::StateRequest { id: "a".into(), exec_id: String::new() }).await.unwrap();
    assert!(state.oom_killed);
    world.delete("a", "").await.unwrap();
    world.end().await;
}

#[tokio::test]
async fn a_renamed_log_is_reopened() {
    let world = World::new().await;
    let (options, log) = world.logged("a");
    let spec = world.spec("a", &["sh", "-c", "echo one; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo two"]);
    let rootfs = world.folder.path().join("rootfs");
    world.create("a", &spec, &options).await.unwrap();
    world.start("a", "").await.unwrap();
    while support::read_log(&log) != "one\n" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let old = log.with_extension("old");
    std::fs::rename(&log, &old).unwrap();
    world.client.reopen_log("a").await.unwrap();
    std::fs::write(rootfs.join("tmp/go"), "").unwrap();
    assert_eq!(world.wait("a", "").await, 0);
    assert_eq!((support::read_log(&old), support::read_log(&log)), ("one\n".into(), "two\n".into()));
    world.delete("a", "").await.unwrap();
    assert!(world.client.reopen_log("a").await.is_err());
    world.end().await;
}

#[tokio::test]
async fn a_seccomp_profile_is_in_force() {
    let world = World::new().await;
    let mut spec = world.spec("a", &["sh", "-c", "mkdir /tmp/x 2>/dev/null || echo refused; echo go"]);
    spec["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
    });
    assert_eq!(world.run("a", &spec).await, (0, "refused\ngo\n".into()));
    spec["linux"]["cgroupsPath"] = json!(world.cgroup("b"));
    spec["process"]["noNewPrivileges"] = json!(false);
    assert_eq!(world.run("b", &spec).await, (0, "refused\ngo\n".into()));
    spec["linux"]["seccomp"]["syscalls"][0]["action"] = json!("SCMP_ACT_NOTIFY");
    let error = world.create("c", &spec, &TaskOptions::default()).await.unwrap_err();
    assert!(error.message.contains("SCMP_ACT_NOTIFY") || error.message.contains("listener"), "{}", error.message);
    world.end().await;
}

#[tokio::test]
async fn our_init_reaps_and_passes_signals_on() {
    let world = World::new().await;
    let (mut options, log) = world.logged("a");
    options.init = true;
    let script =
        "trap 'echo caught; exit 6' TERM; cat /proc/1/comm > /dev/null; echo $$; while true; do sleep 0.05; done";
    world.create("a", &world.spec("a", &["sh", "-c", script]), &options).await.unwrap();
    world.start("a", "").await.unwrap();
    while support::read_log(&log).is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    world.kill("a", 15).await.unwrap();
    assert_eq!(world.wait("a", "").await, 6);
    assert_eq!(support::read_log(&log), "2\ncaught\n");
    world.delete("a", "").await.unwrap();
    let missing = world.spec("b", &["no-such-program"]);
    let made = match world.create("b", &missing, &TaskOptions { init: true, ..TaskOptions::default() }).await {
        Ok(_) => world.start("b", "").await,
        Err(error) => Err(error),
    };
    assert!(made.unwrap_err().message.contains("not found"));
    world.end().await;
}
