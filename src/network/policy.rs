//! The subnet policy, `bde-network-unlock.ini`: which certificate is served to which addresses.
//!
//! ```ini
//! [SUBNETS]
//! HQ=10.185.250.0/24        ; a name for a subnet
//! LAB=2001:4898:a:2::/64
//! [b44bf9cee0e91c92b027a18dea2d3573bd7f8506]   ; a certificate's thumbprint
//! HQ                        ; served there, and nowhere else
//! ```
//!
//! No section for a certificate, or an empty one: no restriction. `DISABLED` in it: not served.
//!
//! The file is read strictly: whatever is not understood makes the whole file invalid, and a server
//! whose policy is invalid answers nobody. A rule that was dropped could open what it was to close.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};

use crate::network::message::Thumbprint;

/// No policy file is longer: a thousand certificates with a thousand subnets fit.
pub const MAX_FILE: usize = 1 << 20;
/// No line is longer.
const MAX_LINE: usize = 1024;
/// No subnet's name is longer.
const MAX_NAME: usize = 64;

/// A policy file that was understood as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    subnets: Vec<Named>,
    rules: Vec<(Thumbprint, Rule)>,
    remarks: Vec<Remark>,
}

/// A subnet with its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// As the file has it; compared without case.
    pub name: String,
    /// What it stands for.
    pub subnet: Subnet,
}

/// To whom a certificate is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// To every address.
    Everybody,
    /// To nobody: `DISABLED`.
    Nobody,
    /// To addresses in these subnets; there is at least one.
    Only(Vec<Named>),
}

/// An address range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet {
    address: IpAddr,
    prefix: u8,
}

impl Subnet {
    /// Whether `address` lies in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(net), IpAddr::V4(address)) => {
                net.to_bits() == mask4(address, self.prefix).to_bits()
            }
            (IpAddr::V6(net), IpAddr::V6(address)) => {
                net.to_bits() == mask6(address, self.prefix).to_bits()
            }
            _ => false,
        }
    }

    /// Whether it is a range of IPv4 addresses.
    pub fn is_v4(&self) -> bool {
        self.address.is_ipv4()
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

fn mask4(address: Ipv4Addr, prefix: u8) -> Ipv4Addr {
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
    Ipv4Addr::from_bits(address.to_bits() & mask)
}

fn mask6(address: Ipv6Addr, prefix: u8) -> Ipv6Addr {
    let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
    Ipv6Addr::from_bits(address.to_bits() & mask)
}

/// Something in a valid file that may not be meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// Which line, from 1.
    pub line: usize,
    /// What is remarkable; text from the file is escaped.
    pub what: String,
}

/// Why a policy file is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {what}")]
pub struct Invalid {
    /// Which line, from 1.
    pub line: usize,
    /// Which character of it, from 1.
    pub column: usize,
    /// What is wrong; text from the file is escaped.
    pub what: String,
}

impl Policy {
    /// The policy in this file's content.
    pub fn parse(content: &[u8]) -> Result<Self, Invalid> {
        let text = decode(content)?;
        let mut reader = Reader::default();
        for (number, line) in (1..).zip(text.split('\n')) {
            reader.line(Piece::of_line(number, line)?)?;
        }
        reader.finish(text.trim().is_empty())
    }

    /// What holds for a certificate.
    pub fn rule(&self, thumbprint: &Thumbprint) -> &Rule {
        self.rules
            .iter()
            .find(|(found, _)| found == thumbprint)
            .map_or(&Rule::Everybody, |(_, rule)| rule)
    }

    /// Every section for a certificate, in the order of the file.
    pub fn rules(&self) -> &[(Thumbprint, Rule)] {
        &self.rules
    }

    /// Every subnet that has a name.
    pub fn subnets(&self) -> &[Named] {
        &self.subnets
    }

    /// What a person should look at.
    pub fn remarks(&self) -> &[Remark] {
        &self.remarks
    }
}

/// The policy as a file.
impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "[SUBNETS]")?;
        for named in &self.subnets {
            writeln!(f, "{}={}", named.name, named.subnet)?;
        }
        for (thumbprint, rule) in &self.rules {
            writeln!(f, "[{thumbprint}]")?;
            match rule {
                Rule::Everybody => {}
                Rule::Nobody => writeln!(f, "DISABLED")?,
                Rule::Only(subnets) => subnets
                    .iter()
                    .try_for_each(|named| writeln!(f, "{}", named.name))?,
            }
        }
        Ok(())
    }
}

