//! Software TPMs; tpm2-tools check independently what was sealed.

use std::net::TcpStream;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;

use fve::create::NewProtector;
use fve::crypto::hash::HashAlgorithm;
use fve::enroll::TpmBinding;
use fve::format::tpm_blob::SealedObject;
use fve::secret::{ExternalKey, SecretBytes, SecretText, TpmPassword};
use fve::tpm::{
    LABEL, ObjectSealer, Pin, Policy, TpmError, Tss, TssOptions, Unsealer, selection, tpm_password,
};
use serde_json::Value;

use super::volume::{self, TestVolume};
use crate::common::documented::assert_documented;
use crate::common::output::json;
use crate::common::swtpm::{self, Interference, LOAD, Proxy, SRK, Swtpm, UNSEAL, fve, secret_file};
use crate::common::testdata;
use crate::common::trials::{fuse, root, trial};
use crate::common::unit::Service;

const PIN: &str = "1357913579";

fn tss(tcti: &str) -> Arc<Tss> {
    Arc::new(Tss::new(Some(tcti), TssOptions::default()).unwrap())
}

fn bound(tpm: &Swtpm) -> TpmBinding {
    TpmBinding::to_current(tss(&tpm.tcti()), HashAlgorithm::Sha256, &[7, 11]).unwrap()
}

fn made(tpm: &Swtpm, with_pin: bool, with_key: bool) -> TestVolume {
    let pin = with_pin.then(|| Pin::new(&SecretText::new(PIN.to_owned())));
    let key = with_key.then(|| ExternalKey::from_bytes(&[0xC3; 32]));
    let made = volume::with(vec![NewProtector::tpm(bound(tpm), pin, key).unwrap()]);
    secret_file(made.directory.path(), "pin", PIN.as_bytes());
    secret_file(made.directory.path(), "wrong", b"000000");
    made
}

/// The JSON document of `fve unlock --json`.
struct Said {
    status: i32,
    json: Value,
    output: Output,
}

impl Said {
    fn reason(&self) -> &str {
        assert_eq!(self.status, 4, "{:?}", self.output);
        self.json["attempts"][0]["reason"].as_str().unwrap()
    }

    fn message(&self) -> &str {
        self.json["attempts"][0]["message"].as_str().unwrap()
    }

    fn opened(&self) {
        assert_eq!(self.status, 0, "{:?}", self.output);
    }
}

fn unlock(made: &TestVolume, tcti: &str, arguments: &[&str]) -> Said {
    let output = fve()
        .args(["unlock", "--json"])
        .arg(&made.image)
        .arg(format!("--tpm={tcti}"))
        .args(arguments)
        .current_dir(made.directory.path())
        .output()
        .expect("fve");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!stderr.contains("panicked"), "{stderr}");
    // libtss2 prints nothing of its own.
    assert!(!stderr.contains("tcti"), "{stderr}");
    Said {
        status: output.status.code().expect("status"),
        json: serde_json::from_slice(&output.stdout).expect("JSON"),
        output,
    }
}

#[trial("unlocks all four kinds of TPM protector", needs(swtpm::missing))]
fn unlocks_all_kinds() {
    let mut tpm = Swtpm::new();
    tpm.extend(7);
    for (with_pin, with_key) in [(false, false), (true, false), (false, true), (true, true)] {
        let made = made(&tpm, with_pin, with_key);
        let mut arguments = Vec::new();
        if with_pin {
            arguments.extend(["--pin-file", "pin"]);
        }
        if with_key {
            arguments.extend(["--startup-key", "."]);
        }
        let said = unlock(&made, &tpm.tcti(), &arguments);
        said.opened();
        assert_eq!(said.json["credential"], "TPM");
    }
    assert_eq!(tpm.failures(), 0);
    tpm.stop();
}

/// The sealed object on a volume.
fn object_of(made: &TestVolume) -> SealedObject {
    let volume = testdata::open(&made.image);
    let protectors = volume.protectors();
    let blob = protectors[0].tpm().expect("blob");
    blob.sealed.clone().expect("object")
}

fn save_object(object: &SealedObject, directory: &Path) {
    for (name, part) in [("private", &object.private), ("public", &object.public)] {
        let len = u16::try_from(part.len()).unwrap().to_be_bytes();
        std::fs::write(directory.join(name), [&len[..], part].concat()).unwrap();
    }
}

