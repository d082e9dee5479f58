//! The format of an overlay: that of device-mapper's target `snapshot` with a persistent store, version
//! 1 (the kernel's documentation, admin-guide/device-mapper/snapshot), and a binding to the source in
//! a part of the first chunk that the kernel does not read. All numbers are little-endian.
//!
//! | chunk | content |
//! |---|---|
//! | 0 | the header and the binding, below |
//! | 1 | map area 0: pairs of 64-bit numbers, a chunk of the source and its place; a place of 0 ends it |
//! | from 2 on | the chunks of that area: as many as it has pairs |
//! | after them | map area 1 and its chunks, and so on |
//!
//! When the kernel gives the store up, it overwrites the first chunk. So [`FileOverlay::make_room`](super::FileOverlay::make_room) puts a copy of the header and the
//! binding into the last 512 bytes of the file, where no place is.
//!
//! | offset | length | header and binding |
//! |---|---|---|
//! | 0 | 4 | magic number 0x70416E53 |
//! | 4 | 4 | 1: valid; 0 once the kernel has given the store up |
//! | 8 | 4 | version, 1 |
//! | 12 | 4 | size of a chunk in sectors of 512 bytes, a power of two |
//! | 64 | 8 | magic number of the binding |
//! | 72 | 4 | its version, 1 |
//! | 76 | 4 | 1 if the source has a time of its last change |
//! | 80 | 8 | size of the source in bytes |
//! | 88 | 8 | time of its last change, seconds since 1970 |
//! | 96 | 4 | nanoseconds |
//! | 104 | 32 | SHA-256 of its sample |
//! | 136 | 32 | SHA-256 of the bytes 0 to 136 |

use byteorder::{ByteOrder, LittleEndian as LE};
use sha2::{Digest, Sha256};

use super::binding::Binding;

/// Bytes with the header and the binding. No chunk is smaller.
pub(super) const HEADER_LEN: usize = 512;

const MAGIC: u32 = 0x7041_6E53;
const VERSION: u32 = 1;
const BINDING_MAGIC: &[u8; 8] = b"FVE-COW\0";
const BINDING_VERSION: u32 = 1;
/// Where the checksum is.
const CHECKSUM: usize = 136;
const SECTOR: u64 = 512;

/// The largest chunk that is read: far more than anyone uses, and little enough for buffers.
const MAX_CHUNK: u64 = 16 << 20;

/// Bytes of a pair in the map.
pub(super) const PAIR_LEN: usize = 16;

/// Why a file cannot be used as an overlay.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("it is not an overlay")]
    NotAnOverlay,
    #[error(
        "the kernel has given it up, for instance because it was full, and its changes are lost"
    )]
    GivenUp,
    #[error("it has the version {0}, which is not supported")]
    Version(u32),
    #[error("its chunks have {0} sectors, which is not supported")]
    ChunkSize(u32),
    #[error("it does not say which source it belongs to: another program has made it")]
    NotBound,
    #[error("its binding to the source has the version {0}, which is not supported")]
    BindingVersion(u32),
    #[error("the checksum of its first sector is wrong")]
    Checksum,
    #[error("it is cut off: map area {area} is missing")]
    CutOff { area: u64 },
    #[error("pair {pair} of map area {area} {what}")]
    Pair {
        area: u64,
        pair: usize,
        what: &'static str,
    },
    #[error("its map gives two chunks the place {0}")]
    SharedPlace(u64),
}

impl Fault {
    /// Whether it is an overlay that was damaged; otherwise it is another file, or of no use any more.
    pub(super) fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Checksum | Self::CutOff { .. } | Self::Pair { .. } | Self::SharedPlace(_)
        )
    }
}

/// Where things are in an overlay, which the size of its chunks determines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Geometry {
    chunk: u64,
}

impl Geometry {
    /// That of a new overlay: the kernel's default. A change of less than a chunk copies the rest of it.
    pub(super) const USUAL: Self = Self { chunk: 16 << 10 };

    /// Chunks of so many bytes: a power of two that is a multiple of 512.
    pub(super) fn new(chunk: u64) -> Option<Self> {
        (chunk.is_power_of_two() && (SECTOR..=MAX_CHUNK).contains(&chunk)).then_some(Self { chunk })
    }

    /// Size of a chunk in bytes.
    pub(super) fn chunk(self) -> u64 {
        self.chunk
    }

    /// The same, for buffers.
    pub(super) fn chunk_len(self) -> usize {
        // At most `MAX_CHUNK`.
        usize::try_from(self.chunk).unwrap_or(0)
    }

    /// Pairs in a map area.
    pub(super) fn pairs(self) -> usize {
        self.chunk_len() / PAIR_LEN
    }

    /// Chunks from one map area to the next.
    fn stride(self) -> u64 {
        self.chunk / PAIR_LEN as u64 + 1
    }

    /// The chunk that is map area `number`; `None` beyond 2^64 bytes.
    pub(super) fn area(self, number: u64) -> Option<u64> {
        let chunk = number.checked_mul(self.stride())?.checked_add(1)?;
        self.offset(chunk).map(|_| chunk)
    }

    /// Whether a chunk is the header or a map area, which hold no content of the source.
    pub(super) fn is_map(self, chunk: u64) -> bool {
        chunk == 0 || chunk % self.stride() == 1
    }

