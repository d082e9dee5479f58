#![no_main]
use libfuzzer_sys::fuzz_target;

mod explore;
mod sparse;

fuzz_target!(|bytes: &[u8]| {
    let mut disk = sparse::disk(bytes);
    // Otherwise most changed records would only show that their update sequence is checked.
    for at in (0..disk.len().saturating_sub(1024)).step_by(512) {
        if matches!(&disk[at..at + 4], b"FILE" | b"INDX") {
            protect(&mut disk[at..]);
        }
    }
    explore::explore(disk);
});

/// Writes the number of the update sequence of a record to the ends of its sectors.
fn protect(record: &mut [u8]) {
    let u16_at = |at: usize| usize::from(u16::from_le_bytes([record[at], record[at + 1]]));
    let (array, count) = (u16_at(4), u16_at(6));
    let Some(&[low, high]) = record.get(array..).and_then(|rest| rest.first_chunk()) else {
        return;
    };
    for sector in 1..count.min(9) {
        if let Some(end) = record.get_mut(sector * 512 - 2..sector * 512) {
            end.copy_from_slice(&[low, high]);
        }
    }
}
