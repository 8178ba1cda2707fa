//! Owns the three events of the demo (contract: ids and sizes).
//!
//! Must never change an event that is there already: on a kept folder it finds them.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use onsale_mesh::{Deadline, ShardClient};
use onsale_proto::{
    Code, allocator as pb,
    catalog::{EventDocument, PriceCategory, Row, Rules, Section},
    time,
};
use prost::Message as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::config::Keys;

const ATTEMPT: Duration = Duration::from_secs(3);
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
const ORGANIZER: &str = "organizer";
const IDS: [&str; 3] = ["evt_arena", "evt_theatre", "evt_club"];
const LISTED_POLL: Duration = Duration::from_millis(15);
const HTTP: &str = "HTTP/1.1 ";
const OK: &str = "HTTP/1.1 200";
const UNKNOWN: &str = "HTTP/1.1 401";
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// Creates the events, trying again until they are there.
pub async fn seed(client: &ShardClient) {
    for document in [arena(), theatre(), club()] {
        let bytes = Bytes::from(document.encode_to_vec());
        loop {
            let request = pb::CreateEventRequest { document: bytes.clone(), idempotency: None };
            match client.create_event(request, Deadline::after(ATTEMPT)).await {
                Ok(_) => break,
                Err(failure) if failure.code == Code::Conflict => break,
                Err(failure) if failure.code.retryable() => {
                    tracing::info!(event = document.event_id, %failure, "not seeded yet");
                }
                Err(failure) => {
                    tracing::error!(event = document.event_id, %failure, "cannot be seeded");
                    break;
                }
            }
        }
    }
}

/// Waits until buyers see the events: listed, with what is free in them.
pub async fn wait_until_listed(listen: SocketAddr) {
    for event in IDS {
        let availability = format!("/v1/events/{event}/availability");
        for path in ["/v1/events?limit=100", &availability] {
            let listed = |answer: String| answer.starts_with(OK) && answer.contains(event);
            while !ask(listen, path, "").await.is_ok_and(listed) {
                tokio::time::sleep(LISTED_POLL).await;
            }
        }
    }
}

/// Waits until the edge knows the keys, so that nobody is refused who waited for `ready`.
pub async fn wait_until_known(listen: SocketAddr, keys: &Keys) {
    for (_, key) in &keys.0 {
        let header = format!("Authorization: Bearer {key}\r\n");
        // A key of another role is forbidden, and there is no such event: both know the key.
        let known = |answer: String| answer.starts_with(HTTP) && !answer.starts_with(UNKNOWN);
        while !ask(listen, "/v1/events/evt_none/kills", &header).await.is_ok_and(known) {
            tokio::time::sleep(LISTED_POLL).await;
        }
    }
}

/// The answer to a GET, as anybody would ask it.
async fn ask(listen: SocketAddr, path: &str, headers: &str) -> std::io::Result<String> {
    let mut socket = TcpStream::connect(listen).await?;
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {listen}\r\nConnection: close\r\n{headers}\r\n");
    socket.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    socket.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn arena() -> EventDocument {
    let categories = vec![
        category("FLOOR", "Floor", 12_900),
        category("LOWER", "Lower ring", 8_900),
        category("UPPER", "Upper ring", 4_900),
    ];
    let sections = (0..60_u32)
        .map(|number| {
            let ring = number / 20;
            let key = (ring + 1) * 100 + number % 20 + 1;
            seated(&key.to_string(), ring, 25, 40, &[])
        })
        .collect();
    EventDocument {
        event_id: "evt_arena".to_owned(),
        name: "Northern Lights, the arena show".to_owned(),
        description: "One night, 60,000 seats, everybody at once.".to_owned(),
        category: "concert".to_owned(),
        city: "Hamburg".to_owned(),
        venue: "Harbour Arena".to_owned(),
        categories,
        sections,
        ..common(90)
    }
}

fn theatre() -> EventDocument {
    let categories = vec![
        category("STALLS", "Stalls", 6_500),
        category("CIRCLE", "Circle", 4_500),
        category("GALLERY", "Gallery", 2_500),
    ];
    let sections = vec![
        seated("STALLS", 0, 20, 30, &[1, 2, 29, 30]),
        seated("CIRCLE", 1, 16, 25, &[1, 25]),
        seated("GALLERY", 2, 10, 20, &[]),
    ];
    EventDocument {
        event_id: "evt_theatre".to_owned(),
        name: "The Winter's Tale".to_owned(),
        description: "A play in five acts.".to_owned(),
        category: "theatre".to_owned(),
        city: "Vienna".to_owned(),
        venue: "Theatre on the Canal".to_owned(),
        categories,
        sections,
        ..common(45)
    }
}

fn club() -> EventDocument {
    let floor = Section {
        key: "FLOOR".to_owned(),
        name: "Floor".to_owned(),
        category: 0,
        capacity: 2_000,
        ..Section::default()
    };
    EventDocument {
        event_id: "evt_club".to_owned(),
        name: "Low End Theory, club night".to_owned(),
        description: "Doors at ten, standing only.".to_owned(),
        category: "club".to_owned(),
        city: "Berlin".to_owned(),
        venue: "Boiler House".to_owned(),
        categories: vec![category("GA", "General admission", 2_200)],
        sections: vec![floor],
        ..common(20)
    }
}

fn common(days: u64) -> EventDocument {
    let now = time::now_ms();
    // Evenings at 19:30 UTC.
    let evening = now - now % DAY_MS + days * DAY_MS + 39 * DAY_MS / 48;
    EventDocument {
        organizer: ORGANIZER.to_owned(),
        revision: 1,
        starts_at_ms: evening,
        onsale_at_ms: now.saturating_sub(DAY_MS),
        currency: "EUR".to_owned(),
        status: "on_sale".to_owned(),
        rules: Some(Rules {
            seats_per_order_max: 8,
            seats_per_buyer_max: 8,
            hold_ttl_ms: 10 * 60 * 1_000,
            hold_extensions_max: 1,
            ..Rules::default()
        }),
        ..EventDocument::default()
    }
}

fn category(key: &str, name: &str, price_minor: u64) -> PriceCategory {
    PriceCategory {
        key: key.to_owned(),
        name: name.to_owned(),
        price_minor,
        ..PriceCategory::default()
    }
}

/// `accessible` are the seats of the front row that can be reached without steps.
fn seated(key: &str, category: u32, rows: u32, seats: u32, accessible: &[u32]) -> Section {
    let rows = (0..rows).map(|row| Row {
        label: char::from_u32(u32::from(b'A') + row).unwrap_or('A').to_string(),
        seats,
        accessible: if row == 0 { accessible.to_vec() } else { Vec::new() },
        companion: Vec::new(),
    });
    Section {
        key: key.to_owned(),
        name: format!("Section {key}"),
        category,
        rows: rows.collect(),
        ..Section::default()
    }
}
