//! Extracts the files whose names match a pattern with `*` and `?`, without regard to case:
//! `cargo run --example extract [PATTERN DIRECTORY [IMAGE RECOVERY_PASSWORD_FILE]]`.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use fve::files::{self, Content, FileKind, FilePath};
use fve::unlock::RecoveryPasswords;
use fve::volume::{UnlockOptions, Volume};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let testdata = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata");
    let mut arguments = std::env::args().skip(1);
    let pattern = arguments.next().unwrap_or_else(|| "*.txt".to_owned());
    let target = arguments
        .next()
        .map_or_else(|| std::env::temp_dir().join("fve-extract"), Into::into);
    let image = arguments
        .next()
        .unwrap_or_else(|| format!("{testdata}/ntfs-xts-128.img"));
    let password = arguments
        .next()
        .unwrap_or_else(|| format!("{testdata}/ntfs-xts-128.recovery.txt"));

    let credential = RecoveryPasswords::from_file(password)?;
    let volume = Volume::open(image)?;
    let unlocked = volume.unlock(&[credential], &UnlockOptions::default())?;
    let files = files::open(Arc::new(unlocked))?;

    let pattern: Vec<char> = pattern.to_lowercase().chars().collect();
    let mut walk = files.walk(files.root(), FilePath::default());
    while let Some(found) = walk.next() {
        let found = found?;
        if files.is_internal(&found.entry) {
            walk.skip_directory();
            continue;
        }
        let name: Vec<char> = found
            .entry
            .name
            .to_text_lossy()
            .to_lowercase()
            .chars()
            .collect();
        if found.entry.kind != FileKind::File || !matches(&pattern, &name) {
            continue;
        }
        let content = files.open(found.entry.id, None)?;
        let path = place(&target, &found.path)?;
        copy(content.as_ref(), &path)?;
        println!("{} -> {}", found.path, path.display());
    }
    Ok(())
}

/// The same path in the target directory, with names that Linux allows: none of them leads out of it.
fn place(target: &Path, path: &FilePath) -> std::io::Result<std::path::PathBuf> {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let mut place = target.to_owned();
    for name in path.names() {
        place.push(OsStr::from_bytes(&name.to_safe().bytes));
    }
    if let Some(directory) = place.parent() {
        fs::create_dir_all(directory)?;
    }
    Ok(place)
}

fn copy(content: &dyn Content, path: &Path) -> std::io::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    let mut buf = vec![0; 1 << 20];
    let mut at = 0;
    while at < content.size() {
        let len = buf.len().min((content.size() - at) as usize);
        content.read_exact_at(at, &mut buf[..len])?;
        out.write_all(&buf[..len])?;
        at += len as u64;
    }
    out.flush()
}

/// Whether a name matches: `*` stands for any characters, `?` for one.
fn matches(pattern: &[char], name: &[char]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some(('*', rest)), _) => (0..=name.len()).any(|from| matches(rest, &name[from..])),
        (Some(('?', rest)), Some((_, name))) => matches(rest, name),
        (Some((expected, rest)), Some((found, name))) => expected == found && matches(rest, name),
        _ => false,
    }
}
