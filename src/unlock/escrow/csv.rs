//! Tables of text (RFC 4180): csvde, `Export-Csv`, exports of databases. Commas, semicolons or tabs
//! between the columns; the first row names them where it holds no password.

use zeroize::Zeroizing;

use super::record::Field;

/// Most columns of a table.
const MAX_COLUMNS: usize = 1024;

/// The rows of a table as records, each with its number, from 1; nothing where the text is none.
pub(super) fn rows(text: &str) -> Option<Vec<(usize, Vec<Field>)>> {
    let delimiter = delimiter(text)?;
    let mut rows = cells(text, delimiter).into_iter();
    let head: Vec<String> = rows
        .next()?
        .iter()
        .map(|cell| String::from_utf8_lossy(cell).trim().to_owned())
        .collect();
    // A first row with a password in it is no head.
    let digits = |name: &String| name.bytes().filter(u8::is_ascii_digit).count();
    if head.len() < 2 || head.iter().any(|name| digits(name) >= 40) {
        return None;
    }
    let rows = rows.enumerate().map(|(number, cells)| {
        let fields = head.iter().zip(cells).map(|(name, value)| Field {
            name: name.clone(),
            value,
        });
        (number + 2, fields.collect())
    });
    Some(rows.collect())
}

/// What stands most often between the words of the first line, outside of quotes.
fn delimiter(text: &str) -> Option<char> {
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

type Cell = Zeroizing<Vec<u8>>;

fn cells(text: &str, delimiter: char) -> Vec<Vec<Cell>> {
    let mut rows = Vec::new();
    let mut row: Vec<Cell> = Vec::new();
    let mut cell = Cell::default();
    let mut quoted = false;
    // What `Export-Csv` says of types before the head.
    let text = match text.strip_prefix("#TYPE") {
        Some(rest) => rest.split_once('\n').map_or("", |(_, rest)| rest),
        None => text,
    };
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                cell.push(b'"');
            }
            '"' => quoted = !quoted,
            _ if quoted => push(&mut cell, c),
            '\n' => {
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            '\r' => {}
            c if c == delimiter && row.len() < MAX_COLUMNS => row.push(std::mem::take(&mut cell)),
            c => push(&mut cell, c),
        }
    }
    if !cell.is_empty() || !row.is_empty() {
        row.push(cell);
        rows.push(row);
    }
    rows.retain(|row| row.iter().any(|cell| !cell.is_empty()));
    rows
}

fn push(cell: &mut Cell, c: char) {
    /// Room for a password at once: growing would leave copies behind.
    const ROOM: usize = 64;
    if cell.capacity() == 0 {
        cell.reserve_exact(ROOM);
    }
    let mut bytes = [0; 4];
    cell.extend_from_slice(c.encode_utf8(&mut bytes).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Vec<(usize, Vec<(String, String)>)> {
        let text_of = |field: &Field| {
            let value = String::from_utf8(field.value.to_vec()).unwrap();
            (field.name.clone(), value)
        };
        let rows = rows(text).unwrap();
        rows.iter()
            .map(|(number, fields)| (*number, fields.iter().map(text_of).collect()))
            .collect()
    }

    #[test]
    fn quotes_may_hold_anything() {
        let found = table("#TYPE x\r\n\"a\";\"b\"\r\n\"1;\"\"2\"\"\n3\";4\r\n");
        let expected = [("a", "1;\"2\"\n3"), ("b", "4")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(found, [(2, expected.to_vec())]);
    }

    #[test]
    fn plain_text_is_no_table() {
        assert!(rows("just words\nand more").is_none());
        assert!(rows("").is_none());
    }
}
