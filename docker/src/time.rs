//! PURE. Times as the API writes and reads them.

use jiff::Timestamp;

use crate::status_code::Failure;

/// Go's zero time, printed for what has not happened.
pub(crate) const ZERO: &str = "0001-01-01T00:00:00Z";

/// RFC 3339 with as many digits of nanoseconds as needed; 0 is Go's zero time.
pub(crate) fn rfc3339(time_ns: i64) -> String {
    if time_ns == 0 {
        return ZERO.to_owned();
    }
    Timestamp::from_nanosecond(time_ns.into()).map_or_else(|_| ZERO.to_owned(), |time| time.to_string())
}

/// RFC 3339 with all nine digits, as log lines carry it.
pub(crate) fn rfc3339_nine(time_ns: i64) -> String {
    Timestamp::from_nanosecond(time_ns.into()).map_or_else(|_| ZERO.to_owned(), |time| format!("{time:.9}"))
}

/// Nanoseconds since 1970 of now.
pub(crate) fn now_ns() -> i64 {
    i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}

/// The Date header's form: `Tue, 14 Nov 2023 22:13:20 GMT`.
pub(crate) fn http_date() -> String {
    Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// `since` and `until`: seconds since 1970 with a fraction, RFC 3339, or a duration before now (`10m`).
///
/// # Errors
/// 400 naming the key.
pub(crate) fn parse(key: &str, text: &str, now_ns: i64) -> Result<Option<i64>, Failure> {
    if text.is_empty() {
        return Ok(None);
    }
    let parsed = seconds(text).or_else(|| {
        let time: Timestamp = text.parse().ok()?;
        i64::try_from(time.as_nanosecond()).ok()
    });
    let parsed = parsed.or_else(|| now_ns.checked_sub(duration(text)?));
    parsed.map(Some).ok_or_else(|| Failure::bad_request(format!("invalid value for {key}: {text:?} is not a time")))
}

/// `1700000000`, `1700000000.5`.
fn seconds(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole: i64 = whole.parse().ok()?;
    if fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nanos: i64 = format!("{fraction:0<9}").parse().ok()?;
    whole.checked_mul(1_000_000_000)?.checked_add(nanos)
}

/// Go durations such as `1h30m`, `1.5s`, `250ms`.
fn duration(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut total = 0.0_f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').filter(|at| *at > 0)?;
        let (number, tail) = rest.split_at(digits);
        let unit = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let factor = match unit {
            "h" => 3_600e9,
            "m" => 60e9,
            "s" => 1e9,
            "ms" => 1e6,
            "us" | "µs" => 1e3,
            "ns" => 1.0,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * factor;
        rest = tail;
    }
    (!text.is_empty() && total < 9e18).then_some(total as i64)
}

/// `2 minutes`, as docker's `units.HumanDuration`.
pub(crate) fn human(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match () {
        () if seconds < 1 => "Less than a second".to_owned(),
        () if seconds == 1 => "1 second".to_owned(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".to_owned(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".to_owned(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_printed_as_go_prints_them() {
        assert_eq!(rfc3339(0), ZERO);
        assert_eq!(rfc3339(1_700_000_000_123_456_789), "2023-11-14T22:13:20.123456789Z");
        assert_eq!(rfc3339(1_700_000_000_000_000_000), "2023-11-14T22:13:20Z");
        assert_eq!(rfc3339(1_700_000_000_120_000_000), "2023-11-14T22:13:20.12Z");
        assert_eq!(rfc3339_nine(1_700_000_000_120_000_000), "2023-11-14T22:13:20.120000000Z");
    }

    #[test]
    fn times_are_read_in_three_forms() {
        let now = 1_700_000_000_000_000_000;
        let read = |text: &str| parse("since", text, now).unwrap().unwrap();
        assert_eq!(read("1700000000"), now);
        assert_eq!(read("1700000000.000000005"), now + 5);
        assert_eq!(read("2023-11-14T22:13:20Z"), now);
        assert_eq!(read("1m30s"), now - 90_000_000_000);
        assert_eq!(read("0"), 0);
        assert!(parse("since", "", now).unwrap().is_none());
        assert!(parse("since", "yesterday", now).is_err());
    }

    #[test]
    fn durations_are_told_as_docker_tells_them() {
        let told: Vec<String> = [0, 1, 59, 60, 119, 120, 3599, 3600, 7200, 180_000, 1_300_000].map(human).to_vec();
        let wanted = [
            "Less than a second",
            "1 second",
            "59 seconds",
            "About a minute",
            "About a minute",
            "2 minutes",
            "59 minutes",
            "About an hour",
            "2 hours",
            "2 days",
            "2 weeks",
        ];
        assert_eq!(told, wanted);
    }
}
