//! The description of a locked volume for `fve info` and other commands: as text in the words of
//! `manage-bde`, and as JSON.

mod saved;

use std::fmt::Write;

use base16ct::lower::encode_string as hex;
use fve::crypto::hash::HashAlgorithm;
use fve::crypto::sector::Method;
use fve::format::block::{MetadataBlock, State};
use fve::format::boot::{Flavor, Layout};
use fve::format::datum::{Body, Datum, PublicKey, SealedDatum};
use fve::format::protector::{KeyProtector, ProtectorKind};
use fve::format::tpm_blob::TpmBlob;
use fve::tpm::Policy;
use fve::volume::{Protection, Volume};
use serde_json::{Value, json};

use crate::cli::options::credentials::options_for;
use crate::cli::options::source::Opened;
use crate::cli::output::json;
use crate::cli::output::term::{escaped, human_size};

pub(crate) use self::saved::SavedReport;

/// Everything that can be known about a volume without a key.
pub(crate) struct Report<'a> {
    opened: &'a Opened,
    volume: &'a Volume,
    block: Option<&'a MetadataBlock>,
}

impl<'a> Report<'a> {
    pub(crate) fn of(opened: &'a Opened) -> Self {
        Self {
            opened,
            volume: &opened.volume,
            block: opened.volume.metadata_as_found(),
        }
    }

