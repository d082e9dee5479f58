//! Key protectors: their kinds, and the parts of each (docs/format.md §3.8 and §3.13).

pub use super::datum::KeyProtector;
use super::datum::{
    BackupInfo, Body, CertificateInfo, Datum, PublicKey, SealedDatum, Stretch, UseKey, key_types,
    roles, types,
};
use super::tpm_blob::TpmBlob;

/// Bits of a protector's code: a TPM, and a public key (docs/format.md §3.8).
const TPM_BIT: u16 = 0x0100;
const PUBLIC_KEY_BIT: u16 = 0x1000;

/// The kind of certificate record that Network Unlock has (docs/format.md §3.13).
const NETWORK_CERTIFICATE: u32 = 8;

/// The kind of a key protector: which credential it needs.
///
/// ```
/// use fve::ProtectorKind;
///
/// let kind: ProtectorKind = "tpm-pin".parse()?;
/// assert_eq!(kind, "TPMAndPIN".parse()?);
/// assert_eq!(kind.to_string(), "TPM And PIN");
/// # Ok::<(), fve::UnknownProtectorKind>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProtectorKind {
    /// No credential: while protection is suspended, the key is stored unencrypted.
    ClearKey,
    /// A TPM.
    Tpm,
    /// An external key: startup key, recovery key or auto-unlock key.
    ExternalKey,
    /// A TPM and a startup key.
    TpmStartupKey,
    /// A TPM and a PIN.
    TpmPin,
    /// A TPM, a PIN and a startup key.
    TpmPinStartupKey,
    /// A numerical recovery password.
    RecoveryPassword,
    /// The private key of a certificate, of a smart card or a data recovery agent.
    Certificate,
    /// Network Unlock: a TPM, and a server with the private key of a certificate.
    Network,
    /// A password.
    Password,
    /// An account or group of Active Directory. The bit is inferred; no sample is known.
    Identity,
    /// A code that is not known, as stored.
    Unknown(u16),
}

/// The code and the names of a kind.
struct KindRow {
    kind: ProtectorKind,
    /// The high byte of its code (docs/format.md §3.8).
    code: u8,
    /// The name that `manage-bde -protectors -get` prints.
    name: &'static str,
    /// A stable word for programs.
    word: &'static str,
    /// The key protector type of Windows' management interface (docs/format.md §3.8).
    wmi: Option<u8>,
    /// Whether it needs a TPM: one of the bits of its code.
    tpm: bool,
}

macro_rules! kinds {
    ($($kind:ident, $code:literal, $name:literal, $word:literal, $wmi:expr, $tpm:literal;)*) => {
        &[$(KindRow {
            kind: ProtectorKind::$kind,
            code: $code,
            name: $name,
            word: $word,
            wmi: $wmi,
            tpm: $tpm,
        }),*]
    };
}

/// Every known kind: code, name, word, WMI type, and whether it needs a TPM. To add a kind, add its
/// variant above and its row here.
const KINDS: &[KindRow] = kinds! {
    ClearKey, 0x00, "Clear Key", "clear-key", None, false;
    Tpm, 0x01, "TPM", "tpm", Some(1), true;
    ExternalKey, 0x02, "External Key", "startup-key", Some(2), false;
    TpmStartupKey, 0x03, "TPM And Startup Key", "tpm-startup-key", Some(5), true;
    TpmPin, 0x05, "TPM And PIN", "tpm-pin", Some(4), true;
    TpmPinStartupKey, 0x07, "TPM And PIN And Startup Key", "tpm-pin-startup-key", Some(6), true;
    RecoveryPassword, 0x08, "Numerical Password", "recovery-password", Some(3), false;
    Certificate, 0x10, "Certificate", "certificate", Some(7), false;
    Network, 0x11, "Network (Certificate Based)", "network", Some(9), true;
    Password, 0x20, "Password", "password", Some(8), false;
    Identity, 0x40, "Identity", "identity", Some(10), false;
};

/// The key protector type of Windows' management interface for an unknown kind.
const WMI_UNKNOWN: u8 = 0;

impl ProtectorKind {
    /// The kind with this code on disk. Only the high byte counts; it is a set of bits
    /// (docs/format.md §3.8).
    pub(crate) fn of_code(code: u16) -> Self {
        let [high, _] = code.to_be_bytes();
        let row = KINDS.iter().find(|row| row.code == high);
        row.map_or(Self::Unknown(code), |row| row.kind)
    }

