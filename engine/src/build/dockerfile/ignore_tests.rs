//! Tests of ignore patterns against moby's behaviour.

use super::*;
use proptest::prelude::*;

#[test]
fn patterns_match_as_mobys_do() {
    let table: &[(&str, &str, bool)] = &[
        ("**", "file", true),
        ("**", "dir/file", true),
        ("**/", "dir/file", true),
        ("**/**", "dir/file", true),
        ("dir/**", "dir/file", true),
        ("dir/**", "dir/dir2/file", true),
        ("dir/**", "dir", false),
        ("**/dir", "dir", true),
        ("**/dir", "a/dir/file", true),
        ("**/dir2/*", "dir/dir2/dir2/file", true),
        ("**/file", "a/b/file", true),
        ("**/file", "a/b/myfile", false),
        ("**file", "a/b/myfile", true),
        ("a**/*.txt", "abc/b/c.txt", true),
        ("foo", "foo/bar/baz", true),
        ("foo", "bar/foo", false),
        ("/foo", "foo", true),
        ("./foo/../bar/", "bar", true),
        ("*.md", "README.md", true),
        ("*.md", "docs/README.md", false),
        ("*/*.md", "docs/README.md", true),
        ("a?c", "abc", true),
        ("a?c", "a/c", false),
        ("a[b-d]e", "ace", true),
        ("a[^b-d]e", "aze", true),
        ("a[^b-d]e", "ace", false),
        ("a\\*b", "a*b", true),
        ("a\\*b", "axb", false),
        ("a.(b)+", "a.(b)+", true),
        ("a.b", "axb", false),
        (".git*", ".gitignore", true),
        ("[&&a]x", "&x", true),
    ];
    for (pattern, path, expected) in table {
        assert_eq!(parse(pattern).unwrap().excludes(path), *expected, "{pattern} on {path}");
    }
}

#[test]
fn the_last_pattern_wins_and_exceptions_take_back() {
    let patterns = parse("\u{feff}# comment\n*\n!src\nsrc/*.tmp\n! src/keep.tmp \n").unwrap();
    for (path, expected) in
        [("a", true), ("src", false), ("src/main.rs", false), ("src/x.tmp", true), ("src/keep.tmp", false)]
    {
        assert_eq!(patterns.excludes(path), expected, "{path}");
    }
    assert_eq!(patterns.texts(), ["*", "!src", "src/*.tmp", "!src/keep.tmp"]);
    assert!(patterns.has_exceptions() && patterns.covers_all());
    assert!(!patterns.excludes("."), "the root itself stays");
}

#[test]
fn only_directories_that_may_hold_exceptions_are_looked_into() {
    let patterns = parse("*\n!a/b/c\n!x*/y").unwrap();
    assert!(patterns.may_take_back_below("a") && patterns.may_take_back_below("a/b"));
    assert!(patterns.may_take_back_below("xyz") && !patterns.may_take_back_below("a/x"));
    assert!(parse("*\n!**/keep").unwrap().may_take_back_below("anything/at/all"));
}

#[test]
fn bad_patterns_are_named() {
    for bad in ["!", "a[", "a[]", "[z-a]", "a\\"] {
        let error = parse(bad).unwrap_err().to_string();
        assert!(error.contains("pattern"), "{bad}: {error}");
    }
}

#[test]
fn paths_are_cleaned_as_go_cleans_them() {
    for (path, expected) in
        [("", "."), ("a//b/", "a/b"), ("./a/../b", "b"), ("../a", "../a"), ("/../a", "/a"), ("a/../..", "..")]
    {
        assert_eq!(clean(path), expected, "{path}");
    }
}

proptest! {
    #[test]
    fn nothing_panics(text in "([a!*?/.\\[\\]^\\\\ -]|\n){0,30}|.{0,30}", path in "[a-c/.]{0,12}") {
        if let Ok(patterns) = parse(&text) {
            let _ = patterns.excludes(&path);
            let _ = patterns.may_take_back_below(&path);
        }
    }

    #[test]
    fn what_is_below_an_excluded_directory_is_excluded(dir in "[a-c]{1,3}(/[a-c]{1,3}){0,2}", below in "[a-c]{1,3}") {
        let patterns = parse(&dir).unwrap();
        let path = format!("{dir}/{below}");
        prop_assert!(patterns.excludes(&path));
    }
}
