//! One container's life through the engine.

use std::time::{Duration, Instant};

use engine::ErrorKind;
use engine::container::{AttachOptions, LogOptions, Phase, RemoveOptions, WaitCondition};
use engine::failpoint::{Action, arm};
use engine::id::Owner;
use engine::spec::{
    ExecSpec, HealthSpec, MountSource, MountSpec, NetworkMode, Resources, RestartPolicy, SandboxChoice,
};
use tokio::io::AsyncWriteExt as _;

use crate::lab::{PATIENCE, end_of, isolated, log_of, logged, output_of, run, sandbox, sh, spec, until};

fn forced() -> RemoveOptions {
    RemoveOptions { force: true, volumes: true }
}

#[test]
fn create_start_wait_logs_and_remove() {
    isolated("container::create_start_wait_logs_and_remove", |lab| async move {
        let engine = lab.open().await;
        let mut events = engine.events(None);
        let begun = Instant::now();
        let container = engine.create_container(sh("one", "echo out; echo err >&2; exit 3")).await.unwrap().container;
        let created = begun.elapsed();
        assert_eq!(container.view().phase, Phase::Created);
        container.start().await.unwrap();
        let started = begun.elapsed();
        assert_eq!(end_of(&container).await.exit_code, 3);
        let ended = begun.elapsed();
        assert_eq!(container.view().phase, Phase::Exited);
        assert_eq!(container.view().exit_code, 3);
        let log = log_of(&container).await;
        assert!(log.contains("out\n") && log.contains("err\n"), "{log:?}");
        container.remove(Owner::Docker, RemoveOptions::default()).await.unwrap();
        eprintln!(
            "create {created:?}, start {:?}, end {:?}, remove {:?}",
            started - created,
            ended - started,
            begun.elapsed() - ended
        );
        assert_eq!(engine.container("one").unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(container.start().await.unwrap_err().kind(), ErrorKind::NotFound);
        let mut actions = Vec::new();
        while let Ok(Some(Ok(event))) = tokio::time::timeout(Duration::from_millis(200), events.recv()).await {
            actions.push(event.action.clone());
        }
        assert_eq!(actions, ["create", "start", "die", "destroy"]);
        assert!(engine.sandboxes().is_empty());
        engine.close().await;
    });
}

#[test]
fn output_from_the_first_byte_reaches_who_attached_before_the_start() {
    isolated("container::output_from_the_first_byte_reaches_who_attached_before_the_start", |lab| async move {
        let engine = lab.open().await;
        let mut asked = sh("early", "echo first; cat; echo last >&2");
        asked.process.open_stdin = true;
        asked.process.stdin_once = true;
        let container = engine.create_container(asked).await.unwrap().container;
        let options = AttachOptions { stdin: true, stdout: true, stderr: true, stream: true, ..Default::default() };
        let mut io = container.attach(options).await.unwrap();
        let gone = container.wait(WaitCondition::NextExit);
        container.start().await.unwrap();
        let mut stdin = io.stdin.take().unwrap();
        stdin.write_all(b"through\n").await.unwrap();
        stdin.shutdown().await.unwrap();
        let (stdout, stderr) = output_of(io).await;
        assert_eq!((stdout.as_str(), stderr.as_str()), ("first\nthrough\n", "last\n"));
        assert_eq!(tokio::time::timeout(PATIENCE, gone).await.unwrap().unwrap().exit_code, 0);
        container.remove(Owner::Docker, forced()).await.unwrap();
        engine.close().await;
    });
}

#[test]
fn stop_asks_first_and_kills_after_the_grace() {
    isolated("container::stop_asks_first_and_kills_after_the_grace", |lab| async move {
        let engine = lab.open().await;
        let polite = run(&engine, sh("polite", "trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done")).await;
        logged(&polite, "ready").await;
        polite.stop(None, None).await.unwrap();
        assert_eq!(polite.view().exit_code, 7);
        assert_eq!(polite.stop(None, None).await.unwrap_err().kind(), ErrorKind::NotModified);

        let deaf = run(&engine, sh("deaf", "trap '' TERM; echo ready; while :; do sleep 0.05; done")).await;
        logged(&deaf, "ready").await;
        let begun = Instant::now();
        deaf.stop(Some(Duration::from_millis(300)), None).await.unwrap();
        assert!(begun.elapsed() >= Duration::from_millis(300));
        assert_eq!(deaf.view().exit_code, 137);
        // It starts again, and a kill by name ends it.
        deaf.start().await.unwrap();
        assert_eq!(deaf.start().await.unwrap_err().kind(), ErrorKind::NotModified);
        deaf.kill("SIGKILL").await.unwrap();
        assert_eq!(end_of(&deaf).await.exit_code, 137);
        assert!(deaf.kill("TERM").await.unwrap_err().to_string().ends_with("is not running"));
        assert_eq!(deaf.kill("NOPE").await.unwrap_err().kind(), ErrorKind::InvalidArgument);
        for container in [polite, deaf] {
            container.remove(Owner::Docker, forced()).await.unwrap();
        }
        engine.close().await;
    });
}

#[test]
fn a_program_that_cannot_run_leaves_the_container_created_with_its_code() {
    isolated("container::a_program_that_cannot_run_leaves_the_container_created_with_its_code", |lab| async move {
        let engine = lab.open().await;
        for (name, program, code) in [("none", "no-such-program", 127), ("dir", "/etc", 126)] {
            let container = engine.create_container(spec(name, &[program])).await.unwrap().container;
            let error = container.start().await.unwrap_err();
            assert_eq!(error.exit_code(), Some(code), "{error}");
            let view = container.view();
            assert_eq!((view.phase, view.exit_code), (Phase::Created, code), "{error}");
            assert!(view.error.contains(program), "{}", view.error);
            container.remove(Owner::Docker, RemoveOptions::default()).await.unwrap();
        }
        let mut gone = spec("gone", &["no-such-program"]);
        gone.auto_remove = true;
        let container = engine.create_container(gone).await.unwrap().container;
        container.start().await.unwrap_err();
        assert!(engine.container("gone").is_err(), "a container that removes itself stays after a failed start");
        engine.close().await;
    });
}

#[test]
fn execs_run_beside_the_first_process() {
    isolated("container::execs_run_beside_the_first_process", |lab| async move {
        let engine = lab.open().await;
        let container = run(&engine, sh("host", "echo ready; exec sleep 60")).await;
        logged(&container, "ready").await;
        let words = |script: &str| ["sh", "-c", script].map(String::from).to_vec();
        let begun = Instant::now();
        let output = container.exec_sync(words("echo a; echo b >&2; exit 4"), None).await.unwrap();
        eprintln!("exec {:?}", begun.elapsed());
        assert_eq!((&*output.stdout, &*output.stderr, output.exit_code), (&b"a\n"[..], &b"b\n"[..], 4));
        let slow = container.exec_sync(words("sleep 60"), Some(Duration::from_millis(200))).await.unwrap_err();
        assert_eq!(slow.kind(), ErrorKind::DeadlineExceeded);

        let asked = ExecSpec {
            args: words("read x; echo got $x; id -u; pwd"),
            stdin: true,
            stdout: true,
            stderr: true,
            user: "user".into(),
            cwd: "/etc".into(),
            ..Default::default()
        };
        let exec = container.exec(asked).await.unwrap();
        assert!(!exec.view().started);
        let mut io = exec.start(None).await.unwrap();
        io.stdin.as_mut().unwrap().write_all(b"it\n").await.unwrap();
        assert_eq!(output_of(io).await.0, "got it\n1000\n/etc\n");
        assert_eq!(exec.wait().await.unwrap(), 0);
        assert!(exec.start(None).await.unwrap_err().to_string().contains("has already run"));
        assert_eq!(engine.exec(exec.id().as_str()).unwrap().view().exit_code, Some(0));

        let missing = container.exec_sync(vec!["no-such-program".into()], None).await.unwrap_err();
        assert!(matches!(missing.exit_code(), Some(126 | 127)), "{missing}");
        container.remove(Owner::Docker, forced()).await.unwrap();
        assert!(engine.exec(exec.id().as_str()).is_err());
        engine.close().await;
    });
}

#[test]
fn pause_freezes_and_refuses_what_needs_a_running_process() {
    isolated("container::pause_freezes_and_refuses_what_needs_a_running_process", |lab| async move {
        let engine = lab.open().await;
        let container = run(&engine, sh("cold", "exec sleep 60")).await;
        container.pause().await.unwrap();
        assert_eq!(container.view().phase, Phase::Paused);
        assert!(container.pause().await.unwrap_err().to_string().contains("already paused"));
        let refused = container.exec_sync(vec!["true".into()], None).await.unwrap_err();
        assert!(refused.to_string().contains("is paused"), "{refused}");
        container.unpause().await.unwrap();
        assert_eq!(container.view().phase, Phase::Running);
        container.pause().await.unwrap();
        container.stop(Some(Duration::ZERO), None).await.unwrap();
        assert_eq!(container.view().phase, Phase::Exited);
        container.remove(Owner::Docker, forced()).await.unwrap();
        engine.close().await;
    });
}

#[test]
fn removal_is_refused_to_a_running_one_and_to_the_other_door() {
    isolated("container::removal_is_refused_to_a_running_one_and_to_the_other_door", |lab| async move {
        let engine = lab.open().await;
        let container = run(&engine, sh("held", "exec sleep 60")).await;
        let running = container.remove(Owner::Docker, RemoveOptions::default()).await.unwrap_err();
        assert_eq!(
            running.to_string(),
            "cannot remove container \"/held\": container is running: stop the container before removing or force remove"
        );
        let other = container.remove(Owner::Cri, RemoveOptions::default()).await.unwrap_err();
        assert_eq!(other.kind(), ErrorKind::Forbidden);
        let taken = engine.create_container(sh("held", "true")).await.unwrap_err();
        assert_eq!(taken.kind(), ErrorKind::AlreadyExists);
        assert!(taken.to_string().starts_with("Conflict. The container name \"/held\" is already in use by container"));
        let removed = container.wait(WaitCondition::Removed);
        container.remove(Owner::Cri, forced()).await.unwrap();
        assert_eq!(tokio::time::timeout(PATIENCE, removed).await.unwrap().unwrap().exit_code, 137);
        // Nothing of the refused creation holds the name.
        let again = engine.create_container(sh("held", "true")).await.unwrap().container;
        again.rename("kept").await.unwrap();
        assert!(engine.container("/kept").is_ok() && engine.container("held").is_err());
        again.remove(Owner::Docker, forced()).await.unwrap();
        engine.close().await;
    });
}

#[test]
fn a_container_that_removes_itself_answers_its_code_first() {
    isolated("container::a_container_that_removes_itself_answers_its_code_first", |lab| async move {
        let engine = lab.open().await;
        let mut asked = sh("rm", "exit 5");
        asked.auto_remove = true;
        let container = engine.create_container(asked).await.unwrap().container;
        let removed = container.wait(WaitCondition::Removed);
        container.start().await.unwrap();
        assert_eq!(tokio::time::timeout(PATIENCE, removed).await.unwrap().unwrap().exit_code, 5);
        assert!(engine.container("rm").is_err());
        engine.close().await;
    });
}

#[test]
fn policies_restart_with_back_off_until_a_user_stops() {
    isolated("container::policies_restart_with_back_off_until_a_user_stops", |lab| async move {
        let engine = lab.open().await;
        let mut asked = sh("twice", "exit 9");
        asked.restart = RestartPolicy::OnFailure { max_retries: 2 };
        let container = run(&engine, asked).await;
        let outcome = end_of(&container).await;
        assert_eq!((outcome.exit_code, container.view().restart_count), (9, 2));
        let mut asked = sh("always", "exit 0");
        asked.restart = RestartPolicy::Always;
        let always = run(&engine, asked).await;
        let mut views = always.watch();
        tokio::time::timeout(PATIENCE, views.wait_for(|view| view.restart_count >= 2)).await.unwrap().unwrap();
        // A stop is refused only in the moments between two runs.
        while always.view().phase != Phase::Exited {
            match always.stop(None, None).await {
                Ok(()) => {}
                Err(error) => assert_eq!(error.kind(), ErrorKind::NotModified, "{error}"),
            }
        }
        let count = always.view().restart_count;
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert_eq!((always.view().phase, always.view().restart_count), (Phase::Exited, count));
        for container in [container, always] {
            container.remove(Owner::Docker, forced()).await.unwrap();
        }
        engine.close().await;
    });
}

#[test]
fn health_is_probed_and_told() {
    isolated("container::health_is_probed_and_told", |lab| async move {
        let engine = lab.open().await;
        let mut asked = sh("well", "exec sleep 60");
        asked.health = Some(HealthSpec {
            test: vec!["CMD-SHELL".into(), "test -e /up".into()],
            interval_ns: 100_000_000,
            retries: 2,
            ..Default::default()
        });
        let container = run(&engine, asked).await;
        assert_eq!(container.view().health.as_ref().unwrap().status, "starting");
        let mut views = container.watch();
        let is = |status: &'static str| {
            move |view: &std::sync::Arc<engine::container::ContainerView>| {
                view.health.as_ref().is_some_and(|health| health.status == status)
            }
        };
        tokio::time::timeout(PATIENCE, views.wait_for(is("unhealthy"))).await.unwrap().unwrap();
        container.exec_sync(vec!["touch".into(), "/up".into()], None).await.unwrap();
        tokio::time::timeout(PATIENCE, views.wait_for(is("healthy"))).await.unwrap().unwrap();
        container.remove(Owner::Docker, forced()).await.unwrap();
        engine.close().await;
    });
}

