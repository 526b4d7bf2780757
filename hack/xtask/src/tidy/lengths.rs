//! Functions and files do not grow: past the limits each has a line in `hack/xtask/ratchet.txt`, which only shrinks.

use std::collections::BTreeMap;

use super::Tree;

/// Lines of a function, body and signature, without a reason for more.
const FUNCTION_LINES_MAX: usize = 70;
/// Lines of a file.
const FILE_LINES_MAX: usize = 800;
/// Where the exceptions are: `<lines> <path>` or `<lines> <path> <function>`.
const RATCHET: &str = "hack/xtask/ratchet.txt";

/// What is too long and not excepted, and what is excepted and has become shorter.
pub(crate) fn check(tree: &Tree) -> Vec<String> {
    let mut excepted = exceptions(&tree.text(RATCHET).unwrap_or_default());
    let mut complaints = Vec::new();
    for (name, lines, limit) in measured(tree) {
        let allowed = excepted.remove(&name);
        match allowed {
            None if lines > limit => complaints.push(format!("{name}: {lines} lines, the limit is {limit}")),
            Some(allowed) if lines > allowed => {
                complaints.push(format!("{name}: {lines} lines, it had {allowed} and may only shrink"));
            }
            Some(allowed) if lines < allowed => {
                complaints
                    .push(format!("{RATCHET}: {name} has {lines} lines now: lower its {allowed}, or take it out"));
            }
            _ => {}
        }
    }
    complaints.extend(excepted.keys().map(|name| format!("{RATCHET}: {name} is not there any more: take it out")));
    complaints
}

fn exceptions(text: &str) -> BTreeMap<String, usize> {
    let lines = text.lines().filter(|l| !l.starts_with('#'));
    lines.filter_map(|l| l.split_once(' ')).filter_map(|(n, name)| Some((name.to_owned(), n.parse().ok()?))).collect()
}

/// Every file and every function with its length and its limit.
fn measured(tree: &Tree) -> Vec<(String, usize, usize)> {
    let mut all = Vec::new();
    for (path, text) in tree.rust() {
        all.push((path.to_owned(), text.lines().count(), FILE_LINES_MAX));
        let mut functions = BTreeMap::new();
        for (name, lines) in functions_of(text) {
            // Of several with one name in a file, the longest counts.
            let longest = functions.entry(name).or_insert(0);
            *longest = lines.max(*longest);
        }
        all.extend(functions.into_iter().map(|(name, lines)| (format!("{path} {name}"), lines, FUNCTION_LINES_MAX)));
    }
    all
}

/// Functions of a file as rustfmt lays them out: they end with a brace as deep as they began.
fn functions_of(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let indent = &line[..line.len() - line.trim_start().len()];
        let (end, semicolon) = (format!("{indent}}}"), line.ends_with(';') || line.ends_with('}'));
        if semicolon {
            continue;
        }
        let length = lines[start..].iter().position(|l| *l == end).map_or(0, |n| n + 1);
        found.push((name.to_owned(), length));
    }
    found
}

fn function_name(line: &str) -> Option<&str> {
    let code = line.trim_start();
    if code.starts_with("//") {
        return None;
    }
    let (before, after) = code.split_once("fn ")?;
    let modifiers = ["pub", "async", "const", "unsafe", "extern", "\"C\""];
    let only_modifiers =
        before.split_whitespace().all(|w| modifiers.iter().any(|m| w.starts_with(m)) || w.ends_with(')'));
    let name = after.split(['(', '<']).next()?;
    (only_modifiers && !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(body_lines: usize, ratchet: &str) -> Tree {
        let text = format!("pub(crate) async fn long() {{\n{}}}\n", "    x();\n".repeat(body_lines));
        Tree { files: vec![("a.rs".into(), text), (RATCHET.into(), ratchet.into())] }
    }

    #[test]
    fn the_ratchet_only_goes_down() {
        assert_eq!(check(&tree(68, "")), Vec::<String>::new());
        assert!(check(&tree(69, ""))[0].contains("71 lines, the limit is 70"));
        assert_eq!(check(&tree(78, "80 a.rs long")), Vec::<String>::new());
        assert!(check(&tree(79, "80 a.rs long"))[0].contains("may only shrink"));
        assert!(check(&tree(70, "80 a.rs long"))[0].contains("lower its 80"));
        assert!(check(&tree(1, "80 gone.rs f"))[0].contains("take it out"));
    }
}
