//! Binds, named and anonymous volumes, tmpfs, read-only.

use crate::client::{Client, with_both_clients, world_with_busybox};

with_both_clients!(binds_and_tmpfs, named_volumes_keep_their_content);

fn binds_and_tmpfs(client: Client) {
    let world = world_with_busybox();
    let shared = world.dir().join("shared");
    std::fs::create_dir(&shared).expect("directory");
    std::fs::write(shared.join("from-host"), b"host\n").expect("file");
    let before = world.census();
    let bind = format!("{}:/shared", shared.display());
    let read_only = format!("{}:/ro:ro", shared.display());
    let script = "cat /shared/from-host; echo container > /shared/from-container; touch /ro/x 2>&1 | grep -c Read-only; \
                  mount | grep -c 'on /scratch type tmpfs'; touch /scratch/y && echo wrote";
    let args =
        ["run", "--rm", "-v", &bind, "-v", &read_only, "--tmpfs", "/scratch:size=1m", "busybox", "sh", "-c", script];
    assert_eq!(client.args(&world, &args).ok(), "host\n1\n1\nwrote");
    assert_eq!(std::fs::read(shared.join("from-container")).expect("written"), b"container\n");

    let root = client.args(&world, &["run", "--rm", "--read-only", "busybox", "touch", "/x"]);
    assert!(root.failure().contains("Read-only file system"), "{root}");
    let missing =
        client.args(&world, &["run", "--rm", "--mount", "type=bind,source=/nosuch,target=/x", "busybox", "true"]);
    assert!(missing.fails(125).contains("/nosuch"), "{missing}");
    world.assert_nothing_left(&before);
}

fn named_volumes_keep_their_content(client: Client) {
    let world = world_with_busybox();
    let before = world.census();
    let run = |args: &[&str]| client.args(&world, &[&["run", "--rm"], args].concat()).ok();
    // An empty volume is filled from the image.
    assert_eq!(run(&["-v", "data:/www", "busybox", "cat", "/www/index.html"]), "hello from a container");
    run(&["-v", "data:/d", "busybox", "sh", "-c", "echo kept > /d/file"]);
    assert_eq!(
        run(&["-v", "data:/d:ro", "busybox", "cat", "/d/file", "/d/index.html"]),
        "kept\nhello from a container"
    );
    // An anonymous one goes with its container.
    run(&["-v", "/anonymous", "busybox", "touch", "/anonymous/x"]);
    let volumes = testkit::http::request(&world.docker_socket(), "GET", "/volumes", b"").json();
    let names: Vec<&str> =
        volumes["Volumes"].as_array().expect("volumes").iter().filter_map(|v| v["Name"].as_str()).collect();
    assert_eq!(names, ["data"]);
    assert_eq!(testkit::http::request(&world.docker_socket(), "DELETE", "/volumes/data", b"").status, 204);
    world.assert_nothing_left(&before);
}
