//! The layout map of the decrypted volume: for every byte, where it comes from.
//!
//! It is a sorted list of extents that cover the volume without gaps or overlaps. Moved boot sectors,
//! hidden metadata, partly converted volumes and encrypt-on-write are all expressed in it, so that
//! the code which reads and writes does not deal with them.

use std::ops::Range;
use std::sync::Arc;

/// Where a range of the decrypted volume comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Content {
    /// Encrypted bytes of the source from `from` on, which is also the address for the cipher.
    Encrypted {
        /// First byte, from the start of the encrypted volume.
        from: u64,
    },
    /// Bytes of the source from `from` on that are not encrypted.
    Plain {
        /// First byte, from the start of the encrypted volume.
        from: u64,
    },
    /// Zeros, in place of metadata, which Windows hides too.
    Zero,
    /// These bytes: the restored boot sector of a volume of Windows Vista.
    Literal(Arc<[u8]>),
    /// Bytes whose plaintext cannot be known, and the reason.
    Unknown(&'static str),
}

impl Content {
    /// The content that begins `by` bytes later.
    fn advanced(&self, by: u64) -> Self {
        match self {
            Self::Encrypted { from } => Self::Encrypted { from: from + by },
            Self::Plain { from } => Self::Plain { from: from + by },
            Self::Literal(bytes) => {
                let by = usize::try_from(by).unwrap_or(usize::MAX).min(bytes.len());
                Self::Literal(bytes[by..].into())
            }
            other => other.clone(),
        }
    }

    /// Whether `next` continues `len` bytes of this content, so that both can be one extent.
    fn continues(&self, len: u64, next: &Self) -> bool {
        !matches!(self, Self::Literal(_)) && self.advanced(len) == *next
    }
}

/// A range of the decrypted volume whose bytes come from one place.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Extent {
    /// The bytes, from the start of the decrypted volume.
    pub range: Range<u64>,
    /// Where they come from.
    pub content: Content,
}

impl Extent {
    /// The part of the extent inside `range`, if they overlap.
    fn clipped(&self, range: &Range<u64>) -> Option<Self> {
        let start = self.range.start.max(range.start);
        let end = self.range.end.min(range.end);
        (start < end).then(|| Self {
            range: start..end,
            content: self.content.advanced(start - self.range.start),
        })
    }
}

/// The layout map of a decrypted volume.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    extents: Vec<Extent>,
}

impl Layout {
    /// Size of the volume in bytes.
    pub fn size(&self) -> u64 {
        self.extents.last().map_or(0, |extent| extent.range.end)
    }

    /// All extents, in order.
    pub fn extents(&self) -> &[Extent] {
        &self.extents
    }

    /// Appends an extent from the present end to `end`; does nothing if `end` is not beyond it.
    pub(crate) fn push(&mut self, end: u64, content: Content) {
        let start = self.size();
        if end <= start {
            return;
        }
        if let Some(last) = self.extents.last_mut()
            && last.content.continues(start - last.range.start, &content)
        {
            last.range.end = end;
            return;
        }
        self.extents.push(Extent {
            range: start..end,
            content,
        });
    }

    /// The same for content whose offset in the source is that in the volume, `Encrypted` or `Plain`.
    pub(crate) fn push_in_place(&mut self, end: u64, encrypted: bool) {
        let from = self.size();
        let content = if encrypted {
            Content::Encrypted { from }
        } else {
            Content::Plain { from }
        };
        self.push(end, content);
    }

    /// Replaces the content of `range`, as far as it is inside the volume.
    pub(crate) fn paint(&mut self, range: Range<u64>, content: Content) {
        let range = range.start..range.end.min(self.size());
        if range.is_empty() {
            return;
        }
        let first = self.index_at(range.start);
        let after =
            first + self.extents[first..].partition_point(|extent| extent.range.start < range.end);
        let size = self.size();
        let mut replacement = Vec::with_capacity(3);
        replacement.extend(self.extents[first].clipped(&(0..range.start)));
        replacement.push(Extent {
            range: range.clone(),
            content,
        });
        replacement.extend(self.extents[after - 1].clipped(&(range.end..size)));
        self.extents.splice(first..after, replacement);
    }

    /// The extents that make up `range`, clipped to it. Bytes beyond the end of the volume are left
    /// out.
    pub fn resolve(&self, range: Range<u64>) -> impl Iterator<Item = Extent> {
        let first = self.index_at(range.start);
        self.extents[first.min(self.extents.len())..]
            .iter()
            .take_while({
                let end = range.end;
                move |extent| extent.range.start < end
            })
            .filter_map(move |extent| extent.clipped(&range))
    }

    /// Index of the extent that holds `offset`; the number of extents beyond the end.
    fn index_at(&self, offset: u64) -> usize {
        self.extents
            .partition_point(|extent| extent.range.end <= offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn content(kind: u8, at: u64) -> Content {
        match kind % 5 {
            0 => Content::Encrypted { from: at },
            1 => Content::Plain { from: at },
            2 => Content::Zero,
            3 => Content::Encrypted {
                from: at + 0x10_0000,
            },
            _ => Content::Unknown("test"),
        }
    }

    /// Where one byte comes from, in the model: a number for the kind of content, and the offset.
    type Byte = Option<(u8, u64)>;

    fn byte_of(content: &Content, at: u64) -> Byte {
        match content.advanced(at) {
            Content::Encrypted { from } => Some((0, from)),
            Content::Plain { from } => Some((1, from)),
            Content::Zero => Some((2, 0)),
            Content::Unknown(_) => Some((4, 0)),
            Content::Literal(_) => None,
        }
    }

    proptest! {
        #[test]
        fn painting_equals_a_plain_array(
            size in 1u64..300,
            base: Vec<(u8, u16)>,
            paint in prop::collection::vec((0u8..5, 0u64..320, 0u64..120), 0..12),
            ask in (0u64..320, 0u64..320),
        ) {
            let mut layout = Layout::default();
            let mut model: Vec<Byte> = Vec::new();
            for (kind, len) in base {
                let start = layout.size();
                let end = (start + u64::from(len) % 40).min(size);
                layout.push_in_place(end, kind % 2 == 0);
                for at in start..end {
                    model.push(Some((kind % 2, at)));
                }
            }
            let start = layout.size();
            layout.push_in_place(size, true);
            for at in start..size {
                model.push(Some((0, at)));
            }
            for (kind, start, len) in paint {
                layout.paint(start..start + len, content(kind, start));
                for at in start..(start + len).min(size) {
                    model[at as usize] = byte_of(&content(kind, start), at - start);
                }
            }
            prop_assert_eq!(layout.size(), size);
            let mut expected = 0;
            for extent in layout.extents() {
                prop_assert_eq!(extent.range.start, expected);
                prop_assert!(extent.range.end > extent.range.start);
                expected = extent.range.end;
            }
            let (start, end) = (ask.0.min(ask.1), ask.0.max(ask.1));
            let mut at = start;
            for extent in layout.resolve(start..end) {
                prop_assert_eq!(extent.range.start, at);
                for byte in extent.range.clone() {
                    let got = byte_of(&extent.content, byte - extent.range.start);
                    prop_assert_eq!(got, model[byte as usize]);
                }
                at = extent.range.end;
            }
            prop_assert_eq!(at, end.min(size).max(start));
        }
    }
}
