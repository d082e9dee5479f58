//! Map files of GNU ddrescue, which show what of a volume was saved (ddrescue's manual, section
//! "Mapfile structure"). Positions are offsets in the output.

use std::fmt::Write;
use std::ops::Range;

use super::Exported;

/// ddrescue's status for a saved range.
const FINISHED: char = '+';
/// Its status for a range that cannot be read.
const BAD: char = '-';
/// Its status for a range not yet tried: it is not in the source, but may be in a longer image.
const NOT_TRIED: char = '?';

/// The map file for the export of a volume of `size` bytes. Saved ranges are marked as finished,
/// unreadable ones as bad, and the range beyond the end of a truncated image as not tried.
pub fn ddrescue_map(exported: &Exported, size: u64) -> String {
    let mut text = "# Mapfile. Written by fve: what of the volume was saved\n\
        # current_pos  current_status  current_pass\n\
        0x00000000     +               1\n\
        #      pos        size  status\n"
        .to_owned();
    let mut add = |range: Range<u64>, status| {
        let len = range.end.saturating_sub(range.start);
        if len > 0 {
            let _ = writeln!(text, "0x{:08X}  0x{len:08X}  {status}", range.start);
        }
    };
    let mut at = 0;
    for missing in &exported.missing {
        let end = missing.end.min(exported.len);
        add(at..missing.start.min(exported.len), FINISHED);
        add(missing.start..end, BAD);
        at = at.max(end);
    }
    add(at..exported.len, FINISHED);
    add(exported.len..size, NOT_TRIED);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn covers_the_volume_without_gaps() {
        let exported = Exported {
            len: 0x3000,
            missing: vec![0..0x200, 0x1000..0x1400, 0x3000..0x4000],
            sha256: None,
        };
        let map = ddrescue_map(&exported, 0x4000);
        let rows: Vec<_> = map.lines().skip(4).collect();
        assert_eq!(
            rows,
            [
                "0x00000000  0x00000200  -",
                "0x00000200  0x00000E00  +",
                "0x00001000  0x00000400  -",
                "0x00001400  0x00001C00  +",
                "0x00003000  0x00001000  ?",
            ]
        );
    }
}
