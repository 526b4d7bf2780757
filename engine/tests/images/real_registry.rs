//! Pulls from Debian's docker-registry of what skopeo has pushed there.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;
use std::process::Command;

use engine::ErrorKind;
use engine::id::{Digest, LayerId};
use engine::image::{LayerStatus, PullProgress};

use crate::lab::*;

/// A directory with everything that a layer can hold.
fn rich_directory(dir: &Path) {
    std::fs::create_dir_all(dir).unwrap();
    let script = r#"
        set -e; cd "$1"
        mkdir -p bin usr/lib deep/a/b/c empty sticky; chmod 1777 sticky; chmod 2755 empty
        printf 'program' > bin/su; chown 7:8 bin/su; chmod 4755 bin/su
        printf 'cap' > bin/ping; setcap cap_net_raw+ep bin/ping 2>/dev/null || true
        printf 'text' > usr/lib/file; setfattr -n user.note -v hello usr/lib/file 2>/dev/null || true
        ln bin/su usr/lib/su-again; ln -s ../usr/lib/file bin/link; ln -s /nowhere/at/all dangling; ln -s usr/lib lib
        mknod null c 1 3; mknod disk b 8 1; mkfifo pipe; chmod 640 pipe
        truncate -s 2G sparse; printf 'end' | dd of=sparse bs=1 seek=1073741824 conv=notrunc status=none
        head -c 300000 /dev/urandom > random
        : > "$(printf 'not-utf8-\377\376')"
        : > "$(head -c 200 /dev/zero | tr '\0' n)"
        touch -d '2001-02-03 04:05:06' usr/lib/file bin deep/a
        chown -h 9:9 bin/link; chown 100000:100000 deep/a/b
    "#;
    run(Command::new("sh").args(["-c", script, "sh"]).arg(dir));
    // `setcap` and `setfattr` may not be installed: the attributes are set here in any case.
    let capability = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(dir.join("bin/ping"), "security.capability", &capability, flags).unwrap();
    rustix::fs::setxattr(dir.join("usr/lib/file"), "user.note", b"hello", flags).unwrap();
}

#[test]
fn one_layer_with_everything_arrives_as_it_was() {
    in_private_network(|| async {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("source");
        rich_directory(&source);
        let tar = gnu_tar(&source);
        assert!(tar.len() < 10 << 20, "GNU tar keeps the sparse file sparse");
        let _registry = Registry::start(dir.path());
        let mut trees = Vec::new();
        for (number, (compression, format)) in [
            (Compression::Gzip, None),
            (Compression::Zstd, None),
            (Compression::None, None),
            (Compression::Gzip, Some("v2s2")),
        ]
        .into_iter()
        .enumerate()
        {
            let layout =
                Layout::write(&dir.path().join(format!("layout{number}")), std::slice::from_ref(&tar), compression);
            let name = format!("localhost:5000/rich:{number}");
            layout.push(&name, format);
            let root = dir.path().join(format!("data{number}"));
            let images = open_images(&root).await;
            let (image, _) = pull(&images, request(&name)).await;
            let image = image.unwrap();
            assert_eq!(image.layers, layout.diff_ids);
            assert_eq!(image.config.env, ["PATH=/bin"]);
            if format.is_none() {
                assert_eq!((image.id, image.manifest.digest), (layout.config, layout.manifest));
            }
            let du = run(Command::new("du")
                .args(["-s", "--block-size=1"])
                .arg(images.layer_dir(layout.diff_ids[0]).unwrap()));
            assert_eq!(image.size, du.split_whitespace().next().unwrap().parse::<u64>().unwrap());
            assert!(image.size < 100 << 20, "the sparse file stays sparse");
            trees.push(image_tree(&images, &image.layers, "c").await);
        }
        let expected = tree(&source);
        assert!(expected.contains_key(&OsString::from_vec(b"./not-utf8-\xff\xfe".to_vec())));
        for found in trees {
            assert_eq!(found, expected);
        }
    });
}

