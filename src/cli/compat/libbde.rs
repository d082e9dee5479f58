//! bdemount and bdeinfo.

use std::ffi::OsString;
use std::fmt::Write;

use clap::{Args, Command, FromArgMatches};
use fve::format::block::MetadataBlock;
use fve::format::protector::ProtectorKind;
use fve::format::time::FileTime;

use super::dislocker::MOUNT_INSTEAD;
use super::fuse::Mounting;
use super::metadata::source_args;
use super::secret::{self, Secrets};
use super::words::{Form, Given, Takes};
use super::{Call, option, path};
use crate::cli::failure::Failure;
use crate::cli::options::credentials::CredentialArgs;
use crate::cli::options::source;
use crate::cli::output::term::{self, escaped};

/// The letters of the options whose values are secrets.
pub(super) const SECRETS: &[char] = &['k', 'p', 'r'];

pub(super) const MOUNT_FORMS: &[Form] = &[
    ('h', "", Takes::Nothing),
    ('k', "", Takes::Value),
    ('o', "", Takes::Value),
    ('p', "", Takes::Value),
    ('r', "", Takes::Value),
    ('s', "", Takes::Value),
    ('u', "", Takes::Nothing),
    ('v', "", Takes::Nothing),
    ('V', "", Takes::Nothing),
    ('X', "", Takes::Value),
];

/// The same, but for the options of FUSE.
pub(super) const INFO_FORMS: &[Form] = MOUNT_FORMS.split_at(MOUNT_FORMS.len() - 1).0;

/// The arguments for fve of `bdemount … VOLUME MOUNT_POINT`.
pub(super) fn mount(call: &Call<'_>, given: &Given) -> Result<Vec<OsString>, Failure> {
    let credentials = credentials(call, given, MOUNT_INSTEAD)?;
    let all: Vec<_> = given.words.iter().chain(&given.rest).collect();
    let [volume, directory] = all.as_slice() else {
        return Err(call.refused(format!(
            "exactly one volume and one mount point are needed, and {} words were given",
            all.len()
        )));
    };
    let mut mounting = Mounting::default();
    for list in given.values('X') {
        mounting.add_all(list);
    }
    let mut words: Vec<OsString> = ["fve", "mount", "--volume", "--file-name=bde1"]
        .map(Into::into)
        .into();
    words.extend([path(volume), path(directory)]);
    words.extend(credentials);
    words.extend(mounting.options);
    if let Some(offset) = given.value('o') {
        words.push(super::offset(call, offset)?);
    }
    if given.has('u') {
        words.push("--no-prompt".into());
    }
    if given.has('v') || mounting.is_verbose {
        words.extend(["--foreground", "--verbose"].map(Into::into));
        call.say_translated(&words);
    }
    for warning in mounting.warnings {
        call.note(&warning);
    }
    Ok(words)
}

/// The options for the credentials.
fn credentials(call: &Call<'_>, given: &Given, instead: &str) -> Result<Vec<OsString>, Failure> {
    let mut words = Vec::new();
    let mut has_secret = false;
    for (letter, value) in given.last_of_each() {
        let kind = match letter {
            'p' => "password-file",
            'r' => "recovery-password-file",
            'k' => "fvek-file",
            's' => {
                words.extend(value.map(|file| option("startup-key", file)));
                continue;
            }
            _ => continue,
        };
        if let Some(secret) = value {
            let option = match letter {
                'k' => secret::pipe(sector_key(call, &secret.bytes)?, kind)?,
                _ => call.pass_on(secret, letter, kind)?,
            };
            words.push(option);
            has_secret = true;
        }
    }
    if has_secret {
        Secrets::warn(call.name, instead);
    }
    Ok(words)
}

/// The sector key, with the tweak key if one is given that is not zero: bdemount takes zeros for a cipher without one.
fn sector_key<'a>(call: &Call<'_>, digits: &'a [u8]) -> Result<&'a [u8], Failure> {
    let is_hex = |part: &[u8]| part.iter().all(u8::is_ascii_hexdigit);
    let mut parts = digits.splitn(2, |byte| *byte == b':');
    let (key, tweak) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    if !is_hex(key) || !is_hex(tweak) || !matches!(key.len() + tweak.len(), 32 | 64 | 128) {
        return Err(call.refused(
            "the value of -k must be 32, 64 or 128 hex digits, or FVEK:TWEAK with as many in all",
        ));
    }
    Ok(match tweak.iter().all(|digit| *digit == b'0') {
        true => key,
        false => digits,
    })
}

