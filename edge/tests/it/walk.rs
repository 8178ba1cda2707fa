//! Every route of the OpenAPI document with bad input of every kind: the answer is always a 4xx
//! problem with a code, never a 5xx, never a closed connection.
//!
//! [`walk`] needs nothing but an address and keys, so that it runs against a whole cluster as well.

use serde_json::{Value, json};

use crate::client::{Answer, Ask, ask};

/// What a caller has that may do what it asks for.
pub struct Caller<'a> {
    pub organizer_key: &'a str,
    pub support_key: &'a str,
    /// A published event.
    pub event_id: &'a str,
}

/// One operation of the document.
pub struct Operation {
    pub method: String,
    path: String,
    pub operation: Value,
}

pub fn operations(document: &Value) -> Vec<Operation> {
    let paths = document["paths"].as_object().expect("paths");
    let all = paths.iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().expect("methods");
        methods.iter().map(move |(method, operation)| Operation {
            method: method.to_ascii_uppercase(),
            path: path.clone(),
            operation: operation.clone(),
        })
    });
    all.collect()
}

impl Operation {
    pub fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    fn takes_json(&self) -> bool {
        let content = &self.operation["requestBody"]["content"];
        content["application/json"].is_object() && !self.path.starts_with("/webhooks")
    }

    fn takes_form(&self) -> bool {
        let content = &self.operation["requestBody"]["content"];
        content["application/x-www-form-urlencoded"].is_object()
    }

    fn has_parameters(&self) -> bool {
        self.path.contains('{')
    }

    /// The path with this in every parameter's place; `event` where one is needed to get further.
    pub fn path_with(&self, value: &str, event: &str) -> String {
        let mut path = self.path.clone();
        while let (Some(start), Some(end)) = (path.find('{'), path.find('}')) {
            let right = &path[start..=end] == "{event_id}" && !event.is_empty();
            path.replace_range(start..=end, if right { event } else { value });
        }
        path
    }

    /// With everything that gets the request past the doors.
    fn ask(&self, path: &str, caller: &Caller<'_>) -> Ask {
        let mut asking = ask(&self.method, path)
            .key("bad-input")
            .header("hold-token", "not-a-token")
            .header("stripe-signature", "t=1,v1=00");
        let security = self.operation["security"].to_string();
        if security.contains("organizer_key") {
            asking = asking.bearer(caller.organizer_key);
        } else if security.contains("order_token") {
            asking = asking.header("order-token", "not-a-token");
        } else if security.contains("support_key") {
            asking = asking.bearer(caller.support_key);
        }
        asking
    }
}

fn bodies() -> Vec<(&'static str, Vec<u8>)> {
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    vec![
        ("empty", Vec::new()),
        ("not JSON", b"{\"event_id\":".to_vec()),
        ("a text", b"\"text\"".to_vec()),
        ("a number", b"1e400".to_vec()),
        ("null", b"null".to_vec()),
        ("a list", b"[]".to_vec()),
        ("unknown fields only", b"{\"surprise\":true}".to_vec()),
        ("not UTF-8", b"{\"name\":\"\xff\xfe\"}".to_vec()),
        ("half a surrogate", b"{\"name\":\"\\ud800\"}".to_vec()),
        ("deep", nested(5_000).into_bytes()),
        ("too deep by one", nested(17).into_bytes()),
        ("zero bytes", vec![0; 64]),
        ("two values", b"{}{}".to_vec()),
        ("huge", vec![b'['; 5 << 20]),
    ]
}

/// For each field that a body may have, values that no field has.
fn wrong_fields(document: &Value, operation: &Operation) -> Vec<Value> {
    let schema = &operation.operation["requestBody"]["content"]["application/json"]["schema"];
    let name = schema["$ref"].as_str().unwrap_or("");
    let schema = document.pointer(name.trim_start_matches('#'));
    let Some(properties) = schema.and_then(|schema| schema["properties"].as_object()) else {
        return Vec::new();
    };
    let mut bodies = Vec::new();
    for name in properties.keys() {
        for value in [
            json!(null),
            json!(-1),
            json!(1.5),
            json!(u64::MAX),
            json!({"a": {"b": []}}),
            json!([[], {}, null]),
            json!("\u{0}"),
            json!("x".repeat(11_000)),
        ] {
            bodies.push(json!({ name: value }));
        }
    }
    bodies
}

fn check(what: &str, answer: &Answer, faults: &mut Vec<String>) {
    let kind = answer.header("content-type").unwrap_or("");
    let problem = kind == "application/problem+json" || kind.starts_with("text/html");
    if !(400..500).contains(&answer.status) || !problem {
        faults.push(format!("{what}: {} {kind} {}", answer.status, answer.text()));
        return;
    }
    if kind == "application/problem+json" {
        let json = answer.json();
        for member in ["type", "title", "status", "detail", "code", "retryable", "request_id"] {
            if json.get(member).is_none() {
                faults.push(format!("{what}: no {member} in {json}"));
            }
        }
        if json["code"] == "invalid_request" && json["errors"].as_array().is_none() {
            faults.push(format!("{what}: names no field: {json}"));
        }
    }
}

