//! Command-line flags as data: one table per command drives the parser, the help and the completions.
//!
//! The rules are those of docker's client (POSIX/GNU as its flag library reads them): `-it`, `-p80:80`,
//! `--name=x`, `--name x`, `--rm=false`, `--` ends the flags; `run` and `exec` stop at the first argument.

mod help;
mod parse;
pub(crate) mod values;

pub(crate) use help::{render_command, render_flags, usage_line};
pub(crate) use parse::{Matches, parse};

/// Judges the text of one value; the error is the reason shown to the user.
pub(crate) type Check = fn(&str) -> std::result::Result<(), String>;

/// One flag of a command.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flag {
    pub(crate) long: &'static str,
    pub(crate) short: Option<char>,
    /// The name of the value's type in the help; empty for a switch.
    pub(crate) value: &'static str,
    pub(crate) default: &'static str,
    pub(crate) help: &'static str,
    pub(crate) check: Check,
    /// Several values may be given; each occurrence adds.
    pub(crate) many: bool,
    /// A value is a comma separated list (docker's `strings`).
    pub(crate) split: bool,
    /// A true default is shown in the help although the flag is a switch.
    pub(crate) hidden: bool,
}

fn accept(_: &str) -> std::result::Result<(), String> {
    Ok(())
}

impl Flag {
    const fn new(long: &'static str, value: &'static str, help: &'static str) -> Self {
        Flag { long, short: None, value, default: "", help, check: accept, many: false, split: false, hidden: false }
    }

    /// `--name` or `--name=false`.
    pub(crate) const fn switch(long: &'static str, help: &'static str) -> Self {
        let mut flag = Flag::new(long, "", help);
        flag.default = "false";
        flag.check = values::boolean;
        flag
    }

    /// A switch that is on unless it is turned off.
    pub(crate) const fn switch_on(long: &'static str, help: &'static str) -> Self {
        let mut flag = Flag::switch(long, help);
        flag.default = "true";
        flag
    }

    pub(crate) const fn text(long: &'static str, help: &'static str) -> Self {
        Flag::new(long, "string", help)
    }

    pub(crate) const fn int(long: &'static str, help: &'static str) -> Self {
        let mut flag = Flag::new(long, "int", help);
        flag.check = values::int;
        flag
    }

    pub(crate) const fn duration(long: &'static str, help: &'static str) -> Self {
        let mut flag = Flag::new(long, "duration", help);
        flag.check = values::duration;
        flag
    }

    /// A size such as `512m`.
    pub(crate) const fn bytes(long: &'static str, help: &'static str) -> Self {
        let mut flag = Flag::new(long, "bytes", help);
        flag.check = values::bytes;
        flag
    }

    pub(crate) const fn list(long: &'static str, help: &'static str) -> Self {
        let mut flag = Flag::new(long, "list", help);
        flag.many = true;
        flag
    }

    /// Repeatable, and each value is itself split at commas.
    pub(crate) const fn strings(long: &'static str, help: &'static str) -> Self {
        let mut flag = Flag::new(long, "strings", help);
        flag.many = true;
        flag.split = true;
        flag
    }

    /// `key=value`, several after commas, as docker shows such a flag.
    pub(crate) const fn new_map(long: &'static str, help: &'static str) -> Self {
        let mut flag = Flag::list(long, help);
        flag.value = "stringToString";
        flag.default = "";
        flag
    }

    /// `key=value`, repeatable.
    pub(crate) const fn map(long: &'static str, help: &'static str) -> Self {
        let mut flag = Flag::list(long, help);
        flag.value = "map";
        flag
    }

    pub(crate) const fn short(mut self, short: char) -> Self {
        self.short = Some(short);
        self
    }

    pub(crate) const fn default(mut self, value: &'static str) -> Self {
        self.default = value;
        self
    }

    pub(crate) const fn check(mut self, check: Check) -> Self {
        self.check = check;
        self
    }

    /// Names the value's type in the help.
    pub(crate) const fn named(mut self, value: &'static str) -> Self {
        self.value = value;
        self
    }

    /// Accepted, but not shown in the help.
    pub(crate) const fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }

    pub(crate) const fn is_switch(&self) -> bool {
        self.value.is_empty()
    }
}

/// The `--format` flag of commands that print a table.
pub(crate) const FORMAT_TABLE: Flag = Flag::text(
    "format",
    "Format output using a custom template:\n\
     'table':            Print output in table format with column headers (default)\n\
     'table TEMPLATE':   Print output in table format using the given Go template\n\
     'json':             Print in JSON format\n\
     'TEMPLATE':         Print output using the given Go template.",
);

/// The `--format` flag of commands that print one object.
pub(crate) const FORMAT_OBJECT: Flag = Flag::text(
    "format",
    "Format output using a custom template:\n\
     'json':             Print in JSON format\n\
     'TEMPLATE':         Print output using the given Go template.",
);

/// The `--filter` flag of lists.
pub(crate) const FILTER: Flag =
    Flag::list("filter", "Filter output based on conditions provided").named("filter").check(values::filter);

/// The `--force` flag of commands that change a container.
pub(crate) const FORCE: Flag =
    Flag::switch("force", "Change it although it belongs to a pod, whose kubelet may undo that");