#[test]
fn logs_follow_to_the_end_and_tail_counts_lines() {
    isolated("container::logs_follow_to_the_end_and_tail_counts_lines", |lab| async move {
        let engine = lab.open().await;
        let container = run(&engine, sh("talk", "for i in 1 2 3 4 5; do echo $i; sleep 0.1; done")).await;
        let options = LogOptions { follow: true, stdout: true, stderr: true, ..Default::default() };
        let mut lines = container.logs(options).await.unwrap();
        let mut text = String::new();
        let reading = async {
            while let Some(line) = lines.recv().await {
                text.push_str(&String::from_utf8_lossy(&line.unwrap().data));
            }
        };
        tokio::time::timeout(PATIENCE, reading).await.expect("a followed log ends with its container");
        assert_eq!(text, "1\n2\n3\n4\n5\n");
        let mut tail = container.logs(LogOptions { stdout: true, tail: Some(2), ..Default::default() }).await.unwrap();
        assert_eq!(&tail.recv().await.unwrap().unwrap().data[..], b"4\n");
        container.remove(Owner::Docker, forced()).await.unwrap();
        engine.close().await;
    });
}

#[test]
fn a_bridge_a_port_a_volume_and_limits() {
    isolated("container::a_bridge_a_port_a_volume_and_limits", |lab| async move {
        let engine = lab.open().await;
        let mut asked = sh("web", "echo hello >/data/f; cat /etc/hosts; exec httpd -f -p 80 -h /www");
        let mut own = sandbox(NetworkMode::Networks(vec![engine::spec::EndpointSpec {
            network: "bridge".into(),
            ..Default::default()
        }]));
        own.ports.push(engine::spec::PortSpec {
            host_ip: None,
            host_port: 0,
            host_port_end: 0,
            container_port: 80,
            protocol: engine::spec::Protocol::Tcp,
        });
        asked.sandbox = SandboxChoice::Own(Box::new(own));
        asked.resources = Resources { memory_bytes: Some(64 << 20), pids_max: Some(50), ..Default::default() };
        asked.mounts.push(MountSpec {
            source: MountSource::Volume {
                name: "data".into(),
                driver: String::new(),
                options: Default::default(),
                labels: Default::default(),
                no_copy: false,
                subpath: String::new(),
            },
            target: "/data".into(),
            readonly: false,
            recursive_readonly: false,
            non_recursive: false,
            propagation: Default::default(),
            id_maps: None,
            selinux_relabel: false,
        });
        let container = run(&engine, asked).await;
        let view = container.view();
        let address = view.endpoints[0].ipv4.unwrap().0;
        logged(&container, &address.to_string()).await;
        let port = view.ports[0].host_port;
        assert_ne!(port, 0);
        let stats = container.stats().await.unwrap();
        assert!(stats.network.iter().any(|(name, _)| name == "eth0"), "{:?}", stats.network);
        assert_eq!(stats.cgroup.memory.limit, Some(64 << 20));
        let listed = async {
            // The shell becomes the server some time after its last line.
            while !container.top("-o pid,comm").await.unwrap().processes.iter().any(|row| row[1] == "httpd") {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, listed).await.expect("the server is never listed");
        container.update(Resources { memory_bytes: Some(96 << 20), ..Default::default() }, None).await.unwrap();
        assert_eq!(container.stats().await.unwrap().cgroup.memory.limit, Some(96 << 20));
        let data = engine.volumes().get("data").unwrap().mountpoint.join("f");
        assert_eq!(std::fs::read_to_string(data).unwrap(), "hello\n");
        container.stop(Some(Duration::ZERO), None).await.unwrap();
        assert!(container.view().endpoints.is_empty() && container.view().ports.is_empty());
        container.start().await.unwrap();
        until(&container, Phase::Running).await;
        container.remove(Owner::Docker, forced()).await.unwrap();
        engine.volumes().remove("data", false).await.unwrap();
        engine.close().await;
    });
}

#[test]
fn an_exit_that_cannot_be_stored_is_told_and_stored_later() {
    isolated("container::an_exit_that_cannot_be_stored_is_told_and_stored_later", |lab| async move {
        let engine = lab.open().await;
        let container = run(&engine, sh("unlucky", "exec sleep 60")).await;
        arm("container.store", Action::Error);
        container.kill("KILL").await.unwrap();
        assert_eq!(end_of(&container).await.exit_code, 137);
        let view = container.view();
        assert_eq!((view.phase, view.exit_code), (Phase::Exited, 137));
        assert!(view.error.contains("could not be stored"), "{}", view.error);
        let mut views = container.watch();
        let stored = views.wait_for(|view| view.error.is_empty());
        tokio::time::timeout(Duration::from_secs(20), stored).await.expect("stored later").unwrap();
        engine.close().await;
        drop((engine, container));
        let engine = lab.reopen().await;
        let container = engine.container("unlucky").unwrap();
        assert_eq!((container.view().phase, container.view().exit_code), (Phase::Exited, 137));
        container.remove(Owner::Docker, forced()).await.unwrap();
        engine.close().await;
    });
}

#[test]
fn a_container_is_removed_though_its_removal_cannot_be_noted_first() {
    isolated("container::a_container_is_removed_though_its_removal_cannot_be_noted_first", |lab| async move {
        let engine = lab.open().await;
        let container = run(&engine, sh("full", "exit 0")).await;
        end_of(&container).await;
        arm("container.store", Action::Error);
        container.remove(Owner::Docker, forced()).await.unwrap();
        assert!(engine.containers().is_empty());
        engine.close().await;
    });
}
