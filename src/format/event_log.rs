//! The firmware's log of what it measured into the TPM's PCRs (TCG PC Client platform firmware
//! profile; docs/format-tpm.md §7.3). On Linux it is
//! `/sys/kernel/security/tpm0/binary_bios_measurements`.
//!
//! ```text
//! first record: u32 PCR, u32 type, SHA-1 digest, u32 size, data. If the data begins with "Spec ID
//!               Event03", it lists the algorithms and the later records have the next form;
//!               otherwise all records have this form
//! each other:   u32 PCR, u32 type, u32 count, count × (u16 algorithm, digest), u32 size, data
//! ```
//! The layout comes from the profile. It was not compared with the log of a real computer. No
//! maintained crate that parses these logs was found; this parser is written by hand.

use super::FormatError;
use super::text::utf16le;
use super::tpm_blob::algorithms;
use super::wire::Fields;

/// Largest log that is read, in bytes. Firmware reserves 64 KiB, or a few times that.
pub const MAX_LEN: u64 = 16 * 1024 * 1024;

/// Most algorithms that a log may name, to bound the work. A TPM has at most five banks.
const MAX_ALGORITHMS: u32 = 16;

/// Signature of the first record's data (`TCG_EfiSpecIDEvent` of the profile).
const SPEC_ID: &[u8] = b"Spec ID Event03\0";
/// Signature of the record that says from which locality the TPM was started
/// (`TCG_EfiStartupLocalityEvent`).
const STARTUP_LOCALITY: &[u8] = b"StartupLocality\0";
const SHA1_LEN: usize = 20;

/// Types of events that are used here; [`Event::kind`] may have any other value.
pub mod kinds {
    /// EV_NO_ACTION: information only; nothing was measured.
    pub const NO_ACTION: u32 = 0x03;
    /// EV_SEPARATOR: the firmware is about to start the boot manager.
    pub const SEPARATOR: u32 = 0x04;
    /// EV_EFI_VARIABLE_DRIVER_CONFIG: a firmware variable, such as the Secure Boot keys.
    pub const VARIABLE: u32 = 0x8000_0001;
    /// EV_EFI_VARIABLE_AUTHORITY: the certificate that allowed a program to start.
    pub const AUTHORITY: u32 = 0x8000_00E0;

    /// The name of a type in the TCG profile; `None` for types that are rare.
    pub fn name(kind: u32) -> Option<&'static str> {
        Some(match kind {
            0x01 => "EV_POST_CODE",
            NO_ACTION => "EV_NO_ACTION",
            SEPARATOR => "EV_SEPARATOR",
            0x05 => "EV_ACTION",
            0x06 => "EV_EVENT_TAG",
            0x07 => "EV_S_CRTM_CONTENTS",
            0x08 => "EV_S_CRTM_VERSION",
            0x0A => "EV_PLATFORM_CONFIG_FLAGS",
            0x0C => "EV_COMPACT_HASH",
            0x0D => "EV_IPL",
            VARIABLE => "EV_EFI_VARIABLE_DRIVER_CONFIG",
            0x8000_0002 => "EV_EFI_VARIABLE_BOOT",
            0x8000_0003 => "EV_EFI_BOOT_SERVICES_APPLICATION",
            0x8000_0004 => "EV_EFI_BOOT_SERVICES_DRIVER",
            0x8000_0006 => "EV_EFI_GPT_EVENT",
            0x8000_0007 => "EV_EFI_ACTION",
            0x8000_0008 => "EV_EFI_PLATFORM_FIRMWARE_BLOB",
            0x8000_0009 => "EV_EFI_HANDOFF_TABLES",
            0x8000_000A => "EV_EFI_PLATFORM_FIRMWARE_BLOB2",
            0x8000_000C => "EV_EFI_VARIABLE_BOOT2",
            AUTHORITY => "EV_EFI_VARIABLE_AUTHORITY",
            _ => return None,
        })
    }
}

/// A parsed event log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventLog {
    /// The events, in the order in which they were measured.
    pub events: Vec<Event>,
}

/// One event: a measurement into a PCR, or information (EV_NO_ACTION).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// Number of the PCR.
    pub pcr: u32,
    /// Type of the event; see [`kinds`].
    pub kind: u32,
    /// The digest that was extended into each PCR bank, with the bank's algorithm (TCG algorithm
    /// registry; see [`algorithms`]).
    pub digests: Vec<(u16, Vec<u8>)>,
    /// The event's data, whose layout depends on the type. The digests need not be hashes of it.
    pub data: Vec<u8>,
}

impl EventLog {
    /// Parses a whole log.
    ///
    /// # Errors
    /// A record is cut off, or has a digest of an algorithm that the first record does not list.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let fields = Fields::new("event log", bytes, 0);
        let mut offset = 0;
        let first = sha1_event(fields, &mut offset)?;
        let lengths = lengths(&first)?;
        let mut events = vec![first];
        while offset < bytes.len() {
            events.push(match &lengths {
                Some(lengths) => event(fields, &mut offset, lengths)?,
                None => sha1_event(fields, &mut offset)?,
            });
        }
        Ok(Self { events })
    }

    /// Whether Secure Boot was on; `None` if the log does not record it.
    pub fn secure_boot(&self) -> Option<bool> {
        let mut variables = self.events.iter().filter_map(Event::variable);
        let (_, value) = variables.find(|(name, _)| name == "SecureBoot")?;
        Some(value.first() == Some(&1))
    }
}