/// The text of the file: UTF-8, or what its byte order mark says.
fn decode(content: &[u8]) -> Result<String, Invalid> {
    let whole = |what: &str| Invalid {
        line: 1,
        column: 1,
        what: what.to_owned(),
    };
    if content.len() > MAX_FILE {
        return Err(whole("the file is longer than a mebibyte"));
    }
    let (encoding, mark) = Encoding::for_bom(content).unwrap_or((UTF_8, 0));
    let content = content.get(mark..).unwrap_or_default();
    let text = if encoding == UTF_8 {
        std::str::from_utf8(content)
            .map_err(|error| {
                let before = content.get(..error.valid_up_to()).unwrap_or_default();
                at_end_of(&String::from_utf8_lossy(before), "not UTF-8")
            })?
            .to_owned()
    } else {
        debug_assert!(encoding == UTF_16LE || encoding == UTF_16BE);
        encoding
            .decode_without_bom_handling_and_without_replacement(content)
            .ok_or_else(|| whole("the file begins like UTF-16 and is not"))?
            .into_owned()
    };
    match text.find('\0') {
        Some(at) => Err(at_end_of(
            text.get(..at).unwrap_or_default(),
            "a NUL character",
        )),
        None => Ok(text),
    }
}

fn at_end_of(before: &str, what: &str) -> Invalid {
    let last = before.rsplit('\n').next().unwrap_or_default();
    Invalid {
        line: before.matches('\n').count() + 1,
        column: last.chars().count() + 1,
        what: what.to_owned(),
    }
}

/// A piece of a line, and where in the line it stands.
#[derive(Clone, Copy)]
struct Piece<'a> {
    line: usize,
    /// Column of its first character, from 1.
    column: usize,
    text: &'a str,
}

impl<'a> Piece<'a> {
    /// A line of the file without its end and its comment.
    fn of_line(number: usize, text: &'a str) -> Result<Self, Invalid> {
        let text = text.strip_suffix('\r').unwrap_or(text);
        let whole = Self {
            line: number,
            column: 1,
            text,
        };
        if text.len() > MAX_LINE {
            return Err(whole.fault("the line is longer than 1024 bytes"));
        }
        let (content, _comment) = text.split_once(';').unwrap_or((text, ""));
        Ok(Self {
            text: content,
            ..whole
        }
        .trimmed())
    }

    fn trimmed(self) -> Self {
        let blank = [' ', '\t'];
        let text = self.text.trim_start_matches(blank);
        // Blanks are characters of one byte.
        let column = self.column + self.text.len() - text.len();
        Self {
            column,
            text: text.trim_end_matches(blank),
            ..self
        }
    }

    /// What is before the first `mark`, and what is behind it.
    fn split_once(self, mark: char) -> Option<(Self, Self)> {
        let (before, behind) = self.text.split_once(mark)?;
        let behind = Self {
            column: self.column + before.chars().count() + 1,
            text: behind,
            ..self
        };
        Some((
            Self {
                text: before,
                ..self
            },
            behind,
        ))
    }

    fn fault(self, what: impl Into<String>) -> Invalid {
        Invalid {
            line: self.line,
            column: self.column,
            what: what.into(),
        }
    }

    /// A fault of the character `at` characters into it.
    fn fault_at(self, at: usize, what: impl Into<String>) -> Invalid {
        Self {
            column: self.column + at,
            ..self
        }
        .fault(what)
    }
}

/// Where in the file the reader is.
#[derive(Clone, Copy)]
enum Section {
    Subnets,
    Certificate(usize),
}

/// A certificate's section while it is read: names are looked up at the end.
struct Draft<'a> {
    thumbprint: Thumbprint,
    header: Piece<'a>,
    names: Vec<Piece<'a>>,
    disabled: bool,
}

#[derive(Default)]
struct Reader<'a> {
    policy: Policy,
    section: Option<Section>,
    seen_subnets: bool,
    drafts: Vec<Draft<'a>>,
}

