//! The parser: arguments as typed become [`Matches`], every value already checked.

use std::collections::BTreeMap;

use super::Flag;
use super::values::{parse_bool, parse_int};

/// The flags and arguments of one invocation.
#[derive(Debug, Default)]
pub(crate) struct Matches {
    given: BTreeMap<&'static str, Vec<String>>,
    defaults: BTreeMap<&'static str, &'static str>,
    /// What is not a flag, in order.
    pub(crate) args: Vec<String>,
    /// `--help` was asked for.
    pub(crate) help: bool,
}

impl Matches {
    /// True if the flag was typed at all.
    pub(crate) fn given(&self, flag: &str) -> bool {
        self.given.contains_key(flag)
    }

    /// A switch's position.
    pub(crate) fn on(&self, flag: &str) -> bool {
        parse_bool(self.text(flag)).unwrap_or(false)
    }

    /// The last value typed, or the default.
    pub(crate) fn text(&self, flag: &str) -> &str {
        debug_assert!(self.defaults.contains_key(flag), "no flag named {flag}");
        match self.given.get(flag).and_then(|values| values.last()) {
            Some(value) => value,
            None => self.defaults.get(flag).copied().unwrap_or_default(),
        }
    }

    /// Every value typed, in order.
    pub(crate) fn list(&self, flag: &str) -> &[String] {
        debug_assert!(self.defaults.contains_key(flag), "no flag named {flag}");
        self.given.get(flag).map_or(&[], Vec::as_slice)
    }

    /// An integer; an absent flag without default is 0.
    pub(crate) fn int(&self, flag: &str) -> i64 {
        parse_int(self.text(flag)).unwrap_or(0)
    }

    /// The text if the flag was typed and is not empty.
    pub(crate) fn optional(&self, flag: &str) -> Option<&str> {
        Some(self.text(flag)).filter(|text| !text.is_empty())
    }

    /// Takes an argument out by position; an absent one is empty.
    pub(crate) fn arg(&self, index: usize) -> &str {
        self.args.get(index).map_or("", String::as_str)
    }

    /// The same flags, with the values of some added to others: `(old name, name)`.
    pub(crate) fn with_renamed(&self, names: &[(&'static str, &'static str)]) -> Self {
        let mut given = self.given.clone();
        for (old, name) in names {
            if let Some(values) = given.remove(old) {
                given.entry(name).or_default().extend(values);
            }
        }
        Matches { given, defaults: self.defaults.clone(), args: self.args.clone(), help: self.help }
    }

    fn set(&mut self, flag: &Flag, shown: &str, value: &str) -> Result<(), String> {
        let invalid = |reason: String| format!("invalid argument {value:?} for \"{shown}\" flag: {reason}");
        let pieces: Vec<&str> = if flag.split { value.split(',').collect() } else { vec![value] };
        for piece in pieces {
            (flag.check)(piece).map_err(invalid)?;
            let values = self.given.entry(flag.long).or_default();
            if !flag.many {
                values.clear();
            }
            values.push(piece.to_owned());
        }
        Ok(())
    }
}

/// Reads `words` by `flags`. With `interspersed`, flags may follow arguments.
pub(crate) fn parse(groups: &[&'static [Flag]], words: &[String], interspersed: bool) -> Result<Matches, String> {
    let mut matches = Matches::default();
    for flag in groups.iter().copied().flatten() {
        matches.defaults.insert(flag.long, flag.default);
    }
    let find_long = |name: &str| groups.iter().copied().flatten().find(|f| f.long == name);
    let find_short = |name: char| groups.iter().copied().flatten().find(|f| f.short == Some(name));
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        if word == "--" {
            matches.args.extend(rest.by_ref().cloned());
        } else if let Some(long) = word.strip_prefix("--") {
            let (name, inline) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (long, None),
            };
            let Some(flag) = find_long(name) else {
                if name == "help" {
                    parse_help(&mut matches, inline)?;
                    continue;
                }
                return Err(format!("unknown flag: --{name}"));
            };
            let value = match inline {
                Some(value) => value,
                None if flag.is_switch() => "true",
                None => rest.next().ok_or_else(|| format!("flag needs an argument: --{name}"))?,
            };
            matches.set(flag, &shown(flag), value)?;
        } else if word.len() > 1 && word.starts_with('-') {
            parse_shorts(&mut matches, word, &find_short, &mut rest)?;
        } else {
            matches.args.push(word.clone());
            if !interspersed {
                matches.args.extend(rest.by_ref().cloned());
            }
        }
    }
    Ok(matches)
}

