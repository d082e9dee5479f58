//! The fields of a message between a process and its child. They may hold secrets, so every buffer is
//! wiped when it is dropped.

use zeroize::Zeroizing;

/// Writes the fields of a message.
#[derive(Default)]
pub(crate) struct Writer(Zeroizing<Vec<u8>>);

impl Writer {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Bytes of any length.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.number(bytes.len() as u64);
        self.raw(bytes);
        self
    }

    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    pub(crate) fn number(&mut self, number: u64) -> &mut Self {
        self.raw(&number.to_le_bytes());
        self
    }

    pub(crate) fn flag(&mut self, flag: bool) -> &mut Self {
        self.number(u64::from(flag))
    }

    /// A value that may be absent.
    pub(crate) fn optional<T: ?Sized>(
        &mut self,
        value: Option<&T>,
        write: impl FnOnce(&mut Self, &T),
    ) -> &mut Self {
        self.flag(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
        self
    }

    /// The message.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Appends bytes. A buffer that is too short is copied and wiped: a vector that grows by itself
    /// would leave its bytes behind.
    fn raw(&mut self, bytes: &[u8]) {
        let needed = self.0.len() + bytes.len();
        if needed > self.0.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity((2 * needed).max(256)));
            larger.extend_from_slice(&self.0);
            self.0 = larger;
        }
        self.0.extend_from_slice(bytes);
    }
}

/// Reads the fields of a message, in the order in which they were written. Every method returns `None`
/// where the message is not what was expected.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(message: &'a [u8]) -> Self {
        Self(message)
    }

    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    pub(crate) fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    pub(crate) fn number(&mut self) -> Option<u64> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*number))
    }

    pub(crate) fn flag(&mut self) -> Option<bool> {
        match self.number()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    /// A value that may be absent.
    #[allow(clippy::option_option)]
    pub(crate) fn optional<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<Option<T>> {
        match self.flag()? {
            true => read(self).map(Some),
            false => Some(None),
        }
    }

    /// Whether nothing is left.
    pub(crate) fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_was_written() {
        let mut writer = Writer::new();
        writer.text("ü").flag(true).number(7).bytes(&[1; 5000]);
        writer.optional(Some("x"), |to, text| {
            to.text(text);
        });
        writer.optional(None::<&str>, |_, _| {});
        let mut reader = Reader::new(writer.as_bytes());
        assert_eq!(reader.text(), Some("ü"));
        assert_eq!(reader.flag(), Some(true));
        assert_eq!(reader.number(), Some(7));
        assert_eq!(reader.bytes(), Some(&[1; 5000][..]));
        assert_eq!(reader.optional(|from| from.text()), Some(Some("x")));
        assert_eq!(reader.optional(|from| from.text()), Some(None));
        assert!(reader.is_at_end());
    }

    #[test]
    fn believes_no_length_in_a_message() {
        let mut writer = Writer::new();
        writer.number(u64::MAX).number(2);
        assert_eq!(Reader::new(writer.as_bytes()).bytes(), None);
        assert_eq!(Reader::new(&[1, 0]).number(), None);
        let mut reader = Reader::new(writer.as_bytes());
        assert!(reader.number().is_some());
        assert_eq!(reader.flag(), None);
    }
}
