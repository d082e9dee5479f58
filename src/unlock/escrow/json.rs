//! JSON, as far as it takes to find records in it: Microsoft Graph's answers, `ConvertTo-Json`. A
//! record is an object, with the texts that stand directly in it. No tree is built: values are
//! passwords, and are wiped.

use std::iter::Peekable;
use std::str::Chars;

use zeroize::Zeroizing;

use super::record::Field;

/// Deepest nesting that is followed.
const MAX_DEPTH: usize = 64;

/// Whether a text looks like JSON.
pub(super) fn is_json(text: &str) -> bool {
    text.trim_start().starts_with(['{', '['])
}

/// An object that is being read.
#[derive(Default)]
struct Object {
    name: String,
    fields: Vec<Field>,
}

/// The objects of a text, in the order in which they end; nothing where it is not JSON.
pub(super) fn objects(text: &str) -> Option<Vec<Vec<Field>>> {
    let mut done = Vec::new();
    let mut open: Vec<Object> = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '{' if open.len() == MAX_DEPTH => return None,
            '{' => open.push(Object::default()),
            '}' => done.push(open.pop()?.fields),
            '"' => {
                let value = string(&mut chars)?;
                while chars.next_if(|c| c.is_whitespace()).is_some() {}
                let Some(object) = open.last_mut() else {
                    continue;
                };
                if chars.peek() == Some(&':') {
                    object.name = String::from_utf8_lossy(&value).into_owned();
                } else {
                    object.fields.push(Field {
                        name: object.name.clone(),
                        value,
                    });
                }
            }
            _ => {}
        }
    }
    open.is_empty().then_some(done)
}

/// The text up to the next quote, escapes undone.
fn string(chars: &mut Peekable<Chars<'_>>) -> Option<Zeroizing<Vec<u8>>> {
    /// Room for a password at once: growing would leave copies behind.
    const ROOM: usize = 64;
    let mut text = Zeroizing::new(Vec::with_capacity(ROOM));
    let mut push = |c: char| {
        let mut bytes = [0; 4];
        text.extend_from_slice(c.encode_utf8(&mut bytes).as_bytes());
    };
    loop {
        match chars.next()? {
            '"' => return Some(text),
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

/// The character of four hex digits; half of a pair becomes U+FFFD, for no identifier has any.
fn unicode(chars: &mut Peekable<Chars<'_>>) -> Option<char> {
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
    fn objects_come_with_their_own_texts() {
        let text = r#"{"value": [{"id": "a\u002db", "n": 3, "list": ["x", "y"]}, {"id":"c"}], "last": "z"}"#;
        let found = objects(text).unwrap();
        let texts: Vec<Vec<_>> = found
            .iter()
            .map(|fields| {
                let fields = fields.iter();
                fields
                    .map(|field| {
                        (
                            field.name.as_str(),
                            std::str::from_utf8(&field.value).unwrap(),
                        )
                    })
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
    fn what_is_not_json_is_nothing() {
        for text in ["{", "{\"a\": \"b}", "}", "{\"a\": \"\\u12\"}"] {
            assert!(objects(text).is_none(), "{text}");
        }
    }
}
