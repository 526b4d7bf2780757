//! Moments as users type them (`42m`, `2024-01-02T03:04`, seconds) and as tables show them.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::tz::TimeZone;
use jiff::{Timestamp, civil};

use crate::units;

/// Seconds since 1970 now.
pub(crate) fn now_seconds() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX))
}

/// Now as the daemon reads it, to the nanosecond.
pub(crate) fn now_exact() -> String {
    let now = Timestamp::now();
    format!("{}.{:09}", now.as_second(), now.subsec_nanosecond())
}

/// The `since`/`until` value for the daemon: relative durations and dates become `seconds[.nanos]`.
pub(crate) fn to_query(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    if text != "0"
        && let Ok(ns) = units::parse_duration_ns(text)
    {
        return Ok((now_seconds() - ns.div_euclid(1_000_000_000)).to_string());
    }
    if let Some(moment) = parse_date(text) {
        return Ok(format!("{}.{:09}", moment.as_second(), moment.subsec_nanosecond()));
    }
    let (seconds, nanos) = text.split_once('.').unwrap_or((text, "0"));
    let number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if number(seconds) && number(nanos) {
        Ok(text.to_owned())
    } else {
        Err(format!("failed to parse value as time or duration: {text:?}"))
    }
}

/// RFC 3339 and its shorter forms; without a zone the local one is meant.
fn parse_date(text: &str) -> Option<Timestamp> {
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Some(moment);
    }
    let (date, zone) = match text.strip_suffix(['Z', 'z']) {
        Some(date) => (date, TimeZone::UTC),
        None => (text, TimeZone::system()),
    };
    let full = match date.split_once('T') {
        Some((_, clock)) if !clock.contains(':') => format!("{date}:00:00"),
        Some((_, clock)) if clock.matches(':').count() == 1 => format!("{date}:00"),
        Some(_) => date.to_owned(),
        None => format!("{date}T00:00:00"),
    };
    let moment: civil::DateTime = full.parse().ok()?;
    moment.to_zoned(zone).ok().map(|zoned| zoned.timestamp())
}

/// The moment of an RFC 3339 text in seconds since 1970; absent and Go's zero time give `None`.
pub(crate) fn seconds_of(text: &str) -> Option<i64> {
    let seconds = text.parse::<Timestamp>().ok()?.as_second();
    (!text.starts_with("0001-")).then_some(seconds)
}

/// How tables print a moment with `--no-trunc`: `2024-01-02 03:04:05 +0000 UTC`.
pub(crate) fn absolute(seconds: i64) -> String {
    render(seconds, "%Y-%m-%d %H:%M:%S %z %Z")
}

/// RFC 3339 in the local zone, without a fraction.
pub(crate) fn rfc3339(seconds: i64) -> String {
    let text = render(seconds, "%Y-%m-%dT%H:%M:%S%:z");
    text.strip_suffix("+00:00").map_or(text.clone(), |utc| format!("{utc}Z"))
}

/// RFC 3339 in the local zone with nine digits of fraction, as `events` prints.
pub(crate) fn rfc3339_nano(nanos: i64) -> String {
    Timestamp::from_nanosecond(i128::from(nanos)).map_or_else(
        |_| nanos.to_string(),
        |moment| {
            let zoned = moment.to_zoned(TimeZone::system());
            let text = zoned.strftime("%Y-%m-%dT%H:%M:%S.%9f%:z").to_string();
            text.strip_suffix("+00:00").map_or(text.clone(), |utc| format!("{utc}Z"))
        },
    )
}

fn render(seconds: i64, format: &str) -> String {
    Timestamp::from_second(seconds)
        .map_or_else(|_| seconds.to_string(), |moment| moment.to_zoned(TimeZone::system()).strftime(format).to_string())
}

/// `5 minutes ago`.
pub(crate) fn ago(seconds: i64) -> String {
    format!("{} ago", units::human_duration(now_seconds() - seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_become_seconds() {
        assert_eq!(to_query("2013-01-02T13:23:37Z").unwrap(), "1357133017.000000000");
        assert_eq!(to_query("2013-01-02T13:23:37.5+01:00").unwrap(), "1357129417.500000000");
        assert_eq!(to_query("2013-01-02T13Z").unwrap(), "1357131600.000000000");
        assert_eq!(to_query("1357133017").unwrap(), "1357133017");
        assert_eq!(to_query("0").unwrap(), "0");
        let relative: i64 = to_query("1h").unwrap().parse().unwrap();
        assert!((now_seconds() - 3600 - relative).abs() <= 1);
        assert_eq!(to_query("zz").unwrap_err(), "failed to parse value as time or duration: \"zz\"");
    }

    #[test]
    fn the_zero_time_is_no_time() {
        assert_eq!(seconds_of("0001-01-01T00:00:00Z"), None);
        assert_eq!(seconds_of("1970-01-01T00:00:05.25Z"), Some(5));
    }
}
