//! The list of runs (data runs) that gives the clusters of an attribute. Each run is a byte with the
//! lengths of the two numbers that follow: the number of clusters, and the distance from the start of
//! the run before. A run without a distance is a hole.

use crate::format::FormatError;
use crate::format::wire::Fields;

/// Adjacent clusters of an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// Number of clusters.
    pub(crate) len: u64,
    /// Number of the first cluster on the volume; `None` for a hole.
    pub(crate) at: Option<u64>,
}

/// Parses a list of runs up to its end mark.
///
/// # Errors
/// If the list is truncated, or a cluster number has more than 63 bits.
pub(crate) fn decode(list: &Fields<'_>) -> Result<Vec<Run>, FormatError> {
    let mut runs = Vec::new();
    let mut position = 0usize;
    let mut place = 0i64;
    loop {
        let head = list.u8(position)?;
        if head == 0 {
            return Ok(runs);
        }
        let (len_bytes, at_bytes) = (usize::from(head & 0xF), usize::from(head >> 4));
        let at_start = position.saturating_add(1).saturating_add(len_bytes);
        let len = number(list.slice(position.saturating_add(1), len_bytes)?);
        let distance = number(list.slice(at_start, at_bytes)?);
        let (Some(len), Some(distance)) = (len, distance) else {
            return Err(list.fault("a run with numbers of more than eight bytes"));
        };
        let len = u64::try_from(len).ok().filter(|len| *len > 0);
        let len = len.ok_or_else(|| list.fault("a run without clusters"))?;
        let at = if at_bytes == 0 {
            None
        } else {
            let next = place.checked_add(distance);
            place = next.ok_or_else(|| list.fault("a run whose place overflows"))?;
            Some(u64::try_from(place).map_err(|_| list.fault("a run before the volume"))?)
        };
        runs.push(Run { len, at });
        position = at_start.saturating_add(at_bytes);
    }
}

/// Encodes these runs with the end mark; `None` if a number is too large.
pub(crate) fn encode(runs: &[Run]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut place = 0i64;
    for run in runs {
        let len = significant(i64::try_from(run.len).ok()?);
        let distance = match run.at {
            Some(at) => {
                let at = i64::try_from(at).ok()?;
                let distance = significant(at.checked_sub(place)?);
                place = at;
                distance
            }
            None => Vec::new(),
        };
        bytes.push(u8::try_from(distance.len() << 4 | len.len()).ok()?);
        bytes.extend(len);
        bytes.extend(distance);
    }
    bytes.push(0);
    Some(bytes)
}

/// A signed little-endian number of up to eight bytes.
fn number(bytes: &[u8]) -> Option<i64> {
    let negative = bytes.last().is_some_and(|last| last & 0x80 != 0);
    let mut whole = [if negative { 0xFF } else { 0 }; 8];
    whole.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(i64::from_le_bytes(whole))
}

/// The shortest signed encoding of a number.
fn significant(value: i64) -> Vec<u8> {
    let bytes = value.to_le_bytes();
    let len = (1..8)
        .find(|len| number(bytes.get(..*len).unwrap_or_default()) == Some(value))
        .unwrap_or(8);
    bytes.get(..len).unwrap_or_default().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> Option<Vec<Run>> {
        decode(&Fields::new("runs", bytes, 0)).ok()
    }

    #[test]
    fn reads_holes_and_runs_that_lie_before_the_last() {
        let list = hex!("2138345632 1114 E0 01 11 18 03 00");
        // 0x21: one byte of length 0x38, two of place 0x5634; 0x32: two of length 0x1411, three
        // of distance.
        assert_eq!(read(&list[..4]), None);
        let runs = read(&hex!("21385634 0120 1118F0 00")).unwrap();
        let run = |len, at| Run { len, at };
        let expected = [
            run(0x38, Some(0x3456)),
            run(0x20, None),
            run(0x18, Some(0x3446)),
        ];
        assert_eq!(runs, expected);
        assert_eq!(encode(&runs).unwrap(), hex!("21385634 0120 1118F0 00"));
        assert_eq!(read(&hex!("1101F0 00")), None);
        assert_eq!(read(&hex!("1100F0 00")), None);
        assert_eq!(read(&[0x9F; 64]), None);
    }

    proptest! {
        #[test]
        fn reads_what_it_writes(runs in prop::collection::vec(
            (1u64..1 << 40, prop::option::of(0u64..1 << 40)), 0..20,
        )) {
            let runs: Vec<_> = runs.into_iter().map(|(len, at)| Run { len, at }).collect();
            prop_assert_eq!(read(&encode(&runs).unwrap()), Some(runs));
        }

        #[test]
        fn survives_every_list(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = read(&bytes);
        }
    }
}
