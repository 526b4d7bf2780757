//! The tree against its own map and rules. Each check returns complaints: a path, a line, what is wrong.

mod edges;
mod lengths;
mod map;
mod modules;
mod source;

use std::fs;
use std::path::{Path, PathBuf};

/// The folder of the workspace.
pub(crate) fn repository_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// Every complaint about the tree under `root`.
pub(crate) fn check(root: &Path) -> Vec<String> {
    let tree = Tree::read(root);
    let map = tree.text("ARCHITECTURE.md").unwrap_or_default();
    let metadata = edges::cargo_metadata(root);
    let mut complaints = edges::check(&map, &metadata);
    complaints.extend(modules::check(&tree, root, &metadata));
    complaints.extend(map::paths_exist(&tree, root));
    complaints.extend(map::pure_modules(&tree, &map));
    complaints.extend(source::check(&tree));
    complaints.extend(lengths::check(&tree));
    complaints.sort();
    complaints
}

/// Every text file of the repository that a check reads, by its path from the root.
pub(crate) struct Tree {
    /// Path and content.
    pub(crate) files: Vec<(String, String)>,
}

impl Tree {
    fn read(root: &Path) -> Self {
        let mut files = Vec::new();
        let mut pending = vec![root.to_path_buf()];
        while let Some(dir) = pending.pop() {
            for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
                let path = entry.path();
                let name = entry.file_name();
                let skipped = name == "target" || name.to_string_lossy().starts_with(".git") || name == "golden";
                if skipped {
                    continue;
                }
                if path.is_dir() {
                    pending.push(path);
                } else if let Ok(text) = fs::read_to_string(&path) {
                    let shown = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
                    files.push((shown, text));
                }
            }
        }
        files.sort();
        Self { files }
    }

    /// The content of a file.
    pub(crate) fn text(&self, path: &str) -> Option<String> {
        self.files.iter().find(|(p, _)| p == path).map(|(_, text)| text.clone())
    }

    /// The Rust files.
    pub(crate) fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().filter(|(path, _)| path.ends_with(".rs")).map(|(path, text)| (path.as_str(), text.as_str()))
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_tree_is_tidy() {
        let complaints = super::check(&super::repository_root());
        assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
    }
}
