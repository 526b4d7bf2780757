//! The shim under Debian's containerd 1.6: `ctr run --runtime io.containerd.gantry.v1`, in namespaces of its own.
//! And through an independent implementation of ttrpc and the Task service (version 3). Needs root, `unshare`,
//! `containerd`, `ctr` and `busybox-static`.

mod support;

use std::process::Command;

use containerd_shim_protos::api;
use containerd_shim_protos::shim_async::TaskClient;
use containerd_shim_protos::ttrpc::asynchronous::Client;
use containerd_shim_protos::ttrpc::context;
use support::World;

/// Starts containerd, goes through a container's life with `ctr`, and prints what it saw.
const SCRIPT: &str = r#"
set -u
mount -t tmpfs run /run && mkdir -p "$FOLDER/root" "$FOLDER/state"
cat > "$FOLDER/config.toml" <<CONFIG
version = 2
root = "$FOLDER/root"
state = "$FOLDER/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "/run/c.sock"
[ttrpc]
address = "/run/c.sock.ttrpc"
CONFIG
containerd -c "$FOLDER/config.toml" > "$FOLDER/containerd.log" 2>&1 &
daemon=$!
for i in $(seq 100); do [ -S /run/c.sock ] && [ -S /run/c.sock.ttrpc ] && break; sleep 0.1; done
c="timeout 60 ctr -a /run/c.sock"
$c run --rm --rootfs --runtime io.containerd.gantry.v1 "$FOLDER/rootfs" one /bin/sh -c 'echo hello; exit 3'; echo "run $?"
$c run -d --rootfs --runtime io.containerd.gantry.v1 "$FOLDER/rootfs" two /bin/sleep 1000; echo "detached $?"
$c task exec --exec-id e two /bin/echo executed; echo "exec $?"
$c task ls | grep -o 'two .*RUNNING' | tr -s ' ' | cut -d' ' -f1,3
$c task metrics two | grep -c memory.usage
$c task pause two && $c task ls | grep -c PAUSED; $c task resume two
$c task kill -s 9 two; for i in $(seq 50); do $c task ls | grep -q STOPPED && break; sleep 0.1; done
$c task rm two 2>/dev/null; $c container rm two; $c container ls -q | wc -l
for i in $(seq 50); do pgrep -x containerd-shim > /dev/null || break; sleep 0.1; done
pgrep -x containerd-shim | wc -l
kill $daemon; wait $daemon
"#;

#[test]
fn containerd_drives_the_shim() {
    let folder = tempfile::tempdir().unwrap();
    support::make_rootfs(&folder.path().join("rootfs"));
    let program = support::program();
    let shim = program.parent().unwrap();
    let path = format!("{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", shim.display());
    let output = Command::new("unshare")
        .args(["-m", "-n", "-p", "-f", "--mount-proc", "--propagation", "private", "bash", "-c", SCRIPT])
        .env_clear()
        .env("PATH", path)
        .env("FOLDER", folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let log = std::fs::read_to_string(folder.path().join("containerd.log")).unwrap_or_default();
    let expected = "hello\nrun 3\ndetached 0\nexecuted\nexec 0\ntwo RUNNING\n1\n1\n0\n0\n";
    assert_eq!(text, expected, "{errors}\n{log}");
}

#[tokio::test]
async fn an_independent_client_speaks_to_the_shim() {
    let world = World::new().await;
    let container = world.write("a", &world.spec("a", &["sh", "-c", "exit 11"]));
    let client = Client::connect(&format!("unix://{}", world.bundle.socket().display())).await.unwrap();
    let task = TaskClient::new(client);
    let mut create = api::CreateTaskRequest::new();
    create.id = "a".into();
    create.bundle = container.folder().to_string_lossy().into_owned();
    let pid = task.create(context::Context::default(), &create).await.unwrap().pid;
    let start = api::StartRequest { id: "a".into(), ..Default::default() };
    assert_eq!(task.start(context::Context::default(), &start).await.unwrap().pid, pid);
    let wait = api::WaitRequest { id: "a".into(), ..Default::default() };
    assert_eq!(task.wait(context::Context::default(), &wait).await.unwrap().exit_status, 11);
    let delete = api::DeleteRequest { id: "a".into(), ..Default::default() };
    assert_eq!(task.delete(context::Context::default(), &delete).await.unwrap().exit_status, 11);
    let again = task.delete(context::Context::default(), &delete).await.unwrap_err();
    assert!(again.to_string().contains("not found"), "{again}");
    world.end().await;
}