#[trial("tpm2-tools unseal what fve sealed", needs(swtpm::missing))]
fn tpm2_tools_unseal() {
    let tpm = Swtpm::new();
    tpm.extend(7);
    for with_pin in [false, true] {
        let made = made(&tpm, with_pin, false);
        let object = object_of(&made);
        save_object(&object, tpm.path());
        // The same length as on a Windows machine with a software TPM.
        assert_eq!(object.public.len(), 0x4E);
        assert_eq!(object.private.len(), if with_pin { 0xCE } else { 0xAA });
        let parts = ["-u", "public", "-r", "private", "-c", "object"];
        tpm.tool("tpm2_load", &[&["-C", SRK], &parts[..]].concat());
        tpm.tool(
            "tpm2_startauthsession",
            &["--policy-session", "-S", "session"],
        );
        tpm.tool("tpm2_policyauthvalue", &["-S", "session"]);
        tpm.tool("tpm2_policypcr", &["-S", "session", "-l", "sha256:7,11"]);
        let mut authorisation = "session:session".to_owned();
        if with_pin {
            let volume = testdata::open(&made.image);
            let salt = volume.protectors()[0].stretch().unwrap().salt;
            let key = Pin::new(&SecretText::new(PIN.to_owned())).stretch(&salt);
            let password = tpm_password(&key, &LABEL);
            let digits: String = password
                .expose()
                .iter()
                .map(|b| format!("{b:02x}"))
                .collect();
            authorisation = format!("session:session+hex:{digits}");
        }
        let arguments = ["-c", "object", "-p", &authorisation, "-o", "released"];
        tpm.tool("tpm2_unseal", &arguments);
        tpm.tool("tpm2_flushcontext", &["session"]);
        tpm.tool("tpm2_flushcontext", &["-t"]);
        let released = std::fs::read(tpm.path().join("released")).unwrap();
        let head: &[u8] = if with_pin {
            &[0x50, 0, 0, 0, 5, 0, 0, 0]
        } else {
            &[0x2C, 0, 0, 0, 1, 0, 0, 0, 3, 0x20, 0, 0]
        };
        assert_eq!(released.len(), if with_pin { 80 } else { 44 });
        assert!(released.starts_with(head));
        // What they unsealed unlocks the volume as a captured payload.
        std::fs::write(made.directory.path().join("released"), &released).unwrap();
        let output = fve()
            .args(["unlock", "volume.img", "--tpm-payload", "released"])
            .args(["--pin-file", "pin"])
            .current_dir(made.directory.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

#[trial(
    "reports a missing PIN, a wrong PIN and the lockout",
    needs(swtpm::missing)
)]
fn reports_pins() {
    let mut tpm = Swtpm::new();
    tpm.tool(
        "tpm2_dictionarylockout",
        &["-s", "-n", "3", "-t", "1000", "-l", "1000"],
    );
    let made = made(&tpm, true, false);
    let tcti = tpm.tcti();
    assert_eq!(unlock(&made, &tcti, &[]).reason(), "no-pin");
    assert_eq!(tpm.failures(), 0);
    let said = unlock(&made, &tcti, &["--pin-file", "wrong"]);
    assert_eq!(said.reason(), "wrong-pin");
    assert!(
        said.message().contains("1 of 3 wrong PINs used"),
        "{}",
        said.message()
    );
    assert_eq!(tpm.failures(), 1);
    unlock(&made, &tcti, &["--pin-file", "pin"]).opened();
    for _ in 0..2 {
        unlock(&made, &tcti, &["--pin-file", "wrong"]);
    }
    let failures = tpm.failures();
    let said = unlock(&made, &tcti, &["--pin-file", "pin"]);
    assert_eq!(said.reason(), "lockout");
    assert!(
        said.json["error"]["help"]
            .as_str()
            .unwrap()
            .contains("is forgiven")
    );
    assert_eq!(tpm.failures(), failures);
    // The lockout survives a restart of the TPM.
    tpm.restart();
    assert_eq!(
        unlock(&made, &tpm.tcti(), &["--pin-file", "pin"]).reason(),
        "lockout"
    );
    assert_eq!(tpm.unflushed(), "");
}

#[trial("unlocks without a PIN while the TPM is locked", needs(swtpm::missing))]
fn no_pin_while_locked() {
    let tpm = Swtpm::new();
    tpm.tool(
        "tpm2_dictionarylockout",
        &["-s", "-n", "1", "-t", "1000", "-l", "1000"],
    );
    let with_pin = made(&tpm, true, false);
    let without = made(&tpm, false, false);
    let tcti = tpm.tcti();
    unlock(&with_pin, &tcti, &["--pin-file", "wrong"]);
    assert_eq!(
        unlock(&with_pin, &tcti, &["--pin-file", "pin"]).reason(),
        "lockout"
    );
    unlock(&without, &tcti, &[]).opened();
}

#[trial(
    "refuses after a PCR was extended, and names PCR 11 if it is the only one",
    needs(swtpm::missing)
)]
fn refuses_extended_pcrs() {
    let tpm = Swtpm::new();
    let made = made(&tpm, true, false);
    tpm.extend(11);
    let said = unlock(&made, &tpm.tcti(), &["--pin-file", "wrong"]);
    assert_eq!(said.reason(), "pcr-mismatch");
    assert!(said.message().contains("PCR 11"), "{}", said.message());
    tpm.extend(7);
    let said = unlock(&made, &tpm.tcti(), &["--pin-file", "wrong"]);
    assert_eq!(said.reason(), "pcr-mismatch");
    assert!(said.message().contains("7, 11"), "{}", said.message());
    assert_eq!(tpm.failures(), 0);
    assert_eq!(tpm.unflushed(), "");
}

