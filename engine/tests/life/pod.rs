//! A pod of several containers.

use std::time::Duration;

use engine::ErrorKind;
use engine::container::RemoveOptions;
use engine::id::Owner;
use engine::sandbox::SandboxPhase;
use engine::spec::{ContainerSpec, LogSpec, NamespaceMode, NamespaceSpec, NetworkMode, SandboxChoice, SandboxSpec};

use crate::lab::{end_of, isolated, log_of, logged, run, sandbox, sh};

fn pod(name: &str, logs: &std::path::Path) -> SandboxSpec {
    let mut pod = sandbox(NetworkMode::Pod);
    pod.owner = Owner::Cri;
    pod.name = name.into();
    pod.hostname = "pod-host".into();
    pod.log_directory = logs.to_string_lossy().into_owned();
    pod
}

fn member(name: &str, script: &str, pod: &engine::SandboxHandle) -> ContainerSpec {
    let mut asked = sh(name, script);
    asked.owner = Owner::Cri;
    asked.sandbox = SandboxChoice::Pod(pod.id().clone());
    asked.namespaces = NamespaceSpec { ipc: NamespaceMode::Sandbox, uts: NamespaceMode::Sandbox, ..Default::default() };
    asked.log = LogSpec::Cri { path: format!("{name}.log") };
    asked
}

#[test]
fn two_containers_share_a_network_and_a_name() {
    isolated("pod::two_containers_share_a_network_and_a_name", |lab| async move {
        let engine = lab.open().await;
        let begun = std::time::Instant::now();
        let pod = engine.run_sandbox(pod("web", &lab.path("logs"))).await.unwrap();
        eprintln!("run sandbox {:?}", begun.elapsed());
        assert_eq!(pod.view().phase, SandboxPhase::Ready);
        assert!(pod.view().endpoints[0].ipv4.is_some());
        let server = run(&engine, member("server", "hostname; exec httpd -f -p 80 -h /www", &pod)).await;
        logged(&server, "pod-host").await;
        let client = run(&engine, member("client", "sleep 0.2; wget -qO- http://127.0.0.1/index.html", &pod)).await;
        assert_eq!(end_of(&client).await.exit_code, 0, "{}", log_of(&client).await);
        assert!(log_of(&client).await.contains("hello from a container"));
        assert_eq!(pod.view().containers.len(), 2);
        // The pod goes on without the one that has ended.
        assert_eq!(pod.view().phase, SandboxPhase::Ready);
        assert_eq!(pod.remove(Owner::Docker, false).await.unwrap_err().kind(), ErrorKind::Forbidden);
        let begun = std::time::Instant::now();
        pod.stop().await.unwrap();
        eprintln!("stop sandbox {:?}", begun.elapsed());
        pod.stop().await.unwrap();
        assert_eq!((pod.view().phase, server.view().exit_code), (SandboxPhase::NotReady, 137));
        let late = engine.create_container(member("late", "true", &pod)).await.unwrap_err();
        assert_eq!(late.kind(), ErrorKind::Conflict);
        client.remove(Owner::Cri, RemoveOptions::default()).await.unwrap();
        pod.remove(Owner::Cri, false).await.unwrap();
        assert!(engine.sandboxes().is_empty() && engine.containers().is_empty());
        engine.close().await;
    });
}

#[test]
fn a_shared_pid_namespace_has_the_shims_init() {
    isolated("pod::a_shared_pid_namespace_has_the_shims_init", |lab| async move {
        let engine = lab.open().await;
        let mut asked = pod("pids", &lab.path("logs"));
        asked.pid = NamespaceMode::Sandbox;
        let pod = engine.run_sandbox(asked).await.unwrap();
        let mut first = member("first", "exec sleep 61", &pod);
        first.namespaces.pid = NamespaceMode::Sandbox;
        let first = run(&engine, first).await;
        let mut second = member("second", "ps | grep -c 'sleep 61'; echo $$", &pod);
        second.namespaces.pid = NamespaceMode::Sandbox;
        let second = run(&engine, second).await;
        end_of(&second).await;
        let log = log_of(&second).await;
        let own_pid: u32 = log.lines().last().unwrap().trim().parse().unwrap();
        assert!(own_pid > 1, "{log}");
        first.stop(Some(Duration::ZERO), None).await.unwrap();
        pod.remove(Owner::Cri, false).await.unwrap();
        engine.close().await;
    });
}
