//! Hostile tars: generated ones against an oracle, and the known tricks one by one. Outside of the layer stands a canary
//! tree that must not change in any way.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use engine::ErrorKind;
use engine::id::Owner;
use engine::image::Images;
use proptest::prelude::*;

use crate::lab::*;

/// One entry of a generated archive.
#[derive(Debug, Clone)]
enum Item {
    File(String, Vec<u8>),
    Dir(String),
    Symlink(String, String),
    Hardlink(String, String),
    Device(String),
    Fifo(String),
}

/// Names that collide, climb, hide and lead through each other.
fn name() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just("a".to_owned()),
        Just("b".to_owned()),
        Just("c".to_owned()),
        Just("..".to_owned()),
        Just(".".to_owned()),
        Just(".wh.a".to_owned()),
        Just(".wh..wh..opq".to_owned()),
        Just(".wh..".to_owned()),
        Just(".wh...".to_owned()),
        Just(String::new()),
        Just("canary".to_owned()),
    ];
    (proptest::collection::vec(part, 1..4), any::<bool>())
        .prop_map(|(parts, absolute)| format!("{}{}", if absolute { "/" } else { "" }, parts.join("/")))
}

fn item(canary: String) -> impl Strategy<Value = Item> {
    let target = prop_oneof![
        name(),
        Just(canary.clone()),
        Just(format!("../../../../../../../..{canary}")),
        Just(format!("/proc/self/root{canary}")),
        Just("/proc/self/cwd".to_owned()),
        Just("a/b/../../..".to_owned()),
    ];
    prop_oneof![
        (name(), proptest::collection::vec(any::<u8>(), 0..20)).prop_map(|(n, b)| Item::File(n, b)),
        name().prop_map(Item::Dir),
        (name(), target.clone()).prop_map(|(n, t)| Item::Symlink(n, t)),
        (name(), target).prop_map(|(n, t)| Item::Hardlink(n, t)),
        name().prop_map(Item::Device),
        name().prop_map(Item::Fifo),
    ]
}

