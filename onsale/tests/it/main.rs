//! What must be true of the whole: the walls between crates, the tidiness of the tree, and the
//! binary as its users run it, with real processes that are really killed.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod bad_input;
mod best_available;
mod channels;
#[path = "../../../edge/tests/it/client.rs"]
#[allow(dead_code)]
mod client;
mod cluster;
mod code_pages;
mod codes;
mod hoarding;
mod nodes;
mod offers;
mod oversell;
mod processes;
mod purchase;
mod release_kill;
mod rolling;
mod staff;
mod support;
mod tidy;
#[path = "../../../edge/tests/it/walk.rs"]
#[allow(dead_code)]
mod walk;
mod walls;
