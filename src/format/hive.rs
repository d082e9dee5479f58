//! Windows registry hives: finds a value by the names of the keys that lead to it.
//!
//! ```text
//! +0x0000   base block, 4096 bytes: `regf`, two sequence numbers, version, offset of the root key
//! +0x1000   cells, each beginning with its size: keys (`nk`), lists of keys (`lf`, `lh`, `li`,
//!           `ri`), lists of values, values (`vk`), data
//! ```
//! Offsets are counted from the first cell. The layout follows public descriptions of the format and
//! agrees with what hivex writes. Not supported: values of more than 16 KiB, which are stored in
//! several cells; security descriptors and class names; and the transaction logs beside a hive, so
//! changes that Windows has not yet written into the hive are not seen ([`Hive::is_settled`]).
//!
//! Crates looked at: `nt-hive` and `nt_hive2` are under the GPL (2 or later, and 3), `notatin` brings
//! 63 crates, among them those of its command line. This project is MIT or Apache-2.0, and needs one
//! value.

use super::FormatError;
use super::text::utf16le;
use super::wire::Fields;

/// Offset of the first cell in the file.
const CELLS: usize = 0x1000;
/// The offset that stands for no cell.
const NONE: u32 = 0xFFFF_FFFF;
/// Flag of a key: its name is in Latin-1, not UTF-16.
const KEY_LATIN1: u16 = 0x0020;
/// Flag of a value: its name is in Latin-1, not UTF-16.
const VALUE_LATIN1: u16 = 0x0001;
/// Bit of a value's size: the data, at most 4 bytes, is stored in the field of its offset.
const INLINE: u32 = 0x8000_0000;
/// Most keys read from one list, to bound the work. The largest lists of a system hive have some
/// thousand.
const MAX_KEYS: usize = 0x1_0000;
/// Deepest nesting of lists of keys, to bound the recursion: Windows nests a list (`lf`, `lh`, `li`)
/// in a list of lists (`ri`) and no deeper.
const MAX_DEPTH: usize = 2;

/// A hive, in memory.
#[derive(Clone, Copy)]
pub struct Hive<'a> {
    fields: Fields<'a>,
}

/// A key of a hive.
#[derive(Clone, Copy)]
pub struct Key<'a> {
    hive: Hive<'a>,
    cell: Fields<'a>,
}

/// A value's type and data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Value<'a> {
    /// Its registry type: 3 for bytes (REG_BINARY), 4 for a 32-bit number (REG_DWORD), and others.
    pub kind: u32,
    /// The data as stored, not converted.
    pub data: &'a [u8],
}

impl<'a> Hive<'a> {
    /// A hive with the content of its file.
    ///
    /// # Errors
    /// The content has no `regf` signature, or is shorter than the base block.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FormatError> {
        let fields = Fields::new("registry hive", bytes, 0);
        if fields.slice(0, 4)? != b"regf" {
            return Err(fields.fault("no regf signature"));
        }
        fields.slice(0, CELLS)?;
        Ok(Self { fields })
    }

    /// Whether the hive is complete. If not, its transaction log holds changes that are not in the
    /// hive: Windows counts the first sequence number up before it writes, the second one after.
    pub fn is_settled(&self) -> bool {
        let number = |at| self.fields.u32(at).unwrap_or(0);
        number(4) == number(8)
    }

    /// The root key, the parent of all others.
    ///
    /// # Errors
    /// The hive is damaged: its root key cannot be read.
    pub fn root(&self) -> Result<Key<'a>, FormatError> {
        self.key(self.fields.u32(0x24)?)
    }

    /// The content of the cell at that offset.
    fn cell(&self, structure: &'static str, place: u32) -> Result<Fields<'a>, FormatError> {
        let start = (place as usize).saturating_add(CELLS);
        // The size of a cell in use is stored as a negative number.
        let size = self.fields.u32(start)?.cast_signed();
        let len = usize::try_from(size.unsigned_abs()).unwrap_or(usize::MAX);
        if size >= 0 || len < 8 {
            return Err(self.fields.fault(format!("no cell in use at {start:#x}")));
        }
        let end = start.saturating_add(len);
        self.fields.part(structure, start.saturating_add(4), end)
    }

    /// The key in the cell at that offset.
    fn key(&self, place: u32) -> Result<Key<'a>, FormatError> {
        let cell = self.cell("registry key", place)?;
        if cell.slice(0, 2)? != b"nk" {
            return Err(cell.fault("no nk signature"));
        }
        Ok(Key { hive: *self, cell })
    }

    /// Adds the offsets of the keys in a list, and in the lists nested in it.
    fn add_places(
        &self,
        list: u32,
        depth: usize,
        places: &mut Vec<u32>,
    ) -> Result<(), FormatError> {
        let cell = self.cell("list of keys", list)?;
        // An entry of `lf` and `lh` is an offset and a hash of the name, of the others an offset.
        let step: usize = match cell.slice(0, 2)? {
            b"lf" | b"lh" => 8,
            b"li" | b"ri" => 4,
            _ => return Err(cell.fault("it is a list of an unknown kind")),
        };
        let nested = cell.slice(0, 2)? == b"ri";
        for number in 0..usize::from(cell.u16(2)?) {
            let place = cell.u32(number.saturating_mul(step).saturating_add(4))?;
            if places.len() >= MAX_KEYS || depth > MAX_DEPTH {
                return Err(cell.fault("it lists more keys than any list has"));
            }
            if nested {
                self.add_places(place, depth.saturating_add(1), places)?;
            } else {
                places.push(place);
            }
        }
        Ok(())
    }
}

