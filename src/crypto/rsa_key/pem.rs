//! PEM (RFC 7468): finds the blocks in a text. Other text between them is ignored.

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";

/// Every block from its BEGIN line to its END line, not yet decoded. A block without an end is
/// ignored.
pub(crate) fn blocks(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let block = rest.get(find(rest, BEGIN)?..)?;
        let end = find(block, END)? + END.len();
        let end = end + find(block.get(end..)?, DASHES)? + DASHES.len();
        let (block, after) = block.split_at_checked(end)?;
        rest = after;
        Some(block)
    })
}

/// The position of the first occurrence of a word.
pub(super) fn find(text: &[u8], word: &[u8]) -> Option<usize> {
    text.windows(word.len()).position(|window| window == word)
}
