//! Owns how the layers of settings lie over one another and where each value comes from.
//!
//! Must never show a secret's value, in print or in an error.

use std::{collections::BTreeMap, fmt, path::Path};

use serde_json::{Value as Json, json};
use toml::Value;

use super::table::{SETTINGS, Setting};

const PREFIX: &str = "ONSALE_";

/// The values in force by path.
#[derive(Debug)]
pub struct Layers {
    values: BTreeMap<&'static str, (Value, Origin)>,
    /// What could not be laid over the defaults, a line each.
    pub(super) errors: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    Default,
    File(String),
    Environment(String),
}

impl Layers {
    /// Reads the file and the environment over the defaults; what does not fit is noted, and
    /// said together with what [`super::Settings`] finds wrong with the rest.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(file: &Path) -> Result<Layers, String> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| format!("{}: {error}", file.display()))?;
        let environment = std::env::vars().filter(|(name, _)| name.starts_with(PREFIX));
        Ok(Layers::over_defaults(&file.display().to_string(), &text, environment))
    }

    pub(super) fn over_defaults(
        name: &str,
        text: &str,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Layers {
        let mut errors = Vec::new();
        let mut values = BTreeMap::new();
        for setting in SETTINGS {
            if let Some(value) = parse(setting.default) {
                values.insert(setting.path, (value, Origin::Default));
            }
        }
        let mut layers = Layers { values, errors: Vec::new() };
        match text.parse::<toml::Table>() {
            Ok(table) => layers.add_file(name, &table, &mut errors),
            Err(error) => errors.push(format!("{name}: {}", error.to_string().trim_end())),
        }
        for (variable, value) in environment {
            layers.add_variable(&variable, &value, &mut errors);
        }
        layers.errors = errors;
        layers
    }

    /// A value in force; the table has it, so it is there.
    pub(super) fn value(&self, path: &str) -> Option<&Value> {
        self.values.get(path).map(|(value, _)| value)
    }

    /// One JSON document: path → value and origin.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let settings: BTreeMap<&str, Json> = SETTINGS
            .iter()
            .filter_map(|setting| {
                let (_, origin) = self.values.get(setting.path)?;
                let shown = self.shown(setting);
                Some((setting.path, json!({"value": shown, "origin": origin.to_string()})))
            })
            .collect();
        json!(settings)
    }

    fn add_file(&mut self, name: &str, file: &toml::Table, errors: &mut Vec<String>) {
        for (table, content) in file {
            let Some(content) = content.as_table() else {
                errors.push(format!("{name}: {table} is not a table; write [{table}]"));
                continue;
            };
            for (key, value) in content {
                let path = format!("{table}.{key}");
                self.put(&path, value.clone(), Origin::File(name.to_owned()), errors);
            }
        }
    }

    fn add_variable(&mut self, variable: &str, text: &str, errors: &mut Vec<String>) {
        let path = variable[PREFIX.len()..].to_lowercase().replacen("__", ".", 1);
        // ONSALE_LOG and the like belong to others; only table__name is a setting.
        if !path.contains('.') {
            return;
        }
        let is_text = self.value(&path).is_some_and(Value::is_str);
        let value = match parse(text) {
            Some(value) if !is_text || value.is_str() => value,
            _ => Value::String(text.to_owned()),
        };
        self.put(&path, value, Origin::Environment(variable.to_owned()), errors);
    }

    fn put(&mut self, path: &str, value: Value, origin: Origin, errors: &mut Vec<String>) {
        let Some(setting) = SETTINGS.iter().find(|setting| setting.path == path) else {
            errors.push(format!("{origin}: there is no setting {path}{}", did_you_mean(path)));
            return;
        };
        let expected = self.value(path).map_or("string", Value::type_str);
        if value.type_str() != expected {
            let found = value.type_str();
            errors.push(format!("{origin}: {path} must be of type {expected}, not {found}"));
            return;
        }
        self.values.insert(setting.path, (value, origin));
    }

    fn shown(&self, setting: &Setting) -> String {
        match self.value(setting.path) {
            Some(Value::String(text)) if setting.secret && !text.is_empty() => {
                "(redacted)".to_owned()
            }
            Some(value) => value.to_string(),
            None => String::new(),
        }
    }
}

impl fmt::Display for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for setting in SETTINGS {
            if let Some((_, origin)) = self.values.get(setting.path) {
                writeln!(f, "{} = {}  # {origin}", setting.path, self.shown(setting))?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(name) => f.write_str(name),
            Origin::Environment(variable) => f.write_str(variable),
        }
    }
}

fn parse(text: &str) -> Option<Value> {
    let table: toml::Table = format!("value = {text}").parse().ok()?;
    if table.len() == 1 { table.get("value").cloned() } else { None }
}

fn did_you_mean(path: &str) -> String {
    let name = path.split_once('.').map_or(path, |(_, name)| name);
    SETTINGS
        .iter()
        .find(|setting| setting.path.ends_with(&format!(".{name}")))
        .map(|setting| format!("; is {} meant?", setting.path))
        .unwrap_or_default()
}