impl<'a> Reader<'a> {
    fn line(&mut self, line: Piece<'a>) -> Result<(), Invalid> {
        if line.text.is_empty() {
            return Ok(());
        }
        if line.text.starts_with('#') {
            return Err(line.fault("'#' starts no comment here; ';' does"));
        }
        if line.text.starts_with('[') {
            return self.header(line);
        }
        match self.section {
            None => Err(line.fault("a line in front of the first section")),
            Some(Section::Subnets) => self.subnet(line),
            Some(Section::Certificate(at)) => self.entry(at, line),
        }
    }

    fn header(&mut self, line: Piece<'a>) -> Result<(), Invalid> {
        let (_, inner) = line.split_once('[').unwrap_or((line, line));
        let Some((name, behind)) = inner.split_once(']') else {
            return Err(line.fault("the section's name has no ']' behind it"));
        };
        let behind = behind.trimmed();
        if !behind.text.is_empty() {
            return Err(behind.fault("only a comment may stand behind a section's name"));
        }
        if name.text.eq_ignore_ascii_case("SUBNETS") {
            if std::mem::replace(&mut self.seen_subnets, true) {
                return Err(name.fault("the section [SUBNETS] is there twice"));
            }
            self.section = Some(Section::Subnets);
            return Ok(());
        }
        let thumbprint = thumbprint(name)?;
        if self
            .drafts
            .iter()
            .any(|draft| draft.thumbprint == thumbprint)
        {
            return Err(name.fault(format!("the section [{thumbprint}] is there twice")));
        }
        self.section = Some(Section::Certificate(self.drafts.len()));
        self.drafts.push(Draft {
            thumbprint,
            header: name,
            names: Vec::new(),
            disabled: false,
        });
        Ok(())
    }

    fn subnet(&mut self, line: Piece<'a>) -> Result<(), Invalid> {
        let Some((name, range)) = line.split_once('=') else {
            return Err(line.fault("a subnet is written NAME=ADDRESS/PREFIX"));
        };
        let (name, range) = (name.trimmed(), range.trimmed());
        check_name(name)?;
        if reserved(name.text) {
            return Err(name.fault(format!("{} cannot be the name of a subnet", name.text)));
        }
        if self.find(name.text).is_some() {
            return Err(name.fault(format!("the subnet {} is there twice", name.text)));
        }
        let subnet = self.range(range)?;
        self.policy.subnets.push(Named {
            name: name.text.to_owned(),
            subnet,
        });
        Ok(())
    }

    fn range(&mut self, range: Piece<'a>) -> Result<Subnet, Invalid> {
        let (address, prefix) = match range.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (range, None),
        };
        // The standard library takes neither leading zeros nor a zone.
        let parsed: IpAddr = address.text.parse().map_err(|_| {
            address.fault("not an address; a subnet is written as 10.0.0.0/24 or 2001:db8::/64")
        })?;
        if let IpAddr::V6(v6) = parsed
            && v6.to_ipv4_mapped().is_some()
        {
            return Err(address.fault("an IPv4 address in IPv6 form; write it as IPv4"));
        }
        let longest = if parsed.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix_length(prefix, longest)?,
            None => {
                self.remark(
                    range,
                    format!("an address alone: only {parsed} itself is meant, as with /{longest}"),
                );
                longest
            }
        };
        let masked = match parsed {
            IpAddr::V4(v4) => IpAddr::V4(mask4(v4, prefix)),
            IpAddr::V6(v6) => IpAddr::V6(mask6(v6, prefix)),
        };
        let subnet = Subnet {
            address: masked,
            prefix,
        };
        if masked != parsed {
            self.remark(
                range,
                format!("{parsed}/{prefix} has bits behind its prefix; {subnet} is what it means"),
            );
        }
        Ok(subnet)
    }

    fn entry(&mut self, at: usize, line: Piece<'a>) -> Result<(), Invalid> {
        if line.text.contains('=') {
            return Err(line.fault(
                "a certificate's section lists names of subnets, without '='; the subnets themselves belong under [SUBNETS]",
            ));
        }
        check_name(line)?;
        if line.text.eq_ignore_ascii_case("ENABLED") {
            return Err(line.fault(
                "ENABLED has no known meaning; a certificate is served unless DISABLED stands here",
            ));
        }
        let Some(draft) = self.drafts.get_mut(at) else {
            return Ok(());
        };
        if line.text.eq_ignore_ascii_case("DISABLED") {
            draft.disabled = true;
        } else {
            draft.names.push(line);
        }
        Ok(())
    }

    fn finish(mut self, empty: bool) -> Result<Policy, Invalid> {
        if empty {
            self.policy.remarks.push(Remark {
                line: 1,
                what: "the file is empty: every certificate is served to everybody".to_owned(),
            });
        }
        for draft in std::mem::take(&mut self.drafts) {
            let mut only = Vec::new();
            for name in &draft.names {
                let Some(named) = self.find(name.text) else {
                    return Err(name.fault(format!(
                        "no subnet under [SUBNETS] has the name {}",
                        name.text
                    )));
                };
                only.push(named.clone());
            }
            let rule = if draft.disabled {
                Rule::Nobody
            } else if only.is_empty() {
                self.remark(
                    draft.header,
                    format!(
                        "the section of {} lists nothing: it is served to everybody",
                        draft.thumbprint
                    ),
                );
                Rule::Everybody
            } else {
                Rule::Only(only)
            };
            self.policy.rules.push((draft.thumbprint, rule));
        }
        self.policy.remarks.sort_by_key(|remark| remark.line);
        Ok(self.policy)
    }

    fn find(&self, name: &str) -> Option<&Named> {
        self.policy
            .subnets
            .iter()
            .find(|named| named.name.eq_ignore_ascii_case(name))
    }

    fn remark(&mut self, place: Piece<'_>, what: String) {
        self.policy.remarks.push(Remark {
            line: place.line,
            what,
        });
    }
}

