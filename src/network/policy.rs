//! The policy file, `bde-network-unlock.ini`: which certificate is served to which subnets.
//!
//! ```ini
//! [SUBNETS]
//! HQ=10.185.250.0/24        ; a name for a subnet
//! LAB=2001:4898:a:2::/64
//! CORE=2001:4898:a:1::1/128
//! [b44bf9cee0e91c92b027a18dea2d3573bd7f8506]   ; a certificate's thumbprint
//! HQ                        ; served to this subnet only
//! [RELAYS]                  ; not known to Windows
//! CORE                      ; DHCPv6 relays in this subnet are believed
//! ```
//!
//! A certificate without a section, or with an empty one, is served to every address. A certificate
//! whose section has a line `DISABLED` is not served.
//!
//! The parser is strict: a line that it does not understand makes the whole file invalid, and with an
//! invalid policy the server answers nothing. If it ignored such a line, a certificate might be
//! served to addresses that the line was to exclude.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};

use crate::network::message::Thumbprint;

/// The longest policy file that is read, in bytes. A thousand certificates with a thousand subnets
/// fit.
pub const MAX_FILE: usize = 1 << 20;
/// The longest line, in bytes.
const MAX_LINE: usize = 1024;
/// The longest name of a subnet, in bytes.
const MAX_NAME: usize = 64;
/// The section that names the relays to believe.
const RELAYS: &str = "RELAYS";

/// A valid policy file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    subnets: Vec<NamedSubnet>,
    rules: Vec<(Thumbprint, Rule)>,
    relays: Vec<NamedSubnet>,
    remarks: Vec<Remark>,
}

/// A subnet with its name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NamedSubnet {
    /// The name as written in the file. Names are compared without case.
    pub name: String,
    /// The address range.
    pub subnet: Subnet,
}

/// Which addresses a certificate is served to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// Every address.
    Unrestricted,
    /// None (`DISABLED`).
    Disabled,
    /// The addresses in these subnets. There is at least one.
    Subnets(Vec<NamedSubnet>),
}

impl Rule {
    /// Whether the certificate is served to this address.
    pub fn lists(&self, address: IpAddr) -> bool {
        match self {
            Self::Unrestricted => true,
            Self::Disabled => false,
            Self::Subnets(subnets) => subnets.iter().any(|named| named.subnet.contains(address)),
        }
    }

    /// Whether this is the first or the last address of a listed IPv4 subnet: its broadcast address,
    /// not that of a host (RFC 1122, section 3.2.1.3; RFC 3021 for prefixes of 31 bits).
    pub fn lists_as_broadcast(&self, address: Ipv4Addr) -> bool {
        match self {
            Self::Unrestricted | Self::Disabled => false,
            Self::Subnets(subnets) => subnets
                .iter()
                .any(|named| named.subnet.is_broadcast(address)),
        }
    }
}

/// An address range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet {
    address: IpAddr,
    prefix: u8,
}

impl Subnet {
    /// Whether `address` is in it.
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

    fn is_broadcast(&self, address: Ipv4Addr) -> bool {
        let (IpAddr::V4(net), 0..=30) = (self.address, self.prefix) else {
            return false;
        };
        let last = u32::MAX.checked_shr(self.prefix.into()).unwrap_or(0);
        let number = address.to_bits().wrapping_sub(net.to_bits());
        number == 0 || number == last
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

/// A line of a valid file that may be a mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Remark {
    /// The number of the line, from 1.
    pub line: usize,
    /// What may be wrong. Text from the file is escaped.
    pub what: String,
}

/// Why a policy file is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {what}")]
#[non_exhaustive]
pub struct InvalidPolicy {
    /// The number of the line, from 1.
    pub line: usize,
    /// The number of the character in the line, from 1.
    pub column: usize,
    /// What is wrong. Text from the file is escaped.
    pub what: String,
}

impl Policy {
    /// Parses the content of a policy file.
    ///
    /// # Errors
    /// [`InvalidPolicy`] with the first line that is not understood.
    pub fn parse(content: &[u8]) -> Result<Self, InvalidPolicy> {
        let text = decode(content)?;
        let mut parser = Parser::default();
        for (number, line) in (1..).zip(text.split('\n')) {
            parser.line(Span::from_line(number, line)?)?;
        }
        parser.finish(text.trim().is_empty())
    }

    /// The rule for a certificate.
    pub fn rule(&self, thumbprint: &Thumbprint) -> &Rule {
        self.rules
            .iter()
            .find(|(found, _)| found == thumbprint)
            .map_or(&Rule::Unrestricted, |(_, rule)| rule)
    }

    /// The rules of all certificates that have a section, in the order of the file.
    pub fn rules(&self) -> &[(Thumbprint, Rule)] {
        &self.rules
    }

