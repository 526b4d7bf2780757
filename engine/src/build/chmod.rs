//! PURE. `--chmod`: octal modes, and symbolic ones as chmod(1) takes them.

use crate::error::{Error, Result};

/// A change of permissions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Chmod {
    /// These bits.
    Octal(u32),
    /// Clauses, one after the other: who, operator, permissions.
    Symbolic(Vec<(u32, char, Vec<char>)>),
}

impl Chmod {
    /// Reads `0755` or `u=rwX,go-w`.
    ///
    /// # Errors
    /// `InvalidArgument` for anything else.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let wrong = || {
            Error::invalid(format!(
                "invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777"
            ))
        };
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            let mode = u32::from_str_radix(text, 8).map_err(|_| wrong())?;
            return if mode <= 0o7777 { Ok(Self::Octal(mode)) } else { Err(wrong()) };
        }
        let clauses = text.split(',').map(|clause| clause_of(clause).ok_or_else(wrong));
        Ok(Self::Symbolic(clauses.collect::<Result<Vec<_>>>()?.concat()))
    }

    /// The permissions of a file whose mode was `mode` (with its type).
    pub(super) fn apply(&self, mode: u32) -> u32 {
        let clauses = match self {
            Self::Octal(bits) => return *bits,
            Self::Symbolic(clauses) => clauses,
        };
        let is_dir = mode & 0o170_000 == 0o040_000;
        clauses.iter().fold(mode & 0o7777, |mode, (who, operator, letters)| {
            let bits = letters.iter().fold(0, |bits, letter| bits | permission(*letter, *who, mode, is_dir));
            match operator {
                '+' => mode | bits,
                '-' => mode & !bits,
                _ => (mode & !who & !special(*who)) | bits,
            }
        })
    }
}

fn clause_of(clause: &str) -> Option<Vec<(u32, char, Vec<char>)>> {
    let at = clause.find(['+', '-', '='])?;
    let mut who = 0;
    for letter in clause[..at].chars() {
        who |= match letter {
            'u' => 0o700,
            'g' => 0o070,
            'o' => 0o007,
            'a' => 0o777,
            _ => return None,
        };
    }
    let who = if who == 0 { 0o777 } else { who };
    let mut actions = Vec::new();
    for letter in clause[at..].chars() {
        match letter {
            '+' | '-' | '=' => actions.push((who, letter, Vec::new())),
            'r' | 'w' | 'x' | 'X' | 's' | 't' | 'u' | 'g' | 'o' => actions.last_mut()?.2.push(letter),
            _ => return None,
        }
    }
    Some(actions)
}

/// The bits beyond 0777 that belong to those users.
fn special(who: u32) -> u32 {
    (if who & 0o700 != 0 { 0o4000 } else { 0 }) | (if who & 0o070 != 0 { 0o2000 } else { 0 })
}

fn permission(letter: char, who: u32, mode: u32, is_dir: bool) -> u32 {
    let copied = |shift: u32| ((mode >> shift) & 7) * 0o111;
    match letter {
        'r' => 0o444 & who,
        'w' => 0o222 & who,
        'x' => 0o111 & who,
        'X' if is_dir || mode & 0o111 != 0 => 0o111 & who,
        's' => special(who),
        't' => 0o1000,
        'u' => copied(6) & who,
        'g' => copied(3) & who,
        'o' => copied(0) & who,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_changed_as_chmod_does() {
        let file = |text: &str, mode: u32| Chmod::parse(text).unwrap().apply(0o100_000 | mode);
        assert_eq!(file("755", 0o600), 0o755);
        assert_eq!(file("u=rwX,go=rX", 0o600), 0o644);
        assert_eq!(file("a+X", 0o744), 0o755);
        assert_eq!(file("go-w,+x", 0o666), 0o755);
        assert_eq!(file("g=u", 0o640), 0o660);
        assert_eq!(file("u+s,+t", 0o755), 0o5755);
        assert_eq!(Chmod::parse("a+X").unwrap().apply(0o040_644), 0o755, "a directory");
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "999", "10000", "u", "z+x", "u+q"] {
            assert!(Chmod::parse(text).is_err(), "{text}");
        }
    }
}