#[trial("tries once more when a PCR changes in between", needs(swtpm::missing))]
fn retries_when_a_pcr_changes_in_between() {
    let tpm = Swtpm::new();
    let made = made(&tpm, true, false);
    // A PCR that is not in the policy: the second try succeeds.
    let wire = Proxy::to(&tpm, Interference::ExtendBeforeUnseal(8, 1));
    unlock(&made, &wire.tcti(), &["--pin-file", "pin"]).opened();
    let wire = Proxy::to(&tpm, Interference::ExtendBeforeUnseal(8, 9));
    let said = unlock(&made, &wire.tcti(), &["--pin-file", "pin"]);
    assert_eq!(said.reason(), "pcr-mismatch");
    // A PCR in the policy, with a wrong PIN: no attempt is counted.
    let wire = Proxy::to(&tpm, Interference::ExtendBeforeUnseal(7, 1));
    let said = unlock(&made, &wire.tcti(), &["--pin-file", "wrong"]);
    assert_eq!(said.reason(), "pcr-mismatch");
    assert_eq!(tpm.failures(), 0);
    assert_eq!(tpm.unflushed(), "");
}

#[trial("reports an object of another TPM", needs(swtpm::missing))]
fn reports_another_tpm() {
    let tpm = Swtpm::new();
    let made = made(&tpm, true, false);
    let other = Swtpm::blank();
    other.make_srk();
    let said = unlock(&made, &other.tcti(), &["--pin-file", "pin"]);
    assert_eq!(said.reason(), "srk-changed");
    assert_eq!(other.failures(), 0);
    assert_eq!(other.unflushed(), "");
    // The same for an object that is damaged where the policy does not cover it.
    let mut damaged = object_of(&made);
    damaged.private[40] ^= 1;
    assert_eq!(
        tss(&tpm.tcti()).check(&damaged, None),
        Err(TpmError::OtherTpm)
    );
    let mut damaged = object_of(&made);
    *damaged.public.last_mut().unwrap() ^= 1;
    assert_eq!(
        tss(&tpm.tcti()).check(&damaged, None),
        Err(TpmError::OtherTpm)
    );
    assert_eq!(tpm.failures(), 0);
    assert_eq!(tpm.unflushed(), "");
}

#[trial(
    "reports an object of a real Windows machine as one of another TPM",
    needs(swtpm::missing)
)]
fn reports_a_windows_object() {
    // docs/format-tpm.md §9, V2.
    let object = SealedObject::parse(&hex_literal::hex!(
        "008a00206414982942ad5e6a5eb5126b6e1a8f6e08f689d54295a2b35628a1768517d67c001023a392b845df9a492caced61a741f92520ce1f7821095c270fa7"
        "c58ac140656b143ff558644aed320b658ac1912f4fdc8f99b52c773de0792e550c0d0938e093e24b7c225854808889d18714c2cfb2a323c005b8580060f9b900"
        "8607b5a97e3ac1768f7791b8004e0008000b000004120020870475dd84278f361870bbfd32eeb69b1110c63d1528798c4f40cea99d9ba3d700100020a295a106"
        "b91ad3fb87353f16a8ca4255b42305c6bf1298d145e0108ae47117180020274cb5f1ba14fd461518bffc366a62123374e9b073d075c47fad2e18512a7cf30380"
        "0800"
    ))
    .unwrap();
    let tpm = Swtpm::new();
    assert_eq!(
        tss(&tpm.tcti()).check(&object, None),
        Err(TpmError::OtherTpm)
    );
}

