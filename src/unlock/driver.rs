//! Every credential on every key protector, in order, with an account of each attempt.

use super::credential::{Answer, Context, Credential, Opening, VolumeKey};
use super::parallel;
use crate::error::{Attempt, Failure, Reason, UnlockReport};
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
pub fn try_all(
    block: &MetadataBlock,
    credentials: &[Box<dyn Credential>],
    selection: &Selection,
    report: &mut UnlockReport,
) -> Option<Opening> {
    let context = Context { block };
    credentials
        .iter()
        .find_map(|credential| try_one(credential.as_ref(), &context, selection, report))
}

fn try_one(
    credential: &dyn Credential,
    context: &Context<'_>,
    selection: &Selection,
    report: &mut UnlockReport,
) -> Option<Opening> {
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
            return Some(Opening {
                key,
                credential: name.to_owned(),
                protector: None,
            });
        }
        Some(Err(failure)) => {
            record(None, Some(failure));
            return None;
        }
        None => {}
    }
    let allowed: Vec<_> = context
        .block
        .protectors()
        .filter(|protector| selection.allows(protector))
        .collect();
    let attempt = |protector: &&KeyProtector| credential.try_on(protector, context);
    let opened = |answer: &Answer| matches!(answer, Answer::Opened(_));
    let answers: Box<dyn Iterator<Item = Answer>> = if credential.only_costs_time() {
        Box::new(parallel::in_order(&allowed, attempt, opened).into_iter())
    } else {
        Box::new(allowed.iter().map(attempt))
    };
    let mut met = false;
    for (protector, answer) in allowed.iter().zip(answers) {
        match answer {
            Answer::NotMine => {}
            Answer::Failed(failure) => {
                met = true;
                record(Some(protector.id), Some(failure));
            }
            Answer::Opened(vmk) => {
                record(Some(protector.id), None);
                return Some(Opening {
                    key: VolumeKey::Vmk(vmk),
                    credential: name.to_owned(),
                    protector: Some((protector.id, protector.kind())),
                });
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
    None
}
