//! Tests of kept directories: what is sent again, and what a hostile list cannot reach.

use super::*;
use crate::build::LocalSource;

fn entry(path: &str, kind: SourceKind, size: u64) -> SourceEntry {
    SourceEntry {
        path: path.into(),
        kind,
        mode: 0o644,
        size,
        mtime_ns: 1_700_000_000_000_000_001,
        ..Default::default()
    }
}

/// Sends a list, and of each file that is asked for what `content` has. Gives the directory and what was asked for.
fn send(
    sources: &Sources,
    entries: &[SourceEntry],
    content: &dyn Fn(&str) -> String,
) -> Result<(Arc<LocalSource>, Vec<String>)> {
    let mut update = sources.open(Some("client"), "context")?;
    let mut asked = Vec::new();
    for entry in entries {
        update.entry(entry.clone())?;
    }
    while let Some(number) = update.next_wanted()? {
        let path = &entries[number as usize].path;
        update.data(number, content(path).as_bytes())?;
        update.data(number, &[])?;
        asked.push(path.clone());
    }
    Ok((update.finish()?, asked))
}

fn walk(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut left = vec![dir.to_owned()];
    while let Some(at) = left.pop() {
        for entry in std::fs::read_dir(&at).unwrap().flatten() {
            found.push(entry.path().strip_prefix(dir).unwrap().display().to_string());
            if entry.file_type().unwrap().is_dir() {
                left.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

#[test]
fn the_second_time_only_what_changed_is_asked_for() {
    use SourceKind::{Directory, File, HardLink, Symlink};
    let root = tempfile::tempdir().unwrap();
    let sources = Sources::new(root.path());
    let link = SourceEntry { link: "b".into(), ..entry("a/l", Symlink, 0) };
    let hard = SourceEntry { link: "a/f".into(), ..entry("h", HardLink, 3) };
    let mut list = vec![entry("a", Directory, 0), entry("a/f", File, 3), link, entry("b", File, 1), hard];
    let (first, asked) = send(&sources, &list, &|path| format!("1{path}")).unwrap();
    assert_eq!(asked, ["a/f", "b"]);
    assert_eq!(walk(first.dir()), ["a", "a/f", "a/l", "b", "h"]);
    assert_eq!(std::fs::read_to_string(first.dir().join("h")).unwrap(), "1a/f");
    drop(first);

    let (second, asked) = send(&sources, &list, &|path| format!("2{path}")).unwrap();
    assert_eq!(asked, Vec::<String>::new());
    drop(second);

    // One file changed, one became a directory, one is gone, one is new.
    list[1].mtime_ns += 1;
    list[3] = entry("b", Directory, 0);
    list.remove(2);
    list.insert(3, entry("b/new", File, 1));
    let (third, asked) = send(&sources, &list, &|path| format!("3{path}")).unwrap();
    assert_eq!(asked, ["a/f", "b/new"]);
    assert_eq!(walk(third.dir()), ["a", "a/f", "b", "b/new", "h"]);
    assert_eq!(std::fs::read_to_string(third.dir().join("h")).unwrap(), "3a/f", "the link follows its file");
}

#[test]
fn a_directory_in_use_is_not_changed_by_another_build() {
    let root = tempfile::tempdir().unwrap();
    let sources = Sources::new(root.path());
    let list = [entry("f", SourceKind::File, 1)];
    let (first, _) = send(&sources, &list, &|_| "1".into()).unwrap();
    let (second, asked) = send(&sources, &list, &|_| "2".into()).unwrap();
    assert_eq!(asked, ["f"], "the second slot is empty");
    assert_eq!(std::fs::read_to_string(first.dir().join("f")).unwrap(), "1");
    assert_eq!(std::fs::read_to_string(second.dir().join("f")).unwrap(), "2");
    drop((first, second));
    let (again, asked) = send(&sources, &list, &|_| "3".into()).unwrap();
    assert_eq!((asked, again.dir().exists()), (Vec::new(), true));
}

#[test]
fn a_transfer_that_broke_off_counts_as_nothing_and_strangers_leave_nothing() {
    let root = tempfile::tempdir().unwrap();
    let sources = Sources::new(root.path());
    let list = [entry("f", SourceKind::File, 1), entry("g", SourceKind::File, 1)];
    drop(send(&sources, &list, &|_| "1".into()).unwrap());
    let mut update = sources.open(Some("client"), "context").unwrap();
    update.entry(list[0].clone()).unwrap();
    drop(update);
    let (_, asked) = send(&sources, &list, &|_| "2".into()).unwrap();
    assert_eq!(asked, ["f", "g"]);
    drop(sources.open(None, "context").unwrap());
    assert_eq!(std::fs::read_dir(root.path().join("build/sources")).unwrap().count(), 1);
}

#[test]
fn hostile_lists_touch_nothing_outside() {
    let root = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    let sources = Sources::new(root.path());
    let out = outside.path().display().to_string();
    let symlink = SourceEntry { link: out.clone(), ..entry("a", SourceKind::Symlink, 0) };
    let below = [symlink.clone(), entry("a/planted", SourceKind::File, 1)];
    assert!(send(&sources, &below, &|_| "x".into()).unwrap_err().to_string().contains("did not come before"));
    let up = [entry("../planted", SourceKind::File, 1)];
    assert!(send(&sources, &up, &|_| "x".into()).unwrap_err().to_string().contains("leads out"));
    let hard = [SourceEntry { link: format!("{out}/secret"), ..entry("h", SourceKind::HardLink, 0) }];
    assert!(send(&sources, &hard, &|_| "x".into()).unwrap_err().to_string().contains("no file before it"));
    // A directory of the last time that is a symlink now: what was below it goes, where the link leads nothing happens.
    std::fs::write(outside.path().join("f"), "theirs").unwrap();
    let before = [entry("a", SourceKind::Directory, 0), entry("a/f", SourceKind::File, 1)];
    drop(send(&sources, &before, &|_| "mine".into()).unwrap());
    drop(send(&sources, &[symlink], &|_| String::new()).unwrap());
    assert_eq!(std::fs::read_to_string(outside.path().join("f")).unwrap(), "theirs");
    assert_eq!(walk(outside.path()), ["f"]);
}

#[test]
fn what_was_not_asked_for_is_not_taken() {
    let root = tempfile::tempdir().unwrap();
    let sources = Sources::new(root.path());
    let mut update = sources.open(Some("c"), "n").unwrap();
    update.entry(entry("f", SourceKind::File, 1 << 62)).unwrap();
    assert!(update.data(0, b"x").unwrap_err().to_string().contains("nobody asked"));
    assert_eq!(update.next_wanted().unwrap(), Some(0));
    update.data(0, b"x").unwrap();
    assert!(update.data(7, b"x").is_err());
    assert!(update.finish().unwrap_err().to_string().contains("before all files"));
}

#[test]
fn what_is_kept_is_listed_and_pruned() {
    let root = tempfile::tempdir().unwrap();
    let sources = Sources::new(root.path());
    let list = [entry("f", SourceKind::File, 1)];
    let (held, _) = send(&sources, &list, &|_| "1".into()).unwrap();
    let listed = sources.list().pop().unwrap();
    assert!(listed.in_use && listed.bytes > 0 && !sources.remove(&listed.id));
    drop(held);
    assert!(sources.remove(&listed.id) && sources.list().is_empty());
}