#[trial(
    "creates the storage root key again if it is gone",
    needs(swtpm::missing)
)]
fn recreates_the_srk() {
    let tpm = Swtpm::new();
    let made = made(&tpm, true, false);
    tpm.tool("tpm2_evictcontrol", &["-C", "o", "-c", SRK]);
    let said = unlock(&made, &tpm.tcti(), &["--pin-file", "pin"]);
    assert_eq!(said.reason(), "no-srk");
    let again = ["--pin-file", "pin", "--tpm-recreate-srk"];
    unlock(&made, &tpm.tcti(), &again).opened();
    // The TPM still has no persistent key.
    assert_eq!(tpm.tool("tpm2_getcap", &["handles-persistent"]), "");
    assert_eq!(tpm.unflushed(), "");
}

#[trial(
    "requires the given name of the storage root key",
    needs(swtpm::missing)
)]
fn requires_the_srk_name() {
    let tpm = Swtpm::new();
    let made = made(&tpm, false, false);
    let name = tss(&tpm.tcti()).srk_name().unwrap().unwrap();
    let name: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
    let printed = tpm.tool("tpm2_readpublic", &["-c", SRK]);
    assert!(printed.contains(&name), "{printed}");
    unlock(&made, &tpm.tcti(), &["--tpm-srk-name", &name]).opened();
    let other = name.replace('0', "1");
    let said = unlock(&made, &tpm.tcti(), &["--tpm-srk-name", &other]);
    assert_eq!(said.reason(), "other-srk");
    assert_eq!(tpm.unflushed(), "");
}

#[trial(
    "reports a missing TPM, one that was not started, and a busy one",
    needs(swtpm::missing)
)]
fn reports_no_tpm() {
    let mut tpm = Swtpm::new();
    let made = made(&tpm, true, false);
    let tcti = tpm.tcti();
    // Busy: another program is connected, and a software TPM accepts one connection.
    let other = TcpStream::connect(("127.0.0.1", tpm.port)).unwrap();
    let said = unlock(&made, &tcti, &["--pin-file", "pin"]);
    assert_eq!(said.reason(), "no-tpm");
    assert!(
        said.message().contains("another program"),
        "{}",
        said.message()
    );
    drop(other);
    tpm.stop();
    let said = unlock(&made, &tcti, &["--pin-file", "pin"]);
    assert_eq!(said.reason(), "no-tpm");
    assert!(
        said.message().contains("nothing answers"),
        "{}",
        said.message()
    );
    let said = unlock(&made, "device:/nowhere", &["--pin-file", "pin"]);
    assert_eq!(said.reason(), "no-tpm");
    assert!(said.message().contains("/nowhere"), "{}", said.message());
    let off = Swtpm::without_startup();
    let said = unlock(&made, &off.tcti(), &["--pin-file", "pin"]);
    assert_eq!(said.reason(), "no-tpm");
    assert!(said.message().contains("not started"), "{}", said.message());
    let said = unlock(&made, "no such thing", &["--pin-file", "pin"]);
    assert_eq!(said.status, 2);
}

#[trial("reports a TPM that goes away in the middle", needs(swtpm::missing))]
fn reports_a_tpm_that_goes_away() {
    let tpm = Swtpm::new();
    let made = made(&tpm, true, false);
    for command in [LOAD, UNSEAL] {
        let wire = Proxy::to(&tpm, Interference::CutAt(command));
        let said = unlock(&made, &wire.tcti(), &["--pin-file", "pin"]);
        assert_eq!(said.reason(), "no-tpm", "{}", said.message());
        assert!(said.message().contains("broke"), "{}", said.message());
    }
}

#[trial(
    "sends no key unencrypted, unless that is allowed",
    needs(swtpm::missing)
)]
fn encrypts_the_bus() {
    let tpm = Swtpm::new();
    let made = made(&tpm, false, false);
    let wire = Proxy::to(&tpm, Interference::None);
    let head = [0x2C, 0, 0, 0, 1, 0, 0, 0, 3, 0x20, 0, 0];
    unlock(&made, &wire.tcti(), &[]).opened();
    assert!(
        wire.carried(&object_of(&made).private),
        "the wire is watched"
    );
    assert!(!wire.carried(&head));
    // The same for sealing.
    let sealer = tss(&wire.tcti());
    let binding = TpmBinding::to_current(sealer, HashAlgorithm::Sha256, &[7, 11]).unwrap();
    volume::with(vec![NewProtector::tpm(binding, None, None).unwrap()]);
    assert!(!wire.carried(&head));
    unlock(&made, &wire.tcti(), &["--tpm-allow-plaintext-bus"]).opened();
    assert!(wire.carried(&head), "the test would see it");
}

