//! A reader for big-endian fields, and the type-length-value options of both protocols.

/// The bytes that are not read yet. Each method reads from the front, and returns `None` if too few
/// bytes are left.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, left) = self.0.split_at_checked(len)?;
        self.0 = left;
        Some(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// A suboption with one byte of code and one of length.
    pub(super) fn short_option(&mut self) -> Option<(u8, &'a [u8])> {
        let code = self.u8()?;
        let len = self.u8()?;
        Some((code, self.take(len.into())?))
    }

    /// An option with two bytes of code and two of length.
    pub(super) fn long_option(&mut self) -> Option<(u16, &'a [u8])> {
        let code = self.u16()?;
        let len = self.u16()?;
        Some((code, self.take(len.into())?))
    }
}

/// Appends an option with one byte of code and one of length. `content` has at most 255 bytes.
pub(super) fn put_short(to: &mut Vec<u8>, code: u8, content: &[u8]) {
    debug_assert!(content.len() <= 255);
    to.push(code);
    to.push(content.len() as u8);
    to.extend_from_slice(content);
}

/// Appends an option with two bytes of code and two of length. `content` has at most 65,535 bytes.
pub(super) fn put_long(to: &mut Vec<u8>, code: u16, content: &[u8]) {
    debug_assert!(content.len() <= 0xFFFF);
    to.extend_from_slice(&code.to_be_bytes());
    to.extend_from_slice(&(content.len() as u16).to_be_bytes());
    to.extend_from_slice(content);
}
