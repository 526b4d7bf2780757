//! Archives, loaded and saved: ours read by skopeo, skopeo's read by us.

use std::path::Path;
use std::process::Command;

use engine::ErrorKind;
use engine::id::Owner;
use engine::image::Images;

use crate::lab::*;

fn file(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    append(&mut tar, name, bytes);
    tar.into_inner().unwrap()
}

fn append(tar: &mut tar::Builder<Vec<u8>>, name: &str, bytes: &[u8]) {
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, name, bytes).unwrap();
}

async fn load(images: &Images, path: &Path) -> engine::Result<Vec<engine::image::LoadedImage>> {
    images.load(tokio::fs::File::open(path).await.unwrap(), Owner::Docker).await
}

async fn load_bytes(images: &Images, bytes: Vec<u8>) -> engine::Result<Vec<engine::image::LoadedImage>> {
    images.load(std::io::Cursor::new(bytes), Owner::Docker).await
}

async fn save(images: &Images, names: &[&str], to: &Path) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut stream = images.save(&names).await.unwrap();
    let mut out = tokio::fs::File::create(to).await.unwrap();
    tokio::io::copy(&mut stream, &mut out).await.unwrap();
}

fn skopeo(from: &str, to: &str) {
    run(Command::new("skopeo").args(["copy", "--quiet", "--insecure-policy", from, to]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_skopeo_writes_is_loaded_whatever_its_form() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::write(&dir.path().join("l"), &[file("a", b"one"), file("b", b"two")], Compression::Gzip);
    let from = format!("oci:{}:it", layout.dir.display());
    for (form, squeeze) in
        [("docker-archive", ""), ("oci-archive", ""), ("docker-archive", "gzip"), ("oci-archive", "zstd")]
    {
        let path = dir.path().join(format!("{form}{squeeze}.tar"));
        skopeo(&from, &format!("{form}:{}:example.com/a/b:tag", path.display()));
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let bytes = match squeeze {
            "gzip" => Compression::Gzip.pack(&bytes),
            "zstd" => Compression::Zstd.pack(&bytes),
            _ => bytes,
        };
        let root = dir.path().join(format!("{form}{squeeze}"));
        let images = open_images(&root).await;
        let loaded = load_bytes(&images, bytes).await.unwrap();
        assert_eq!(loaded.len(), 1);
        assert_eq!(loaded[0].reference.as_ref().unwrap().to_string(), "example.com/a/b:tag", "{form}");
        let image = images.get("example.com/a/b:tag").unwrap();
        assert_eq!(image.layers, layout.diff_ids);
        let tree = image_tree(&images, &image.layers, "c").await;
        assert!(tree.contains_key(std::ffi::OsStr::new("./a")) && tree.contains_key(std::ffi::OsStr::new("./b")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_we_save_is_read_by_skopeo_in_both_forms_and_by_us() {
    let dir = tempfile::tempdir().unwrap();
    let images = open_images(&dir.path().join("data")).await;
    for (number, name) in ["one:1", "two:2"].iter().enumerate() {
        let tars = [file("common", b"same"), file("own", name.as_bytes())];
        let layout = Layout::write(&dir.path().join(format!("l{number}")), &tars, Compression::Gzip);
        images.import_layout(&layout.dir, Owner::Docker).await.unwrap();
        images.tag(&layout.config.to_string(), name, Owner::Docker).await.unwrap();
    }
    images.tag("one:1", "one:again", Owner::Docker).await.unwrap();
    let path = dir.path().join("saved.tar");
    save(&images, &["one:1", "one:again", "two:2"], &path).await;
    for (number, (form, name)) in [
        ("docker-archive", "one:1"),
        ("docker-archive", "two:2"),
        ("oci-archive", "docker.io/library/one:again"),
        ("oci-archive", "docker.io/library/two:2"),
    ]
    .iter()
    .enumerate()
    {
        let out = dir.path().join(format!("out{number}"));
        skopeo(&format!("{form}:{}:{name}", path.display()), &format!("dir:{}", out.display()));
        assert!(out.join("manifest.json").exists());
    }
    let again = open_images(&dir.path().join("again")).await;
    let loaded = load(&again, &path).await.unwrap();
    let names: Vec<String> = loaded.iter().map(|image| image.reference.as_ref().unwrap().familiar()).collect();
    assert_eq!(names.len(), 3);
    for name in ["one:1", "one:again", "two:2"] {
        assert!(names.contains(&name.to_owned()), "{names:?}");
        assert_eq!(again.get(name).unwrap().id, images.get(name).unwrap().id);
        assert_eq!(again.get(name).unwrap().manifest, images.get(name).unwrap().manifest);
    }
    assert_eq!(images.save(&["nosuch".to_owned()]).await.err().unwrap().kind(), ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pinned_image_needs_force() {
    let dir = tempfile::tempdir().unwrap();
    let images = open_images(&dir.path().join("data")).await;
    let layout = Layout::write(&dir.path().join("l"), &[file("a", b"a")], Compression::None);
    images.import_layout(&layout.dir, Owner::Docker).await.unwrap();
    let free = |_: &engine::id::ImageId| Vec::new();
    let id = layout.config.to_string();
    assert_eq!(images.remove(&id, false, &free).await.unwrap_err().kind(), ErrorKind::Conflict);
    images.remove(&id, true, &free).await.unwrap();
    assert!(leftovers(&dir.path().join("data")).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_that_are_wrong_are_refused_and_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("data");
    let images = open_images(&root).await;
    let archive = |files: &[(&str, &[u8])]| {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, bytes) in files {
            append(&mut tar, name, bytes);
        }
        tar.into_inner().unwrap()
    };
    let layer = file("a", b"a");
    let config = |diff: &[u8]| {
        let diff_id = engine::id::Digest::of(diff);
        format!(r#"{{"os":"linux","architecture":"amd64","rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}}}}"#)
    };
    let (good, bad) = (config(&layer), config(b"other"));
    let manifest = br#"[{"Config":"c.json","RepoTags":["x:1"],"Layers":["l.tar"]}]"#;
    let escaping = br#"[{"Config":"../../../../etc/passwd","RepoTags":["x:1"],"Layers":[]}]"#;
    let huge = vec![b' '; 5 << 20];
    let cases: [(&str, Vec<u8>, &str); 9] = [
        ("nothing in it", archive(&[("x", b"y")]), "neither manifest.json"),
        ("not a tar", vec![7; 2000], "malformed"),
        ("cut off", archive(&[("manifest.json", manifest)])[..530].to_vec(), "ends"),
        ("xz", b"\xfd7zXZ\0 and so on, and on".to_vec(), "xz"),
        ("missing layer", archive(&[("manifest.json", manifest), ("c.json", good.as_bytes())]), "l.tar"),
        (
            "wrong diff id",
            archive(&[("manifest.json", manifest), ("c.json", bad.as_bytes()), ("l.tar", &layer)]),
            "diff id",
        ),
        ("escaping path", archive(&[("manifest.json", escaping)]), "leads out"),
        ("bad json", archive(&[("manifest.json", b"[{]")]), "manifest.json"),
        ("5 MiB manifest", archive(&[("manifest.json", &huge)]), "at most"),
    ];
    for (what, bytes, word) in cases {
        let error = load_bytes(&images, bytes).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{what}: {error}");
        assert!(error.to_string().contains(word), "{what}: {error}");
        assert_eq!(leftovers(&root), Vec::<std::path::PathBuf>::new(), "{what}");
    }
    // The list first and a link for the layer, as docker has written it.
    let mut tar = tar::Builder::new(Vec::new());
    append(&mut tar, "manifest.json", br#"[{"Config":"c.json","RepoTags":null,"Layers":["two/layer.tar"]}]"#);
    append(&mut tar, "c.json", good.as_bytes());
    append(&mut tar, "one/layer.tar", &layer);
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    tar.append_link(&mut header, "two/layer.tar", "../one/layer.tar").unwrap();
    let loaded = load_bytes(&images, tar.into_inner().unwrap()).await.unwrap();
    assert_eq!((loaded.len(), loaded[0].reference.is_none()), (1, true));
}