#[trial(
    "refuses after a restart, and unlocks after the PCRs were replayed",
    needs(swtpm::missing)
)]
fn replay() {
    let mut tpm = Swtpm::new();
    tpm.extend(7);
    let made = made(&tpm, false, false);
    unlock(&made, &tpm.tcti(), &[]).opened();
    tpm.restart();
    let said = unlock(&made, &tpm.tcti(), &[]);
    assert_eq!(said.reason(), "pcr-mismatch");
    tpm.extend(7);
    unlock(&made, &tpm.tcti(), &[]).opened();
}

#[trial("accepts a TPM password that ends in zeros", needs(swtpm::missing))]
fn accepts_a_zero_password() {
    let tpm = Swtpm::new();
    let tss = tss(&tpm.tcti());
    let mut bytes = [7; 20];
    bytes[17..].fill(0);
    let password = TpmPassword::from_bytes(&bytes);
    let policy = Policy {
        hash: HashAlgorithm::Sha256,
        bank: HashAlgorithm::Sha256,
    };
    let values = tss.pcrs(policy.bank, &[7]).unwrap().unwrap();
    let digest = policy.pcr_digest(&values).unwrap();
    let wanted = policy.digest(&selection(&[7]), &digest).unwrap();
    let data = SecretBytes::new(vec![0xD7; 44]);
    let sealed = tss.seal(&data, &wanted, Some(&password)).unwrap();
    let len = |part: &[u8]| u16::try_from(part.len()).unwrap().to_be_bytes();
    let object = SealedObject::parse(
        &[
            &len(&sealed.private)[..],
            &sealed.private,
            &len(&sealed.public),
            &sealed.public,
            &len(&digest),
            &digest,
            &[3],
            &selection(&[7]),
        ]
        .concat(),
    )
    .unwrap();
    assert_eq!(object.area.policy, wanted);
    let released = tss.unseal(&object, &policy, Some(&password), None).unwrap();
    assert_eq!(released.expose(), data.expose());
}

#[trial(
    "seals to the SHA-1 bank, and reports a bank that the TPM lacks",
    needs(swtpm::missing)
)]
fn sha1_bank() {
    let tpm = Swtpm::new();
    let banks = tpm.tool("tpm2_getcap", &["pcrs"]);
    let tss = tss(&tpm.tcti());
    if !banks.contains("sha1: [ 0") {
        let found = TpmBinding::to_current(tss, HashAlgorithm::Sha1, &[7]);
        assert!(found.unwrap_err().to_string().contains("SHA-1"));
        return;
    }
    tpm.extend(4);
    let binding = TpmBinding::to_current(tss, HashAlgorithm::Sha1, &[0, 2, 4, 11]).unwrap();
    let made = volume::with(vec![NewProtector::tpm(binding, None, None).unwrap()]);
    let policy = Policy::solve(&object_of(&made)).unwrap();
    assert_eq!(policy.bank, HashAlgorithm::Sha1);
    unlock(&made, &tpm.tcti(), &[]).opened();
}

#[trial("leaves no object or session in the TPM", needs(swtpm::missing))]
fn leaves_nothing_in_the_tpm() {
    let tpm = Swtpm::new();
    let made = made(&tpm, true, true);
    let tcti = tpm.tcti();
    unlock(&made, &tcti, &["--pin-file", "pin", "--startup-key", "."]).opened();
    assert_eq!(tpm.unflushed(), "");
    unlock(&made, &tcti, &["--pin-file", "wrong", "--startup-key", "."]);
    assert_eq!(tpm.unflushed(), "");
}

#[trial("reads the PIN from a systemd credential", needs(swtpm::missing))]
fn systemd_pin() {
    let tpm = Swtpm::new();
    let made = made(&tpm, true, false);
    let credentials = tempfile::tempdir().unwrap();
    std::fs::write(credentials.path().join("fve.pin"), PIN).unwrap();
    let run = |arguments: &[&str]| {
        fve()
            .arg("unlock")
            .arg(&made.image)
            .args(arguments)
            .env("CREDENTIALS_DIRECTORY", credentials.path())
            .env("TPM2TOOLS_TCTI", tpm.tcti())
            .output()
            .unwrap()
    };
    // With the option --pin-file, and by the name of the credential.
    for arguments in [&["--tpm"][..], &[]] {
        let output = run(arguments);
        assert!(output.status.success(), "{output:?}");
    }
}

