//! Overwriting secrets in the command line of this process, which every user of the computer can read in
//! `/proc/PID/cmdline`.

#![allow(unsafe_code)]

use std::ops::Range;

/// What the secret is replaced with.
const FILLER: u8 = b'x';

/// Overwrites the bytes of `range` in the argument with this number. Does nothing where the arguments are not
/// found in the memory of the process. `arguments` are all arguments of the process. Must be called while the
/// process has only one thread.
pub(super) fn overwrite(arguments: &[&[u8]], number: usize, range: Range<usize>) {
    let Some((start, len)) = place(arguments) else {
        return;
    };
    let before: usize = arguments
        .iter()
        .take(number)
        .map(|word| word.len() + 1)
        .sum();
    let inside = arguments
        .get(number)
        .is_some_and(|word| range.end <= word.len());
    if !inside || before + range.end > len {
        return;
    }
    for at in range {
        let byte = std::ptr::with_exposed_provenance_mut::<u8>(start + before + at);
        // SAFETY: the kernel put the arguments into this part of the stack, which stays mapped and writable as
        // long as the process runs. `place` has checked that the part has the length of all arguments, and the
        // byte is inside it. No reference to it exists: the standard library keeps pointers only, and there is
        // no other thread that could read through them.
        unsafe { byte.write_volatile(FILLER) };
    }
}

/// Where the arguments are in memory, and their length with the NUL bytes after each.
fn place(arguments: &[&[u8]]) -> Option<(usize, usize)> {
    // proc_pid_stat(5): arg_start and arg_end are the fields 48 and 49. Field 2 is in parentheses and may
    // contain spaces.
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(48 - 3);
    let start: usize = fields.next()?.parse().ok()?;
    let end: usize = fields.next()?.parse().ok()?;
    let len = end.checked_sub(start)?;
    let expected: usize = arguments.iter().map(|word| word.len() + 1).sum();
    (start != 0 && len == expected).then_some((start, len))
}