fn parse_help(matches: &mut Matches, value: Option<&str>) -> Result<(), String> {
    let value = value.unwrap_or("true");
    matches.help = parse_bool(value).ok_or_else(|| {
        format!("invalid argument {value:?} for \"--help\" flag: strconv.ParseBool: parsing {value:?}: invalid syntax")
    })?;
    Ok(())
}

/// `-it`, `-p80:80`, `-n=3`, `-e KEY`.
fn parse_shorts<'a>(
    matches: &mut Matches,
    word: &str,
    find: &dyn Fn(char) -> Option<&'static Flag>,
    rest: &mut impl Iterator<Item = &'a String>,
) -> Result<(), String> {
    let mut letters = &word[1..];
    while let Some(letter) = letters.chars().next() {
        let left = letters;
        letters = &letters[letter.len_utf8()..];
        let Some(flag) = find(letter) else {
            if letter == 'h' {
                matches.help = true;
                continue;
            }
            return Err(format!("unknown shorthand flag: {letter:?} in -{left}"));
        };
        let value = if let Some(inline) = letters.strip_prefix('=') {
            inline
        } else if flag.is_switch() {
            matches.set(flag, &shown(flag), "true")?;
            continue;
        } else if !letters.is_empty() {
            letters
        } else {
            rest.next().ok_or_else(|| format!("flag needs an argument: {letter:?} in -{left}"))?
        };
        return matches.set(flag, &shown(flag), value);
    }
    Ok(())
}

/// How messages name the flag: `-m, --memory`.
fn shown(flag: &Flag) -> String {
    match flag.short {
        Some(short) => format!("-{short}, --{}", flag.long),
        None => format!("--{}", flag.long),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: &[Flag] = &[
        Flag::switch("all", "").short('a'),
        Flag::switch_on("sig-proxy", ""),
        Flag::list("publish", "").short('p'),
        Flag::int("last", "").short('n').default("-1"),
        Flag::strings("subnet", ""),
    ];

    fn read(words: &[&str], interspersed: bool) -> Result<Matches, String> {
        let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
        parse(&[FLAGS], &words, interspersed)
    }

    #[test]
    fn flags_are_read_in_every_spelling() {
        let m = read(&["-ap80:80", "-p", "1:2", "--publish=3", "-n=4", "x", "--sig-proxy=false", "--subnet=a,b"], true)
            .unwrap();
        assert!(m.on("all") && !m.on("sig-proxy"));
        assert_eq!(m.list("publish"), ["80:80", "1:2", "3"]);
        assert_eq!(m.list("subnet"), ["a", "b"]);
        assert_eq!((m.int("last"), m.args.as_slice()), (4, &["x".to_owned()][..]));
    }

    #[test]
    fn the_command_of_the_container_keeps_its_flags() {
        let m = read(&["-a", "image", "ls", "-n", "--", "-a"], false).unwrap();
        assert_eq!(m.args, ["image", "ls", "-n", "--", "-a"]);
        let m = read(&["--", "-a", "--x"], true).unwrap();
        assert_eq!(m.args, ["-a", "--x"]);
        assert!(!m.on("all"));
    }

    #[test]
    fn messages_are_those_of_docker() {
        let cases: &[(&[&str], &str)] = &[
            (&["--foo"], "unknown flag: --foo"),
            (&["-ax"], "unknown shorthand flag: 'x' in -x"),
            (&["-n"], "flag needs an argument: 'n' in -n"),
            (&["--last"], "flag needs an argument: --last"),
            (
                &["-n", "x"],
                "invalid argument \"x\" for \"-n, --last\" flag: strconv.ParseInt: parsing \"x\": invalid syntax",
            ),
            (
                &["--all=zz"],
                "invalid argument \"zz\" for \"-a, --all\" flag: strconv.ParseBool: parsing \"zz\": invalid syntax",
            ),
        ];
        for (words, message) in cases {
            assert_eq!(read(words, true).unwrap_err(), *message);
        }
    }
}
