//! The string literals of Rust code.

/// All string literals outside comments, with their line numbers.
pub(crate) fn strings(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find(['"', '/', '\'', 'r']) {
        let tail = &rest[at..];
        let line = || 1 + code[..code.len() - tail.len()].matches('\n').count();
        let in_a_name = rest[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        rest = if let Some(content) = tail.strip_prefix('"') {
            let len = end_of_string(content);
            found.push((line(), content[..len].to_owned()));
            content.get(len + 1..).unwrap_or("")
        } else if let Some((hashes, content)) = raw_string(tail).filter(|_| !in_a_name) {
            let end = format!("\"{hashes}");
            let len = content.find(&end).unwrap_or(content.len());
            found.push((line(), content[..len].to_owned()));
            content.get(len + end.len()..).unwrap_or("")
        } else if tail.starts_with("//") {
            tail.find('\n').map_or("", |end| &tail[end..])
        } else if let Some(quoted) = tail.strip_prefix('\'') {
            &quoted[end_of_character(quoted)..]
        } else {
            &tail[1..]
        };
    }
    found
}

/// Offset of the closing quote of a string.
fn end_of_string(content: &str) -> usize {
    let mut escaped = false;
    let end = content.find(|c| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    end.unwrap_or(content.len())
}

/// The hashes of a raw string, and the text after its opening quote.
fn raw_string(tail: &str) -> Option<(&str, &str)> {
    let tail = tail.strip_prefix('r')?;
    let (hashes, content) = tail.split_once('"')?;
    hashes
        .bytes()
        .all(|byte| byte == b'#')
        .then_some((hashes, content))
}

/// Number of bytes to skip after a single quote: a character and its closing quote, or nothing for
/// a lifetime.
fn end_of_character(quoted: &str) -> usize {
    let mut chars = quoted.char_indices();
    let escaped = chars.next().is_some_and(|(_, c)| c == '\\');
    if escaped {
        // The escaped character may be a quote.
        chars.next();
        return chars
            .find(|(_, c)| *c == '\'')
            .map_or(0, |(end, _)| end + 1);
    }
    let second = chars.next().filter(|(_, c)| *c == '\'');
    second.map_or(0, |(end, _)| end + 1)
}
