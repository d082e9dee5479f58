//! Times as DOS stored them: local dates and times in 16 bits each.
//!
//! | bits | date | time |
//! |---|---|---|
//! | 0–4 | day, 1–31 | seconds / 2 |
//! | 5–8, 5–10 | month, 1–12 | minute |
//! | 9–15, 11–15 | year – 1980 | hour |
//!
//! Sources: Microsoft's FAT specification of 2000 and its exFAT specification of 2019.

use std::time::SystemTime;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::format::time::FileTime;

/// A date without a time. `None` for a value that is no date, such as 0.
pub(in crate::files) fn date(date: u16) -> Option<FileTime> {
    date_and_time(date, 0, 0, 0)
}

/// A date and a time, with `hundredths` of a second more (0–199). The time zone is `quarters` of an hour
/// east of UTC. `None` for values that are no date or no time.
pub(in crate::files) fn date_and_time(
    date: u16,
    time: u16,
    hundredths: u8,
    quarters: i8,
) -> Option<FileTime> {
    const NANOS: i64 = 10_000_000;
    const QUARTER: i64 = 15 * 60;
    let part = |value: u16, from: u32, bits: u32| -> Option<i8> {
        let mask = 1u16.checked_shl(bits)?.checked_sub(1)?;
        i8::try_from(value.checked_shr(from)? & mask).ok()
    };
    let year = i16::try_from(date >> 9).ok()?.checked_add(1980)?;
    let (month, day) = (part(date, 5, 4)?, part(date, 0, 5)?);
    let (hour, minute) = (part(time, 11, 5)?, part(time, 5, 6)?);
    let second = part(time, 0, 5)?.checked_mul(2)?;
    let local = DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
    let shift =
        jiff::SignedDuration::from_nanos(i64::from(hundredths.min(199)).checked_mul(NANOS)?)
            .checked_sub(jiff::SignedDuration::from_secs(
                i64::from(quarters).checked_mul(QUARTER)?,
            ))?;
    let time = local.checked_add(shift).ok()?;
    let zoned = time.to_zoned(TimeZone::UTC).ok()?;
    Some(FileTime::from_system_time(SystemTime::from(
        zoned.timestamp(),
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_times_are_read() {
        // 2026-11-26, 14:47:20.
        let (day, time) = (46 << 9 | 11 << 5 | 26, 14 << 11 | 47 << 5 | 10);
        let shown = |time: Option<FileTime>| time.unwrap().to_string();
        assert_eq!(shown(date(day)), "2026-11-26T00:00:00Z");
        assert_eq!(
            shown(date_and_time(day, time, 123, 0)),
            "2026-11-26T14:47:21.23Z"
        );
        assert_eq!(
            shown(date_and_time(day, time, 0, 4)),
            "2026-11-26T13:47:20Z"
        );
        assert_eq!(
            shown(date_and_time(day, time, 0, -64)),
            "2026-11-27T06:47:20Z"
        );
    }

    #[test]
    fn what_is_no_date_has_no_time() {
        assert_eq!(date(0), None);
        assert_eq!(date(46 << 9 | 13 << 5 | 1), None);
        assert_eq!(date(46 << 9 | 2 << 5 | 30), None);
        assert_eq!(date_and_time(46 << 9 | 2 << 5 | 1, 24 << 11, 0, 0), None);
        assert_eq!(date_and_time(46 << 9 | 2 << 5 | 1, 30, 0, 0), None);
        // Every value is read or refused.
        for value in 0..=u16::MAX {
            let _ = date_and_time(value, value, 255, -64);
        }
    }
}
