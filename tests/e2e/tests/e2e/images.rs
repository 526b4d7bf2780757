//! Images: pulled from a real registry, in every shape; listed, tagged, saved, loaded, removed.

use testkit::image::{Compression, Image, Layer, digest_of, sample};
use testkit::{Canary, EngineKind, World};

use crate::client::{Client, load, with_both_clients, world_with_busybox};

with_both_clients!(
    pull_run_and_remove,
    images_of_1_20_and_100_layers_run,
    odd_entries_are_unpacked_right,
    save_and_load_keep_the_image,
    tags_and_history,
);

fn pull_run_and_remove(client: Client) {
    let mut world = World::start();
    let reference = world.registry().push(&sample::busybox(), "team/busybox:1");
    let schema2 = world.registry().push_as(&sample::busybox(), "team/busybox:schema2", "v2s2");
    let before = world.census();

    let said = client.args(&world, &["pull", &reference]).ok();
    assert!(said.contains("Downloaded newer image") && said.contains("Digest: sha256:"), "{said}");
    assert!(client.args(&world, &["pull", &reference]).ok().contains("Image is up to date"));
    assert_eq!(client.args(&world, &["run", "--rm", &reference, "echo", "pulled"]).ok(), "pulled");
    let inside = client.args(&world, &["run", "--rm", &reference, "sha256sum", "/bin/busybox"]).ok();
    assert!(inside.starts_with(&sample::sha256_of_file(sample::BUSYBOX)), "{inside}");

    let listed = client.args(&world, &["images", "--format", "{{.Repository}}:{{.Tag}}"]).ok();
    assert_eq!(listed, reference);
    let digest = client.args(&world, &["image", "inspect", "-f", "{{index .RepoDigests 0}}", &reference]).ok();
    assert!(digest.starts_with("127.0.0.1:5000/team/busybox@sha256:"), "{digest}");
    client.args(&world, &["pull", &digest]).ok();
    client.args(&world, &["pull", "-q", &schema2]).ok();

    // A container in use holds its image.
    client.args(&world, &["create", "--name", "user", &reference, "true"]).ok();
    let refused = client.args(&world, &["rmi", &schema2, &reference, &digest]);
    assert!(refused.failure().contains("conflict"), "{refused}");
    client.line(&world, "rm user").ok();
    for image in client.line(&world, "images -q --no-trunc").ok().lines().collect::<std::collections::BTreeSet<_>>() {
        client.args(&world, &["rmi", "-f", image]).ok();
    }
    assert_eq!(client.line(&world, "images -aq").ok(), "");
    world.assert_nothing_left(&before);
}

fn images_of_1_20_and_100_layers_run(client: Client) {
    let mut world = World::start();
    for count in [1, 20, 100] {
        let reference = world.registry().push(&sample::layered(count), &format!("layered:{count}"));
        client.args(&world, &["pull", "-q", &reference]).ok();
        let before = world.census();
        let script = "ls /layers 2>/dev/null | sort -n | tr '\\n' ' '";
        let shown = client.args(&world, &["run", "--rm", &reference, "sh", "-c", script]).ok();
        // Every fifth layer removes the file of the layer before it.
        let expected: Vec<String> =
            (1..count).filter(|n| (n + 1) % 5 != 0 || n + 1 >= count).map(|n| n.to_string()).collect();
        assert_eq!(shown.split_whitespace().collect::<Vec<_>>(), expected, "{count} layers");
        world.assert_nothing_left(&before);
    }
}

fn odd_entries_are_unpacked_right(client: Client) {
    let mut world = World::start();
    let canary = Canary::plant(world.dir().join("canary"));
    let reference = world.registry().push(&sample::odd(), "odd:1");
    client.args(&world, &["pull", "-q", &reference]).ok();
    let before = world.census();
    let sh = |script: &str| client.args(&world, &["run", "--rm", &reference, "sh", "-c", script]).ok();

    assert_eq!(sh("ls /odd/opaque; ls /odd/removed 2>&1 | grep -c 'No such'"), "shown\n1");
    assert_eq!(sh("stat -c %h /odd/original; [ /odd/original -ef /odd/hardlink ] && echo same"), "2\nsame");
    assert_eq!(sh("[ /odd/base -ef /odd/twin ] && cat /odd/twin"), "same inode");
    assert_eq!(sh("stat -c '%a' /odd/setuid; stat -c '%a %u:%g' /odd/setgid-dir"), "4755\n2750 1000:50");
    assert_eq!(sh("stat -c '%F %t,%T' /odd/null; stat -c %F /odd/fifo"), "character special file 1,3\nfifo");
    assert_eq!(
        sh("cd /odd; for f in caf*; do cat \"$f\"; printf '%s' \"$f\" | od -An -tx1; done").trim(),
        "not UTF-8\n 63 61 66 e9 2d ff"
    );
    assert_eq!(sh(&format!("cat /odd/{}", "long".repeat(50))), "a long name");
    canary.assert_untouched();
    world.assert_nothing_left(&before);
}

