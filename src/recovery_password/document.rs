//! Recognizes files whose text cannot be read: saved or printed recovery passwords come in these, too.

/// The beginnings of files, and what they are.
const KINDS: &[(&[u8], &str)] = &[
    (b"%PDF-", "a PDF document"),
    (
        b"PK\x03\x04",
        "a ZIP file, such as a DOCX, ODT or XPS document",
    ),
    (
        b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1",
        "an old Office document",
    ),
    (b"\x89PNG\r\n", "a picture"),
    (b"\xFF\xD8\xFF", "a picture"),
    (b"GIF8", "a picture"),
    (b"BM", "a picture"),
    (b"II*\0", "a picture"),
    (b"MM\0*", "a picture"),
    (b"\0\0\0\x18ftyphei", "a picture"),
    (b"\x1F\x8B", "a compressed file"),
    (b"BZh", "a compressed file"),
    (b"\xFD7zXZ\0", "a compressed file"),
    (b"7z\xBC\xAF\x27\x1C", "a compressed file"),
];

/// What a file is whose text is not read, such as "a PDF document".
pub fn document_kind(content: &[u8]) -> Option<&'static str> {
    let mut kinds = KINDS.iter();
    let (_, name) = kinds.find(|(beginning, _)| content.starts_with(beginning))?;
    // A text may begin with two letters of these.
    let is_text = std::str::from_utf8(content).is_ok_and(|text| !text.contains('\0'));
    (!is_text || *name == "a PDF document").then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_documents_but_no_text() {
        assert_eq!(document_kind(b"%PDF-1.7\n"), Some("a PDF document"));
        assert!(document_kind(b"PK\x03\x04\x14\0\0\0").is_some());
        assert!(document_kind(b"BM\x36\0\0\0").is_some());
        assert_eq!(document_kind(b"BM 235818-357951"), None);
        assert_eq!(document_kind(b"235818-357951"), None);
    }
}
