//! The state of the file system: its label and flags (`$Volume`), and whether its log (`$LogFile`) has
//! unfinished operations.
//!
//! | offset in `$VOLUME_INFORMATION` | field |
//! |---|---|
//! | 0x0A | flags: dirty, and pending work of Windows |
//!
//! | offset in a restart page of the log | field |
//! |---|---|
//! | 0x00 | `RSTR` |
//! | 0x18 | offset of the restart area |
//! | 0x00 in the area | sequence number of the area |
//! | 0x0C, 0x0E in the area | the first program that has the log open; flags: 2 closed properly |
//!
//! Source: the documentation of the Linux-NTFS project.

use crate::files::FileName;
use crate::format::FormatError;
use crate::format::wire::Fields;

/// Bytes of the log's first two pages, which show its state.
pub(crate) const LOG_LEN: u64 = 2 * 4096;

/// Flags for dirty and for pending work of Windows: resize the log, upgrade, delete the change
/// journal, repair identifiers, continue a check.
const UNFINISHED: u16 = 0x4037;
/// Offset of the flags in the attribute.
const FLAGS: usize = 0x0A;

/// Why the file system is not clean, from the content of `$VOLUME_INFORMATION`; `None` if it is clean.
pub(crate) fn unfinished(information: &[u8]) -> Result<Option<String>, FormatError> {
    let fields = Fields::new("volume information", information, 0);
    let flags = fields.u16(FLAGS)?;
    let is_clean = flags & UNFINISHED == 0;
    Ok((!is_clean).then(|| format!("its volume flags are {flags:#06x}")))
}

/// The label in the content of `$VOLUME_NAME`.
pub(crate) fn label(content: &[u8]) -> Option<String> {
    let label = FileName::from_le_bytes(content).to_text_lossy();
    (!label.is_empty()).then_some(label)
}

/// Whether the log has no unfinished operations: Windows would replay them, and undo what was changed
/// since. `log` is its first [`LOG_LEN`] bytes. An emptied log is all ones.
pub(crate) fn is_log_clean(log: &[u8]) -> bool {
    let half = log.len() / 2;
    let (first, second) = log.split_at_checked(half).unwrap_or_default();
    let newest = [first, second]
        .into_iter()
        .filter_map(restart)
        .max_by_key(|restart| restart.sequence);
    match newest {
        Some(newest) => newest.is_clean,
        None => log.iter().all(|byte| *byte == 0xFF),
    }
}

/// State of the log according to a restart page.
struct Restart {
    sequence: u64,
    is_clean: bool,
}

fn restart(page: &[u8]) -> Option<Restart> {
    /// No program has the log open.
    const NOT_OPEN: u16 = 0xFFFF;
    /// It was closed properly.
    const CLEAN: u16 = 0x0002;
    let page = Fields::new("log", page, 0);
    if page.slice(0, 4).ok()? != b"RSTR" {
        return None;
    }
    let area = usize::from(page.u16(0x18).ok()?);
    Some(Restart {
        sequence: page.u64(area).ok()?,
        is_clean: page.u16(area.saturating_add(0x0C)).ok()? == NOT_OPEN
            || page.u16(area.saturating_add(0x0E)).ok()? & CLEAN != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_clean_if_it_is_not_open_or_its_flag_says_so() {
        let page = |sequence: u8, in_use: u16, flags: u16| {
            let mut page = vec![0; 4096];
            page[..4].copy_from_slice(b"RSTR");
            page[0x18] = 0x30;
            page[0x30] = sequence;
            page[0x3C..0x3E].copy_from_slice(&in_use.to_le_bytes());
            page[0x3E..0x40].copy_from_slice(&flags.to_le_bytes());
            page
        };
        let (closed, flagged, open) = (page(1, 0xFFFF, 0), page(1, 0, 2), page(2, 0, 0));
        assert!(is_log_clean(&closed.repeat(2)));
        assert!(is_log_clean(&flagged.repeat(2)));
        assert!(!is_log_clean(&open.repeat(2)));
        // The newest page decides.
        assert!(!is_log_clean(&[closed.clone(), open].concat()));
        assert!(is_log_clean(&[page(3, 0xFFFF, 0), page(2, 0, 0)].concat()));
        assert!(is_log_clean(&[0xFF; 8192]));
        assert!(!is_log_clean(&[0; 8192]));
    }

    #[test]
    fn flags_of_pending_work_are_shown() {
        let mut information = [0; 12];
        assert_eq!(unfinished(&information), Ok(None));
        information[FLAGS] = 1;
        let why = unfinished(&information).unwrap();
        assert_eq!(why.as_deref(), Some("its volume flags are 0x0001"));
        assert!(unfinished(&information[..11]).is_err());
    }
}
