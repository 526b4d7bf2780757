//! Timestamps without a calendar crate: RFC 3339 in UTC with nanoseconds, both ways.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost_types::Timestamp;

/// Length of what [`write_rfc3339`] writes: `2006-01-02T15:04:05.999999999Z`.
pub const RFC3339_LEN: usize = 30;

/// The time now, as nanoseconds since 1970-01-01 UTC.
#[must_use]
pub fn now_unix_ns() -> i64 {
    unix_ns(SystemTime::now())
}

/// Nanoseconds since 1970-01-01 UTC; times before it count as 0, times after the year 2262 as the largest value.
#[must_use]
pub fn unix_ns(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// The protocol's timestamp of `unix_ns`.
#[must_use]
pub fn timestamp(unix_ns: i64) -> Timestamp {
    let nanos = i32::try_from(unix_ns.rem_euclid(1_000_000_000)).unwrap_or(0);
    Timestamp { seconds: unix_ns.div_euclid(1_000_000_000), nanos }
}

/// The inverse of [`timestamp`]; saturates.
#[must_use]
pub fn from_timestamp(timestamp: &Timestamp) -> i64 {
    timestamp.seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(timestamp.nanos))
}

/// Year, month and day of a number of days since 1970-01-01 (proleptic Gregorian, after H. Hinnant).
fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    (year, u32::try_from(month).unwrap_or(1), u32::try_from(day).unwrap_or(1))
}

fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let mp = (i64::from(month) + 9) % 12;
    let doy = (153 * mp + 2) / 5 + i64::from(day) - 1;
    era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468
}

fn digits(out: &mut [u8], mut value: u64) {
    for slot in out.iter_mut().rev() {
        *slot = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
    }
}

/// `unix_ns` as `2006-01-02T15:04:05.999999999Z`: always nine digits, so that lines sort and the length is fixed.
#[must_use]
pub fn write_rfc3339(unix_ns: i64) -> [u8; RFC3339_LEN] {
    let unix_ns = unix_ns.max(0);
    let (days, day_ns) = (unix_ns.div_euclid(86_400_000_000_000), unix_ns.rem_euclid(86_400_000_000_000));
    let (year, month, day) = civil_from_days(days);
    let ns = u64::try_from(day_ns).unwrap_or(0);
    let seconds = ns / 1_000_000_000;
    let mut out = *b"0000-00-00T00:00:00.000000000Z";
    digits(&mut out[0..4], u64::try_from(year).unwrap_or(0));
    digits(&mut out[5..7], u64::from(month));
    digits(&mut out[8..10], u64::from(day));
    digits(&mut out[11..13], seconds / 3_600);
    digits(&mut out[14..16], seconds / 60 % 60);
    digits(&mut out[17..19], seconds % 60);
    digits(&mut out[20..29], ns % 1_000_000_000);
    out
}

/// `unix_ns` as text, see [`write_rfc3339`].
#[must_use]
pub fn rfc3339(unix_ns: i64) -> String {
    write_rfc3339(unix_ns).iter().map(|byte| char::from(*byte)).collect()
}

/// `unix_ns` as BSD syslog writes it, `Jan  2 15:04:05`, on clocks `offset_s` seconds east of UTC.
#[must_use]
pub fn stamp(unix_ns: i64, offset_s: i64) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let local_s = unix_ns.max(0).div_euclid(1_000_000_000) + offset_s;
    let (_year, month, day) = civil_from_days(local_s.div_euclid(86_400));
    let month = MONTHS[usize::try_from(month.saturating_sub(1)).unwrap_or(0) % 12];
    let second = local_s.rem_euclid(86_400);
    format!("{month} {day:2} {:02}:{:02}:{:02}", second / 3_600, second / 60 % 60, second % 60)
}