    /// The description as text.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        self.write_status(&mut text);
        if let Some(block) = self.block {
            write_protectors(&mut text, block);
            self.write_metadata(&mut text, block);
        }
        for problem in self.problems() {
            line(&mut text, format_args!("\nNote: {}", escaped(&problem)));
        }
        text
    }

    /// Writes the lines that identify the volume.
    pub(crate) fn write_heading(&self, text: &mut String) {
        let (id, description) = match self.block {
            Some(block) => (
                format!("{{{:X}}}", block.dataset.id),
                escaped(block.description().unwrap_or("Label Unknown")),
            ),
            None => ("of unknown identity".to_owned(), "Label Unknown".to_owned()),
        };
        line(text, format_args!("Volume {id} [{description}]"));
        line(text, format_args!("[{}]\n", flavor(self.volume)));
    }

    fn write_status(&self, text: &mut String) {
        self.write_heading(text);
        let status = self.volume.status();
        let bytes = |bytes: u64| format!("{} ({bytes} bytes)", human_size(bytes));
        let present = self.present();
        match self.volume.declared_size() {
            Some(size) => {
                field(text, "Size:", &bytes(size));
                if size > present {
                    field(text, "Available:", &bytes(present));
                }
            }
            None => field(
                text,
                "Size:",
                &format!(
                    "unknown until unlocked; the source holds {}",
                    bytes(present)
                ),
            ),
        }
        field(text, "BitLocker Version:", status.version);
        field(text, "Conversion Status:", status.conversion.name());
        let percentage = match status.percentage {
            Some(share) => format!("{share:.1}%"),
            None => "Unknown".to_owned(),
        };
        field(text, "Percentage Encrypted:", &percentage);
        field(text, "Encryption Method:", &method_name(self.volume));
        field(
            text,
            "Protection Status:",
            &protection_words(status.protection),
        );
        field(
            text,
            "Lock Status:",
            if self.volume.needs_key() {
                "Locked"
            } else {
                "Unlocked"
            },
        );
        let identification = match self.identification() {
            Some(_) => "Set ('fve unlock' shows it)",
            None => "Unknown",
        };
        field(text, "Identification Field:", identification);
        let kinds: Vec<_> = listed(self.block)
            .map(|protector| protector.kind().name())
            .collect();
        if kinds.is_empty() {
            field(text, "Key Protectors:", "None Found");
        } else {
            line(text, format_args!("    Key Protectors:"));
            for kind in kinds {
                line(text, format_args!("        {kind}"));
            }
        }
    }

    /// The identification field, which is encrypted.
    fn identification(&self) -> Option<&SealedDatum> {
        self.block.and_then(MetadataBlock::sealed_identification)
    }

    /// Writes a line for each metadata copy, with its defect if it has one.
    pub(crate) fn write_copies(&self, text: &mut String) {
        for copy in &self.volume.copies().0 {
            let state = copy
                .fault()
                .map_or("good".to_owned(), |fault| escaped(&fault.fault));
            field(
                text,
                &format!("Copy {}:", copy.number),
                &format!("at byte {}: {state}", copy.offset),
            );
        }
    }

    fn write_metadata(&self, text: &mut String, block: &MetadataBlock) {
        line(text, format_args!("\nMetadata\n"));
        field(text, "Turned On:", &block.dataset.created.to_string());
        if let Some(written) = block.last_written() {
            field(text, "Last Written:", &written.to_string());
        }
        if let Some((major, minor, build)) = windows(block) {
            field(text, "Windows:", &format!("{major}.{minor} build {build}"));
        }
        field(
            text,
            "Sector Size:",
            &format!("{} bytes", self.volume.sector_size()),
        );
        if let Layout::EncryptOnWrite { .. } = self.volume.boot_record().layout {
            field(text, "Conversion:", "encrypt-on-write");
        }
        field(text, "State:", &state_words(block));
        self.write_copies(text);
        for datum in not_understood(&block.datums) {
            field(
                text,
                "Unknown Entry:",
                &format!(
                    "role {:#06x}, type {:#06x}, {} bytes at byte {}",
                    datum.role, datum.datum_type, datum.size, datum.position
                ),
            );
        }
    }

    /// Defects and risks that the user should know before using the volume.
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        problems.extend(self.incomplete());
        if self.volume.copies().disagree() {
            problems.push(
                "the metadata copies differ: an update was interrupted, or one was changed"
                    .to_owned(),
            );
        }
        let agreed = self.block.map(|block| self.volume.check_boot_record(block));
        if let Some(Err(error)) = agreed {
            problems.push(format!(
                "{}; the volume cannot be unlocked",
                error.with_causes()
            ));
        }
        if let Some(fault) = self.volume.conversion_fault() {
            problems.push(format!("{fault}; the volume cannot be unlocked"));
        }
        if let Some(block) = self.block {
            problems.extend(self.protection_problem(block));
            if Method::by_code(block.dataset.method).is_none() && self.volume.needs_key() {
                problems.push(format!(
                    "the encryption method {:#06x} is unknown: the volume cannot be unlocked",
                    block.dataset.method
                ));
            }
        }
        problems
    }

    /// Length in bytes of the part of the source from the start of the volume on.
    fn present(&self) -> u64 {
        let volume = self.volume;
        volume.source_size().saturating_sub(volume.missing())
    }

    /// Which part of the volume the source lacks, if any.
    fn incomplete(&self) -> Option<String> {
        let present = self.present();
        let missing = self.volume.missing();
        if self.opened.piece {
            return Some(format!(
                "the source is only a piece of the volume, {present} bytes, and it is not known where the volume begins: nothing can be decrypted from it, but its key protectors are known and a credential can be checked with 'fve unlock'"
            ));
        }
        let lacks = format!("the image lacks the first {missing} bytes of the volume");
        let cut = self
            .volume
            .declared_size()
            .filter(|size| *size > self.volume.source_size());
        match (missing, cut) {
            (0, None) => None,
            (_, None) => Some(lacks),
            (0, Some(size)) => Some(format!(
                "the image is cut off: it holds {present} of the volume's {size} bytes"
            )),
            (_, Some(size)) => Some(format!(
                "{lacks} and is cut off: it holds {present} of the volume's {size} bytes"
            )),
        }
    }

    fn protection_problem(&self, block: &MetadataBlock) -> Option<String> {
        let clear = block
            .protectors()
            .any(|p| p.kind() == ProtectorKind::ClearKey);
        if !clear {
            return None;
        }
        Some(if listed(Some(block)).next().is_none() {
            "the volume is encrypted but not protected: its only key is stored unencrypted on the disk, and anyone can read it".to_owned()
        } else {
            "protection is suspended: a key is stored unencrypted on the disk, and anyone can read the volume".to_owned()
        })
    }

    /// The description as JSON (docs/json.md). Keys are never renamed or removed.
    pub(crate) fn json(&self) -> String {
        json::document(&self.value())
    }

    /// The same as a value.
    pub(crate) fn value(&self) -> Value {
        let status = self.volume.status();
        let (protection_on, reboots_left) = match status.protection {
            Protection::On => (Some(true), None),
            Protection::Off { reboots_left } => (Some(false), reboots_left),
            _ => (None, None),
        };
        json!({
            "source": self.source_json(),
            "volume": self.block.map(|block| self.volume_json(block)),
            "status": {
                "conversion": status.conversion.name(),
                "conversion_status": status.conversion.wmi(),
                "percentage_encrypted": status.percentage,
                "has_identification_field": self.identification().is_some(),
                "encryption_method": method_name(self.volume),
                "encryption_method_id": self.block.map(|block| code(block.dataset.method)),
                "encryption_method_word": self.volume.method().map(|method| method.word),
                "wmi_encryption_method": self.volume.method().map(|method| method.wmi),
                "protection": protection_words(status.protection),
                "protection_on": protection_on,
                "reboots_left": reboots_left,
                "locked": self.volume.needs_key(),
            },
            "protectors": self.block.map_or(Vec::new(), |block| {
                protectors_json(block)
            }),
            "metadata": self.metadata_json(),
            "entries": self.block.map_or(Vec::new(), |block| {
                block.datums.iter().map(datum_json).collect()
            }),
            "problems": self.problems(),
        })
    }

    /// The place of the volume on the source, as JSON.
    pub(crate) fn source_json(&self) -> Value {
        json!({
            "path": self.opened.path.to_string_lossy(),
            "offset": self.opened.offset,
            "partition": self.opened.partition,
            "size": self.present(),
            "piece": self.opened.piece,
        })
    }

    /// The properties of the volume from its metadata, as JSON.
    pub(crate) fn volume_json(&self, block: &MetadataBlock) -> Value {
        let boot = self.volume.boot_record();
        json!({
            "id": format!("{:X}", block.dataset.id),
            "description": block.description(),
            "kind": match boot.flavor {
                Flavor::Vista => "vista",
                Flavor::Windows7 => "windows-7",
                Flavor::ToGo => "to-go",
                _ => "unknown",
            },
            "layout": match boot.layout {
                Layout::Whole => "whole",
                Layout::EncryptOnWrite { .. } => "encrypt-on-write",
                _ => "unknown",
            },
            "bitlocker_version": self.volume.status().version,
            "sector_size": self.volume.sector_size(),
            "size": self.volume.declared_size(),
            "available": self.volume.available(),
            "created": block.dataset.created.to_string(),
            "last_written": block.last_written().map(|time| time.to_string()),
            "windows": windows(block).map(|(major, minor, build)| {
                json!({ "major": major, "minor": minor, "build": build })
            }),
            "state": block.state.0,
            "next_state": block.next_state.0,
            "encrypted_extent": block.encrypted_extent,
            "moved_sectors": block.moved_sectors,
            "moved_to": (boot.flavor != Flavor::Vista).then_some(block.header_source),
            "next_nonce": block.dataset.next_nonce,
        })
    }

    fn metadata_json(&self) -> Value {
        let copies: Vec<_> = self
            .volume
            .copies()
            .0
            .iter()
            .map(|copy| {
                json!({
                    "number": copy.number,
                    "offset": copy.offset,
                    "good": copy.fault().is_none(),
                    "fault": copy.fault().map(|fault| fault.fault),
                })
            })
            .collect();
        let map = self.volume.conversion_map().map(|map| {
            let (encrypted, all) = map.progress();
            json!({
                "chunk_size": map.chunk_size,
                "regions": map.regions.len(),
                "encrypted_bytes": encrypted,
                "bytes": all,
            })
        });
        json!({
            "version": self.block.map(|block| block.version),
            "copies": copies,
            "copies_agree": !self.volume.copies().disagree(),
            "conversion_map": map,
            "conversion_map_fault": self.volume.conversion_fault(),
        })
    }
}

