//! Identifiers in a text, and which password each belongs to
//! (docs/format-recovery-password.md §1.5 and §1.6; docs/format-recovery.md §2.1).

use super::glyph::{Glyph, Separator, glyph};
use crate::guid::Guid;

/// The lengths of an identifier's groups.
const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];
/// Names of other things that have identifiers, as they stand before them in exports: Graph's
/// `deviceId`, the directory's `msFVE-VolumeGuid`.
const OTHER_OWNERS: [&str; 5] = ["device", "volume", "computer", "tenant", "machine"];

/// An identifier and where it stands.
#[derive(Clone)]
pub(super) struct Identifier {
    /// The identifier.
    pub(super) id: Guid,
    /// The line it stands on, from 0.
    pub(super) line: usize,
    /// Whether the name before it says that it belongs to something else.
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

/// Whether the name that ends a text says device, volume or the like.
fn is_of_another(before: &[char]) -> bool {
    let (mut name, before) = last_name(before);
    // `Volume ID`: the word before says more.
    if let ("id" | "guid", [before @ .., ' ' | '-' | '_']) = (name.as_str(), before) {
        name = last_name(before).0;
    }
    OTHER_OWNERS.iter().any(|owner| name.contains(owner))
}

/// The last name in a line, in lower case, and what stands before it. A name ends at a digit,
/// so that in JSON the name before last is not taken along.
fn last_name(text: &[char]) -> (String, &[char]) {
    /// Longer than any name of a column.
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

/// Something that may be bound to something else, in the order of the text.
pub(super) enum Landmark {
    /// An identifier.
    Identifier(Identifier),
    /// A password, which begins on this line.
    Password {
        /// From 0.
        line: usize,
    },
}

/// The identifier of each password, in the order of the text: the nearest before it, unless that
/// one already belongs to another password; in a table also the one after it in the same line.
pub(super) fn assign(landmarks: &[Landmark]) -> Vec<Option<Guid>> {
    let mut assigned = Vec::new();
    let mut used = None;
    for (at, landmark) in landmarks.iter().enumerate() {
        let Landmark::Password { line } = landmark else {
            continue;
        };
        let way = || landmarks.iter().enumerate();
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
    only_pair(landmarks, &mut assigned);
    assigned
}

/// The first identifier on the way to the next password, and its place, unless it is `used`.
fn nearest<'a>(
    mut way: impl Iterator<Item = (usize, &'a Landmark)>,
    used: Option<usize>,
) -> Option<(usize, &'a Identifier)> {
    let found = way.find_map(|(at, landmark)| match landmark {
        Landmark::Identifier(id) if id.of_another => None,
        Landmark::Identifier(id) => Some(Some((at, id))),
        Landmark::Password { .. } => Some(None),
    });
    found.flatten().filter(|(at, _)| used != Some(*at))
}

/// One password and one identifier in the whole text belong together wherever they stand.
fn only_pair(landmarks: &[Landmark], assigned: &mut [Option<Guid>]) {
    let [alone @ None] = assigned else {
        return;
    };
    let mut ids = landmarks.iter().filter_map(|landmark| match landmark {
        Landmark::Identifier(id) if !id.of_another => Some(id.id),
        _ => None,
    });
    if let (Some(id), None) = (ids.next(), ids.next()) {
        *alone = Some(id);
    }
}
