//! `fve tpm`: shows the state of the TPM, and explains why it releases a volume's key or refuses.

use std::fmt::Write;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base16ct::lower::encode_string as hex;
use clap::{ArgMatches, Args, FromArgMatches, Subcommand, ValueHint};
use fve::error::Error;
use fve::format::event_log::{EventLog, MAX_LEN};
use fve::format::protector::KeyProtector;
use fve::shown::ShowPath;
use fve::tpm::forecast::{Forecast, meaning};
use fve::tpm::{Explanation, KeyRelease, Lockout, TpmDescription, TpmError, Unsealer, tries_left};
use fve::unlock::{Prompt, Silent};
use fve::volume::Volume;
use serde_json::{Value, json};

use crate::cli::advice;
use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::options::credentials::{OptionValues, tpm};
use crate::cli::options::file;
use crate::cli::options::source::{self, SourceArgs};
use crate::cli::output::json as documents;
use crate::cli::output::term;
use crate::cli::run::Run;

/// The measurement log of the firmware, as the kernel provides it (TCG PC Client Platform Firmware
/// Profile).
const EVENT_LOG: &str = "/sys/kernel/security/tpm0/binary_bios_measurements";
/// How clap names SOURCE.
const SOURCE: &str = "source";
/// Environment variable with the TCTI; the `--tpm` credential reads the same one.
const ENVIRONMENT: &str = "TPM2TOOLS_TCTI";

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  Show the TPM, and which key protectors of a volume it would unlock:
    fve tpm status /dev/sda3
  Explain why it does not unlock them:
    fve tpm explain /dev/sda3")]
pub(crate) struct TpmArgs {
    #[command(subcommand)]
    command: TpmCommand,
}

#[derive(Debug, Subcommand)]
enum TpmCommand {
    /// Show the state of the TPM and, with SOURCE, which key protectors it would unlock; needs no PIN
    #[command(after_help = "\
Examples:
  Show the TPM of this computer:
    fve tpm status
  Show also which key protectors of a volume it would unlock:
    fve tpm status /dev/sda3
  Use a software TPM instead:
    fve tpm status disk.img --tpm=swtpm:host=127.0.0.1,port=2321")]
    Status(StatusArgs),
    /// Explain for each TPM protector why it can or cannot be unlocked here; needs no PIN
    #[command(after_help = "\
Examples:
  Explain why the TPM does not release the key:
    fve tpm explain /dev/sda3
  Explain it for a boot whose event log was saved, as JSON:
    fve tpm explain disk.img --event-log eventlog.bin --json")]
    Explain(ExplainArgs),
}

#[derive(Debug, Args)]
struct StatusArgs {
    #[command(flatten)]
    source: OptionalSource,

    #[command(flatten)]
    tpm: AskArgs,
}

#[derive(Debug, Args)]
struct ExplainArgs {
    #[command(flatten)]
    source: SourceArgs,

    #[command(flatten)]
    tpm: AskArgs,
}

/// The options of [`SourceArgs`] where SOURCE may be left out. A flattened `Option` would always be `None`:
/// clap takes a group with nested options for one without members.
#[derive(Debug)]
struct OptionalSource(Option<SourceArgs>);

