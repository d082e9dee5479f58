//! Unlocking: credentials give the VMK, the VMK proves the metadata and opens the FVEK, and the FVEK
//! decrypts.

use subtle::ConstantTimeEq;

use super::fvek::Fvek;
use super::unlocked::{OpenedBy, Sectors, Unlocked};
use super::{Volume, evidence, is_decrypted};
use crate::crypto::envelope;
use crate::crypto::sector::{METHODS, Method, SectorCipher};
use crate::error::{CopyFault, Error, Failure, Reason, Result, UnlockReport, Unwritable};
use crate::format::block::{MetadataBlock, ValidationHash};
use crate::format::datum::{Body, Datum, key_types};
use crate::format::protector::{KeyProtector, ProtectorKind};
use crate::secret::{KIB, SecretBytes, Vmk, leave_nothing};
use crate::unlock::Suspended;
use crate::unlock::{Credential, Opening, UnlockOptions, VolumeKey, open_key, try_all};

/// Bytes of the stack that are wiped after unlocking. Each type that holds a key wipes it; this wipes
/// the copies that moving such a value leaves on the stack.
const STACK: usize = 64 * KIB;

/// A metadata block whose VMK a credential opened.
struct OpenedBlock<'a> {
    block: &'a MetadataBlock,
    opening: Opening,
    proof: Result<(), CopyFault>,
    report: UnlockReport,
}

/// A volume master key (VMK), and how it was obtained. [`Volume::unlock_master_key`] returns one;
/// an [`Unlocked`] does not give its key away.
///
/// One unlock is enough for everything: [`Volume::unlock_with_master_key`] gives the plaintext,
/// and [`Managed::new`](crate::manage::Managed::new) the means to change the key protectors.
#[derive(Debug)]
pub struct MasterKey {
    vmk: Vmk,
    position: u64,
    proved: bool,
    accept_damaged_metadata: bool,
    opened_by: OpenedBy,
    identification: Option<String>,
    warnings: Vec<String>,
}

impl MasterKey {
    /// The VMK itself, a secret.
    pub fn expose(&self) -> &Vmk {
        &self.vmk
    }

    /// Offset of the metadata block that it was obtained from, in bytes from the start of the volume.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Whether the key proves that metadata block: the SHA-256 sealed with the key is that of the
    /// block.
    pub fn is_proved(&self) -> bool {
        self.proved
    }

    /// The credential and key protector that it was obtained with.
    pub fn opened_by(&self) -> &OpenedBy {
        &self.opened_by
    }

    /// The identification field; see [`Unlocked::identification`].
    pub fn identification(&self) -> Option<&str> {
        self.identification.as_deref()
    }

    /// What the user should know about the metadata, a sentence each.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

impl Volume {
    /// Unlocks the volume with the first credential that fits. The credentials are tried in order,
    /// each on every key protector of its kind. Metadata copies that differ are tried in the order of
    /// their numbers.
    ///
    /// The credentials may be of one type (`&[password]`), or of several, as references or boxes
    /// (`&[&password as &dyn Credential, &startup_key]`).
    ///
    /// Without a credential ([`NO_CREDENTIAL`](crate::unlock::NO_CREDENTIAL)), it unlocks a volume
    /// that is not encrypted, and one whose protection is suspended, with the clear key on the disk.
    /// To try the clear key together with other credentials, add [`Suspended`].
    ///
    /// # Errors
    /// [`Error::Refused`] with a report of every attempt; [`Error::NothingToTry`] when no credential
    /// was given and one is needed; [`Error::Damaged`] when the metadata cannot be trusted;
    /// [`Error::Contradicted`] when the boot record or conversion map contradicts the metadata;
    /// [`Error::Unsupported`] for an unknown state or encryption method.
    pub fn unlock<C: Credential>(
        &self,
        credentials: &[C],
        options: &UnlockOptions,
    ) -> Result<Unlocked> {
        let (unlocked, _) = self.unlock_with(&in_any_form(credentials), options)?;
        Ok(unlocked)
    }

    /// Unlocks the volume as [`Volume::unlock`] does, and also returns its FVEK, with which other
    /// programs, such as the kernel, decrypt its sectors. `None` if the volume is decrypted: it has no
    /// keys.
    ///
    /// # Errors
    /// Those of [`Volume::unlock`].
    pub fn unlock_keeping_fvek<C: Credential>(
        &self,
        credentials: &[C],
        options: &UnlockOptions,
    ) -> Result<(Unlocked, Option<Fvek>)> {
        self.unlock_with(&in_any_form(credentials), options)
    }

