//! `cp` both ways: on containers that run, that have ended, that never ran; through links, volumes and binds; and what
//! it must refuse.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::PathBuf;

use testkit::http::{request, request_with};
use testkit::image::Layer;
use testkit::{Canary, EngineKind, World};

use crate::client::{Client, world_with_busybox};

crate::client::with_both_clients!(
    files_and_trees_go_both_ways,
    volumes_and_binds_are_part_of_the_tree,
    links_are_followed_inside_only,
    archives_go_through_pipes,
    what_cannot_be_copied_is_told,
);

fn path(world: &World, name: &str) -> String {
    world.dir().join(name).to_str().expect("path").to_owned()
}

/// A tree with what a copy may lose.
fn plant(world: &World) -> PathBuf {
    let tree = world.dir().join("tree");
    fs::create_dir_all(tree.join("sub/empty")).expect("mkdir");
    fs::write(tree.join("file"), b"of the host\n").expect("write");
    fs::write(tree.join("sub/program"), b"#!/bin/sh\necho copied\n").expect("write");
    fs::set_permissions(tree.join("sub/program"), fs::Permissions::from_mode(0o755)).expect("chmod");
    symlink("program", tree.join("sub/link")).expect("symlink");
    fs::write(tree.join("sub").join("long".repeat(40)), b"a long name\n").expect("write");
    tree
}

fn files_and_trees_go_both_ways(client: Client) {
    let world = world_with_busybox();
    let tree = plant(&world);
    let tree = tree.to_str().expect("path");
    let before = world.census();
    client.line(&world, "run -d --name up busybox sleep 1000").ok();
    client.line(&world, "create --name never busybox sh -c /copied/sub/program").ok();
    client.line(&world, "run --name ended busybox sh -c /copied/sub/program").code();
    for name in ["up", "never", "ended"] {
        client.args(&world, &["cp", tree, &format!("{name}:/copied")]).ok();
        // Into a directory that exists, under the source's own name.
        client.args(&world, &["cp", &format!("{tree}/file"), &format!("{name}:/tmp")]).ok();
        client.args(&world, &["cp", &format!("{tree}/sub/."), &format!("{name}:/tmp")]).ok();

        let back = path(&world, &format!("back-{name}"));
        client.args(&world, &["cp", &format!("{name}:/copied"), &back]).ok();
        testkit::run("diff", ["-r", "--no-dereference", tree, &back]).ok();
        assert_eq!(fs::read_link(format!("{back}/sub/link")).expect("link"), PathBuf::from("program"));
        assert_eq!(fs::metadata(format!("{back}/sub/program")).expect("stat").mode() & 0o777, 0o755);
        client.args(&world, &["cp", &format!("{name}:/tmp/file"), &format!("{back}/renamed")]).ok();
        assert_eq!(fs::read(format!("{back}/renamed")).expect("read"), b"of the host\n");
        client.args(&world, &["cp", &format!("{name}:/bin/busybox"), &format!("{back}/")]).ok();
        assert_eq!(
            testkit::image::sample::sha256_of_file(&format!("{back}/busybox")),
            testkit::image::sample::sha256_of_file(testkit::image::sample::BUSYBOX)
        );
    }
    // The process sees it, and what was written while nothing ran is there when it runs.
    assert_eq!(client.line(&world, "exec up sh /copied/sub/program").ok(), "copied");
    for name in ["never", "ended"] {
        assert_eq!(client.args(&world, &["start", "-a", name]).ok(), "copied");
    }
    client.line(&world, "rm -f up never ended").ok();
    for name in ["up", "never", "ended"] {
        fs::remove_dir_all(path(&world, &format!("back-{name}"))).expect("remove");
    }
    world.assert_nothing_left(&before);
}

