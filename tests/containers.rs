//! Containers made by independent programs hold the raw image that they were made from.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;

use common::mount::installed;
use fve::ReadAt;
use libtest_mimic::{Arguments, Trial};

/// How a raw image becomes a container: a program, its arguments (`IN`, `OUT`), the file to open.
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

fn main() -> ExitCode {
    let trials = RECIPES
        .iter()
        .map(|recipe| {
            let lacking = !installed(recipe.program);
            if lacking {
                eprintln!("SKIPPED: {}: no {}", recipe.name, recipe.program);
            }
            assert!(
                !lacking || std::env::var_os("FVE_REQUIRE_TOOLS").is_none(),
                "{} is not installed",
                recipe.program
            );
            Trial::test(recipe.name, || {
                check(recipe);
                Ok(())
            })
            .with_ignored_flag(lacking)
        })
        .collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
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

/// Text, noise, holes, and a size that is a multiple of no block but the sector.
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
