//! Owns what is left of a run for people: one HTML file that needs nothing else, its JSON beside
//! it, and thresholds that a build can fail on.

mod html;
mod svg;
mod threshold;

use std::path::Path;

use anyhow::Context as _;

pub use self::threshold::Threshold;
use crate::{
    exit::{Exit, ended},
    result::{RunResult, SCHEMA},
};

/// Writes the HTML and its JSON beside it.
///
/// # Errors
/// When a file cannot be written.
pub fn write(result: &RunResult, thresholds: &[Threshold], path: &Path) -> anyhow::Result<()> {
    write_html(result, thresholds, path)?;
    let json = path.with_extension("json");
    let text = serde_json::to_vec_pretty(result)?;
    std::fs::write(&json, text).with_context(|| format!("{}", json.display()))?;
    eprintln!("report: {} and {}", path.display(), json.display());
    Ok(())
}

/// Writes the HTML.
///
/// # Errors
/// When the file cannot be written.
pub fn write_html(result: &RunResult, thresholds: &[Threshold], path: &Path) -> anyhow::Result<()> {
    std::fs::write(path, html::page(result, thresholds))
        .with_context(|| format!("{}", path.display()))
}

/// Reads a run's JSON.
///
/// # Errors
/// Not found, or usage when it is not a run of this version.
pub fn read(path: &Path) -> anyhow::Result<RunResult> {
    let text = std::fs::read(path)
        .map_err(|error| ended(Exit::NotFound, format!("{}: {error}", path.display())))?;
    let wrong = |why: String| ended(Exit::Usage, format!("{}: {why}", path.display()));
    let value: serde_json::Value =
        serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
    if value["schema"] != SCHEMA {
        return Err(wrong(format!("is not a run ({SCHEMA})")));
    }
    serde_json::from_value(value).map_err(|error| wrong(error.to_string()))
}

/// The thresholds that a run does not hold, each with what was measured.
pub fn missed(thresholds: &[Threshold], result: &RunResult) -> Vec<String> {
    thresholds.iter().filter_map(|rule| rule.missed(result)).collect()
}

#[cfg(test)]
mod tests;