fn save_and_load_keep_the_image(client: Client) {
    let world = world_with_busybox();
    let before = world.census();
    let id = client.args(&world, &["image", "inspect", "-f", "{{.Id}}", "busybox"]).ok();
    let archive = world.dir().join("saved.tar");
    let path = archive.to_str().expect("path");
    client.args(&world, &["save", "-o", path, "busybox"]).ok();
    assert!(testkit::run("tar", ["-tf", path]).ok().contains("manifest.json"), "readable by docker");
    if world.kind() == EngineKind::Gantry {
        assert!(testkit::run("tar", ["-tf", path]).ok().contains("oci-layout"), "and an OCI layout");
    }
    client.line(&world, "rmi busybox").ok();
    assert!(client.args(&world, &["load", "-i", path]).ok().contains("Loaded image: busybox:latest"));
    assert_eq!(client.args(&world, &["image", "inspect", "-f", "{{.Id}}", "busybox"]).ok(), id);
    assert_eq!(client.line(&world, "run --rm busybox echo loaded").ok(), "loaded");
    std::fs::remove_file(&archive).expect("remove");
    world.assert_nothing_left(&before);
}

fn tags_and_history(client: Client) {
    let world = world_with_busybox();
    client.line(&world, "tag busybox example.test/other:v1").ok();
    let names = client.args(&world, &["images", "--format", "{{.Repository}}:{{.Tag}}"]).ok();
    let mut names: Vec<&str> = names.lines().collect();
    names.sort_unstable();
    assert_eq!(names, ["busybox:latest", "example.test/other:v1"]);
    assert_eq!(client.args(&world, &["history", "--format", "{{.CreatedBy}}", "busybox"]).ok(), "layer 0");
    assert!(client.line(&world, "rmi example.test/other:v1").ok().contains("Untagged: example.test/other:v1"));
    assert_eq!(client.args(&world, &["images", "--format", "{{.Repository}}"]).ok(), "busybox");
}

/// A sparse entry as GNU tar writes it (dockerd refuses those) keeps its holes.
#[test]
fn a_sparse_file_of_2_gib_takes_no_space() {
    let mut world = World::gantry_only();
    let image =
        sample::busybox().with(Layer::new().sparse("sparse", sample::SPARSE_BYTES, 1 << 30, b"in the middle\n"));
    let reference = world.registry().push(&image, "sparse:1");
    world.docker(["pull", "-q", &reference]).ok();
    let script =
        "stat -c %s /sparse; dd if=/sparse bs=1M skip=1024 count=1 2>/dev/null | head -c 14; stat -c %b /sparse";
    let shown = world.docker(["run", "--rm", &reference, "sh", "-c", script]).ok();
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines[..2], [sample::SPARSE_BYTES.to_string().as_str(), "in the middle"]);
    assert!(lines[2].parse::<u64>().expect("blocks") < 1000, "the hole takes no space: {shown}");
}

/// gzip, zstd and bare layers, and an index whose other platforms are bogus.
#[test]
fn every_compression_is_read() {
    let mut world = World::gantry_only();
    let image = Image::empty()
        .with_compressed(sample::userland(), Compression::Zstd)
        .with_compressed(Layer::new().file("bare", b"bare\n"), Compression::None)
        .with_compressed(Layer::new().file("gzip", b"gzip\n"), Compression::Gzip);
    let reference = world.registry().push(&image, "mixed:1");
    world.docker(["pull", "-q", &reference]).ok();
    assert_eq!(world.docker(["run", "--rm", &reference, "cat", "/bare", "/gzip"]).ok(), "bare\ngzip");
}

/// An OCI layout in a tar loads as well as docker's own archive does.
#[test]
fn an_oci_layout_is_loaded() {
    let world = World::gantry_only();
    let layout = world.dir().join("layout");
    sample::busybox().write_oci(&layout, "example.test/from-layout:1");
    let tar = testkit::run("tar", ["-C", layout.to_str().expect("path"), "-cf", "-", "."]);
    load(&world, &tar.stdout);
    assert_eq!(world.docker(["run", "--rm", "example.test/from-layout:1", "echo", "hi"]).ok(), "hi");
}

/// The same layer, wanted by many clients at once, is fetched once.
#[test]
fn one_flight_per_digest_for_all_clients() {
    let mut world = World::gantry_only();
    let reference = world.registry().push(&sample::bulky(3, 24 << 20), "shared:1");
    let other = world.registry().push(&sample::bulky(3, 24 << 20), "shared:2");
    let before = world.census();
    let pulls: Vec<_> = (0..6)
        .map(|n| {
            let mut command = Client::Docker.command(&world);
            command.args(["pull", "-q", if n % 2 == 0 { &reference } else { &other }]);
            std::thread::spawn(move || testkit::command::run_with(command, b""))
        })
        .collect();
    for pull in pulls {
        pull.join().expect("a pull").ok();
    }
    world.docker(["run", "--rm", &reference, "ls", "/bulk"]).ok();
    world.docker(["rmi", &reference, &other]).ok();
    world.assert_nothing_left(&before);
}

/// A wrong byte in a layer is noticed, named, and leaves nothing.
#[test]
fn a_wrong_digest_is_refused() {
    let mut world = World::gantry_only();
    let image = sample::layered(3);
    let reference = world.registry().push(&image, "bent:1");
    let manifest = world.registry().manifest(&reference);
    let layer = manifest["layers"][2]["digest"].as_str().expect("digest").to_owned();
    let file = world.registry().blob_file(&layer);
    let mut bytes = std::fs::read(&file).expect("blob");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(&file, &bytes).expect("damage");
    assert_ne!(digest_of(&bytes), layer);
    let before = world.census();

    let refused = world.docker(["pull", &reference]);
    let message = refused.failure();
    assert!(message.contains(&layer["sha256:".len()..][..12]), "names the blob {layer}: {refused}");
    assert_eq!(world.docker(["images", "-q"]).ok(), "");
    world.assert_nothing_left(&before);
}
