//! PKCS#11 URIs (RFC 7512), which name a key on a token: `pkcs11:token=NAME;id=%01?module-path=FILE`.
//!
//! The attributes of the path choose the token and the key. An unknown one is refused, because it could
//! exclude the token that would be chosen without it. In the query, `module-path`, `module-name` and
//! `pin-source` (a file) are used and others ignored; a PIN in the URI (`pin-value`) is refused, because
//! it would be visible in the shell's history and the process list.
//!
//! Written by hand rather than with the crate `pk11-uri-parser` (0.1.5): its errors quote the part of the
//! URI that is wrong, and would show a PIN.

use std::path::PathBuf;

use crate::error::{Error, Remedy, Result};

/// The name of this credential in messages.
pub(super) const NAME: &str = "PKCS#11 token";

/// A PKCS#11 URI. An attribute that is `None` matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenUri {
    /// The token's label.
    pub token: Option<String>,
    /// The token's manufacturer.
    pub manufacturer: Option<String>,
    /// The token's model.
    pub model: Option<String>,
    /// The token's serial number.
    pub serial: Option<String>,
    /// The number of the token's slot.
    pub slot: Option<u64>,
    /// The key's label (CKA_LABEL).
    pub object: Option<Vec<u8>>,
    /// The key's identifier (CKA_ID).
    pub id: Option<Vec<u8>>,
    /// The PKCS#11 library.
    pub module: TokenModule,
    /// The file that holds the PIN.
    pub pin_source: Option<PathBuf>,
}

/// A PKCS#11 library, through which a token is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenModule {
    /// That of p11-kit, which reaches every token that the system is configured for.
    #[default]
    System,
    /// The library with this name in the system's library directories, such as `opensc-pkcs11`.
    Named(String),
    /// The library in this file.
    File(PathBuf),
}

impl TokenUri {
    /// Parses a URI.
    ///
    /// # Errors
    /// [`Error::BadCredential`] for a malformed URI, an unknown attribute in its path, or a PIN in it.
    pub fn parse(text: &str) -> Result<Self> {
        Self::read(text).map_err(|fault| {
            let (why, remedy) = match fault {
                Fault::Malformed(why) => (why, Remedy::NameTokenKey),
                Fault::Pin(why) => (why.to_owned(), Remedy::GivePin),
            };
            let why = format!("the PKCS#11 URI is not valid: {why}");
            Error::bad_credential(NAME, why).with_remedy(remedy)
        })
    }

    fn read(text: &str) -> Result<Self, Fault> {
        let rest = text
            .strip_prefix("pkcs11:")
            .ok_or_else(|| "it does not begin with pkcs11:".to_owned())?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut uri = Self::default();
        for (name, value) in attributes(path, ';')? {
            uri.add_of_path(name, value)?;
        }
        for (name, value) in attributes(query, '&')? {
            uri.add_of_query(name, value)?;
        }
        Ok(uri)
    }

    fn add_of_path(&mut self, name: &str, value: Vec<u8>) -> Result<(), String> {
        match name {
            "token" => self.token = Some(text(value)?),
            "manufacturer" => self.manufacturer = Some(text(value)?),
            "model" => self.model = Some(text(value)?),
            "serial" => self.serial = Some(text(value)?),
            "slot-id" => {
                let number = text(value)?.parse();
                self.slot = Some(number.map_err(|_| "slot-id is not a number")?);
            }
            "object" => self.object = Some(value),
            "id" => self.id = Some(value),
            // A certificate and its keys share an identifier, so whichever type is named, the private key
            // is found. Tools print URIs with any of the three.
            "type" if matches!(value.as_slice(), b"private" | b"public" | b"cert") => {}
            "type" => return Err("its type is not private, public or cert".to_owned()),
            name => return Err(unsupported(name)),
        }
        Ok(())
    }

