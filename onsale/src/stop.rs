//! Owns when the process ends: a signal, or the parent that is gone.
//!
//! Must never cut work short by itself: it only says that no new work should start.

use std::{io::Read as _, time::Duration};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::exit::Failed;

/// From the signal to the end of the process, at the most (contract: 10 s).
pub const STOP_MAX: Duration = Duration::from_secs(9);

/// A token that is cancelled by SIGTERM or Ctrl-C.
///
/// # Errors
/// When the operating system refuses the signal handlers.
pub fn on_signal() -> Result<CancellationToken, Failed> {
    let failed = |error| Failed::new(format!("signals cannot be handled: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let stop = CancellationToken::new();
    let told = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        told.cancel();
    });
    Ok(stop)
}

/// Cancels the token when stdin ends, which it does when the parent dies, however it dies.
pub fn with_parent(stop: CancellationToken) {
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        let mut buffer = [0; 64];
        while matches!(stdin.read(&mut buffer), Ok(read) if read > 0) {}
        stop.cancel();
    });
}
