//! A fake TPM that records which calls it gets, and in which order.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use fve::create::NewProtector;
use fve::crypto::hash::HashAlgorithm;
use fve::enroll::TpmBinding;
use fve::error::Error;
use fve::format::tpm_blob::SealedObject;
use fve::secret::{ExternalKey, SecretBytes, SecretText, TpmPassword};
use fve::tpm::{Lockout, ObjectSealer, Pcrs, Pin, Policy, Sealed, TpmError, Unsealer};
use fve::unlock::StartupKey;
use fve::unlock::tpm::TpmUnlock;
use fve::unlock::{Credential, Prompt};
use fve::volume::{UnlockOptions, Unlocked};

use super::volume::{self, TestVolume};
use crate::common::testdata;
use crate::common::trials::trial;

type Object = (Vec<u8>, Option<[u8; 20]>);

#[derive(Default)]
struct State {
    pcrs: BTreeMap<u8, Vec<u8>>,
    objects: BTreeMap<Vec<u8>, Object>,
    asked: Vec<&'static str>,
    failures: u32,
    locked: bool,
}

#[derive(Clone, Default)]
struct Fake(Arc<Mutex<State>>);

impl Fake {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().expect("fake")
    }

    fn asked(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.state().asked)
    }

    fn bound(&self) -> TpmBinding {
        let sealer = Arc::new(self.clone());
        TpmBinding::to_current(sealer, HashAlgorithm::Sha256, &[7, 11]).expect("binding")
    }
}

impl Unsealer for Fake {
    fn place(&self) -> String {
        "a fake".to_owned()
    }

    fn lockout(&self) -> Result<Option<Lockout>, TpmError> {
        let mut state = self.state();
        state.asked.push("lockout");
        let lockout = Lockout::new(state.failures, 32)
            .locked(state.locked)
            .interval(7200)
            .recovery(86400);
        Ok(Some(lockout))
    }

    fn pcrs(&self, bank: HashAlgorithm, wanted: &[u8]) -> Result<Option<Pcrs>, TpmError> {
        let mut state = self.state();
        state.asked.push("pcrs");
        let zero = vec![0; bank.digest_len()];
        let value = |pcr: &u8| (*pcr, state.pcrs.get(pcr).unwrap_or(&zero).clone());
        Ok(Some(wanted.iter().map(value).collect()))
    }

    fn check(&self, object: &SealedObject, _srk_name: Option<&[u8]>) -> Result<(), TpmError> {
        let mut state = self.state();
        state.asked.push("check");
        match state.objects.contains_key(&object.private) {
            true => Ok(()),
            false => Err(TpmError::OtherTpm),
        }
    }

    fn unseal(
        &self,
        object: &SealedObject,
        _policy: &Policy,
        password: Option<&TpmPassword>,
        _srk_name: Option<&[u8]>,
    ) -> Result<SecretBytes, TpmError> {
        let mut state = self.state();
        state.asked.push("unseal");
        let (data, wanted) = state.objects[&object.private].clone();
        if wanted != password.map(|password| *password.expose()) {
            state.failures += 1;
            return Err(TpmError::WrongPin);
        }
        Ok(SecretBytes::new(data))
    }
}

impl ObjectSealer for Fake {
    fn seal(
        &self,
        data: &SecretBytes,
        policy: &[u8],
        password: Option<&TpmPassword>,
    ) -> Result<Sealed, TpmError> {
        let mut state = self.state();
        let private = vec![u8::try_from(state.objects.len()).expect("few"); 0xAA];
        let password = password.map(|password| *password.expose());
        let attributes: u8 = if password.is_some() { 0 } else { 4 };
        let object = (data.expose().to_vec(), password);
        state.objects.insert(private.clone(), object);
        let head = [0, 8, 0, 0xB, 0, 0, attributes, 0x12, 0, 32];
        let public = [&head, policy, &[0, 0x10, 0, 32], &[5; 32]].concat();
        Ok(Sealed::new(private, public))
    }
}

