//! The tree of commands: what exists under which name, and the way from words to a command's `run`.

use std::future::Future;
use std::pin::Pin;

use crate::commands as c;
use crate::context::{Context, GLOBAL_FLAGS};
use crate::error::{Error, Result};
use crate::flags::{self, Flag, Matches};
use crate::output::{eprintln, print, println};
use crate::terminal;

/// A command's work.
pub(crate) type Work<'a> = Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

/// A command: its words for people and its function.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) about: &'static str,
    /// The arguments behind the flags: `CONTAINER [CONTAINER...]`.
    pub(crate) usage: &'static str,
    /// Fewest and most arguments.
    pub(crate) arguments: (usize, usize),
    pub(crate) flags: &'static [&'static [Flag]],
    /// False where flags behind the first argument belong to the container's command.
    pub(crate) interspersed: bool,
    pub(crate) run: for<'a> fn(&'a Context, &'a Matches) -> Work<'a>,
}

/// As many arguments as one likes.
pub(crate) const ANY: usize = usize::MAX;

/// Where the overview lists a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Section {
    Common,
    Other,
    /// What belongs to clusters of docker's: it is known, and answers why it is not here.
    Swarm,
}

/// A family such as `container`.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// Names (the first is shown) and commands.
    pub(crate) commands: &'static [(&'static [&'static str], &'static Command)],
}

/// Commands without a family.
const TOP: &[(&str, Section, &Command)] = &[
    ("run", Section::Common, &c::run::COMMAND),
    ("exec", Section::Common, &c::exec::COMMAND),
    ("ps", Section::Common, &c::ps::COMMAND),
    ("build", Section::Common, &c::build::COMMAND),
    ("pull", Section::Common, &c::pull::COMMAND),
    ("push", Section::Common, &c::push::COMMAND),
    ("images", Section::Common, &c::images::COMMAND),
    ("login", Section::Common, &c::login::LOGIN),
    ("logout", Section::Common, &c::login::LOGOUT),
    ("search", Section::Common, &c::search::COMMAND),
    ("version", Section::Common, &c::version::COMMAND),
    ("info", Section::Common, &c::info::COMMAND),
    ("attach", Section::Other, &c::attach::COMMAND),
    ("commit", Section::Other, &c::commit::COMMAND),
    ("completion", Section::Other, &c::completion::COMMAND),
    ("cp", Section::Other, &c::cp::COMMAND),
    ("create", Section::Other, &c::create::COMMAND),
    ("diff", Section::Other, &c::diff::COMMAND),
    ("events", Section::Other, &c::events::COMMAND),
    ("export", Section::Other, &c::export::COMMAND),
    ("history", Section::Other, &c::history::COMMAND),
    ("import", Section::Other, &c::import::COMMAND),
    ("inspect", Section::Other, &c::inspect::COMMAND),
    ("kill", Section::Other, &c::kill::COMMAND),
    ("leaks", Section::Other, &c::leaks::COMMAND),
    ("load", Section::Other, &c::load::COMMAND),
    ("logs", Section::Other, &c::logs::COMMAND),
    ("man", Section::Other, &c::man::COMMAND),
    ("pause", Section::Other, &c::pause::PAUSE),
    ("pods", Section::Other, &c::pods::COMMAND),
    ("port", Section::Other, &c::port::COMMAND),
    ("rename", Section::Other, &c::rename::COMMAND),
    ("restart", Section::Other, &c::stop::RESTART),
    ("rm", Section::Other, &c::rm::COMMAND),
    ("rmi", Section::Other, &c::rmi::COMMAND),
    ("save", Section::Other, &c::save::COMMAND),
    ("start", Section::Other, &c::start::COMMAND),
    ("stats", Section::Other, &c::stats::COMMAND),
    ("stop", Section::Other, &c::stop::STOP),
    ("tag", Section::Other, &c::tag::COMMAND),
    ("top", Section::Other, &c::top::COMMAND),
    ("unpause", Section::Other, &c::pause::UNPAUSE),
    ("update", Section::Other, &c::update::COMMAND),
    ("wait", Section::Other, &c::wait::COMMAND),
    ("why", Section::Other, &c::why::COMMAND),
    ("config", Section::Swarm, &c::swarm::COMMAND),
    ("node", Section::Swarm, &c::swarm::COMMAND),
    ("plugin", Section::Swarm, &c::swarm::COMMAND),
    ("secret", Section::Swarm, &c::swarm::COMMAND),
    ("service", Section::Swarm, &c::swarm::COMMAND),
    ("stack", Section::Swarm, &c::swarm::COMMAND),
    ("swarm", Section::Swarm, &c::swarm::COMMAND),
];

