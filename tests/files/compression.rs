//! Compressed files: LZNT1, XPRESS and LZX, against libwim and dissect.util.

use std::io::Write;
use std::process::{Command, Stdio};

use fve::files::Compression;

use crate::common::trials::{Missing, programs, trial};
use crate::common::writing::Random;
use crate::oracles::{dissect, python};

/// Formats with the sizes of their chunks.
const FORMATS: [(Compression, &[usize]); 3] = [
    (Compression::Lznt1, &[8192, 65_536]),
    (Compression::Xpress, &[4096, 8192, 16_384, 65_536]),
    (Compression::Lzx, &[32_768]),
];
/// Inputs for each size.
const INPUTS: usize = 60;

fn libwim() -> Option<Missing> {
    dissect().or_else(|| programs(&["wimlib-imagex"]))
}

/// Data of many kinds: zeros, noise, text, few letters, periods, calls of x86 code, copies of what was
/// before.
fn data(random: &mut Random, len: usize) -> Vec<u8> {
    let text = include_bytes!("compression.rs");
    let mut data = match random.below(7) {
        0 => vec![0; len],
        1 => random.bytes(len),
        2 => {
            let skipped = random.below(text.len() as u64) as usize;
            text.iter()
                .cycle()
                .skip(skipped)
                .take(len)
                .copied()
                .collect()
        }
        3 => (0..len).map(|_| b'a' + random.below(2) as u8).collect(),
        4 => {
            let period = 1 + random.below(40) as usize;
            random.bytes(period).into_iter().cycle().take(len).collect()
        }
        5 => calls(random, len),
        _ => copies(random, len),
    };
    data.truncate(len);
    data
}

fn calls(random: &mut Random, len: usize) -> Vec<u8> {
    let mut data: Vec<u8> = (0..len).map(|_| random.below(16) as u8).collect();
    for _ in 0..len / 20 {
        let at = random.below(len as u64) as usize;
        let target = match random.below(6) {
            0 => 11_999_999,
            1 => 12_000_000,
            2 => -(at as i32),
            3 => -(at as i32) - 1,
            4 => random.next() as i32,
            _ => random.below(80_000) as i32 - 40_000,
        };
        let call = [&[0xE8][..], &target.to_le_bytes()].concat();
        let end = (at + 5).min(len);
        data[at..end].copy_from_slice(&call[..end - at]);
    }
    data
}

fn copies(random: &mut Random, len: usize) -> Vec<u8> {
    const LENGTHS: [usize; 11] = [2, 3, 4, 10, 17, 18, 19, 100, 272, 273, 2000];
    let mut data = Vec::new();
    while data.len() < len {
        if data.is_empty() || random.below(2) == 0 {
            let count = 1 + random.below(60) as usize;
            data.extend(random.bytes(count).iter().map(|byte| byte & byte >> 2));
        } else {
            let distance = 1 + random.below(data.len() as u64) as usize;
            for _ in 0..LENGTHS[random.below(11) as usize] {
                data.push(data[data.len() - distance]);
            }
        }
    }
    data
}

/// What Python makes of inputs; `None` for those that do not become smaller.
fn compressed(inputs: &[(Compression, usize, Vec<u8>)]) -> Vec<Option<Vec<u8>>> {
    let mut frames = Vec::new();
    for (format, size, data) in inputs {
        let index = FORMATS
            .iter()
            .position(|(other, _)| other == format)
            .unwrap();
        frames.push(index as u8);
        frames.extend((*size as u32).to_le_bytes());
        frames.extend((data.len() as u32).to_le_bytes());
        frames.extend(data);
    }
    let mut child = Command::new(python())
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/files/compress.py"
        ))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(&frames));
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success(), "compress.py failed");
    let mut rest = &output.stdout[..];
    let mut all = Vec::new();
    while let Some((len, after)) = rest.split_first_chunk() {
        let (data, after) = after.split_at(u32::from_le_bytes(*len) as usize);
        all.push((!data.is_empty()).then(|| data.to_vec()));
        rest = after;
    }
    all
}

#[trial(
    "what libwim and dissect.util compressed is decompressed",
    needs(libwim)
)]
fn compressed_data_is_read() {
    let mut random = Random::new(14);
    let mut inputs = Vec::new();
    for (format, sizes) in FORMATS {
        for size in sizes {
            for input in 0..INPUTS {
                let len = match input % 3 {
                    0 => 1 + random.below(*size as u64) as usize,
                    _ => *size,
                };
                inputs.push((format, *size, data(&mut random, len)));
            }
        }
    }
    let outputs = compressed(&inputs);
    assert_eq!(outputs.len(), inputs.len());
    let mut counts = [0; FORMATS.len()];
    for ((format, _, data), packed) in inputs.iter().zip(outputs) {
        let Some(mut packed) = packed else { continue };
        let mut found = vec![0xEE; data.len()];
        format.decompress(&packed, &mut found).unwrap();
        assert!(found == *data, "{format:?} of {} bytes", data.len());
        let index = FORMATS
            .iter()
            .position(|(other, _)| other == format)
            .unwrap();
        counts[index] += 1;
        // Damaged data fails or gives other bytes; it never panics and never runs long.
        for _ in 0..8 {
            let bound = match random.below(2) {
                0 => packed.len().min(300),
                _ => packed.len(),
            };
            packed[random.below(bound as u64) as usize] = random.next() as u8;
            let _ = format.decompress(&packed, &mut found);
        }
        packed.truncate(random.below(packed.len() as u64) as usize);
        let _ = format.decompress(&packed, &mut found);
    }
    assert!(counts.iter().all(|count| *count > INPUTS / 2), "{counts:?}");
}

#[trial("random bytes are refused, or give as many bytes as they should")]
fn random_bytes_do_no_harm() {
    let mut random = Random::new(15);
    for round in 0..3000 {
        let len = random.below(2000) as usize;
        let mut bytes = random.bytes(len);
        if round % 2 == 0 {
            // A valid start: one symbol for every length of XPRESS, a header of LZNT1.
            bytes.splice(0..0, [0x88; 256]);
        } else if let [_, second, ..] = &mut bytes[..] {
            *second = 0xB0 | *second & 0x0F;
        }
        let mut out = vec![0; random.below(65_537) as usize];
        for (format, _) in FORMATS {
            let _ = format.decompress(&bytes, &mut out);
        }
    }
}
