#![no_main]
use libfuzzer_sys::fuzz_target;

mod explore;
mod sparse;

fuzz_target!(|bytes: &[u8]| {
    let mut disk = sparse::disk(bytes);
    // Some inputs keep their checksums, so that wrong ones are tried, too.
    if bytes.len() % 8 != 0 {
        boot_checksum(&mut disk);
        let last = disk.len().saturating_sub(32 * 19);
        for at in (0..last).step_by(32) {
            if disk[at] == 0x85 {
                entry_checksum(&mut disk[at..at + 32 * 19]);
            }
        }
    }
    explore::explore(disk);
});

/// The checksum of the boot region, in the twelfth sector (exFAT specification, 3.4).
fn boot_checksum(disk: &mut [u8]) {
    let sector = 1usize << disk.get(108).map_or(9, |shift| (*shift).clamp(9, 12));
    let Some((region, rest)) = disk.split_at_mut_checked(11 * sector) else {
        return;
    };
    let mut sum = 0u32;
    for (at, byte) in region.iter().enumerate() {
        if !matches!(at, 106 | 107 | 112) {
            sum = sum.rotate_right(1).wrapping_add(u32::from(*byte));
        }
    }
    if let Some(target) = rest.get_mut(..sector) {
        for four in target.chunks_mut(4) {
            four.copy_from_slice(&sum.to_le_bytes()[..four.len()]);
        }
    }
}

/// The checksum of a set of directory entries (exFAT specification, 6.3.3).
fn entry_checksum(set: &mut [u8]) {
    let len = 32 * (1 + usize::from(set[1]).min(18));
    let mut sum = 0u16;
    for (at, byte) in set[..len].iter().enumerate() {
        if !matches!(at, 2 | 3) {
            sum = sum.rotate_right(1).wrapping_add(u16::from(*byte));
        }
    }
    set[2..4].copy_from_slice(&sum.to_le_bytes());
}