/// The encryption method in the words of `manage-bde`.
pub(crate) fn method_name(volume: &Volume) -> String {
    match volume.metadata_as_found() {
        Some(block) => method_in_words(block.dataset.method),
        None => "Unknown".to_owned(),
    }
}

/// The encryption method with this code, in the same words.
fn method_in_words(code: u16) -> String {
    match Method::by_code(code) {
        Some(method) => method.name.to_owned(),
        None if code == 0 => "None".to_owned(),
        None => format!("Unknown ({code:#06x})"),
    }
}

/// The key protectors that `manage-bde -protectors -get` lists: all but the clear key.
fn listed(block: Option<&MetadataBlock>) -> impl Iterator<Item = &KeyProtector> {
    block
        .into_iter()
        .flat_map(MetadataBlock::protectors)
        .filter(|protector| protector.kind() != ProtectorKind::ClearKey)
}

/// The key protectors of a volume, formatted like `manage-bde -protectors -get`.
pub(crate) fn protectors_text(block: &MetadataBlock) -> String {
    let mut text = String::new();
    write_protectors(&mut text, block);
    text.trim_start().to_owned()
}

/// The same as JSON.
pub(crate) fn protectors_json(block: &MetadataBlock) -> Vec<Value> {
    block.protectors().map(protector_json).collect()
}