/// Runs `fve` in the directory of a volume.
fn run(made: &TestVolume, arguments: &[&str]) -> Output {
    fve()
        .args(arguments)
        .current_dir(made.directory.path())
        .output()
        .expect("fve")
}

fn done(output: &Output) {
    assert!(output.status.success(), "{output:?}");
}

/// A volume with a startup key, to which protectors can be added.
fn plain() -> TestVolume {
    let made = volume::with(vec![NewProtector::new_startup_key().unwrap()]);
    secret_file(made.directory.path(), "pin", PIN.as_bytes());
    secret_file(made.directory.path(), "wrong", b"000000");
    made
}

#[trial(
    "tpm status and tpm explain say why a key is not released",
    needs(swtpm::missing)
)]
fn status_and_explain() {
    let mut tpm = Swtpm::new();
    tpm.extend(7);
    let made = made(&tpm, true, false);
    let named = format!("--tpm={}", tpm.tcti());
    let status = json(&run(
        &made,
        &["tpm", "status", "volume.img", &named, "--json"],
    ));
    let page = "tpm-status";
    assert_documented(page, &status);
    assert_eq!(status["tpm"]["locked"], false);
    assert_eq!(status["protectors"][0]["opens"], true);
    assert_eq!(status["protectors"][0]["policy_consistent"], true);
    assert!(
        status["tpm"]["srk_name"]
            .as_str()
            .unwrap()
            .starts_with("000b")
    );
    tpm.extend(11);
    let explain = |arguments: &[&str]| {
        let common = ["tpm", "explain", "volume.img"];
        let output = run(&made, &[&common[..], arguments].concat());
        done(&output);
        output
    };
    let found = json(&explain(&[&named, "--json"]));
    assert_documented(page, &found);
    let protector = &found["protectors"][0];
    assert_eq!(protector["reason"], "pcr-mismatch");
    assert_eq!(protector["only_pcr_11_differs"], true);
    assert_ne!(protector["expected_digest"], protector["actual_digest"]);
    // The PCR value is the one that tpm2-tools read.
    let printed = tpm.tool("tpm2_pcrread", &["sha256:11"]).to_lowercase();
    let value = protector["pcrs"][1]["value"].as_str().unwrap();
    assert!(printed.contains(value), "{printed}");
    tpm.extend(7);
    let text = String::from_utf8(explain(&[&named]).stdout).unwrap();
    for words in [
        "Bound to PCRs 7, 11",
        "Secure Boot",
        "BitLocker's lock",
        "cannot tell which of them differ",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let other = Swtpm::blank();
    other.make_srk();
    let found = json(&explain(&[&format!("--tpm={}", other.tcti()), "--json"]));
    assert_documented(page, &found);
    assert_eq!(found["protectors"][0]["reason"], "srk-changed");
    let blank = Swtpm::blank();
    let found = json(&explain(&[&format!("--tpm={}", blank.tcti()), "--json"]));
    assert_documented(page, &found);
    assert_eq!(found["protectors"][0]["reason"], "no-srk");
    tpm.stop();
    let found = json(&explain(&[&named, "--json"]));
    assert_documented(page, &found);
    assert_eq!(found["protectors"][0]["reason"], "no-tpm");
    assert_eq!(found["protectors"][0]["policy_consistent"], true);
    let info = json(&run(&made, &["info", "volume.img", "--json"]));
    assert_eq!(info["protectors"][0]["tpm_policy_consistent"], true);
    assert_eq!(info["protectors"][0]["pcr_bank"], "sha256");
    let text = String::from_utf8(run(&made, &["info", "volume.img"]).stdout).unwrap();
    assert!(text.contains("policy consistent, SHA-256 bank"), "{text}");
}

#[trial("adds TPM protectors, and tries them", needs(swtpm::missing))]
fn protector_add() {
    let tpm = Swtpm::new();
    tpm.extend(4);
    let named = format!("--tpm={}", tpm.tcti());
    let made = plain();
    let add = |arguments: &[&str]| {
        let common = [
            "protector",
            "add",
            "volume.img",
            "--startup-key",
            ".",
            &named,
        ];
        run(&made, &[&common[..], arguments].concat())
    };
    for (arguments, credentials) in [
        (&[][..], &[][..]),
        (
            &["--new-pin-file", "pin", "--pcrs", "4,11"],
            &["--pin-file", "pin"],
        ),
        (
            &[
                "--tpm-startup-key-to",
                ".",
                "--pcrs",
                "0,2,4,11",
                "--bank",
                "sha256",
            ],
            &["--startup-key", "."],
        ),
        (
            &["--tpm-startup-key-to", ".", "--new-pin-file", "pin"],
            &["--startup-key", ".", "--pin-file", "pin"],
        ),
    ] {
        let output = add(arguments);
        done(&output);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("was unlocked once with the TPM"), "{said}");
        let list = json(&run(&made, &["protector", "list", "volume.img", "--json"]));
        let last = list["protectors"].as_array().unwrap().last().unwrap();
        let id = last["id"].as_str().unwrap();
        let only = [&["--protector", id][..], credentials].concat();
        unlock(&made, &tpm.tcti(), &only).opened();
    }
    assert_eq!(tpm.failures(), 0);
    // PCR 11 must be zero, and a protector for future PCR values cannot be tried.
    tpm.extend(11);
    let output = add(&[]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("PCR 11"));
    std::fs::write(
        made.directory.path().join("values"),
        format!("4: 0x{}\n11: 0x{}\n", "12".repeat(32), "00".repeat(32)),
    )
    .unwrap();
    done(&add(&["--pcr-values", "values"]));
    assert_eq!(tpm.unflushed(), "");
    // A dry run does not change the volume.
    let before = std::fs::read(&made.image).unwrap();
    done(&add(&["--pcrs", "4", "--dry-run"]));
    assert!(std::fs::read(&made.image).unwrap() == before);
    assert_eq!(add(&["--pcrs", "99"]).status.code(), Some(1));
}

