//! Every credential on every key protector, in order, with an account of each attempt.

use super::credential::{Answer, Context, Credential, Opening, VolumeKey};
use super::parallel;
use crate::error::{Attempt, Failure, Reason, Result, UnlockReport};
use crate::format::block::MetadataBlock;
use crate::format::protector::KeyProtector;

/// Restricts unlocking to some protectors.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// A protector's identifier or its first eight or more hex digits; every protector if none.
    pub protector: Option<String>,
}

impl Selection {
    /// Whether this protector may be tried.
    pub fn allows(&self, protector: &KeyProtector) -> bool {
        self.protector
            .as_deref()
            .is_none_or(|name| protector.id.is_named_by(name))
    }
}

/// Offers each credential to each protector of the block, in order, until one opens. Every attempt
/// goes into `report`.
///
/// # Errors
/// That of a credential whose answer is [`Answer::Abort`]; nothing is tried after it.
pub fn try_all(
    block: &MetadataBlock,
    credentials: &[&dyn Credential],
    selection: &Selection,
    report: &mut UnlockReport,
) -> Result<Option<Opening>> {
    let context = Context { block };
    for credential in credentials {
        if let Some(opening) = try_one(*credential, &context, selection, report)? {
            return Ok(Some(opening));
        }
    }
    Ok(None)
}

fn try_one(
    credential: &dyn Credential,
    context: &Context<'_>,
    selection: &Selection,
    report: &mut UnlockReport,
) -> Result<Option<Opening>> {
    let name = credential.name();
    let mut record = |protector, failure| {
        report.attempts.push(Attempt {
            credential: name.to_owned(),
            protector,
            failure,
        });
    };
    match credential.without_protector(context) {
        Some(Ok(key)) => {
            record(None, None);
            return Ok(Some(Opening {
                key,
                credential: name.to_owned(),
                protector: None,
            }));
        }
        Some(Err(failure)) => {
            record(None, Some(failure));
            return Ok(None);
        }
        None => {}
    }
    let allowed: Vec<_> = context
        .block
        .protectors()
        .filter(|protector| selection.allows(protector))
        .collect();
    let attempt = |protector: &&KeyProtector| credential.try_on(protector, context);
    let ends = |answer: &Answer| matches!(answer, Answer::Opened(_) | Answer::Abort(_));
    let answers: Box<dyn Iterator<Item = Answer>> = if credential.only_costs_time() {
        Box::new(parallel::in_order(&allowed, attempt, ends).into_iter())
    } else {
        Box::new(allowed.iter().map(attempt))
    };
    let mut met = false;
    for (protector, answer) in allowed.iter().zip(answers) {
        match answer {
            Answer::NotMine => {}
            Answer::Abort(error) => return Err(error),
            Answer::Failed(failure) => {
                met = true;
                record(Some(protector.id), Some(failure));
            }
            Answer::Opened(vmk) => {
                record(Some(protector.id), None);
                return Ok(Some(Opening {
                    key: VolumeKey::Vmk(vmk),
                    credential: name.to_owned(),
                    protector: Some((protector.id, protector.kind())),
                }));
            }
        }
    }
    if !met {
        let message = match &selection.protector {
            Some(id) => format!("protector {id} is not of a kind that takes it"),
            None => "the volume has no protector that takes it".to_owned(),
        };
        record(None, Some(Failure::new(Reason::NoSuchProtector, message)));
    }
    Ok(None)
}
