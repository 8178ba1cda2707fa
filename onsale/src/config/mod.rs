//! Owns the settings of `onsale run`: flags over environment over file over defaults.
//!
//! Must never print a secret, and reports every mistake at once, not the first one only.

mod layers;
mod settings;
mod table;

use std::path::Path;

pub use layers::Layers;
pub use settings::{Keys, Settings};
use table::SETTINGS;

use crate::exit::{Exit, Failed};

/// A commented file with every setting's default.
#[must_use]
pub fn template() -> String {
    let mut text = String::from(
        "# onsale: one node. Environment variables override this file: ONSALE_EDGE__LISTEN is\n\
         # edge.listen. Lines that are commented out show the default.\n",
    );
    let mut section = "";
    for setting in SETTINGS {
        let (table, name) = setting.path.split_once('.').unwrap_or(("", setting.path));
        if table != section {
            text.push_str(&format!("\n[{table}]\n"));
            section = table;
        }
        for line in setting.doc.lines() {
            text.push_str(&format!("# {}\n", line.trim()));
        }
        text.push_str(&format!("# {name} = {}\n", setting.default));
    }
    text
}

/// Says everything that is wrong with a file.
pub fn check(file: &Path) -> Result<Exit, Failed> {
    match load(file) {
        Ok(_) => {
            println!("{} is fine", file.display());
            Ok(Exit::Done)
        }
        Err(errors) => Err(Failed::usage(errors)),
    }
}

/// Prints the values in force and where each comes from.
pub fn print(file: &Path, json: bool) -> Result<Exit, Failed> {
    let layers = Layers::read(file).map_err(Failed::usage)?;
    if !layers.errors.is_empty() {
        return Err(Failed::usage(layers.errors.join("\n")));
    }
    if json {
        println!("{}", layers.to_json());
    } else {
        print!("{layers}");
    }
    Ok(Exit::Done)
}

/// The settings in force, or all that is wrong with them, a line each.
pub fn load(file: &Path) -> Result<Settings, String> {
    Settings::from_layers(&Layers::read(file)?)
}