    fn unlock_with(
        &self,
        credentials: &[&dyn Credential],
        options: &UnlockOptions,
    ) -> Result<(Unlocked, Option<Fvek>)> {
        let best = *self
            .candidates(options)
            .first()
            .ok_or_else(|| self.no_sound_copy())?;
        if is_decrypted(best) {
            let mut unlocked = self.open_decrypted(best, options)?;
            if !credentials.is_empty() {
                unlocked.warnings.push(
                    "the volume is marked as decrypted: no key was used, and none proves its content".to_owned(),
                );
            }
            return Ok((unlocked, None));
        }
        leave_nothing::<STACK, _>(|| {
            let found = self.find_key(credentials, options)?;
            let (unlocked, fvek) = self.finish(
                found.block,
                found.opening,
                found.proof,
                found.report,
                options,
            )?;
            Ok((unlocked, Some(fvek)))
        })
    }

    /// Obtains the VMK as [`Volume::unlock`] does. It is needed to change the key protectors and to
    /// show the secrets in them.
    ///
    /// # Errors
    /// Those of [`Volume::unlock`]; [`Error::BadCredential`] for an FVEK, from which the VMK cannot
    /// be obtained; [`Error::Unsupported`] for a volume without keys.
    pub fn unlock_master_key<C: Credential>(
        &self,
        credentials: &[C],
        options: &UnlockOptions,
    ) -> Result<MasterKey> {
        self.unlock_master_key_with(&in_any_form(credentials), options)
    }

    fn unlock_master_key_with(
        &self,
        credentials: &[&dyn Credential],
        options: &UnlockOptions,
    ) -> Result<MasterKey> {
        if self
            .candidates(options)
            .first()
            .is_some_and(|best| is_decrypted(best))
        {
            return Err(Error::unsupported(
                "the volume is decrypted: it has no keys and no protectors",
            ));
        }
        let found = leave_nothing::<STACK, _>(|| self.find_key(credentials, options))?;
        let VolumeKey::Vmk(vmk) = found.opening.key else {
            return Err(Error::BadCredential {
                credential: found.opening.credential,
                why: "a sector key decrypts the data, but gives access to no key protector"
                    .to_owned(),
                remedy: Some("give one of the volume's own credentials".into()),
            });
        };
        Ok(MasterKey {
            identification: identification(found.block, &vmk),
            vmk,
            position: found.block.position,
            proved: found.proof.is_ok(),
            accept_damaged_metadata: options.accept_damaged_metadata,
            opened_by: OpenedBy {
                credential: Some(found.opening.credential),
                protector: found.opening.protector,
                report: found.report,
            },
            warnings: self.copy_warnings(),
        })
    }

    /// Unlocks the volume with a master key that was obtained from it before, so that no credential
    /// is needed a second time: no second PIN, no second attempt at the TPM. Damaged metadata is
    /// accepted if it was accepted when the key was obtained.
    ///
    /// # Errors
    /// [`Error::BadCredential`] when no metadata block of this volume is the one that the key was
    /// obtained from; [`Error::Damaged`] when that block was changed since; the others of
    /// [`Volume::unlock`], except [`Error::Refused`] and [`Error::NothingToTry`].
    pub fn unlock_with_master_key(&self, key: &MasterKey) -> Result<Unlocked> {
        let options = UnlockOptions::new().accept_damaged_metadata(key.accept_damaged_metadata);
        let blocks = self.candidates(&options);
        let mut blocks = blocks.into_iter();
        let block = blocks
            .find(|block| block.position == key.position)
            .ok_or_else(|| Error::BadCredential {
                credential: "master key".to_owned(),
                why: format!(
                    "the volume has no readable metadata at {:#x}, where the key was obtained",
                    key.position
                ),
                remedy: Some("unlock the volume again with one of its credentials".into()),
            })?;
        leave_nothing::<STACK, _>(|| {
            let opening = Opening {
                key: VolumeKey::Vmk(Vmk::from_bytes(key.vmk.expose())),
                credential: key.opened_by.credential.clone().unwrap_or_default(),
                protector: key.opened_by.protector,
            };
            let proof = self.prove(block, &opening.key);
            match proof {
                Err(fault) if !options.accept_damaged_metadata && self.key_package.is_none() => {
                    Err(Error::Damaged {
                        what: "the metadata is not what was sealed with the master key".to_owned(),
                        copies: vec![fault],
                    })
                }
                _ => {
                    let report = key.opened_by.report.clone();
                    let (unlocked, _) = self.finish(block, opening, proof, report, &options)?;
                    Ok(unlocked)
                }
            }
        })
    }

