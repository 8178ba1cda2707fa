//! Owns the gRPC service that the edge calls: webhooks and ticket pictures.
//!
//! Must never answer for a job; those speak to the shards.

use std::sync::Arc;

use onsale_proto::payments::{
    ReceiveWebhookRequest, ReceiveWebhookResponse, RenderTicketRequest, RenderTicketResponse,
    payments_service_server::PaymentsService,
};
use tonic::{Request, Response, Status};

use crate::{ticket, webhook::Webhooks};

/// Serves `onsale.payments.v1.PaymentsService`.
#[derive(Clone)]
pub(crate) struct Payments {
    pub(crate) webhooks: Arc<Webhooks>,
}

#[tonic::async_trait]
impl PaymentsService for Payments {
    async fn receive_webhook(
        &self,
        request: Request<ReceiveWebhookRequest>,
    ) -> Result<Response<ReceiveWebhookResponse>, Status> {
        let request = request.into_inner();
        self.webhooks.receive(&request.body, &request.signature).await?;
        Ok(Response::new(ReceiveWebhookResponse {}))
    }

    async fn render_ticket(
        &self,
        request: Request<RenderTicketRequest>,
    ) -> Result<Response<RenderTicketResponse>, Status> {
        let svg = ticket::render(&request.into_inner().code)?;
        Ok(Response::new(RenderTicketResponse { svg }))
    }
}
