//! Disk images made by other programs contain the raw image that they were made from.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;

use common::trials::{self, Trial, trial, trials};
use fve::ReadAt;

type Test = fn(&Recipe);

/// How to convert a raw image to a container: a program, its arguments (`IN`, `OUT`), the file to
/// open.
struct Recipe {
    name: &'static str,
    program: &'static str,
    arguments: &'static [&'static str],
    file: &'static str,
    container: &'static str,
}

const fn qemu(
    name: &'static str,
    container: &'static str,
    arguments: &'static [&'static str],
) -> Recipe {
    Recipe {
        name,
        program: "qemu-img",
        arguments,
        file: "",
        container,
    }
}

const fn ewf(name: &'static str, arguments: &'static [&'static str]) -> Recipe {
    Recipe {
        name,
        program: "ewfacquire",
        arguments,
        file: "container.E01",
        container: "E01",
    }
}

const RECIPES: &[Recipe] = &[
    qemu(
        "VHD, dynamic",
        "VHD",
        &["convert", "-O", "vpc", "-o", "force_size=on", "IN", "OUT"],
    ),
    qemu(
        "VHD, fixed",
        "VHD",
        &[
            "convert",
            "-O",
            "vpc",
            "-o",
            "subformat=fixed,force_size=on",
            "IN",
            "OUT",
        ],
    ),
    qemu("VHDX", "VHDX", &["convert", "-O", "vhdx", "IN", "OUT"]),
    qemu(
        "VHDX, fixed",
        "VHDX",
        &[
            "convert",
            "-O",
            "vhdx",
            "-o",
            "subformat=fixed,block_size=1M",
            "IN",
            "OUT",
        ],
    ),
    qemu("qcow2", "qcow2", &["convert", "-O", "qcow2", "IN", "OUT"]),
    qemu(
        "qcow2, version 2, small clusters",
        "qcow2",
        &[
            "convert",
            "-O",
            "qcow2",
            "-o",
            "compat=0.10,cluster_size=512",
            "IN",
            "OUT",
        ],
    ),
    qemu(
        "qcow2, compressed",
        "qcow2",
        &["convert", "-c", "-O", "qcow2", "IN", "OUT"],
    ),
    qemu(
        "qcow2, large compressed clusters",
        "qcow2",
        &[
            "convert",
            "-c",
            "-O",
            "qcow2",
            "-o",
            "cluster_size=2M",
            "IN",
            "OUT",
        ],
    ),
    qemu(
        "VMDK, one sparse file",
        "VMDK",
        &["convert", "-O", "vmdk", "IN", "OUT"],
    ),
    qemu(
        "VMDK, stream-optimised",
        "VMDK",
        &[
            "convert",
            "-O",
            "vmdk",
            "-o",
            "subformat=streamOptimized",
            "IN",
            "OUT",
        ],
    ),
    qemu(
        "VMDK, flat extents",
        "VMDK",
        &[
            "convert",
            "-O",
            "vmdk",
            "-o",
            "subformat=twoGbMaxExtentFlat",
            "IN",
            "OUT",
        ],
    ),
    qemu(
        "VMDK, sparse extents",
        "VMDK",
        &[
            "convert",
            "-O",
            "vmdk",
            "-o",
            "subformat=twoGbMaxExtentSparse",
            "IN",
            "OUT",
        ],
    ),
    ewf(
        "E01, plain",
        &[
            "-q",
            "-u",
            "-d",
            "sha1",
            "-t",
            "container",
            "-c",
            "none",
            "-S",
            "1GiB",
            "IN",
        ],
    ),
    ewf(
        "E01, deflated",
        &[
            "-q",
            "-u",
            "-d",
            "sha1",
            "-t",
            "container",
            "-c",
            "best",
            "-S",
            "1GiB",
            "IN",
        ],
    ),
    ewf(
        "E01, several segments",
        &[
            "-q",
            "-u",
            "-d",
            "sha1",
            "-t",
            "container",
            "-c",
            "fast",
            "-S",
            "1MiB",
            "IN",
        ],
    ),
    ewf(
        "E01, large chunks",
        &[
            "-q",
            "-u",
            "-d",
            "sha1",
            "-t",
            "container",
            "-b",
            "1024",
            "-c",
            "fast",
            "-S",
            "1GiB",
            "IN",
        ],
    ),
    ewf(
        "E01, as EnCase 1 wrote it",
        &[
            "-q",
            "-u",
            "-d",
            "sha1",
            "-t",
            "container",
            "-f",
            "encase1",
            "-c",
            "fast",
            "-S",
            "1GiB",
            "IN",
        ],
    ),
    Recipe {
        file: "container.s01",
        ..ewf(
            "S01, as SMART wrote it",
            &[
                "-q",
                "-u",
                "-t",
                "container",
                "-f",
                "smart",
                "-S",
                "1GiB",
                "IN",
            ],
        )
    },
    Recipe {
        file: "container.s01",
        ..ewf(
            "S01 in several segments",
            &[
                "-q",
                "-u",
                "-t",
                "container",
                "-f",
                "smart",
                "-c",
                "fast",
                "-S",
                "1MiB",
                "IN",
            ],
        )
    },
    Recipe {
        file: "container.e01",
        ..ewf(
            "E01 of the first version",
            &[
                "-q",
                "-u",
                "-t",
                "container",
                "-f",
                "ewf",
                "-c",
                "fast",
                "-S",
                "1MiB",
                "IN",
            ],
        )
    },
    Recipe {
        name: "split raw image with letters",
        program: "split",
        arguments: &["-b", "1000000", "IN"],
        file: "xaa",
        container: "split raw image",
    },
    Recipe {
        name: "split raw image",
        program: "split",
        arguments: &[
            "-b",
            "1000000",
            "-a",
            "3",
            "--numeric-suffixes=1",
            "IN",
            "disk.",
        ],
        file: "disk.001",
        container: "split raw image",
    },
];

#[trials]
fn every_container() -> Vec<Trial> {
    let tests: [(&str, Test); 2] = [("holds its image", check), ("hostile", hostile)];
    RECIPES
        .iter()
        .flat_map(|recipe| tests.map(|(what, test)| (recipe, what, test)))
        .map(|(recipe, what, test)| {
            let name = format!("{}: {what}", recipe.name);
            let missing = trials::programs(&[recipe.program]);
            trial(name, missing, move || test(recipe))
        })
        .chain(REFUSALS.iter().map(|refusal| {
            let name = format!("refused: {}", refusal.what);
            let missing = trials::programs(&["qemu-img"]);
            trial(name, missing, || refused(refusal))
        }))
        .collect()
}

/// A container that fve must refuse, because it would read wrong data.
struct Refusal {
    what: &'static str,
    /// Arguments of qemu-img; `base` is an image of the same format.
    arguments: &'static [&'static str],
    container: &'static str,
    /// Bytes to change if qemu-img cannot create such a container.
    change: &'static [(usize, u8)],
    says: &'static str,
}

