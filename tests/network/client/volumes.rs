//! Volumes that Network Unlock unlocks, with an in-process transport.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fve::create::{NewProtector, StartupKeyForm};
use fve::enroll::Enrollment;
use fve::error::Error;
use fve::guid::Guid;
use fve::network::client::{InProcess, Received, Schedule, Transport};
use fve::network::{Request, SealedReply};
use fve::secret::{NetworkKey, SecretText};
use fve::source::FileSource;
use fve::unlock::Credential;
use fve::unlock::Password;
use fve::unlock::network::{NetworkUnlock, STOCK, Sidecar, SidecarFile};
use fve::volume::{UnlockOptions, Unlocked, Volume};

use super::server::Authority;
use crate::common::log::Log;
use crate::common::peers::{self, Peer};
use crate::common::trials::{self, Missing, trial};
use crate::common::writing::{small_volume, write_small};

const PASSWORD: &str = "correct horse";

fn openssl() -> Option<Missing> {
    trials::programs(&["openssl"])
}

struct TestVolume {
    directory: tempfile::TempDir,
    authority: Authority,
    image: PathBuf,
    volume: Guid,
}

impl TestVolume {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let authority = Authority::make(directory.path(), "server");
        let mut volume = small_volume();
        let id = volume.id();
        let sidecar = SidecarFile::at(directory.path(), id);
        let (enrollment, trial) =
            Enrollment::network(id, authority.certificate(), sidecar.path()).expect("enrollment");
        assert!(!trial.sent_before);
        let (protector, secret) = enrollment.into_parts();
        secret.hand_over().expect("sidecar");
        volume.protect(protector);
        let password = SecretText::new(PASSWORD.to_owned());
        volume.protect(NewProtector::password(&password).expect("password"));
        for file in volume.startup_keys(StartupKeyForm::Short).expect("keys") {
            std::fs::write(directory.path().join("key.BEK"), file.content.expose()).expect("BEK");
        }
        let image = directory.path().join("volume.img");
        write_small(&volume, &image);
        Self {
            directory,
            authority,
            image,
            volume: id,
        }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn sidecar(&self) -> SidecarFile {
        SidecarFile::at(self.path(), self.volume)
    }

    fn stock(&self) -> Sidecar {
        self.sidecar().load().expect("sidecar")
    }

    fn credential(&self, transport: impl Transport + 'static) -> Box<dyn Credential> {
        let credential = NetworkUnlock::new(vec![Box::new(transport)]);
        Box::new(credential.sidecar(self.path()))
    }

    fn unlock(&self, credentials: &[Box<dyn Credential>]) -> Result<Unlocked, Error> {
        let source = Arc::new(FileSource::open(&self.image).expect("open"));
        Volume::from_source(source)
            .expect("volume")
            .unlock(credentials, &UnlockOptions::default())
    }

    /// The reason words of the failed attempts.
    #[track_caller]
    fn reasons(&self, credential: Box<dyn Credential>) -> Vec<&'static str> {
        match self.unlock(&[credential]) {
            Err(Error::Refused { report, .. }) => report
                .attempts
                .iter()
                .map(|attempt| attempt.failure.as_ref().expect("a failure").reason.word())
                .collect(),
            other => panic!("not refused: {other:?}"),
        }
    }
}

fn password() -> Box<dyn Credential> {
    Box::new(Password::new(&SecretText::new(PASSWORD.to_owned())))
}

fn with_network(
    network: impl Fn(&Request, usize) -> Vec<(Duration, Received)> + Send + Sync + 'static,
) -> impl Transport + 'static {
    let schedule = Schedule::new(Duration::ZERO, vec![Duration::from_millis(30); 2]);
    InProcess::with_schedule(network, schedule)
}

fn silence() -> impl Transport + 'static {
    with_network(|_, _| Vec::new())
}

#[trial("unlocks with the key from the network", needs(openssl))]
fn opens() {
    let made = TestVolume::new();
    let unlocked = made
        .unlock(&[made.credential(made.authority.in_process())])
        .expect("unlock");
    assert_eq!(
        unlocked.opened_by().credential.as_deref(),
        Some("Network Unlock")
    );
    let mut sector = [0; 512];
    unlocked.read_exact_at(0, &mut sector).expect("read");
    assert_eq!(&sector[3..7], b"NTFS");
}

