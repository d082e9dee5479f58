//! Certificates. OpenSSL creates keys, key files and messages, and decrypts what fve encrypts.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use fve::crypto::rsa_key::{Certificate, KeyFile, Padding};
use fve::enroll::NewProtector;
use fve::format::protector::ProtectorKind;
use fve::unlock::Credential;
use fve::unlock::certificate::CertificateKey;
use fve::volume::{UnlockOptions, Volume};

use crate::common::output::json;
use crate::common::trials::{self, Missing, trial};
use crate::common::{corpus, damage, fve, testdata};
use crate::{assert_refused, run, volume};

fn openssl_installed() -> Option<Missing> {
    trials::programs(&["openssl"])
}

/// An RSA key and its certificate, in all common file formats.
pub struct Pair {
    directory: tempfile::TempDir,
}

pub const PASSWORD: &str = "correct horse";

impl Pair {
    fn new() -> Self {
        let pair = Self {
            directory: tempfile::tempdir().expect("directory"),
        };
        run(
            openssl("req -x509 -newkey rsa:2048 -nodes -subj /CN=recovery -days 30")
                .arg("-keyout")
                .arg(pair.path("key.pem"))
                .arg("-out")
                .arg(pair.path("cert.pem")),
        );
        std::fs::write(pair.path("password"), format!("{PASSWORD}\n")).expect("password");
        pair
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn certificate(&self) -> Certificate {
        let content = std::fs::read(self.path("cert.pem")).expect("certificate");
        KeyFile::read(&content, None)
            .expect("certificate")
            .certificates
            .remove(0)
    }

    fn credential(&self) -> [Box<dyn Credential>; 1] {
        let content = std::fs::read(self.path("key.pem")).expect("key");
        let file = KeyFile::read(&content, None).expect("key");
        [Box::new(CertificateKey::new(file).expect("key"))]
    }

    /// Creates a volume that the key unlocks.
    fn volume(&self, name: &str, padding: Padding) -> PathBuf {
        let protector = NewProtector::certificate(self.certificate(), padding).expect("protector");
        volume::write(&self.path(name), vec![protector])
    }
}

/// One pair for all tests, because creating keys takes long.
pub fn pair() -> &'static Pair {
    static PAIR: OnceLock<Pair> = OnceLock::new();
    PAIR.get_or_init(Pair::new)
}

fn openssl(words: &str) -> Command {
    let mut command = Command::new("openssl");
    command.args(words.split_whitespace());
    command
}

/// The options of OpenSSL for a padding.
fn options(padding: Padding) -> &'static [&'static str] {
    match padding {
        Padding::Pkcs1 => &["rsa_padding_mode:pkcs1"],
        Padding::OaepSha1 => &["rsa_padding_mode:oaep", "rsa_oaep_md:sha1"],
        Padding::OaepSha256 => &["rsa_padding_mode:oaep", "rsa_oaep_md:sha256"],
        other => panic!("{other:?} has no name in OpenSSL here"),
    }
}

/// Encrypts or decrypts a message with OpenSSL.
fn pkeyutl(what: &str, key: &Path, padding: Padding, message: &[u8]) -> Vec<u8> {
    let directory = tempfile::tempdir().expect("directory");
    let input = directory.path().join("in");
    std::fs::write(&input, message).expect("message");
    let mut command = openssl("pkeyutl");
    command
        .arg(what)
        .arg("-inkey")
        .arg(key)
        .arg("-in")
        .arg(&input);
    for option in options(padding) {
        command.args(["-pkeyopt", option]);
    }
    if what == "-encrypt" {
        command.arg("-certin");
    }
    run(&mut command)
}

fn opens(image: &Path, credential: &[Box<dyn Credential>]) -> bool {
    let opened = testdata::open(image).unlock(credential, &UnlockOptions::default());
    opened.is_ok()
}

fn only_protector(volume: &Volume) -> &fve::format::protector::KeyProtector {
    let protectors = volume.protectors();
    assert_eq!(protectors.len(), 1);
    protectors[0]
}

#[trial(
    "OpenSSL decrypts the key in a protector, with every padding",
    needs(openssl_installed)
)]
fn openssl_decrypts_keys_that_fve_encrypts() {
    for (number, padding) in Padding::ALL.into_iter().enumerate() {
        let image = pair().volume(&format!("padding-{number}.img"), padding);
        let volume = testdata::open(&image);
        let protector = only_protector(&volume);
        let encrypted = protector.wrapped_key().expect("encrypted key");
        let key = pkeyutl("-decrypt", &pair().path("key.pem"), padding, encrypted);
        // Size, role, type, flags, key type: a KEY datum of 32 bytes.
        assert_eq!(key.len(), 44, "{}", padding.name());
        assert_eq!(key[..12], [0x2C, 0, 0, 0, 1, 0, 0, 0, 6, 0x20, 0, 0]);
        assert!(opens(&image, &pair().credential()), "{}", padding.name());
    }
}

