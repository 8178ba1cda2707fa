//! Owns a catalog instance's life: open, serve, follow the control group, stop.
//!
//! Must never report ready before it has applied a snapshot of this cluster.

use std::sync::Arc;

use futures_util::FutureExt as _;
use onsale_mesh::{Follower, ShardClient};
use onsale_proto::catalog::catalog_service_server::CatalogServiceServer;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::writer::Writer;
use crate::{Config, Error, index, limits, metrics, rpc::Rpc, store::Store, view::View};

/// The shard whose feed has documents: the control group.
pub const CONTROL_SHARD: u32 = 0;

/// A catalog instance.
pub struct Service {
    view: Arc<View>,
    writer: Writer,
    follower: Follower,
    progress: watch::Sender<Progress>,
}

/// What others in the process may ask a running instance. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    progress: watch::Receiver<Progress>,
}

#[derive(Clone, Copy, Default)]
struct Progress {
    ready: bool,
    position: u64,
    documents: usize,
}

impl Service {
    /// Opens the folder, fills the search index from it; follows nothing yet. Blocks for as long
    /// as reading the folder takes.
    ///
    /// # Errors
    /// Wrong settings, a folder that cannot be opened or is in use.
    pub fn open(config: Config, client: ShardClient) -> Result<Service, Error> {
        let wrong = config.check();
        if !wrong.is_empty() {
            return Err(Error::Config(wrong));
        }
        metrics::describe();
        let (store, found) = Store::open(&config)?;
        let (index, index_writer) = index::create()?;
        let view = Arc::new(View { store, index });
        let writer = Writer::new(Arc::clone(&view), index_writer, found)?;
        let (progress, _) = watch::channel(Progress::default());
        Ok(Service { view, writer, follower: client.follow(CONTROL_SHARD), progress })
    }

    /// `CatalogService`. Health and reflection are the server's (`onsale_mesh::server`).
    #[must_use]
    pub fn routes(&self) -> Routes {
        Routes::new(CatalogServiceServer::new(Rpc::new(Arc::clone(&self.view))))
    }

    /// Where to ask how far it is.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle { progress: self.progress.subscribe() }
    }

    /// Follows the control group until `shutdown`.
    ///
    /// # Errors
    /// When the store or the index fails; remedy: remove the folder and start again.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        let Service { view, mut writer, mut follower, progress } = self;
        loop {
            let first = tokio::select! {
                message = follower.next() => message,
                () = shutdown.cancelled() => break,
            };
            let mut batch = vec![first];
            while batch.len() < limits::FEED_BATCH_MAX
                && let Some(message) = follower.next().now_or_never()
            {
                batch.push(message);
            }
            writer = aside(move || {
                writer.apply(batch)?;
                Ok(writer)
            })
            .await?;
            report(&progress, &writer);
        }
        // Reads under way keep the folder open until they end.
        drop(writer);
        aside(move || view.store.flush()).await
    }
}

fn report(progress: &watch::Sender<Progress>, writer: &Writer) {
    let now = Progress {
        ready: writer.synced(),
        position: writer.position(),
        documents: writer.documents(),
    };
    progress.send_replace(now);
    // f64 is exact far beyond any index or count here.
    #[allow(clippy::cast_precision_loss)]
    {
        ::metrics::gauge!(metrics::POSITION).set(now.position as f64);
        ::metrics::gauge!(metrics::DOCUMENTS).set(now.documents as f64);
    }
}

async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Error::Task(error.to_string())))
}

impl Handle {
    /// Waits until a snapshot of the cluster is applied; false when the service ended before.
    pub async fn ready(&self) -> bool {
        let mut progress = self.progress.clone();
        progress.wait_for(|progress| progress.ready).await.is_ok()
    }

    /// Whether a snapshot of the cluster is applied.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.progress.borrow().ready
    }

    /// Waits until everything up to this index of the control group is visible; false when the
    /// service ended before.
    pub async fn reached(&self, index: u64) -> bool {
        let mut progress = self.progress.clone();
        progress.wait_for(|now| now.ready && now.position >= index).await.is_ok()
    }

    /// The control group's index up to which the catalog is exact.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.progress.borrow().position
    }

    /// Published events kept.
    #[must_use]
    pub fn documents(&self) -> usize {
        self.progress.borrow().documents
    }
}