#[trial("sends every request once, and refills the stock", needs(openssl))]
fn fills_up() {
    let made = TestVolume::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    for _ in 0..2 * STOCK {
        let recorder = seen.clone();
        let server = made.authority.in_process();
        let recording = with_network(move |request, nth| {
            recorder.lock().unwrap().push(request.key_protector.clone());
            fve::network::client::Responder::respond(&Forward(&server), request, nth)
        });
        made.unlock(&[made.credential(recording)]).expect("unlock");
        assert_eq!(made.stock().unused(), STOCK);
    }
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 2 * STOCK);
    for (number, one) in seen.iter().enumerate() {
        assert!(!seen[..number].contains(one), "a request was sent twice");
    }
}

/// Forwards requests to another transport.
struct Forward<'a, T>(&'a T);

impl<T: Transport> fve::network::client::Responder for Forward<'_, T> {
    fn respond(&self, request: &Request, _nth: usize) -> Vec<(Duration, Received)> {
        let mut exchange = self.0.begin(request).expect("begin");
        exchange.send().expect("send");
        let until = std::time::Instant::now() + Duration::from_secs(20);
        let received = exchange.receive(until).expect("receive");
        received
            .into_iter()
            .map(|one| (Duration::ZERO, one))
            .collect()
    }
}

#[trial("tries the next credential if no server answers", needs(openssl))]
fn fails_over() {
    let made = TestVolume::new();
    let unlocked = made
        .unlock(&[made.credential(silence()), password()])
        .expect("unlock");
    let by = unlocked.opened_by();
    assert_eq!(by.credential.as_deref(), Some("password"));
    let failure = by.report.attempts[0].failure.as_ref().expect("a failure");
    assert_eq!(failure.reason.word(), "no-answer");
    assert!(
        failure.message.contains("no server answered"),
        "{failure:?}"
    );
    // The request was marked before it was sent.
    assert_eq!(made.stock().unused(), STOCK - 1);
}

#[trial(
    "still unlocks after too many attempts without an answer",
    needs(openssl)
)]
fn outlives_silence() {
    let made = TestVolume::new();
    for left in (0..STOCK).rev() {
        assert_eq!(made.reasons(made.credential(silence())), ["no-answer"]);
        assert_eq!(made.stock().unused(), left);
    }
    made.unlock(&[made.credential(made.authority.in_process())])
        .expect("an old request is sent again");
    assert_eq!(made.stock().unused(), STOCK);
}

#[trial("unlocks with a stock that cannot be written", needs(openssl))]
fn opens_read_only() {
    let made = TestVolume::new();
    // The file cannot be replaced: the name of the new file is that of a directory.
    let mut name = made.sidecar().path().file_name().unwrap().to_owned();
    name.push(".new");
    std::fs::create_dir(made.path().join(name)).expect("directory");
    made.unlock(&[made.credential(made.authority.in_process())])
        .expect("unlock");
    assert_eq!(made.stock().unused(), STOCK);
}

#[trial("reports every reason", needs(openssl))]
fn reports_reasons() {
    let made = TestVolume::new();
    let forged = with_network(|_, _| {
        let (reply, from) = (SealedReply::from_bytes([7; 60]), String::new());
        vec![(Duration::ZERO, Received::Reply { reply, from })]
    });
    assert_eq!(made.reasons(made.credential(forged)), ["not-authentic"]);

    // A stock with another key.
    let stock = made.stock();
    let key = NetworkKey::from_bytes(&[9; 32]);
    let make = |volume, protector| {
        Sidecar::new(volume, protector, made.authority.certificate(), &key).expect("sidecar")
    };
    let elsewhere = made.path().join("other.nkp");
    let reasons_with = |content: &[u8]| {
        std::fs::write(&elsewhere, content).expect("write");
        let credential = NetworkUnlock::new(vec![Box::new(made.authority.in_process())]);
        made.reasons(Box::new(credential.sidecar(&elsewhere)))
    };
    let unknown = Guid::from_disk([5; 16]);
    for (sidecar, reason) in [
        (make(made.volume, stock.protector()), "wrong-key"),
        (make(made.volume, unknown), "no-such-protector"),
        (make(unknown, stock.protector()), "other-volume"),
    ] {
        assert_eq!(reasons_with(sidecar.encode().expose()), [reason]);
    }
    assert_eq!(reasons_with(b"{}"), ["bad-sidecar"]);

    std::fs::remove_file(made.sidecar().path()).expect("remove");
    let credential = made.credential(made.authority.in_process());
    assert_eq!(made.reasons(credential), ["no-sidecar"]);
}

