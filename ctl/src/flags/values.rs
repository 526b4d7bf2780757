//! Checks of single flag values, with the wording of docker's client.

use crate::units;

type Checked = std::result::Result<(), String>;

/// Go's `strconv.ParseBool` words.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

pub(crate) fn boolean(text: &str) -> Checked {
    match parse_bool(text) {
        Some(_) => Ok(()),
        None => Err(format!("strconv.ParseBool: parsing {text:?}: invalid syntax")),
    }
}

pub(crate) fn int(text: &str) -> Checked {
    parse_int(text).map(|_| ())
}

/// A signed 64-bit number; base prefixes as in Go literals (`0x`, `0o`, `0b`) are read too.
pub(crate) fn parse_int(text: &str) -> std::result::Result<i64, String> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = match digits.get(..2) {
        Some("0x" | "0X") => (16, &digits[2..]),
        Some("0o" | "0O") => (8, &digits[2..]),
        Some("0b" | "0B") => (2, &digits[2..]),
        _ => (10, digits),
    };
    let valid = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
    if !valid {
        return Err(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"));
    }
    let signed = if negative { format!("-{digits}") } else { digits.to_owned() };
    i64::from_str_radix(&signed, radix).map_err(|_| format!("strconv.ParseInt: parsing {text:?}: value out of range"))
}

pub(crate) fn uint16(text: &str) -> Checked {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("strconv.ParseUint: parsing {text:?}: invalid syntax"));
    }
    match text.parse::<u16>() {
        Ok(_) => Ok(()),
        _ => Err(format!("strconv.ParseUint: parsing {text:?}: value out of range")),
    }
}

pub(crate) fn duration(text: &str) -> Checked {
    units::parse_duration_ns(text).map(|_| ())
}

pub(crate) fn bytes(text: &str) -> Checked {
    units::parse_bytes(text).map(|_| ())
}

/// `--memory-swap`: a size or -1.
pub(crate) fn swap_bytes(text: &str) -> Checked {
    if text == "-1" { Ok(()) } else { bytes(text) }
}

/// `--cpus`: a decimal with at most nine digits after the point.
pub(crate) fn cpus(text: &str) -> Checked {
    units::parse_nano_cpus(text).map(|_| ())
}

/// `--filter key=value`.
pub(crate) fn filter(text: &str) -> Checked {
    if text.is_empty() || text.contains('=') {
        Ok(())
    } else {
        Err("bad format of filter (expected name=value)".to_owned())
    }
}
