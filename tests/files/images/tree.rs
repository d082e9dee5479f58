//! Writing files into a mounted file system, and noting what was written.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// What a program shows at a path.
#[derive(Clone, PartialEq, Eq)]
pub enum Shown {
    Directory,
    /// Length and SHA-256 of the content of a file or stream.
    Content(u64, String),
    /// A link, with its target as it is stored.
    Link(String),
    /// It is listed, but its content cannot be read.
    Error(String),
}

impl Shown {
    pub fn content(bytes: &[u8]) -> Self {
        let hash = Sha256::digest(bytes);
        let hash = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        Self::Content(bytes.len() as u64, hash)
    }
}

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Directory => write!(f, "a directory"),
            Self::Content(len, hash) => write!(f, "{len} bytes {}", hash.get(..12).unwrap_or(hash)),
            Self::Link(target) => write!(f, "a link to {target:?}"),
            Self::Error(why) => write!(f, "error: {why}"),
        }
    }
}

/// Everything that a program shows, by path. A stream has the path `FILE:STREAM`.
pub type Listing = BTreeMap<String, Shown>;

/// Content that says in every 16 bytes which file it belongs to, and where in the file it is.
pub fn tagged(name: &str, len: usize) -> Vec<u8> {
    let tag = tag(name);
    let mut bytes = Vec::with_capacity(len + 16);
    for place in 0..len.div_ceil(16) as u64 {
        bytes.extend_from_slice(&tag);
        bytes.extend_from_slice(&place.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// The first eight of each 16 bytes of [`tagged`].
pub fn tag(name: &str) -> [u8; 8] {
    let hash = Sha256::digest(name);
    let mut tag = *hash.first_chunk().unwrap();
    // Never zero, and never text that a file system writes itself.
    tag[0] |= 0x80;
    tag
}

/// Bytes that no compression makes smaller, always the same for a seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Text that compresses well, always the same for a seed.
pub fn prose(seed: u64, len: usize) -> Vec<u8> {
    const WORDS: [&str; 16] = [
        "sector ",
        "cluster ",
        "volume ",
        "record ",
        "the ",
        "of ",
        "a ",
        "index ",
        "is ",
        "and ",
        "stream ",
        "key\n",
        "to ",
        "in ",
        "0123456789 ",
        "\u{e8}\u{e9} ",
    ];
    let mut bytes = Vec::with_capacity(len + 16);
    for choice in noise(seed, len) {
        bytes.extend_from_slice(WORDS[usize::from(choice % 16)].as_bytes());
        if bytes.len() >= len {
            break;
        }
    }
    bytes.truncate(len);
    bytes
}

/// A mounted file system, and what was written into it.
pub struct Tree<'a> {
    root: &'a Path,
    pub listing: Listing,
}

impl<'a> Tree<'a> {
    pub fn new(root: &'a Path) -> Self {
        Self {
            root,
            listing: Listing::new(),
        }
    }

    /// The path in the mounted file system.
    pub fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    pub fn directory(&mut self, path: &str) {
        fs::create_dir(self.at(path)).unwrap();
        self.listing.insert(path.to_owned(), Shown::Directory);
    }

    /// Writes a file or, where streams are part of names, a stream.
    pub fn file(&mut self, path: &str, content: &[u8]) {
        fs::write(self.at(path), content).unwrap_or_else(|error| panic!("{path}: {error}"));
        self.note(path, content);
    }

    pub fn note(&mut self, path: &str, content: &[u8]) {
        self.listing
            .insert(path.to_owned(), Shown::content(content));
    }

    /// Writes a file of `len` bytes with only these pieces in it.
    pub fn sparse(&mut self, path: &str, len: usize, pieces: &[(usize, &[u8])]) {
        let file = File::create(self.at(path)).unwrap();
        file.set_len(len as u64).unwrap();
        let mut content = vec![0; len];
        for (at, piece) in pieces {
            file.write_all_at(piece, *at as u64).unwrap();
            content[*at..at + piece.len()].copy_from_slice(piece);
        }
        self.note(path, &content);
    }

    pub fn hard_link(&mut self, path: &str, to: &str) {
        fs::hard_link(self.at(to), self.at(path)).unwrap();
        let shown = self.listing[to].clone();
        self.listing.insert(path.to_owned(), shown);
    }

    /// Writes two files in turns, so that each has `pieces` fragments.
    pub fn fragmented(&mut self, paths: [&str; 2], pieces: usize, size: usize) {
        let content = paths.map(|path| tagged(path, pieces * size));
        let files = paths.map(|path| File::create(self.at(path)).unwrap());
        for piece in 0..pieces {
            for (file, content) in files.iter().zip(&content) {
                let at = piece * size;
                file.write_all_at(&content[at..at + size], at as u64)
                    .unwrap();
            }
        }
        for (path, content) in paths.iter().zip(&content) {
            self.note(path, content);
        }
    }
}
