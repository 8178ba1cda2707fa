//! Owns the sandbox gateway: a server with the paths, forms, keys, errors and webhooks of Stripe's
//! REST API, so that any client of that API works against it. No money moves.
//!
//! It keeps books (`GET /sandbox/books`) that survive the death of its process when it has a
//! folder. Must never share code with [`crate::gateway`] that knows what an answer means: the two
//! are each other's test.

mod answer;
mod books;
mod form;
mod http;
mod intents;
mod journal;
mod objects;
mod page;
mod reads;
mod refunds;
mod webhooks;

use std::{path::PathBuf, sync::Arc};

use axum::{Router, extract::DefaultBodyLimit};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::{books::Books, http::Sandbox, journal::Journal, webhooks::Webhooks};
use crate::{Error, limits};

/// The API version whose shapes these are.
pub(crate) const API_VERSION: &str = "2024-06-20";

/// How a sandbox is run.
#[derive(Clone, Default)]
pub struct Config {
    /// The key callers must show.
    pub gateway_key: String,
    /// Signs webhooks.
    pub webhook_secret: String,
    /// Where webhooks go; none are sent without.
    pub webhook_url: Option<String>,
    /// Where its pages are for buyers; the listener's address without.
    pub public_url: Option<String>,
    /// Where its journal lies; without, everything is forgotten at the end.
    pub data_dir: Option<PathBuf>,
    /// Requests a second it takes, like the real one's 25; without, all.
    pub rate_max: Option<u32>,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("webhook_url", &self.webhook_url)
            .field("public_url", &self.public_url)
            .field("data_dir", &self.data_dir)
            .field("rate_max", &self.rate_max)
            .finish_non_exhaustive()
    }
}

/// Serves until `shutdown`; requests under way are finished.
///
/// # Errors
/// When the journal cannot be read or written, or the listener fails.
pub async fn run(
    config: Config,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let address = listener.local_addr().map_err(Error::Listener)?;
    let base_url = config.public_url.unwrap_or_else(|| format!("http://{address}"));
    let mut books = Books::default();
    let journal = match config.data_dir {
        None => None,
        Some(folder) => {
            let opening = tokio::task::spawn_blocking(move || {
                let journal = Journal::open(&folder, |post| drop(books.execute(post)))?;
                Ok::<_, Error>((journal, books))
            });
            let opened = opening.await.map_err(|error| Error::Journal(error.to_string()))?;
            let (journal, played) = opened?;
            books = played;
            Some(journal)
        }
    };
    let webhooks = match config.webhook_url {
        None => None,
        Some(url) => {
            Some(Webhooks::start(url, config.webhook_secret, base_url.clone(), shutdown.clone())?)
        }
    };
    let sandbox = Arc::new(Sandbox::new(
        config.gateway_key,
        base_url,
        config.rate_max,
        books,
        journal,
        webhooks,
    ));
    let routes = Router::new()
        .fallback(http::handle)
        .layer(DefaultBodyLimit::max(limits::SANDBOX_BODY_BYTES_MAX))
        .with_state(Arc::clone(&sandbox));
    let serving = axum::serve(listener, routes)
        .with_graceful_shutdown(shutdown.clone().cancelled_owned())
        .into_future();
    tokio::select! {
        served = serving => served.map_err(Error::Listener),
        () = journal_failed(&sandbox) => Err(Error::Journal("the journal failed".to_owned())),
        () = drained(&shutdown) => Ok(()),
    }
}

async fn journal_failed(sandbox: &Sandbox) {
    match &sandbox.journal {
        Some(journal) => journal.failed().await,
        None => std::future::pending().await,
    }
}

/// Clients that keep their connections open must not hold up the end.
async fn drained(shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(limits::SANDBOX_DRAIN_MAX).await;
}
