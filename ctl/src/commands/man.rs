//! `gantry man FOLDER`: manual pages, made from the same tables as the parser and the help.

use std::fmt::Write as _;
use std::path::Path;

use crate::cli::{Command, GROUPS, paths};
use crate::context::{Context, GLOBAL_FLAGS};
use crate::error::{Error, Result, reason};
use crate::flags::{self, Flag, Matches};
use crate::output::println;

pub(crate) static COMMAND: Command = Command {
    about: "Write manual pages (man1) into a folder",
    usage: "FOLDER",
    arguments: (1, 1),
    flags: &[],
    interspersed: true,
    run: |context, matches| Box::pin(async { run(context, matches) }),
};

fn run(_: &Context, matches: &Matches) -> Result<()> {
    let folder = Path::new(matches.arg(0));
    let failed = |path: &Path, e: std::io::Error| Error::message(format!("{}: {}", path.display(), reason(&e)));
    std::fs::create_dir_all(folder).map_err(|e| failed(folder, e))?;
    let pages = pages();
    for (name, text) in &pages {
        let path = folder.join(format!("{name}.1"));
        std::fs::write(&path, text).map_err(|e| failed(&path, e))?;
    }
    println(&format!("{} pages in {}", pages.len(), folder.display()))
}

/// Every page: its name and its text.
fn pages() -> Vec<(String, String)> {
    let mut pages = vec![("gantry".to_owned(), overview())];
    for (words, command) in paths() {
        let name = format!("gantry-{}", words.join("-"));
        let text = page(&name, &format!("gantry {}", words.join(" ")), command);
        pages.push((name, text));
    }
    pages
}

fn head(name: &str, about: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let about = about.lines().next().unwrap_or_default().trim_end_matches('.');
    format!(
        ".TH {} 1 \"\" \"Gantry {version}\" \"Gantry\"\n.SH NAME\n{} \\- {}\n",
        escape(&name.to_uppercase()),
        escape(name),
        escape(about)
    )
}

fn page(name: &str, called: &str, command: &Command) -> String {
    let mut text = head(name, command.about);
    let _ = write!(text, ".SH SYNOPSIS\n.B {}\n", escape(&flags::usage_line(command, called)));
    let _ = write!(text, ".SH DESCRIPTION\n{}\n", escape(command.about));
    let listed = flag_list(command.flags);
    if !listed.is_empty() {
        let _ = write!(text, ".SH OPTIONS\n{listed}");
    }
    text.push_str(".SH SEE ALSO\n.BR gantry (1)\n");
    text
}

fn overview() -> String {
    let mut text = head("gantry", "one node agent for pods and docker containers");
    text.push_str(".SH SYNOPSIS\n.B gantry [OPTIONS] COMMAND\n.SH COMMANDS\n");
    for (words, command) in paths() {
        let about = command.about.lines().next().unwrap_or_default();
        let _ = write!(text, ".TP\n.BR gantry\\-{} (1)\n{}\n", escape(&words.join("-")), escape(about));
    }
    for group in GROUPS {
        let _ = write!(text, ".TP\n.B gantry {}\n{}\n", escape(group.name), escape(group.about));
    }
    let _ = write!(text, ".SH OPTIONS\n{}", flag_list(&[GLOBAL_FLAGS]));
    text.push_str(
        ".SH FILES\n.TP\n.I ~/.docker/config.json\nCredentials, proxies, formats and the context in force; shared with \
         docker's client.\n.TP\n.I ~/.docker/contexts\nContexts.\n.SH SEE ALSO\n.BR docker (1)\n",
    );
    text
}

fn flag_list(groups: &[&[Flag]]) -> String {
    let mut shown: Vec<&Flag> = groups.iter().flat_map(|group| group.iter()).filter(|flag| !flag.hidden).collect();
    shown.sort_by_key(|flag| flag.long);
    let mut text = String::new();
    for flag in shown {
        let short = flag.short.map_or(String::new(), |short| format!("-{short}, "));
        let value = if flag.value.is_empty() { String::new() } else { format!(" {}", flag.value) };
        let _ = write!(text, ".TP\n.B {}\n{}\n", escape(&format!("{short}--{}{value}", flag.long)), escape(flag.help));
    }
    text
}

/// Words as roff prints them: no dash, dot or backslash is a request.
fn escape(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    let lines: Vec<String> = text
        .lines()
        .map(|line| if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line.to_owned() })
        .collect();
    lines.join("\n.br\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_with_its_flags() {
        let pages = pages();
        for (words, command) in paths() {
            let name = format!("gantry-{}", words.join("-"));
            let (_, text) = pages.iter().find(|(page, _)| *page == name).unwrap();
            for flag in command.flags.iter().copied().flatten().filter(|flag| !flag.hidden) {
                assert!(text.contains(&escape(&format!("--{}", flag.long))), "{name} --{}", flag.long);
            }
        }
    }

    #[test]
    fn no_line_of_text_is_a_request() {
        assert_eq!(escape(".x -a\\b\nplain"), "\\&.x \\-a\\eb\n.br\nplain");
    }
}