fn volumes_and_binds_are_part_of_the_tree(client: Client) {
    let world = world_with_busybox();
    fs::create_dir(world.dir().join("shared")).expect("mkdir");
    fs::write(world.dir().join("in"), b"in\n").expect("write");
    let (bind, input) = (format!("{}:/bound", path(&world, "shared")), path(&world, "in"));
    let before = world.census();
    let arguments = ["-v", "data:/data/deep", "-v", &bind, "busybox", "sleep", "1000"];
    client.args(&world, &[&["create", "--name", "box"], &arguments[..]].concat()).ok();
    for round in ["created", "running"] {
        for place in ["data/deep", "bound"] {
            client.args(&world, &["cp", &input, &format!("box:/{place}/{round}")]).ok();
            client.args(&world, &["cp", &format!("box:/{place}/{round}"), &path(&world, "out")]).ok();
            assert_eq!(fs::read(world.dir().join("out")).expect("read"), b"in\n");
        }
        assert_eq!(fs::read(world.dir().join("shared").join(round)).expect("it is the host's"), b"in\n");
        client.line(&world, "start box").ok();
    }
    assert_eq!(client.line(&world, "exec box ls /data/deep").ok(), "created\nrunning");
    let inspected = client.args(&world, &["volume", "inspect", "-f", "{{.Mountpoint}}", "data"]).ok();
    assert_eq!(fs::read_dir(inspected).expect("the volume").count(), 2);
    client.line(&world, "rm -f box").ok();
    client.line(&world, "volume rm data").ok();
    fs::remove_file(world.dir().join("out")).expect("remove");
    world.assert_nothing_left(&before);
}

fn links_are_followed_inside_only(client: Client) {
    let world = world_with_busybox();
    let canary = Canary::plant(world.dir().join("canary"));
    let secret = path(&world, "canary");
    fs::write(world.dir().join("in"), b"in\n").expect("write");
    let input = path(&world, "in");
    let script = format!(
        "mkdir -p /run/real {secret}; ln -s /run /var/run; ln -s / /everything; ln -s {secret} /out; \
         ln -s ../../../../../../../../{secret} /up; sleep 1000"
    );
    client.args(&world, &["run", "-d", "--name", "box", "busybox", "sh", "-c", &script]).ok();
    testkit::wait::until("the links", std::time::Duration::from_secs(10), || {
        client.line(&world, "exec box readlink /up").status.success().then_some(())
    });
    let before = world.census();
    // An absolute link is one inside of the container.
    client.args(&world, &["cp", &input, "box:/var/run/real/file"]).ok();
    assert_eq!(client.line(&world, "exec box cat /run/real/file").ok(), "in");
    for link in ["out", "up", &format!("everything{secret}")] {
        client.args(&world, &["cp", &input, &format!("box:/{link}/file")]).ok();
        client.args(&world, &["cp", &format!("box:/{link}/file"), &path(&world, "fetched")]).ok();
        assert_eq!(client.args(&world, &["exec", "box", "cat", &format!("{secret}/file")]).ok(), "in");
        client.args(&world, &["exec", "box", "rm", &format!("{secret}/file")]).ok();
    }
    canary.assert_untouched();
    // A link itself is copied as a link, and with -L as what it leads to.
    client.args(&world, &["cp", "box:/bin/cat", &path(&world, "link")]).ok();
    assert_eq!(fs::read_link(world.dir().join("link")).expect("a link"), PathBuf::from("busybox"));
    client.args(&world, &["cp", "-L", "box:/bin/cat", &path(&world, "program")]).ok();
    assert!(fs::symlink_metadata(world.dir().join("program")).expect("stat").is_file());
    for name in ["fetched", "link", "program"] {
        fs::remove_file(world.dir().join(name)).expect("remove");
    }
    world.assert_nothing_left(&before);
}

fn archives_go_through_pipes(client: Client) {
    let world = world_with_busybox();
    let before = world.census();
    client.line(&world, "create --name box busybox").ok();
    let tree = plant(&world);
    let tar = testkit::run("tar", ["-C", tree.to_str().expect("path"), "-cf", "-", "."]).stdout;
    client.fed(&world, &["cp", "-", "box:/tmp"], &tar).ok();
    let out = client.args(&world, &["cp", "box:/tmp", "-"]);
    out.ok();
    let mut list = testkit::command::run_with(
        {
            let mut command = std::process::Command::new("tar");
            command.args(["-tf", "-"]);
            command
        },
        &out.stdout,
    )
    .ok();
    list.push('\n');
    assert!(list.starts_with("tmp/\n") && list.contains("tmp/sub/program\n"), "{list}");
    client.line(&world, "rm -f box").ok();
    world.assert_nothing_left(&before);
}

