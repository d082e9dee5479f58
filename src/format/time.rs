//! FILETIME, the form in which Windows stores times.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Ticks of 100 ns from 1601-01-01 to 1970-01-01.
const UNIX_EPOCH_TICKS: u64 = 11_644_473_600 * TICKS_PER_SECOND;
/// Ticks of 100 ns in a second.
const TICKS_PER_SECOND: u64 = 10_000_000;

/// A `FILETIME`: ticks of 100 ns since 1601-01-01 UTC. Any value is possible on disk. `Display` writes
/// a date as RFC 3339 in UTC, and a value that is no date in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FileTime(pub u64);

impl FileTime {
    /// The time without bit 63, which the Windows driver sets in the nonce of the validation datum
    /// (docs/format.md §4.6) and which no date needs.
    pub fn masked(self) -> Self {
        Self(self.0 & !(1 << 63))
    }

    /// The same instant as a `SystemTime`. `None` for 0, for times before 1970 and after the year
    /// 9999.
    pub fn system_time(self) -> Option<SystemTime> {
        self.timestamp()?;
        let ticks = self.0.checked_sub(UNIX_EPOCH_TICKS)?;
        let whole = Duration::from_secs(ticks / TICKS_PER_SECOND);
        let part = Duration::from_nanos((ticks % TICKS_PER_SECOND).checked_mul(100)?);
        UNIX_EPOCH.checked_add(whole.checked_add(part)?)
    }

    /// The `FILETIME` of an instant. Instants before 1970 become 1970-01-01.
    pub fn from_system_time(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let ticks = u64::try_from(since.as_nanos() / 100).unwrap_or(0);
        Self(ticks.saturating_add(UNIX_EPOCH_TICKS))
    }

    /// The date, for values that are one.
    fn timestamp(self) -> Option<jiff::Timestamp> {
        if self.0 == 0 {
            return None;
        }
        let ticks = i128::from(self.0).checked_sub(i128::from(UNIX_EPOCH_TICKS))?;
        jiff::Timestamp::from_nanosecond(ticks.checked_mul(100)?).ok()
    }
}

impl fmt::Display for FileTime {
    /// In UTC, as `2019-07-04T07:02:27.077Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.timestamp() {
            Some(timestamp) => write!(f, "{timestamp}"),
            None => write!(f, "{:#x} (no date)", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_the_times_of_the_worked_example() {
        let created = FileTime(u64::from_le_bytes(hex_literal::hex!("708a425d3632d501")));
        // docs/format.md §9.2 gives this one to the microsecond.
        assert!(
            created
                .to_string()
                .starts_with("2019-07-04T07:01:55.156235")
        );
        let changed = FileTime(u64::from_le_bytes(hex_literal::hex!("504349703632d501")));
        assert_eq!(changed.to_string(), "2019-07-04T07:02:27.077Z");
    }

    #[test]
    fn accepts_every_value() {
        for ticks in [
            0,
            1,
            u64::MAX,
            1 << 63,
            UNIX_EPOCH_TICKS,
            UNIX_EPOCH_TICKS - 1,
        ] {
            let _ = FileTime(ticks).to_string();
            let _ = FileTime(ticks).system_time();
        }
        let now = SystemTime::now();
        let stored = FileTime::from_system_time(now).system_time().unwrap();
        assert!(now.duration_since(stored).unwrap() < Duration::from_nanos(100));
    }
}
