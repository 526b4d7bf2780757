//! Published flaws of CRI runtimes, tried on us over the socket. The table of all rows and their tests is
//! `tests/e2e/SECURITY.md`.

use std::collections::HashMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use k8s_cri::v1;
use pod::{Kubelet, container_config, pod_config};
use tonic::Code;

use crate::client::world_with_busybox;
use crate::cri::{IMAGE, PATIENCE, logs, refused, with_kubelet};

/// Sysctls with separators, control bytes and without a namespace; those of a namespace that is the host's.
/// CVE-2022-0811, CVE-2022-0532.
#[test]
fn sysctls_stay_in_their_namespaces() {
    let world = world_with_busybox();
    let host_pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").expect("core_pattern");
    with_kubelet(&world, async |mut kubelet| {
        let config = |key: &str, value: &str, network: v1::NamespaceMode| {
            let mut config = pod_config("sysctls", &logs(&world, "sysctls"), "");
            config.hostname.clear();
            let linux = config.linux.get_or_insert_default();
            linux.sysctls = HashMap::from([(key.to_owned(), value.to_owned())]);
            let context = linux.security_context.get_or_insert_default();
            context.namespace_options.get_or_insert_default().set_network(network);
            config
        };
        let (pod, node) = (v1::NamespaceMode::Pod, v1::NamespaceMode::Node);
        for (key, value, network) in [
            ("kernel.core_pattern", "|/bin/x", pod),
            ("kernel.shm_rmid_forced+kernel.core_pattern", "1", pod),
            ("kernel.shm_rmid_forced", "1\nkernel.core_pattern=x", pod),
            ("net/../kernel.core_pattern", "x", pod),
            ("kernel.shm_rmid_forced", "1\0", pod),
            ("vm.swappiness", "1", pod),
            ("net.ipv4.ip_forward", "1", node),
        ] {
            let request = v1::RunPodSandboxRequest { config: Some(config(key, value, network)), ..Default::default() };
            let part = key.split(['+', '/']).next().unwrap_or(key);
            refused(kubelet.runtime.run_pod_sandbox(request).await, Code::InvalidArgument, part);
        }
        let made = kubelet.run_pod_as(config("net.ipv4.ip_unprivileged_port_start", "80", pod)).await?;
        let look = ["cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start"];
        let id = kubelet.start(&made, "c", IMAGE, &["sleep", "1000"]).await?;
        assert_eq!(kubelet.exec(&id, &look).await?.1.trim(), "80");
        kubelet.remove_pod(&made).await
    });
    assert_eq!(std::fs::read_to_string("/proc/sys/kernel/core_pattern").expect("core_pattern"), host_pattern);
}

/// ExecSync keeps a bounded part of an output without end, and the command is gone afterwards. CVE-2022-31030,
/// CVE-2022-1708.
#[test]
fn output_without_end_is_bounded() {
    let world = world_with_busybox();
    with_kubelet(&world, async |mut kubelet| {
        let pod = kubelet.run_pod("endless", &logs(&world, "endless"), "").await?;
        let id = kubelet.start(&pod, "c", IMAGE, &["sleep", "1000"]).await?;
        let command = ["sh", "-c", "while :; do cat /bin/busybox; done"].map(str::to_owned).to_vec();
        let request = v1::ExecSyncRequest { container_id: id.clone(), cmd: command, timeout: 2 };
        let status = kubelet.runtime.exec_sync(request).await.expect_err("it never ends");
        assert_eq!(status.code(), Code::DeadlineExceeded, "{:?}", status.code());
        let resident = world.sh(&format!("grep VmRSS /proc/{}/status", world.sh("pidof gantryd").trim()));
        let kib: u64 = resident.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number");
        assert!(kib < 400 << 10, "the daemon holds {kib} KiB");
        let (_, left, _) = kubelet.exec(&id, &["ps"]).await?;
        assert!(!left.contains("while :"), "{left}");
        kubelet.remove_pod(&pod).await
    });
}

/// Nothing of one container's environment shows in another of the same image. CVE-2021-21334.
#[test]
fn environments_do_not_mix() {
    let world = world_with_busybox();
    with_kubelet(&world, async |mut kubelet| {
        let pod = kubelet.run_pod("mixed", &logs(&world, "mixed"), "").await?;
        let made = (0..24).map(|number| {
            let (mut kubelet, pod): (Kubelet, _) = (kubelet.clone(), pod.clone());
            tokio::spawn(async move {
                let mut config = container_config(&format!("c{number}"), IMAGE, &["env"]);
                config.envs = vec![v1::KeyValue { key: format!("SECRET_{number}"), value: number.to_string() }];
                let id = kubelet.start_as(&pod, config).await.map_err(|e| e.to_string())?;
                kubelet.wait(&id, PATIENCE).await.map_err(|e| e.to_string())
            })
        });
        for task in made.collect::<Vec<_>>() {
            assert_eq!(task.await??.exit_code, 0);
        }
        for number in 0..24 {
            let text = std::fs::read_to_string(logs(&world, "mixed").join(format!("c{number}.log")))?;
            let secrets: Vec<&str> = text.lines().filter(|line| line.contains("SECRET_")).collect();
            assert_eq!(secrets.len(), 1, "{secrets:?}");
            assert!(secrets[0].ends_with(&format!("SECRET_{number}={number}")), "{secrets:?}");
        }
        kubelet.remove_pod(&pod).await
    });
}