#[trial(
    "a key that OpenSSL encrypts is decrypted, with every padding",
    needs(openssl_installed)
)]
fn decrypts_keys_that_openssl_encrypts() {
    let content = std::fs::read(pair().path("key.pem")).expect("key");
    let file = KeyFile::read(&content, None).expect("key");
    for padding in Padding::ALL {
        let encrypted = pkeyutl(
            "-encrypt",
            &pair().path("cert.pem"),
            padding,
            b"thirty-two bytes of a key, padded",
        );
        for other in Padding::ALL {
            let message = file.keys[0].decrypt(other, &encrypted);
            let right = message.is_some_and(|m| m.expose() == b"thirty-two bytes of a key, padded");
            assert_eq!(
                right,
                other == padding,
                "{} read as {}",
                padding.name(),
                other.name()
            );
        }
    }
}

#[trial("keys are read from every file format", needs(openssl_installed))]
fn reads_key_files_in_every_format() {
    let pair = pair();
    let image = pair.volume("files.img", Padding::Pkcs1);
    let (key, cert) = (pair.path("key.pem"), pair.path("cert.pem"));
    let make = |words: &str, name: &str| {
        let path = pair.path(name);
        run(openssl(words).arg("-out").arg(&path));
        path
    };
    let pfx = |more: &str, name: &str| {
        let words = format!(
            "pkcs12 -export -inkey {} -in {} {more}",
            key.display(),
            cert.display()
        );
        make(&words, name)
    };
    let convert = |words: &str, name: &str| make(&format!("{words} -in {}", key.display()), name);
    let secret = format!("file:{}", pair.path("password").display());
    let both = pair.path("both.pem");
    let text = [
        &b"Bag Attributes\n    friendlyName: key\n"[..],
        &std::fs::read(&cert).expect("cert"),
        &std::fs::read(&key).expect("key"),
    ];
    std::fs::write(&both, text.concat()).expect("both");
    let open = [
        key.clone(),
        both,
        convert("pkey -traditional", "pkcs1.pem"),
        convert("pkey -traditional -outform DER", "pkcs1.der"),
        convert("pkcs8 -topk8 -nocrypt -outform DER", "pkcs8.der"),
        pfx("-passout pass:", "empty.pfx"),
    ];
    let encrypted = [
        pfx(&format!("-passout {secret}"), "aes.pfx"),
        // The default format of an export from Windows.
        pfx(
            &format!("-passout {secret} -keypbe PBE-SHA1-3DES -certpbe PBE-SHA1-3DES -macalg sha1"),
            "3des.pfx",
        ),
        convert(&format!("pkcs8 -topk8 -passout {secret}"), "aes.pem"),
        convert(
            &format!("pkcs8 -topk8 -v2 des3 -passout {secret}"),
            "3des.pem",
        ),
        convert(
            &format!("pkcs8 -topk8 -v2 aes256 -v2prf hmacWithSHA1 -passout {secret}"),
            "sha1.pem",
        ),
        convert(
            &format!("pkcs8 -topk8 -outform DER -passout {secret}"),
            "aes.der",
        ),
    ];
    for file in &open {
        assert_opened(&unlock(&image, file, None), file);
    }
    for file in &encrypted {
        assert_opened(&unlock(&image, file, Some(&pair.path("password"))), file);
    }
}

fn unlock(image: &Path, file: &Path, password: Option<&Path>) -> Output {
    let mut command = fve();
    command
        .args(["unlock", "--json"])
        .arg(image)
        .arg("--certificate")
        .arg(file);
    if let Some(password) = password {
        command.arg("--certificate-password-file").arg(password);
    }
    command
        .stdin(std::process::Stdio::null())
        .output()
        .expect("fve")
}

#[track_caller]
fn assert_opened(output: &Output, file: &Path) {
    let answer = json(output);
    assert_eq!(answer["unlocked"], true, "{}: {answer}", file.display());
    assert_eq!(answer["protector"]["type"], "certificate");
}

