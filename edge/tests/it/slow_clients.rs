//! Clients that are slow, silent, greedy or talk nonsense.

use std::time::{Duration, Instant};

use onsale_edge::Config;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    client::{Answer, PATIENCE, ask, raw},
    fixture::{Fixture, unlimited},
};

fn hasty() -> Config {
    Config {
        first_byte_ms: 150,
        header_ms: 150,
        body_ms: 150,
        idle_ms: 400,
        write_stall_ms: 300,
        ..unlimited()
    }
}

/// Reads until the other side hangs up; how long that took and what came.
async fn until_closed(stream: &mut TcpStream) -> (Duration, Vec<u8>) {
    let started = Instant::now();
    let mut bytes = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    let _ = read.expect("cut off in time");
    (started.elapsed(), bytes)
}

async fn connect(fixture: &Fixture) -> TcpStream {
    TcpStream::connect(&fixture.address).await.expect("the edge listens")
}

#[tokio::test]
async fn who_says_nothing_is_cut_off() {
    let fixture = Fixture::with(hasty()).await;
    let (took, bytes) = until_closed(&mut connect(&fixture).await).await;
    assert!(bytes.is_empty());
    assert!(took >= Duration::from_millis(150), "{took:?}");
}

#[tokio::test]
async fn a_head_that_trickles_is_cut_off() {
    let fixture = Fixture::with(hasty()).await;
    let mut stream = connect(&fixture).await;
    let mut sent = 0;
    let talk = async {
        loop {
            if stream.write_all(b"x").await.is_err() || sent > 10_000 {
                return;
            }
            sent += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, talk).await.expect("cut off in time");
    assert!(sent < 10_000, "each byte must not win more time");
}

#[tokio::test]
async fn a_body_that_never_ends_is_cut_off() {
    let fixture = Fixture::with(hasty()).await;
    let mut stream = connect(&fixture).await;
    let head = "POST /v1/reserve HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{\"event_id\"";
    stream.write_all(head.as_bytes()).await.expect("sent");
    until_closed(&mut stream).await;
}

#[tokio::test]
async fn who_does_not_read_its_stream_is_cut_off_and_others_go_on() {
    let fixture = Fixture::with(Config { idle_ms: 60_000, ..hasty() }).await;
    let stream = connect(&fixture).await;
    let one = "GET /v1/events/evt_hall/seatmap HTTP/1.1\r\nhost: x\r\n\r\n";
    let (mut reader, mut writer) = stream.into_split();
    // Asks without end and never reads, until the edge gives up on it.
    let greedy = async move { while writer.write_all(one.repeat(64).as_bytes()).await.is_ok() {} };
    timeout(PATIENCE, greedy).await.expect("cut off in time");
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, reader.read_to_end(&mut rest)).await;
    assert_eq!(ask("GET", "/v1/events").send(&fixture.address).await.status, 200);
}

#[tokio::test]
async fn a_quiet_connection_is_kept_and_then_closed() {
    let fixture = Fixture::with(hasty()).await;
    let mut stream = connect(&fixture).await;
    let one = b"GET /v1/keys HTTP/1.1\r\nhost: x\r\n\r\n";
    for _ in 0..3 {
        stream.write_all(one).await.expect("sent");
        let mut buffer = [0; 4096];
        let read = timeout(PATIENCE, stream.read(&mut buffer)).await.expect("in time");
        let answer = Answer::parse(&buffer[..read.expect("bytes")]).expect("an answer");
        assert_eq!(answer.status, 200);
        // Longer than a head may take, shorter than a pause may be.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let (_, rest) = until_closed(&mut stream).await;
    assert!(rest.is_empty());
}

#[tokio::test]
async fn huge_and_countless_headers_are_refused_as_problems() {
    let fixture = Fixture::start().await;
    let huge =
        format!("GET /v1/events HTTP/1.1\r\nhost: x\r\nx-big: {}\r\n\r\n", "a".repeat(20_000));
    let many: String = (0..120).map(|n| format!("x-{n}: 1\r\n")).collect();
    let many = format!("GET /v1/events HTTP/1.1\r\nhost: x\r\n{many}\r\n");
    let long = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(70_000));
    for request in [huge, many, long] {
        let answer = raw(&fixture.address, request.as_bytes()).await;
        let answer = Answer::parse(&answer).expect("an answer");
        assert_eq!((answer.status, answer.code().as_str()), (413, "payload_too_large"));
    }
}

#[tokio::test]
async fn nonsense_is_refused_as_a_problem_and_harms_nobody() {
    let fixture = Fixture::start().await;
    for nonsense in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        b"GET / HTTP/1.1\r\n\x00: 1\r\n\r\n",
        b"POST /v1/reserve HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/reserve HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"POST /v1/reserve HTTP/1.1\r\nhost: x\r\ntransfer-encoding: nonsense\r\n\r\n",
    ] {
        let answer = raw(&fixture.address, nonsense).await;
        let answer = Answer::parse(&answer)
            .unwrap_or_else(|| panic!("{:?}", String::from_utf8_lossy(nonsense)));
        assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_request"));
    }
    assert_eq!(ask("GET", "/v1/events").send(&fixture.address).await.status, 200);
}