    /// The kind with this stable word, exactly as [`word`](Self::word) gives it. To read what a user
    /// typed, use [`str::parse`].
    pub fn from_word(word: &str) -> Option<Self> {
        let row = KINDS.iter().find(|row| row.word == word)?;
        Some(row.kind)
    }

    fn row(self) -> Option<&'static KindRow> {
        KINDS.iter().find(|row| row.kind == self)
    }

    /// The name that `manage-bde -protectors -get` prints: `Numerical Password`.
    pub fn name(self) -> &'static str {
        self.row().map_or("Unknown", |row| row.name)
    }

    /// A stable word for programs: `recovery-password`.
    pub fn word(self) -> &'static str {
        self.row().map_or("unknown", |row| row.word)
    }

    /// Whether it needs a TPM, alone or with something else (docs/format.md §3.8).
    pub fn uses_tpm(self) -> bool {
        self.row().is_some_and(|row| row.tpm)
    }

    /// The key protector type of `Win32_EncryptableVolume`, Windows' management interface
    /// (docs/format.md §3.8): 0 for an unknown kind, `None` for a clear key, which has no number.
    pub fn wmi_type(self) -> Option<u8> {
        self.row().map_or(Some(WMI_UNKNOWN), |row| row.wmi)
    }
}

/// The name that `manage-bde` prints.
impl std::fmt::Display for ProtectorKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Accepts the stable word ([`ProtectorKind::word`]), the name ([`ProtectorKind::name`]) and the
/// word of `manage-bde -type`, such as `TPMAndPIN`. Case, spaces and punctuation do not matter: so
/// the words of `manage-bde` are the names (or, for `RecoveryPassword`, the word) written together.
impl std::str::FromStr for ProtectorKind {
    type Err = UnknownProtectorKind;

    fn from_str(text: &str) -> Result<Self, UnknownProtectorKind> {
        let row = KINDS
            .iter()
            .find(|row| same_letters(row.word, text) || same_letters(row.name, text));
        row.map(|row| row.kind).ok_or(UnknownProtectorKind(()))
    }
}

/// Whether two texts are equal apart from case and everything that is not a letter or a digit.
fn same_letters(one: &str, other: &str) -> bool {
    let letters = |text: &str| -> String {
        let kept = text.chars().filter(|char| char.is_alphanumeric());
        kept.flat_map(char::to_lowercase).collect()
    };
    letters(one) == letters(other)
}

/// Why a text is no [`ProtectorKind`]: no kind that this version knows has that word or name.
///
/// It does not repeat the text, which could be a secret given in the wrong place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownProtectorKind(());

impl std::fmt::Display for UnknownProtectorKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(
            "no such kind of key protector; known kinds are recovery-password, startup-key, \
             password, tpm, tpm-pin and others",
        )
    }
}

impl std::error::Error for UnknownProtectorKind {}

impl KeyProtector {
    /// The kind that the code on disk and the nested datums mean.
    pub fn kind(&self) -> ProtectorKind {
        if self.is_network() {
            return ProtectorKind::Network;
        }
        ProtectorKind::of_code(self.code)
    }

    /// Whether it is a Network Unlock protector. Its code was never published
    /// (docs/format-network-unlock.md §8), so the structure decides: a certificate record of that
    /// kind, or a TPM together with a public key, by the bits of the code or by the nested datums.
    fn is_network(&self) -> bool {
        const BOTH: u16 = TPM_BIT | PUBLIC_KEY_BIT;
        let has = |wanted: &[u16]| {
            let mut parts = self.parts.iter();
            parts.any(|part| wanted.contains(&part.datum_type))
        };
        let certificate = self.certificate();
        certificate.is_some_and(|certificate| certificate.kind == NETWORK_CERTIFICATE)
            || self.code & BOTH == BOTH
            || has(&[types::TPM_BLOB])
                && has(&[
                    types::ASYMMETRIC_BLOB,
                    types::EXPORTED_PUBLIC_KEY,
                    types::PUBLIC_KEY_INFO,
                ])
    }

    /// The name that Windows gave it, such as `ExternalKey` or `DiskPassword`. Most have none.
    pub fn name(&self) -> Option<&str> {
        let text = self.description()?;
        let name = split_srk_name(text).map_or(text, |(name, _)| name);
        (!name.is_empty()).then_some(name)
    }

    /// Of a protector with a TPM: the TPM name of the storage root key that sealed its object, which
    /// programs such as this one store in the description (docs/format-tpm.md §1.1). Windows stores
    /// none. Nothing authenticates it.
    pub fn srk_name(&self) -> Option<Vec<u8>> {
        self.tpm()?;
        split_srk_name(self.description()?).map(|(_, name)| name)
    }

