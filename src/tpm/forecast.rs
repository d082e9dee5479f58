//! Replays the event log of a boot, and predicts the PCRs that the Windows boot manager would find
//! (docs/format-tpm.md §7).

use super::policy::{LOCK, Pcrs, Policy};
use crate::crypto::hash::HashAlgorithm;
use crate::format::event_log::{Event, EventLog, kinds};
use crate::format::tpm_blob::SealedObject;

/// The PCR that records the state of Secure Boot and the certificates of what was started.
const SECURE_BOOT: u8 = 7;

/// A certificate of Microsoft that signs boot programs. It is recognized by the digest of the event that
/// firmware records in PCR 7 when it uses the certificate. The digests were computed from the published
/// certificates; those of 2011 also occur in recorded logs.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Signer {
    /// Common name of the certificate.
    pub name: &'static str,
    /// Whether it signs the Windows boot manager.
    pub windows: bool,
    sha256: &'static str,
    sha1: Option<&'static str>,
}

/// The known certificates.
pub const SIGNERS: &[Signer] = &[
    Signer {
        name: "Microsoft Windows Production PCA 2011",
        windows: true,
        sha256: "30bf464ee37f1bc0c7b1a5bf25eced275347c3ab1492d5623ae9f7663be07dd5",
        sha1: Some("9fc713b7248d99a1a0db3d50c14eb9b4ff270721"),
    },
    Signer {
        name: "Windows UEFI CA 2023",
        windows: true,
        sha256: "9289fee87f143306777cfbcefd8084c64b4e579c3865574912346302c0990a2b",
        sha1: Some("2ac2e99b960b8a045412aa7c8693acfc1dd619ed"),
    },
    Signer {
        name: "Microsoft Corporation UEFI CA 2011",
        windows: false,
        sha256: "4d4a8e2c74133bbdc01a16eaf2dbb5d575afeb36f5d8dfcf609ae043909e2ee9",
        sha1: Some("8b5866854c0b829dd967a1d9f100a3920d412792"),
    },
    Signer {
        name: "Microsoft UEFI CA 2023",
        windows: false,
        sha256: "8a26f71e5779e067c2b6fa7de771c6b7b5118bcbedec4641a845be6624cc9344",
        sha1: None,
    },
];

impl Signer {
    /// The event's digest in a bank, where it is known.
    fn digest(&self, bank: HashAlgorithm) -> Option<Vec<u8>> {
        let digits = match bank {
            HashAlgorithm::Sha256 => self.sha256,
            HashAlgorithm::Sha1 => self.sha1?,
            _ => return None,
        };
        super::payload::from_hex(digits.as_bytes()).map(|bytes| bytes.to_vec())
    }
}

/// Whether the Windows boot manager would get the key if this computer started it now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Forecast {
    /// It would, if it is signed by this certificate.
    Opens(&'static Signer),
    /// It would not, with any of the known certificates.
    Refused,
    /// It would not: the key is bound to Secure Boot, which is off.
    SecureBootOff,
}

/// The PCR values that result from the events of a log; `None` for a bank that the log lacks or whose
/// hash algorithm is not implemented.
pub fn replay(log: &EventLog, bank: HashAlgorithm) -> Option<Pcrs> {
    let mut values = Pcrs::new();
    for event in &log.events {
        let pcr = u8::try_from(event.pcr).ok();
        let Some(pcr) = pcr.filter(|_| event.kind != kinds::NO_ACTION) else {
            continue;
        };
        let digest = event.digest(bank.id())?;
        let old = values.entry(pcr).or_insert_with(|| start(log, pcr, bank));
        *old = bank.digest(&[old.as_slice(), digest])?;
    }
    Some(values)
}