/// State on the host is nobody else's to enter. CVE-2021-41103, CVE-2024-25621, CVE-2020-15257.
#[test]
fn state_is_private_and_sockets_have_paths() {
    let world = world_with_busybox();
    with_kubelet(&world, async |mut kubelet| {
        let pod = kubelet.run_pod("private", &logs(&world, "private"), "").await?;
        kubelet.start(&pod, "c", IMAGE, &["sleep", "1000"]).await?;
        for dir in ["snapshots", "content", "containers", "sandboxes"].map(|name| world.root().join(name)) {
            let open = |path: &Path| std::fs::metadata(path).map(|meta| meta.permissions().mode() & 0o077).unwrap_or(0);
            assert!(open(&dir) == 0 || open(&world.root()) == 0, "{} is open to others", dir.display());
        }
        // From outside of the run directory's owner nothing below it is reachable.
        let modes = world
            .sh("stat -c '%a %n' /run/gantry /run/gantry/shim; find /run/gantry -type s -exec stat -c '%a %n' {} +");
        let reachable =
            |line: &&str| !line.starts_with('7') && !line.starts_with('6') || line.as_bytes().get(2) != Some(&b'0');
        let open: Vec<&str> = modes.lines().filter(reachable).collect();
        assert!(open.is_empty(), "{open:?}");
        let abstract_sockets = world.sh("grep -c ' @.*gantry' /proc/net/unix || true");
        assert_eq!(abstract_sockets.trim(), "0");
        kubelet.remove_pod(&pod).await
    });
}

/// A log file that the container's neighbour replaced by a link, a FIFO or a device is not written through, also not
/// when it is opened anew. CVE-2024-5154, CVE-2025-0750.
#[test]
fn a_log_is_a_file_of_its_own() {
    let world = world_with_busybox();
    let canary = world.dir().join("canary");
    std::fs::write(&canary, "untouched").expect("canary");
    let before = std::fs::metadata(&canary).expect("canary");
    with_kubelet(&world, async |mut kubelet| {
        let dir = logs(&world, "logged");
        let pod = kubelet.run_pod("logged", &dir, "").await?;
        let id = kubelet.start(&pod, "c", IMAGE, &["sh", "-c", "while :; do echo line; usleep 20000; done"]).await?;
        let log = dir.join("c.log");
        let replace: [fn(&Path, &Path) -> std::io::Result<()>; 2] = [
            |canary, log| std::os::unix::fs::symlink(canary, log),
            |_, log| {
                let mode = rustix::fs::Mode::from_raw_mode(0o600);
                Ok(rustix::fs::mknodat(rustix::fs::CWD, log, rustix::fs::FileType::Fifo, mode, 0)?)
            },
        ];
        for with in replace {
            std::fs::remove_file(&log)?;
            with(&canary, &log)?;
            let request = v1::ReopenContainerLogRequest { container_id: id.clone() };
            // Refused or replaced: both are right. The container goes on and answers.
            let _ = tokio::time::timeout(PATIENCE, kubelet.runtime.reopen_container_log(request)).await?;
            assert_eq!(kubelet.exec(&id, &["echo", "here"]).await?.1, "here\n");
        }
        kubelet.remove_pod(&pod).await
    });
    let after = std::fs::metadata(&canary).expect("canary");
    assert_eq!((after.len(), after.mtime_nsec(), after.ino()), (before.len(), before.mtime_nsec(), before.ino()));
}

/// CVE-2025-47291: a container in a pod with a user namespace is in its cgroup before it runs, and held to its limits.
#[test]
fn limits_hold_in_user_namespaces() {
    const LIMIT: i64 = 32 << 20;
    let world = world_with_busybox();
    with_kubelet(&world, async |mut kubelet| {
        let range = vec![v1::IdMapping { host_id: 100_000, container_id: 0, length: 65_536 }];
        let userns = v1::UserNamespace { mode: v1::NamespaceMode::Pod.into(), uids: range.clone(), gids: range };
        let pid = v1::NamespaceMode::Container.into();
        let options = v1::NamespaceOption { pid, userns_options: Some(userns), ..Default::default() };
        let mut config = pod_config("limited", &logs(&world, "limited"), "");
        let context = config.linux.get_or_insert_default().security_context.get_or_insert_default();
        context.namespace_options = Some(options.clone());
        let pod = kubelet.run_pod_as(config).await?;
        let mut config = container_config(
            "c",
            IMAGE,
            &["sh", "-c", "cat /proc/self/cgroup; dd if=/dev/zero of=/dev/null bs=200M count=1"],
        );
        let linux = config.linux.get_or_insert_default();
        linux.security_context.get_or_insert_default().namespace_options = Some(options);
        linux.resources = Some(v1::LinuxContainerResources {
            memory_limit_in_bytes: LIMIT,
            memory_swap_limit_in_bytes: LIMIT,
            ..Default::default()
        });
        let id = kubelet.start_as(&pod, config).await?;
        kubelet.wait(&id, PATIENCE).await?;
        let said = std::fs::read_to_string(logs(&world, "limited").join("c.log"))?;
        assert!(said.lines().any(|line| line.contains(":memory:") || line.contains(" 0::")), "{said}");
        let status = kubelet.status(&id).await?;
        assert_ne!(status.exit_code, 0, "{said}");
        assert!(!said.contains("1+0 records out"), "{said}");
        kubelet.remove_pod(&pod).await
    });
}
