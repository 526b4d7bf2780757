//! The sandbox: namespaces that the shim holds, shared by containers. Needs root, `unshare` and `busybox-static`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};
use shim_api::options::{self, IdMapping, NamespaceMode, SandboxNamespaces, SandboxOptions, TaskOptions};
use shim_api::proto::sandbox::CreateSandboxRequest;
use shim_api::proto::task::v3 as wire;
use shim_api::proto::types::Mount;
use shim_api::sandbox::{STATE_NOT_READY, STATE_READY, SandboxClient};
use support::World;

async fn start(world: &World, options: &SandboxOptions) -> (SandboxClient, SandboxNamespaces) {
    let client = SandboxClient::new(world.connection.clone(), support::TIMEOUT);
    let request = CreateSandboxRequest {
        sandbox_id: "box".into(),
        options: Some(options::to_any(options::SANDBOX_OPTIONS_URL, options).unwrap()),
        ..CreateSandboxRequest::default()
    };
    client.create(&request).await.unwrap();
    assert_eq!(client.status("box", false).await.unwrap().state, STATE_NOT_READY);
    let (_, namespaces) = client.start("box").await.unwrap();
    assert_eq!(client.status("box", true).await.unwrap().state, STATE_READY);
    (client, namespaces)
}

/// Puts the sandbox's namespaces into a spec, in place of new ones.
fn join(spec: &mut Value, namespaces: &SandboxNamespaces) {
    let paths: [(&str, &Option<PathBuf>); 5] = [
        ("network", &namespaces.network),
        ("ipc", &namespaces.ipc),
        ("uts", &namespaces.uts),
        ("pid", &namespaces.pid),
        ("user", &namespaces.user),
    ];
    let list = spec["linux"]["namespaces"].as_array_mut().unwrap();
    for (name, path) in paths {
        let Some(path) = path else { continue };
        list.retain(|namespace| namespace["type"] != name);
        list.push(json!({"type": name, "path": path}));
    }
    if namespaces.uts.is_some() {
        spec.as_object_mut().unwrap().remove("hostname");
    }
}

#[tokio::test]
async fn containers_share_what_the_sandbox_holds() {
    let world = World::new().await;
    let sysctls = BTreeMap::from([("kernel.shmmni".to_owned(), "77".to_owned())]);
    let options = SandboxOptions {
        hostname: Some("pod".into()),
        pid: NamespaceMode::Sandbox,
        sysctls,
        ..SandboxOptions::default()
    };
    let (client, namespaces) = start(&world, &options).await;
    let mut first = world.spec("one", &["sleep", "1000"]);
    join(&mut first, &namespaces);
    world.create("one", &first, &TaskOptions::default()).await.unwrap();
    world.start("one", "").await.unwrap();
    let command = "hostname; cat /proc/sys/kernel/shmmni; cat /proc/1/comm; cat /proc/*/comm | grep -c sleep";
    let mut second = world.spec("two", &["sh", "-c", command]);
    join(&mut second, &namespaces);
    let (status, log) = world.run("two", &second).await;
    assert_eq!((status, &*log), (0, "pod\n77\ngantry-init\n1\n"));
    client.stop("box", 0).await.unwrap();
    assert_eq!(world.wait("one", "").await, 137);
    assert_eq!(client.status("box", false).await.unwrap().state, STATE_NOT_READY);
    world.delete("one", "").await.unwrap();
    client.shutdown("box").await.unwrap();
    world.end().await;
}

#[tokio::test]
async fn a_user_namespace_maps_the_container_and_its_files() {
    let world = World::new().await;
    let map = vec![IdMapping { container_id: 0, host_id: 100_000, size: 65_536 }];
    let options = SandboxOptions {
        hostname: Some("pod".into()),
        uid_mappings: map.clone(),
        gid_mappings: map,
        ..SandboxOptions::default()
    };
    let (client, namespaces) = start(&world, &options).await;
    let command = "id -u; cat /proc/self/uid_map | wc -l; stat -c %u /bin/busybox; touch /made; stat -c %u /made; \
                   echo x > /dev/null; ls /sys/class/net; hostname";
    let mut spec = world.spec("a", &["sh", "-c", command]);
    join(&mut spec, &namespaces);
    for folder in ["upper", "work"] {
        std::fs::create_dir_all(world.folder.path().join(folder)).unwrap();
    }
    let at = |name: &str| world.folder.path().join(name).to_string_lossy().into_owned();
    let rootfs = Mount {
        r#type: "overlay".into(),
        source: "overlay".into(),
        options: vec![
            format!("lowerdir={}", at("rootfs")),
            format!("upperdir={}", at("upper")),
            format!("workdir={}", at("work")),
            "uidmap=0:100000:65536".into(),
            "gidmap=0:100000:65536".into(),
        ],
        ..Mount::default()
    };
    let (task, log) = world.logged("a");
    let container = world.write("a", &spec);
    let request = wire::CreateTaskRequest {
        id: "a".into(),
        bundle: container.folder().to_string_lossy().into_owned(),
        rootfs: vec![rootfs],
        options: Some(options::to_any(options::TASK_OPTIONS_URL, &task).unwrap()),
        ..wire::CreateTaskRequest::default()
    };
    let pid = world.client.create(&request).await.unwrap().pid;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains("Uid:\t100000\t100000"), "{status}");
    world.start("a", "").await.unwrap();
    assert_eq!(world.wait("a", "").await, 0, "{}", support::read_log(&log));
    assert_eq!(support::read_log(&log), "0\n1\n0\n0\nlo\npod\n");
    world.delete("a", "").await.unwrap();
    let made = std::fs::metadata(world.folder.path().join("upper/made")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&made), 0, "files are stored with the ids of the image");
    client.shutdown("box").await.unwrap();
    world.end().await;
}
