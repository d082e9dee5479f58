//! PEM (RFC 7468): the blocks of a text, whatever stands around them.

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";

/// Every block from its first line to its last, not decoded yet. One without an end is no block.
pub(crate) fn blocks(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let block = rest.get(find(rest, BEGIN)?..)?;
        let end = find(block, END)? + END.len();
        let end = end + find(block.get(end..)?, DASHES)? + DASHES.len();
        let (block, behind) = block.split_at_checked(end)?;
        rest = behind;
        Some(block)
    })
}

/// Where a word is first.
pub(super) fn find(text: &[u8], word: &[u8]) -> Option<usize> {
    text.windows(word.len()).position(|window| window == word)
}
