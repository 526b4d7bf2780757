//! An engine that goes away at any moment, and one that comes back on the same root.

use std::time::Duration;

use engine::container::{Phase, RemoveOptions, WaitCondition};
use engine::failpoint::{Action, arm};
use engine::id::Owner;
use engine::spec::{ExecSpec, RestartPolicy};

use crate::lab::{end_of, isolated, log_of, logged, output_of, run, sh};

fn forced() -> RemoveOptions {
    RemoveOptions { force: true, volumes: true }
}

#[test]
fn containers_go_on_without_the_engine_and_their_ends_are_told_after() {
    isolated("recovery::containers_go_on_without_the_engine_and_their_ends_are_told_after", |lab| async move {
        let engine = lab.open().await;
        run(&engine, sh("stays", "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.05; done")).await;
        let ends = run(&engine, sh("ends", "echo ready; sleep 0.4; exit 6")).await;
        logged(&ends, "ready").await;
        let mut asked = sh("rm", "sleep 0.4");
        asked.auto_remove = true;
        run(&engine, asked).await;
        engine.close().await;
        drop((engine, ends));
        tokio::time::sleep(Duration::from_millis(800)).await;

        let engine = lab.reopen().await;
        let ends = engine.container("ends").unwrap();
        let outcome = end_of(&ends).await;
        assert_eq!(outcome.exit_code, 6);
        let view = ends.view();
        let away = engine::event::now_ns() - view.finished_ns;
        assert!(away > 200_000_000, "its end has the time of the end, not of its discovery: {away} ns ago");
        let stays = engine.container("stays").unwrap();
        assert_eq!(stays.view().phase, Phase::Running);
        let exec = stays
            .exec(ExecSpec { args: vec!["echo".into(), "alive".into()], stdout: true, ..Default::default() })
            .await
            .unwrap();
        assert_eq!(output_of(exec.start(None).await.unwrap()).await.0, "alive\n");
        let log = log_of(&stays).await;
        let numbers: Vec<u32> = log.lines().filter_map(|line| line.strip_prefix("line ")?.parse().ok()).collect();
        assert!(numbers.len() > 10 && numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
        let gone = stays.wait(WaitCondition::NextExit);
        stays.stop(Some(Duration::ZERO), None).await.unwrap();
        assert_eq!(gone.await.unwrap().exit_code, 137);
        for _ in 0..100 {
            if engine.container("rm").is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(
            engine.container("rm").is_err(),
            "a container that removes itself was removed after the engine came back"
        );
        for container in [stays, ends] {
            container.remove(Owner::Docker, forced()).await.unwrap();
        }
        engine.close().await;
    });
}

#[test]
fn a_shim_that_was_killed_is_an_exit_with_a_reason() {
    isolated("recovery::a_shim_that_was_killed_is_an_exit_with_a_reason", |lab| async move {
        let engine = lab.open().await;
        let container = run(&engine, sh("victim", "exec sleep 60")).await;
        let shim = engine.sandboxes()[0].shim_pid;
        let pid = rustix::process::Pid::from_raw(i32::try_from(shim).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        assert_eq!(end_of(&container).await.exit_code, 255);
        assert!(!container.view().error.is_empty());
        // Nothing of the old run is in the way of a new one.
        container.start().await.unwrap();
        container.remove(Owner::Docker, forced()).await.unwrap();
        engine.close().await;
    });
}

#[test]
fn after_a_reboot_everything_has_ended_and_policies_hold() {
    isolated("recovery::after_a_reboot_everything_has_ended_and_policies_hold", |lab| async move {
        let engine = lab.open().await;
        run(&engine, sh("plain", "exec sleep 60")).await;
        let mut asked = sh("always", "exec sleep 60");
        asked.restart = RestartPolicy::Always;
        run(&engine, asked).await;
        let shims: Vec<u32> = engine.sandboxes().iter().map(|sandbox| sandbox.shim_pid).collect();
        engine.close().await;
        drop(engine);
        // As a reboot has it: processes gone, the run directory empty.
        let engine_cgroup = lab.config().cgroup_parent;
        for shim in shims {
            let pid = rustix::process::Pid::from_raw(i32::try_from(shim).unwrap()).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        }
        end_all(&engine_cgroup);
        std::fs::remove_dir_all(lab.path("run")).unwrap();

        let engine = lab.reopen().await;
        let plain = engine.container("plain").unwrap();
        assert_eq!(end_of(&plain).await.exit_code, 255);
        let always = engine.container("always").unwrap();
        crate::lab::until(&always, Phase::Running).await;
        for container in [plain, always] {
            container.remove(Owner::Docker, forced()).await.unwrap();
        }
        engine.close().await;
    });
}

#[test]
fn the_end_of_one_run_leaves_the_next_one_its_sockets() {
    isolated("recovery::the_end_of_one_run_leaves_the_next_one_its_sockets", |lab| async move {
        let engine = lab.open().await;
        let container = run(&engine, sh("again", "exec sleep 60")).await;
        for _ in 0..5 {
            container.restart(Some(Duration::ZERO), None).await.unwrap();
        }
        // Longer than the old shim needs to end.
        tokio::time::sleep(Duration::from_millis(200)).await;
        engine.close().await;
        drop((engine, container));
        let engine = lab.reopen().await;
        let container = engine.container("again").unwrap();
        assert_eq!(container.view().phase, Phase::Running);
        assert_eq!(container.exec_sync(vec!["true".into()], None).await.unwrap().exit_code, 0);
        container.remove(Owner::Docker, forced()).await.unwrap();
        engine.close().await;
    });
}

/// Kills the processes of all cgroups below `parent` and removes those.
fn end_all(parent: &str) {
    let parent = std::path::Path::new("/sys/fs/cgroup/pids").join(parent.trim_start_matches('/'));
    for child in std::fs::read_dir(parent).unwrap().flatten().filter(|entry| entry.path().is_dir()) {
        let path = format!("{}/{}", lab_parent(&child.path()), child.file_name().to_string_lossy());
        let cgroup = sys::cgroup::Cgroup::new(sys::cgroup::CgroupDriver::Cgroupfs, &path).unwrap();
        cgroup.kill_all().unwrap();
        cgroup.remove().unwrap();
    }
}

fn lab_parent(path: &std::path::Path) -> String {
    let parent = path.parent().unwrap().strip_prefix("/sys/fs/cgroup/pids").unwrap();
    format!("/{}", parent.display())
}

#[test]
fn a_step_that_fails_takes_all_before_it_back() {
    isolated("recovery::a_step_that_fails_takes_all_before_it_back", |lab| async move {
        let engine = lab.open().await;
        for point in ["create.begin", "create.prepared", "create.mounts"] {
            arm(point, Action::Error);
            let error = engine.create_container(sh("fails", "true")).await.unwrap_err();
            assert!(error.to_string().contains(point), "{error}");
            assert!(engine.containers().is_empty() && engine.sandboxes().is_empty());
            assert!(engine.images().snapshotter().list().is_empty(), "{point}");
        }
        let container = engine.create_container(sh("fails", "exit 3")).await.unwrap().container;
        let points = [
            "start.begin",
            "sandbox.netns",
            "sandbox.connected",
            "sandbox.up",
            "start.before_create",
            "start.created",
            "start.started",
        ];
        for point in points {
            arm(point, Action::Error);
            let error = container.start().await.unwrap_err();
            assert!(error.to_string().contains(point), "{error}");
            assert_eq!(container.view().phase, Phase::Created, "{point}");
            let shims = std::fs::read_dir(lab.path("run/shim")).map_or(0, Iterator::count);
            assert_eq!(shims, 0, "{point} left a bundle");
        }
        container.start().await.unwrap();
        assert_eq!(end_of(&container).await.exit_code, 3);
        for point in ["remove.begin", "remove.snapshot", "remove.files"] {
            arm(point, Action::Error);
            container.remove(Owner::Docker, RemoveOptions::default()).await.unwrap_err();
            assert_eq!(container.view().phase, Phase::Dead, "{point}");
        }
        container.remove(Owner::Docker, RemoveOptions::default()).await.unwrap();
        engine.close().await;
    });
}
