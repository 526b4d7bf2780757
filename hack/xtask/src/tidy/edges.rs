//! Which crate may know which: the table in ARCHITECTURE.md is the whole truth, compared with cargo's metadata.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// A crate's edges to crates of this workspace: what it is built of, and what its tests add.
#[derive(Debug, Default, PartialEq, Eq)]
struct Edges {
    normal: BTreeSet<String>,
    tests: BTreeSet<String>,
}

/// `cargo metadata` of the workspace, without what it depends on.
pub(crate) fn cargo_metadata(root: &Path) -> Value {
    let output = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root)
        .output();
    output.ok().and_then(|o| serde_json::from_slice(&o.stdout).ok()).unwrap_or(Value::Null)
}

/// Differences between the table and the truth.
pub(crate) fn check(map: &str, metadata: &Value) -> Vec<String> {
    let (drawn, real) = (drawn(map), real(metadata));
    if real.is_empty() {
        return vec!["cargo metadata gave no packages".into()];
    }
    let mut complaints = Vec::new();
    for name in drawn.keys().chain(real.keys()).collect::<BTreeSet<_>>() {
        match (drawn.get(name), real.get(name)) {
            (Some(drawn), Some(real)) if drawn == real => {}
            (Some(drawn), Some(real)) => complaints.push(format!(
                "ARCHITECTURE.md: `{name}` is drawn with {:?} (tests: {:?}) and has {:?} (tests: {:?})",
                drawn.normal, drawn.tests, real.normal, real.tests
            )),
            (None, _) => {
                complaints.push(format!("ARCHITECTURE.md: crate `{name}` is missing from the table of crates"))
            }
            (_, None) => complaints.push(format!("ARCHITECTURE.md: there is no crate `{name}`")),
        }
    }
    complaints
}

/// Rows of the table under "## Crates": `| \`name\` | \`folder\` | depends on | tests add | ... |`.
fn drawn(map: &str) -> BTreeMap<String, Edges> {
    let section = map.split("\n## ").find(|s| s.starts_with("Crates")).unwrap_or_default();
    let rows = section.lines().filter(|l| l.starts_with("| `"));
    let ticked = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<String>>();
    rows.filter_map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, name, _, normal, tests, ..] = cells[..] else { return None };
        let edges = Edges { normal: ticked(normal).into_iter().collect(), tests: ticked(tests).into_iter().collect() };
        Some((ticked(name).pop()?, edges))
    })
    .collect()
}

fn real(metadata: &Value) -> BTreeMap<String, Edges> {
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let edges_of = |package: &Value| {
        let mut edges = Edges::default();
        let ours = |d: &&Value| d["path"].is_string();
        for dependency in package["dependencies"].as_array().into_iter().flatten().filter(ours) {
            let name = dependency["name"].as_str().unwrap_or_default().to_owned();
            if dependency["kind"] == "dev" {
                edges.tests.insert(name);
            } else {
                edges.normal.insert(name);
            }
        }
        edges
    };
    packages.iter().map(|p| (p["name"].as_str().unwrap_or_default().to_owned(), edges_of(p))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const MAP: &str = "# Map\n## Crates\n| crate | folder | built of | tests add | not |\n|---|---|---|---|---|\n\
                       | `a` | `a/` | `b` | `kit` | x |\n| `b` | `b/` | – | – | x |\n## Next\n";

    fn metadata(normal: &str) -> Value {
        json!({ "packages": [
            { "name": "a", "dependencies": [
                { "name": normal, "path": "/b", "kind": null }, { "name": "serde", "kind": null },
                { "name": "kit", "path": "/kit", "kind": "dev" } ] },
            { "name": "b", "dependencies": [] } ] })
    }

    #[test]
    fn a_true_table_is_accepted() {
        assert_eq!(check(MAP, &metadata("b")), Vec::<String>::new());
    }

    #[test]
    fn a_new_edge_and_a_missing_crate_are_named() {
        assert!(check(MAP, &metadata("c"))[0].contains("`a` is drawn"));
        let less = MAP.replace("| `b` | `b/` | – | – | x |\n", "");
        assert!(check(&less, &metadata("b"))[0].contains("`b` is missing"));
    }
}