fn prefix_length(prefix: Piece<'_>, longest: u8) -> Result<u8, Invalid> {
    let plain = prefix.text.bytes().all(|byte| byte.is_ascii_digit())
        && (prefix.text == "0" || !prefix.text.starts_with('0'));
    let length = prefix.text.parse().ok().filter(|_| plain);
    length
        .filter(|length| *length <= longest)
        .ok_or_else(|| prefix.fault(format!("a prefix length here is 0 to {longest}")))
}

/// Words that mean something else in a certificate's section, and thumbprints.
fn reserved(name: &str) -> bool {
    name.eq_ignore_ascii_case("ENABLED")
        || name.eq_ignore_ascii_case("DISABLED")
        || name.parse::<Thumbprint>().is_ok()
}

fn check_name(name: Piece<'_>) -> Result<(), Invalid> {
    if name.text.is_empty() {
        return Err(name.fault("the subnet has no name"));
    }
    let foreign = name
        .text
        .chars()
        .position(|c| !(c.is_ascii_alphanumeric() || "-_.".contains(c)));
    if let Some(at) = foreign {
        let shown: String = name.text.chars().skip(at).take(1).collect();
        return Err(name.fault_at(
            at,
            format!(
                "{} in a subnet's name; letters, digits, '-', '_' and '.' may be",
                described(&shown)
            ),
        ));
    }
    if name.text.len() > MAX_NAME {
        return Err(name.fault("the subnet's name is longer than 64 characters"));
    }
    Ok(())
}

fn thumbprint(name: Piece<'_>) -> Result<Thumbprint, Invalid> {
    if let Ok(thumbprint) = name.text.parse() {
        return Ok(thumbprint);
    }
    let foreign = name.text.chars().position(|c| !c.is_ascii_hexdigit());
    let digits = name.text.chars().filter(char::is_ascii_hexdigit).count();
    match foreign {
        // Mostly digits: a thumbprint was meant.
        Some(at) if digits >= 30 => {
            let shown: String = name.text.chars().skip(at).take(1).collect();
            Err(name.fault_at(
                at,
                format!(
                    "{} in a thumbprint: it is 40 hexadecimal digits with nothing between, before or behind them",
                    described(&shown)
                ),
            ))
        }
        None if digits > 0 => Err(name.fault(format!(
            "a thumbprint has 40 hexadecimal digits, not {digits}"
        ))),
        _ => Err(name
            .fault("an unknown section; there is [SUBNETS], and sections named by a thumbprint")),
    }
}

/// A character as a message may name it.
fn described(character: &str) -> String {
    match character {
        " " => "a blank".to_owned(),
        "\t" => "a tab".to_owned(),
        "\u{200E}" => {
            "the invisible character U+200E, which copying from the certificate dialog of Windows puts there,"
                .to_owned()
        }
        other => match other.chars().next() {
            Some(c) if c.is_ascii_graphic() => format!("'{c}'"),
            Some(c) => format!("the character U+{:04X}", c as u32),
            None => "nothing".to_owned(),
        },
    }
}
