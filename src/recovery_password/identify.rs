//! Finds identifiers in a text, and assigns them to passwords (docs/format-recovery-password.md §1.5
//! and §1.6; docs/format-recovery.md §2.1).

use super::glyph::{Glyph, Separator, glyph};
use crate::guid::Guid;

/// The lengths of a GUID's groups in characters.
const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];
/// Words in the names of other identifiers, as exports write them: `deviceId` of Microsoft Graph,
/// `msFVE-VolumeGuid` of Active Directory.
const OTHER_OWNERS: [&str; 5] = ["device", "volume", "computer", "tenant", "machine"];

/// An identifier in a text.
#[derive(Clone)]
pub(super) struct Identifier {
    /// The identifier.
    pub(super) id: Guid,
    /// Its line, counted from 0.
    pub(super) line: usize,
    /// Whether the name before it says that it is not a key protector's.
    pub(super) of_another: bool,
}

/// The identifier that begins at `start`, and its length in characters.
pub(super) fn identifier_at(
    chars: &[char],
    start: usize,
    line: usize,
) -> Option<(Identifier, usize)> {
    let inside_word = |at: Option<usize>| {
        at.and_then(|at| chars.get(at))
            .is_some_and(|c| c.is_alphanumeric())
    };
    if !chars.get(start)?.is_ascii_hexdigit() || inside_word(start.checked_sub(1)) {
        return None;
    }
    let mut text = String::with_capacity(36);
    let mut at = start;
    for (nth, len) in GROUPS.into_iter().enumerate() {
        if nth > 0 {
            let dash = glyph(*chars.get(at)?) == Glyph::Separator(Separator::Dash);
            at = dash.then(|| at.checked_add(1)).flatten()?;
            text.push('-');
        }
        let end = at.checked_add(len)?;
        let group = chars.get(at..end)?;
        if !group.iter().all(char::is_ascii_hexdigit) {
            return None;
        }
        text.extend(group);
        at = end;
    }
    if inside_word(Some(at)) {
        return None;
    }
    let identifier = Identifier {
        id: text.parse().ok()?,
        line,
        of_another: is_of_another(chars.get(..start)?),
    };
    Some((identifier, at.checked_sub(start)?))
}

/// Whether the name at the end of `before` is one of [`OTHER_OWNERS`].
fn is_of_another(before: &[char]) -> bool {
    let (mut name, before) = last_name(before);
    // In `Volume ID`, the word before decides.
    if let ("id" | "guid", [before @ .., ' ' | '-' | '_']) = (name.as_str(), before) {
        name = last_name(before).0;
    }
    OTHER_OWNERS.iter().any(|owner| name.contains(owner))
}

/// The last name in a line, in lower case, and the text before it. A name contains no digits, so that in
/// JSON it does not extend into the value before it.
fn last_name(text: &[char]) -> (String, &[char]) {
    /// Longer than any column name.
    const LONGEST: usize = 40;
    let mut rest = text;
    while let [before @ .., c] = rest
        && !c.is_alphanumeric()
        && *c != '\n'
    {
        rest = before;
    }
    let mut name = Vec::new();
    while let [before @ .., c] = rest
        && c.is_alphabetic()
        && name.len() < LONGEST
    {
        name.push(c.to_ascii_lowercase());
        rest = before;
    }
    (name.into_iter().rev().collect(), rest)
}

/// An identifier or a password, in the order of the text.
pub(super) enum Occurrence {
    /// An identifier.
    Identifier(Identifier),
    /// A password.
    Password {
        /// The line on which it begins, counted from 0.
        line: usize,
    },
}

/// The identifier of each password, in the order of the text: the nearest one before it, unless that
/// was already assigned to another password; or the one after it, if it is in the same line, as in
/// tables.
pub(super) fn assign(occurrences: &[Occurrence]) -> Vec<Option<Guid>> {
    let mut assigned = Vec::new();
    let mut used = None;
    for (at, occurrence) in occurrences.iter().enumerate() {
        let Occurrence::Password { line } = occurrence else {
            continue;
        };
        let way = || occurrences.iter().enumerate();
        let before = nearest(way().take(at).rev(), used);
        let after = nearest(way().skip(at).skip(1), used);
        let same_line = |found: &(usize, &Identifier)| found.1.line == *line;
        let chosen = before
            .filter(same_line)
            .or(after.filter(same_line))
            .or(before);
        used = chosen.map(|(at, _)| at).or(used);
        assigned.push(chosen.map(|(_, identifier)| identifier.id));
    }
    only_pair(occurrences, &mut assigned);
    assigned
}

/// The first identifier in `way` before the next password, with its index, unless it is `used`.
fn nearest<'a>(
    mut way: impl Iterator<Item = (usize, &'a Occurrence)>,
    used: Option<usize>,
) -> Option<(usize, &'a Identifier)> {
    let found = way.find_map(|(at, occurrence)| match occurrence {
        Occurrence::Identifier(id) if id.of_another => None,
        Occurrence::Identifier(id) => Some(Some((at, id))),
        Occurrence::Password { .. } => Some(None),
    });
    found.flatten().filter(|(at, _)| used != Some(*at))
}

/// If the text has one password and one identifier, they belong together, wherever they are.
fn only_pair(occurrences: &[Occurrence], assigned: &mut [Option<Guid>]) {
    let [alone @ None] = assigned else {
        return;
    };
    let mut ids = occurrences
        .iter()
        .filter_map(|occurrence| match occurrence {
            Occurrence::Identifier(id) if !id.of_another => Some(id.id),
            _ => None,
        });
    if let (Some(id), None) = (ids.next(), ids.next()) {
        *alone = Some(id);
    }
}
