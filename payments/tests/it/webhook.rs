//! Signatures: what is the gateway's and what is not; and the sandbox's own webhooks.

use onsale_payments::{
    sandbox,
    webhook::{Forged, sign, verify},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::support::Sandbox;

const SECRET: &str = "whsec_of_the_tests";
const BODY: &[u8] = br#"{"id": "evt_1", "type": "payment_intent.succeeded"}"#;
const NOW: u64 = 1_800_000_000;

fn v1(header: &str) -> &str {
    header.split_once("v1=").unwrap().1
}

#[test]
fn only_the_gateways_own_words_pass() {
    let good = sign(SECRET, BODY, NOW);
    let other = sign("another secret", BODY, NOW);
    let rotating = format!("t={NOW},v1={},v1={}", v1(&other), v1(&good));
    let old_scheme = format!("t={NOW},v0={}", v1(&good));
    let moved = format!("t={},v1={}", NOW + 1, v1(&good));
    let twice = format!("t={NOW},t={NOW},v1={}", v1(&good));
    let many = format!("t={NOW}{},v1={}", ",v1=00".repeat(9), v1(&good));
    let flood = format!("t={NOW},v1={}{}", v1(&good), ",v1=00".repeat(2_000));
    let upper = format!("t={NOW},v1={}", v1(&good).to_uppercase());
    let table: [(&str, &str, Result<(), Forged>); 14] = [
        ("as sent", &good, Ok(())),
        ("with spaces", &good.replace(',', ", "), Ok(())),
        ("while the secret is rotated", &rotating, Ok(())),
        ("hex in capitals", &upper, Ok(())),
        ("another secret", &other, Err(Forged::Wrong)),
        ("a time that was not signed", &moved, Err(Forged::Wrong)),
        ("an older scheme only", &old_scheme, Err(Forged::Malformed)),
        ("two times", &twice, Err(Forged::Malformed)),
        ("no time", &format!("v1={}", v1(&good)), Err(Forged::Malformed)),
        ("no signature", &format!("t={NOW}"), Err(Forged::Malformed)),
        ("nothing", "", Err(Forged::Malformed)),
        ("half a signature", &good[..good.len() - 2], Err(Forged::Malformed)),
        ("not hex", &format!("t={NOW},v1={}", "zz".repeat(32)), Err(Forged::Malformed)),
        ("too long", &flood, Err(Forged::Malformed)),
    ];
    for (what, header, expected) in table {
        assert_eq!(verify(SECRET, header, BODY, NOW), expected, "{what}");
    }
    assert_eq!(verify(SECRET, &many, BODY, NOW), Ok(()), "signatures that are none do not count");
}

#[test]
fn time_is_within_five_minutes_either_way() {
    let header = sign(SECRET, BODY, NOW);
    for (now, expected) in [
        (NOW + 300, Ok(())),
        (NOW - 300, Ok(())),
        (NOW + 301, Err(Forged::Stale)),
        (NOW - 301, Err(Forged::Stale)),
        (0, Err(Forged::Stale)),
        (u64::MAX, Err(Forged::Stale)),
    ] {
        assert_eq!(verify(SECRET, &header, BODY, now), expected, "{now}");
    }
}

#[test]
fn a_body_written_anew_is_another_body() {
    let header = sign(SECRET, BODY, NOW);
    let parsed: serde_json::Value = serde_json::from_slice(BODY).unwrap();
    let anew = serde_json::to_vec(&parsed).unwrap();
    assert_ne!(anew, BODY);
    assert_eq!(verify(SECRET, &header, &anew, NOW), Err(Forged::Wrong));
}

#[test]
fn without_a_secret_nothing_passes() {
    let header = sign("", BODY, NOW);
    assert_eq!(verify("", &header, BODY, NOW), Err(Forged::Malformed));
}

/// One request's signature header and body; answered with that status.
async fn receive(listener: &TcpListener, status: u16) -> (String, Vec<u8>) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut bytes = Vec::new();
    let (head, body) = loop {
        assert!(stream.read_buf(&mut bytes).await.unwrap() > 0, "a whole request");
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let header = |name: &str| {
            let line = head.lines().find(|line| line.to_lowercase().starts_with(name));
            line.unwrap().split_once(": ").unwrap().1.to_owned()
        };
        let body = &bytes[end + 4..];
        if body.len() == header("content-length").parse::<usize>().unwrap() {
            break (header("stripe-signature"), body.to_vec());
        }
    };
    let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(answer.as_bytes()).await.unwrap();
    (head, body)
}

#[tokio::test]
async fn the_sandbox_signs_its_webhooks_and_sends_them_until_they_are_taken() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/webhooks/stripe", listener.local_addr().unwrap());
    let config = sandbox::Config { webhook_url: Some(url), ..sandbox::Config::default() };
    let sandbox = Sandbox::start_with(config).await;
    let intent = sandbox.client().pay("pm_card_visa", "500", "ord_1").await.id();
    let now = onsale_proto::time::now_ms() / 1000;
    let mut taken = Vec::new();
    let mut refused = Vec::new();
    while taken.len() < 2 {
        // Every first attempt is refused.
        let status = if refused.len() < 2 { 500 } else { 200 };
        let (signature, body) = receive(&listener, status).await;
        assert_eq!(verify(crate::support::SECRET, &signature, &body, now), Ok(()));
        let event: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(event["data"]["object"]["id"], intent.as_str());
        let kind = event["type"].as_str().unwrap().to_owned();
        if status == 500 { refused.push(kind) } else { taken.push(kind) }
    }
    taken.sort();
    refused.sort();
    let expected = ["payment_intent.amount_capturable_updated", "payment_intent.created"];
    assert_eq!(taken, expected);
    assert_eq!(refused, expected);
}