/// `count` layers: each adds a file and rewrites one, later ones delete, replace and hide; and the tree they make.
fn stack(dir: &Path, count: usize) -> (Vec<Vec<u8>>, std::collections::BTreeMap<OsString, String>) {
    let expected = dir.join("expected");
    std::fs::create_dir_all(&expected).unwrap();
    let mut tars = Vec::new();
    for number in 0..count {
        let delta = dir.join(format!("delta{number}"));
        std::fs::create_dir_all(&delta).unwrap();
        let script = format!(
            r#"set -e; n={number}; root="$1"
            apply() {{ cd "$root"; mkdir -p etc var/d$((n % 7)); echo $n > etc/version; echo "file $n" > var/d$((n % 7))/f$n; ln -f var/d$((n % 7))/f$n etc/latest; chmod $((600 + n % 7)) etc/version; find . -exec touch -h -d "2020-01-01 00:00:$((n % 60))" {{}} +; }}
            apply"#
        );
        run(Command::new("sh").args(["-c", &script, "sh"]).arg(&delta));
        if number >= 7 {
            // The directory of this number was there before: hide all of it, or one file of it.
            let old = format!("var/d{}", number % 7);
            if number % 3 == 0 {
                std::fs::write(delta.join(&old).join(".wh..wh..opq"), "").unwrap();
                run(Command::new("sh").args(["-c", "find \"$1\" -mindepth 1 -delete", "sh"]).arg(expected.join(&old)));
            } else {
                let gone = format!("{old}/f{}", number - 7);
                if expected.join(&gone).exists() {
                    std::fs::write(delta.join(&old).join(format!(".wh.f{}", number - 7)), "").unwrap();
                    std::fs::remove_file(expected.join(&gone)).unwrap();
                }
            }
            let time = format!("2020-01-01 00:00:{}", number % 60);
            run(Command::new("touch").args(["-d", &time]).arg(delta.join(&old)));
        }
        let tar = gnu_tar(&delta);
        // The model: the same archive over the tree by GNU tar, whiteouts left out.
        let mut untar = Command::new("tar");
        untar.args(["--exclude=.wh.*", "--numeric-owner", "--overwrite-dir", "-xpf", "-", "-C"]).arg(&expected);
        let mut child = untar.stdin(std::process::Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(child.stdin.as_mut().unwrap(), &tar).unwrap();
        assert!(child.wait().unwrap().success());
        tars.push(tar);
    }
    (tars, tree(&expected))
}

/// Overlayfs gives a hardlink across layers no common inode: how often a file is linked is not compared.
fn without_links(tree: std::collections::BTreeMap<OsString, String>) -> std::collections::BTreeMap<OsString, String> {
    tree.into_iter()
        .map(|(path, line)| {
            let cut = line.find(" links ").map_or(line.clone(), |at| {
                let rest = &line[at + 7..];
                format!("{}{}", &line[..at], &rest[rest.find(' ').unwrap_or(0)..])
            });
            (path, cut)
        })
        .collect()
}

#[test]
fn stacks_of_20_and_100_layers_show_the_right_tree() {
    in_private_network(|| async {
        let dir = tempfile::tempdir().unwrap();
        let _registry = Registry::start(dir.path());
        for count in [20, 100] {
            let (tars, expected) = stack(&dir.path().join(format!("stack{count}")), count);
            let layout = Layout::write(&dir.path().join(format!("layout{count}")), &tars, Compression::Gzip);
            let name = format!("localhost:5000/stack:{count}");
            layout.push(&name, None);
            let images = open_images(&dir.path().join(format!("data{count}"))).await;
            let (image, told) = pull(&images, request(&name)).await;
            let image = image.unwrap();
            assert_eq!(image.layers.len(), count);
            let found = image_tree(&images, &image.layers, "c").await;
            assert_eq!(without_links(found), without_links(expected));
            for digest in &layout.layers {
                let steps: Vec<LayerStatus> = told
                    .iter()
                    .filter_map(|step| match step {
                        PullProgress::Layer(layer) if layer.digest == *digest => Some(layer.status),
                        _ => None,
                    })
                    .collect();
                assert_eq!(
                    (steps[0], steps[steps.len() - 1]),
                    (LayerStatus::PullingFsLayer, LayerStatus::PullComplete)
                );
                assert!(steps.is_sorted(), "{steps:?}");
            }
            let history = images.history(&name).unwrap();
            assert_eq!(
                (history.len(), history[0].created_by.as_str()),
                (count, format!("step {}", count - 1).as_str())
            );
        }
    });
}

fn small_tar(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, name, bytes).unwrap();
    tar.into_inner().unwrap()
}