/// The value of a PCR before its first event: zeros, except that the last byte of PCR 0 is the locality
/// from which the TPM was started.
fn start(log: &EventLog, pcr: u8, bank: HashAlgorithm) -> Vec<u8> {
    let mut value = vec![0; bank.digest_len()];
    let locality = log.events.iter().find_map(Event::startup_locality);
    if let (0, Some(locality), Some(last)) = (pcr, locality, value.last_mut()) {
        *last = locality;
    }
    value
}

/// The known certificates that the log records for this boot.
pub fn signers(log: &EventLog, bank: HashAlgorithm) -> Vec<&'static Signer> {
    let started = |signer: &&Signer| {
        let digest = signer.digest(bank);
        log.events.iter().any(|event| {
            event.kind == kinds::AUTHORITY
                && digest
                    .as_deref()
                    .is_some_and(|digest| event.digest(bank.id()) == Some(digest))
        })
    };
    SIGNERS.iter().filter(started).collect()
}

/// The forecast for an object that is sealed to PCR 7 and PCR 11; `None` for other objects, and if the
/// log has no separator in PCR 7.
///
/// What firmware measures into PCR 7 up to the separator does not depend on what is started. After it,
/// a start of Windows adds only the certificate of the Windows boot manager.
pub fn windows(log: &EventLog, object: &SealedObject, policy: &Policy) -> Option<Forecast> {
    if object.pcrs() != [SECURE_BOOT, LOCK] {
        return None;
    }
    if log.secure_boot() == Some(false) {
        return Some(Forecast::SecureBootOff);
    }
    let bank = policy.bank;
    let mut value = start(log, SECURE_BOOT, bank);
    let mut measured = log
        .events
        .iter()
        .filter(|event| event.pcr == u32::from(SECURE_BOOT) && event.kind != kinds::NO_ACTION);
    loop {
        let event = measured.next()?;
        value = bank.digest(&[&value, event.digest(bank.id())?])?;
        if event.kind == kinds::SEPARATOR {
            break;
        }
    }
    let opens = |signer: &&Signer| {
        let extended = signer
            .digest(bank)
            .and_then(|digest| bank.digest(&[&value, &digest]));
        extended.is_some_and(|value| {
            let lock = vec![0; bank.digest_len()];
            policy.is_met(object, &Pcrs::from([(SECURE_BOOT, value), (LOCK, lock)]))
        })
    };
    let mut by_windows = SIGNERS.iter().filter(|signer| signer.windows);
    Some(
        by_windows
            .find(opens)
            .map_or(Forecast::Refused, Forecast::Opens),
    )
}

/// An event of a boot, for a user.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoggedEvent {
    /// The PCR that it extended.
    pub pcr: u8,
    /// The name of its type in the TCG profile; `None` for others.
    pub kind: Option<&'static str>,
    /// The printable text in its data, shortened; empty if there is none.
    pub text: String,
}

/// Most events and characters of each that [`events`] returns: a log may be hostile.
const MAX_EVENTS: usize = 256;
const MAX_TEXT: usize = 256;

/// The events in these PCRs, at most 256, in the order in which they were measured.
pub fn events(log: &EventLog, pcrs: &[u8]) -> Vec<LoggedEvent> {
    let shown = |event: &Event| {
        let pcr = u8::try_from(event.pcr).ok()?;
        let measured = pcrs.contains(&pcr) && event.kind != kinds::NO_ACTION;
        measured.then(|| LoggedEvent {
            pcr,
            kind: kinds::name(event.kind),
            text: event.text(MAX_TEXT),
        })
    };
    log.events
        .iter()
        .filter_map(shown)
        .take(MAX_EVENTS)
        .collect()
}

