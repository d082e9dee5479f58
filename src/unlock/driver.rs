//! Tries every credential on every key protector, in order, and reports each attempt.

use std::time::Instant;

use super::credential::{Answer, Context, Credential, Opening, VolumeKey};
use super::options::UnlockOptions;
use super::parallel;
use crate::error::{Attempt, Failure, Reason, Result, UnlockReport};
use crate::format::block::MetadataBlock;
use crate::format::protector::KeyProtector;
use crate::guid::Guid;

/// Tries each credential on each key protector of the block, in order, until one unlocks the VMK.
/// Every attempt is appended to `report`.
///
/// # Errors
/// The error of a credential that answers [`Answer::Abort`]; nothing is tried after it.
pub fn try_all(
    block: &MetadataBlock,
    credentials: &[&dyn Credential],
    options: &UnlockOptions,
    report: &mut UnlockReport,
) -> Result<Option<Opening>> {
    let context = Context::new(block).threads(options.parallelism());
    for credential in credentials {
        let began = Instant::now();
        let opening = try_one(*credential, &context, options, report);
        tracing::debug!(
            "{}: took {} ms",
            credential.name(),
            began.elapsed().as_millis()
        );
        if let Some(opening) = opening? {
            return Ok(Some(opening));
        }
    }
    Ok(None)
}

fn try_one(
    credential: &dyn Credential,
    context: &Context<'_>,
    options: &UnlockOptions,
    report: &mut UnlockReport,
) -> Result<Option<Opening>> {
    let name = credential.name();
    let mut record = |protector: Option<Guid>, failure: Option<Failure>| {
        log_attempt(name, protector, failure.as_ref());
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
        .filter(|protector| options.allows(protector))
        .collect();
    let attempt = |protector: &&KeyProtector| credential.try_on(protector, context);
    let ends = |answer: &Answer| matches!(answer, Answer::Opened(_) | Answer::Abort(_));
    let answers: Box<dyn Iterator<Item = Answer>> = if credential.only_costs_time() {
        Box::new(parallel::in_order(&allowed, context.threads, attempt, ends).into_iter())
    } else {
        Box::new(allowed.iter().map(attempt))
    };
    let mut met = false;
    for (protector, answer) in allowed.iter().zip(answers) {
        match answer {
            Answer::NotMine => tracing::info!(
                "{name}: not tried on key protector {:X} ({}), which needs another credential",
                protector.id,
                protector.kind().name()
            ),
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
        let message = match &options.protector {
            Some(id) => format!("key protector {id} does not accept it"),
            None => "the volume has no key protector that accepts it".to_owned(),
        };
        record(None, Some(Failure::new(Reason::NoSuchProtector, message)));
    }
    Ok(None)
}

fn log_attempt(credential: &str, protector: Option<Guid>, failure: Option<&Failure>) {
    let on = match protector {
        Some(id) => format!(" on key protector {id:X}"),
        None => String::new(),
    };
    match failure {
        Some(failure) => tracing::info!("{credential}{on}: {failure}"),
        None => tracing::info!("{credential}{on}: unlocks the volume"),
    }
}
