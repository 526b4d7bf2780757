//! Sizes, durations and processor shares as docker reads and prints them.

const DECIMAL: [&str; 9] = ["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];
const BINARY: [&str; 9] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"];

/// Decimal size with `digits` significant digits: `4.17MB`.
pub(crate) fn human_size(bytes: f64, digits: usize) -> String {
    scaled(bytes, 1000.0, &DECIMAL, digits)
}

/// Binary size with four significant digits: `1.332MiB`.
pub(crate) fn binary_size(bytes: f64) -> String {
    scaled(bytes, 1024.0, &BINARY, 4)
}

fn scaled(mut value: f64, base: f64, names: &[&str], digits: usize) -> String {
    let mut name = 0;
    while value >= base && name < names.len() - 1 {
        value /= base;
        name += 1;
    }
    format!("{}{}", format_g(value, digits), names[name])
}

/// C's `%.*g`: `digits` significant digits, trailing zeros dropped, an exponent where shorter.
pub(crate) fn format_g(value: f64, digits: usize) -> String {
    if value == 0.0 || !value.is_finite() {
        return if value == 0.0 { "0".to_owned() } else { format!("{value}") };
    }
    let digits = digits.max(1);
    let scientific = format!("{value:.*e}", digits - 1);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let limit = i32::try_from(digits).unwrap_or(i32::MAX);
    if exponent < -4 || exponent >= limit {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trim_zeros(mantissa), exponent.abs());
    }
    let decimals = usize::try_from(limit - 1 - exponent).unwrap_or(0);
    trim_zeros(&format!("{value:.decimals$}")).to_owned()
}

fn trim_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

/// A size such as `512m`, `1.5GiB` or `100`, in bytes; units are binary.
pub(crate) fn parse_bytes(text: &str) -> Result<i64, String> {
    let end = text
        .rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ')
        .ok_or_else(|| format!("invalid size: '{text}'"))?;
    let number = if text.as_bytes()[end] == b' ' { &text[..end] } else { &text[..=end] };
    let suffix = text[end + 1..].to_ascii_lowercase();
    let plain = number.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+' | b'e' | b'E'));
    let size: f64 = number
        .parse()
        .ok()
        .filter(|_| plain)
        .ok_or_else(|| format!("strconv.ParseFloat: parsing {number:?}: invalid syntax"))?;
    if size < 0.0 {
        return Err(format!("invalid size: '{text}'"));
    }
    let bad = || format!("invalid suffix: '{suffix}'");
    let power = match suffix.as_bytes().first() {
        None => 0,
        Some(b'b') if suffix.len() == 1 => 0,
        Some(b'k') => 1,
        Some(b'm') => 2,
        Some(b'g') => 3,
        Some(b't') => 4,
        Some(b'p') => 5,
        Some(_) => return Err(bad()),
    };
    let tail = suffix.get(1..).unwrap_or("");
    if !matches!(tail, "" | "b" | "ib") {
        return Err(bad());
    }
    let bytes = size * 1024f64.powi(power);
    if bytes >= 9.2e18 {
        return Err(format!("invalid size: '{text}'"));
    }
    #[expect(clippy::cast_possible_truncation, reason = "checked to be within the range just above")]
    let bytes = bytes as i64;
    Ok(bytes)
}

/// Go's duration syntax (`1h2m3.5s`, `300ms`) in nanoseconds.
pub(crate) fn parse_duration_ns(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0f64;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..end].parse().map_err(|_| invalid())?;
        rest = &rest[end..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "" => return Err(format!("time: missing unit in duration {text:?}")),
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            other => return Err(format!("time: unknown unit {other:?} in duration {text:?}")),
        };
        total += number * unit;
        rest = &rest[end..];
    }
    if total >= 9.2e18 {
        return Err(invalid());
    }
    #[expect(clippy::cast_possible_truncation, reason = "checked to be within the range just above")]
    let total = total.round() as i64;
    Ok(if negative { -total } else { total })
}