/// The families.
pub(crate) const GROUPS: &[Group] = &[
    Group {
        name: "builder",
        about: "Manage builds",
        commands: &[(&["build"], &c::build::COMMAND), (&["prune"], &c::build::PRUNE)],
    },
    Group {
        name: "container",
        about: "Manage containers",
        commands: &[
            (&["attach"], &c::attach::COMMAND),
            (&["commit"], &c::commit::COMMAND),
            (&["cp"], &c::cp::COMMAND),
            (&["create"], &c::create::COMMAND),
            (&["diff"], &c::diff::COMMAND),
            (&["exec"], &c::exec::COMMAND),
            (&["export"], &c::export::COMMAND),
            (&["inspect"], &c::inspect::CONTAINER),
            (&["kill"], &c::kill::COMMAND),
            (&["logs"], &c::logs::COMMAND),
            (&["ls", "list", "ps"], &c::ps::COMMAND),
            (&["pause"], &c::pause::PAUSE),
            (&["port"], &c::port::COMMAND),
            (&["prune"], &c::prune::CONTAINERS),
            (&["rename"], &c::rename::COMMAND),
            (&["restart"], &c::stop::RESTART),
            (&["rm", "remove"], &c::rm::COMMAND),
            (&["run"], &c::run::COMMAND),
            (&["start"], &c::start::COMMAND),
            (&["stats"], &c::stats::COMMAND),
            (&["stop"], &c::stop::STOP),
            (&["top"], &c::top::COMMAND),
            (&["unpause"], &c::pause::UNPAUSE),
            (&["update"], &c::update::COMMAND),
            (&["wait"], &c::wait::COMMAND),
        ],
    },
    Group {
        name: "context",
        about: "Manage contexts",
        commands: &[
            (&["create"], &c::context::CREATE),
            (&["export"], &c::context::EXPORT),
            (&["import"], &c::context::IMPORT),
            (&["inspect"], &c::context::INSPECT),
            (&["ls", "list"], &c::context::LS),
            (&["rm", "remove"], &c::context::RM),
            (&["show"], &c::context::SHOW),
            (&["update"], &c::context::UPDATE),
            (&["use"], &c::context::USE),
        ],
    },
    Group {
        name: "image",
        about: "Manage images",
        commands: &[
            (&["build"], &c::build::COMMAND),
            (&["history"], &c::history::COMMAND),
            (&["import"], &c::import::COMMAND),
            (&["inspect"], &c::inspect::IMAGE),
            (&["load"], &c::load::COMMAND),
            (&["ls", "list"], &c::images::COMMAND),
            (&["prune"], &c::prune::IMAGES),
            (&["pull"], &c::pull::COMMAND),
            (&["push"], &c::push::COMMAND),
            (&["rm", "remove"], &c::rmi::COMMAND),
            (&["save"], &c::save::COMMAND),
            (&["tag"], &c::tag::COMMAND),
        ],
    },
    Group {
        name: "network",
        about: "Manage networks",
        commands: &[
            (&["connect"], &c::network_connect::CONNECT),
            (&["create"], &c::network_create::COMMAND),
            (&["disconnect"], &c::network_connect::DISCONNECT),
            (&["inspect"], &c::inspect::NETWORK),
            (&["ls", "list"], &c::network_ls::COMMAND),
            (&["prune"], &c::prune::NETWORKS),
            (&["rm", "remove"], &c::network_rm::COMMAND),
        ],
    },
    Group {
        name: "system",
        about: "Manage Gantry",
        commands: &[
            (&["df"], &c::system_df::COMMAND),
            (&["dial-stdio"], &c::dial_stdio::COMMAND),
            (&["events"], &c::events::COMMAND),
            (&["info"], &c::info::COMMAND),
            (&["prune"], &c::prune::SYSTEM),
        ],
    },
    Group {
        name: "volume",
        about: "Manage volumes",
        commands: &[
            (&["create"], &c::volume_create::COMMAND),
            (&["inspect"], &c::inspect::VOLUME),
            (&["ls", "list"], &c::volume_ls::COMMAND),
            (&["prune"], &c::prune::VOLUMES),
            (&["rm", "remove"], &c::volume_rm::COMMAND),
        ],
    },
];

