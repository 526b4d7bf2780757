//! Every Rust file is compiled: reached by `mod` from a target that cargo knows.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Tree;

/// Files that no target reaches.
pub(crate) fn check(tree: &Tree, root: &Path, metadata: &Value) -> Vec<String> {
    let mut reached = BTreeSet::new();
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    for target in packages.iter().flat_map(|p| p["targets"].as_array().map(Vec::as_slice).unwrap_or_default()) {
        let path = Path::new(target["src_path"].as_str().unwrap_or_default());
        if let Ok(path) = path.strip_prefix(root) {
            reach(tree, path.to_path_buf(), true, &mut reached);
        }
    }
    let missed = tree.rust().filter(|(path, _)| !reached.contains(Path::new(path)));
    missed.map(|(path, _)| format!("{path}: no target compiles this file")).collect()
}

fn reach(tree: &Tree, file: PathBuf, is_root: bool, reached: &mut BTreeSet<PathBuf>) {
    let Some(text) = tree.text(&file.to_string_lossy()) else { return };
    if !reached.insert(file.clone()) {
        return;
    }
    let owns_its_folder = is_root || file.file_name().is_some_and(|name| name == "mod.rs");
    let folder = if owns_its_folder { file.parent().map(Path::to_path_buf) } else { Some(file.with_extension("")) };
    let folder = folder.unwrap_or_default();
    let mut named = None;
    let mut inline: Vec<(usize, String)> = Vec::new();
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        let word = line.trim();
        if word == "}" {
            inline.retain(|(depth, _)| *depth < indent);
        }
        if let Some(path) = word.strip_prefix("#[path = \"").and_then(|r| r.strip_suffix("\"]")) {
            named = Some(path.to_owned());
        } else if let Some(name) = opened(word) {
            inline.push((indent, name.to_owned()));
        } else if let Some(name) = declared(word) {
            let inside = inline.iter().fold(folder.clone(), |path, (_, name)| path.join(name));
            match named.take() {
                Some(path) => reach(tree, file.parent().unwrap_or(Path::new("")).join(path), false, reached),
                None => {
                    reach(tree, inside.join(format!("{name}.rs")), false, reached);
                    reach(tree, inside.join(name).join("mod.rs"), false, reached);
                }
            }
        }
    }
}

/// The name in `mod name;`, whatever its visibility.
fn declared(line: &str) -> Option<&str> {
    without_visibility(line).strip_prefix("mod ")?.strip_suffix(';')
}

/// The name in `mod name {`.
fn opened(line: &str) -> Option<&str> {
    without_visibility(line).strip_prefix("mod ")?.strip_suffix(" {")
}

fn without_visibility(line: &str) -> &str {
    let line = line.strip_prefix("pub").unwrap_or(line);
    let line = if line.starts_with('(') { line.split_once(')').map_or(line, |(_, rest)| rest) } else { line };
    line.trim_start()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_forgotten_file_is_found() {
        let file = |path: &str, text: &str| (path.to_owned(), text.to_owned());
        let tree = Tree {
            files: vec![
                file(
                    "a/src/lib.rs",
                    "mod one;\npub(crate) mod two;\n#[path = \"odd.rs\"]\nmod other;\nmod in_line {\n    mod three;\n}\n",
                ),
                file("a/src/one.rs", "mod child;\n"),
                file("a/src/one/child.rs", ""),
                file("a/src/two/mod.rs", ""),
                file("a/src/odd.rs", ""),
                file("a/src/in_line/three.rs", ""),
                file("a/src/forgotten.rs", ""),
            ],
        };
        let metadata = json!({ "packages": [{ "targets": [{ "src_path": "/r/a/src/lib.rs" }] }] });
        assert_eq!(check(&tree, Path::new("/r"), &metadata), ["a/src/forgotten.rs: no target compiles this file"]);
    }
}