fn pin(text: &str) -> SecretText {
    SecretText::new(text.to_owned())
}

fn made(tpm: &Fake, with_pin: bool, with_key: bool) -> TestVolume {
    let pin = with_pin.then(|| Pin::new(&pin("135790")));
    let key = with_key.then(|| ExternalKey::from_bytes(&[0x3C; 32]));
    volume::with(vec![
        NewProtector::tpm(tpm.bound(), pin, key).expect("protector"),
    ])
}

fn unlock(made: &TestVolume, credential: TpmUnlock) -> Result<Unlocked, Error> {
    let credential: Box<dyn Credential> = Box::new(credential);
    testdata::open(&made.image).unlock(&[credential], &UnlockOptions::default())
}

fn reason(result: Result<Unlocked, Error>) -> &'static str {
    match result {
        Err(Error::Refused { report, .. }) => {
            report.attempts[0].failure.as_ref().unwrap().reason.word()
        }
        other => panic!("{other:?}"),
    }
}

#[trial("unlocks all four kinds of TPM protector")]
fn all_kinds() {
    for (with_pin, with_key) in [(false, false), (true, false), (false, true), (true, true)] {
        let tpm = Fake::default();
        tpm.state().pcrs.insert(7, vec![0x77; 32]);
        let made = made(&tpm, with_pin, with_key);
        let mut credential = TpmUnlock::new(Box::new(tpm.clone()));
        if with_pin {
            credential = credential.pin(&pin("135790"));
        }
        if with_key {
            let startup_key = StartupKey::read(made.directory.path()).expect("key");
            credential = credential.startup_key(startup_key);
        }
        let unlocked = unlock(&made, credential).expect("unlocked");
        let mut start = [0; 11];
        unlocked.read_exact_at(0, &mut start).expect("read");
        assert_eq!(&start, b"\xEB\x52\x90NTFS    ");
        // A missing PIN or startup key is reported before the TPM is asked to unseal.
        tpm.asked();
        if with_pin || with_key {
            let refused = reason(unlock(&made, TpmUnlock::new(Box::new(tpm.clone()))));
            assert_eq!(refused, if with_key { "no-startup-key" } else { "no-pin" });
            assert!(!tpm.asked().contains(&"unseal"));
        }
    }
}

#[trial("sends a wrong PIN once, even if the metadata copies differ")]
fn sends_a_wrong_pin_once() {
    let tpm = Fake::default();
    let made = made(&tpm, true, false);
    // The copies differ, so each of them is tried.
    let mut image = std::fs::read(&made.image).expect("image");
    let at = image
        .windows(8)
        .rposition(|window| window == b"-FVE-FS-")
        .expect("copy");
    image[at + 0x40 + 0x28] ^= 1;
    repair(&mut image, at);
    std::fs::write(&made.image, image).expect("image");
    let credential = TpmUnlock::new(Box::new(tpm.clone())).pin(&pin("111111"));
    assert_eq!(reason(unlock(&made, credential)), "wrong-pin");
    let asked = tpm.asked();
    assert_eq!(asked.iter().filter(|what| **what == "unseal").count(), 1);
    assert_eq!(tpm.state().failures, 1);
}