fn write_protectors(text: &mut String, block: &MetadataBlock) {
    write_protector_list(text, block.protectors());
}

fn write_protector_list<'a>(text: &mut String, protectors: impl Iterator<Item = &'a KeyProtector>) {
    line(text, format_args!("\nAll Key Protectors"));
    for protector in protectors {
        line(text, format_args!("\n    {}:", protector_title(protector)));
        line(text, format_args!("      ID: {{{:X}}}", protector.id));
        for (heading, values) in details(protector) {
            line(text, format_args!("      {heading}"));
            for value in values {
                line(text, format_args!("        {}", escaped(&value)));
            }
        }
    }
}

fn protector_title(protector: &KeyProtector) -> String {
    match protector.kind() {
        ProtectorKind::Unknown(code) => format!("Unknown ({code:#06x})"),
        ProtectorKind::Certificate => "Smart Card (Certificate Based)".to_owned(),
        kind => kind.name().to_owned(),
    }
}

/// The details of a key protector: headings, each with its lines.
fn details(protector: &KeyProtector) -> Vec<(&'static str, Vec<String>)> {
    let mut details = Vec::new();
    if takes_key_file(protector.kind()) {
        details.push((
            "External Key File Name:",
            vec![format!("{:X}.BEK", protector.id)],
        ));
    }
    if let Some(blob) = protector.tpm() {
        let pcrs = blob.pcrs();
        let list: Vec<_> = pcrs.iter().map(u8::to_string).collect();
        let mut lines = vec![list.join(", ")];
        if pcrs.contains(&7) {
            lines.push("(Uses Secure Boot for integrity validation)".to_owned());
        }
        details.push(("PCR Validation Profile:", lines));
        details.push(("Sealed Object:", sealed_object(blob)));
        if let Some(name) = protector.srk_name() {
            details.push(("Storage Root Key:", vec![hex(&name)]));
        }
    }
    if let Some(thumbprint) = thumbprint(protector) {
        details.push(("Certificate Thumbprint:", vec![hex(&thumbprint)]));
    }
    if protector.kind() == ProtectorKind::Network {
        let note = "recognized by its structure; its layout is not verified";
        details.push(("Note:", vec![note.to_owned()]));
    }
    if let Some(key) = protector.public_key() {
        details.push(("Public Key:", public_key_lines(key)));
    }
    if let Some(name) = protector.name() {
        details.push(("Name:", vec![name.to_owned()]));
    }
    details.push(("Last Changed:", vec![protector.changed.to_string()]));
    if let Some(backup) = protector.backup() {
        details.push((
            "Saved:",
            vec![format!("{} (kind {})", backup.last, backup.kind)],
        ));
    } else if protector.kind() == ProtectorKind::RecoveryPassword {
        details.push(("Saved:", vec!["no backup recorded".to_owned()]));
    }
    if let Some(hint) = protector.hint() {
        details.push(("Hint:", vec![hint.to_owned()]));
    }
    if let Some(reboots) = protector.reboots_left() {
        details.push(("Reboots Left:", vec![reboots.to_string()]));
    }
    let options = options_for(protector.kind());
    if !options.is_empty() {
        details.push(("Opened By:", options));
    }
    details
}

/// A public key in lines: enough to find its certificate.
fn public_key_lines(key: &PublicKey) -> Vec<String> {
    let exponent = hex(&key.exponent);
    let mut lines = vec![format!("RSA, {} bits, exponent 0x{exponent}", key.bits)];
    if let Some(fingerprint) = fingerprint(key) {
        lines.push(format!("SHA-256 {fingerprint}"));
    }
    lines
}