    fn add_of_query(&mut self, name: &str, value: Vec<u8>) -> Result<(), Fault> {
        match name {
            "module-path" => self.module = TokenModule::File(text(value)?.into()),
            "module-name" => self.module = TokenModule::Named(text(value)?),
            "pin-source" => {
                let source = text(value)?;
                if source.starts_with('|') {
                    return Err(Fault::Pin("pin-source is a command, which is never run"));
                }
                let path = source.strip_prefix("file:").unwrap_or(&source);
                self.pin_source = Some(path.strip_prefix("//").unwrap_or(path).into());
            }
            "pin-value" => {
                return Err(Fault::Pin(
                    "a PIN in the URI would be visible in the process list",
                ));
            }
            _ => {}
        }
        Ok(())
    }
}

/// What is wrong with a URI.
enum Fault {
    /// It is malformed, or has something that is not supported.
    Malformed(String),
    /// It gives the PIN in a way that is refused.
    Pin(&'static str),
}

impl From<String> for Fault {
    fn from(why: String) -> Self {
        Self::Malformed(why)
    }
}

fn attributes(part: &str, separator: char) -> Result<Vec<(&str, Vec<u8>)>, String> {
    let pieces = part.split(separator).filter(|piece| !piece.is_empty());
    pieces
        .map(|piece| {
            let (name, value) = piece
                .split_once('=')
                .ok_or_else(|| "one of its attributes has no value".to_owned())?;
            let value = decoded(value)
                .ok_or_else(|| "a value is not percent-encoded correctly".to_owned())?;
            Ok((name, value))
        })
        .collect()
}

/// What is wrong with an attribute of the path that is not used. Only a name of the standard is repeated:
/// anything else may be a PIN in the wrong place.
fn unsupported(name: &str) -> String {
    const OF_THE_STANDARD: [&str; 5] = [
        "library-manufacturer",
        "library-description",
        "library-version",
        "slot-manufacturer",
        "slot-description",
    ];
    match OF_THE_STANDARD.contains(&name) {
        true => format!("the attribute {name} is not supported"),
        false => "the name of one of its attributes is not known".to_owned(),
    }
}

/// Decodes percent-encoded bytes.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        decoded.push(u8::try_from(high * 16 + low).ok()?);
    }
    Some(decoded)
}

fn text(value: Vec<u8>) -> Result<String, String> {
    String::from_utf8(value).map_err(|_| "a value is not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_uris_that_p11tool_prints() {
        let uri = TokenUri::parse(
            "pkcs11:model=PKCS%2315%20emulated;manufacturer=OpenSC;serial=00f5;token=My%20card;id=%01%ff;object=key;type=private?module-path=/usr/lib/opensc-pkcs11.so&pin-source=file:/run/pin",
        )
        .unwrap();
        assert_eq!(uri.model.as_deref(), Some("PKCS#15 emulated"));
        assert_eq!(uri.token.as_deref(), Some("My card"));
        assert_eq!(uri.id.as_deref(), Some(&[1, 255][..]));
        assert_eq!(uri.object.as_deref(), Some(&b"key"[..]));
        assert_eq!(
            uri.module,
            TokenModule::File("/usr/lib/opensc-pkcs11.so".into())
        );
        assert_eq!(uri.pin_source, Some("/run/pin".into()));
        assert_eq!(TokenUri::parse("pkcs11:").unwrap(), TokenUri::default());
    }

    #[test]
    fn refuses_unknown_attributes_and_pins_in_the_uri() {
        for bad in [
            "token=x",
            "pkcs11:token",
            "pkcs11:token=a;1234",
            "pkcs11:1234=a",
            "pkcs11:token=%4",
            "pkcs11:token=%zz",
            "pkcs11:token=%ff",
            "pkcs11:slot-id=one",
            "pkcs11:type=secret-key",
            "pkcs11:library-version=3",
            "pkcs11:token=a?pin-value=1234",
            "pkcs11:token=a?pin-source=|cat",
        ] {
            let error = TokenUri::parse(bad).unwrap_err();
            assert!(!error.to_string().contains("1234"), "{bad}: {error}");
        }
    }
}
