//! Credentials from the command line, from systemd, or typed by the user.
//!
//! A new kind of credential is a file in this directory with its `KIND`, and a line in [`KINDS`].
//! Every command that unlocks a volume has the options of that table.

mod auto_unlock;
#[cfg(feature = "certificates")]
mod certificate;
mod fitting;
mod keyring;
mod kind;
#[cfg(feature = "network")]
pub(crate) mod network;
#[cfg(not(feature = "tpm"))]
mod no_tpm;
mod password;
#[cfg(feature = "certificates")]
mod pkcs11;
mod raw_key;
pub(crate) mod recovery_lookup;
mod recovery_password;
mod startup_key;
pub(crate) mod tpm;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::builder::{OsStringValueParser, TypedValueParser, ValueParser};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, ValueHint};
use fve::error::Error;
use fve::format::protector::ProtectorKind;
use fve::format::selector::ProtectorSelector;
use fve::secret::{KIB, SecretText, leave_nothing};
use fve::unlock::Credential;
use fve::unlock::Suspended;
use fve::unlock::auto_unlock::SystemVolume;
use fve::unlock::key_package;
use fve::volume::system::MAX_HIVE_LEN;
use fve::volume::{Fvek, MasterKey, UnlockOptions, Unlocked, Volume};

use self::kind::Read;
pub(crate) use self::kind::{Addition, CredentialKind, Group, OptionValues};
use crate::cli::advice;
use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::options::file;
use crate::cli::options::parse::parse_bytes;
use crate::cli::options::parse::parse_protector_id;
use crate::cli::options::readable::warn_if_others_can_read;
use crate::cli::options::source;
use crate::cli::options::source::{LostArgs, SourceArgs};
use crate::cli::output::keyboard::Form;
use crate::cli::output::term;

/// Every kind of credential, in the order in which they are tried.
pub(crate) const KINDS: &[CredentialKind] = &[
    recovery_password::KIND,
    recovery_password::KEY,
    recovery_lookup::KIND,
    password::KIND,
    password::FD,
    password::KEY,
    startup_key::KIND,
    tpm::KIND,
    tpm::PAYLOAD,
    #[cfg(feature = "certificates")]
    certificate::KIND,
    #[cfg(feature = "certificates")]
    pkcs11::KIND,
    auto_unlock::KIND,
    #[cfg(feature = "network")]
    network::KIND,
    raw_key::VMK,
    raw_key::FVEK,
];

const PROTECTOR: &str = "protector";
const KEY_PACKAGE: &str = "key-package";

/// The credentials to which a PIN belongs.
const PIN_TAKERS: &[&str] = &["tpm", "tpm-payload", "pkcs11"];

const NO_PROMPT: &str = "no-prompt";
const SYSTEMD_ASK_PASSWORD: &str = "systemd-ask-password";

/// Options whose value is not the path of a file with a secret.
const NO_SECRET_FILES: &[&str] = &[
    auto_unlock::OPTION,
    password::FD_OPTION,
    password::KEY.option,
    recovery_password::KEY.option,
];

/// How many times the user may type a credential.
const TRIES: usize = 3;

/// Words of the stack that are wiped after credentials were read and tried.
const STACK: usize = 256 * KIB;

