//! Checkpoints: there are none, and each door says what is in their way on this machine.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use k8s_cri::v1;
use testkit::World;
use testkit::image::sample;
use tonic::Code;

use crate::client::load;
use crate::cri::{IMAGE, logs, refused, with_kubelet};

/// A world whose daemon finds this `criu`, or none at all.
fn world_with_criu(script: Option<&str>) -> World {
    let mut world = World::bare();
    let folder: PathBuf = world.dir().join("programs");
    std::fs::create_dir_all(&folder).expect("directory");
    // All that the daemon's start looks up: on a machine that has criu it must not be found.
    let nsenter = ["/usr/bin/nsenter", "/bin/nsenter"].into_iter().find(|path| std::path::Path::new(path).exists());
    std::os::unix::fs::symlink(nsenter.expect("nsenter"), folder.join("nsenter")).expect("link");
    if let Some(script) = script {
        std::fs::write(folder.join("criu"), format!("#!/bin/sh\n{script}\n")).expect("criu");
        std::fs::set_permissions(folder.join("criu"), std::fs::Permissions::from_mode(0o755)).expect("mode");
    }
    world.start_daemon_with(&[("PATH", &folder.display().to_string())]);
    load(&world, &sample::busybox().docker_archive("busybox:latest"));
    world
}

fn refused_because(script: Option<&str>, why: &str) {
    let world = world_with_criu(script);
    with_kubelet(&world, async |mut kubelet| {
        let pod = kubelet.run_pod("kept", &logs(&world, "kept"), "").await?;
        let id = kubelet.start(&pod, "c", IMAGE, &["sleep", "1000"]).await?;
        let location = world.dir().join("checkpoint.tar").display().to_string();
        let asked = v1::CheckpointContainerRequest { container_id: id.clone(), location: location.clone(), timeout: 5 };
        refused(kubelet.runtime.checkpoint_container(asked.clone()).await, Code::Unimplemented, why);
        let wrong = v1::CheckpointContainerRequest { location: String::new(), ..asked.clone() };
        refused(kubelet.runtime.checkpoint_container(wrong).await, Code::InvalidArgument, "location");
        let wrong = v1::CheckpointContainerRequest { timeout: -1, ..asked.clone() };
        refused(kubelet.runtime.checkpoint_container(wrong).await, Code::InvalidArgument, "timeout");
        let wrong = v1::CheckpointContainerRequest { container_id: "nothing".into(), ..asked };
        refused(kubelet.runtime.checkpoint_container(wrong).await, Code::NotFound, "nothing");
        assert!(!std::path::Path::new(&location).exists());
        assert_eq!(kubelet.status(&id).await?.state(), v1::ContainerState::ContainerRunning);
        kubelet.remove_pod(&pod).await
    });
    world.docker(["run", "-d", "--name", "box", "busybox", "sleep", "1000"]).ok();
    let call = |method: &str, path: &str, body: &str| {
        let headers = [("Content-Type", "application/json")];
        let answer = testkit::http::request_with(&world.docker_socket(), method, path, &headers, body.as_bytes());
        (answer.status, String::from_utf8_lossy(&answer.body).into_owned())
    };
    let (status, said) = call("POST", "/containers/box/checkpoints", r#"{"CheckpointID":"one"}"#);
    assert!(status == 501 && said.contains(why), "{status} {said}");
    let (status, said) = call("POST", "/containers/box/checkpoints", "{}");
    assert!(status == 400 && said.contains("CheckpointID"), "{status} {said}");
    assert_eq!(call("GET", "/containers/box/checkpoints", ""), (200, "[]\n".to_owned()));
    assert_eq!(call("GET", "/containers/nothing/checkpoints", "").0, 404);
    let (status, said) = call("DELETE", "/containers/box/checkpoints/one", "");
    assert!(status == 404 && said.contains("checkpoint one does not exist"), "{status} {said}");
    let (status, said) = call("POST", "/containers/box/start?checkpoint=one", "");
    assert!(status == 404 && said.contains("checkpoint one does not exist"), "{status} {said}");
    world.docker(["rm", "-f", "box"]).ok();
}

#[test]
fn without_criu() {
    refused_because(None, "need criu, which is not on PATH");
}

#[test]
fn with_a_criu_that_cannot_work_here() {
    let script = "[ \"$1\" = check ] || exit 9\necho 'Error (criu/vdso.c:381): vdso: Unexpected rt vDSO area bounds' >&2\nexit 1";
    refused_because(Some(script), "vdso: Unexpected rt vDSO area bounds");
}
