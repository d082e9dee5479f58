//! Reads tables (RFC 4180) as csvde, `Export-Csv` and databases write them: columns separated by commas,
//! semicolons or tabs, and a first row with the names of the columns.
//!
//! Written by hand because the cells are secrets: the `csv` crate (1.4) leaves copies of them in
//! buffers of its own, which nothing wipes. Here all cells of a row are in one buffer of fixed size that
//! is wiped.

use std::iter::Peekable;

use zeroize::Zeroizing;

use super::record::{self, Field, MAX_RECORD, Record};
use crate::shown::beginning;

/// Most columns of a table; further ones become part of the last.
const MAX_COLUMNS: usize = 1024;

/// Longest column name that is kept, in bytes.
const MAX_NAME: usize = 256;

/// Calls `each` with the number and the record of every row that may contain a password. Returns
/// whether the text is a table. The row with the column names has number 1; empty rows are not
/// counted.
pub(super) fn read(
    text: impl Iterator<Item = char>,
    delimiter: char,
    mut each: impl FnMut(usize, &[Field]),
) -> bool {
    let mut text = text.peekable();
    let mut cells = Cells::default();
    let mut head: Option<Vec<String>> = None;
    let mut number = 1;
    while next_row(&mut text, delimiter, &mut cells) {
        let Some(head) = &head else {
            let names: Vec<String> = cells.iter().map(name).collect();
            // A single column, or digits enough for a password, means that this is not a row of
            // column names, and the text not a table.
            let digits = |name: &String| name.bytes().filter(u8::is_ascii_digit).count();
            if names.len() < 2 || names.iter().any(|name| digits(name) >= 40) {
                return false;
            }
            head = Some(names);
            continue;
        };
        number += 1;
        if !cells.iter().any(record::may_hold_password) {
            continue;
        }
        let mut record = Record::default();
        for (name, value) in head.iter().zip(cells.iter()) {
            record.push(Field::new(name.as_str(), value));
        }
        each(number, record.fields());
    }
    head.is_some()
}

/// The name of a column.
fn name(cell: &[u8]) -> String {
    let text = String::from_utf8_lossy(cell);
    let text = text.trim();
    beginning(text, MAX_NAME).to_owned()
}

/// The delimiter that the first line has most often outside of quotes; `None` if it has none, so that
/// the text is not a table.
pub(super) fn delimiter(text: &str) -> Option<char> {
    let first = text
        .lines()
        .find(|line| !line.trim().is_empty() && !line.starts_with("#TYPE"))?;
    let count = |wanted: char| {
        let mut quoted = false;
        first
            .chars()
            .filter(|c| {
                quoted ^= *c == '"';
                !quoted && *c == wanted
            })
            .count()
    };
    let best = [',', ';', '\t'].into_iter().max_by_key(|c| count(*c))?;
    (count(best) > 0).then_some(best)
}

/// The cells of a row, one after the other in one buffer; what does not fit is dropped.
struct Cells {
    bytes: Zeroizing<Vec<u8>>,
    /// Where each cell ends in `bytes`.
    ends: Vec<usize>,
}

impl Default for Cells {
    fn default() -> Self {
        Self {
            // As large as the longest row: a growing buffer would leave copies in freed memory.
            bytes: Zeroizing::new(Vec::with_capacity(MAX_RECORD)),
            ends: Vec::new(),
        }
    }
}

impl Cells {
    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(&0).chain(&self.ends);
        let ranges = starts.zip(&self.ends);
        ranges.map(|(start, end)| self.bytes.get(*start..*end).unwrap_or_default())
    }

    fn push(&mut self, c: char) {
        let mut bytes = [0; 4];
        let bytes = c.encode_utf8(&mut bytes).as_bytes();
        if self.bytes.len() + bytes.len() <= MAX_RECORD {
            self.bytes.extend_from_slice(bytes);
        }
    }

    fn end_cell(&mut self) {
        self.ends.push(self.bytes.len());
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

/// Reads the next row that is not empty into `cells`; `false` at the end of the text.
fn next_row(
    text: &mut Peekable<impl Iterator<Item = char>>,
    delimiter: char,
    cells: &mut Cells,
) -> bool {
    cells.clear();
    let mut quoted = false;
    while let Some(c) = text.next() {
        match c {
            '"' if quoted && text.next_if_eq(&'"').is_some() => cells.push('"'),
            '"' => quoted = !quoted,
            _ if quoted => cells.push(c),
            '\n' => {
                if !cells.bytes.is_empty() {
                    cells.end_cell();
                    return true;
                }
                cells.clear();
            }
            '\r' => {}
            c if c == delimiter && cells.ends.len() < MAX_COLUMNS => cells.end_cell(),
            c => cells.push(c),
        }
    }
    cells.end_cell();
    !cells.bytes.is_empty()
}

/// The text of a table without the line `#TYPE …` with which `Export-Csv` begins.
pub(super) fn without_types(
    text: impl Iterator<Item = char>,
    head: &str,
) -> impl Iterator<Item = char> {
    let mut skipping = head.starts_with("#TYPE");
    text.skip_while(move |c| {
        let skipped = skipping;
        skipping &= *c != '\n';
        skipped
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row's number, and its names and values.
    type Row = (usize, Vec<(String, String)>);

    fn table(text: &str) -> Option<Vec<Row>> {
        let mut rows = Vec::new();
        let delimiter = delimiter(text)?;
        let is_table = read(
            without_types(text.chars(), text),
            delimiter,
            |number, fields| {
                let text_of = |field: &Field| {
                    let value = String::from_utf8(field.value.to_vec()).unwrap();
                    (field.name.clone(), value)
                };
                rows.push((number, fields.iter().map(text_of).collect()));
            },
        );
        is_table.then_some(rows)
    }

    #[test]
    fn reads_quoted_delimiters_quotes_and_line_breaks() {
        const DIGITS: &str = "0123456789012345678901234567890123456789";
        let text = format!(
            "#TYPE x\r\n\"a\";\"b\"\r\n\r\n;\r\nno;password\r\n\"1;\"\"2\"\"\n3\";{DIGITS}\r\n"
        );
        let found = table(&text).unwrap();
        let expected =
            [("a", "1;\"2\"\n3"), ("b", DIGITS)].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(found, [(3, expected.to_vec())]);
    }

    #[test]
    fn does_not_take_plain_text_for_a_table() {
        assert!(table("just words\nand more").is_none());
        assert!(table("").is_none());
        let digits = "0123456789".repeat(4);
        assert!(table(&format!("{digits},a\nb,c")).is_none());
    }
}