    /// Where a chunk begins, in bytes.
    pub(super) fn offset(self, chunk: u64) -> Option<u64> {
        chunk.checked_mul(self.chunk)
    }
}

/// The header and the binding of a new overlay.
pub(super) fn header(geometry: Geometry, binding: &Binding) -> [u8; HEADER_LEN] {
    let mut bytes = [0; HEADER_LEN];
    LE::write_u32(&mut bytes[0..], MAGIC);
    LE::write_u32(&mut bytes[4..], 1);
    LE::write_u32(&mut bytes[8..], VERSION);
    let sectors = u32::try_from(geometry.chunk / SECTOR).unwrap_or(0);
    LE::write_u32(&mut bytes[12..], sectors);
    bytes[64..72].copy_from_slice(BINDING_MAGIC);
    LE::write_u32(&mut bytes[72..], BINDING_VERSION);
    LE::write_u32(&mut bytes[76..], binding.modified.is_some().into());
    LE::write_u64(&mut bytes[80..], binding.size);
    let (seconds, nanoseconds) = binding.modified.unwrap_or_default();
    LE::write_i64(&mut bytes[88..], seconds);
    LE::write_u32(&mut bytes[96..], nanoseconds);
    bytes[104..CHECKSUM].copy_from_slice(&binding.sample);
    let sum = checksum(&bytes);
    bytes[CHECKSUM..CHECKSUM + sum.len()].copy_from_slice(&sum);
    bytes
}

/// Reads the header and the binding.
pub(super) fn parse(bytes: &[u8; HEADER_LEN]) -> Result<(Geometry, Binding), Fault> {
    let number = |at: usize| LE::read_u32(&bytes[at..]);
    if number(0) != MAGIC {
        return Err(Fault::NotAnOverlay);
    }
    if number(4) == 0 {
        return Err(Fault::GivenUp);
    }
    if number(8) != VERSION {
        return Err(Fault::Version(number(8)));
    }
    let sectors = number(12);
    let geometry = Geometry::new(u64::from(sectors) * SECTOR).ok_or(Fault::ChunkSize(sectors))?;
    if bytes[64..72] != *BINDING_MAGIC {
        return Err(Fault::NotBound);
    }
    if number(72) != BINDING_VERSION {
        return Err(Fault::BindingVersion(number(72)));
    }
    let sum = checksum(bytes);
    if bytes[CHECKSUM..CHECKSUM + sum.len()] != sum {
        return Err(Fault::Checksum);
    }
    let mut sample = [0; 32];
    sample.copy_from_slice(&bytes[104..CHECKSUM]);
    let has_time = number(76) != 0;
    let binding = Binding {
        size: LE::read_u64(&bytes[80..]),
        modified: has_time.then(|| (LE::read_i64(&bytes[88..]), number(96))),
        sample,
    };
    Ok((geometry, binding))
}

fn checksum(bytes: &[u8; HEADER_LEN]) -> [u8; 32] {
    Sha256::digest(&bytes[..CHECKSUM]).into()
}

/// Pairs of a map area as bytes.
pub(super) fn encode_pairs(pairs: &[(u64, u64)]) -> Vec<u8> {
    let numbers = pairs.iter().flat_map(|(chunk, place)| [chunk, place]);
    numbers.flat_map(|number| number.to_le_bytes()).collect()
}

/// The pairs of a map area, up to the end of the map.
pub(super) fn pairs(area: &[u8]) -> impl Iterator<Item = (u64, u64)> {
    area.chunks_exact(PAIR_LEN)
        .map(|pair| (LE::read_u64(pair), LE::read_u64(&pair[8..])))
        .take_while(|(_, place)| *place != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn map_areas_are_where_the_kernel_has_them() {
        let geometry = Geometry::new(16 << 10).unwrap();
        assert_eq!(geometry.pairs(), 1024);
        assert_eq!(geometry.area(0), Some(1));
        assert_eq!(geometry.area(1), Some(1026));
        assert_eq!(geometry.area(2), Some(2051));
        assert_eq!(geometry.area(u64::MAX / 2), None);
        let maps: Vec<_> = (0..3000).filter(|chunk| geometry.is_map(*chunk)).collect();
        assert_eq!(maps, [0, 1, 1026, 2051]);
        assert!(Geometry::new(256).is_none());
        assert!(Geometry::new(3 << 10).is_none());
        assert!(Geometry::new(1 << 30).is_none());
    }

    #[test]
    fn every_changed_bit_of_the_header_is_noticed() {
        let binding = Binding {
            size: 12345,
            modified: Some((-5, 7)),
            sample: [3; 32],
        };
        let geometry = Geometry::new(4096).unwrap();
        let good = header(geometry, &binding);
        assert_eq!(parse(&good), Ok((geometry, binding)));
        for bit in (0..16 * 8).chain(64 * 8..168 * 8) {
            let mut bytes = good;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(parse(&bytes).is_err(), "{bit}");
        }
        let mut bytes = good;
        bytes[4] = 0;
        assert_eq!(parse(&bytes), Err(Fault::GivenUp));
        bytes = good;
        bytes[64..168].fill(0);
        assert_eq!(parse(&bytes), Err(Fault::NotBound));
    }
}