const REFUSALS: &[Refusal] = &[
    Refusal {
        what: "qcow2 with a backing file",
        arguments: &["-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", "OUT"],
        container: "qcow2",
        change: &[],
        says: "backing file",
    },
    Refusal {
        what: "qcow2, encrypted",
        arguments: &["-f", "qcow2", "OUT", "1M"],
        container: "qcow2",
        change: &[(35, 2)],
        says: "encrypted",
    },
    Refusal {
        what: "qcow2 with its data elsewhere",
        arguments: &["-f", "qcow2", "-o", "data_file=data.raw", "OUT", "1M"],
        container: "qcow2",
        change: &[],
        says: "data is in another file",
    },
    Refusal {
        what: "qcow2 with subclusters",
        arguments: &["-f", "qcow2", "-o", "extended_l2=on", "OUT", "1M"],
        container: "qcow2",
        change: &[],
        says: "subclusters",
    },
    Refusal {
        what: "qcow2 with an unknown feature",
        arguments: &["-f", "qcow2", "OUT", "1M"],
        container: "qcow2",
        change: &[(72, 0x10)],
        says: "unknown features",
    },
    Refusal {
        what: "VMDK snapshot",
        arguments: &["-f", "vmdk", "-b", "base.vmdk", "-F", "vmdk", "OUT"],
        container: "VMDK",
        change: &[],
        says: "snapshot",
    },
    Refusal {
        what: "VHD, differencing",
        arguments: &["-f", "vpc", "-o", "subformat=fixed", "OUT", "1M"],
        container: "VHD",
        change: &[(63, 4)],
        says: "differencing VHD",
    },
    Refusal {
        what: "VHDX with an unplayed log",
        arguments: &["-f", "vhdx", "OUT", "1M"],
        container: "VHDX",
        change: &[(0x10000 + 48, 7), (0x20000 + 48, 7)],
        says: "log holds changes",
    },
];

