//! The clocks of this place: the offset of local time.

#![expect(unsafe_code, reason = "localtime_r has no safe wrapper")]

use std::mem::MaybeUninit;

/// Seconds that clocks here are east of UTC at a time (seconds since 1970), by `TZ` or `/etc/localtime`; 0 when that
/// cannot be told.
#[must_use]
pub fn utc_offset_s(unix_s: i64) -> i64 {
    let mut broken = MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: needed since the C library alone knows the zone's rules. Both pointers are to values that live on this
    // stack for the call.
    unsafe { libc::localtime_r(&raw const unix_s, broken.as_mut_ptr()) };
    // SAFETY: a `tm` of zeros is valid, so it may be read whatever the call has answered.
    unsafe { broken.assume_init() }.tm_gmtoff
}

#[cfg(test)]
mod tests {
    #[test]
    fn offsets_are_those_of_some_place_on_earth() {
        assert!((-15 * 3600..=15 * 3600).contains(&super::utc_offset_s(1_700_000_000)));
    }
}
