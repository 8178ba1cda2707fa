//! Owns what the edge says about itself: the OpenAPI document and the public keys of tickets.
//!
//! Must never describe a route that is not in the table.

use std::sync::Arc;

use http::StatusCode;

use crate::{
    problem::Problem,
    reply::{self, Reply},
    request::Request,
    service::Edge,
};

/// `GET /openapi.json`
pub(crate) async fn openapi(edge: Arc<Edge>, request: Request) -> Result<Reply, Problem> {
    Ok(reply::tagged(
        request.headers(),
        &edge.openapi.etag,
        "public, max-age=60",
        edge.openapi.body.clone(),
    ))
}

/// `GET /v1/keys`
pub(crate) async fn keys(edge: Arc<Edge>, _request: Request) -> Result<Reply, Problem> {
    Ok(reply::json(StatusCode::OK, edge.signing_keys.json()))
}
