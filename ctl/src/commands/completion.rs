//! `gantry completion`: scripts for bash, zsh and fish, made from the same tables as the parser and the help.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::cli::{Command, GROUPS, paths};
use crate::context::{Context, GLOBAL_FLAGS};
use crate::error::{Error, Result};
use crate::flags::{Flag, Matches};
use crate::output::print;

pub(crate) static COMMAND: Command = Command {
    about: "Generate the autocompletion script for the specified shell",
    usage: "bash|zsh|fish",
    arguments: (1, 1),
    flags: &[],
    interspersed: true,
    run: |context, matches| Box::pin(run(context, matches)),
};

async fn run(_: &Context, matches: &Matches) -> Result<()> {
    match matches.arg(0) {
        "bash" => print(&bash()),
        "zsh" => print(&format!("#compdef gantry\nautoload -U +X bashcompinit && bashcompinit\n{}", bash())),
        "fish" => print(&fish()),
        other => Err(Error::message(format!("completion: no script for {other:?}: bash, zsh and fish are known"))),
    }
}

/// The commands whose arguments are names of things, and how these are listed.
fn names_of(usage: &str) -> &'static str {
    let first = usage.split([' ', '|']).next().unwrap_or_default();
    match first {
        "CONTAINER" | "NAME" => "ps -a --format {{.Names}}",
        "IMAGE" | "SOURCE_IMAGE[:TAG]" | "NAME[:TAG]" | "[REPOSITORY[:TAG]]" => {
            "images --format {{.Repository}}:{{.Tag}}"
        }
        "NETWORK" => "network ls --format {{.Name}}",
        "VOLUME" => "volume ls --format {{.Name}}",
        _ => "",
    }
}

fn visible<'f>(groups: &'f [&'f [Flag]]) -> impl Iterator<Item = &'f Flag> {
    groups.iter().flat_map(|group| group.iter()).filter(|flag| !flag.hidden)
}

/// Words that may follow `gantry` and `gantry GROUP`.
fn words() -> BTreeMap<String, Vec<&'static str>> {
    let mut words: BTreeMap<String, Vec<&'static str>> = BTreeMap::new();
    for (path, _) in paths() {
        match path.as_slice() {
            [name] => words.entry(String::new()).or_default().push(name),
            [group, name] => words.entry((*group).to_owned()).or_default().push(name),
            _ => {}
        }
    }
    words.entry(String::new()).or_default().extend(GROUPS.iter().map(|group| group.name));
    words
}

fn bash() -> String {
    let mut out = String::from(
        "_gantry() {\n    local cur=${COMP_WORDS[COMP_CWORD]} path= word i words= names=\n    \
         for ((i = 1; i < COMP_CWORD; i++)); do\n        word=${COMP_WORDS[i]}\n        \
         case \"$path $word\" in\n",
    );
    let all = paths();
    let mut known: Vec<String> = all.iter().map(|(path, _)| path.join(" ")).collect();
    known.extend(GROUPS.iter().map(|group| group.name.to_owned()));
    known.sort();
    known.dedup();
    for path in &known {
        let (head, last) = path.rsplit_once(' ').unwrap_or(("", path));
        let _ = writeln!(out, "            \"{head} {last}\") path=\"{path}\" ;;");
    }
    out.push_str("        esac\n    done\n    case \"$path\" in\n");
    for (group, names) in words() {
        let flags: Vec<String> = match group.as_str() {
            "" => visible(&[GLOBAL_FLAGS]).map(|flag| format!("--{}", flag.long)).collect(),
            _ => Vec::new(),
        };
        let _ = writeln!(out, "        \"{group}\") words=\"{} {}\" ;;", names.join(" "), flags.join(" "));
    }
    for (path, command) in &all {
        let flags: Vec<String> = visible(command.flags).map(|flag| format!("--{}", flag.long)).collect();
        let _ = write!(out, "        \"{}\") words=\"{} --help\"", path.join(" "), flags.join(" "));
        match names_of(command.usage) {
            "" => {}
            list => {
                let _ = write!(out, "; names='{list}'");
            }
        }
        out.push_str(" ;;\n");
    }
    out.push_str(
        "    esac\n    if [[ -n $names && $cur != -* ]]; then\n        words=$(gantry $names 2>/dev/null)\n    fi\n    \
         COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n}\ncomplete -o default -F _gantry gantry\n",
    );
    out
}

fn fish() -> String {
    let mut out = String::from("complete -c gantry -f\n");
    let quote = |text: &str| text.lines().next().unwrap_or_default().replace('\\', "\\\\").replace('\'', "\\'");
    for group in GROUPS {
        let _ =
            writeln!(out, "complete -c gantry -n __fish_use_subcommand -a {} -d '{}'", group.name, quote(group.about));
    }
    for (path, command) in paths() {
        let condition = match path.as_slice() {
            [name] => {
                let _ = writeln!(
                    out,
                    "complete -c gantry -n __fish_use_subcommand -a {name} -d '{}'",
                    quote(command.about)
                );
                format!("__fish_seen_subcommand_from {name}")
            }
            [group, name] => {
                let _ = writeln!(
                    out,
                    "complete -c gantry -n '__fish_seen_subcommand_from {group}' -a {name} -d '{}'",
                    quote(command.about)
                );
                format!("__fish_seen_subcommand_from {group}; and __fish_seen_subcommand_from {name}")
            }
            _ => continue,
        };
        for flag in visible(command.flags) {
            let short = flag.short.map_or(String::new(), |short| format!(" -s {short}"));
            let argument = if flag.is_switch() { "" } else { " -r" };
            let _ = writeln!(
                out,
                "complete -c gantry -n '{condition}' -l {}{short}{argument} -d '{}'",
                flag.long,
                quote(flag.help)
            );
        }
        if !names_of(command.usage).is_empty() {
            let _ = writeln!(
                out,
                "complete -c gantry -n '{condition}' -a '(gantry {} 2>/dev/null)'",
                names_of(command.usage).replace("{{", "\"{{").replace("}}", "}}\"")
            );
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_know_every_command() {
        let (bash, fish) = (bash(), fish());
        for (path, command) in paths() {
            assert!(bash.contains(&format!("\"{}\") words=", path.join(" "))), "{path:?}");
            for flag in visible(command.flags) {
                assert!(fish.contains(&format!("-l {}", flag.long)) && bash.contains(&format!("--{}", flag.long)));
            }
        }
    }
}
