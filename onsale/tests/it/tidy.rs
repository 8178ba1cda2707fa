//! The tree's own rules that no linter knows, each with what to do instead.

use std::{
    fs,
    path::{Path, PathBuf},
};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const LINES_MAX: usize = 500;
const COLUMNS_MAX: usize = 100;

/// Rust sources of the workspace with their text.
pub fn sources() -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    collect(Path::new(ROOT), &mut files);
    assert!(files.len() > 50, "the sources are not where they were");
    files
}

#[test]
fn files_are_short_and_lines_are_narrow() {
    let mut found = Vec::new();
    for (path, text) in sources() {
        let (path, lines) = (path.display(), text.lines().count());
        if lines > LINES_MAX {
            found.push(format!("{path} has {lines} lines; which room is missing?"));
        }
        for (number, line) in (1..).zip(text.lines()) {
            let columns = line.chars().count();
            if columns > COLUMNS_MAX {
                found.push(format!("{path}:{number} has {columns} columns"));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_module_says_what_it_owns() {
    for (path, text) in sources() {
        let first = text.lines().next().unwrap_or_default();
        assert!(first.starts_with("//!"), "{} does not begin with //!", path.display());
    }
}

#[test]
fn nothing_is_left_over() {
    // Put together here so that this file does not find itself.
    let banned = [
        (["todo", "!("].concat(), "finish it"),
        (["unimplemented", "!("].concat(), "finish it"),
        (["dbg", "!("].concat(), "use tracing"),
        (["#[ig", "nore"].concat(), "mend the test or delete it"),
        (["thread::sl", "eep"].concat(), "wait for a condition"),
        (["std::env::set", "_var"].concat(), "pass settings as values"),
    ];
    for (path, text) in sources() {
        // Waiting for a condition looks again after a pause; that lives in one place a crate.
        let waits = path.to_string_lossy().ends_with("support.rs");
        for (word, instead) in banned.iter().filter(|(word, _)| !waits || !word.contains("sl")) {
            assert!(!text.contains(word), "{}: {word} stands there; {instead}", path.display());
        }
    }
}

#[test]
fn every_setting_stands_in_the_docs() {
    let path = Path::new(ROOT).join("docs/configuration.md");
    let text = fs::read_to_string(path).expect("docs/configuration.md is there");
    let template = std::process::Command::new(env!("CARGO_BIN_EXE_onsale"))
        .args(["config", "template"])
        .output()
        .expect("the template is printed");
    let template = String::from_utf8(template.stdout).expect("text");
    let mut table = "";
    let mut count = 0;
    for line in template.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            table = name;
        } else if let Some((name, _)) = line.strip_prefix("# ").and_then(|l| l.split_once(" = "))
            && name.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_')
        {
            count += 1;
            let setting = format!("`{table}.{name}`");
            assert!(text.contains(&setting), "docs/configuration.md lacks {setting}");
        }
    }
    assert!(count > 20, "the template has changed its form");
}

#[test]
fn every_metric_stands_in_the_docs() {
    let path = Path::new(ROOT).join("docs/metrics.md");
    let text = fs::read_to_string(path).expect("docs/metrics.md is there");
    let all = [
        onsale_allocator::metrics::ALL,
        onsale_catalog::metrics::ALL,
        onsale_payments::metrics::ALL,
        onsale_edge::metrics::ALL,
    ];
    let lines: Vec<String> =
        all.concat().iter().map(|(name, help)| format!("| `{name}` | {help} |")).collect();
    let missing: Vec<&String> = lines.iter().filter(|line| !text.contains(line.as_str())).collect();
    assert!(missing.is_empty(), "docs/metrics.md lacks these lines:\n{missing:#?}");
}

fn collect(folder: &Path, files: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("the entry can be read").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && name != "data" && !name.starts_with('.') {
            collect(&path, files);
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(&path).expect("sources are UTF-8");
            files.push((path, text));
        }
    }
}