#[tokio::test]
async fn a_broken_chunked_body_is_refused_and_a_good_one_is_read() {
    let fixture = Fixture::start().await;
    let head = "POST /v1/reserve HTTP/1.1\r\nhost: x\r\nidempotency-key: k\r\n\
        connection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    let broken = format!("{head}zz\r\nnonsense\r\n0\r\n\r\n");
    let answer = raw(&fixture.address, broken.as_bytes()).await;
    let answer = Answer::parse(&answer).expect("an answer");
    assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_request"));
    let body = r#"{"event_id":"evt_hall","quantity":1}"#;
    let (one, two) = body.split_at(10);
    let good = format!("{head}{:x}\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\n\r\n", one.len(), two.len());
    let answer = raw(&fixture.address, good.as_bytes()).await;
    assert_eq!(Answer::parse(&answer).expect("an answer").status, 200);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let fixture = Fixture::start().await;
    let three = "GET /v1/keys HTTP/1.1\r\nhost: x\r\nx-request-id: one\r\n\r\n\
        GET /nothing HTTP/1.1\r\nhost: x\r\nx-request-id: two\r\n\r\n\
        GET /v1/keys HTTP/1.1\r\nhost: x\r\nx-request-id: three\r\nconnection: close\r\n\r\n";
    let answers = raw(&fixture.address, three.as_bytes()).await;
    let text = String::from_utf8_lossy(&answers);
    let at = |id: &str| text.find(&format!("x-request-id: {id}\r\n")).expect(id);
    assert!(at("one") < at("two") && at("two") < at("three"), "{text}");
}

#[tokio::test]
async fn too_large_bodies_are_refused_and_the_refusal_arrives() {
    let fixture = Fixture::start().await;
    for bytes in [16 * 1024 + 1, 3 << 20] {
        let answer = ask("POST", "/v1/reserve")
            .key("k")
            .bytes("application/json", vec![b' '; bytes])
            .send(&fixture.address)
            .await;
        assert_eq!((answer.status, answer.code().as_str()), (413, "payload_too_large"));
    }
    let claimed = "POST /v1/reserve HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n";
    let answer = raw(&fixture.address, claimed.as_bytes()).await;
    let answer = Answer::parse(&answer).expect("an answer");
    assert_eq!((answer.status, answer.code().as_str()), (413, "payload_too_large"));
}

#[tokio::test]
async fn one_connection_too_many_is_told_so() {
    let fixture =
        Fixture::with(Config { connections_per_address_max: Some(3), ..unlimited() }).await;
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut stream = connect(&fixture).await;
        let one = b"GET /v1/keys HTTP/1.1\r\nhost: x\r\n\r\n";
        stream.write_all(one).await.expect("sent");
        let mut buffer = [0; 16];
        timeout(PATIENCE, stream.read(&mut buffer)).await.expect("in time").expect("bytes");
        open.push(stream);
    }
    let (_, refused) = until_closed(&mut connect(&fixture).await).await;
    let refused = Answer::parse(&refused).expect("an answer");
    assert_eq!((refused.status, refused.code().as_str()), (503, "overloaded"));
    assert!(refused.header("retry-after").is_some());
    open.clear();
    let again = async {
        loop {
            let answer = raw(
                &fixture.address,
                b"GET /v1/keys HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
            )
            .await;
            if Answer::parse(&answer).is_some_and(|answer| answer.status == 200) {
                return;
            }
        }
    };
    timeout(PATIENCE, again).await.expect("places are given back");
}

#[tokio::test]
async fn one_request_too_many_is_told_how_long_to_wait() {
    let fixture = Fixture::with(Config { rate_per_second: Some(2), ..Config::default() }).await;
    let mut limited = None;
    for _ in 0..20 {
        let answer = ask("GET", "/v1/keys").send(&fixture.address).await;
        if answer.status == 429 {
            limited = Some(answer);
            break;
        }
        assert_eq!(answer.status, 200);
    }
    let limited = limited.expect("limited");
    assert_eq!(limited.code(), "rate_limited");
    assert_eq!(limited.header("retry-after"), Some("1"));
    assert_eq!(limited.header("ratelimit-policy"), Some("\"address\";q=2;w=1"));
    let hook = ask("POST", "/webhooks/stripe")
        .header("stripe-signature", "good")
        .bytes("application/json", b"{ \"raw\" : 1 }".to_vec());
    assert_eq!(hook.send(&fixture.address).await.status, 200, "the gateway is not limited");
}

#[tokio::test]
async fn who_claims_another_address_is_not_believed_unless_a_proxy_says_so() {
    let limit = |proxies: Vec<String>| Config {
        rate_per_second: Some(1),
        trusted_proxies: proxies,
        ..Config::default()
    };
    for (proxies, limited) in [(vec![], true), (vec!["127.0.0.0/8".into()], false)] {
        let fixture = Fixture::with(limit(proxies)).await;
        let mut statuses = Vec::new();
        for n in 1..8 {
            let from = format!("198.51.100.{n}");
            let answer = ask("GET", "/v1/keys").header("x-forwarded-for", &from);
            statuses.push(answer.send(&fixture.address).await.status);
        }
        assert_eq!(statuses.contains(&429), limited, "{statuses:?}");
    }
}

#[tokio::test]
async fn stopping_finishes_requests_ends_streams_and_closes_idle_connections() {
    let fixture = Fixture::start().await;
    let mut idle = connect(&fixture).await;
    idle.write_all(b"GET /v1/keys HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
    let mut viewer = connect(&fixture).await;
    let watch = "GET /v1/events/evt_hall/availability/stream HTTP/1.1\r\nhost: x\r\n\r\n";
    viewer.write_all(watch.as_bytes()).await.expect("sent");
    let mut first = [0; 1024];
    timeout(PATIENCE, viewer.read(&mut first)).await.expect("in time").expect("bytes");
    let address = fixture.address.clone();
    let started = Instant::now();
    fixture.stop().await;
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    until_closed(&mut idle).await;
    until_closed(&mut viewer).await;
    assert!(TcpStream::connect(&address).await.is_err(), "nobody listens any more");
}
