//! TPM protectors of real machines, with the data that their TPMs released (corpus: `tpm_vectors.json`;
//! docs/format-tpm.md §9).

use fve::error::Reason;
use fve::format::bek::BekFile;
use fve::format::block::MetadataBlock;
use fve::format::protector::ProtectorKind;
use fve::secret::SecretText;
use fve::tpm::{Payload, Policy};
use fve::unlock::StartupKey;
use fve::unlock::tpm::TpmUnlock;
use fve::unlock::{Answer, Context, Credential};
use serde_json::Value;

use crate::common::corpus;
use crate::common::trials::{self, trial};

/// One TPM protector of a real machine.
struct Machine {
    block: MetadataBlock,
    entry: Value,
    vmk: Vec<u8>,
}

impl Machine {
    fn unlock(&self) -> TpmUnlock {
        self.unlock_with(&from_hex(&self.entry["tpm_unsealed_hex"]))
    }

    fn unlock_with(&self, payload: &[u8]) -> TpmUnlock {
        let mut unlock = TpmUnlock::new(Box::new(Payload::new(payload).expect("payload")));
        if let Some(pin) = self.entry["pin"].as_str() {
            unlock = unlock.pin(&SecretText::new(pin.to_owned()));
        }
        if self.entry["bek_hex"].is_string() {
            let file = BekFile::parse(&from_hex(&self.entry["bek_hex"])).expect("BEK");
            unlock = unlock.startup_key(StartupKey::new(file));
        }
        unlock
    }

    fn try_with(&self, unlock: &TpmUnlock) -> Answer {
        let protector = self.block.protectors().next().expect("protector");
        unlock.try_on(protector, &Context::new(&self.block))
    }
}

fn machines() -> Vec<Machine> {
    let directory = corpus::directory().expect("corpus");
    let text = std::fs::read_to_string(directory.join("tpm_vectors.json")).expect("vectors");
    let vectors: Value = serde_json::from_str(&text).expect("vectors");
    let mut machines = Vec::new();
    for vector in vectors["vectors"].as_array().expect("list") {
        for entry in vector["protectors"].as_array().expect("list") {
            if entry["tpm_unsealed_hex"].is_string() {
                machines.push(Machine {
                    block: block(&[from_hex(&entry["entry_hex"]), fvek(&vector["fvek_box"])]),
                    entry: entry.clone(),
                    vmk: from_hex(&vector["vmk_hex"]),
                });
            }
        }
    }
    assert_eq!(machines.len(), 4, "all four kinds");
    machines
}

#[trial(
    "computes the published master key for every protector",
    needs(trials::corpus)
)]
fn chains() {
    let mut kinds = Vec::new();
    for machine in machines() {
        let kind = machine.block.protectors().next().expect("one").kind();
        kinds.push(kind);
        match machine.try_with(&machine.unlock()) {
            Answer::Opened(vmk) => assert_eq!(vmk.expose()[..], machine.vmk, "{kind:?}"),
            other => panic!("{kind:?}: {other:?}"),
        }
    }
    for kind in [
        ProtectorKind::Tpm,
        ProtectorKind::TpmPin,
        ProtectorKind::TpmStartupKey,
        ProtectorKind::TpmPinStartupKey,
    ] {
        assert!(kinds.contains(&kind), "{kind:?}");
    }
}

#[trial(
    "finds the policy of every protector from the metadata",
    needs(trials::corpus)
)]
fn policies() {
    for machine in machines() {
        let protector = machine.block.protectors().next().expect("one");
        let object = protector.tpm().expect("blob").sealed.as_ref();
        let object = object.expect("object");
        let policy = Policy::solve(object).expect("policy");
        assert_eq!(policy.bank.word(), "sha256");
        // With any bit changed that the policy covers, the TPM is not used and no attempt is counted.
        for bit in 0..object.pcr_digest.len() * 8 {
            let mut damaged = object.clone();
            damaged.pcr_digest[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Policy::solve(&damaged), None);
        }
    }
}

#[trial(
    "a payload without the header of its datum works, too",
    needs(trials::corpus)
)]
fn without_header() {
    for machine in machines() {
        let payload = from_hex(&machine.entry["tpm_unsealed_hex"]);
        let answer = machine.try_with(&machine.unlock_with(&payload[8..]));
        assert!(matches!(answer, Answer::Opened(vmk) if vmk.expose().as_slice() == machine.vmk));
    }
}

#[trial("refuses the payload of another protector", needs(trials::corpus))]
fn other_payload() {
    let machines = machines();
    let unlock = |kind| {
        let mut found = machines
            .iter()
            .filter(|machine| machine.block.protectors().next().expect("one").kind() == kind);
        found.next().expect("machine")
    };
    let (with_pin, with_key) = (
        unlock(ProtectorKind::TpmPin),
        unlock(ProtectorKind::TpmStartupKey),
    );
    let payload = Payload::new(&from_hex(&with_key.entry["tpm_unsealed_hex"])).expect("payload");
    let answer = with_pin.try_with(&TpmUnlock::new(Box::new(payload)));
    assert!(matches!(answer, Answer::Failed(failure) if failure.reason == Reason::WrongKey));
}

#[trial("refuses a wrong PIN or startup key", needs(trials::corpus))]
fn wrong_parts() {
    for machine in machines() {
        let pin = SecretText::new("12345678".to_owned());
        if machine.entry["pin"].is_string() {
            let answer = machine.try_with(&machine.unlock().pin(&pin));
            assert!(
                matches!(answer, Answer::Failed(failure) if failure.reason == Reason::WrongKey)
            );
        }
        if machine.entry["bek_hex"].is_string() {
            let mut bytes = from_hex(&machine.entry["bek_hex"]);
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            let file = BekFile::parse(&bytes).expect("BEK");
            let answer = machine.try_with(&machine.unlock().startup_key(StartupKey::new(file)));
            assert!(
                matches!(answer, Answer::Failed(failure) if failure.reason == Reason::WrongKey)
            );
        }
    }
}

/// The datum with the sealed FVEK.
fn fvek(parts: &Value) -> Vec<u8> {
    let body = ["nonce", "mac", "payload"]
        .map(|part| from_hex(&parts[part]))
        .concat();
    let size = u16::try_from(body.len() + 8).expect("size");
    let mut datum = Vec::new();
    for field in [size, 3, 5, 1] {
        datum.extend(field.to_le_bytes());
    }
    [datum, body].concat()
}

/// A metadata block with only these datums.
fn block(datums: &[Vec<u8>]) -> MetadataBlock {
    let datums = datums.concat();
    let end = 0x30 + u32::try_from(datums.len()).expect("size");
    let size = (0x40 + end as usize).next_multiple_of(16);
    let mut bytes = vec![0; size + 8];
    let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
    put(0, b"-FVE-FS-");
    put(8, &u16::try_from(size / 16).expect("size").to_le_bytes());
    put(0xA, &2u16.to_le_bytes());
    for (at, field) in [(0x40, end), (0x44, 1), (0x48, 0x30), (0x4C, end)] {
        put(at, &field.to_le_bytes());
    }
    put(0x70, &datums);
    MetadataBlock::parse(&bytes, 0).expect("block")
}

fn from_hex(value: &Value) -> Vec<u8> {
    let digits = value.as_str().expect("hex");
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hex"))
        .collect()
}