    /// The metadata blocks to try, the best first.
    fn candidates(&self, options: &UnlockOptions) -> Vec<&MetadataBlock> {
        if options.accept_damaged_metadata || self.key_package.is_some() {
            self.copies.readable()
        } else {
            self.copies.sound()
        }
    }

    /// Tries the credentials on the metadata blocks, in order, until one gives a VMK that proves its
    /// block.
    fn find_key(
        &self,
        credentials: &[&dyn Credential],
        options: &UnlockOptions,
    ) -> Result<OpenedBlock<'_>> {
        let blocks = self.candidates(options);
        let best = *blocks.first().ok_or_else(|| self.no_sound_copy())?;
        check_selection(best, options)?;
        let clear_key: [&dyn Credential; 1] = [&Suspended];
        let credentials = match credentials {
            [] if has_clear_key(best, options) => &clear_key,
            [] => return Err(nothing_to_try(best, options)),
            given => given,
        };
        let mut report = UnlockReport::default();
        let mut unproved = Vec::new();
        for block in blocks {
            let Some(opening) = try_all(block, credentials, options, &mut report)? else {
                continue;
            };
            let proof = self.prove(block, &opening.key);
            match proof {
                Err(fault) if !options.accept_damaged_metadata && self.key_package.is_none() => {
                    unproved.push(fault);
                }
                _ => {
                    return Ok(OpenedBlock {
                        block,
                        opening,
                        proof,
                        report,
                    });
                }
            }
        }
        if !unproved.is_empty() {
            return Err(Error::Damaged {
                what: "a credential unlocks the volume, but the metadata is not what was sealed with its key: it is damaged or was tampered with".to_owned(),
                copies: unproved,
            });
        }
        if has_clear_key(best, &UnlockOptions::new()) {
            report.remedy = Some(
                "protection is suspended: the volume can be unlocked without a credential".into(),
            );
        }
        Err(Error::Refused { report })
    }

    /// Compares the SHA-256 of the block with the one sealed under the VMK.
    pub(super) fn prove(&self, block: &MetadataBlock, key: &VolumeKey) -> Result<(), CopyFault> {
        let mut copies = self.copies.0.iter();
        let copy = copies.find(|copy| copy.offset == block.position);
        let fault = |fault: &str| CopyFault {
            copy: copy.map_or(0, |copy| copy.number),
            offset: block.position,
            fault: fault.to_owned(),
            unread: None,
            followed: true,
        };
        // An FVEK cannot prove the metadata; `check_raw_key` examines what it decrypts instead.
        let VolumeKey::Vmk(vmk) = key else {
            return Ok(());
        };
        let ValidationHash::Sealed(sealed) = &block.validation.hash else {
            return Err(fault(
                "it carries no SHA-256 sealed with the volume master key",
            ));
        };
        let hash = open_key(sealed, vmk.expose(), &[key_types::VALIDATION_HASH])
            .ok_or_else(|| fault("its sealed SHA-256 does not open with the volume master key"))?;
        if hash.data.expose().ct_eq(&block.hash()).into() {
            Ok(())
        } else {
            Err(fault(
                "its content does not match the SHA-256 sealed with the volume master key",
            ))
        }
    }