fn refused(refusal: &Refusal) {
    let directory = tempfile::tempdir().expect("directory");
    let out = directory.path().join("container");
    let qemu = |arguments: &[&str]| {
        let status = Command::new("qemu-img")
            .args(["create", "-q"])
            .args(arguments)
            .current_dir(directory.path())
            .status()
            .expect("qemu-img");
        assert!(status.success(), "qemu-img create {arguments:?}");
    };
    for format in ["qcow2", "vmdk"] {
        qemu(&["-f", format, &format!("base.{format}"), "1M"]);
    }
    let arguments: Vec<_> = refusal
        .arguments
        .iter()
        .map(|argument| match *argument {
            "OUT" => "container",
            other => other,
        })
        .collect();
    qemu(&arguments);
    let mut bytes = std::fs::read(&out).expect("container");
    // A fixed VHD has only the footer at its end.
    let base = match refusal.container {
        "VHD" => bytes.len() - 512,
        _ => 0,
    };
    for (at, value) in refusal.change {
        bytes[base + at] = *value;
    }
    repair(refusal.container, &mut bytes);
    std::fs::write(&out, bytes).expect("container");
    match fve::source::open(&out) {
        Err(fve::Error::Unsupported { what, .. }) => assert!(what.contains(refusal.says), "{what}"),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("opened"),
    }
}

fn check(recipe: &Recipe) {
    let directory = tempfile::tempdir().expect("directory");
    let raw = image();
    let source = directory.path().join("raw.img");
    std::fs::write(&source, &raw).expect("raw image");
    let container = make(recipe, directory.path(), &source);
    let (disk, name) = fve::source::open(&container).expect("opens");
    assert_eq!(name, Some(recipe.container));
    assert!(disk.size() >= raw.len() as u64, "{}", disk.size());
    let mut whole = vec![0xA5; raw.len()];
    disk.read_exact_at(0, &mut whole).expect("reads");
    assert!(whole == raw, "content differs");
    beyond_the_end(&*disk);
    odd_places_from_several_threads(&disk, &Arc::new(raw));
}

/// Text, noise and holes, with a size that is a multiple of the sector but of no larger block.
fn image() -> Vec<u8> {
    let mut image = vec![0; 9 * 1024 * 1024 + 512];
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    for (nth, chunk) in image.chunks_mut(96 * 1024).enumerate() {
        match nth % 4 {
            0 => chunk.iter_mut().for_each(|byte| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                *byte = state as u8;
            }),
            1 => chunk.fill(nth as u8),
            2 => chunk.iter_mut().zip(0u32..).for_each(|(byte, at)| {
                *byte = (at / 37 + nth as u32) as u8;
            }),
            _ => {}
        }
    }
    let len = image.len();
    image[3 << 20..5 << 20].fill(0);
    image[len - 512..].fill(0xEE);
    image
}

fn make(recipe: &Recipe, directory: &Path, raw: &Path) -> PathBuf {
    let out = directory.join("container");
    let arguments = recipe.arguments.iter().map(|argument| match *argument {
        "IN" => raw.as_os_str(),
        "OUT" => out.as_os_str(),
        other => other.as_ref(),
    });
    let output = Command::new(recipe.program)
        .args(arguments)
        .current_dir(directory)
        .output()
        .expect("runs");
    assert!(
        output.status.success(),
        "{}: {}",
        recipe.program,
        String::from_utf8_lossy(&output.stderr)
    );
    if recipe.file.is_empty() {
        out
    } else {
        directory.join(recipe.file)
    }
}

fn beyond_the_end(disk: &dyn ReadAt) {
    for offset in [disk.size() - 511, disk.size(), u64::MAX - 100] {
        let error = disk.read_exact_at(offset, &mut [0; 512]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    }
}

fn odd_places_from_several_threads(disk: &Arc<dyn ReadAt>, raw: &Arc<Vec<u8>>) {
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            scope.spawn(move || {
                let mut state = 0x1234_5678 + thread;
                for _ in 0..200 {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    let len = 1 + (state >> 40) as usize % 200_000;
                    let offset = (state >> 20) as usize % (raw.len() - len);
                    let mut buf = vec![0xA5; len];
                    disk.read_exact_at(offset as u64, &mut buf).expect("reads");
                    assert!(buf == raw[offset..offset + len], "{offset}+{len}");
                }
            });
        }
    });
}

/// Attempts for each container; for more: `FVE_FUZZ_TRIES=20000 cargo test --test containers
/// hostile`.
const TRIES: u64 = 100;
/// A reader needs at most a block of 16 MiB; an unchecked length field would make it allocate 4
/// GiB.
const MAX_MEMORY_KIB: u64 = 3 << 20;