#[test]
fn a_stack_of_more_than_128_layers_mounts() {
    in_private_network(|| async {
        let dir = tempfile::tempdir().unwrap();
        let _registry = Registry::start(dir.path());
        let tars: Vec<_> = (0..200).map(|n| small_tar(&format!("f{n}"), n.to_string().as_bytes())).collect();
        Layout::write(&dir.path().join("layout"), &tars, Compression::Gzip).push("localhost:5000/tall:1", None);
        let images = open_images(&dir.path().join("data")).await;
        let image = pull(&images, request("localhost:5000/tall:1")).await.0.unwrap();
        assert_eq!(image_tree(&images, &image.layers, "c").await.len(), 201);
    });
}

#[test]
fn an_index_gives_this_machines_image_and_both_digests_name_it() {
    in_private_network(|| async {
        let dir = tempfile::tempdir().unwrap();
        let _registry = Registry::start(dir.path());
        let layout = Layout::write(&dir.path().join("l"), &[small_tar("a", b"a")], Compression::Gzip);
        layout.push("localhost:5000/multi:amd64", None);
        // An index that names platforms nobody has, an attestation, and the image.
        let entry = |os: &str, arch: &str, digest: Digest, size: usize| serde_json::json!({"mediaType": OCI_MANIFEST, "digest": digest, "size": size, "platform": {"os": os, "architecture": arch}});
        let size = layout.blob(layout.manifest).len();
        let index = serde_json::json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [
            entry("linux", std::env::consts::ARCH, layout.manifest, size),
            {"mediaType": OCI_MANIFEST, "digest": layout.manifest, "size": size,
             "annotations": {"vnd.docker.reference.type": "attestation-manifest"},
             "platform": {"os": "unknown", "architecture": "unknown"}},
        ]});
        let bytes = serde_json::to_vec(&index).unwrap();
        let client = reqwest_put(&bytes).await;
        assert!(client.is_success(), "{client}");
        let images = open_images(&dir.path().join("data")).await;
        let image = pull(&images, request("localhost:5000/multi:latest")).await.0.unwrap();
        assert_eq!(image.id, layout.config);
        let by_index = format!("localhost:5000/multi@{}", Digest::of(&bytes));
        assert_eq!(images.get(&by_index).unwrap().id, layout.config);
        assert_eq!(image.digests[0].to_string(), by_index);
        let by_manifest = format!("localhost:5000/multi@{}", layout.manifest);
        assert_eq!(pull(&images, request(&by_manifest)).await.0.unwrap().id, layout.config);
        assert_eq!(images.get(&layout.config.hex()[..10]).unwrap().id, layout.config);
        let missing = images_platform(&images, "windows/amd64").await;
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        assert!(missing.to_string().contains("no matching manifest for windows/amd64"), "{missing}");
    });
}

async fn reqwest_put(bytes: &[u8]) -> http::StatusCode {
    // Debian's registry checks that what an index names is there: both entries name the image that was pushed.
    let mut stream = tokio::net::TcpStream::connect("127.0.0.1:5000").await.unwrap();
    let head = format!(
        "PUT /v2/multi/manifests/latest HTTP/1.1\r\nHost: localhost:5000\r\nContent-Type: application/vnd.oci.image.index.v1+json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        bytes.len()
    );
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

async fn images_platform(images: &engine::image::Images, platform: &str) -> engine::Error {
    let mut request = request("localhost:5000/multi:latest");
    request.platform = Some(platform.parse().unwrap());
    pull(images, request).await.0.unwrap_err()
}

#[test]
fn what_is_not_there_is_said_in_dockers_words() {
    in_private_network(|| async {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::start(dir.path());
        let root = dir.path().join("data");
        let images = open_images(&root).await;
        let error = pull(&images, request("localhost:5000/nosuch:1")).await.0.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(error.to_string(), "manifest for localhost:5000/nosuch:1 not found: manifest unknown");
        drop(registry);
        let error = pull(&images, request("localhost:5000/nosuch:1")).await.0.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("registry localhost:5000"), "{error}");
        assert_eq!(leftovers(&root), Vec::<std::path::PathBuf>::new());
    });
}