    /// The subnets in the section `[RELAYS]`: DHCPv6 relays with these addresses are believed about
    /// the networks of their clients, besides those that a certificate's own subnets contain.
    pub fn relays(&self) -> &[NamedSubnet] {
        &self.relays
    }

    /// The subnets in the section `[SUBNETS]`.
    pub fn subnets(&self) -> &[NamedSubnet] {
        &self.subnets
    }

    /// Lines that may be mistakes, in the order of the file.
    pub fn remarks(&self) -> &[Remark] {
        &self.remarks
    }
}

/// The policy in the form of a file, without comments.
impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "[SUBNETS]")?;
        for named in &self.subnets {
            writeln!(f, "{}={}", named.name, named.subnet)?;
        }
        for (thumbprint, rule) in &self.rules {
            writeln!(f, "[{thumbprint}]")?;
            match rule {
                Rule::Unrestricted => {}
                Rule::Disabled => writeln!(f, "DISABLED")?,
                Rule::Subnets(subnets) => subnets
                    .iter()
                    .try_for_each(|named| writeln!(f, "{}", named.name))?,
            }
        }
        if !self.relays.is_empty() {
            writeln!(f, "[{RELAYS}]")?;
        }
        self.relays
            .iter()
            .try_for_each(|named| writeln!(f, "{}", named.name))
    }
}

/// Decodes the file: UTF-8, or UTF-16 with a byte order mark.
fn decode(content: &[u8]) -> Result<String, InvalidPolicy> {
    let whole = |what: &str| InvalidPolicy {
        line: 1,
        column: 1,
        what: what.to_owned(),
    };
    if content.len() > MAX_FILE {
        return Err(whole("the file is longer than 1 MiB"));
    }
    let (encoding, mark) = Encoding::for_bom(content).unwrap_or((UTF_8, 0));
    let content = content.get(mark..).unwrap_or_default();
    let text = if encoding == UTF_8 {
        std::str::from_utf8(content)
            .map_err(|error| {
                let before = content.get(..error.valid_up_to()).unwrap_or_default();
                fault_after(&String::from_utf8_lossy(before), "not UTF-8")
            })?
            .to_owned()
    } else {
        debug_assert!(encoding == UTF_16LE || encoding == UTF_16BE);
        encoding
            .decode_without_bom_handling_and_without_replacement(content)
            .ok_or_else(|| {
                whole("the file begins with a UTF-16 byte order mark, but is not valid UTF-16")
            })?
            .into_owned()
    };
    match text.find('\0') {
        Some(at) => Err(fault_after(
            text.get(..at).unwrap_or_default(),
            "a NUL character",
        )),
        None => Ok(text),
    }
}

/// A fault at the character that follows `before`, the beginning of the file.
fn fault_after(before: &str, what: &str) -> InvalidPolicy {
    let last = before.rsplit('\n').next().unwrap_or_default();
    InvalidPolicy {
        line: before.matches('\n').count() + 1,
        column: last.chars().count() + 1,
        what: what.to_owned(),
    }
}

/// A part of a line, with its position in the file.
#[derive(Clone, Copy)]
struct Span<'a> {
    line: usize,
    /// The number of its first character in the line, from 1.
    column: usize,
    text: &'a str,
}

impl<'a> Span<'a> {
    /// A line of the file, without line ending, comment and surrounding blanks.
    fn from_line(number: usize, text: &'a str) -> Result<Self, InvalidPolicy> {
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

    /// The parts before and after the first `mark`.
    fn split_once(self, mark: char) -> Option<(Self, Self)> {
        let (before, after) = self.text.split_once(mark)?;
        let after = Self {
            column: self.column + before.chars().count() + 1,
            text: after,
            ..self
        };
        Some((
            Self {
                text: before,
                ..self
            },
            after,
        ))
    }

    fn fault(self, what: impl Into<String>) -> InvalidPolicy {
        InvalidPolicy {
            line: self.line,
            column: self.column,
            what: what.into(),
        }
    }

    /// A fault at the character with the index `at`, from 0.
    fn fault_at(self, at: usize, what: impl Into<String>) -> InvalidPolicy {
        Self {
            column: self.column + at,
            ..self
        }
        .fault(what)
    }
}

/// The section that the parser is in.
#[derive(Clone, Copy)]
enum Section {
    Subnets,
    /// With the index of its draft.
    Certificate(usize),
    Relays,
}

/// A certificate's section while the file is parsed. The names are looked up at the end, because
/// `[SUBNETS]` may come later.
struct Draft<'a> {
    thumbprint: Thumbprint,
    header: Span<'a>,
    names: Vec<Span<'a>>,
    disabled: bool,
}

