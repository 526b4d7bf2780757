//! Rules on the text of source files.

use super::Tree;

/// Words that say that something is missing; an issue's number must follow.
const PROMISES: &[&str] = &["TODO", "FIXME", "XXX", "HACK:"];

/// Complaints about every source file.
pub(crate) fn check(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, text) in tree.rust() {
        // This file names what it forbids.
        if path.ends_with("tidy/source.rs") {
            continue;
        }
        if !text.lines().next().unwrap_or_default().starts_with("//!") {
            complaints.push(format!("{path}:1: begins without //! that says what the file is for"));
        }
        // Code that a build script wrote has its own style.
        let includes_generated = text.contains("OUT_DIR") || text.contains("include_proto!");
        // A module that several test programs compile cannot expect: each uses another part of it.
        let shared_by_tests = path.ends_with("tests/support/mod.rs");
        for (n, line) in text.lines().enumerate() {
            if (includes_generated || shared_by_tests) && line.contains("[allow(") {
                continue;
            }
            complaints.extend(complaint(line).map(|what| format!("{path}:{}: {what}", n + 1)));
        }
    }
    complaints
}

fn complaint(line: &str) -> Option<String> {
    let code = line.trim_start();
    for word in PROMISES {
        let promised = line.split_once(word).map(|(_, rest)| rest);
        if promised.is_some_and(|rest| !rest.trim_start_matches(['(', ' ', ':']).starts_with('#')) {
            return Some(format!("{word} without an issue number"));
        }
    }
    if code.starts_with("#[allow(") || code.starts_with("#![allow(") {
        return Some("#[allow]: use #[expect(lint, reason = \"...\")]".into());
    }
    // The VM runs what this host's kernel or cgroups cannot.
    if code.starts_with("#[ignore") && !code.ends_with(": hack/vm\"]") {
        return Some("a test that is never run".into());
    }
    if code.contains("unimplemented!(") || code.contains("todo!(") {
        return Some("what is not built returns an error that says so".into());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::complaint;

    #[test]
    fn each_rule_has_its_complaint() {
        for bad in ["// TODO later", "#[allow(dead_code)]", "#[ignore]", "  todo!()", "// FIXME: no"] {
            assert!(complaint(bad).is_some(), "{bad}");
        }
        for good in ["// TODO(#12) later", "// TODO #12", "#[expect(dead_code, reason = \"x\")]", "let todo = 1;"] {
            assert_eq!(complaint(good), None, "{good}");
        }
    }
}