/// `unix_ns` as RFC 3339 with the offset of clocks `offset_s` seconds east of UTC, and so many digits of the second's
/// fraction (9 at most).
#[must_use]
pub fn rfc3339_local(unix_ns: i64, offset_s: i64, digits: usize) -> String {
    let shifted = rfc3339(unix_ns.max(0).saturating_add(offset_s.saturating_mul(1_000_000_000)));
    let kept = if digits == 0 { 19 } else { 20 + digits.min(9) };
    let text = shifted.get(..kept).unwrap_or(&shifted);
    if offset_s == 0 {
        return format!("{text}Z");
    }
    let sign = if offset_s < 0 { '-' } else { '+' };
    let minutes = offset_s.unsigned_abs() / 60;
    format!("{text}{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}

fn number(text: &[u8]) -> Option<i64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Reads any RFC 3339 time (with `Z` or an offset, 0 to 9 digits of fraction) as nanoseconds since 1970.
#[must_use]
pub fn parse_rfc3339(text: &[u8]) -> Option<i64> {
    if text.len() < 20 || text.len() > 64 {
        return None;
    }
    let separators = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
    if separators.iter().any(|(at, byte)| text[*at] != *byte) || !matches!(text[10], b'T' | b't' | b' ') {
        return None;
    }
    let year = number(&text[0..4])?;
    let month = u32::try_from(number(&text[5..7])?).ok()?;
    let day = u32::try_from(number(&text[8..10])?).ok()?;
    let (hour, minute, second) = (number(&text[11..13])?, number(&text[14..16])?, number(&text[17..19])?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut at = 19;
    let mut fraction_ns = 0_i64;
    if text[at] == b'.' {
        let end = (at + 1..text.len()).find(|i| !text[*i].is_ascii_digit()).unwrap_or(text.len());
        let shown = &text[at + 1..end];
        let kept = &shown[..shown.len().min(9)];
        let scale = u32::try_from(9 - kept.len()).ok()?;
        fraction_ns = number(kept)? * 10_i64.pow(scale);
        at = end;
    }
    let offset_s = parse_offset(&text[at..])?;
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - offset_s;
    seconds.checked_mul(1_000_000_000)?.checked_add(fraction_ns)
}

/// Seconds east of UTC of `Z` or `+hh:mm`.
fn parse_offset(text: &[u8]) -> Option<i64> {
    match text {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let seconds = number(&[*h1, *h2])? * 3_600 + number(&[*m1, *m2])? * 60;
            Some(if *sign == b'-' { -seconds } else { seconds })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_times_are_written() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(rfc3339(1_709_210_096_123_456_789), "2024-02-29T12:34:56.123456789Z");
    }

    #[test]
    fn times_are_written_on_local_clocks() {
        let ns = 1_709_251_199_123_456_789;
        assert_eq!(rfc3339(ns), "2024-02-29T23:59:59.123456789Z");
        assert_eq!(stamp(ns, 0), "Feb 29 23:59:59");
        assert_eq!(stamp(ns, 3_600), "Mar  1 00:59:59");
        assert_eq!(rfc3339_local(ns, 0, 0), "2024-02-29T23:59:59Z");
        assert_eq!(rfc3339_local(ns, -19_800, 6), "2024-02-29T18:29:59.123456-05:30");
        assert_eq!(parse_rfc3339(rfc3339_local(ns, 7_200, 9).as_bytes()), Some(ns));
    }

    #[test]
    fn offsets_and_short_fractions_are_read() {
        let utc = parse_rfc3339(b"2024-02-29T12:34:56.5Z");
        assert_eq!(utc, Some(1_709_210_096_500_000_000));
        assert_eq!(parse_rfc3339(b"2024-02-29T14:34:56.500+02:00"), utc);
        assert_eq!(parse_rfc3339(b"2024-02-29T12:34:56"), None);
        assert_eq!(parse_rfc3339(b"2024-13-29T12:34:56Z"), None);
    }

    #[test]
    fn writing_and_reading_agree() {
        for ns in (0..4_000_000_000_000_000_000_i64).step_by(7_919_777_777_777_777) {
            assert_eq!(parse_rfc3339(&write_rfc3339(ns)), Some(ns));
        }
    }
}