struct Terminal(Mutex<Vec<String>>, &'static str);

impl Prompt for Terminal {
    fn tell(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }

    fn secret(&self, question: &str) -> Option<SecretText> {
        self.0.lock().unwrap().push(question.to_owned());
        Some(pin(self.1))
    }
}

#[trial("does not ask for a PIN when the TPM would refuse")]
fn asks_no_pin_in_vain() {
    type Case = (fn(&Fake), &'static str);
    let refuse: [Case; 3] = [
        (|tpm| tpm.state().locked = true, "lockout"),
        (|tpm| tpm.state().objects.clear(), "other-tpm"),
        (
            |tpm| {
                tpm.state().pcrs.insert(7, vec![1; 32]);
            },
            "pcr-mismatch",
        ),
    ];
    for (prepare, expected) in refuse {
        let tpm = Fake::default();
        let made = made(&tpm, true, false);
        prepare(&tpm);
        let person = Arc::new(Terminal(Mutex::new(Vec::new()), "135790"));
        let credential = TpmUnlock::new(Box::new(tpm.clone())).prompt(person.clone());
        assert_eq!(reason(unlock(&made, credential)), expected);
        assert!(person.0.lock().unwrap().is_empty(), "{expected}");
        assert!(!tpm.asked().contains(&"unseal"), "{expected}");
    }
}

#[trial("shows the count of wrong PINs before asking for the PIN")]
fn shows_lockout() {
    let tpm = Fake::default();
    let made = made(&tpm, true, false);
    tpm.state().failures = 30;
    let person = Arc::new(Terminal(Mutex::new(Vec::new()), "135790"));
    let credential = TpmUnlock::new(Box::new(tpm.clone())).prompt(person.clone());
    unlock(&made, credential).expect("unlocked");
    let heard = person.0.lock().unwrap();
    assert!(heard[0].contains("30 of 32 wrong PINs used"), "{heard:?}");
    assert!(heard[1].contains("PIN"), "{heard:?}");
}

#[trial("finds damage before the TPM is used")]
fn finds_damage() {
    let tpm = Fake::default();
    let made = made(&tpm, true, false);
    let good = std::fs::read(&made.image).expect("image");
    let selection = [3, 0x80, 8, 0];
    tpm.asked();
    for back in [1, 3, 20, 30] {
        // The PCR selection and the PCR digest before it, which the policy both covers.
        let mut image = good.clone();
        let starts: Vec<_> = (0..image.len() - 8)
            .filter(|at| image[*at..].starts_with(b"-FVE-FS-"))
            .filter(|at| at % 512 == 0)
            .collect();
        for start in starts {
            let inside = image[start..start + 0x1000]
                .windows(4)
                .position(|window| window == selection)
                .expect("selection");
            image[start + inside + 4 - back] ^= 0x10;
            repair(&mut image, start);
        }
        std::fs::write(&made.image, image).expect("image");
        let credential = TpmUnlock::new(Box::new(tpm.clone())).pin(&pin("135790"));
        let found = reason(unlock(&made, credential));
        let asked = tpm.asked();
        assert!(
            ["unknown-policy", "unsupported-tpm-blob"].contains(&found),
            "{back}: {found}"
        );
        assert!(asked.is_empty(), "{back}: {asked:?}");
    }
}

#[trial("seals to PCR values that differ from the present ones")]
fn seals_to_given_values() {
    let tpm = Fake::default();
    let values = Pcrs::from([(4, vec![0x44; 32]), (11, vec![9; 32])]);
    let sealer = Arc::new(tpm.clone());
    let binding = TpmBinding::to_values(sealer, HashAlgorithm::Sha256, values).expect("binding");
    let made = volume::with(vec![NewProtector::tpm(binding, None, None).unwrap()]);
    let credential = || TpmUnlock::new(Box::new(tpm.clone()));
    assert_eq!(reason(unlock(&made, credential())), "pcr-mismatch");
    tpm.state().pcrs.insert(4, vec![0x44; 32]);
    unlock(&made, credential()).expect("unlocked");
    // PCR 11 is taken as zero, whatever value was given.
    tpm.state().pcrs.insert(11, vec![9; 32]);
    assert_eq!(reason(unlock(&made, credential())), "pcr-mismatch");
}

/// Corrects the CRC-32 of a metadata copy.
fn repair(image: &mut [u8], at: usize) {
    let size = usize::from(u16::from_le_bytes([image[at + 8], image[at + 9]])) * 16;
    let crc = crc32fast::hash(&image[at..at + size]);
    image[at + size + 4..at + size + 8].copy_from_slice(&crc.to_le_bytes());
}