    fn description(&self) -> Option<&str> {
        self.parts.iter().find_map(Datum::text)
    }

    /// The sealed VMK: the last sealed datum directly in the protector. Those nested in its stretch
    /// and use-key datums are backups of the protector's secret.
    pub fn sealed_vmk(&self) -> Option<&SealedDatum> {
        self.parts.iter().rev().find_map(Datum::sealed)
    }

    /// How its password, PIN or recovery password is stretched.
    pub fn stretch(&self) -> Option<&Stretch> {
        self.find(|body| match body {
            Body::Stretch(stretch) => Some(stretch),
            _ => None,
        })
    }

    /// Which external or intermediate key it uses.
    pub fn use_key(&self) -> Option<&UseKey> {
        self.find(|body| match body {
            Body::UseKey(use_key) => Some(use_key),
            _ => None,
        })
    }

    /// The object sealed to a TPM, of protectors that need one.
    pub fn tpm(&self) -> Option<&TpmBlob> {
        self.find(|body| match body {
            Body::Tpm(blob) => Some(blob),
            _ => None,
        })
    }

    /// The label that is hashed with a PIN into the password for the TPM (docs/format-tpm.md §3.2).
    pub fn hash_label(&self) -> Option<&[u8]> {
        self.find(|body| match body {
            Body::ConcatHash(label) => Some(label.as_slice()),
            _ => None,
        })
    }

    /// Which certificate it uses.
    pub fn certificate(&self) -> Option<&CertificateInfo> {
        self.find(|body| match body {
            Body::Certificate(certificate) => Some(certificate),
            _ => None,
        })
    }

    /// The public key of that certificate.
    pub fn public_key(&self) -> Option<&PublicKey> {
        self.find(|body| match body {
            Body::PublicKey(key) => Some(key),
            _ => None,
        })
    }

    /// The intermediate key, encrypted with that public key.
    pub fn wrapped_key(&self) -> Option<&[u8]> {
        self.find(|body| match body {
            Body::WrappedKey(bytes) => Some(bytes.as_slice()),
            _ => None,
        })
    }

    /// When and where its recovery password was saved; `None` if Windows recorded no backup.
    pub fn backup(&self) -> Option<&BackupInfo> {
        self.find(|body| match body {
            Body::Backup(backup) => Some(backup),
            _ => None,
        })
    }

    /// The hint that Windows' recovery screen shows.
    pub fn hint(&self) -> Option<&str> {
        self.find(|body| match body {
            Body::Hint(hint) => Some(hint.as_str()),
            _ => None,
        })
    }

    /// The unencrypted key of a clear-key protector.
    pub fn clear_key(&self) -> Option<&[u8]> {
        self.parts
            .iter()
            .filter_map(Datum::key)
            .find(|key| key.key_type == key_types::CLEAR_KEY)
            .map(|key| key.data.expose())
    }

    /// Of a clear key: after how many starts of Windows protection resumes by itself
    /// (docs/format-recovery.md §6.4). `None` if the suspension has no such limit.
    pub fn reboots_left(&self) -> Option<u8> {
        // Bit 2 of the flags says that their high byte is the count (docs/format.md §3.1).
        let [low, count] = self.flags.to_le_bytes();
        (self.kind() == ProtectorKind::ClearKey && low & 0x04 != 0).then_some(count)
    }

    /// The 128-bit key of a recovery password, sealed with the VMK: who has the VMK can show the
    /// password.
    pub fn recovery_key_backup(&self) -> Option<&SealedDatum> {
        let nested = &self.stretch()?.nested;
        let of_role = |role| {
            nested
                .iter()
                .find(|datum| datum.role == role && datum.sealed().is_some())
        };
        // Before Windows 8.1 the only nested datum has no role (docs/format.md §3.13).
        of_role(roles::RECOVERY_KEY_BACKUP)
            .or_else(|| of_role(roles::PROPERTY))?
            .sealed()
    }

    /// The first nested datum whose body `part` accepts.
    fn find<'a, T>(&'a self, part: impl Fn(&'a Body) -> Option<T>) -> Option<T> {
        self.parts.iter().find_map(|datum| part(&datum.body))
    }
}

/// Before and after the name of a storage root key in a description.
const SRK_NAME: (&str, &str) = ("(storage root key ", ")");

/// The longest name of an object in a TPM: the code of an algorithm, and a digest of 64 bytes.
const MAX_SRK_NAME: usize = 66;