#[trial("shows no secret", needs(openssl))]
fn shows_no_secret() {
    let made = TestVolume::new();
    let bek = std::fs::read(made.path().join("key.BEK")).expect("BEK");
    let content = std::fs::read_to_string(made.sidecar().path()).expect("sidecar");
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let mut shown = String::new();
    tracing::subscriber::with_default(subscriber, || {
        let credential = made.credential(made.authority.in_process());
        let unlocked = made.unlock(&[credential]).expect("unlock");
        shown = format!("{:?} {:?}", unlocked.opened_by(), made.stock());
    });
    shown += &String::from_utf8_lossy(&log.bytes());
    assert!(shown.contains("Sidecar"));
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
    let mut secrets = vec![hex(&bek[bek.len() - 32..])];
    for field in ["\"session_key\": \"", "\"key_protector\": \""] {
        let values = content.split(field).skip(1);
        secrets.extend(values.map(|rest| rest[..64].to_owned()));
    }
    assert_eq!(secrets.len(), 1 + 2 * STOCK);
    for secret in secrets {
        assert!(!shown.contains(&secret), "a secret in {shown}");
    }
}

// On the volume, the key protector is an ordinary external key, so other programs can unlock the
// volume with its BEK file.

#[trial("dislocker unlocks the volume with the same key", needs(openssl, || Peer::Dislocker.missing()))]
fn dislocker_opens() {
    let made = TestVolume::new();
    let plaintext = made.path().join("plaintext");
    let mut dislocker = std::process::Command::new("dislocker-file");
    dislocker.arg("-V").arg(&made.image);
    dislocker.arg("-f").arg(made.path().join("key.BEK"));
    dislocker.arg("--").arg(&plaintext);
    peers::run(&mut dislocker, "").expect("it opens");
    let content = std::fs::read(plaintext).expect("plaintext");
    assert_eq!(&content[3..7], b"NTFS");
}

#[trial("cryptsetup unlocks the volume with the same key", needs(openssl, || Peer::Cryptsetup.missing()))]
fn cryptsetup_opens() {
    let made = TestVolume::new();
    let mut cryptsetup = std::process::Command::new("cryptsetup");
    cryptsetup.args(["bitlkOpen", "--test-passphrase", "--key-file"]);
    cryptsetup.arg(made.path().join("key.BEK")).arg(&made.image);
    peers::run(&mut cryptsetup, "").expect("it opens");
}

#[trial("refuses malformed values of its options before anything is opened")]
fn malformed_values() {
    let directory = tempfile::tempdir().expect("directory");
    let missing = directory.path().join("missing.img");
    let volume = missing.to_str().expect("a path");
    let certificate = "tests/network/test.cer";
    for words in [
        &["unlock", volume, "--network-unlock=foo"][..],
        &[
            "unlock",
            volume,
            "--network-unlock",
            "--network-timeout",
            "0",
        ],
        &[
            "unlock",
            volume,
            "--network-unlock",
            "--network-timeout",
            "soon",
        ],
        &["mount", volume, volume, "--network-unlock=dhcp4:"],
        &[
            "create",
            volume,
            "--size",
            "8M",
            "--network-unlock=foo",
            "--network-certificate",
            certificate,
        ],
        &[
            "create",
            volume,
            "--size",
            "8M",
            "--network-unlock",
            "--network-certificate",
            certificate,
            "--network-timeout",
            "0",
        ],
        &[
            "network-unlock",
            "probe",
            "foo",
            "--certificate",
            certificate,
        ],
        &[
            "network-unlock",
            "probe",
            "--timeout",
            "0",
            "--certificate",
            certificate,
        ],
        &[
            "network-unlock",
            "probe",
            "--timeout",
            "4000",
            "--certificate",
            certificate,
        ],
    ] {
        let output = crate::common::fve().args(words).output().expect("fve");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {stderr}");
        assert!(!stderr.contains("foo"), "{stderr}");
    }
}