#[test]
fn a_second_pull_fetches_nothing_and_removal_leaves_nothing() {
    in_private_network(|| async {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::start(dir.path());
        let tars = [small_tar("a", b"a"), small_tar("b", b"b")];
        let layout = Layout::write(&dir.path().join("l"), &tars, Compression::Gzip);
        layout.push("localhost:5000/twice:1", None);
        let root = dir.path().join("data");
        let images = open_images(&root).await;
        let (_, told) = pull(&images, request("localhost:5000/twice:1")).await;
        assert!(matches!(told.last(), Some(PullProgress::Finished { newer: true, .. })), "{told:?}");
        let (_, told) = pull(&images, request("localhost:5000/twice:1")).await;
        let existing =
            told.iter().filter(|s| matches!(s, PullProgress::Layer(l) if l.status == LayerStatus::AlreadyExists));
        assert_eq!(existing.count(), 2);
        assert!(
            matches!(told.last(), Some(PullProgress::Finished { newer: false, reference }) if reference == "localhost:5000/twice:1")
        );
        drop(registry);
        // After a restart all is still there, and skopeo reads the store as it is.
        drop(images);
        let images = open_images(&root).await;
        let image = images.get("localhost:5000/twice:1").unwrap();
        run(Command::new("skopeo")
            .args(["inspect", "--raw"])
            .arg(format!("oci:{}:localhost:5000/twice:1", root.join("content").display())));
        images.tag("localhost:5000/twice:1", "other:2", engine::id::Owner::Docker).await.unwrap();
        let key: engine::snapshot::SnapshotKey = "held".parse().unwrap();
        images.snapshotter().prepare(&key, &image.layers).await.unwrap();
        let free = |_: &engine::id::ImageId| Vec::new();
        images.remove("other:2", false, &free).await.unwrap();
        let removed = images.remove("localhost:5000/twice:1", false, &free).await.unwrap();
        assert!(removed.contains(&engine::image::Removed::Deleted(image.id)), "{removed:?}");
        let held: Vec<LayerId> = image.layers.iter().copied().filter(|l| images.layer_dir(*l).is_ok()).collect();
        assert_eq!(held, image.layers, "a snapshot holds its layers");
        images.snapshotter().remove(&key).await.unwrap();
        images.sweep().await.unwrap();
        assert_eq!(leftovers(&root), Vec::<std::path::PathBuf>::new());
        assert_eq!(images.fs_usage().bytes, 0);
    });
}

#[test]
fn clients_that_pull_the_same_image_share_one_flight() {
    in_private_network(|| async {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::start(dir.path());
        let source = dir.path().join("s");
        std::fs::create_dir_all(&source).unwrap();
        run(Command::new("sh").args(["-c", "head -c 20000000 /dev/urandom > \"$1/big\"", "sh"]).arg(&source));
        Layout::write(&dir.path().join("l"), &[gnu_tar(&source)], Compression::Gzip).push("localhost:5000/big:1", None);
        let images = open_images(&dir.path().join("data")).await;
        let pulls = (0..8).map(|_| pull(&images, request("localhost:5000/big:1")));
        for (result, told) in futures_util::future::join_all(pulls).await {
            result.unwrap();
            assert!(matches!(told.last(), Some(PullProgress::Finished { .. })));
        }
        assert!(images.pulls_in_progress().is_empty());
        drop(registry);
    });
}

#[test]
fn a_directory_that_a_layer_does_not_describe_keeps_what_lower_layers_say_of_it() {
    in_private_network(|| async {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("base");
        let script =
            "cd \"$1\" && mkdir -p tmp var/cache && chmod 1777 tmp && chown 5:6 var/cache && chmod 750 var/cache";
        std::fs::create_dir_all(&base).unwrap();
        run(Command::new("sh").args(["-c", script, "sh"]).arg(&base));
        // Entries for files only, as some builders write them.
        let tars =
            [gnu_tar(&base), small_tar("tmp/x", b"x"), small_tar("var/cache/deep/y", b"y"), small_tar("new/z", b"z")];
        let layout = Layout::write(&dir.path().join("l"), &tars, Compression::Gzip);
        let images = open_images(&dir.path().join("data")).await;
        images.import_layout(&layout.dir, engine::id::Owner::Docker).await.unwrap();
        let tree = image_tree(&images, &layout.diff_ids, "c").await;
        let line = |path: &str| tree[&OsString::from(path)].split(' ').take(2).collect::<Vec<_>>().join(" ");
        assert_eq!(line("./tmp"), "41777 0:0");
        assert_eq!(line("./var/cache"), "40750 5:6");
        assert_eq!(line("./var/cache/deep"), "40755 0:0");
        assert_eq!(line("./new"), "40755 0:0");
        assert!(
            tree.contains_key(&OsString::from("./tmp/x")) && tree.contains_key(&OsString::from("./var/cache/deep/y"))
        );
    });
}
