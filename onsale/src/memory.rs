//! Owns the memory allocator and its one setting.
//!
//! The only place with `unsafe` code: the setting has no safe form but the environment, which would
//! have to be there before the process is. What it is worth: see
//! `docs/adr/0004-what-made-a-hold-cheaper.md`. Must never do more than that.

#![allow(unsafe_code)]

use std::ffi::{c_int, c_long};

/// Measured, too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc 3, which the binding does not name; a test holds it.
const PURGE_DELAY: c_int = 15;

/// How long memory that was freed stays ours before the system gets it back. A shard under load
/// frees and takes the same megabytes many times a second, and cleared pages are dear.
const PURGE_DELAY_MS: c_long = 10_000;

/// Sets how long freed memory is kept, unless `MIMALLOC_PURGE_DELAY` says it.
pub(crate) fn keep_what_was_freed() {
    // SAFETY: takes two numbers, touches only mimalloc's own table of options, and checks that
    // the first one is in it. No other thread runs yet.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, PURGE_DELAY_MS) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_is_the_one_that_is_meant() {
        // Its default, which no other option of that version has.
        // SAFETY: reads one number of mimalloc's own table.
        let before = unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        assert_eq!(before, 1_000, "another version of mimalloc: look for its purge_delay");
    }
}
