//! Owns `onsale verify`: prints what the allocator's verifier found and turns it into an exit code.
//!
//! Must never change a file of the folders it reads.

use std::path::PathBuf;

use crate::exit::{Exit, Failed};

/// Verifies the folders and prints the report.
pub fn verify(dirs: &[PathBuf], json: bool) -> Result<Exit, Failed> {
    let report = onsale_allocator::verify::verify(dirs);
    if json {
        let text = serde_json::to_string_pretty(&report)
            .map_err(|error| Failed::new(format!("the report cannot be written: {error}")))?;
        println!("{text}");
    } else {
        println!("{report}");
    }
    Ok(match report.exit_code() {
        0 => Exit::Done,
        3 => Exit::NotFound,
        5 => Exit::Broken,
        _ => Exit::Failed,
    })
}