#[trial(
    "the password of a key file is required, and a wrong one refused",
    needs(openssl_installed)
)]
fn reads_the_password_of_a_key_file() {
    let pair = pair();
    let image = pair.volume("passwords.img", Padding::Pkcs1);
    let pfx = pair.path("refused.pfx");
    run(openssl("pkcs12 -export -passout")
        .arg(format!("pass:{PASSWORD}"))
        .arg("-inkey")
        .arg(pair.path("key.pem"))
        .arg("-in")
        .arg(pair.path("cert.pem"))
        .arg("-out")
        .arg(&pfx));
    let none = unlock(&image, &pfx, None);
    assert_eq!(none.status.code(), Some(4));
    let answer = json(&none);
    assert!(
        answer["error"]["help"]
            .as_str()
            .is_some_and(|help| help.contains("--certificate-password-file")),
        "{answer}"
    );
    std::fs::write(pair.path("wrong"), "wrong horse").expect("password");
    let wrong = unlock(&image, &pfx, Some(&pair.path("wrong")));
    assert_eq!(wrong.status.code(), Some(4));
    let said = [&wrong.stdout[..], &wrong.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(
        said.contains("the password is wrong") && !said.contains("wrong horse"),
        "{said}"
    );
    // Password and certificate from systemd.
    let credentials = tempfile::tempdir().expect("directory");
    std::fs::copy(&pfx, credentials.path().join("fve.certificate")).expect("copy");
    std::fs::write(
        credentials.path().join("fve.certificate-password"),
        PASSWORD,
    )
    .expect("password");
    let output = fve()
        .args(["unlock", "--json"])
        .arg(&image)
        .env("CREDENTIALS_DIRECTORY", credentials.path())
        .output()
        .expect("fve");
    assert_opened(&output, &pfx);
    // A certificate without its private key is refused.
    let alone = unlock(&image, &pair.path("cert.pem"), None);
    assert_eq!(alone.status.code(), Some(4));
    assert!(
        json(&alone)["error"]["message"]
            .as_str()
            .is_some_and(|text| text.contains("no private key"))
    );
}

#[trial("the key of another certificate is refused", needs(openssl_installed))]
fn refuses_the_key_of_another_certificate() {
    let image = pair().volume("mine.img", Padding::OaepSha1);
    let other = Pair::new();
    let output = unlock(&image, &other.path("key.pem"), None);
    assert_refused(&output, 4, "other-certificate");
    let thumbprint: String = pair()
        .certificate()
        .thumbprint
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert!(
        json(&output)["attempts"][0]["message"]
            .as_str()
            .is_some_and(|text| text.contains(&thumbprint))
    );
    // A volume without a certificate protector.
    let output = unlock(
        &testdata::volume("xts-128").file,
        &other.path("key.pem"),
        None,
    );
    assert_refused(&output, 4, "no-such-protector");
}

/// CryptoAPI stores encrypted data least significant byte first.
#[trial("the byte order of CryptoAPI is tried", needs(openssl_installed))]
fn decrypts_keys_in_the_byte_order_of_cryptoapi() {
    let image = pair().volume("order.img", Padding::Pkcs1);
    let mut copy = damage::VolumeCopy {
        bytes: std::fs::read(&image).expect("volume"),
    };
    let found = {
        let volume = testdata::open(&image);
        let encrypted = only_protector(&volume)
            .wrapped_key()
            .expect("encrypted key")
            .to_vec();
        let block = copy.offsets()[0];
        let at = copy.bytes[block..]
            .windows(encrypted.len())
            .position(|window| window == encrypted);
        (at.expect("encrypted key"), encrypted)
    };
    let (at, mut encrypted) = found;
    encrypted.reverse();
    copy.edit_all(at, &encrypted);
    let image = copy.save(tempfile::tempdir().expect("directory").keep().as_path());
    // The sealed hash covers the original byte order, so the volume counts as damaged.
    let options = || {
        let mut options = UnlockOptions::default();
        options.accept_damaged_metadata = true;
        options
    };
    let opened = testdata::open(&image).unlock(&pair().credential(), &options());
    assert!(opened.is_ok(), "{opened:?}");
    std::fs::remove_dir_all(image.parent().expect("directory")).expect("remove");
}

#[trial(
    "info shows the same certificate data as OpenSSL",
    needs(openssl_installed)
)]
fn info_agrees_with_openssl() {
    let pair = pair();
    let image = pair.volume("info.img", Padding::Pkcs1);
    let output = fve()
        .args(["info", "--json"])
        .arg(&image)
        .output()
        .expect("fve");
    let protector = json(&output)["protectors"][0].clone();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    let said = text(run(
        openssl("x509 -noout -fingerprint -sha1 -modulus -in").arg(pair.path("cert.pem"))
    ));
    let value = |name: &str| {
        let line = said
            .lines()
            .find(|line| line.to_lowercase().starts_with(name))
            .expect("line");
        line.split_once('=')
            .expect("value")
            .1
            .replace(':', "")
            .to_lowercase()
    };
    assert_eq!(
        protector["certificate_thumbprint"],
        value("sha1"),
        "{protector}"
    );
    assert_eq!(protector["public_key"]["modulus"], value("modulus"));
    let der = run(openssl("pkey -pubout -outform DER -in").arg(pair.path("key.pem")));
    let hash = crate::common::sha256(&der[..]).expect("hash");
    assert_eq!(protector["public_key"]["sha256"], hash);
    assert_eq!(protector["public_key"]["bits"], 2048);
    let shown = text(run(fve().arg("info").arg(&image)));
    for word in [
        &hash,
        &value("sha1"),
        "RSA, 2048 bits, exponent 0x010001",
        "--certificate",
        "--pkcs11",
    ] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
}

