//! What README.md and ARCHITECTURE.md say exists, and the modules that they call pure.

use std::path::Path;

use super::Tree;

/// A pure module imports none of these.
const IMPURE: &[&str] =
    &["tokio", "sys", "rustix", "nix", "libc", "rusqlite", "std::fs", "std::os", "std::process", "crate::metadata"];

/// Each path in backticks must exist.
pub(crate) fn paths_exist(tree: &Tree, root: &Path) -> Vec<String> {
    let mut complaints = Vec::new();
    for document in ["README.md", "ARCHITECTURE.md"] {
        let Some(text) = tree.text(document) else {
            complaints.push(format!("{document}: missing"));
            continue;
        };
        for (n, line) in text.lines().enumerate() {
            for path in line.split('`').skip(1).step_by(2).filter_map(|word| path_of(word, root)) {
                if !root.join(&path).exists() {
                    complaints.push(format!("{document}:{}: {path} does not exist", n + 1));
                }
            }
        }
    }
    complaints
}

/// The path that a word in backticks names, when it begins with a folder or file of the repository's top.
fn path_of(word: &str, root: &Path) -> Option<String> {
    let word = word.split_whitespace().next()?.trim_end_matches('/');
    let top = word.split('/').next()?;
    // What a build makes is not in the repository.
    let plain = word.contains('/')
        && top != "target"
        && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"/_.-".contains(&b));
    (plain && !top.is_empty() && root.join(top).exists()).then(|| word.to_owned())
}

/// Modules listed under "## Pure modules" may not touch the kernel, the disk, the clock's runtime or the store.
pub(crate) fn pure_modules(tree: &Tree, map: &str) -> Vec<String> {
    let section = map.split("\n## ").find(|s| s.starts_with("Pure modules")).unwrap_or_default();
    let listed: Vec<&str> = section.split('`').skip(1).step_by(2).filter(|p| p.contains('/')).collect();
    let mut complaints = Vec::new();
    for path in &listed {
        let prefix = format!("{}/", path.trim_end_matches('/'));
        for (file, text) in tree.rust().filter(|(file, _)| file == path || file.starts_with(&prefix)) {
            complaints.extend(impure_imports(file, text));
        }
    }
    if listed.is_empty() {
        complaints.push("ARCHITECTURE.md: no section \"## Pure modules\" with paths in backticks".into());
    }
    complaints
}

fn impure_imports(file: &str, text: &str) -> Vec<String> {
    // Tests may read golden files.
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let imports = code.lines().enumerate().filter(|(_, line)| line.trim_start().starts_with("use "));
    imports
        .filter_map(|(n, line)| {
            let path = line.trim_start().trim_start_matches("use ").trim_start_matches("::");
            let hit =
                |impure: &&&str| path.starts_with(&format!("{impure}::")) || path.starts_with(&format!("{impure};"));
            let impure = IMPURE.iter().find(hit)?;
            Some(format!("{file}:{}: a pure module imports {impure}", n + 1))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> Tree {
        Tree { files: files.iter().map(|(p, t)| ((*p).to_owned(), (*t).to_owned())).collect() }
    }

    #[test]
    fn an_impure_import_is_found() {
        let map = "x\n## Pure modules\n- `engine/src/ipam.rs`\n- `engine/src/spec/`\n## Next\n";
        let files = tree(&[
            ("engine/src/ipam.rs", "//! x\nuse tokio::sync::Mutex;\n"),
            ("engine/src/spec/env.rs", "//! x\nuse std::fs;\n"),
            ("engine/src/spec/ok.rs", "//! x\nuse std::fmt;\n#[cfg(test)]\nuse std::fs;\n"),
            ("engine/src/other.rs", "use tokio::x;\n"),
        ]);
        let complaints = pure_modules(&files, map);
        assert_eq!(
            complaints,
            [
                "engine/src/ipam.rs:2: a pure module imports tokio",
                "engine/src/spec/env.rs:2: a pure module imports std::fs"
            ]
        );
    }

    #[test]
    fn a_path_that_is_not_there_is_found() {
        let root = super::super::repository_root();
        let files = tree(&[("README.md", "see `hack/xtask` and `hack/no-such-file.rs`"), ("ARCHITECTURE.md", "`a/b`")]);
        assert_eq!(paths_exist(&files, &root), ["README.md:1: hack/no-such-file.rs does not exist"]);
    }
}