/// Every way to call every command: the words behind `gantry`.
pub(crate) fn paths() -> Vec<(Vec<&'static str>, &'static Command)> {
    let mut paths: Vec<(Vec<&'static str>, &'static Command)> = Vec::new();
    for group in GROUPS {
        for (names, command) in group.commands {
            for name in *names {
                paths.push((vec![group.name, name], command));
            }
        }
    }
    for (name, _, command) in TOP {
        paths.push((vec![name], command));
    }
    paths
}

/// Runs the program on its arguments; the exit code is the result.
pub(crate) async fn main(words: &[String]) -> u8 {
    match dispatch(words).await {
        Ok(()) => 0,
        Err(error) => {
            if !matches!(error, Error::Exit(_)) {
                eprintln(&error.to_string());
            }
            error.exit_code()
        }
    }
}

async fn dispatch(words: &[String]) -> Result<()> {
    let global = flags::parse(&[GLOBAL_FLAGS], words, false)
        .map_err(|message| Error::Code { code: 125, message: format!("{message}\n\n{}", more_help("gantry")) })?;
    if global.on("version") {
        return println(concat!("Gantry version ", env!("CARGO_PKG_VERSION")));
    }
    let Some((first, rest)) = global.args.split_first() else { return print(&overview()) };
    if first == "help" {
        return help(rest);
    }
    if global.help {
        return print(&overview());
    }
    match find(&global.args)? {
        Found::Command(command, path, rest) => run(command, &path, rest, &global).await,
        Found::Group(group) => print(&group_help(group)),
    }
}

enum Found<'w> {
    /// The command, the words it was called by, the words behind them.
    Command(&'static Command, String, &'w [String]),
    Group(&'static Group),
}

fn find(words: &[String]) -> Result<Found<'_>> {
    let Some((first, rest)) = words.split_first() else {
        return Err(Error::message("no command"));
    };
    if let Some((name, _, command)) = TOP.iter().find(|(name, _, _)| name == first) {
        return Ok(Found::Command(command, format!("gantry {name}"), rest));
    }
    let Some(group) = GROUPS.iter().find(|group| group.name == first) else {
        return Err(Error::message(format!("gantry: unknown command: gantry {first}\n\n{}", more_help("gantry"))));
    };
    let Some((second, rest)) = rest.split_first().filter(|(second, _)| !second.starts_with('-')) else {
        return Ok(Found::Group(group));
    };
    match group.commands.iter().find(|(names, _)| names.contains(&second.as_str())) {
        Some((_, command)) => Ok(Found::Command(command, format!("gantry {first} {second}"), rest)),
        None => Err(Error::message(format!(
            "gantry: unknown command: gantry {first} {second}\n\nUsage:  gantry {first}\n\n{}",
            more_help(&format!("gantry {first}"))
        ))),
    }
}

async fn run(command: &'static Command, path: &str, words: &[String], global: &Matches) -> Result<()> {
    let usage = format!("Usage:  {}\n\n{}", flags::usage_line(command, path), more_help(path));
    let matches = flags::parse(command.flags, words, command.interspersed)
        .map_err(|message| Error::Code { code: 125, message: format!("{message}\n\n{usage}") })?;
    if matches.help {
        return print(&flags::render_command(command, path, &aliases(command), terminal::width()));
    }
    if let Err(message) = check_arguments(command, path, matches.args.len()) {
        let see = message.contains("at least");
        let usage = if see { usage.replacen("Run '", "See '", 1) } else { usage };
        return Err(Error::message(format!("gantry: {message}\n\n{usage}")));
    }
    let context = Context::new(global, path.to_owned())?;
    (command.run)(&context, &matches).await
}