    fn finish(
        &self,
        block: &MetadataBlock,
        opening: Opening,
        proof: Result<(), CopyFault>,
        report: UnlockReport,
        options: &UnlockOptions,
    ) -> Result<(Unlocked, Fvek)> {
        let (fvek, raw) = match &opening.key {
            VolumeKey::Vmk(vmk) => (self.open_fvek(block, vmk)?, false),
            VolumeKey::Fvek(key) => (fvek(block.dataset.method, key.duplicate())?, true),
        };
        let cipher = self.cipher(&fvek)?;
        let mut warnings = self.copy_warnings();
        if let Err(fault) = proof.as_ref()
            && self.key_package.is_none()
        {
            warnings.push(format!("the metadata is not proved: {fault}"));
        } else if raw {
            warnings.push(
                "the metadata is not proved: only the volume master key can prove it".to_owned(),
            );
        }
        for fault in crate::crypto::faults() {
            tracing::warn!("{fault}");
            warnings.push(fault);
        }
        let sectors = self.sectors(Some(cipher));
        let plan = self.plan(block, &sectors)?;
        warnings.extend(plan.warnings);
        let proved = proof.is_ok() && !raw && self.key_package.is_none();
        warnings.extend(self.plain_warning(block, &plan.layout, proved));
        let unlocked = Unlocked {
            sectors,
            identification: match &opening.key {
                VolumeKey::Vmk(vmk) => identification(block, vmk),
                VolumeKey::Fvek(_) => None,
            },
            writable: self.writable_layout(block, &opening.key, &plan.layout),
            target: self.target.clone(),
            layout: plan.layout,
            method: Some(fvek.method()),
            opened_by: OpenedBy {
                credential: Some(opening.credential),
                protector: opening.protector,
                report,
            },
            proved: proof.is_ok() && !raw,
            threads: options.parallelism(),
            warnings,
        };
        if raw {
            check_raw_key(&unlocked, options)?;
        }
        if let Some(key_package) = self
            .key_package
            .filter(|_| !options.accept_damaged_metadata)
        {
            key_package.check(&unlocked)?;
        }
        if !proved {
            self.check_unproved_places(block)?;
        }
        self.check_plaintext(block, &unlocked, proved)?;
        Ok((unlocked, fvek))
    }

    fn sectors(&self, cipher: Option<Box<dyn SectorCipher>>) -> Sectors {
        Sectors {
            source: self.source.clone(),
            cipher,
            size: self.sector_size,
        }
    }

    /// Opens a decrypted volume, which has no keys. Nothing on it is encrypted, but its first sectors
    /// are still moved and its metadata still hidden.
    fn open_decrypted(&self, block: &MetadataBlock, options: &UnlockOptions) -> Result<Unlocked> {
        let sound = match &block.validation.hash {
            ValidationHash::Plain(hash) => hash.ct_eq(&block.hash()).into(),
            ValidationHash::Sealed(_) | ValidationHash::Missing => false,
        };
        if !sound && !options.accept_damaged_metadata {
            let mut copies = self.copies.faults();
            if let Some(copy) = self.copies.0.iter().find(|copy| {
                let own = copy.block.as_ref().ok();
                own.is_some_and(|own| own.position == block.position)
            }) {
                copies.push(CopyFault {
                    copy: copy.number,
                    offset: copy.offset,
                    fault: "its SHA-256 does not match its content".to_owned(),
                    unread: None,
                    followed: true,
                });
            }
            return Err(Error::Damaged {
                what: "the metadata of this decrypted volume does not match its own SHA-256"
                    .to_owned(),
                copies,
            });
        }
        let mut warnings = self.copy_warnings();
        let sectors = self.sectors(None);
        let plan = self.plan(block, &sectors)?;
        warnings.extend(plan.warnings);
        let unlocked = Unlocked {
            target: self.target.clone(),
            sectors,
            writable: Err(Unwritable::Decrypted),
            layout: plan.layout,
            method: None,
            opened_by: OpenedBy::default(),
            proved: false,
            identification: None,
            threads: options.parallelism(),
            warnings,
        };
        self.check_plaintext(block, &unlocked, true)?;
        Ok(unlocked)
    }

    /// Opens the FVEK with the VMK. The encryption method is the type of the key, which is sealed
    /// together with it.
    fn open_fvek(&self, block: &MetadataBlock, vmk: &Vmk) -> Result<Fvek> {
        let damaged = |what: &str| Error::Damaged {
            what: what.to_owned(),
            copies: Vec::new(),
        };
        let sealed = block
            .sealed_fvek()
            .ok_or_else(|| damaged("the metadata holds no sector key"))?;
        let known: Vec<u16> = METHODS.iter().map(|method| method.code).collect();
        let Some(key) = open_key(sealed, vmk.expose(), &known) else {
            let declared = block.dataset.method;
            if Method::by_code(declared).is_none() {
                return Err(unknown_method(declared));
            }
            return Err(damaged(
                "the sector key does not open with the volume master key",
            ));
        };
        // With a key package, the method in the metadata may be damaged, so it is not compared.
        if block.dataset.method != key.key_type && self.key_package.is_none() {
            return Err(damaged(&format!(
                "the metadata names the encryption method {:#06x}, its sector key {:#06x}",
                block.dataset.method, key.key_type
            )));
        }
        fvek(key.key_type, key.data)
    }