impl Event {
    /// Its digest in the PCR bank of that algorithm.
    pub fn digest(&self, algorithm: u16) -> Option<&[u8]> {
        let mut digests = self.digests.iter();
        let (_, digest) = digests.find(|(other, _)| *other == algorithm)?;
        Some(digest)
    }

    /// Name and value of the firmware variable, if the event is about one (a `UEFI_VARIABLE_DATA`: GUID,
    /// u64 characters of the name, u64 bytes of the value, name, value).
    pub fn variable(&self) -> Option<(String, &[u8])> {
        if ![kinds::VARIABLE, kinds::AUTHORITY].contains(&self.kind) {
            return None;
        }
        let fields = Fields::new("variable", &self.data, 0);
        let name_len = usize::try_from(fields.u64(16).ok()?).ok()?.checked_mul(2)?;
        let value_len = usize::try_from(fields.u64(24).ok()?).ok()?;
        let name = utf16le(fields.slice(32, name_len).ok()?);
        let value = fields.slice(name_len.checked_add(32)?, value_len).ok()?;
        Some((name, value))
    }

    /// The readable part of its data, at most `most` characters: the name of a variable, a text such
    /// as GRUB's commands, or a file name in the path of a program. Empty if there is nothing.
    pub fn text(&self, most: usize) -> String {
        /// Shorter runs of printable bytes are chance.
        const SHORTEST: usize = 6;
        if let Some((name, _)) = self.variable() {
            return printable(name.chars(), most);
        }
        let is_text = |bytes: &[u8]| {
            let text = bytes.strip_suffix(b"\0").unwrap_or(bytes);
            let shown = text.iter().filter(|byte| is_printable(char::from(**byte)));
            text.len() >= SHORTEST
                && shown.count().saturating_mul(8) >= text.len().saturating_mul(7)
        };
        if is_text(&self.data) {
            return printable(String::from_utf8_lossy(&self.data).chars(), most);
        }
        // The path of a program is in UTF-16, somewhere in a device path.
        let wide = self.data.windows(2).enumerate().filter_map(|(at, pair)| {
            let [low, 0] = *pair else { return None };
            is_printable(char::from(low)).then_some((at, char::from(low)))
        });
        let (mut longest, mut run, mut last) = (String::new(), String::new(), 0);
        for (at, letter) in wide {
            if at.checked_sub(2) != Some(last) {
                run.clear();
            }
            last = at;
            if run.len() < most {
                run.push(letter);
            }
            if run.len() > longest.len() {
                longest.clone_from(&run);
            }
        }
        if longest.len() < SHORTEST {
            longest.clear();
        }
        longest
    }

    /// The locality from which the TPM was started, if the event says so. It is the last byte of the
    /// initial value of PCR 0; without such an event that is all zeros.
    pub fn startup_locality(&self) -> Option<u8> {
        let rest = self.data.strip_prefix(STARTUP_LOCALITY)?;
        (self.kind == kinds::NO_ACTION).then(|| rest.first().copied())?
    }
}

fn is_printable(letter: char) -> bool {
    letter == ' ' || letter.is_ascii_graphic()
}

fn printable(letters: impl Iterator<Item = char>, most: usize) -> String {
    letters
        .filter(|letter| !letter.is_control() && *letter != char::REPLACEMENT_CHARACTER)
        .take(most)
        .collect()
}

/// The length of the digests of each algorithm; `None` if all records have the SHA-1 form.
fn lengths(first: &Event) -> Result<Option<Vec<(u16, usize)>>, FormatError> {
    if first.kind != kinds::NO_ACTION || !first.data.starts_with(SPEC_ID) {
        return Ok(None);
    }
    let fields = Fields::new("event log header", &first.data, 0);
    let count = fields.u32(24)?;
    if count > MAX_ALGORITHMS {
        return Err(fields.fault(format!("{count} algorithms, more than a TPM has")));
    }
    let mut lengths = Vec::new();
    for number in 0..count as usize {
        let at = number.saturating_mul(4).saturating_add(28);
        let (algorithm, len) = (fields.u16(at)?, fields.u16(at.saturating_add(2))?);
        let known = algorithms::digest_len(algorithm);
        if known.is_some_and(|known| known != usize::from(len)) {
            return Err(fields.fault(format!("digests of {len} bytes for {algorithm:#06x}")));
        }
        lengths.push((algorithm, usize::from(len)));
    }
    Ok(Some(lengths))
}