/// A duration as Go prints it: `1m30s`, `1.5s`, `300ms`, `0s`.
pub(crate) fn go_duration(ns: i64) -> String {
    let fraction = |value: u64, unit: u64| {
        let text = format!("{}.{:0width$}", value / unit, value % unit, width = unit.to_string().len() - 1);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    let (sign, total) = (if ns < 0 { "-" } else { "" }, ns.unsigned_abs());
    let text = match total {
        0 => "0s".to_owned(),
        1..1_000 => format!("{total}ns"),
        1_000..1_000_000 => format!("{}µs", fraction(total, 1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", fraction(total, 1_000_000)),
        _ => {
            let minutes = total / 60_000_000_000;
            let seconds = fraction(total % 60_000_000_000, 1_000_000_000);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{seconds}s"),
                (0, minutes) => format!("{minutes}m{seconds}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    };
    format!("{sign}{text}")
}

/// `About a minute`, `3 hours`, `2 weeks`.
pub(crate) fn human_duration(seconds: i64) -> String {
    let minutes = seconds / 60;
    let hours = (seconds + 1800) / 3600;
    match seconds {
        ..1 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        _ if minutes == 1 => "About a minute".to_owned(),
        _ if minutes < 60 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

/// `--cpus 1.5` in billionths of a processor.
pub(crate) fn parse_nano_cpus(text: &str) -> Result<i64, String> {
    let rational = || format!("failed to parse {text} as a rational number");
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let numeric = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.len() + fraction.len() == 0 || !numeric(whole) || !numeric(fraction) {
        return Err(rational());
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > 9 {
        return Err("value is too precise".to_owned());
    }
    format!("{whole}{fraction:0<9}").parse::<i64>().map(|nano| sign * nano).map_err(|_| rational())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_print_as_docker_prints_them() {
        let cases = [
            (0.0, "0B", "0B"),
            (999.0, "999B", "999B"),
            (1_000.0, "1kB", "1000B"),
            (4_165_000.0, "4.17MB", "3.972MiB"),
            (1_999_999.0, "2MB", "1.907MiB"),
            (999_900.0, "1e+03kB", "976.5KiB"),
            (5e9, "5GB", "4.657GiB"),
        ];
        for (bytes, decimal, binary) in cases {
            assert_eq!(human_size(bytes, 3), decimal);
            assert_eq!(binary_size(bytes), binary);
        }
    }

    #[test]
    fn sizes_are_read_with_binary_units() {
        let good = [("32", 32), ("32b", 32), ("1k", 1024), ("1.5 KiB", 1536), ("512m", 512 << 20), ("2GB", 2 << 30)];
        for (text, bytes) in good {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        let bad = [
            ("", "invalid size: ''"),
            ("zz", "invalid size: 'zz'"),
            ("12x", "invalid suffix: 'x'"),
            ("1bb", "invalid suffix: 'bb'"),
            ("1kib2", "strconv.ParseFloat: parsing \"1kib2\": invalid syntax"),
            ("-1", "invalid size: '-1'"),
        ];
        for (text, message) in bad {
            assert_eq!(parse_bytes(text).unwrap_err(), message, "{text}");
        }
    }

    #[test]
    fn durations_are_read_as_go_does() {
        let cases = [
            ("0", 0),
            ("5s", 5_000_000_000),
            ("1h0.5s", 3_600_500_000_000),
            ("1500us", 1_500_000),
            ("-2m", -120_000_000_000),
        ];
        for (text, ns) in cases {
            assert_eq!(parse_duration_ns(text), Ok(ns), "{text}");
        }
        let message = |text| parse_duration_ns(text).unwrap_err();
        assert_eq!(message("5"), "time: missing unit in duration \"5\"");
        assert_eq!(message("5x"), "time: unknown unit \"x\" in duration \"5x\"");
        assert_eq!(message("x"), "time: invalid duration \"x\"");
    }

    #[test]
    fn ages_are_told_in_words() {
        let cases = [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (3599, "59 minutes"),
            (3600, "About an hour"),
            (9000, "3 hours"),
            (86_400 * 3, "3 days"),
            (86_400 * 30, "4 weeks"),
            (86_400 * 100, "3 months"),
            (86_400 * 800, "2 years"),
        ];
        for (seconds, words) in cases {
            assert_eq!(human_duration(seconds), words);
        }
    }

    #[test]
    fn processors_are_read_exactly() {
        assert_eq!(parse_nano_cpus("1.5"), Ok(1_500_000_000));
        assert_eq!(parse_nano_cpus(".1"), Ok(100_000_000));
        assert_eq!(parse_nano_cpus("0.0000000001").unwrap_err(), "value is too precise");
        assert_eq!(parse_nano_cpus("abc").unwrap_err(), "failed to parse abc as a rational number");
    }

    proptest! {
        #[test]
        fn parsers_never_panic(text in "\\PC{0,24}") {
            let _ = parse_bytes(&text);
            let _ = parse_duration_ns(&text);
            let _ = parse_nano_cpus(&text);
        }

        #[test]
        fn whole_sizes_survive(n in 0i64..1_000_000, unit in 0u32..4) {
            let name = ["", "k", "m", "g"][unit as usize];
            prop_assert_eq!(parse_bytes(&format!("{n}{name}")), Ok(n << (10 * unit)));
        }

        #[test]
        fn whole_durations_survive(ms in -86_400_000i64..86_400_000) {
            prop_assert_eq!(parse_duration_ns(&format!("{ms}ms")), Ok(ms * 1_000_000));
        }

        #[test]
        fn cpus_survive(nano in 0i64..256_000_000_000) {
            let text = format!("{}.{:09}", nano / 1_000_000_000, nano % 1_000_000_000);
            prop_assert_eq!(parse_nano_cpus(&text), Ok(nano));
        }
    }

    #[test]
    fn durations_are_printed_as_go_does() {
        for (text, shown) in [
            ("0", "0s"),
            ("30s", "30s"),
            ("90s", "1m30s"),
            ("1h", "1h0m0s"),
            ("1.5s", "1.5s"),
            ("300ms", "300ms"),
            ("1500us", "1.5ms"),
            ("1500ns", "1.5µs"),
            ("-2m", "-2m0s"),
        ] {
            assert_eq!(go_duration(parse_duration_ns(text).unwrap()), shown);
        }
    }
}