/// Describes the volume as bdeinfo does. It fails if the credentials do not unlock it, after the description.
pub(super) fn info(call: &Call<'_>, given: &Given) -> Result<(), Failure> {
    let instead = "'fve info SOURCE' needs no secret, and 'fve unlock SOURCE' asks for it";
    let words = credentials(call, given, instead)?;
    let all: Vec<_> = given.words.iter().chain(&given.rest).collect();
    let [volume] = all.as_slice() else {
        return Err(call.refused(format!(
            "exactly one volume is needed, and {} words were given",
            all.len()
        )));
    };
    let inputs = given
        .value('s')
        .into_iter()
        .map(|file| (file, "the FILE of -s"));
    call.remember_inputs(inputs.chain([(*volume, "VOLUME")]));
    let source = source_args(volume, given.value('o')).map_err(|problem| call.refused(problem))?;
    let parser = CredentialArgs::augment_args(Command::new("bdeinfo").no_binary_name(true));
    let matches = parser.try_get_matches_from(words);
    let credentials = matches.and_then(|matches| CredentialArgs::from_arg_matches(&matches));
    let credentials = credentials.map_err(|error| Failure::of_command_line(&error))?;
    // bdeinfo asks no questions.
    term::never_ask();
    let opened = source::open(&source).print_notes()?;
    term::print(&text(opened.volume.metadata()?))?;
    credentials.unlock(&opened.volume).map(drop)
}

fn text(block: &MetadataBlock) -> String {
    let mut text = String::from("BitLocker Drive Encryption information:\n");
    let mut lines = vec![
        ("Encryption method\t\t", method(block.dataset.method)),
        ("Volume identifier\t\t", block.dataset.id.to_string()),
        ("Creation time\t\t\t", time(block.dataset.created)),
    ];
    if let Some(description) = block.description() {
        lines.push(("Description\t\t\t", escaped(description)));
    }
    let protectors: Vec<_> = block.protectors().collect();
    lines.push(("Number of key protectors\t", protectors.len().to_string()));
    for (name, value) in lines {
        let _ = writeln!(text, "\t{name}: {value}");
    }
    text.push('\n');
    for (number, protector) in protectors.iter().enumerate() {
        let _ = writeln!(text, "Key protector {number}:");
        let _ = writeln!(text, "\tIdentifier\t\t\t: {}", protector.id);
        let _ = writeln!(text, "\tType\t\t\t\t: {}\n", kind(protector.kind()));
    }
    text
}

fn method(code: u16) -> String {
    let name = match code {
        0x8000 => "AES-CBC 128-bit with Diffuser",
        0x8001 => "AES-CBC 256-bit with Diffuser",
        0x8002 => "AES-CBC 128-bit",
        0x8003 => "AES-CBC 256-bit",
        0x8004 => "AES-XTS 128-bit",
        0x8005 => "AES-XTS 256-bit",
        _ => return format!("Unknown (0x{code:04x})"),
    };
    name.to_owned()
}

/// The names that bdeinfo has, or the code on disk.
fn kind(kind: ProtectorKind) -> String {
    let code: u16 = match kind {
        ProtectorKind::ClearKey => return "Clear key".to_owned(),
        ProtectorKind::Tpm => return "TPM".to_owned(),
        ProtectorKind::ExternalKey => return "Startup key".to_owned(),
        ProtectorKind::RecoveryPassword => return "Recovery password".to_owned(),
        ProtectorKind::Password => return "Password".to_owned(),
        ProtectorKind::TpmStartupKey => 0x0300,
        ProtectorKind::TpmPin => return "TPM and PIN".to_owned(),
        ProtectorKind::TpmPinStartupKey => 0x0700,
        ProtectorKind::Certificate => 0x1000,
        ProtectorKind::Network => 0x1100,
        ProtectorKind::Identity => 0x4000,
        ProtectorKind::Unknown(code) => code,
        _ => return kind.name().to_owned(),
    };
    format!("Unknown (0x{code:04x})")
}

/// A time as `Nov 21, 2026 06:33:31.180441600 UTC`.
fn time(time: FileTime) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let text = time.to_string();
    let parts = || {
        let (date, clock) = text.strip_suffix('Z')?.split_once('T')?;
        let (year, rest) = date.split_once('-')?;
        let (month, day) = rest.split_once('-')?;
        let month = MONTHS.get(month.parse::<usize>().ok()?.checked_sub(1)?)?;
        let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
        Some(format!("{month} {day}, {year} {clock}.{fraction:0<9} UTC"))
    };
    parts().unwrap_or_else(|| text.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_the_form_of_bdeinfo() {
        // As bdeinfo 20190102 prints it for a volume of the cryptsetup project.
        let time_of_volume = FileTime(132_066_973_151_562_352);
        assert_eq!(time_of_volume.to_string(), "2019-07-04T07:01:55.1562352Z");
        assert_eq!(time(time_of_volume), "Jul 04, 2019 07:01:55.156235200 UTC");
    }
}