/// SHA-256 of the key as certificates encode it (SubjectPublicKeyInfo, RFC 5280, section 4.1).
fn fingerprint(key: &PublicKey) -> Option<String> {
    // The algorithm rsaEncryption (1.2.840.113549.1.1.1) with the parameter NULL.
    const ALGORITHM: &[u8] = b"\x30\x0D\x06\x09\x2A\x86\x48\x86\xF7\x0D\x01\x01\x01\x05\x00";
    let integer = |number: &[u8]| {
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        let digits = number.get(zeros..).unwrap_or_default();
        // A set highest bit would make it negative.
        let sign: &[u8] = match digits.first() {
            Some(0x80..) => &[0],
            _ => &[],
        };
        der(0x02, &[sign, digits])
    };
    let numbers = der(0x30, &[&integer(&key.modulus), &integer(&key.exponent)]);
    let bits = der(0x03, &[&[0], &numbers]);
    let whole = der(0x30, &[ALGORITHM, &bits]);
    HashAlgorithm::Sha256
        .digest(&[&whole])
        .map(|hash| hex(&hash))
}

/// A DER value: tag, length and content (ITU-T X.690, section 8.1.3).
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut whole = vec![tag];
    match u8::try_from(content.len()) {
        Ok(len @ ..0x80) => whole.push(len),
        _ => {
            let len = content.len().to_be_bytes();
            let zeros = len.iter().take_while(|byte| **byte == 0).count();
            // The length has at most eight bytes, so their number fits into seven bits.
            whole.push(0x80 | (len.len() - zeros) as u8);
            whole.extend(len.iter().skip(zeros));
        }
    }
    whole.extend(content);
    whole
}

/// The SHA-1 thumbprint of its certificate: the stored one, or that of a certificate stored whole.
fn thumbprint(protector: &KeyProtector) -> Option<Vec<u8>> {
    if let Some(certificate) = protector.certificate() {
        return Some(certificate.thumbprint.clone());
    }
    protector.parts.iter().find_map(|part| match &part.body {
        Body::Malformed { bytes, .. } | Body::Unknown(bytes) | Body::WrappedKey(bytes) => {
            HashAlgorithm::Sha1.digest(&[certificate_in(bytes)?])
        }
        _ => None,
    })
}

/// A certificate anywhere in these bytes: a DER SEQUENCE with a two-byte length, whose first element is
/// such a SEQUENCE, too (ITU-T X.690, section 8.9).
fn certificate_in(bytes: &[u8]) -> Option<&[u8]> {
    bytes.windows(6).enumerate().find_map(|(at, window)| {
        let [0x30, 0x82, high, low, 0x30, 0x82] = *window else {
            return None;
        };
        let len = usize::from(u16::from_be_bytes([high, low])) + 4;
        bytes.get(at..at.checked_add(len)?)
    })
}

/// What can be known about a sealed object without its TPM.
fn sealed_object(blob: &TpmBlob) -> Vec<String> {
    let object = match &blob.sealed {
        Ok(object) => object,
        Err(fault) => {
            return vec![format!(
                "TPM 1.2 or an unknown form, not supported: {fault}"
            )];
        }
    };
    let mut lines = vec![match Policy::solve(object) {
        Some(policy) => format!("policy consistent, {} bank", policy.bank.name()),
        None => "policy not consistent: damaged, or of an unknown form".to_owned(),
    }];
    lines.push(format!("PCR digest {}", hex(&object.pcr_digest)));
    if blob.bitmaps_differ() {
        lines.push("its list of PCRs differs from that of the protector, and applies".to_owned());
    }
    lines
}

fn takes_key_file(kind: ProtectorKind) -> bool {
    matches!(
        kind,
        ProtectorKind::ExternalKey | ProtectorKind::TpmStartupKey | ProtectorKind::TpmPinStartupKey
    )
}