/// Walks all routes; returns what was not refused as it must be.
pub async fn walk(address: &str, caller: &Caller<'_>) -> Vec<String> {
    let document = ask("GET", "/openapi.json").send(address).await.json();
    let mut faults = Vec::new();
    let all = operations(&document);
    assert!(all.len() > 20, "the document has all routes");
    for operation in &all {
        for method in ["PUT", "TRACE", "BREW"] {
            if all.iter().any(|other| other.method == method && other.path == operation.path) {
                continue;
            }
            let path = operation.path_with("x", "");
            let answer = ask(method, &path).send(address).await;
            let what = format!("{method} {path}");
            check(&what, &answer, &mut faults);
            if answer.status != 405 || answer.header("allow").is_none() {
                faults.push(format!("{what}: {} without Allow", answer.status));
            }
        }
        foreign_ids(address, operation, caller, &mut faults).await;
        bad_queries(address, operation, caller, &mut faults).await;
        if operation.takes_json() {
            bad_bodies(address, &document, operation, caller, &mut faults).await;
        }
        if operation.takes_form() {
            bad_forms(address, operation, caller, &mut faults).await;
        }
    }
    faults
}

async fn foreign_ids(
    address: &str,
    operation: &Operation,
    caller: &Caller<'_>,
    faults: &mut Vec<String>,
) {
    if !operation.has_parameters() {
        return;
    }
    let long = "a".repeat(4_000);
    let zeros = format!("hold_{}", "0".repeat(26));
    for id in ["x", "%00", "%ff", "..%2f..", "evt_none", "%F0%9F%8E%AB", "'--", &zeros, &long] {
        let path = operation.path_with(id, "");
        let mut asking = operation.ask(&path, caller);
        if operation.takes_json() {
            asking = asking.json(&json!({}));
        } else if operation.takes_form() {
            asking = asking.form(&[("key", "k"), ("quantity", "1")]);
        }
        let what = format!("{} with {id:.40}", operation.name());
        check(&what, &asking.send(address).await, faults);
    }
}

async fn bad_queries(
    address: &str,
    operation: &Operation,
    caller: &Caller<'_>,
    faults: &mut Vec<String>,
) {
    let parameters = operation.operation["parameters"].to_string();
    if operation.method != "GET" || !parameters.contains("components/parameters") {
        return;
    }
    let long = format!("q={}", "a".repeat(5_000));
    for query in ["surprise=1", "%ff=1", "q=%ff", "a=1&a=2", "=", &long] {
        let path = format!("{}?{query}", operation.path_with("x", caller.event_id));
        let what = format!("{} with {query:.40}", operation.name());
        check(&what, &operation.ask(&path, caller).send(address).await, faults);
    }
    for (name, value) in [
        ("from", "soon"),
        ("to", "2026-13-01T00:00:00Z"),
        ("limit", "0"),
        ("limit", "101"),
        ("limit", "ten"),
        ("cursor", "broken"),
    ] {
        if parameters.contains(&format!("components/parameters/{name}\"")) {
            let path = format!("{}?{name}={value}", operation.path_with("x", caller.event_id));
            let what = format!("{} with {name}={value}", operation.name());
            check(&what, &operation.ask(&path, caller).send(address).await, faults);
        }
    }
}

async fn bad_bodies(
    address: &str,
    document: &Value,
    operation: &Operation,
    caller: &Caller<'_>,
    faults: &mut Vec<String>,
) {
    let path = operation.path_with("hold_x", caller.event_id);
    for (kind, body) in bodies() {
        let asking = operation.ask(&path, caller).bytes("application/json", body);
        let what = format!("{} with a body that is {kind}", operation.name());
        check(&what, &asking.send(address).await, faults);
    }
    for body in wrong_fields(document, operation) {
        let asking = operation.ask(&path, caller).json(&body);
        let what = format!("{} with {:.60}", operation.name(), body.to_string());
        check(&what, &asking.send(address).await, faults);
    }
    for (kind, encoding) in [("text/plain", ""), ("application/json", "gzip")] {
        let mut asking = operation.ask(&path, caller).bytes(kind, b"{}".to_vec());
        if !encoding.is_empty() {
            asking = asking.header("content-encoding", encoding);
        }
        let answer = asking.send(address).await;
        let what = format!("{} with {kind} {encoding}", operation.name());
        check(&what, &answer, faults);
        if answer.status != 415 {
            faults.push(format!("{what}: {}", answer.status));
        }
    }
    for key in ["", "\"", "\u{e4}", &"k".repeat(256)] {
        let asking = ask(&operation.method, &path)
            .bearer(caller.organizer_key)
            .header("hold-token", "not-a-token")
            .key(key)
            .json(&json!({}));
        let what = format!("{} with the key {key:.10}", operation.name());
        check(&what, &asking.send(address).await, faults);
    }
}

async fn bad_forms(
    address: &str,
    operation: &Operation,
    caller: &Caller<'_>,
    faults: &mut Vec<String>,
) {
    let path = operation.path_with("hold_x", caller.event_id);
    let form = "application/x-www-form-urlencoded";
    for (kind, body) in [
        (form, b"".to_vec()),
        (form, b"key=%ff".to_vec()),
        (form, b"\xff\xfe".to_vec()),
        (form, b"key=k&quantity=-1".to_vec()),
        (form, b"key=k&quantity=99999999999".to_vec()),
        (form, b"key=k&quantity=1&where=s:nowhere".to_vec()),
        (form, vec![b'a'; 20_000]),
        ("application/json", b"{}".to_vec()),
        ("", b"key=k".to_vec()),
    ] {
        let what = format!("{} with {:.40?}", operation.name(), body);
        let asking = operation.ask(&path, caller).bytes(kind, body);
        check(&what, &asking.send(address).await, faults);
    }
    let stranger = operation
        .ask(&path, caller)
        .header("origin", "https://evil.example")
        .form(&[("key", "k"), ("quantity", "1")])
        .send(address)
        .await;
    if stranger.status != 403 {
        faults.push(format!("{} from another site: {}", operation.name(), stranger.status));
    }
}
