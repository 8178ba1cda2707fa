//! Owns the operators' HTTP endpoints: `/livez`, `/readyz`, `/metrics`, on a listener of their own.
//!
//! Must never be reachable by buyers, and never decide liveness by the state of other nodes.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::PrometheusHandle;
use parking_lot::Mutex;
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::CancellationToken;

/// Connections of operators and probes at once.
pub const CONNECTIONS_MAX: usize = 64;
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// Which named parts of the process can serve. Ready when all of them can.
#[derive(Clone, Default)]
pub struct Readiness {
    parts: Arc<Mutex<BTreeMap<&'static str, bool>>>,
}

/// One part's say in the process's readiness.
#[derive(Clone)]
pub struct Part {
    readiness: Readiness,
    name: &'static str,
}

impl Readiness {
    /// Registers a part, not ready yet.
    #[must_use]
    pub fn part(&self, name: &'static str) -> Part {
        self.parts.lock().entry(name).or_insert(false);
        Part { readiness: self.clone(), name }
    }

    /// Whether all registered parts can serve.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.parts.lock().values().all(|ready| *ready)
    }

    fn describe(&self) -> String {
        let parts = self.parts.lock();
        parts
            .iter()
            .map(|(name, ready)| {
                format!("{name}: {}\n", if *ready { "ready" } else { "not ready" })
            })
            .collect()
    }
}

impl Part {
    /// Says whether this part can serve.
    pub fn set(&self, ready: bool) {
        self.readiness.parts.lock().insert(self.name, ready);
    }
}

/// Serves the endpoints until `shutdown`.
pub async fn serve(
    listener: TcpListener,
    metrics: Option<PrometheusHandle>,
    readiness: Readiness,
    shutdown: CancellationToken,
) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => return,
        };
        let Ok((socket, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let Ok(permit) = Arc::clone(&connections).try_acquire_owned() else {
            continue;
        };
        let (metrics, readiness) = (metrics.clone(), readiness.clone());
        let shutdown = shutdown.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let response = answer(&request, metrics.as_ref(), &readiness);
                async move { Ok::<_, Infallible>(response) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .serve_connection(TokioIo::new(socket), service);
            tokio::select! {
                _ = connection => {}
                () = shutdown.cancelled() => {}
            }
            drop(permit);
        });
    }
}

fn answer(
    request: &Request<Incoming>,
    metrics: Option<&PrometheusHandle>,
    readiness: &Readiness,
) -> Response<Full<Bytes>> {
    let (status, body) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/livez") => (StatusCode::OK, "alive\n".to_owned()),
        (&Method::GET, "/readyz") if readiness.is_ready() => (StatusCode::OK, readiness.describe()),
        (&Method::GET, "/readyz") => (StatusCode::SERVICE_UNAVAILABLE, readiness.describe()),
        (&Method::GET, "/metrics") => {
            (StatusCode::OK, metrics.map(PrometheusHandle::render).unwrap_or_default())
        }
        (_, "/livez" | "/readyz" | "/metrics") => {
            (StatusCode::METHOD_NOT_ALLOWED, "GET only\n".to_owned())
        }
        _ => (StatusCode::NOT_FOUND, "there are /livez, /readyz and /metrics here\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let text = header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    response
}