/// The credential options that a command was given.
#[derive(Debug, Clone, Default)]
pub(crate) struct CredentialArgs {
    /// Index in [`KINDS`] and value of each given credential; `None` for an option without a value.
    given: Vec<(usize, Option<PathBuf>)>,
    /// The other given options, without dashes, and their values.
    additions: Vec<(&'static str, PathBuf)>,
    protector: Option<String>,
    accept_damaged_metadata: bool,
    key_package: Option<PathBuf>,
    /// Whether a PIN was given, but not the TPM that checks it.
    has_lone_pin: bool,
}

impl Args for CredentialArgs {
    fn augment_args(command: Command) -> Command {
        let credentials = KINDS.iter().flat_map(|kind| {
            let option = option(kind.option, kind.group, Some(kind.value), kind.help);
            let option = match kind.read {
                Read::Path(_) => option.value_hint(ValueHint::FilePath),
                Read::Options(_) | Read::Address { .. } => option,
            };
            let option = if kind.value_is_optional {
                option
                    .num_args(0..=1)
                    .require_equals(true)
                    .default_missing_value("")
            } else {
                option
            };
            let additions = kind.additions.iter().map(option_of);
            std::iter::once((kind.group, option)).chain(additions)
        });
        let protector = Arg::new(PROTECTOR)
            .long(PROTECTOR)
            .value_name("ID")
            .value_parser(parse_protector_id)
            .help(
                "Unlock only with this key protector (its GUID, or the first 8 hex digits of it)",
            );
        let key_package = Arg::new(KEY_PACKAGE)
            .long(KEY_PACKAGE)
            .value_name("FILE")
            .value_hint(ValueHint::FilePath)
            .value_parser(ValueParser::path_buf())
            .help("Use the keys in this key package ('fve export key-package') instead of damaged ones on the volume; a credential for them is still needed. Packages from Windows are not yet tested");
        let mut options: Vec<_> = credentials.collect();
        let no_prompt = Arg::new(NO_PROMPT)
            .long(NO_PROMPT)
            .action(ArgAction::SetTrue)
            .help("Never ask on the terminal");
        let agent = Arg::new(SYSTEMD_ASK_PASSWORD)
            .long(SYSTEMD_ASK_PASSWORD)
            .action(ArgAction::SetTrue)
            .conflicts_with(NO_PROMPT)
            .help("Without a terminal, ask through systemd-ask-password(1), so that the boot screen or an agent on the desktop shows the question");
        options.push((Group::Common, in_group(protector, Group::Common)));
        options.push((Group::Common, in_group(no_prompt, Group::Common)));
        options.push((Group::Common, in_group(agent, Group::Common)));
        options.push((Group::Examiner, in_group(key_package, Group::Examiner)));
        // Sections of the help appear in the order of their first options.
        options.sort_by_key(|(group, _)| *group);
        let command = command
            .args(options.into_iter().map(|(_, option)| option))
            .arg(
                Arg::new("accept-damaged-metadata")
                    .long("accept-damaged-metadata")
                    .help("Unlock the volume although the checks fail in every metadata copy, if a credential fits")
                    .action(ArgAction::SetTrue),
            );
        #[cfg(feature = "network")]
        let command = network::check_values(command);
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for CredentialArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut given = Vec::new();
        let mut additions = Vec::new();
        for (number, kind) in KINDS.iter().enumerate() {
            let values = matches.get_many::<OsString>(kind.option);
            given.extend(values.into_iter().flatten().map(|value| {
                let stands_alone = kind.value_is_optional && value.is_empty();
                (number, (!stands_alone).then(|| value.into()))
            }));
            for addition in kind.additions {
                additions.extend(value_of(addition, matches).map(|value| (addition.option, value)));
            }
        }
        let takes_pin = given.iter().any(|(number, _)| {
            let option = KINDS.get(*number).map(|kind| kind.option);
            option.is_some_and(|option| PIN_TAKERS.contains(&option))
        });
        let pin = tpm::PIN_FILE.option;
        Ok(Self {
            has_lone_pin: !takes_pin && additions.iter().any(|(option, _)| *option == pin),
            given,
            additions,
            protector: matches.get_one(PROTECTOR).cloned(),
            accept_damaged_metadata: matches.get_flag("accept-damaged-metadata"),
            key_package: matches.get_one(KEY_PACKAGE).cloned(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl CredentialArgs {
    /// Unlocks the volume with the given credentials; without any, with those from systemd, then with
    /// the clear key, then with what the user types.
    pub(crate) fn unlock(&self, volume: &Volume) -> Result<Unlocked, Failure> {
        let with_package = self.with_key_package(volume)?;
        let volume = with_package.as_ref().unwrap_or(volume);
        let open = |credentials: &[_], options: &_| volume.unlock(credentials, options);
        let unlocked = leave_nothing::<STACK, _>(|| self.open_with(volume, &open))?;
        warn(unlocked.warnings());
        Ok(unlocked)
    }

    /// The same, with the FVEK of the volume, if it has one.
    pub(crate) fn unlock_keeping_fvek(
        &self,
        volume: &Volume,
    ) -> Result<(Unlocked, Option<Fvek>), Failure> {
        let with_package = self.with_key_package(volume)?;
        let volume = with_package.as_ref().unwrap_or(volume);
        let open =
            |credentials: &[_], options: &_| volume.unlock_keeping_fvek(credentials, options);
        let (unlocked, fvek) = leave_nothing::<STACK, _>(|| self.open_with(volume, &open))?;
        warn(unlocked.warnings());
        Ok((unlocked, fvek))
    }

    /// The same for the volume master key alone.
    pub(crate) fn unlock_master_key(&self, volume: &Volume) -> Result<MasterKey, Failure> {
        let with_package = self.with_key_package(volume)?;
        let volume = with_package.as_ref().unwrap_or(volume);
        let open = |credentials: &[_], options: &_| volume.unlock_master_key(credentials, options);
        let key = leave_nothing::<STACK, _>(|| self.open_with(volume, &open))?;
        warn(key.warnings());
        Ok(key)
    }

    /// The volume with the keys of the key package; `None` if no package was given.
    pub(crate) fn with_key_package(&self, volume: &Volume) -> Result<Option<Volume>, Failure> {
        let Some(path) = &self.key_package else {
            return Ok(None);
        };
        let package = key_package::read(path)?;
        Ok(Some(volume.with_key_package(package)?))
    }

    /// Unlocks the volume as [`Self::unlock`] does, but without asking the user. `None` where no
    /// credential was given and the volume has no clear key.
    pub(crate) fn unlock_unasked(&self, volume: &Volume) -> Result<Option<Unlocked>, Failure> {
        let open = |credentials: &[_], options: &_| volume.unlock(credentials, options);
        let options = self.options()?;
        let unlocked = leave_nothing::<STACK, _>(|| self.open_unasked(volume, &options, &open))?;
        if let Some(unlocked) = &unlocked {
            warn(unlocked.warnings());
        }
        Ok(unlocked)
    }

    /// How to unlock: which key protectors are tried, and whether damaged metadata is accepted.
    pub(crate) fn options(&self) -> Result<UnlockOptions, Failure> {
        let options = UnlockOptions::new().accept_damaged_metadata(self.accept_damaged_metadata);
        let Some(name) = &self.protector else {
            return Ok(options);
        };
        let selector: ProtectorSelector = name.parse().map_err(|error| Failure::Other {
            status: Status::Usage,
            what: format!("--protector: {error}"),
            help: Some("'fve info' shows the ID of each key protector".to_owned()),
        })?;
        Ok(options.protector(selector))
    }

    fn open_with<T>(&self, volume: &Volume, open: Open<'_, T>) -> Result<T, Failure> {
        let options = self.options()?;
        match self.open_unasked(volume, &options, open) {
            Ok(Some(opened)) => return Ok(opened),
            Ok(None) => {}
            Err(Failure::Volume(error @ Error::Refused { .. })) if self.has_only_network() => {
                return self.fail_over(volume, &options, open, error);
            }
            Err(error) => return Err(error),
        }
        Ok(
            if term::can_ask_secret() && volume.metadata_as_found().is_some() {
                ask(volume, &options, open)?
            } else {
                open(&[], &options).map_err(failed)?
            },
        )
    }

    fn open_unasked<T>(
        &self,
        volume: &Volume,
        options: &UnlockOptions,
        open: Open<'_, T>,
    ) -> Result<Option<T>, Failure> {
        let given = self.read_given()?;
        Ok(if !given.is_empty() || !volume.needs_key() {
            Some(open(&given, options).map_err(failed)?)
        } else if has_clear_key(volume, options) {
            term::note(
                "protection is suspended: the key is stored unencrypted on the disk, and anyone can read this volume",
            );
            Some(open(&[Box::new(Suspended)], options)?)
        } else {
            None
        })
    }

    /// Whether a credential is on standard input or in a file descriptor, where it can be read only once.
    pub(crate) fn can_be_read_once(&self) -> bool {
        let is_stdin = |path: &Path| path == Path::new("-");
        self.given.iter().any(|(number, value)| {
            let kind = KINDS.get(*number);
            kind.is_some_and(|kind| kind.option == password::FD_OPTION)
                || value.as_deref().is_some_and(is_stdin)
        }) || self.additions.iter().any(|(_, value)| is_stdin(value))
    }

    /// Whether Network Unlock is the only given credential, so that other credentials may be tried if
    /// no server answers.
    fn has_only_network(&self) -> bool {
        let kinds = self.given.iter().map(|(number, _)| KINDS.get(*number));
        !self.given.is_empty() && kinds.flatten().all(|kind| kind.option == "network-unlock")
    }

    /// Unlocks the volume with the credentials from systemd, else with what the user types, as Windows
    /// does when no server answers. Returns `error` if there is neither.
    fn fail_over<T>(
        &self,
        volume: &Volume,
        options: &UnlockOptions,
        open: Open<'_, T>,
        error: Error,
    ) -> Result<T, Failure> {
        let others = from_systemd(&self.others())?;
        let asked = term::can_ask_secret() && !typed_kinds(volume, options).is_empty();
        if others.is_empty() && !asked {
            return Err(error.into());
        }
        term::note(error.with_causes());
        if !others.is_empty() {
            return Ok(open(&others, options)?);
        }
        ask(volume, options, open)
    }

    /// The given credentials in the order of the table; without any, those from systemd.
    pub(crate) fn read_given(&self) -> Result<Vec<Box<dyn Credential>>, Failure> {
        let stdin = self
            .given
            .iter()
            .map(|(_, value)| value.as_deref())
            .chain(
                self.additions
                    .iter()
                    .map(|(_, value)| Some(value.as_path())),
            )
            .filter(|value| *value == Some(Path::new("-")))
            .count();
        if stdin > 1 {
            return Err(Failure::usage(
                "only one credential can come from standard input",
            ));
        }
        if self.has_lone_pin {
            return Err(Failure::Other {
                status: Status::Usage,
                what: "--pin-file has no effect without the TPM or token that the PIN is for"
                    .to_owned(),
                help: Some("give --tpm or --pkcs11, too".to_owned()),
            });
        }
        let others = self.others();
        let system = self.system_volume()?;
        let mut credentials = Vec::new();
        for (number, value) in &self.given {
            // With a system volume, all other credentials belong to that one.
            let is_for_source =
                |kind: &&CredentialKind| system.is_none() || kind.option == auto_unlock::OPTION;
            if let Some(kind) = KINDS.get(*number).filter(is_for_source) {
                if kind.option == password::FD_OPTION && !password::is_descriptor(value.as_deref())
                {
                    return Err(Failure::usage(format!(
                        "--{} needs the number of an open file descriptor",
                        kind.option
                    )));
                }
                if let Some(path) = value
                    && !NO_SECRET_FILES.contains(&kind.option)
                {
                    warn_if_others_can_read(path);
                }
                let value = or_environment(kind, value.clone());
                let prompt = term::prompt();
                let values = OptionValues {
                    value: value.as_deref(),
                    others: &others,
                    prompt: Some(&prompt),
                    system: system.as_ref(),
                };
                kind.check(&values).map_err(malformed)?;
                credentials.push(kind.build(&values)?);
            }
        }
        if credentials.is_empty() {
            credentials = from_systemd(&others)?;
        }
        Ok(credentials)
    }

    /// Unlocks the system volume with all other credentials, and reads the keys of its data volumes.
    /// `None` if no system volume was given.
    fn system_volume(&self) -> Result<Option<SystemVolume>, Failure> {
        let Some(path) =
            self.given_for(auto_unlock::OPTION, |given| given.value.map(Path::to_owned))
        else {
            return Ok(None);
        };
        let mut own = self.without(auto_unlock::OPTION);
        own.protector = None;
        own.key_package = None;
        let partition = self.addition(auto_unlock::PARTITION, |text| text.parse().ok())?;
        let offset = self.addition(auto_unlock::OFFSET, |text| parse_bytes(text).ok())?;
        let system = SourceArgs {
            source: path.unwrap_or_default(),
            offset,
            partition,
            rescue_map: None,
            lost: LostArgs::default(),
        };
        let volume = source::open(&system).print_notes()?.volume;
        let key = own.unlock_master_key(&volume)?;
        let others = self.others();
        let hive = others
            .iter()
            .find(|(option, _)| *option == auto_unlock::HIVE);
        let hive = match hive {
            Some((_, path)) => file::read(path, "the hive", MAX_HIVE_LEN)?,
            None => volume.system_hive(&key, &own.options()?)?,
        };
        let key = volume.auto_unlock_key(&key)?;
        Ok(Some(SystemVolume { key, hive }))
    }

    /// The value of an option, parsed by `read`.
    fn addition<T>(
        &self,
        option: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Failure> {
        let mut additions = self.additions.iter();
        let Some((_, value)) = additions.find(|(name, _)| *name == option) else {
            return Ok(None);
        };
        match value.to_str().and_then(read) {
            Some(value) => Ok(Some(value)),
            None => Err(Failure::usage(format!("--{option} needs a number"))),
        }
    }

    /// As if only this option were given.
    pub(crate) fn only(option: &str, value: Option<PathBuf>) -> Self {
        let number = KINDS.iter().position(|kind| kind.option == option);
        Self {
            given: number.map(|number| (number, value)).into_iter().collect(),
            ..Self::default()
        }
    }

    /// The same with another option, if `value` is not `None`.
    #[cfg(feature = "network")]
    pub(crate) fn and(mut self, addition: &'static str, value: Option<PathBuf>) -> Self {
        self.additions.extend(value.map(|value| (addition, value)));
        self
    }

    /// The same without one option, for commands that use it for another purpose.
    pub(crate) fn without(&self, option: &str) -> Self {
        let mut rest = self.clone();
        rest.given
            .retain(|(number, _)| KINDS.get(*number).is_some_and(|kind| kind.option != option));
        rest
    }

    /// Calls `make` with everything that was given for an option; `None` if the option was not given.
    pub(crate) fn given_for<T>(
        &self,
        option: &str,
        make: impl FnOnce(&OptionValues<'_>) -> T,
    ) -> Option<T> {
        let mut given = self.given.iter();
        let (kind, value) = given.find_map(|(number, value)| {
            let kind = KINDS.get(*number)?;
            (kind.option == option).then_some((kind, value))
        })?;
        let value = or_environment(kind, value.clone());
        Some(make(&OptionValues {
            value: value.as_deref(),
            others: &self.others(),
            prompt: Some(&term::prompt()),
            system: None,
        }))
    }

    /// All given options with their values, and those from systemd: what a credential may use besides
    /// its own value.
    fn others(&self) -> Vec<(&'static str, PathBuf)> {
        let mut others = self.additions.clone();
        for (_, path) in &others {
            warn_if_others_can_read(path);
        }
        for addition in KINDS.iter().flat_map(|kind| kind.additions) {
            let path = systemd_file(addition.systemd);
            let given = others.iter().any(|(option, _)| *option == addition.option);
            others.extend(path.filter(|_| !given).map(|path| (addition.option, path)));
        }
        others.extend(self.given.iter().filter_map(|(number, value)| {
            let kind = KINDS.get(*number)?;
            let value = or_environment(kind, value.clone());
            // An empty value stands for an option without a value.
            Some((kind.option, value.unwrap_or_default()))
        }));
        others
    }
}

/// The options for credentials that unlock a kind of key protector.
pub(crate) fn options_for(kind: ProtectorKind) -> Vec<String> {
    KINDS
        .iter()
        .filter(|credential| credential.opens.contains(&kind))
        .map(|credential| format!("--{}", credential.option))
        .collect()
}

/// A failure to unlock. If no credential was given, it names the options to use.
fn failed(error: Error) -> Failure {
    let Error::NothingToTry { accepts, .. } = &error else {
        return error.into();
    };
    let mut words = Vec::new();
    for kind in accepts {
        let mut options = options_for(*kind);
        if options.is_empty() {
            options.push(kind.name().to_owned());
        }
        for option in options {
            if !words.contains(&option) {
                words.push(option);
            }
        }
    }
    if words.is_empty() {
        words.push("nothing, since it has no key protector".to_owned());
    }
    Failure::Other {
        status: Status::Refused,
        what: format!(
            "no matching credential was given; the volume accepts: {}",
            words.join(", ")
        ),
        help: error.remedy().as_ref().map(advice::words),
    }
}

/// The failure for an option whose value does not have the form that it must have.
fn malformed(error: Error) -> Failure {
    Failure::Other {
        status: Status::Usage,
        what: error.with_causes().to_string(),
        help: error.remedy().as_ref().map(advice::words),
    }
}

/// Whether the command was given `--no-prompt`.
pub(crate) fn forbids_asking(matches: &ArgMatches) -> bool {
    is_given(matches, NO_PROMPT)
}

/// Whether the command was given `--systemd-ask-password`.
pub(crate) fn asks_agents(matches: &ArgMatches) -> bool {
    is_given(matches, SYSTEMD_ASK_PASSWORD)
}

fn is_given(matches: &ArgMatches, flag: &str) -> bool {
    let own = matches.try_get_one::<bool>(flag).ok().flatten();
    own.is_some_and(|given| *given)
        || matches
            .subcommand()
            .is_some_and(|(_, inner)| is_given(inner, flag))
}

/// Whether an option, by its name without dashes, gives a credential or belongs to one.
pub(crate) fn is_credential(name: &str) -> bool {
    let mut additions = KINDS.iter().flat_map(|kind| kind.additions);
    name == PROTECTOR
        || name == KEY_PACKAGE
        || KINDS.iter().any(|kind| kind.option == name)
        || additions.any(|addition| addition.option == name)
}

/// Puts an option into its section of the help. Only the first section is in the short help.
fn in_group(option: Arg, group: Group) -> Arg {
    option
        .help_heading(group.heading())
        .hide_short_help(group != Group::Common)
}

fn option_of(addition: &Addition) -> (Group, Arg) {
    let Addition {
        option: name,
        group,
        value,
        help,
        ..
    } = *addition;
    (group, option(name, group, value, help))
}

/// One option of a credential.
fn option(
    name: &'static str,
    group: Group,
    value: Option<&'static str>,
    help: &'static str,
) -> Arg {
    let option = in_group(Arg::new(name).long(name).help(help), group);
    match value {
        None => option.action(ArgAction::SetTrue),
        Some(value) => option
            .value_name(value)
            .action(ArgAction::Append)
            .value_parser(parser_of(name)),
    }
}

/// How the value of an option is checked, before anything is read.
fn parser_of(option: &str) -> ValueParser {
    let checked = |check: fn(OsString) -> Result<OsString, String>| {
        ValueParser::new(OsStringValueParser::new().try_map(check))
    };
    match option {
        name if name == recovery_lookup::KIND.option => checked(recovery_lookup::checked_place),
        name if name == recovery_lookup::TIMEOUT.option => {
            checked(recovery_lookup::checked_timeout)
        }
        _ => ValueParser::os_string(),
    }
}

fn value_of(addition: &Addition, matches: &ArgMatches) -> Option<PathBuf> {
    match addition.value {
        Some(_) => matches
            .get_one::<OsString>(addition.option)
            .map(PathBuf::from),
        None => matches.get_flag(addition.option).then(PathBuf::new),
    }
}

/// The value of an option, or that of its environment variable.
fn or_environment(kind: &CredentialKind, value: Option<PathBuf>) -> Option<PathBuf> {
    let name = kind.environment;
    value.or_else(|| name.and_then(std::env::var_os).map(PathBuf::from))
}

/// A function that unlocks the volume with some credentials.
type Open<'a, T> = &'a dyn Fn(&[Box<dyn Credential>], &UnlockOptions) -> Result<T, Error>;

fn warn(warnings: &[String]) {
    for warning in warnings {
        term::note(format_args!("warning: {}", term::escaped(warning)));
    }
}

/// The credentials in `$CREDENTIALS_DIRECTORY`, from the service manager. A file that belongs to a
/// credential implies that credential: a PIN implies the TPM.
fn from_systemd(others: &[(&'static str, PathBuf)]) -> Result<Vec<Box<dyn Credential>>, Failure> {
    let mut credentials = Vec::new();
    for kind in KINDS {
        let path = systemd_file(kind.systemd);
        let mut additions = kind.additions.iter();
        let is_implied = additions.any(|addition| systemd_file(addition.systemd).is_some());
        if path.is_some() || is_implied {
            let value = or_environment(kind, path);
            credentials.push(kind.build(&OptionValues {
                value: value.as_deref(),
                others,
                prompt: None,
                system: None,
            })?);
        }
    }
    Ok(credentials)
}

/// The path of a file in `$CREDENTIALS_DIRECTORY`, if it exists.
fn systemd_file(name: Option<&str>) -> Option<PathBuf> {
    let directory = std::env::var_os("CREDENTIALS_DIRECTORY")?;
    let path = Path::new(&directory).join(name?);
    path.exists().then_some(path)
}

fn has_clear_key(volume: &Volume, options: &UnlockOptions) -> bool {
    volume
        .protectors()
        .into_iter()
        .any(|protector| protector.kind() == ProtectorKind::ClearKey && options.allows(protector))
}

/// Asks the user until the volume is unlocked, at most [`TRIES`] times.
fn ask<T>(volume: &Volume, options: &UnlockOptions, open: Open<'_, T>) -> Result<T, Failure> {
    let typed = typed_kinds(volume, options);
    if typed.is_empty() {
        return open(&[], options).map_err(failed);
    }
    let question = question(&typed, volume, options);
    let form = form(&typed);
    // What is typed while a key is stretched must not be shown, and answers no question.
    let silence = term::silence()?;
    let mut tries = 1;
    loop {
        if let Some(silence) = &silence {
            silence.discard();
        }
        let answer = term::ask_for(&question, form)?;
        let failure = match credentials_typed(&typed, &answer) {
            Ok(credentials) => match open(&credentials, options) {
                Ok(opened) => return Ok(opened),
                Err(error @ Error::Refused { .. }) => error,
                Err(error) => return Err(error.into()),
            },
            Err(error) => error,
        };
        let pin = looks_like_pin(&answer, volume, options).then_some(PIN_NEEDS_TPM);
        if tries == TRIES {
            return Err(match pin {
                Some(pin) => Failure::Other {
                    status: (&failure).into(),
                    what: failure.with_causes().to_string(),
                    help: Some(pin.to_owned()),
                },
                None => failure.into(),
            });
        }
        tries += 1;
        term::say(failure.with_causes());
        if let Some(pin) = pin {
            term::say(format_args!("help: {pin}"));
        }
        term::say("");
    }
}

const PIN_NEEDS_TPM: &str =
    "this looks like a PIN, which only the TPM of the computer can check: give --tpm";

/// Whether the user typed the PIN of a key protector that the TPM has to unlock.
fn looks_like_pin(answer: &SecretText, volume: &Volume, options: &UnlockOptions) -> bool {
    /// Lengths that Windows allows.
    const LENGTHS: std::ops::RangeInclusive<usize> = 4..=20;
    let answer = answer.expose();
    let takes_pin = |kind| {
        matches!(
            kind,
            ProtectorKind::TpmPin | ProtectorKind::TpmPinStartupKey
        )
    };
    LENGTHS.contains(&answer.len())
        && answer.bytes().all(|byte| byte.is_ascii_digit())
        && volume
            .protectors()
            .into_iter()
            .any(|protector| takes_pin(protector.kind()) && options.allows(protector))
}

/// The form of what can be typed: where a recovery password can be, its blocks are checked while
/// they are typed.
fn form(typed: &[&CredentialKind]) -> Form {
    let takes_digits =
        |kind: &&CredentialKind| kind.opens.contains(&ProtectorKind::RecoveryPassword);
    let digits = typed.iter().filter(|kind| takes_digits(kind)).count();
    match (digits, typed.len()) {
        (0, _) => Form::Text,
        (some, all) if some == all => Form::Digits,
        _ => Form::TextOrDigits,
    }
}

/// The kinds of credential that the volume accepts and that can be typed.
fn typed_kinds(volume: &Volume, options: &UnlockOptions) -> Vec<&'static CredentialKind> {
    let protectors = volume.protectors();
    let taken = |kind: &&CredentialKind| {
        kind.typed.is_some()
            && protectors.iter().any(|protector| {
                kind.opens.contains(&protector.kind()) && options.allows(protector)
            })
    };
    KINDS.iter().filter(taken).collect()
}

/// The prompt for a credential, such as `Recovery password (key ID 64311DEA), 48 digits: ` or `Recovery password (key ID 64311DEA) or password of volume
/// 8F595209: `. A printout of the recovery password shows the key ID, not that of the volume.
fn question(typed: &[&CredentialKind], volume: &Volume, options: &UnlockOptions) -> String {
    let key_ids: Vec<_> = volume
        .protectors()
        .into_iter()
        .filter(|protector| {
            protector.kind() == ProtectorKind::RecoveryPassword && options.allows(protector)
        })
        .map(|protector| protector.id.short())
        .collect();
    let word = |kind: &&CredentialKind| {
        let word = kind.option.trim_end_matches("-file").replace('-', " ");
        match kind.opens.contains(&ProtectorKind::RecoveryPassword) {
            true => format!("{word} (key ID {})", key_ids.join(" or ")),
            false => word,
        }
    };
    if form(typed) == Form::Digits {
        let key_ids = key_ids.join(" or ");
        return format!("Recovery password (key ID {key_ids}), 48 digits: ");
    }
    let words: Vec<_> = typed.iter().map(word).collect();
    let words = words.join(" or ");
    let id = volume
        .metadata_as_found()
        .map(|block| block.dataset.id.short())
        .unwrap_or_default();
    let mut letters = words.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    format!(
        "{}{} of volume {id}: ",
        first.collect::<String>(),
        letters.as_str()
    )
}

/// The typed text as every kind of credential that it can be. If it can be none, the error of the
/// kind with the strictest form.
fn credentials_typed(
    typed: &[&CredentialKind],
    answer: &SecretText,
) -> Result<Vec<Box<dyn Credential>>, Error> {
    let mut credentials = Vec::new();
    let mut problem = None;
    for build in typed.iter().filter_map(|kind| kind.typed) {
        match build(answer) {
            Ok(credential) => credentials.push(credential),
            Err(error) => problem = problem.or(Some(error)),
        }
    }
    match problem {
        Some(error) if credentials.is_empty() || is_mostly_digits(answer) => Err(error),
        _ => Ok(credentials),
    }
}

/// Whether the user meant to type a recovery password. Then its defect is reported, instead of a wrong
/// password.
fn is_mostly_digits(answer: &SecretText) -> bool {
    /// Half of the digits of a recovery password.
    const ENOUGH: usize = 24;
    let text = answer.expose();
    text.chars().filter(char::is_ascii_digit).count() >= ENOUGH
        && !text.chars().any(char::is_alphabetic)
}
