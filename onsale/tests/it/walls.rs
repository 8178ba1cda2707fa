//! Who may import whom, read from the manifests.

use std::{collections::BTreeMap, fs, path::Path};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Crate folder → the workspace crates it may see.
const WALLS: &[(&str, &[&str])] = &[
    ("proto", &[]),
    ("mesh", &["proto"]),
    ("allocator/state", &[]),
    ("allocator", &["proto", "mesh", "state"]),
    ("catalog", &["proto", "mesh"]),
    ("payments", &["proto", "mesh"]),
    ("edge", &["proto", "mesh"]),
    ("onsale", &["proto", "mesh", "allocator", "catalog", "payments", "edge"]),
    ("bench", &["proto", "mesh", "state"]),
];

/// Crates that must never see these libraries.
const BANNED: &[(&str, &[&str])] = &[
    ("allocator/state", &["tokio", "tonic", "tracing", "rand", "getrandom", "jiff"]),
    ("proto", &["anyhow", "clap", "openraft", "reqwest", "axum"]),
    ("mesh", &["anyhow", "clap", "openraft", "reqwest", "sled"]),
    ("allocator", &["anyhow", "clap", "reqwest", "sled", "axum"]),
    ("catalog", &["anyhow", "clap", "openraft", "reqwest", "axum"]),
    ("payments", &["anyhow", "clap", "openraft"]),
    ("edge", &["anyhow", "clap", "openraft", "reqwest", "sled"]),
];

#[test]
fn crates_see_only_what_the_walls_let_them_see() {
    for (folder, allowed) in WALLS {
        for name in dependencies(folder) {
            let Some(seen) = name.strip_prefix("onsale-") else {
                continue;
            };
            assert!(
                allowed.contains(&seen),
                "{folder} must not depend on {name}: it may see only {allowed:?}"
            );
        }
    }
}

#[test]
fn libraries_stay_where_they_belong() {
    for (folder, banned) in BANNED {
        for name in dependencies(folder) {
            assert!(!banned.contains(&name.as_str()), "{folder} must not depend on {name}");
        }
    }
}

#[test]
fn only_their_own_folder_knows_openraft_stripe_and_log_files() {
    let rooms = [
        ("openraft::", "allocator/src/raft/"),
        ("/v1/payment_intents", "payments/src/gateway/ payments/src/sandbox/"),
        ("O_DIRECT", "allocator/src/log/"),
    ];
    let sources = super::tidy::sources();
    for (word, homes) in rooms {
        for (path, text) in &sources {
            let path = path.to_string_lossy();
            let at_home = homes.split(' ').any(|home| path.contains(home));
            let is_test = path.contains("/tests/") || path.contains("/examples/");
            assert!(
                at_home || is_test || !code(text).contains(word),
                "{path} knows {word}, which belongs to {homes}"
            );
        }
    }
}

/// The text without comments.
fn code(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Names of the normal and build dependencies.
fn dependencies(folder: &str) -> Vec<String> {
    let path = Path::new(ROOT).join(folder).join("Cargo.toml");
    let text = fs::read_to_string(&path).expect("the manifest is there");
    let manifest: toml::Table = text.parse().expect("the manifest is TOML");
    let tables: BTreeMap<String, toml::Value> = ["dependencies", "build-dependencies"]
        .into_iter()
        .filter_map(|table| manifest.get(table)?.as_table().cloned())
        .flatten()
        .collect();
    tables.into_keys().collect()
}
