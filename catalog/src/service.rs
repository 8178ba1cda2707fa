//! Owns a catalog instance's life: open, serve, follow the control group, stop.
//!
//! Must never report ready before it has applied a snapshot of this cluster.

use std::sync::Arc;

use futures_util::FutureExt as _;
use onsale_mesh::{Follower, ShardClient};
use onsale_proto::{
    FILE_DESCRIPTORS,
    catalog::catalog_service_server::{CatalogServiceServer, SERVICE_NAME},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic_health::{ServingStatus, server::HealthReporter};

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
    health: HealthReporter,
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
        Ok(Service {
            view,
            writer,
            follower: client.follow(CONTROL_SHARD),
            progress,
            health: HealthReporter::new(),
        })
    }

    /// `CatalogService`, for a server that also has other roles' services.
    #[must_use]
    pub fn routes(&self) -> Routes {
        Routes::new(CatalogServiceServer::new(Rpc::new(Arc::clone(&self.view))))
    }

    /// `CatalogService` with health and reflection, for a server of its own.
    ///
    /// # Errors
    /// Never in practice: the descriptors are built in.
    pub fn standalone_routes(&self) -> Result<Routes, Error> {
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()
            .map_err(|error| Error::Task(error.to_string()))?;
        let health = tonic_health::server::HealthService::from_health_reporter(self.health.clone());
        let health = tonic_health::pb::health_server::HealthServer::new(health);
        Ok(self.routes().add_service(health).add_service(reflection))
    }

    /// Where to ask how far it is.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle {
            progress: self.progress.subscribe(),
        }
    }

    /// Follows the control group until `shutdown`.
    ///
    /// # Errors
    /// When the store or the index fails; remedy: remove the folder and start again.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        let Service {
            view,
            mut writer,
            mut follower,
            progress,
            health,
        } = self;
        health
            .set_service_status(SERVICE_NAME, ServingStatus::NotServing)
            .await;
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
            if writer.synced() {
                health
                    .set_service_status(SERVICE_NAME, ServingStatus::Serving)
                    .await;
            }
        }
        health
            .set_service_status(SERVICE_NAME, ServingStatus::NotServing)
            .await;
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

    /// Waits until everything up to this index of the control group is visible; false when the
    /// service ended before.
    pub async fn reached(&self, index: u64) -> bool {
        let mut progress = self.progress.clone();
        progress
            .wait_for(|now| now.ready && now.position >= index)
            .await
            .is_ok()
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