/// Writes headers as they are: the `tar` crate would refuse most of these names.
fn archive(items: &[Item]) -> Vec<u8> {
    let mut out = Vec::new();
    for item in items {
        let (name, kind, link, body): (&str, u8, &str, &[u8]) = match item {
            Item::File(name, body) => (name, b'0', "", body),
            Item::Dir(name) => (name, b'5', "", &[]),
            Item::Symlink(name, link) => (name, b'2', link, &[]),
            Item::Hardlink(name, link) => (name, b'1', link, &[]),
            Item::Device(name) => (name, b'3', "", &[]),
            Item::Fifo(name) => (name, b'6', "", &[]),
        };
        out.extend_from_slice(&entry(name.as_bytes(), kind, link.as_bytes(), body.len() as u64));
        out.extend_from_slice(body);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.extend_from_slice(&[0; 1024]);
    out
}

fn entry(name: &[u8], kind: u8, link: &[u8], size: u64) -> [u8; 512] {
    let mut block = [0; 512];
    block[..name.len().min(100)].copy_from_slice(&name[..name.len().min(100)]);
    block[100..107].copy_from_slice(b"0004755");
    block[108..115].copy_from_slice(b"0000005");
    block[116..123].copy_from_slice(b"0000006");
    block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    block[136..147].copy_from_slice(b"00000000077");
    block[156] = kind;
    block[157..157 + link.len().min(100)].copy_from_slice(&link[..link.len().min(100)]);
    block[257..263].copy_from_slice(b"ustar\0");
    block[329..336].copy_from_slice(b"0000001");
    block[337..344].copy_from_slice(b"0000003");
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|b| u64::from(*b)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

/// Loads one layer as an image. Answers the tree of the layer, or what was wrong.
async fn unpack(images: &Images, dir: &Path, tar: Vec<u8>) -> Result<BTreeMap<OsString, String>, engine::Error> {
    drop(std::fs::remove_dir_all(dir));
    let layout = Layout::write(dir, &[tar], Compression::None);
    images.import_layout(&layout.dir, Owner::Docker).await?;
    Ok(tree(&images.layer_dir(layout.diff_ids[0]).unwrap()))
}

fn canary(dir: &Path) -> std::path::PathBuf {
    let canary = dir.join("canary");
    std::fs::create_dir_all(canary.join("a/b")).unwrap();
    std::fs::write(canary.join("a/file"), "do not touch").unwrap();
    std::fs::write(canary.join("b"), "nor this").unwrap();
    canary
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]
    #[test]
    fn no_archive_reaches_outside(
        items in proptest::collection::vec(item("/tmp/gantry-untar-canary/canary".to_owned()), 1..14),
    ) {
        let outer = Path::new("/tmp/gantry-untar-canary");
        let canary = canary(outer);
        let before = tree(&canary);
        let dir = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let result = runtime.block_on(async {
            let images = open_images(&dir.path().join("data")).await;
            let result = unpack(&images, &dir.path().join("layout"), archive(&items)).await;
            if result.is_err() {
                prop_assert!(leftovers(&dir.path().join("data")).is_empty());
            }
            Ok(result)
        })?;
        prop_assert_eq!(tree(&canary), before);
        std::fs::remove_dir_all(outer).unwrap();
        if let Ok(found) = result {
            for (path, line) in &found {
                // A parent may be called so; what an entry itself is called so for has been carried out.
                let shown = path.to_string_lossy();
                let last = shown.rsplit('/').next().unwrap_or("");
                prop_assert!(!last.starts_with(".wh.") || line.contains("directory"), "{} is no whiteout any more", shown);
                prop_assert!(!line.contains("do not touch"));
            }
            // What was said last about a plain name in the root holds, unless something later passed through it.
            if let Some(Item::File(name, body)) = items.last()
                && !name.contains('/') && !name.starts_with('.') && !name.is_empty() {
                let line = &found[&OsString::from(format!("./{name}"))];
                prop_assert!(line.contains(&format!("{} bytes", body.len())), "{}: {}", name, line);
            }
        } else if let Err(error) = result {
            prop_assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{}", error);
        }
    }
}

#[tokio::test]
async fn known_tricks_are_harmless() {
    let dir = tempfile::tempdir().unwrap();
    let canary = canary(dir.path());
    let before = tree(&canary);
    let outside = canary.display().to_string();
    let data = dir.path().join("data");
    let images = open_images(&data).await;
    let layout = dir.path().join("layout");
    let f = |n: &str| Item::File(n.to_owned(), b"evil".to_vec());
    let s = |n: &str, t: &str| Item::Symlink(n.to_owned(), t.to_owned());
    let h = |n: &str, t: &str| Item::Hardlink(n.to_owned(), t.to_owned());
    let d = |n: &str| Item::Dir(n.to_owned());

    // Through an absolute link: stays inside.
    let found = unpack(&images, &layout, archive(&[s("l", &outside), f("l/b")])).await.unwrap();
    assert!(found.contains_key(&OsString::from(format!(".{outside}/b"))));
    // A directory entry takes the link's place, it does not change what the link points to.
    let found = unpack(&images, &layout, archive(&[s("l", &outside), d("l"), f("l/b")])).await.unwrap();
    assert!(found[&OsString::from("./l")].contains("directory") && found.contains_key(&OsString::from("./l/b")));
    // A file with the mode 4755 over a link: the link goes.
    let found = unpack(&images, &layout, archive(&[s("l", &format!("{outside}/b")), f("l")])).await.unwrap();
    assert!(found[&OsString::from("./l")].starts_with("104755 5:6"));
    // A hardlink to a link links the link.
    let found = unpack(&images, &layout, archive(&[s("l", &format!("{outside}/b")), h("k", "l")])).await.unwrap();
    assert!(found[&OsString::from("./k")].contains(&format!("-> {:?}", canary.join("b"))));
    // A hardlink to the outside finds nothing there.
    for target in [format!("{outside}/b"), "../canary/b".to_owned(), "/proc/self/exe".to_owned()] {
        let error = unpack(&images, &layout, archive(&[h("k", &target)])).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    }
    for items in [vec![f("../../x")], vec![s("a", ".."), h("k", "../../../canary/b")], vec![f("a/../../x")]] {
        assert!(unpack(&images, &layout, archive(&items)).await.is_err());
    }
    // A directory becomes a link, and what follows goes where the link leads, inside.
    let items = [d("a"), f("a/x"), Item::Symlink("a".into(), outside.clone()), f("a/y")];
    let found = unpack(&images, &layout, archive(&items)).await.unwrap();
    assert!(
        found.contains_key(&OsString::from(format!(".{outside}/y"))) && !found.contains_key(&OsString::from("./a/x"))
    );
    assert_eq!(tree(&canary), before);
    assert_eq!(std::fs::read_dir(data.join("snapshots/staging")).unwrap().count(), 0);
}

#[tokio::test]
async fn whiteouts_become_what_overlayfs_takes_for_them() {
    let dir = tempfile::tempdir().unwrap();
    let images = open_images(&dir.path().join("data")).await;
    let f = |n: &str| Item::File(n.to_owned(), b"x".to_vec());
    let items = [
        f("d/.wh.gone"),
        f("d/.wh..wh..opq"),
        f("d/.wh..wh.plnk"),
        f("d/.wh.both"),
        f("d/both"),
        f("e/.wh.dir"),
        Item::Dir("e/dir".into()),
    ];
    let found = unpack(&images, &dir.path().join("layout"), archive(&items)).await.unwrap();
    let line = |path: &str| found[&OsString::from(path)].clone();
    assert!(line("./d/gone").contains("device 0"));
    assert!(line("./d").contains("trusted.overlay.opaque"));
    assert!(line("./d/both").contains("1 bytes"), "what the layer has itself is not hidden by its own whiteout");
    assert!(
        line("./e/dir").contains("trusted.overlay.opaque"),
        "a new directory in place of a hidden one hides it still"
    );
    assert_eq!(found.len(), 6);
    for wrong in [".wh.", ".wh..", ".wh..."] {
        let error = unpack(&images, &dir.path().join("layout"), archive(&[f(wrong)])).await;
        assert!(error.is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn attributes_of_overlayfs_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let images = open_images(&dir.path().join("data")).await;
    for name in ["trusted.overlay.redirect", "trusted.overlay.opaque", "user.overlay.metacopy"] {
        let record = format!("SCHILY.xattr.{name}=/etc\n");
        let length = record.len() + 4;
        let body = format!("{length} {record}");
        let body = if body.len() == length { body } else { format!("{} {record}", record.len() + 3) };
        let mut tar = entry(b"pax", b'x', b"", body.len() as u64).to_vec();
        tar.extend_from_slice(body.as_bytes());
        tar.resize(tar.len().next_multiple_of(512), 0);
        tar.extend_from_slice(&entry(b"d", b'5', b"", 0));
        let error = unpack(&images, &dir.path().join("layout"), tar).await.unwrap_err();
        assert!(error.to_string().contains("belongs to overlayfs"), "{name}: {error}");
    }
}

#[tokio::test]
async fn deep_long_and_numerous_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let images = open_images(&dir.path().join("data")).await;
    let long_name = |bytes: usize| {
        let mut tar = entry(b"././@LongLink", b'L', b"", bytes as u64 + 1).to_vec();
        tar.extend(b"d/".iter().cycle().take(bytes));
        tar.push(0);
        tar.resize(tar.len().next_multiple_of(512), 0);
        tar.extend_from_slice(&entry(b"x", b'5', b"", 0));
        tar
    };
    let layout = dir.path().join("layout");
    unpack(&images, &layout, long_name(200)).await.unwrap();
    assert!(unpack(&images, &layout, long_name(2000)).await.unwrap_err().to_string().contains("levels"));
    assert!(
        unpack(&images, &layout, long_name(65_000)).await.unwrap_err().to_string().contains("a name of 65000 bytes")
    );
    let many: Vec<u8> =
        (0..100_000).flat_map(|n| entry(format!("d{}/f{n}", n % 100).as_bytes(), b'0', b"", 0)).collect();
    let found = unpack(&images, &layout, many).await.unwrap();
    assert_eq!(found.len(), 100_101);
}