/// The description of a protector whose object was sealed by the storage root key with this name.
pub(crate) fn description_with_srk_name(name: Option<&str>, srk_name: &[u8]) -> String {
    let (before, after) = SRK_NAME;
    let digits = base16ct::lower::encode_string(srk_name);
    match name {
        Some(name) => format!("{name} {before}{digits}{after}"),
        None => format!("{before}{digits}{after}"),
    }
}

/// The name of the protector and that of the storage root key, if the description has the latter.
fn split_srk_name(description: &str) -> Option<(&str, Vec<u8>)> {
    let (before, after) = SRK_NAME;
    let (name, digits) = description.strip_suffix(after)?.rsplit_once(before)?;
    let srk_name = base16ct::mixed::decode_vec(digits).ok()?;
    (1..=MAX_SRK_NAME)
        .contains(&srk_name.len())
        .then(|| (name.trim_end(), srk_name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::time::FileTime;

    #[test]
    fn finds_the_name_of_the_storage_root_key_in_a_description() {
        let srk_name = [0, 0xB, 0xAA, 0x12];
        let text = description_with_srk_name(Some("TPMAndPin"), &srk_name);
        assert_eq!(text, "TPMAndPin (storage root key 000baa12)");
        let found = split_srk_name(&text);
        assert_eq!(found, Some(("TPMAndPin", srk_name.to_vec())));
        let text = description_with_srk_name(None, &srk_name);
        assert_eq!(split_srk_name(&text), Some(("", srk_name.to_vec())));
        let long = "00".repeat(MAX_SRK_NAME + 1);
        for other in [
            "TPM Protection",
            "(storage root key )",
            "(storage root key 0)",
            "(storage root key xy)",
        ] {
            assert_eq!(split_srk_name(other), None, "{other}");
        }
        assert_eq!(split_srk_name(&format!("(storage root key {long})")), None);
    }
    use crate::guid::Guid;

    fn protector(code: u16, flags: u16) -> KeyProtector {
        KeyProtector {
            id: Guid::from_disk([0; 16]),
            changed: FileTime(0),
            hints: 0,
            code,
            flags,
            parts: Vec::new(),
        }
    }

    #[test]
    fn the_kind_is_in_the_high_byte() {
        assert_eq!(protector(0x0800, 1).kind(), ProtectorKind::RecoveryPassword);
        assert_eq!(protector(0x00FF, 1).kind(), ProtectorKind::ClearKey);
        assert_eq!(protector(0x0301, 1).kind(), ProtectorKind::TpmStartupKey);
        assert_eq!(protector(0x8000, 1).kind(), ProtectorKind::Unknown(0x8000));
    }

    #[test]
    fn reads_the_word_the_name_and_the_word_of_manage_bde() {
        for row in KINDS {
            assert_eq!(row.word.parse(), Ok(row.kind));
            assert_eq!(row.kind.to_string().parse(), Ok(row.kind));
        }
        assert_eq!("TPMAndPIN".parse(), Ok(ProtectorKind::TpmPin));
        assert_eq!(
            "RecoveryPassword".parse(),
            Ok(ProtectorKind::RecoveryPassword)
        );
        for wrong in ["", "unknown", "Unknown", "pin", "tpms"] {
            assert!(wrong.parse::<ProtectorKind>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn network_unlock_is_known_by_its_bits_and_by_its_parts() {
        assert_eq!(protector(0x1000, 1).kind(), ProtectorKind::Certificate);
        assert_eq!(protector(0x1100, 1).kind(), ProtectorKind::Network);
        assert_eq!(protector(0x1500, 1).kind(), ProtectorKind::Network);
        let part = |datum_type| Datum {
            position: 0,
            size: 8,
            role: 0,
            datum_type,
            flags: 1,
            body: Body::Unknown(Vec::new()),
        };
        let mut unknown = protector(0x8000, 1);
        unknown.parts = vec![part(types::TPM_BLOB)];
        assert_eq!(unknown.kind(), ProtectorKind::Unknown(0x8000));
        unknown.parts.push(part(types::ASYMMETRIC_BLOB));
        assert_eq!(unknown.kind(), ProtectorKind::Network);
    }

    #[test]
    fn counts_reboots_only_where_the_flag_says_so() {
        assert_eq!(protector(0, 0x0105).reboots_left(), Some(1));
        assert_eq!(protector(0, 0x0003).reboots_left(), None);
        assert_eq!(protector(0x0800, 0x0105).reboots_left(), None);
    }
}
