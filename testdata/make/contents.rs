//! The files on every volume.

use serde::Serialize;
use sha2::{Digest, Sha256};

/// A file on a volume.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Member {
    /// Path with `/` between directories.
    pub(crate) path: String,
    /// Size in bytes.
    pub(crate) size: usize,
    /// SHA-256 of its content, in hex digits.
    pub sha256: String,
    /// Content of the file.
    #[serde(skip)]
    pub(crate) content: Vec<u8>,
}

impl Member {
    fn new(path: &str, content: Vec<u8>) -> Self {
        Self {
            path: path.to_owned(),
            size: content.len(),
            sha256: crate::hex(&Sha256::digest(&content)),
            content,
        }
    }
}

/// A short text, an empty file, a file of many clusters, and a file in a directory whose long name
/// is not ASCII.
pub(crate) fn files(volume: &str) -> Vec<Member> {
    let hello = format!("Hello from the volume '{volume}'.\nIf you can read this, it opened.\n");
    vec![
        Member::new("hello.txt", hello.into_bytes()),
        Member::new("empty", Vec::new()),
        Member::new("data/numbers.bin", noise(volume, 50_000)),
        Member::new(
            "data/Längerer Name – 例.txt",
            "ein Dateiname jenseits von ASCII\n".into(),
        ),
    ]
}

/// Reproducible bytes without a pattern: SHA-256 of the seed and a counter.
fn noise(seed: &str, len: usize) -> Vec<u8> {
    let blocks = (0u32..).flat_map(|count| Sha256::digest(format!("{seed} {count}")));
    blocks.take(len).collect()
}
