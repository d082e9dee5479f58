//! The options that add a key protector for Network Unlock, and the test that a server returns its
//! key.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use clap::{Args, ValueHint};
use fve::enroll::Enrollment;
use fve::error::Error;
use fve::format::bek::BekFile;
use fve::guid::Guid;
use fve::network::certificate::{Certificate, MAX_FILE};
use fve::network::client::{self, NoAnswer};
use fve::secret::{ExternalKey, NetworkKey};
use fve::shown::ShowPath;
use fve::unlock::Credential;
use fve::unlock::StartupKey;
use fve::unlock::network::{DIRECTORY, SidecarFile, TakenRequest, announcement};
use fve::volume::{UnlockOptions, Volume};

use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::options::credentials::CredentialArgs;
use crate::cli::options::credentials::OptionValues;
use crate::cli::options::credentials::network::{
    SIDECAR, TIMEOUT, seconds, seconds_word, transport_word, transports,
};
use crate::cli::output::term;

/// The credential option whose value also chooses the transport for a new protector.
const NETWORK: &str = "network-unlock";

/// The options for a new protector, in commands that also have the credential options.
#[derive(Debug, Clone, Args)]
pub(crate) struct NewNetworkArgs {
    /// With --network-unlock: add a key protector that the server with this certificate (DER or PEM)
    /// unlocks
    #[arg(long, value_name = "FILE", help_heading = "Network Unlock",
        value_hint = ValueHint::FilePath)]
    network_certificate: Option<PathBuf>,

    /// Save the sidecar of the new key protector to this new file, or in this directory
    /// [default: /etc/fve/network]
    #[arg(long, value_name = "FILE", help_heading = "Network Unlock",
        value_hint = ValueHint::AnyPath)]
    network_sidecar_to: Option<PathBuf>,
}

/// The options for a new protector, in commands without the credential options.
#[derive(Debug, Clone, Args)]
pub(crate) struct NewNetworkVolumeArgs {
    #[command(flatten)]
    new: NewNetworkArgs,

    /// Add a key protector that a Network Unlock server unlocks, over dhcp (DHCPv6, then DHCPv4; the
    /// default), dhcp4 or dhcp6; append :INTERFACE to choose a network interface
    #[arg(long, value_name = "TRANSPORT", num_args = 0..=1, require_equals = true,
        default_missing_value = "", help_heading = "Network Unlock",
        requires = "network_certificate", value_parser = transport_word::<String>)]
    network_unlock: Option<String>,

    /// The former name of --network-sidecar-to
    #[arg(long, value_name = "FILE", help_heading = "Network Unlock", hide = true,
        value_hint = ValueHint::AnyPath)]
    network_sidecar: Option<PathBuf>,

    /// Time limit for the answer of the server
    #[arg(long, value_name = "SECONDS", help_heading = "Network Unlock",
        value_parser = seconds_word::<PathBuf>)]
    network_timeout: Option<PathBuf>,
}

impl NewNetworkVolumeArgs {
    /// Whether a protector is to be made.
    pub(crate) fn is_given(&self) -> bool {
        self.network_unlock.is_some()
    }

    /// The protector to make, if any, and the result of the test.
    pub(crate) fn enrollment(&self, volume: Guid) -> Result<Option<NewNetwork>, Failure> {
        let Some(transport) = &self.network_unlock else {
            if self.new.network_certificate.is_some() {
                return Err(Failure::usage(
                    "--network-certificate needs --network-unlock",
                ));
            }
            return Ok(None);
        };
        let transport = (!transport.is_empty()).then(|| PathBuf::from(transport));
        let named = CredentialArgs::only(NETWORK, transport)
            .and(SIDECAR.option, self.network_sidecar.clone())
            .and(TIMEOUT.option, self.network_timeout.clone());
        self.new.enrollment(&named, volume)
    }
}

impl NewNetworkArgs {
    /// Whether a protector is to be made. Without a certificate, `--network-unlock` is a credential.
    pub(crate) fn is_given(&self) -> bool {
        self.network_certificate.is_some()
    }

    /// The credentials that unlock the volume, without the option for the new protector.
    pub(crate) fn rest_of(&self, credentials: &CredentialArgs) -> CredentialArgs {
        match self.is_given() {
            true => credentials.without(NETWORK),
            false => credentials.clone(),
        }
    }

    /// The protector to make, if any, and the result of the test.
    pub(crate) fn enrollment(
        &self,
        credentials: &CredentialArgs,
        volume: Guid,
    ) -> Result<Option<NewNetwork>, Failure> {
        let Some(path) = &self.network_certificate else {
            return Ok(None);
        };
        let certificate = read_certificate(path)?;
        let new = credentials.given_for(NETWORK, |given| {
            // The credential's option for its sidecar also works here, as it did before.
            let sidecar = self.network_sidecar_to.as_deref();
            let sidecar = sidecar.or_else(|| given.other(SIDECAR.option));
            make(given, certificate, volume, sidecar)
        });
        new.transpose()?
            .map(Some)
            .ok_or_else(|| Failure::usage("--network-certificate needs --network-unlock"))
    }
}

