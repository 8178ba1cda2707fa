//! One running catalog and a client of it.

use std::path::Path;

use onsale_catalog::{Config, Error, Handle, Service};
use onsale_mesh::{channel, server::serve_grpc};
use onsale_proto::catalog::{
    EventDocument, GetEventRequest, ListEventsRequest, PriceCategory, Row, Section,
    catalog_service_client::CatalogServiceClient,
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::{Status, transport::Channel};

use crate::feed::Feed;

pub struct Catalog {
    pub client: CatalogServiceClient<Channel>,
    pub handle: Handle,
    stop: CancellationToken,
    running: JoinHandle<Result<(), Error>>,
    serving: JoinHandle<Result<(), onsale_mesh::Failure>>,
}

impl Catalog {
    pub async fn start(folder: &Path, feed: &Feed) -> Catalog {
        let config = Config { data_dir: folder.to_owned(), ..Config::default() };
        let service = Service::open(config, feed.client()).expect("opens");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
        let address = listener.local_addr().expect("address").to_string();
        let stop = CancellationToken::new();
        let routes = service.routes();
        let handle = service.handle();
        let serving = tokio::spawn(serve_grpc(listener, routes, stop.clone()));
        let running = tokio::spawn(service.run(stop.clone()));
        let channel = channel::connect(&address).expect("address");
        let client = CatalogServiceClient::new(channel);
        Catalog { client, handle, stop, running, serving }
    }

    pub async fn get(&self, event_id: &str) -> Result<EventDocument, Status> {
        let request = GetEventRequest { event_id: event_id.to_owned() };
        let answer = self.client.clone().get_event(request).await?;
        Ok(answer.into_inner().event.expect("an event"))
    }

    pub async fn page(
        &self,
        request: ListEventsRequest,
    ) -> Result<(Vec<EventDocument>, String), Status> {
        let answer = self.client.clone().list_events(request).await?.into_inner();
        Ok((answer.events, answer.next_page_token))
    }

    /// All pages, one after the other.
    pub async fn all(&self, mut request: ListEventsRequest) -> Vec<EventDocument> {
        let mut all = Vec::new();
        loop {
            let (events, next) = self.page(request.clone()).await.expect("a page");
            assert!(events.len() <= 100 && (next.is_empty() || !events.is_empty()));
            all.extend(events);
            if next.is_empty() {
                return all;
            }
            request.page_token = next;
        }
    }

    pub async fn find(&self, query: &str) -> Vec<String> {
        let request = ListEventsRequest { query: query.to_owned(), ..Default::default() };
        ids(&self.all(request).await)
    }

    pub async fn stop(self) {
        let Catalog { client, stop, running, serving, .. } = self;
        drop(client);
        stop.cancel();
        running.await.expect("no panic").expect("ends well");
        serving.await.expect("no panic").expect("ends well");
    }
}

pub fn ids(events: &[EventDocument]) -> Vec<String> {
    events.iter().map(|event| event.event_id.clone()).collect()
}

pub fn document(event_id: &str, name: &str, starts_at_ms: u64) -> EventDocument {
    let rows = (0..25).map(|row| Row { label: format!("R{row}"), seats: 40, ..Row::default() });
    EventDocument {
        event_id: event_id.to_owned(),
        event_no: 1,
        shard: 2,
        organizer: "org".to_owned(),
        name: name.to_owned(),
        description: "An evening".to_owned(),
        category: "Concert".to_owned(),
        city: "Berlin".to_owned(),
        venue: "Arena am Ostbahnhof".to_owned(),
        starts_at_ms,
        currency: "EUR".to_owned(),
        categories: vec![PriceCategory {
            key: "A".to_owned(),
            name: "Front".to_owned(),
            price_minor: 9_500,
            ..PriceCategory::default()
        }],
        sections: vec![Section {
            key: "101".to_owned(),
            rows: rows.collect(),
            ..Section::default()
        }],
        status: "on_sale".to_owned(),
        ..EventDocument::default()
    }
}
