//! `--env`, `--env-file`, `--label`, `--label-file`: names and values, from the command line and files.

use std::collections::BTreeMap;

use crate::error::{Error, Result, open_file};

/// A file of variables or labels may have this many bytes.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// The check of `--env`.
pub(crate) fn check_env(text: &str) -> std::result::Result<(), String> {
    if text.is_empty() || text.starts_with('=') {
        return Err(format!("invalid environment variable: {text}"));
    }
    Ok(())
}

/// The check of `--label`.
pub(crate) fn check_label(text: &str) -> std::result::Result<(), String> {
    if text.is_empty() || text.starts_with('=') {
        return Err(format!("invalid label '{text}': empty name"));
    }
    Ok(())
}

/// Files first, then the command line. A name without value takes ours, if we have one.
pub(crate) fn environment(files: &[String], given: &[String]) -> Result<Vec<String>> {
    let mut variables = Vec::new();
    for path in files {
        for line in lines(path)? {
            if line.contains('=') {
                variables.push(line);
            } else if let Ok(value) = std::env::var(&line) {
                variables.push(format!("{line}={value}"));
            }
        }
    }
    for text in given {
        match std::env::var(text) {
            Ok(value) if !text.contains('=') => variables.push(format!("{text}={value}")),
            _ => variables.push(text.clone()),
        }
    }
    Ok(variables)
}

/// Labels of files and the command line; the last of a name counts.
pub(crate) fn labels(files: &[String], given: &[String]) -> Result<BTreeMap<String, String>> {
    let mut all = Vec::new();
    for path in files {
        all.extend(lines(path)?);
    }
    all.extend(given.iter().cloned());
    Ok(pairs(&all))
}

/// `key=value` texts as a map; a text without `=` has an empty value.
pub(crate) fn pairs(list: &[String]) -> BTreeMap<String, String> {
    let split = |text: &String| {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        (key.to_owned(), value.to_owned())
    };
    list.iter().map(split).collect()
}

/// The lines of a file that say something, each checked.
fn lines(path: &str) -> Result<Vec<String>> {
    use std::io::Read;

    let mut bytes = Vec::new();
    let file = open_file(path)?;
    let fail = |reason: String| Error::message(format!("invalid env file ({path}): {reason}"));
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| fail(crate::error::reason(&error)))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(fail(format!("more than {FILE_BYTES_MAX} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|_| fail("invalid utf8 bytes".to_owned()))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut found = Vec::new();
    for line in text.lines() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let name = line.split_once('=').map_or(line, |(name, _)| name);
        if name.is_empty() {
            return Err(fail(format!("no variable name on line '{line}'")));
        }
        if name.contains(char::is_whitespace) {
            return Err(fail(format!("variable '{name}' contains whitespaces")));
        }
        found.push(line.to_owned());
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn files_come_before_the_command_line() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "\u{feff}A=1\n# note\n\n  B=x y \nNO_SUCH_VARIABLE_HERE\nPATH").unwrap();
        let path = file.path().to_str().unwrap().to_owned();
        let given = ["A=2".to_owned(), "NO_SUCH_VARIABLE_HERE".to_owned()];
        let all = environment(&[path], &given).unwrap();
        let ours = format!("PATH={}", std::env::var("PATH").unwrap());
        assert_eq!(all, ["A=1", "B=x y ", &ours, "A=2", "NO_SUCH_VARIABLE_HERE"]);
    }

    #[test]
    fn bad_files_are_told() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "A B=1").unwrap();
        let path = file.path().to_str().unwrap().to_owned();
        let message = labels(std::slice::from_ref(&path), &[]).unwrap_err().to_string();
        assert_eq!(message, format!("invalid env file ({path}): variable 'A B' contains whitespaces"));
        let message = environment(&["/nosuch".to_owned()], &[]).unwrap_err().to_string();
        assert_eq!(message, "open /nosuch: no such file or directory");
    }
}