/// Reads a certificate from a file, and warns about what Windows may object to.
pub(crate) fn read_certificate(path: &Path) -> Result<Certificate, Failure> {
    use std::io::Read;
    let fail = |error| Error::io(format!("cannot read {}", path.shown()), error);
    let mut content = Vec::new();
    let file = std::fs::File::open(path).map_err(fail)?;
    file.take(MAX_FILE)
        .read_to_end(&mut content)
        .map_err(fail)?;
    let certificate = Certificate::parse(&content).map_err(|error| {
        let error = Error::bad_credential("certificate", format!("{}: {error}", path.shown()))
            .with_remedy("give the certificate of the server (.cer) as DER or PEM");
        Failure::wrong_file(&error)
    })?;
    for doubt in certificate.doubts(SystemTime::now()) {
        term::note(format_args!("warning: the certificate: {doubt}"));
    }
    Ok(certificate)
}

fn make(
    given: &OptionValues<'_>,
    certificate: Certificate,
    volume: Guid,
    path: Option<&Path>,
) -> Result<NewNetwork, Failure> {
    let transports = transports(given)?;
    let limit = given.other(TIMEOUT.option).map(seconds).transpose()?;
    if path.is_none() {
        let made = std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(DIRECTORY);
        made.map_err(|error| Error::io(format!("cannot create {DIRECTORY}"), error))?;
    }
    let file = SidecarFile::at(path.unwrap_or(Path::new(DIRECTORY)), volume);
    if file.exists() {
        return Err(Failure::Other {
            status: Status::Usage,
            what: format!("{} already exists", file.path().shown()),
            help: Some(
                "it may belong to a key protector: remove both, or name another file with --network-sidecar-to"
                    .to_owned(),
            ),
        });
    }
    let (enrollment, trial) = Enrollment::network(volume, certificate, file.path())?;
    term::note(announcement(&transports, limit));
    let deadline = limit.map(|limit| Instant::now() + limit);
    let mut refusals = Vec::new();
    let TakenRequest {
        request,
        session_key,
        ..
    } = &trial;
    for (at, transport) in transports.iter().enumerate() {
        let rest = transports.get(at..).unwrap_or_default();
        let until = client::share_of_time(rest, deadline);
        match client::ask(transport.as_ref(), request, &[session_key], until).outcome {
            Ok(delivered) => {
                let server = format!("{} over {}", delivered.from, transport.name());
                return Ok(NewNetwork {
                    enrollment,
                    proof: NetworkProof(Ok((delivered.key, server))),
                });
            }
            Err(refusal) => refusals.push(refusal),
        }
    }
    Ok(NewNetwork {
        enrollment,
        proof: NetworkProof(Err(refusals)),
    })
}

/// A new protector, and the result of the test.
pub(crate) struct NewNetwork {
    pub(crate) enrollment: Enrollment,
    pub(crate) proof: NetworkProof,
}

/// The key that a server returned, and the name of the server; or why none did.
pub(crate) struct NetworkProof(Result<(NetworkKey, String), Vec<NoAnswer>>);

impl NetworkProof {
    /// Whether a server answered.
    pub(crate) fn succeeded(&self) -> bool {
        self.0.is_ok()
    }

    /// A credential with the key that the server returned, to try it on the volume.
    pub(crate) fn credential(&self) -> Option<Box<dyn Credential>> {
        let (key, _) = self.0.as_ref().ok()?;
        let key = ExternalKey::from_bytes(key.expose());
        Some(Box::new(StartupKey::new(BekFile::of_key(key))))
    }

    /// Unlocks the volume with the server's key through that protector only.
    pub(crate) fn verify(&self, volume: &Volume, protector: Guid) -> Result<(), Failure> {
        let Some(credential) = self.credential() else {
            return Ok(());
        };
        let options = UnlockOptions::new().protector(protector);
        let opened = volume.unlock_master_key(&[credential], &options);
        opened.map(drop).map_err(|error| Failure::Other {
            status: Status::Refused,
            what: format!(
                "the protector {protector:X} was written, but the key from the server does not unlock it: {}",
                error.with_causes()
            ),
            help: Some("this should not happen: please report it".to_owned()),
        })
    }

    /// Tells the user whether the protector was tested.
    pub(crate) fn report(&self, protector: Guid) {
        match &self.0 {
            Ok((_, server)) => term::note(format_args!(
                "the volume was unlocked once with the key for {protector:X} from {server}"
            )),
            Err(refusals) => term::note(format_args!(
                "warning: the protector {protector:X} was not tested: {}; run 'fve network-unlock probe' to find out why",
                join(refusals)
            )),
        }
    }

    /// Refuses if no server answered, for a volume that would have no other protector.
    pub(crate) fn require(&self) -> Result<(), Failure> {
        let Err(refusals) = &self.0 else {
            return Ok(());
        };
        Err(Failure::Other {
            status: Status::Refused,
            what: format!(
                "no server returned the key, and the volume would have no other key protector: {}",
                join(refusals)
            ),
            help: Some(
                "add a recovery password (--new-recovery-password), or find the cause with 'fve network-unlock probe'"
                    .to_owned(),
            ),
        })
    }
}

fn join(refusals: &[NoAnswer]) -> String {
    let texts: Vec<_> = refusals.iter().map(NoAnswer::to_string).collect();
    texts.join("; ")
}
