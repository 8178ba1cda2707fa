//! Owns the way in and out for presale and voucher codes. Must never see a code, only its hash.

use onsale_mesh::Failure;
use onsale_proto::allocator::{self as pb, code_terms::Effect};
use onsale_state::{
    CodesView,
    command::{CodeBatch, CodeEffect, CodeTerms, CommandKind, PutCodes},
    ids::CodeHash,
    limits::{CODES_PER_COMMAND_MAX, EVENT_CATEGORIES_MAX, NAME_BYTES_MAX},
};

use super::{array, command::narrow, idempotency, invalid, staff::event_no, text};

/// The codes that a message brings.
///
/// # Errors
/// `invalid_request` with the field and what it must be.
pub fn put_codes(message: &pb::PutCodesRequest) -> Result<CommandKind, Failure> {
    let hashes: usize = message.batches.iter().map(|batch| batch.hashes.len()).sum();
    if hashes > CODES_PER_COMMAND_MAX || message.batches.len() > CODES_PER_COMMAND_MAX {
        return Err(invalid("codes", &format!("must be 1 to {CODES_PER_COMMAND_MAX}")));
    }
    let batch = |batch: &pb::CodeBatch| {
        let terms = batch.terms.as_ref().ok_or_else(|| invalid("codes", "must say what for"))?;
        let hashes = batch.hashes.iter().map(|hash| code(hash));
        Ok(CodeBatch { terms: code_terms(terms)?, hashes: hashes.collect::<Result<_, _>>()? })
    };
    Ok(CommandKind::PutCodes(Box::new(PutCodes {
        event: event_no(message.event_no)?,
        idempotency: idempotency(message.idempotency.as_ref())?,
        batches: message.batches.iter().map(batch).collect::<Result<_, Failure>>()?,
    })))
}

/// A code's keyed hash.
pub(super) fn code(bytes: &[u8]) -> Result<CodeHash, Failure> {
    Ok(u128::from_be_bytes(array("code", bytes)?))
}

fn code_terms(message: &pb::CodeTerms) -> Result<CodeTerms, Failure> {
    if message.categories.len() > EVENT_CATEGORIES_MAX {
        return Err(invalid("codes/categories", "are more than the event has"));
    }
    let effect = match message.effect {
        Some(Effect::Presale(true)) => CodeEffect::Presale,
        Some(Effect::PercentOff(percent)) => CodeEffect::PercentOff(
            u8::try_from(percent).map_err(|_| invalid("codes/percent_off", "must be 1 to 100"))?,
        ),
        Some(Effect::PriceMinor(price_minor)) => CodeEffect::Price(price_minor),
        Some(Effect::Presale(false)) | None => {
            return Err(invalid("codes", "must say what they do"));
        }
    };
    let categories = message.categories.iter().map(|&no| narrow("codes/categories", no));
    Ok(CodeTerms {
        label: text("codes/label", &message.label, 1, NAME_BYTES_MAX)?,
        effect,
        uses_max: message.uses_max,
        valid_from_ms: message.valid_from_ms,
        valid_until_ms: message.valid_until_ms,
        categories: categories.collect::<Result<_, _>>()?,
    })
}

/// Codes as their organizer sees them.
#[must_use]
pub fn codes(view: &CodesView) -> pb::CodesInfo {
    let CodeTerms { label, effect, uses_max, valid_from_ms, valid_until_ms, categories } =
        &view.terms;
    let effect = match *effect {
        CodeEffect::Presale => Effect::Presale(true),
        CodeEffect::PercentOff(percent) => Effect::PercentOff(u32::from(percent)),
        CodeEffect::Price(price_minor) => Effect::PriceMinor(price_minor),
    };
    let terms = pb::CodeTerms {
        label: label.to_string(),
        effect: Some(effect),
        uses_max: *uses_max,
        valid_from_ms: *valid_from_ms,
        valid_until_ms: *valid_until_ms,
        categories: categories.iter().copied().map(u32::from).collect(),
    };
    pb::CodesInfo { terms: Some(terms), codes: view.codes, uses: view.uses }
}