#[trial(
    "a volume created and changed by the command keeps its certificate",
    needs(openssl_installed)
)]
fn creates_and_changes_volumes_with_a_certificate() {
    let pair = pair();
    let directory = tempfile::tempdir().expect("directory");
    let image = directory.path().join("made.img");
    let password = pair.path("password");
    run(fve()
        .args(["create", "--size", "16M"])
        .arg(&image)
        .arg("--new-password-file")
        .arg(&password));
    run(fve()
        .args(["protector", "add"])
        .arg(&image)
        .arg("--password-file")
        .arg(&password)
        .arg("--new-certificate")
        .arg(pair.path("cert.pem")));
    assert_opened(&unlock(&image, &pair.path("key.pem"), None), &image);
    // The new master key is sealed with the stored copy of the intermediate key, without the
    // private key.
    run(fve()
        .args(["protector", "remove", "--type", "password"])
        .arg(&image)
        .arg("--certificate")
        .arg(pair.path("key.pem")));
    let output = unlock(&image, &pair.path("key.pem"), None);
    assert_opened(&output, &image);
    let kinds: Vec<_> = testdata::open(&image)
        .protectors()
        .iter()
        .map(|one| one.kind())
        .collect();
    assert_eq!(kinds, [ProtectorKind::Certificate]);
    // A key file without a certificate and an encrypted file are refused for a new volume.
    let output = fve()
        .args(["create", "--size", "16M"])
        .arg(directory.path().join("other.img"))
        .arg("--new-certificate")
        .arg(pair.path("key.pem"))
        .output()
        .expect("fve");
    assert_eq!(
        output.status.code(),
        Some(2),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[trial(
    "damaged key files are refused without a panic",
    needs(openssl_installed)
)]
fn damaged_key_files_cause_no_panic() {
    let pair = pair();
    let pfx = pair.path("damaged.pfx");
    run(openssl("pkcs12 -export -iter 1 -maciter -passout pass:")
        .arg("-inkey")
        .arg(pair.path("key.pem"))
        .arg("-in")
        .arg(pair.path("cert.pem"))
        .arg("-out")
        .arg(&pfx));
    for name in ["damaged.pfx", "key.pem", "cert.pem"] {
        let whole = std::fs::read(pair.path(name)).expect("file");
        for at in (0..whole.len()).step_by(7) {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x55;
            let _ = KeyFile::read(&flipped, None);
            let _ = KeyFile::read(&whole[..at], None);
        }
    }
    for junk in [
        &b""[..],
        b"-----BEGIN ",
        b"-----BEGIN X-----\n-----END",
        b"\x30",
        b"\x30\xFF",
        &[0x30; 64],
    ] {
        assert!(KeyFile::read(junk, None).is_err());
    }
}

#[trial(
    "a smart card protector of Windows is shown, and refuses another key",
    needs(trials::corpus)
)]
fn shows_the_certificate_protector_of_a_windows_sample() {
    corpus::volumes().expect("corpus");
    let image = corpus::unpacked("bitlk-images/bitlk-aes-xts-128-smart-card.img");
    let output = fve()
        .args(["info", "--json"])
        .arg(&image)
        .output()
        .expect("fve");
    let answer = json(&output);
    let protectors = answer["protectors"].as_array().expect("protectors");
    let card = protectors
        .iter()
        .find(|one| one["type"] == "certificate")
        .expect("certificate");
    assert_eq!(card["public_key"]["bits"], 2048);
    assert_eq!(card["public_key"]["exponent"], "010001");
    assert_eq!(
        card["certificate_thumbprint"].as_str().map(str::len),
        Some(40)
    );
    assert_eq!(
        card["options"],
        serde_json::json!(["--certificate", "--pkcs11"])
    );
    if trials::installed("openssl") {
        assert_refused(
            &unlock(&image, &pair().path("key.pem"), None),
            4,
            "other-certificate",
        );
    }
}
