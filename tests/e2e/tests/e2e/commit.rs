//! What a container has become: `diff`, `export`, `import`, `commit`, `update`.

use testkit::http::request;

use crate::client::{Client, with_both_clients, world_with_busybox};

with_both_clients!(
    changes_are_told,
    a_commit_is_an_image,
    a_commit_is_changed_by_instructions,
    an_export_is_imported,
    limits_and_policy_are_updated,
);

const CHANGE: &str = "echo new > /new; mkdir /dir; echo x > /dir/inner; rm /www/index.html; echo more >> /etc/group; \
                      chmod 700 /home; ln -s /new /link; rm -r /var; mkdir /var; echo again > /var/back";

fn changes_are_told(client: Client) {
    let world = world_with_busybox();
    let before = world.census();
    client.line(&world, "run --name still busybox true").ok();
    assert_eq!(client.line(&world, "diff still").ok(), "", "what the runtime makes is no change");
    client.args(&world, &["run", "--name", "box", "-v", "data:/data", "busybox", "sh", "-c", CHANGE]).ok();
    let told = client.line(&world, "diff box").ok();
    let lines: Vec<&str> = told.lines().collect();
    for line in [
        "A /new",
        "A /dir",
        "A /dir/inner",
        "D /www/index.html",
        "C /www",
        "C /etc/group",
        "C /home",
        "A /link",
        "A /var/back",
    ] {
        assert!(lines.contains(&line), "{line:?} in {told}");
    }
    let of_runtime = ["/etc/hosts", "/etc/resolv.conf", "/proc", "/sys", "/bin"];
    assert!(!lines.iter().any(|line| of_runtime.iter().any(|path| line.ends_with(path))), "{told}");
    assert!(client.line(&world, "diff nobody").failure().contains("nobody"));
    client.line(&world, "rm -f -v still box").ok();
    client.line(&world, "volume rm data").ok();
    world.assert_nothing_left(&before);
}

fn a_commit_is_an_image(client: Client) {
    let world = world_with_busybox();
    let before = world.census();
    let script = format!("{CHANGE}; sleep 1000");
    client
        .args(
            &world,
            &[
                "run", "-d", "--name", "box", "-e", "A=1", "-w", "/dir", "-l", "mine=yes", "busybox", "sh", "-c",
                &script,
            ],
        )
        .ok();
    testkit::wait::until("the changes", std::time::Duration::from_secs(10), || {
        client.line(&world, "exec box cat /var/back").status.success().then_some(())
    });
    let id = client.args(&world, &["commit", "-a", "me", "-m", "what I did", "box", "made:1"]).ok();
    assert!(id.starts_with("sha256:") && id.len() == 71, "{id}");
    assert_eq!(client.args(&world, &["inspect", "-f", "{{.State.Status}}", "box"]).ok(), "running", "thawed again");
    let show = "{{.Author}}|{{.Comment}}|{{.Config.WorkingDir}}|{{index .Config.Labels \"mine\"}}|{{len .RootFS.Layers}}|{{.Os}}";
    assert_eq!(client.args(&world, &["image", "inspect", "-f", show, "made:1"]).ok(), "me|what I did|/dir|yes|2|linux");
    let history = client.args(&world, &["history", "--format", "{{.Comment}}", "made:1"]).ok();
    assert!(history.starts_with("what I did"), "{history}");
    // Whiteouts, opaque directories, links and modes have come along, and the configuration.
    let script = "pwd; cat /new /dir/inner /var/back; ls /www /var; stat -c %a /home; readlink /link; echo $A; cat /etc/group | tail -1";
    let shown = client.args(&world, &["run", "--rm", "made:1", "sh", "-c", script]).ok();
    assert_eq!(shown, "/dir\nnew\nx\nagain\n/var:\nback\n\n/www:\n700\n/new\n1\nmore");
    // Without a name it is known by its id, and nothing changed makes no layer.
    client.line(&world, "run --name still made:1 true").ok();
    let same = client.line(&world, "commit still").ok();
    assert_eq!(client.args(&world, &["image", "inspect", "-f", "{{.RepoTags}}", &same]).ok(), "[]");
    let refused = client.line(&world, "commit nobody x");
    assert!(refused.failure().contains("nobody"), "{refused}");
    client.line(&world, "rm -f box still").ok();
    client.args(&world, &["rmi", "-f", &same]).ok();
    client.line(&world, "rmi made:1").ok();
    world.assert_nothing_left(&before);
}