#[derive(Default)]
struct Parser<'a> {
    policy: Policy,
    section: Option<Section>,
    seen_subnets: bool,
    drafts: Vec<Draft<'a>>,
    /// The header of the section `[RELAYS]`, and the names in it.
    relays: Option<(Span<'a>, Vec<Span<'a>>)>,
}

impl<'a> Parser<'a> {
    fn line(&mut self, line: Span<'a>) -> Result<(), InvalidPolicy> {
        if line.text.is_empty() {
            return Ok(());
        }
        if line.text.starts_with('#') {
            return Err(line.fault("'#' does not start a comment; use ';'"));
        }
        if line.text.starts_with('[') {
            return self.header(line);
        }
        match self.section {
            None => Err(line.fault("a line before the first section")),
            Some(Section::Subnets) => self.subnet(line),
            Some(Section::Certificate(at)) => self.entry(at, line),
            Some(Section::Relays) => self.relay(line),
        }
    }

    fn header(&mut self, line: Span<'a>) -> Result<(), InvalidPolicy> {
        let (_, inner) = line.split_once('[').unwrap_or((line, line));
        let Some((name, rest)) = inner.split_once(']') else {
            return Err(line.fault("']' is missing after the section's name"));
        };
        let rest = rest.trimmed();
        if !rest.text.is_empty() {
            return Err(rest.fault("only a comment may follow a section's name"));
        }
        if name.text.eq_ignore_ascii_case("SUBNETS") {
            if std::mem::replace(&mut self.seen_subnets, true) {
                return Err(name.fault("the section [SUBNETS] appears twice"));
            }
            self.section = Some(Section::Subnets);
            return Ok(());
        }
        if name.text.eq_ignore_ascii_case(RELAYS) {
            if self.relays.replace((name, Vec::new())).is_some() {
                return Err(name.fault("the section [RELAYS] appears twice"));
            }
            self.section = Some(Section::Relays);
            return Ok(());
        }
        let thumbprint = thumbprint(name)?;
        if self
            .drafts
            .iter()
            .any(|draft| draft.thumbprint == thumbprint)
        {
            return Err(name.fault(format!("the section [{thumbprint}] appears twice")));
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

    fn subnet(&mut self, line: Span<'a>) -> Result<(), InvalidPolicy> {
        let Some((name, range)) = line.split_once('=') else {
            return Err(line.fault("a subnet is written NAME=ADDRESS/PREFIX"));
        };
        let (name, range) = (name.trimmed(), range.trimmed());
        check_name(name)?;
        if reserved(name.text) {
            return Err(name.fault(format!("{} cannot be a subnet's name", name.text)));
        }
        if self.find(name.text).is_some() {
            return Err(name.fault(format!("the subnet {} is defined twice", name.text)));
        }
        let subnet = self.range(range)?;
        self.policy.subnets.push(NamedSubnet {
            name: name.text.to_owned(),
            subnet,
        });
        Ok(())
    }

    fn range(&mut self, range: Span<'a>) -> Result<Subnet, InvalidPolicy> {
        let (address, prefix) = match range.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (range, None),
        };
        // The standard library accepts neither leading zeros, which some programs read as octal, nor
        // a zone (`%eth0`).
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
                    format!(
                        "no prefix length: only the address {parsed} is meant, as with /{longest}"
                    ),
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
                format!("{parsed}/{prefix} has bits set after its prefix; it is read as {subnet}"),
            );
        }
        Ok(subnet)
    }

    fn entry(&mut self, at: usize, line: Span<'a>) -> Result<(), InvalidPolicy> {
        if line.text.contains('=') {
            return Err(line.fault(
                "a certificate's section lists names of subnets, without '='; define subnets under [SUBNETS]",
            ));
        }
        check_name(line)?;
        if line.text.eq_ignore_ascii_case("ENABLED") {
            return Err(line.fault(
                "ENABLED is not supported; a certificate is served unless its section has DISABLED",
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

    fn relay(&mut self, line: Span<'a>) -> Result<(), InvalidPolicy> {
        if line.text.contains('=') {
            return Err(line.fault(
                "the section [RELAYS] lists names of subnets, without '='; define subnets under [SUBNETS]",
            ));
        }
        check_name(line)?;
        if let Some((_, names)) = &mut self.relays {
            names.push(line);
        }
        Ok(())
    }

    /// The subnet that a line names.
    fn resolve(&self, name: &Span<'_>) -> Result<NamedSubnet, InvalidPolicy> {
        self.find(name.text).cloned().ok_or_else(|| {
            name.fault(format!(
                "no subnet under [SUBNETS] has the name {}",
                name.text
            ))
        })
    }

    fn finish(mut self, empty: bool) -> Result<Policy, InvalidPolicy> {
        if empty {
            self.policy.remarks.push(Remark {
                line: 1,
                what: "the file is empty: every certificate is served to every address".to_owned(),
            });
        }
        for draft in std::mem::take(&mut self.drafts) {
            let names = draft.names.iter();
            let subnets: Vec<_> = names
                .map(|name| self.resolve(name))
                .collect::<Result<_, _>>()?;
            let rule = if draft.disabled {
                Rule::Disabled
            } else if subnets.is_empty() {
                self.remark(
                    draft.header,
                    format!(
                        "the section of {} lists no subnet: the certificate is served to every address",
                        draft.thumbprint
                    ),
                );
                Rule::Unrestricted
            } else {
                Rule::Subnets(subnets)
            };
            self.policy.rules.push((draft.thumbprint, rule));
        }
        if let Some((header, names)) = self.relays.take() {
            if names.is_empty() {
                self.remark(header, "the section [RELAYS] lists no subnet".to_owned());
            }
            for name in names {
                let relay = self.resolve(&name)?;
                if relay.subnet.is_v4() {
                    let what = "an IPv4 subnet under [RELAYS] has no effect: it concerns DHCPv6";
                    self.remark(name, what.to_owned());
                }
                self.policy.relays.push(relay);
            }
        }
        self.policy.remarks.sort_by_key(|remark| remark.line);
        Ok(self.policy)
    }

    fn find(&self, name: &str) -> Option<&NamedSubnet> {
        self.policy
            .subnets
            .iter()
            .find(|named| named.name.eq_ignore_ascii_case(name))
    }

    fn remark(&mut self, place: Span<'_>, what: String) {
        self.policy.remarks.push(Remark {
            line: place.line,
            what,
        });
    }
}

fn prefix_length(prefix: Span<'_>, longest: u8) -> Result<u8, InvalidPolicy> {
    let plain = prefix.text.bytes().all(|byte| byte.is_ascii_digit())
        && (prefix.text == "0" || !prefix.text.starts_with('0'));
    let length = prefix.text.parse().ok().filter(|_| plain);
    length
        .filter(|length| *length <= longest)
        .ok_or_else(|| prefix.fault(format!("the prefix length must be 0 to {longest}")))
}

/// Names that no subnet can have: words with a meaning in a certificate's section, and thumbprints.
fn reserved(name: &str) -> bool {
    name.eq_ignore_ascii_case("ENABLED")
        || name.eq_ignore_ascii_case("DISABLED")
        || name.parse::<Thumbprint>().is_ok()
}

fn check_name(name: Span<'_>) -> Result<(), InvalidPolicy> {
    if name.text.is_empty() {
        return Err(name.fault("the subnet has no name"));
    }
    let invalid = name
        .text
        .chars()
        .position(|c| !(c.is_ascii_alphanumeric() || "-_.".contains(c)));
    if let Some(at) = invalid {
        let shown: String = name.text.chars().skip(at).take(1).collect();
        return Err(name.fault_at(
            at,
            format!(
                "{} in a subnet's name; use letters, digits, '-', '_' and '.'",
                describe(&shown)
            ),
        ));
    }
    if name.text.len() > MAX_NAME {
        return Err(name.fault("the subnet's name is longer than 64 characters"));
    }
    Ok(())
}

fn thumbprint(name: Span<'_>) -> Result<Thumbprint, InvalidPolicy> {
    if let Ok(thumbprint) = name.text.parse() {
        return Ok(thumbprint);
    }
    let invalid = name.text.chars().position(|c| !c.is_ascii_hexdigit());
    let digits = name.text.chars().filter(char::is_ascii_hexdigit).count();
    match invalid {
        // With so many digits, the section was meant to be a thumbprint.
        Some(at) if digits >= 30 => {
            let shown: String = name.text.chars().skip(at).take(1).collect();
            Err(name.fault_at(
                at,
                format!(
                    "{} in a thumbprint: it must be 40 hexadecimal digits without anything else",
                    describe(&shown)
                ),
            ))
        }
        None if digits > 0 => Err(name.fault(format!(
            "a thumbprint has 40 hexadecimal digits, not {digits}"
        ))),
        _ => {
            Err(name
                .fault("an unknown section; use [SUBNETS], [RELAYS] or a certificate's thumbprint"))
        }
    }
}

/// How a message names a character from the file.
fn describe(character: &str) -> String {
    match character {
        " " => "a space".to_owned(),
        "\t" => "a tab".to_owned(),
        "\u{200E}" => {
            "the invisible character U+200E, which is copied with the text from the certificate dialog of Windows,"
                .to_owned()
        }
        other => match other.chars().next() {
            Some(c) if c.is_ascii_graphic() => format!("'{c}'"),
            Some(c) => format!("the character U+{:04X}", c as u32),
            None => "nothing".to_owned(),
        },
    }
}