fn what_cannot_be_copied_is_told(client: Client) {
    let world = world_with_busybox();
    let tree = plant(&world);
    let (tree, file) = (tree.to_str().expect("path"), format!("{}/file", tree.display()));
    let before = world.census();
    client.line(&world, "create --name box --read-only -v data:/data:ro -v other:/other busybox").ok();
    client.line(&world, "create --name plain busybox").ok();
    let refused = |args: &[&str], part: &str| {
        let run = client.args(&world, args);
        assert!(run.failure().to_lowercase().contains(part), "{part:?} in {run}");
    };
    refused(&["cp", "nobody:/etc", "-"], "nobody");
    refused(&["cp", "box:/no/such", "-"], "could not find the file /no/such");
    refused(&["cp", &file, "plain:/no/such/"], "no such directory");
    refused(&["cp", &file, "plain:/etc/passwd/x"], "");
    refused(&["cp", &file, "box:/tmp/x"], "read-only");
    refused(&["cp", &file, "box:/data/x"], "read-only");
    refused(&["cp", tree, "plain:/etc/passwd"], "cannot copy directory");
    refused(&["cp", "plain:/a", "box:/b"], "copying between containers is not supported");
    refused(&["cp", "a", "b"], "must specify at least one container source");
    client.args(&world, &["cp", &file, "box:/other/x"]).ok();
    client.line(&world, "rm box plain").ok();
    client.line(&world, "volume rm data other").ok();
    world.assert_nothing_left(&before);
}

/// dockerd 20.10 looks the container's user up among the host's.
#[test]
fn with_archive_mode_everything_belongs_to_the_containers_user() {
    let world = World::gantry_only();
    crate::client::load(&world, &testkit::image::sample::busybox().docker_archive("busybox:latest"));
    let tree = plant(&world);
    for client in [Client::Docker, Client::Gantry] {
        let before = world.census();
        client.line(&world, "run -d -u user --name box busybox sleep 1000").ok();
        client.args(&world, &["cp", "-a", tree.to_str().expect("path"), "box:/tmp/mine"]).ok();
        assert_eq!(client.line(&world, "exec box stat -c %u:%g /tmp/mine/sub/program").ok(), "1000:1000");
        client.line(&world, "rm -f box").ok();
        world.assert_nothing_left(&before);
    }
}

/// gzip, bzip2, xz and zstd are taken apart in the daemon, whatever programs an image brings along for it.
#[test]
fn with_docker_compressed_archives_are_decompressed() {
    let world = world_with_busybox();
    let before = world.census();
    world.docker(["create", "--name", "box", "busybox"]).ok();
    let trap = b"#!/bin/sh\ntouch /trapped\n";
    let mut builder = tar_of(&[("xz", trap), ("unpigz", trap), ("bzip2", trap)]);
    put(&world, "/bin", std::mem::take(&mut builder), 200);
    for program in ["gzip", "bzip2", "xz", "zstd"] {
        let mut command = std::process::Command::new(program);
        command.args(["-c"]);
        let name = format!("by-{program}");
        let packed = testkit::command::run_with(command, &tar_of(&[(&name, b"inside\n")]));
        packed.ok();
        // Debian's dockerd 20.10 knows no zstd.
        if program == "zstd" && world.kind() == EngineKind::Dockerd {
            continue;
        }
        put(&world, "/tmp", packed.stdout, 200);
        let out = path(&world, "out");
        world.docker(["cp", &format!("box:/tmp/{name}"), &out]).ok();
        assert_eq!(fs::read(&out).expect("read"), b"inside\n");
        fs::remove_file(out).expect("remove");
    }
    assert_eq!(request(&world.docker_socket(), "HEAD", "/containers/box/archive?path=/trapped", b"").status, 404);
    // dockerd 20.10 answers 500 here, newer ones 400.
    let not_a_directory = if world.kind() == EngineKind::Dockerd { 500 } else { 400 };
    put(&world, "/etc/passwd", tar_of(&[("x", b"y")]), not_a_directory);
    put(&world, "/no/such", tar_of(&[("x", b"y")]), 404);
    world.docker(["rm", "box"]).ok();
    world.assert_nothing_left(&before);
}