fn check_arguments(command: &Command, path: &str, count: usize) -> std::result::Result<(), String> {
    let (least, most) = command.arguments;
    if (least..=most).contains(&count) {
        return Ok(());
    }
    let plural = |count: usize| if count == 1 { "argument" } else { "arguments" };
    let reason = match (least, most) {
        (0, 0) => "accepts no arguments".to_owned(),
        (least, most) if least == most => format!("requires {least} {}", plural(least)),
        (least, ANY) => format!("requires at least {least} {}", plural(least)),
        (0, most) => format!("requires at most {most} {}", plural(most)),
        (least, most) => format!("requires at least {least} and at most {most} {}", plural(most)),
    };
    Err(format!("'{path}' {reason}"))
}

fn more_help(path: &str) -> String {
    format!("Run '{path} --help' for more information")
}

/// All names of a command, as its help lists them.
fn aliases(command: &'static Command) -> Vec<String> {
    let same = paths().into_iter().filter(|(_, other)| std::ptr::eq(*other, command));
    same.map(|(words, _)| format!("gantry {}", words.join(" "))).collect()
}

fn help(words: &[String]) -> Result<()> {
    if words.is_empty() {
        return print(&overview());
    }
    match find(words)? {
        Found::Group(group) => print(&group_help(group)),
        Found::Command(command, path, _) => {
            print(&flags::render_command(command, &path, &aliases(command), terminal::width()))
        }
    }
}

fn overview() -> String {
    let mut text = String::from("Usage:  gantry [OPTIONS] COMMAND\n\nOne node agent for pods and docker containers\n");
    let section = |section: Section| {
        let commands = TOP.iter().filter(|(_, of, _)| *of == section);
        commands.map(|(name, _, command)| format!("  {name:<11} {}\n", command.about)).collect::<String>()
    };
    text.push_str(&format!("\nCommon Commands:\n{}", section(Section::Common)));
    text.push_str("\nManagement Commands:\n");
    for group in GROUPS {
        text.push_str(&format!("  {:<11} {}\n", group.name, group.about));
    }
    text.push_str(&format!("\nCommands:\n{}", section(Section::Other)));
    text.push_str(&format!("\nGlobal Options:\n{}", flags::render_flags(&[GLOBAL_FLAGS], terminal::width())));
    text.push_str("\nRun 'gantry COMMAND --help' for more information on a command.\n");
    text
}

fn group_help(group: &Group) -> String {
    let mut text = format!("Usage:  gantry {} COMMAND\n\n{}\n\nCommands:\n", group.name, group.about);
    for (names, command) in group.commands {
        text.push_str(&format!("  {:<11} {}\n", names[0], command.about));
    }
    text.push_str(&format!("\nRun 'gantry {} COMMAND --help' for more information on a command.\n", group.name));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_of_every_command_has_one_name_and_a_good_default() {
        for (words, command) in paths() {
            let mut seen = Vec::new();
            for flag in command.flags.iter().copied().flatten() {
                assert!(!seen.contains(&flag.long), "{words:?}: --{} twice", flag.long);
                seen.push(flag.long);
                let fine = flag.default.is_empty() || (flag.check)(flag.default).is_ok();
                assert!(fine, "{words:?}: --{}: bad default", flag.long);
            }
            let mut shorts: Vec<char> = command.flags.iter().copied().flatten().filter_map(|f| f.short).collect();
            let count = shorts.len();
            shorts.sort_unstable();
            shorts.dedup();
            assert_eq!(shorts.len(), count, "{words:?}: a short flag twice");
        }
    }

    #[test]
    fn counts_of_arguments_are_told_as_docker_does() {
        let message = |path: &[&str], count| {
            let paths = paths();
            let (_, command) = paths.iter().find(|(words, _)| words == path).unwrap();
            check_arguments(command, &format!("gantry {}", path.join(" ")), count).unwrap_err()
        };
        assert_eq!(message(&["run"], 0), "'gantry run' requires at least 1 argument");
        assert_eq!(message(&["ps"], 1), "'gantry ps' accepts no arguments");
        assert_eq!(message(&["exec"], 1), "'gantry exec' requires at least 2 arguments");
        assert_eq!(message(&["tag"], 1), "'gantry tag' requires 2 arguments");
        assert_eq!(message(&["volume", "create"], 2), "'gantry volume create' requires at most 1 argument");
    }
}
