//! PURE. `COPY` and `ADD`.

use super::fault::Fault;
use super::flags::{Flags, Takes};
use super::line::{self, Line};
use super::model::{Add, Copy, Heredoc};
use super::words;

pub(super) fn copy(line: &Line) -> Result<Copy, Fault> {
    let known = [
        ("chown", Takes::Text),
        ("from", Takes::Text),
        ("chmod", Takes::Text),
        ("link", Takes::Bool),
        ("exclude", Takes::Texts),
        ("parents", Takes::Bool),
    ];
    let words = arguments(line, "COPY")?;
    let flags = Flags::read(&line.flags, &known)?;
    let copied = sources(line, words, "COPY")?;
    Ok(Copy { from: flags.filled("from"), parents: flags.is_set("parents"), ..with_flags(copied, &flags) })
}

pub(super) fn add(line: &Line) -> Result<Add, Fault> {
    let known = [
        ("chown", Takes::Text),
        ("chmod", Takes::Text),
        ("link", Takes::Bool),
        ("keep-git-dir", Takes::Bool),
        ("checksum", Takes::Text),
        ("unpack", Takes::Bool),
        ("exclude", Takes::Texts),
    ];
    let words = arguments(line, "ADD")?;
    let flags = Flags::read(&line.flags, &known)?;
    let copied = sources(line, words, "ADD")?;
    Ok(Add {
        copy: with_flags(copied, &flags),
        checksum: flags.filled("checksum"),
        keep_git_dir: flags.is_set("keep-git-dir"),
        unpack: flags.text("unpack").map(|value| value == "true"),
    })
}

fn arguments(line: &Line, name: &str) -> Result<Vec<String>, Fault> {
    let words = words::list(&line.rest)?;
    if words.len() < 2 {
        return Err(Fault::new(format!(
            "{name} requires at least two arguments, but only one was provided. Destination could not be determined"
        )));
    }
    Ok(words)
}

fn with_flags(copy: Copy, flags: &Flags) -> Copy {
    Copy {
        chown: flags.filled("chown"),
        chmod: flags.filled("chmod"),
        link: flags.is_set("link"),
        exclude: flags.texts("exclude"),
        ..copy
    }
}

/// Paths, documents and the destination.
fn sources(line: &Line, mut words: Vec<String>, name: &str) -> Result<Copy, Fault> {
    let destination = words.pop().unwrap_or_default();
    if matches!(line::heredoc(&destination), Ok(Some(_))) {
        return Err(Fault::new(format!("{name} cannot accept a heredoc as a destination")).at(&destination));
    }
    let mut copy = Copy { destination, ..Copy::default() };
    for word in words {
        match line::heredoc(&word) {
            Ok(Some(announced)) => {
                let read = line.heredocs.iter().find(|read| read.name == announced.name);
                let content = read.map_or_else(String::new, |read| read.content.clone());
                copy.heredocs.push(Heredoc { content, ..announced });
            }
            _ => copy.sources.push(word),
        }
    }
    Ok(copy)
}