impl<'a> Key<'a> {
    /// Its name.
    ///
    /// # Errors
    /// The hive is damaged.
    pub fn name(&self) -> Result<String, FormatError> {
        let len = self.cell.u16(0x48)?;
        let bytes = self.cell.slice(0x4C, len.into())?;
        Ok(name(bytes, self.cell.u16(2)? & KEY_LATIN1 != 0))
    }

    /// Its subkeys, in the order of the hive (sorted by name).
    ///
    /// # Errors
    /// As [`Key::name`].
    pub fn subkeys(&self) -> Result<Vec<Key<'a>>, FormatError> {
        let list = self.cell.u32(0x1C)?;
        if self.cell.u32(0x14)? == 0 || list == NONE {
            return Ok(Vec::new());
        }
        let mut places = Vec::new();
        self.hive.add_places(list, 0, &mut places)?;
        places
            .into_iter()
            .map(|place| self.hive.key(place))
            .collect()
    }

    /// The subkey with that name, compared without case.
    ///
    /// # Errors
    /// As [`Key::name`].
    pub fn subkey(&self, name: &str) -> Result<Option<Key<'a>>, FormatError> {
        for key in self.subkeys()? {
            if same(&key.name()?, name) {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

    /// Its value with that name, compared without case.
    ///
    /// # Errors
    /// As [`Key::name`].
    pub fn value(&self, wanted: &str) -> Result<Option<Value<'a>>, FormatError> {
        let (count, list) = (self.cell.u32(0x24)? as usize, self.cell.u32(0x28)?);
        if count == 0 || list == NONE {
            return Ok(None);
        }
        let list = self.hive.cell("list of values", list)?;
        for number in 0..count.min(MAX_KEYS) {
            let place = list.u32(number.saturating_mul(4))?;
            let cell = self.hive.cell("registry value", place)?;
            if cell.slice(0, 2)? != b"vk" {
                return Err(cell.fault("no vk signature"));
            }
            let bytes = cell.slice(0x14, cell.u16(2)?.into())?;
            if same(&name(bytes, cell.u16(0x10)? & VALUE_LATIN1 != 0), wanted) {
                return self.read(cell).map(Some);
            }
        }
        Ok(None)
    }

    /// Type and data of the value in a cell.
    fn read(&self, cell: Fields<'a>) -> Result<Value<'a>, FormatError> {
        let size = cell.u32(4)?;
        let len = (size & !INLINE) as usize;
        let data = if size & INLINE != 0 {
            cell.slice(8, len.min(4))?
        } else {
            self.hive
                .cell("data of a value", cell.u32(8)?)?
                .slice(0, len)?
        };
        Ok(Value {
            kind: cell.u32(0xC)?,
            data,
        })
    }
}

/// A name as stored. Latin-1 codes are the first 256 of Unicode.
fn name(bytes: &[u8], latin1: bool) -> String {
    match latin1 {
        true => bytes.iter().copied().map(char::from).collect(),
        false => utf16le(bytes),
    }
}

fn same(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}

impl std::fmt::Debug for Hive<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hive({} bytes)", self.fields.bytes().len())
    }
}

impl std::fmt::Debug for Key<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({:?})", self.name())
    }
}