impl Args for OptionalSource {
    fn augment_args(command: clap::Command) -> clap::Command {
        let mut command =
            SourceArgs::augment_args(command).mut_arg(SOURCE, |source| source.required(false));
        for option in ["offset", "partition", "metadata", "volume_start"] {
            command = command.mut_arg(option, |option| option.requires(SOURCE));
        }
        command
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for OptionalSource {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self(match matches.contains_id(SOURCE) {
            true => Some(SourceArgs::from_arg_matches(matches)?),
            false => None,
        }))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Which TPM is asked, and how the answer is printed.
#[derive(Debug, Args)]
struct AskArgs {
    /// Use the TPM at this TCTI, such as swtpm:host=127.0.0.1,port=2321, instead of this computer's
    #[arg(long, value_name = "TCTI", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    tpm: Option<String>,

    /// If the TPM no longer has its storage root key, recreate it for this use only
    #[arg(long)]
    tpm_recreate_srk: bool,

    /// Use this firmware event log instead of that of the current boot
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    event_log: Option<PathBuf>,

    /// Print the result as one JSON document
    #[arg(long)]
    json: bool,
}

impl TpmArgs {
    /// The source if there is one, and the TPM.
    fn parts(&self) -> (Option<&SourceArgs>, &AskArgs) {
        match &self.command {
            TpmCommand::Status(args) => (args.source.0.as_ref(), &args.tpm),
            TpmCommand::Explain(args) => (Some(&args.source), &args.tpm),
        }
    }
}

impl Run for TpmArgs {
    fn run(&self) -> Result<(), Failure> {
        run(self)
    }
}

fn run(args: &TpmArgs) -> Result<(), Failure> {
    let (source, ask) = args.parts();
    let found = TpmReport::of(source, ask)?;
    if ask.json {
        term::print(&found.json())?;
    } else {
        let long = matches!(args.command, TpmCommand::Explain(_));
        term::print(&found.text(long))?;
    }
    // With a source, the answer is about its key protectors.
    match (&found.lockout, source) {
        (Err(_), None) if ask.json => Err(Failure::Silent(Status::Io)),
        (Err(error), None) => Err(Failure::Other {
            status: Status::Io,
            what: error.to_string(),
            help: Some(advice::words(&error.remedy())),
        }),
        _ => Ok(()),
    }
}

/// A key protector, and why the TPM releases its key or refuses.
struct ExplainedProtector {
    id: String,
    name: &'static str,
    kind: &'static str,
    pcrs: Vec<u8>,
    bitmaps_differ: bool,
    explanation: Explanation,
}

struct TpmReport {
    place: String,
    lockout: Result<Option<Lockout>, TpmError>,
    srk_name: Result<Option<Vec<u8>>, TpmError>,
    description: Option<TpmDescription>,
    event_log: Result<bool, String>,
    protectors: Vec<ExplainedProtector>,
}

impl TpmReport {
    fn of(source: Option<&SourceArgs>, args: &AskArgs) -> Result<Self, Failure> {
        let opened = match source {
            Some(source) => Some(source::open(source).print_notes()?),
            None => None,
        };
        let tpm = tpm_of(args)?;
        let (log, event_log) = match read_log(args.event_log.as_deref()) {
            Ok(log) => (Some(log), Ok(true)),
            Err(error) if args.event_log.is_some() => return Err(error),
            Err(error) => (None, Err(no_log(&error))),
        };
        let explain_protector = |protector: &KeyProtector| {
            let explanation = Explanation::of(protector, tpm.as_ref(), log.as_ref())?;
            let blob = protector.tpm()?;
            Some(ExplainedProtector {
                id: format!("{:X}", protector.id),
                name: protector.kind().name(),
                kind: protector.kind().word(),
                pcrs: blob.pcrs(),
                bitmaps_differ: blob.bitmaps_differ(),
                explanation,
            })
        };
        let volume = opened.as_ref().map(|opened| &opened.volume);
        let protectors: Vec<_> = volume
            .into_iter()
            .flat_map(Volume::protectors)
            .filter_map(explain_protector)
            .collect();
        if let Some(volume) = volume
            && protectors.is_empty()
        {
            volume.metadata()?;
            return Err(Failure::Other {
                status: Status::Refused,
                what: "the volume has no TPM key protector".to_owned(),
                help: Some("'fve info' lists its key protectors".to_owned()),
            });
        }
        Ok(Self {
            place: tpm.place(),
            lockout: tpm.lockout(),
            srk_name: tpm.srk_name(),
            description: tpm.description().ok().flatten(),
            event_log,
            protectors,
        })
    }

    fn text(&self, long: bool) -> String {
        let mut text = format!("TPM: {}\n", self.place);
        if let Some(found) = &self.description {
            let [high, low] = found.firmware;
            line(
                &mut text,
                format_args!(
                    "  Manufacturer: {} {}; firmware {high:#x} {low:#x}",
                    found.manufacturer, found.vendor
                ),
            );
            let banks: Vec<_> = found.banks.iter().map(|bank| bank.name()).collect();
            line(&mut text, format_args!("  PCR banks: {}", banks.join(", ")));
        }
        match &self.lockout {
            Ok(Some(lockout)) => {
                let state = if lockout.locked {
                    "locked"
                } else {
                    "not locked"
                };
                line(
                    &mut text,
                    format_args!("  Lockout: {state}; {}", tries_left(lockout)),
                );
            }
            Ok(None) => {}
            Err(error) => line(&mut text, format_args!("  Lockout: {error}")),
        }
        match &self.srk_name {
            Ok(Some(name)) => line(&mut text, format_args!("  Storage root key: {}", hex(name))),
            Ok(None) => {}
            Err(TpmError::NoSrk) => line(
                &mut text,
                format_args!(
                    "  Storage root key: none: Windows never used this TPM, or it was cleared; 'fve protector add --tpm --tpm-create-srk' creates one"
                ),
            ),
            Err(error) => line(&mut text, format_args!("  Storage root key: {error}")),
        }
        if long && let Err(why) = &self.event_log {
            line(
                &mut text,
                format_args!("  Event log: {}", term::escaped(why)),
            );
        }
        for explained in &self.protectors {
            line(
                &mut text,
                format_args!("\n{} {{{}}}", explained.name, explained.id),
            );
            line(
                &mut text,
                format_args!("  {}", sentence(&explained.explanation.release)),
            );
            if long {
                explained.write(&mut text);
            }
        }
        text
    }

    fn json(&self) -> String {
        let lockout = self.lockout.as_ref().ok().and_then(Option::as_ref);
        let reason = |error: &TpmError| error.reason().word();
        documents::document(&json!({
            "tpm": {
                "place": self.place,
                "reachable": self.lockout.is_ok(),
                "reason": self.lockout.as_ref().err().map(reason),
                "message": self.lockout.as_ref().err().map(ToString::to_string),
                "locked": lockout.map(|lockout| lockout.locked),
                "failures": lockout.map(|lockout| lockout.failures),
                "max_failures": lockout.map(|lockout| lockout.max_failures),
                "lockout_interval": lockout.map(|lockout| lockout.interval),
                "lockout_recovery": lockout.map(|lockout| lockout.recovery),
                "manufacturer": self.description.as_ref().map(|found| &found.manufacturer),
                "vendor": self.description.as_ref().map(|found| &found.vendor),
                "firmware": self.description.as_ref().map(|found| found.firmware),
                "banks": self.description.as_ref().map(|found| {
                    found.banks.iter().map(|bank| bank.word()).collect::<Vec<_>>()
                }),
                "srk_reason": self.srk_name.as_ref().err().map(reason),
                "srk_name": self.srk_name.as_ref().ok().and_then(|name| name.as_ref().map(|name| hex(name))),
            },
            "event_log": self.event_log.is_ok(),
            "event_log_fault": self.event_log.as_ref().err(),
            "protectors": self.protectors.iter().map(ExplainedProtector::json).collect::<Vec<_>>(),
        }))
    }
}

impl ExplainedProtector {
    fn write(&self, text: &mut String) {
        let found = &self.explanation;
        let bank = found.policy.map_or("unknown", |policy| policy.bank.name());
        line(
            text,
            format_args!("  Bound to PCRs {} of the {bank} bank:", list(&self.pcrs)),
        );
        for pcr in &self.pcrs {
            let value = found.values.as_ref().and_then(|values| values.get(pcr));
            let value = value.map_or("unknown".to_owned(), |value| hex(value));
            line(
                text,
                format_args!("    {pcr:>2}  {value}  {}", meaning(*pcr)),
            );
        }
        if let Some(expected) = &found.expected {
            line(text, format_args!("  Digest sealed to: {}", hex(expected)));
        }
        if let Some(actual) = &found.actual {
            line(text, format_args!("  Digest now:       {}", hex(actual)));
        }
        for note in self.notes() {
            line(text, format_args!("  {note}"));
        }
        if self.refused_by_pcrs() && !found.events.is_empty() {
            line(
                text,
                format_args!("  Events of this boot in these PCRs, from the event log:"),
            );
            for event in &found.events {
                line(
                    text,
                    format_args!(
                        "    {:>2}  {}  {}",
                        event.pcr,
                        event.kind.unwrap_or("-"),
                        term::escaped(&event.text)
                    ),
                );
            }
        }
    }

    fn refused_by_pcrs(&self) -> bool {
        matches!(
            self.explanation.release,
            KeyRelease::PcrMismatch | KeyRelease::OnlyPcr11Differs
        )
    }

    /// Conclusions in sentences.
    fn notes(&self) -> Vec<String> {
        let found = &self.explanation;
        let mut notes = Vec::new();
        if self.bitmaps_differ {
            notes.push(
                "The key protector lists other PCRs than the object sealed to the TPM; those of the sealed object apply."
                    .to_owned(),
            );
        }
        if found.release == KeyRelease::PcrMismatch {
            notes.push("The disk holds only one digest over all these PCRs, so fve cannot tell which of them differ.".to_owned());
        }
        if let Some((_, unaccounted)) = &found.logged
            && !unaccounted.is_empty()
        {
            notes.push(format!(
                "The event log does not explain the values of PCRs {}: they were extended later, or the log is incomplete.",
                list(unaccounted)
            ));
        }
        let signers: Vec<_> = found.signers.iter().map(|signer| signer.name).collect();
        if !signers.is_empty() {
            notes.push(format!(
                "The programs that were started are signed by: {}.",
                signers.join(", ")
            ));
        }
        notes.extend(found.windows.map(forecast));
        if matches!(found.release, KeyRelease::PcrMismatch) {
            notes.push(
                "To unlock the volume now, use another credential, such as the recovery password."
                    .to_owned(),
            );
        }
        notes
    }

    fn json(&self) -> Value {
        let found = &self.explanation;
        let pcrs: Vec<_> = self
            .pcrs
            .iter()
            .map(|pcr| {
                let value = found.values.as_ref().and_then(|values| values.get(pcr));
                json!({
                    "pcr": pcr,
                    "value": value.map(|value| hex(value)),
                    "meaning": meaning(*pcr),
                    "in_event_log": found.logged.as_ref().map(|(accounted, _)| accounted.contains(pcr)),
                })
            })
            .collect();
        json!({
            "id": self.id,
            "type": self.kind,
            "opens": found.release == KeyRelease::Expected,
            "reason": (found.release != KeyRelease::Expected).then(|| found.release.word()),
            "message": sentence(&found.release),
            "only_pcr_11_differs": found.release == KeyRelease::OnlyPcr11Differs,
            "policy_consistent": found.policy.is_some(),
            "bank": found.policy.map(|policy| policy.bank.word()),
            "pcrs": pcrs,
            "expected_digest": found.expected.as_ref().map(|digest| hex(digest)),
            "actual_digest": found.actual.as_ref().map(|digest| hex(digest)),
            "secure_boot": found.secure_boot,
            "signers": found.signers.iter().map(|signer| signer.name).collect::<Vec<_>>(),
            "windows_would_open": match found.windows {
                Some(Forecast::Opens(_)) => Some(true),
                Some(_) => Some(false),
                None => None,
            },
            "events": found.events.iter().map(|event| json!({
                "pcr": event.pcr,
                "type": event.kind,
                "text": event.text,
            })).collect::<Vec<_>>(),
            "notes": self.notes(),
        })
    }
}

fn sentence(release: &KeyRelease) -> String {
    match release {
        KeyRelease::Expected => {
            "The TPM would release the key; if the key protector has a PIN, only with the right PIN.".to_owned()
        }
        KeyRelease::OnlyPcr11Differs => "Only PCR 11 differs: it was extended during this boot, for example by a unified kernel image or by systemd's measured boot phases. All other PCRs match.".to_owned(),
        KeyRelease::PcrMismatch => "The TPM refuses: at least one of these PCRs has another value in this boot than the one that the key was sealed to.".to_owned(),
        KeyRelease::UnknownPolicy => "The policy of the sealed object does not match the PCRs and digest stored with it: it is damaged, or of a newer form. The TPM was not used.".to_owned(),
        KeyRelease::Unreadable => "Sealed to a TPM 1.2, or in an unknown form: not supported.".to_owned(),
        KeyRelease::Refused(error) => {
            let text = error.to_string();
            let mut letters = text.chars();
            let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
            format!("{first}{}.", letters.as_str())
        }
        _ => "The TPM was not used.".to_owned(),
    }
}

fn forecast(windows: Forecast) -> String {
    match windows {
        Forecast::Opens(signer) => format!(
            "Windows would get the key if it sealed it: the Secure Boot keys of this computer and the boot manager of Windows ({}) are those that the key was sealed to. Another system was started, so the TPM refuses; nothing is wrong.",
            signer.name
        ),
        Forecast::Refused => "If Windows sealed the key, it would not get it either: the Secure Boot keys or settings have changed since then. Expect Windows to ask for the recovery password as well.".to_owned(),
        Forecast::SecureBootOff => "Secure Boot is off in this boot. If Windows sealed the key, it was on then.".to_owned(),
        _ => "Whether Windows would get the key is unknown.".to_owned(),
    }
}

fn tpm_of(args: &AskArgs) -> Result<Box<dyn Unsealer>, Failure> {
    let named = args.tpm.clone().filter(|tcti| !tcti.is_empty());
    let named = named.or_else(|| std::env::var(ENVIRONMENT).ok());
    let others: Vec<_> = args
        .tpm_recreate_srk
        .then(|| ("tpm-recreate-srk", PathBuf::new()))
        .into_iter()
        .collect();
    let prompt: Arc<dyn Prompt> = Arc::new(Silent);
    Ok(tpm::unsealer(&OptionValues {
        value: named.as_deref().map(Path::new),
        others: &others,
        prompt: Some(&prompt),
        system: None,
    })?)
}

/// Why there is no event log of this boot.
fn no_log(error: &Failure) -> String {
    let kind = match error {
        Failure::Volume(Error::Io { source, .. }) => Some(source.kind()),
        _ => None,
    };
    match kind {
        Some(ErrorKind::NotFound) => format!(
            "none, because {EVENT_LOG} does not exist: there is no TPM, securityfs is not mounted, or the kernel did not get the log, as when GRUB starts it with 'linux' without Secure Boot"
        ),
        Some(ErrorKind::PermissionDenied) => {
            format!("not read, because only root may read {EVENT_LOG}")
        }
        _ => error.message().unwrap_or_default(),
    }
}

fn read_log(path: Option<&Path>) -> Result<EventLog, Failure> {
    let path = path.unwrap_or(Path::new(EVENT_LOG));
    let bytes = file::read(path, "the event log", MAX_LEN)?;
    EventLog::parse(&bytes).map_err(|fault| {
        Failure::from(Error::unsupported(format!(
            "the event log {}: {fault}",
            path.shown()
        )))
    })
}

fn list(pcrs: &[u8]) -> String {
    let words: Vec<_> = pcrs.iter().map(u8::to_string).collect();
    words.join(", ")
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{content}");
}