fn protector_json(protector: &KeyProtector) -> Value {
    let kind = protector.kind();
    json!({
        "id": format!("{:X}", protector.id),
        "type": kind.word(),
        "name": kind.name(),
        "type_id": code(protector.code),
        "wmi_type": kind.wmi_type(),
        "label": protector.name(),
        "changed": protector.changed.to_string(),
        "flags": protector.flags,
        "hints": protector.hints,
        "external_key_file": takes_key_file(kind).then(|| format!("{:X}.BEK", protector.id)),
        "pcrs": protector.tpm().map(|blob| blob.pcrs()),
        "pcr_digest": protector.tpm().and_then(|blob| {
            blob.sealed.as_ref().ok().map(|sealed| hex(&sealed.pcr_digest))
        }),
        "pcr_bank": policy(protector).map(|policy| policy.bank.word()),
        "tpm_policy_consistent": protector.tpm().map(|_| policy(protector).is_some()),
        "tpm_srk_name": protector.srk_name().map(|name| hex(&name)),
        "certificate_thumbprint": thumbprint(protector).map(|found| hex(&found)),
        "public_key": protector.public_key().map(|key| json!({
            "algorithm": "RSA",
            "bits": key.bits,
            "exponent": hex(&key.exponent),
            "modulus": hex(&key.modulus),
            "sha256": fingerprint(key),
        })),
        "layout_verified": kind != ProtectorKind::Network,
        "backup": protector.backup().map(|backup| json!({
            "first": backup.first.to_string(),
            "last": backup.last.to_string(),
            "kind": backup.kind,
            "class": backup.class,
        })),
        "hint": protector.hint(),
        "reboots_left": protector.reboots_left(),
        "options": options_for(kind),
    })
}

/// The policy of the sealed object, if it can be derived from what is stored beside it.
fn policy(protector: &KeyProtector) -> Option<Policy> {
    Policy::solve(protector.tpm()?.sealed.as_ref().ok()?)
}

fn datum_json(datum: &Datum) -> Value {
    let fault = match &datum.body {
        Body::Malformed { fault, .. } => Some(fault.to_string()),
        _ => None,
    };
    json!({
        "role": code(datum.role),
        "type": code(datum.datum_type),
        "type_name": datum.type_name(),
        "flags": datum.flags,
        "offset": datum.position,
        "size": datum.size,
        "text": datum.text(),
        "fault": fault,
        "nested": datum.nested().iter().map(datum_json).collect::<Vec<_>>(),
    })
}

/// Unknown and malformed entries, nested ones included.
fn not_understood(datums: &[Datum]) -> Vec<&Datum> {
    datums
        .iter()
        .flat_map(|datum| {
            let this = matches!(datum.body, Body::Unknown(_) | Body::Malformed { .. });
            this.then_some(datum)
                .into_iter()
                .chain(not_understood(datum.nested()))
        })
        .collect()
}

/// The state of the conversion, and the state that it is to reach where that is another
/// (docs/format.md §2.2).
fn state_words(block: &MetadataBlock) -> String {
    let word = |state: State| match state {
        State::DECRYPTED => "decrypted (1)".to_owned(),
        State::SWITCHING => "converting (2)".to_owned(),
        State::PAUSED => "conversion paused (3)".to_owned(),
        State::ENCRYPTED => "encrypted (4)".to_owned(),
        State::SWITCHING_DETACHED => "conversion paused, other form (5)".to_owned(),
        State(other) => format!("unknown ({other})"),
    };
    match block.state == block.next_state {
        true => word(block.state),
        false => format!("{}, target {}", word(block.state), word(block.next_state)),
    }
}

fn windows(block: &MetadataBlock) -> Option<(u32, u32, u32)> {
    Some(block.virtualization()?.extension.as_ref()?.windows)
}

fn flavor(volume: &Volume) -> &'static str {
    match volume.boot_record().flavor {
        Flavor::Vista => "Volume of Windows Vista",
        Flavor::Windows7 => "Volume of Windows 7 or later",
        Flavor::ToGo => "BitLocker To Go volume",
        _ => "BitLocker volume",
    }
}

pub(crate) fn protection_words(protection: Protection) -> String {
    match protection {
        Protection::On => "Protection On".to_owned(),
        Protection::Off { reboots_left: None } => "Protection Off".to_owned(),
        Protection::Off {
            reboots_left: Some(1),
        } => "Protection Off (1 reboot left)".to_owned(),
        Protection::Off {
            reboots_left: Some(reboots),
        } => format!("Protection Off ({reboots} reboots left)"),
        _ => "Unknown".to_owned(),
    }
}

fn code(number: u16) -> String {
    format!("{number:#06x}")
}

pub(crate) fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{content}");
}

/// Writes a label, padded to column 26 as by `manage-bde`, and its value.
pub(crate) fn field(text: &mut String, label: &str, value: &str) {
    line(text, format_args!("    {label:<21} {value}"));
}
