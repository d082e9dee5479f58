//! Published known answers, from the corpus: key stretching, and the key protectors of a real
//! computer with a TPM.

use crate::common::corpus;
use crate::common::trials::{self, Trial, trials};
use fve::crypto::envelope;
use fve::crypto::stretch::InitialHash;
use fve::format::bek::BekFile;
use fve::format::datum::{Body, Datum};
use fve::format::protector::{KeyProtector, ProtectorKind};
use fve::recovery_password::RecoveryPassword;
use serde_json::Value;

#[trials]
fn published_vectors() -> Vec<Trial> {
    match corpus::directory() {
        Some(directory) => {
            let read = |name: &str| -> Value {
                let text = std::fs::read_to_string(directory.join(name)).expect(name);
                serde_json::from_str(&text).expect(name)
            };
            let keys = read("kdf_vectors.json");
            let machines = read("tpm_vectors.json");
            let keys = list(&keys).to_vec().into_iter().map(|vector| {
                let title = format!("stretches and decrypts: {}", text(&vector["origin"]));
                Trial::test(title, move || {
                    stretches_and_decrypts(&vector);
                    Ok(())
                })
            });
            let machines = list(&machines["vectors"])
                .to_vec()
                .into_iter()
                .map(|vector| {
                    let title = format!("protectors of a real machine: {}", text(&vector["name"]));
                    Trial::test(title, move || {
                        protectors_parse(&vector);
                        Ok(())
                    })
                });
            keys.chain(machines).collect()
        }
        None => vec![trials::trial(
            "vectors of the corpus",
            trials::corpus(),
            || (),
        )],
    }
}

fn stretches_and_decrypts(vector: &Value) {
    let secret = text(&vector["secret"]);
    let initial = match text(&vector["kind"]) {
        "password" => InitialHash::of_password(secret),
        "recovery-password" => {
            InitialHash::of_recovery_key(&RecoveryPassword::parse(secret).expect("digits").to_key())
        }
        kind => panic!("unknown kind {kind}"),
    };
    let key = initial.stretch(&array(&vector["salt"]));
    assert_eq!(key.expose()[..], hex(&vector["stretched_key"]));
    // One published vector has no tag, so it cannot be decrypted.
    if text(&vector["tag"]) == "verified" {
        let opened = envelope::open(
            key.expose(),
            &array(&vector["nonce"]),
            &array(&vector["mac"]),
            &hex(&vector["ciphertext"]),
        )
        .expect("the tag matches");
        assert_eq!(opened.expose(), hex(&vector["plain"]));
        let datum = Datum::parse_one(opened.expose()).expect("datum");
        let key = datum.key().expect("key");
        assert_eq!(key.data.expose(), hex(&vector["vmk"]));
    }
}

fn protectors_parse(vector: &Value) {
    for entry in list(&vector["protectors"]) {
        let Some(bytes) = entry["entry_hex"].as_str() else {
            continue;
        };
        let datum = Datum::parse_one(&from_hex(bytes)).expect("datum");
        let Body::KeyProtector(protector) = &datum.body else {
            panic!("no protector");
        };
        assert_eq!(protector.id.to_string(), text(&entry["guid"]));
        assert_eq!(format!("{:#x}", protector.code), text(&entry["type"]));
        no_part_is_malformed(protector);
        if matches!(
            protector.kind(),
            ProtectorKind::Tpm
                | ProtectorKind::TpmPin
                | ProtectorKind::TpmStartupKey
                | ProtectorKind::TpmPinStartupKey
        ) {
            let blob = protector.tpm().expect("TPM blob");
            assert_eq!(blob.pcrs(), [7, 11]);
            let sealed = blob.sealed.as_ref().expect("the parts of the blob");
            assert_eq!(sealed.pcr_digest.len(), 32);
            assert_eq!(sealed.selection, [0x80, 0x08, 0x00]);
        }
        if let Some(bek) = entry["bek_hex"].as_str() {
            let file = BekFile::parse(&from_hex(bek)).expect("BEK");
            assert_eq!(file.id, protector.id);
            assert!(file.volume.is_some());
        }
    }
}

fn no_part_is_malformed(protector: &KeyProtector) {
    for part in &protector.parts {
        assert!(
            !matches!(part.body, Body::Malformed { .. } | Body::Unknown(_)),
            "{part:?}"
        );
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn hex(value: &Value) -> Vec<u8> {
    from_hex(text(value))
}

fn array<const N: usize>(value: &Value) -> [u8; N] {
    hex(value).try_into().expect("length")
}

fn from_hex(digits: &str) -> Vec<u8> {
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hex"))
        .collect()
}