#[trial("changes a PIN whatever the PCRs are", needs(swtpm::missing))]
fn change_pin() {
    let tpm = Swtpm::new();
    let made = made(&tpm, true, true);
    secret_file(made.directory.path(), "new", b"24680246");
    let named = format!("--tpm={}", tpm.tcti());
    let common = ["protector", "change-pin", "volume.img", &named];
    let old = ["--pin-file", "pin", "--startup-key", "."];
    let new = ["--pin-file", "new", "--startup-key", "."];
    done(&run(
        &made,
        &[&common[..], &old, &["--new-pin-file", "new"]].concat(),
    ));
    unlock(&made, &tpm.tcti(), &new).opened();
    assert_eq!(
        unlock(&made, &tpm.tcti(), &old).reason(),
        "no-such-protector"
    );
    assert_eq!(tpm.failures(), 1);
    let refused = run(
        &made,
        &[&common[..], &old, &["--new-pin-file", "new"]].concat(),
    );
    assert_eq!(refused.status.code(), Some(4));
}

#[trial(
    "seals a protector again after the PCRs changed",
    needs(swtpm::missing)
)]
fn reseal() {
    let tpm = Swtpm::new();
    let named = format!("--tpm={}", tpm.tcti());
    let made = plain();
    let key = ["--startup-key", "."];
    let add = [
        "protector",
        "add",
        "volume.img",
        &named,
        "--new-pin-file",
        "pin",
    ];
    done(&run(&made, &[&add[..], &key].concat()));
    tpm.extend(7);
    let with_pin = ["--pin-file", "pin"];
    assert_eq!(
        unlock(&made, &tpm.tcti(), &with_pin).reason(),
        "pcr-mismatch"
    );
    // No PIN is needed: the metadata has a backup of its hash.
    let output = run(
        &made,
        &[&["protector", "reseal", "volume.img", &named][..], &key].concat(),
    );
    done(&output);
    unlock(&made, &tpm.tcti(), &with_pin).opened();
    assert_eq!(
        unlock(&made, &tpm.tcti(), &["--pin-file", "wrong"]).reason(),
        "wrong-pin"
    );
}

#[trial("creates a volume with a TPM protector", needs(swtpm::missing))]
fn create() {
    let tpm = Swtpm::new();
    let named = format!("--tpm={}", tpm.tcti());
    let made = plain();
    let arguments = [
        "create",
        "new.img",
        "--size",
        "64M",
        "--recovery-password-to",
        "digits",
    ];
    let rest = [&named, "--new-pin-file", "pin", "--tpm-startup-key-to", "."];
    done(&run(&made, &[&arguments[..], &rest].concat()));
    let output = run(
        &made,
        &[
            "unlock",
            "new.img",
            &named,
            "--pin-file",
            "pin",
            "--startup-key",
            ".",
        ],
    );
    done(&output);
    assert!(String::from_utf8_lossy(&output.stdout).contains("TPM And PIN And Startup Key"));
}

