//! Which of several volumes the given credentials belong to, as far as that can be known without
//! trying them.

use std::path::Path;

use fve::error::{Candidate, Error, Remedy};
use fve::format::protector::ProtectorKind;
use fve::format::selector::ProtectorSelector;
use fve::guid::Guid;

use super::kind::Read;
use super::{CredentialArgs, KINDS};
use crate::cli::failure::Failure;

impl CredentialArgs {
    /// The failure to choose one of several volumes, with the volume that the credentials belong to, if
    /// only one has such a key protector. Any other failure stays as it is.
    pub(crate) fn name_fitting(&self, mut failure: Failure) -> Failure {
        if let Failure::Volume(Error::Ambiguous {
            candidates, remedy, ..
        }) = &mut failure
            && *remedy == Remedy::ChoosePartition
            && let Some((partition, protector)) = self.fitting(candidates)
        {
            *remedy = Remedy::choose_partition(partition, protector);
        }
        failure
    }

    /// The partition of the only volume with a key protector that the credentials belong to: by its
    /// identifier, or else by its kind.
    fn fitting(&self, candidates: &[Candidate]) -> Option<(u32, Guid)> {
        let selector: Option<ProtectorSelector> = match &self.protector {
            Some(name) => Some(name.parse().ok()?),
            None => None,
        };
        let ids = self.identifiers();
        let is_named = |kind: ProtectorKind, id: Guid| match selector {
            Some(selector) => selector.fits(kind, id),
            None => ids.contains(&id),
        };
        let given = self.given.iter();
        let kinds: Vec<_> = given
            .filter_map(|(number, _)| KINDS.get(*number))
            .flat_map(|kind| kind.opens)
            .collect();
        let by_identifier = only(candidates, is_named);
        by_identifier.or_else(|| {
            let has_none = selector.is_none() && ids.is_empty();
            has_none
                .then(|| only(candidates, |kind, _| kinds.contains(&&kind)))
                .flatten()
        })
    }

    /// The identifiers of key protectors in the files of the given credentials. A file that cannot be
    /// read has none; so does standard input, which would have to be waited for.
    fn identifiers(&self) -> Vec<Guid> {
        let mut ids = Vec::new();
        for (number, value) in &self.given {
            let kind = KINDS.get(*number);
            let path = value.as_deref().filter(|path| *path != Path::new("-"));
            if let (Some(Read::Path(read)), Some(path)) = (kind.map(|kind| kind.read), path)
                && let Ok(credential) = read(path)
            {
                ids.extend(credential.belongs_to());
            }
        }
        ids
    }
}

/// The partition and the key protector, if only one of the volumes has one that `fits`.
fn only(
    candidates: &[Candidate],
    fits: impl Fn(ProtectorKind, Guid) -> bool,
) -> Option<(u32, Guid)> {
    let mut found = candidates.iter().filter_map(|candidate| {
        let mut protectors = candidate.protectors().iter();
        let (_, id) = protectors.find(|(kind, id)| fits(*kind, *id))?;
        Some((candidate.partition?, *id))
    });
    let first = found.next()?;
    found.next().is_none().then_some(first)
}