    fn cipher(&self, fvek: &Fvek) -> Result<Box<dyn SectorCipher>> {
        let method = fvek.method();
        method
            .cipher(fvek.expose(), self.sector_size)
            .ok_or_else(|| {
                Error::unsupported(format!(
                    "this CPU, or its emulator, computes {} wrongly",
                    method.name
                ))
            })
    }

    /// What the user should know about the metadata copies.
    fn copy_warnings(&self) -> Vec<String> {
        if let Some(key_package) = self.key_package {
            return vec![key_package.warning()];
        }
        let mut warnings: Vec<_> = self
            .copies
            .faults()
            .iter()
            .filter(|fault| fault.offset < self.source.size())
            .map(|fault| format!("metadata {fault}"))
            .collect();
        if self.copies.disagree() {
            warnings.push(
                "the metadata copies say different things: an update was interrupted, or they were changed".to_owned(),
            );
        }
        warnings
    }
}

/// The FVEK for the method with this code.
fn fvek(code: u16, key: SecretBytes) -> Result<Fvek> {
    let method = Method::by_code(code).ok_or_else(|| unknown_method(code))?;
    Fvek::new(method, key).ok_or_else(|| Error::Damaged {
        what: format!("the sector key does not have the length of {}", method.name),
        copies: Vec::new(),
    })
}

/// The identification field (docs/format.md §3.3). `None` if there is none, or it does not have the form
/// that is known.
fn identification(block: &MetadataBlock, vmk: &Vmk) -> Option<String> {
    let sealed = block.sealed_identification()?;
    let content = envelope::open(vmk.expose(), &sealed.nonce, &sealed.tag, &sealed.ciphertext)?;
    match Datum::parse_one(content.expose()).ok()?.body {
        Body::Text(text) => Some(text),
        _ => None,
    }
}

/// Checks an FVEK that the user gave: nothing on the volume proves it, so the first sector that it
/// decrypts must look like one.
fn check_raw_key(unlocked: &Unlocked, options: &UnlockOptions) -> Result<()> {
    let mut sector = vec![0; unlocked.sector_size() as usize];
    let read = unlocked.read_exact_at(0, &mut sector);
    if options.accept_damaged_metadata {
        return Ok(());
    }
    // A sector that cannot be read does not show that the key is wrong.
    if let Err(error @ Error::Io { .. }) = read {
        return Err(error);
    }
    let fits = read.is_ok() && (evidence::is_boot_sector(&sector) || evidence::is_blank(&sector));
    if fits {
        return Ok(());
    }
    let mut report = UnlockReport::default();
    report.attempts.push(crate::error::Attempt {
        credential: "sector key".to_owned(),
        protector: None,
        failure: Some(Failure::new(
            Reason::WrongKey,
            "what it decrypts does not begin with a boot sector",
        )),
    });
    Err(Error::Refused { report })
}

fn unknown_method(code: u16) -> Error {
    Error::unsupported(format!("the encryption method {code:#06x} is not known"))
}

/// Refuses a selection that no key protector of the volume matches.
fn check_selection(block: &MetadataBlock, options: &UnlockOptions) -> Result<()> {
    match options.protector {
        Some(selector) if !block.protectors().any(|one| selector.selects(one)) => {
            Err(Error::NoSuchProtector {
                selector,
                present: block
                    .protectors()
                    .map(|protector| (protector.kind(), protector.id))
                    .collect(),
            })
        }
        _ => Ok(()),
    }
}

/// Whether protection is suspended: the volume has a clear key, which may be tried.
fn has_clear_key(block: &MetadataBlock, options: &UnlockOptions) -> bool {
    block
        .protectors()
        .any(|protector| protector.kind() == ProtectorKind::ClearKey && options.allows(protector))
}

fn in_any_form<C: Credential>(credentials: &[C]) -> Vec<&dyn Credential> {
    let credentials = credentials.iter();
    credentials.map(|one| one as &dyn Credential).collect()
}

/// The error for missing credentials, with each kind of key protector once that may be tried.
fn nothing_to_try(block: &MetadataBlock, options: &UnlockOptions) -> Error {
    let mut accepts = Vec::new();
    let allowed = block
        .protectors()
        .filter(|protector| options.allows(protector));
    for kind in allowed.map(KeyProtector::kind) {
        if !accepts.contains(&kind) {
            accepts.push(kind);
        }
    }
    Error::NothingToTry { accepts }
}