/// Runs the command of `fve@.service` as systemd does: the PIN in a directory of credentials, which stands for
/// the TPM, no terminal, and a notification when it is ready.
#[trial("the unit fve@.service mounts a volume", needs(swtpm::missing))]
fn systemd_unit() {
    let tpm = Swtpm::new();
    let made = made(&tpm, true, false);
    let credentials = tempfile::tempdir().unwrap();
    std::fs::write(credentials.path().join("fve.pin"), PIN).unwrap();
    // First only the unlock with the same credentials, because a mount needs privileges.
    let output = fve()
        .args(["unlock", "volume.img", "--no-prompt"])
        .current_dir(made.directory.path())
        .env("CREDENTIALS_DIRECTORY", credentials.path())
        .env("TPM2TOOLS_TCTI", tpm.tcti())
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    done(&output);
    // The mount, too, if it is possible here.
    if fuse().or_else(root).is_some() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let service = Service {
        runtime: tempfile::tempdir().unwrap(),
        options: &["--volume"],
        source: &made.image,
        directory: directory.path(),
        reaches_network: true,
    };
    let mut server = service.start(|server| {
        server
            .env("CREDENTIALS_DIRECTORY", credentials.path())
            .env("TPM2TOOLS_TCTI", tpm.tcti());
    });
    service.mount();
    let mut start = [0; 11];
    let shown = directory.path().join("volume");
    std::io::Read::read_exact(&mut std::fs::File::open(&shown).unwrap(), &mut start).unwrap();
    assert_eq!(&start, b"\xEB\x52\x90NTFS    ");
    done(&fve().arg("unmount").arg(directory.path()).output().unwrap());
    assert!(server.wait().unwrap().success());
}

/// What `manage-bde -forcerecovery` does.
#[trial("removes all TPM protectors at once", needs(swtpm::missing))]
fn remove_all() {
    let tpm = Swtpm::new();
    let named = format!("--tpm={}", tpm.tcti());
    let made = plain();
    let key = ["--startup-key", "."];
    let add = ["protector", "add", "volume.img", &named];
    for more in [
        &[][..],
        &["--new-pin-file", "pin"],
        &["--tpm-startup-key-to", "."],
        &["--tpm-startup-key-to", ".", "--new-pin-file", "pin"],
    ] {
        done(&run(&made, &[&add[..], &key, more].concat()));
    }
    let kinds = || {
        let list = json(&run(&made, &["protector", "list", "volume.img", "--json"]));
        let protectors = list["protectors"].as_array().unwrap().iter();
        let kinds = protectors.map(|one| one["type"].as_str().unwrap().to_owned());
        kinds.collect::<Vec<_>>()
    };
    assert_eq!(kinds().len(), 5);
    let all = [
        "protector",
        "remove",
        "volume.img",
        "--all-tpm",
        "--startup-key",
        ".",
    ];
    // It must be confirmed, and a dry run needs no confirmation.
    let before = std::fs::read(&made.image).unwrap();
    let output = run(&made, &all);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("give --yes") && said.contains("no recovery password"),
        "{said}"
    );
    done(&run(&made, &[&all[..], &["--dry-run"]].concat()));
    assert!(std::fs::read(&made.image).unwrap() == before);
    done(&run(&made, &[&all[..], &["--yes"]].concat()));
    assert_eq!(kinds(), ["startup-key"]);
    done(&run(&made, &["unlock", "volume.img", "--startup-key", "."]));
}

#[trial(
    "keeps the TPM protectors if nothing else unlocks the volume",
    needs(swtpm::missing)
)]
fn remove_all_but_nothing_else() {
    let tpm = Swtpm::new();
    let named = format!("--tpm={}", tpm.tcti());
    let made = made(&tpm, false, true);
    let credentials = [named.as_str(), "--startup-key", "."];
    let before = std::fs::read(&made.image).unwrap();
    let all = ["protector", "remove", "volume.img", "--all-tpm", "--yes"];
    let output = run(&made, &[&all[..], &credentials].concat());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("--recovery-password-to"), "{said}");
    // Its startup key cannot be changed without sealing the other half again.
    std::fs::create_dir(made.directory.path().join("keys")).unwrap();
    let change = [
        "protector",
        "change-startup-key",
        "volume.img",
        "--startup-key-to",
        "keys",
    ];
    let output = run(&made, &[&change[..], &credentials].concat());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("TPM And Startup Key") && said.contains("--tpm-startup-key-to"),
        "{said}"
    );
    assert!(std::fs::read(&made.image).unwrap() == before);
    let mut saved = std::fs::read_dir(made.directory.path().join("keys")).unwrap();
    assert!(saved.next().is_none());
}