/// Sets fields to random values and updates the checksums: no panic, no large allocation, and no
/// endless read.
fn hostile(recipe: &Recipe) {
    let directory = tempfile::tempdir().expect("directory");
    let source = directory.path().join("raw.img");
    std::fs::write(&source, &image()[..700 * 1024]).expect("raw image");
    let container = make(recipe, directory.path(), &source);
    let bytes = std::fs::read(&container).expect("container");
    let interesting = interesting(&bytes);
    let tries = std::env::var("FVE_FUZZ_TRIES").map_or(TRIES, |tries| tries.parse().unwrap());
    let mut opened = 0;
    for nth in 0..tries {
        let mut changed = bytes.clone();
        let mut state = nth.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut random = |limit: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 16) as usize % limit
        };
        for _ in 0..1 + random(3) {
            let at = interesting[random(interesting.len())];
            let len = [1, 2, 4, 8][random(4)].min(changed.len() - at);
            let value = [0, 1, 0x7F, 0x80, 0xFF, random(256) as u8][random(6)];
            changed[at..at + len].fill(value);
        }
        if random(10) == 0 {
            changed.truncate(random(changed.len()));
        }
        repair(recipe.container, &mut changed);
        std::fs::write(&container, &changed).expect("container");
        if let Ok((disk, _)) = fve::source::open(&container) {
            opened += 1;
            let mut buf = vec![0; 256 << 10];
            for at in [
                0,
                300_001,
                disk.size() / 2,
                disk.size().saturating_sub(256 << 10),
            ] {
                let _ = disk.read_exact_at(at, &mut buf);
            }
        }
    }
    assert!(
        opened > 0,
        "no changed container was opened: the test checks nothing"
    );
    let peak = peak_memory_kib();
    assert!(peak < MAX_MEMORY_KIB, "{peak} KiB");
}

/// Offsets of header and table bytes: those that are not zero in the first 4 KiB of each 64 KiB,
/// and at the end.
fn interesting(bytes: &[u8]) -> Vec<usize> {
    (0..bytes.len())
        .filter(|at| at % 65536 < 4096 || at + 1536 > bytes.len())
        .filter(|at| bytes[*at] != 0 || at % 97 == 0)
        .collect()
}

/// Peak of the address space, which includes memory that was allocated but not used.
fn peak_memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find(|line| line.starts_with("VmPeak"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number
        .and_then(|number| number.parse().ok())
        .expect("VmPeak")
}

/// Updates the checksums, so that the parser accepts the changed fields.
fn repair(container: &str, bytes: &mut [u8]) {
    match container {
        "VHD" => {
            let end = bytes.len().saturating_sub(512);
            for (at, len, sum) in [(0, 512, 64), (512, 1024, 36), (end, 512, 64)] {
                let Some(structure) = bytes.get_mut(at..at + len) else {
                    continue;
                };
                structure[sum..sum + 4].fill(0);
                let total: u32 = structure.iter().map(|byte| u32::from(*byte)).sum();
                structure[sum..sum + 4].copy_from_slice(&(!total).to_be_bytes());
            }
        }
        "VHDX" => {
            for (at, len) in [(64, 4), (128, 4), (192, 64), (256, 64)] {
                let Some(structure) = bytes.get_mut(at << 10..(at + len) << 10) else {
                    continue;
                };
                structure[4..8].fill(0);
                let crc = !structure.iter().fold(u32::MAX, |crc, byte| {
                    (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
                        (crc >> 1) ^ (0x82F6_3B78 * (crc & 1))
                    })
                });
                structure[4..8].copy_from_slice(&crc.to_le_bytes());
            }
        }
        "E01" => repair_e01(bytes),
        _ => {}
    }
}

fn repair_e01(bytes: &mut [u8]) {
    let adler = |bytes: &[u8]| {
        let (a, b) = bytes.iter().fold((1u32, 0u32), |(a, b), byte| {
            let a = (a + u32::from(*byte)) % 65521;
            (a, (b + a) % 65521)
        });
        ((b << 16) | a).to_le_bytes()
    };
    let mut at = 13;
    while let Some(section) = bytes.get_mut(at..).filter(|rest| rest.len() >= 76) {
        let sum = adler(&section[..72]);
        section[72..76].copy_from_slice(&sum);
        if section.starts_with(b"table") && section.len() > 104 {
            let sum = adler(&section[76..96]);
            section[96..100].copy_from_slice(&sum);
            let count = u32::from_le_bytes(section[76..80].try_into().unwrap()) as usize;
            let end = 100 + count * 4;
            if section.len() >= end + 4 {
                let sum = adler(&section[100..end]);
                section[end..end + 4].copy_from_slice(&sum);
            }
        }
        let next = u64::from_le_bytes(section[16..24].try_into().unwrap()) as usize;
        if next <= at {
            break;
        }
        at = next;
    }
}

fn main() -> ExitCode {
    common::harness::main()
}