/// What a PCR measures, in a few words.
pub fn meaning(pcr: u8) -> &'static str {
    match pcr {
        0 => "firmware code",
        1 => "firmware settings",
        2 => "option ROMs and add-in drivers",
        3 => "settings of option ROMs and add-in drivers",
        4 => "boot loaders",
        5 => "partition table and boot loader settings",
        6 => "manufacturer-specific",
        7 => "Secure Boot: its state and keys, and the certificates of what was started",
        8 => "BIOS: boot sector; GRUB: its commands",
        9 => {
            "GRUB: the files it read; the kernel's EFI stub: initrd and command line; BIOS: boot block"
        }
        10 => "BIOS: boot manager; Linux: IMA",
        11 => "BitLocker's lock: zero when a key is released; systemd extends it, too",
        12 => "systemd-stub: kernel command line",
        13 => "systemd-stub: system extensions",
        14 => "shim: machine owner keys (MOK)",
        15 => "systemd: the root file system",
        16 => "debugging",
        _ => "dynamic launch",
    }
}

#[cfg(test)]
mod tests {
    use super::super::policy::tests::sha1_object;
    use super::*;
    use hex_literal::hex;

    fn event(kind: u32, digest: [u8; 20]) -> Event {
        Event {
            pcr: 7,
            kind,
            digests: vec![(4, digest.to_vec())],
            data: Vec::new(),
        }
    }

    /// A recorded boot, and the object on its disk (docs/format-tpm.md §9, V5).
    fn recorded() -> (EventLog, SealedObject) {
        let variables = [
            hex!("d4fdd1f14d4041494deb8fc990c45343d2277d08"),
            hex!("c0f2b2f9782596369b4fc98b927a06e1418b3f56"),
            hex!("13f02fbc7383ed7c89017e0b32f60e38e282056c"),
            hex!("a233adbc63e3fdc5f73693a3cc4a27041714383f"),
            hex!("c9561285a01550f301f96021218188000af2d72f"),
        ];
        let mut events: Vec<_> = variables
            .map(|digest| event(kinds::VARIABLE, digest))
            .into();
        events.push(event(
            kinds::SEPARATOR,
            hex!("9069ca78e7450a285173431b3e52c5c25299e473"),
        ));
        events.push(event(
            kinds::AUTHORITY,
            hex!("9fc713b7248d99a1a0db3d50c14eb9b4ff270721"),
        ));
        (EventLog { events }, sha1_object())
    }

    #[test]
    fn replays_a_recorded_boot() {
        let (log, _) = recorded();
        let values = replay(&log, HashAlgorithm::Sha1).unwrap();
        assert_eq!(values[&7], hex!("4cc29f6b8fd24f72fa79da2ebe3838f8ca6c6eb0"));
        assert_eq!(replay(&log, HashAlgorithm::Sha256), None);
    }

    #[test]
    fn lists_the_events_of_some_pcrs() {
        let (mut log, _) = recorded();
        log.events[3].data = b"grub_cmd: linux /vmlinuz\x1B[31m root=/dev/sda1\0".to_vec();
        log.events[3].kind = 0x0D;
        log.events[4].pcr = 4;
        let found = events(&log, &[7, 11]);
        assert_eq!(found.len(), 6);
        assert_eq!(found[0].kind, Some("EV_EFI_VARIABLE_DRIVER_CONFIG"));
        assert_eq!(found[3].text, "grub_cmd: linux /vmlinuz[31m root=/dev/sda1");
        assert_eq!(found[0].text, "");
    }

    #[test]
    fn forecasts_windows_from_a_boot_of_something_else() {
        let (mut log, object) = recorded();
        let policy = Policy::solve(&object).unwrap();
        // The log of a boot in which firmware started shim instead of the Windows boot manager.
        let shim = SIGNERS[2].digest(HashAlgorithm::Sha1).unwrap();
        log.events[6].digests[0].1 = shim;
        assert_eq!(signers(&log, HashAlgorithm::Sha1), [&SIGNERS[2]]);
        assert_eq!(
            windows(&log, &object, &policy),
            Some(Forecast::Opens(&SIGNERS[0]))
        );
        log.events[2].digests[0].1[0] ^= 1;
        assert_eq!(windows(&log, &object, &policy), Some(Forecast::Refused));
        log.events.truncate(3);
        assert_eq!(windows(&log, &object, &policy), None);
    }
}