fn put(world: &World, at: &str, archive: Vec<u8>, status: u16) {
    let target = format!("/containers/box/archive?path={at}");
    let headers = [("Content-Type", "application/x-tar")];
    let answer = request_with(&world.docker_socket(), "PUT", &target, &headers, &archive);
    assert_eq!(answer.status, status, "{}", String::from_utf8_lossy(&answer.body));
}

fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let dir = tempfile::tempdir().expect("a directory");
    for (name, bytes) in files {
        fs::File::create(dir.path().join(name)).and_then(|mut file| file.write_all(bytes)).expect("write");
    }
    let names: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
    let at = dir.path().to_str().expect("path");
    testkit::run("tar", [&["-C", at, "-cf", "-"], &names[..]].concat()).stdout
}

/// An archive whose entries lead out of the container, and one that replaces what it may not.
#[test]
fn hostile_archives_are_refused() {
    let world = World::gantry_only();
    crate::client::load(&world, &testkit::image::sample::busybox().docker_archive("busybox:latest"));
    let canary = Canary::plant(world.dir().join("canary"));
    let before = world.census();
    world.docker(["create", "--name", "box", "busybox"]).ok();
    let layer = |layer: Layer| layer.tar();
    put(&world, "/tmp", layer(Layer::new().file("../../../escape", b"x")), 400);
    put(&world, "/tmp", layer(Layer::new().hardlink("link", "../../etc/passwd")), 400);
    put(&world, "/tmp", b"this is no archive at all, and long enough to be read as one".repeat(20), 400);
    let up = format!("{}/stolen", path(&world, "canary"));
    // A link that leads out, and then through it: that is inside of the container.
    put(&world, "/tmp", layer(Layer::new().symlink("way", "/../../..").file(&format!("way{up}"), b"x")), 200);
    canary.assert_untouched();
    let target = "/containers/box/archive?path=/&noOverwriteDirNonDir=1";
    let headers = [("Content-Type", "application/x-tar")];
    let overwrite = layer(Layer::new().file("etc", b"x"));
    let answer = request_with(&world.docker_socket(), "PUT", target, &headers, &overwrite);
    assert_eq!(answer.status, 400, "{}", answer.message());
    assert!(answer.message().contains("cannot overwrite directory"), "{}", answer.message());
    world.docker(["rm", "box"]).ok();
    world.assert_nothing_left(&before);
}

/// A container that swaps a directory and a link all the time never makes a copy read or write the host's files.
#[test]
fn swaps_during_a_copy_lead_nowhere() {
    let world = World::gantry_only();
    crate::client::load(&world, &testkit::image::sample::busybox().docker_archive("busybox:latest"));
    let canary = Canary::plant(world.dir().join("canary"));
    let secret = path(&world, "canary");
    let script = format!(
        "mkdir -p /real{secret} /real/d; echo inside > /real/d/file; ln -s {secret} /real/l; \
         while true; do mv -T /real/d /real/x; mv -T /real/l /real/d; mv -T /real/d /real/l; mv -T /real/x /real/d; done"
    );
    let before = world.census();
    world.docker(["run", "-d", "--name", "box", "busybox", "sh", "-c", &script]).ok();
    let tar = tar_of(&[("file", b"written\n")]);
    let headers = [("Content-Type", "application/x-tar")];
    for _ in 0..150 {
        // Any answer is right that leaves the host alone.
        let write = "/containers/box/archive?path=/real/d";
        request_with(&world.docker_socket(), "PUT", write, &headers, &tar);
        let read = request(&world.docker_socket(), "GET", "/containers/box/archive?path=/real/d/.", b"");
        let text = String::from_utf8_lossy(&read.body);
        assert!(!text.contains("canary\n"), "the host's file was read");
    }
    canary.assert_untouched();
    world.docker(["rm", "-f", "box"]).ok();
    world.assert_nothing_left(&before);
}