fn a_commit_is_changed_by_instructions(client: Client) {
    let world = world_with_busybox();
    let before = world.census();
    client.line(&world, "create --name box busybox").ok();
    let changes = [
        "-c",
        "ENV GREETING=\"hello you\"",
        "-c",
        "ENTRYPOINT [\"/bin/sh\", \"-c\"]",
        "-c",
        "CMD [\"echo $GREETING\"]",
        "-c",
        "EXPOSE 80 53/udp",
        "-c",
        "VOLUME /data",
        "-c",
        "USER user",
        "-c",
        "WORKDIR /tmp",
        "-c",
        "LABEL a=b",
        "-c",
        "HEALTHCHECK --interval=7s CMD true",
    ];
    client.args(&world, &[&["commit"], &changes[..], &["box", "changed"]].concat()).ok();
    assert_eq!(client.line(&world, "run --rm changed").ok(), "hello you");
    let show =
        "{{json .Config.ExposedPorts}} {{json .Config.Volumes}} {{.Config.User}} {{json .Config.Healthcheck.Interval}}";
    assert_eq!(
        client.args(&world, &["image", "inspect", "-f", show, "changed"]).ok(),
        "{\"53/udp\":{},\"80/tcp\":{}} {\"/data\":{}} user 7000000000"
    );
    let refused = client.args(&world, &["commit", "-c", "RUN make", "box", "other"]);
    assert!(refused.failure().to_lowercase().contains("run is not a valid change command"), "{refused}");
    client.line(&world, "rm box").ok();
    client.line(&world, "rmi changed").ok();
    world.assert_nothing_left(&before);
}

fn an_export_is_imported(client: Client) {
    let world = world_with_busybox();
    let before = world.census();
    client
        .args(
            &world,
            &[
                "run",
                "--name",
                "box",
                "-v",
                "data:/data",
                "busybox",
                "sh",
                "-c",
                &format!("{CHANGE}; echo no > /data/file"),
            ],
        )
        .ok();
    let archive = world.dir().join("exported.tar");
    let archive = archive.to_str().expect("path");
    client.args(&world, &["export", "-o", archive, "box"]).ok();
    let list = testkit::run("tar", ["-tf", archive]).ok();
    assert!(list.lines().any(|line| line == "new") && list.lines().any(|line| line == "dir/inner"), "{list}");
    assert!(!list.contains("data/file") && !list.contains(".wh."), "volumes and whiteouts are not part of it: {list}");
    let id = client.args(&world, &["import", "-m", "brought", "-c", "CMD cat /new", archive, "brought:in"]).ok();
    assert!(id.contains("sha256:"), "{id}");
    assert_eq!(client.line(&world, "run --rm brought:in").ok(), "new");
    assert_eq!(
        client.args(&world, &["image", "inspect", "-f", "{{.Comment}} {{len .RootFS.Layers}}", "brought:in"]).ok(),
        "brought 1"
    );
    // Compressed, from standard input.
    for program in ["gzip", "xz", "bzip2"] {
        let mut command = std::process::Command::new(program);
        command.args(["-1", "-c", archive]);
        let packed = testkit::command::run_with(command, b"");
        client.fed(&world, &["import", "-", "packed"], &packed.stdout).ok();
        assert_eq!(client.line(&world, "run --rm packed cat /new").ok(), "new", "{program}");
        client.line(&world, "rmi packed").ok();
    }
    client.line(&world, "rm -v box").ok();
    client.line(&world, "volume rm data").ok();
    client.line(&world, "rmi brought:in").ok();
    std::fs::remove_file(archive).expect("remove");
    world.assert_nothing_left(&before);
}

fn limits_and_policy_are_updated(client: Client) {
    let world = world_with_busybox();
    let before = world.census();
    client.line(&world, "run -d --name box -m 100m --memory-swap 200m busybox sleep 1000").ok();
    client
        .line(&world, "update -m 64m --memory-swap 128m --cpu-shares 512 --pids-limit 50 --restart on-failure:3 box")
        .ok();
    let show = "{{.HostConfig.Memory}} {{.HostConfig.CpuShares}} {{.HostConfig.PidsLimit}} {{.HostConfig.RestartPolicy.Name}} {{.HostConfig.RestartPolicy.MaximumRetryCount}}";
    assert_eq!(client.args(&world, &["inspect", "-f", show, "box"]).ok(), "67108864 512 50 on-failure 3");
    let nothing = client.line(&world, "update box");
    assert!(nothing.failure().contains("you must provide one or more flags"), "{nothing}");
    let wrong = client.line(&world, "update -m 1k box");
    assert!(wrong.failure().to_lowercase().contains("memory"), "{wrong}");
    client.line(&world, "rm -f box").ok();
    world.assert_nothing_left(&before);
}

/// The shapes of the API itself, which clients hide.
#[test]
fn with_docker_answers_are_dockerds() {
    let world = world_with_busybox();
    let socket = world.docker_socket();
    world.docker(["create", "--name", "box", "busybox"]).ok();
    let none = request(&socket, "GET", "/containers/box/changes", b"");
    assert_eq!((none.status, String::from_utf8_lossy(&none.body).trim()), (200, "null"));
    let head = request(&socket, "HEAD", "/containers/box/archive?path=/etc/passwd", b"");
    assert_eq!(head.status, 200);
    let missing = request(&socket, "GET", "/containers/box/archive", b"");
    assert_eq!(missing.status, 400, "{}", missing.message());
    let committed = request(&socket, "POST", "/commit?container=box&repo=made", b"");
    assert_eq!(committed.status, 201, "{}", committed.message());
    assert!(committed.json()["Id"].as_str().is_some_and(|id| id.starts_with("sha256:")));
    world.docker(["rm", "box"]).ok();
    world.docker(["rmi", "made"]).ok();
}