/// A record of the older form, with a SHA-1 digest only.
fn sha1_event(fields: Fields<'_>, offset: &mut usize) -> Result<Event, FormatError> {
    let mut reader = FieldReader { fields, offset };
    let (pcr, kind) = (reader.u32()?, reader.u32()?);
    let digest = reader.take(SHA1_LEN)?.to_vec();
    Ok(Event {
        pcr,
        kind,
        digests: vec![(algorithms::SHA1, digest)],
        data: reader.sized()?.to_vec(),
    })
}

/// A record with a digest for each bank.
fn event(
    fields: Fields<'_>,
    offset: &mut usize,
    lengths: &[(u16, usize)],
) -> Result<Event, FormatError> {
    let mut reader = FieldReader { fields, offset };
    let (pcr, kind, count) = (reader.u32()?, reader.u32()?, reader.u32()?);
    if count > MAX_ALGORITHMS {
        return Err(fields.fault(format!(
            "an event has {count} digests, more than a TPM has banks"
        )));
    }
    let mut digests = Vec::new();
    for _ in 0..count {
        let algorithm = reader.u16()?;
        let mut known = lengths.iter();
        let (_, len) = known
            .find(|(other, _)| *other == algorithm)
            .ok_or_else(|| {
                fields.fault(format!(
                    "a digest has the unlisted algorithm {algorithm:#06x}"
                ))
            })?;
        digests.push((algorithm, reader.take(*len)?.to_vec()));
    }
    Ok(Event {
        pcr,
        kind,
        digests,
        data: reader.sized()?.to_vec(),
    })
}

/// Reads fields one after another, little-endian.
struct FieldReader<'a, 'b> {
    fields: Fields<'a>,
    offset: &'b mut usize,
}

impl<'a> FieldReader<'a, '_> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], FormatError> {
        let bytes = self.fields.slice(*self.offset, len)?;
        *self.offset = self.offset.saturating_add(len);
        Ok(bytes)
    }

    fn u16(&mut self) -> Result<u16, FormatError> {
        let number = self.fields.u16(*self.offset)?;
        *self.offset = self.offset.saturating_add(2);
        Ok(number)
    }

    fn u32(&mut self) -> Result<u32, FormatError> {
        let number = self.fields.u32(*self.offset)?;
        *self.offset = self.offset.saturating_add(4);
        Ok(number)
    }

    /// A length of four bytes, and that many bytes.
    fn sized(&mut self) -> Result<&'a [u8], FormatError> {
        let len = self.u32()?;
        self.take(len as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn old(pcr: u32, kind: u32, data: &[u8]) -> Vec<u8> {
        let mut bytes = [pcr.to_le_bytes(), kind.to_le_bytes()].concat();
        bytes.extend([0; SHA1_LEN]);
        bytes.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        [&bytes, data].concat()
    }

    fn header() -> Vec<u8> {
        let mut data = SPEC_ID.to_vec();
        data.extend([0, 0, 0, 0, 0, 2, 0, 2]);
        data.extend(2u32.to_le_bytes());
        data.extend([4, 0, 20, 0, 0xB, 0, 32, 0]);
        data.push(0);
        old(0, kinds::NO_ACTION, &data)
    }

    fn new(pcr: u32, kind: u32, data: &[u8]) -> Vec<u8> {
        let mut bytes = [pcr, kind, 2].map(u32::to_le_bytes).concat();
        bytes.extend([4, 0]);
        bytes.extend([1; 20]);
        bytes.extend([0xB, 0]);
        bytes.extend([2; 32]);
        bytes.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        [&bytes, data].concat()
    }

    fn variable(name: &str, value: &[u8]) -> Vec<u8> {
        let name: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let mut bytes = vec![0; 16];
        bytes.extend((name.len() as u64 / 2).to_le_bytes());
        bytes.extend((value.len() as u64).to_le_bytes());
        [bytes, name, value.to_vec()].concat()
    }

    #[test]
    fn reads_both_forms_of_record() {
        let secure_boot = new(7, kinds::VARIABLE, &variable("SecureBoot", &[1]));
        let log = EventLog::parse(&[header(), secure_boot].concat()).unwrap();
        assert_eq!(log.events.len(), 2);
        assert_eq!(log.events[1].digest(0xB), Some(&[2; 32][..]));
        assert_eq!(log.secure_boot(), Some(true));
        let log = EventLog::parse(&[old(0, 8, b""), old(7, 4, &[0; 4])].concat()).unwrap();
        assert_eq!(log.events[1].digest(4), Some(&[0; 20][..]));
        assert_eq!(log.secure_boot(), None);
    }

    #[test]
    fn never_panics_and_refuses_logs_that_are_cut_off() {
        let whole = [
            header(),
            new(7, kinds::VARIABLE, &variable("SecureBoot", &[1])),
        ]
        .concat();
        for len in 0..whole.len() {
            let parsed = EventLog::parse(&whole[..len]);
            assert!(parsed.is_err() || len == header().len(), "{len}");
        }
        for at in 0..whole.len() {
            for flip in [1, 0x80, 0xFF] {
                let mut bytes = whole.clone();
                bytes[at] ^= flip;
                if let Ok(log) = EventLog::parse(&bytes) {
                    let _ = (log.secure_boot(), log.events[0].startup_locality());
                }
            }
        }
    }
}
