//! What an overlay knows about the source that it was made for, so that another one, or one that was
//! changed since, is refused.

use std::io;

use sha2::{Digest, Sha256};

use crate::source::{ReadAt, read_uninterrupted};

/// Bytes at the start and at the end of the source that are part of the sample.
const END_LEN: u64 = 1 << 20;
/// Number and length of the pieces between them.
const PIECES: u64 = 64;
const PIECE_LEN: u64 = 16 << 10;

/// Nanoseconds.
const SECOND: i128 = 1_000_000_000;

/// Facts about a source. A copy of it that keeps the time of its last change has the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Binding {
    /// Size in bytes.
    pub(super) size: u64,
    /// When it was changed last, if that is known: seconds since 1970 and nanoseconds.
    pub(super) modified: Option<(i64, u32)>,
    /// SHA-256 of some of its bytes.
    pub(super) sample: [u8; 32],
}

/// How a source differs from the one that an overlay was made for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Difference {
    #[error("it has {is} bytes, and had {was}")]
    Size { was: u64, is: u64 },
    #[error("it was changed last {is}, and not {was}")]
    Modified { was: String, is: String },
    #[error("its content differs")]
    Content,
}

impl Binding {
    /// Reads the facts about a source.
    pub(super) fn of(source: &dyn ReadAt) -> io::Result<Self> {
        Ok(Self {
            size: source.size(),
            modified: source.modified().and_then(|time| {
                let time = jiff::Timestamp::try_from(time).ok()?.as_nanosecond();
                let seconds = i64::try_from(time.div_euclid(SECOND)).ok()?;
                let nanoseconds = u32::try_from(time.rem_euclid(SECOND)).ok()?;
                Some((seconds, nanoseconds))
            }),
            sample: sample(source)?,
        })
    }

    /// How `now` differs from this.
    pub(super) fn difference(&self, now: &Self) -> Option<Difference> {
        if self.size != now.size {
            return Some(Difference::Size {
                was: self.size,
                is: now.size,
            });
        }
        if !same_time(self.modified, now.modified) {
            return Some(Difference::Modified {
                was: in_words(self.modified),
                is: in_words(now.modified),
            });
        }
        (self.sample != now.sample).then_some(Difference::Content)
    }
}

/// Whether two times are equal, as far as a copy keeps them: some programs and file systems drop the
/// nanoseconds. A source that is no file has no time, and may be a copy in a device.
fn same_time(was: Option<(i64, u32)>, is: Option<(i64, u32)>) -> bool {
    match (was, is) {
        (Some((seconds, was)), Some((now, is))) => {
            seconds == now && (was == is || was == 0 || is == 0)
        }
        _ => true,
    }
}

fn in_words(time: Option<(i64, u32)>) -> String {
    let time = time.and_then(|(seconds, nanoseconds)| {
        let nanoseconds = i32::try_from(nanoseconds).ok()?;
        jiff::Timestamp::new(seconds, nanoseconds).ok()
    });
    time.map_or_else(|| "at an unknown time".to_owned(), |time| time.to_string())
}

/// SHA-256 of the first and the last MiB of a source and of pieces between them.
fn sample(bytes: &dyn ReadAt) -> io::Result<[u8; 32]> {
    let size = bytes.size();
    let mut hash = Sha256::new();
    let mut add = |start: u64, len: u64| -> io::Result<()> {
        let len = len.min(size.saturating_sub(start));
        let mut piece = vec![0; usize::try_from(len).unwrap_or(0)];
        read_uninterrupted(bytes, start, &mut piece)?;
        hash.update(&piece);
        Ok(())
    };
    add(0, END_LEN)?;
    for piece in 1..=PIECES {
        add(size / (PIECES + 1) * piece, PIECE_LEN)?;
    }
    add(size.saturating_sub(END_LEN), END_LEN)?;
    Ok(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_without_nanoseconds_is_the_same_and_a_change_is_not() {
        let content = vec![7; 3 << 20];
        let mut was = Binding::of(&content).unwrap();
        was.modified = Some((1_700_000_000, 5));
        let with = |modified| Binding { modified, ..was };
        assert_eq!(was.difference(&was), None);
        assert_eq!(was.difference(&with(Some((1_700_000_000, 0)))), None);
        assert_eq!(was.difference(&with(None)), None);
        let other = was.difference(&with(Some((1_700_000_000, 6)))).unwrap();
        assert!(other.to_string().contains("2023-11-14T"), "{other}");
        for at in [0, content.len() - 1, content.len() / 65 * 30] {
            let mut changed = content.clone();
            changed[at] = 8;
            let mut now = Binding::of(&changed).unwrap();
            now.modified = was.modified;
            assert_eq!(was.difference(&now), Some(Difference::Content));
        }
        let shorter = Binding::of(&content[1..].to_vec()).unwrap();
        assert!(matches!(
            was.difference(&shorter),
            Some(Difference::Size { .. })
        ));
    }
}
