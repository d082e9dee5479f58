//! Finds records in JSON, as Microsoft Graph and `ConvertTo-Json` write it. A record is an object with
//! its own strings, those in arrays included; the strings of objects inside it are records of their
//! own.
//!
//! Written by hand because the strings are secrets: `serde_json` would build a tree of them that
//! nothing wipes. Only strings and nesting matter here, so numbers and literals are not checked.

use std::iter::Peekable;

use zeroize::Zeroizing;

use super::record::{Field, MAX_VALUE, Record};

/// Deepest nesting of objects; a text with more is refused.
const MAX_DEPTH: usize = 64;
/// Longest member name that is kept, in bytes.
const MAX_NAME: usize = 256;

/// Whether a text begins as JSON does.
pub(super) fn is_json(text: &str) -> bool {
    text.trim_start().starts_with(['{', '['])
}

/// An object that is being read.
#[derive(Default)]
struct Object {
    /// The name of the member whose value is read now.
    name: String,
    record: Record,
}

/// Calls `each` with the record of every object, in the order in which the objects end. Returns
/// whether all strings and objects of the text are complete.
pub(super) fn read(text: impl Iterator<Item = char>, mut each: impl FnMut(&[Field])) -> bool {
    parse(&mut text.peekable(), &mut each).is_some()
}

fn parse(
    chars: &mut Peekable<impl Iterator<Item = char>>,
    each: &mut dyn FnMut(&[Field]),
) -> Option<()> {
    let mut open: Vec<Object> = Vec::new();
    // As large as the longest string: a growing buffer would leave copies in freed memory.
    let mut value = Zeroizing::new(Vec::with_capacity(MAX_VALUE));
    while let Some(c) = chars.next() {
        match c {
            '{' if open.len() == MAX_DEPTH => return None,
            '{' => open.push(Object::default()),
            '}' => each(open.pop()?.record.fields()),
            '"' => {
                string(chars, &mut value)?;
                while chars.next_if(|c| c.is_whitespace()).is_some() {}
                let Some(object) = open.last_mut() else {
                    continue;
                };
                // A string before a colon is a name, any other a value.
                if chars.peek() == Some(&':') {
                    let name = value.get(..MAX_NAME).unwrap_or(&value);
                    object.name = String::from_utf8_lossy(name).into_owned();
                } else {
                    object
                        .record
                        .push(Field::new(object.name.as_str(), value.as_slice()));
                }
            }
            _ => {}
        }
    }
    open.is_empty().then_some(())
}

/// Reads a string up to its closing quote, unescaped, into `text`; what exceeds [`MAX_VALUE`] is
/// dropped.
fn string(
    chars: &mut Peekable<impl Iterator<Item = char>>,
    text: &mut Zeroizing<Vec<u8>>,
) -> Option<()> {
    text.clear();
    let mut push = |c: char| {
        let mut bytes = [0; 4];
        let bytes = c.encode_utf8(&mut bytes).as_bytes();
        if text.len() + bytes.len() <= MAX_VALUE {
            text.extend_from_slice(bytes);
        }
    };
    loop {
        match chars.next()? {
            '"' => return Some(()),
            '\\' => push(match chars.next()? {
                'b' => '\u{8}',
                'f' => '\u{C}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'u' => unicode(chars)?,
                other => other,
            }),
            c => push(c),
        }
    }
}

/// The character of the four hex digits after `\u`. Half of a surrogate pair becomes U+FFFD: no
/// password or identifier has such characters.
fn unicode(chars: &mut impl Iterator<Item = char>) -> Option<char> {
    let mut code = 0;
    for _ in 0..4 {
        code = code * 16 + chars.next()?.to_digit(16)?;
    }
    Some(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_each_object_its_own_strings() {
        let text = r#"{"value": [{"id": "a\u002db", "n": 3, "list": ["x", "y"]}, {"id":"c"}], "last": "z"}"#;
        let mut texts = Vec::new();
        let is_json = read(text.chars(), |fields| {
            let text_of = |field: &Field| {
                let value = String::from_utf8(field.value.to_vec()).unwrap();
                (field.name.clone(), value)
            };
            texts.push(fields.iter().map(text_of).collect::<Vec<_>>());
        });
        assert!(is_json);
        let texts: Vec<Vec<_>> = texts
            .iter()
            .map(|fields| {
                let fields = fields.iter();
                fields
                    .map(|(name, value)| (name.as_str(), value.as_str()))
                    .collect()
            })
            .collect();
        assert_eq!(
            texts,
            [
                vec![("id", "a-b"), ("list", "x"), ("list", "y")],
                vec![("id", "c")],
                vec![("last", "z")],
            ]
        );
    }

    #[test]
    fn refuses_incomplete_json() {
        for text in ["{", "{\"a\": \"b}", "}", "{\"a\": \"\\u12\"}"] {
            assert!(!read(text.chars(), |_| ()), "{text}");
        }
    }
}
