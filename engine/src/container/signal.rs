//! PURE. Signals by name or number.

use crate::error::{Error, Result};

const NAMES: [(&str, u32); 34] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
];
/// SIGRTMIN as programs see it.
const RT_MIN: u32 = 34;
/// SIGRTMAX.
const RT_MAX: u32 = 64;
/// Signals above SIGRTMIN that are named after it; the others are named after SIGRTMAX.
const RT_MIN_NAMED: u32 = 15;

/// SIGHUP.
pub(crate) const HANGUP: u32 = 1;
/// SIGKILL.
pub(crate) const KILL: u32 = 9;
/// SIGTERM.
pub(crate) const TERM: u32 = 15;

/// `SIGTERM`, `term`, `15`, `SIGRTMIN+3`.
///
/// # Errors
/// `InvalidArgument` in docker's words.
pub fn parse(text: &str) -> Result<u32> {
    let wrong = || Error::invalid(format!("invalid signal: {text}"));
    if let Ok(number) = text.parse::<u32>() {
        return if (1..=RT_MAX).contains(&number) { Ok(number) } else { Err(wrong()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
        return Ok(*number);
    }
    let offset = |rest: &str, sign: char| match rest.strip_prefix(sign) {
        Some(digits) => digits.parse::<u32>().ok(),
        None if rest.is_empty() => Some(0),
        None => None,
    };
    let real_time = if let Some(rest) = name.strip_prefix("RTMIN") {
        offset(rest, '+').and_then(|n| RT_MIN.checked_add(n))
    } else if let Some(rest) = name.strip_prefix("RTMAX") {
        offset(rest, '-').and_then(|n| RT_MAX.checked_sub(n))
    } else {
        None
    };
    real_time.filter(|number| (RT_MIN..=RT_MAX).contains(number)).ok_or_else(wrong)
}

/// The name of a number that [`parse`] answers: `SIGTERM`, `SIGRTMIN+3`, `SIGRTMAX-14`.
pub fn name(number: u32) -> String {
    if let Some((name, _)) = NAMES.iter().find(|(_, known)| *known == number) {
        return format!("SIG{name}");
    }
    match (number.saturating_sub(RT_MIN), RT_MAX.saturating_sub(number)) {
        // The C library keeps 32 and 33 for itself, without names.
        _ if number < RT_MIN => number.to_string(),
        (0, _) => "SIGRTMIN".to_owned(),
        (_, 0) => "SIGRTMAX".to_owned(),
        (above, _) if above <= RT_MIN_NAMED => format!("SIGRTMIN+{above}"),
        (_, below) => format!("SIGRTMAX-{below}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_read_as_docker_does() {
        for (text, number) in
            [("SIGTERM", 15), ("term", 15), ("9", 9), ("RTMIN", 34), ("SIGRTMIN+3", 37), ("RTMAX-1", 63), ("64", 64)]
        {
            assert_eq!(parse(text).unwrap(), number, "{text}");
        }
        for number in 1..=64 {
            assert_eq!(parse(&name(number)).unwrap(), number);
        }
        assert_eq!((name(15), name(37), name(50)), ("SIGTERM".into(), "SIGRTMIN+3".into(), "SIGRTMAX-14".into()));
        for wrong in ["", "0", "65", "SIG", "NOPE", "RTMIN+99", "RTMAX+1", "-1"] {
            assert!(parse(wrong).unwrap_err().to_string().starts_with("invalid signal"), "{wrong:?}");
        }
    }
}
