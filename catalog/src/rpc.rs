//! Owns the gRPC answers of `CatalogService`. Must never block a runtime thread: reads run aside,
//! in bounded number.

use std::{sync::Arc, time::Instant};

use onsale_mesh::Failure;
use onsale_proto::{
    Code,
    catalog::{
        GetEventRequest, GetEventResponse, ListEventsRequest, ListEventsResponse,
        catalog_service_server::CatalogService,
    },
};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use crate::{limits, metrics, view::View};

/// The service over a view.
#[derive(Clone)]
pub(crate) struct Rpc {
    view: Arc<View>,
    reads: Arc<Semaphore>,
}

impl Rpc {
    pub(crate) fn new(view: Arc<View>) -> Rpc {
        Rpc { view, reads: Arc::new(Semaphore::new(limits::READS_MAX)) }
    }

    async fn read<T: Send + 'static>(
        &self,
        method: &'static str,
        read: impl FnOnce(&View) -> Result<T, Failure> + Send + 'static,
    ) -> Result<Response<T>, Status> {
        let started = Instant::now();
        let answer = match Arc::clone(&self.reads).try_acquire_owned() {
            Err(_) => Err(Failure::new(Code::Overloaded, "too many catalog reads at once")),
            Ok(permit) => {
                let view = Arc::clone(&self.view);
                let reading = tokio::task::spawn_blocking(move || {
                    let answer = read(&view);
                    drop(permit);
                    answer
                });
                reading.await.unwrap_or_else(|error| {
                    tracing::error!(%error, "a catalog read ended early");
                    Err(Failure::new(Code::Internal, "the catalog failed to answer"))
                })
            }
        };
        let code = answer.as_ref().map_or_else(|failure| failure.code.as_str(), |_| "ok");
        ::metrics::counter!(metrics::REQUESTS, "method" => method, "code" => code).increment(1);
        ::metrics::histogram!(metrics::REQUEST_SECONDS, "method" => method)
            .record(started.elapsed().as_secs_f64());
        Ok(Response::new(answer?))
    }
}

#[tonic::async_trait]
impl CatalogService for Rpc {
    async fn list_events(
        &self,
        request: Request<ListEventsRequest>,
    ) -> Result<Response<ListEventsResponse>, Status> {
        let request = request.into_inner();
        self.read("list_events", move |view| view.list(&request)).await
    }

    async fn get_event(
        &self,
        request: Request<GetEventRequest>,
    ) -> Result<Response<GetEventResponse>, Status> {
        let event_id = request.into_inner().event_id;
        self.read("get_event", move |view| {
            Ok(GetEventResponse { event: Some(view.get(&event_id)?) })
        })
        .await
    }
}
