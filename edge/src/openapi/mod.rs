//! Owns the OpenAPI 3.1 document: made from the route table and the embedded components.
//!
//! Must never describe what the table does not have; a test walks both.

use onsale_proto::Code;
use serde_json::{Map, Value, json};

use crate::routes::{Auth, BodyUse, KeyUse, Route, Success};

const COMPONENTS: &str = include_str!("components.json");
const INTRODUCTION: &str = "Flash-sale ticketing. Times are RFC 3339 UTC in `…_at`, money integer \
    minor units in `…_minor` beside a `currency`, ids prefixed strings. Unknown request fields are \
    refused; unknown response fields are to be ignored. Every refusal is an RFC 9457 problem \
    document with `code`, `retryable` and `request_id`. A request that succeeded is answered again \
    byte for byte under the same `Idempotency-Key`, with `Idempotent-Replayed: true`.";

/// The document.
///
/// # Errors
/// A sentence, when the table names something that the components do not have.
pub fn document(routes: &[Route]) -> Result<Value, String> {
    let mut components: Value = serde_json::from_str(COMPONENTS)
        .map_err(|error| format!("the components are not JSON: {error}"))?;
    let codes: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    components["schemas"]["Code"] = json!({ "type": "string", "enum": codes });
    let mut paths = Map::new();
    for route in routes {
        let operation = operation(route, &components)?;
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.as_str().to_ascii_lowercase()] = operation;
    }
    Ok(json!({
        "openapi": "3.1.0",
        "info": {
            "title": "onsale",
            "version": env!("CARGO_PKG_VERSION"),
            "description": INTRODUCTION,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "servers": [{ "url": "/" }],
        "security": [],
        "paths": paths,
        "components": components,
    }))
}

fn operation(route: &Route, components: &Value) -> Result<Value, String> {
    let mut operation = json!({
        "operationId": route.operation,
        "summary": route.summary,
        "tags": [tag(route.path)],
        "parameters": parameters(route, components)?,
        "responses": responses(route, components)?,
    });
    let security = security(route.auth);
    if !security.is_empty() {
        operation["security"] = Value::Array(security);
    }
    if let Some(body) = body(route, components)? {
        operation["requestBody"] = body;
    }
    Ok(operation)
}

fn tag(path: &str) -> &'static str {
    match path {
        path if path.starts_with("/v1/events") => "events",
        "/v1/reserve" | "/v1/checkout" => "buying",
        path if path.starts_with("/v1/holds") => "buying",
        path if path.starts_with("/v1/orders") || path.starts_with("/v1/tickets") => "orders",
        "/v1/keys" | "/openapi.json" | "/docs" => "reference",
        path if path.starts_with("/problems") => "reference",
        path if path.starts_with("/webhooks") => "gateway",
        _ => "pages",
    }
}

/// A reference to a component that is there.
fn reference(components: &Value, kind: &str, name: &str) -> Result<Value, String> {
    if components[kind].get(name).is_none() {
        return Err(format!("there is no component {kind}/{name}"));
    }
    Ok(json!({ "$ref": format!("#/components/{kind}/{name}") }))
}

fn parameters(route: &Route, components: &Value) -> Result<Vec<Value>, String> {
    let mut parameters: Vec<Value> = route
        .parameters()
        .into_iter()
        .map(|name| {
            json!({
                "name": name, "in": "path", "required": true,
                "schema": { "type": "string", "minLength": 1 },
            })
        })
        .collect();
    let mut names: Vec<&str> = [route.query, route.headers].concat();
    match route.key {
        KeyUse::None => {}
        KeyUse::Optional => names.push("OptionalIdempotencyKey"),
        KeyUse::Required => names.push("IdempotencyKey"),
    }
    if route.auth == Auth::Gateway {
        names.push("StripeSignature");
    }
    for name in names {
        parameters.push(reference(components, "parameters", name)?);
    }
    Ok(parameters)
}

fn security(auth: Auth) -> Vec<Value> {
    match auth {
        Auth::Anyone | Auth::Gateway => Vec::new(),
        Auth::HoldToken => vec![json!({ "hold_token": [] })],
        Auth::OrderToken => vec![json!({ "order_token": [] })],
        Auth::OrderTokenOrSupport => {
            vec![json!({ "order_token": [] }), json!({ "support_key": [] })]
        }
        Auth::Staff(role) => {
            let mut one = Map::new();
            one.insert(format!("{}_key", role.name()), json!([]));
            vec![Value::Object(one)]
        }
    }
}

fn body(route: &Route, components: &Value) -> Result<Option<Value>, String> {
    let (required, content, schema) = match route.body {
        BodyUse::None => return Ok(None),
        BodyUse::Json(name) => (true, "application/json", reference(components, "schemas", name)?),
        BodyUse::OptionalJson(name) => {
            (false, "application/json", reference(components, "schemas", name)?)
        }
        BodyUse::Form(fields) => {
            let properties: Map<String, Value> = fields
                .iter()
                .map(|name| ((*name).to_owned(), json!({ "type": "string" })))
                .collect();
            let schema = json!({ "type": "object", "properties": properties });
            (false, "application/x-www-form-urlencoded", schema)
        }
        BodyUse::Raw => (true, "application/json", json!({ "type": "object" })),
    };
    let mut contents = Map::new();
    contents.insert(content.to_owned(), json!({ "schema": schema }));
    Ok(Some(json!({ "required": required, "content": contents })))
}

fn responses(route: &Route, components: &Value) -> Result<Value, String> {
    let mut responses = Map::new();
    for success in &route.successes {
        let response = success_response(success, components)?;
        responses.insert(success.status.to_string(), response);
    }
    let problem = reference(components, "schemas", "Problem")?;
    let mut by_status: std::collections::BTreeMap<u16, Vec<&str>> = Default::default();
    for code in route.all_codes() {
        let codes = by_status.entry(code.http_status()).or_default();
        codes.push(code.as_str());
    }
    for (status, codes) in by_status {
        let narrowed = json!({ "properties": { "code": { "enum": codes } } });
        let schema = json!({ "allOf": [problem, narrowed] });
        let response = json!({
            "description": codes.join(", "),
            "content": { "application/problem+json": { "schema": schema } },
        });
        responses.insert(status.to_string(), response);
    }
    Ok(Value::Object(responses))
}

fn success_response(success: &Success, components: &Value) -> Result<Value, String> {
    let mut response = json!({ "description": success.says });
    if !success.content.is_empty() {
        let schema = match success.schema {
            "" => json!({ "type": "string" }),
            name => reference(components, "schemas", name)?,
        };
        let mut contents = Map::new();
        contents.insert(success.content.to_owned(), json!({ "schema": schema }));
        response["content"] = Value::Object(contents);
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::table;

    #[test]
    fn the_document_has_every_route_and_no_other() {
        let routes = table();
        let document = document(&routes).expect("a document");
        let mut described = 0;
        for methods in document["paths"].as_object().expect("paths").values() {
            described += methods.as_object().expect("methods").len();
        }
        assert_eq!(described, routes.len());
        for route in &routes {
            let method = route.method.as_str().to_ascii_lowercase();
            let operation = &document["paths"][route.path][method];
            assert_eq!(operation["operationId"], route.operation, "{}", route.name());
            let parameters = operation["parameters"].as_array().expect("parameters");
            for name in route.parameters() {
                let there = |one: &Value| one["name"] == name && one["in"] == "path";
                assert!(parameters.iter().any(there), "{}: {name}", route.name());
            }
            for code in route.all_codes() {
                let status = code.http_status().to_string();
                let says = &operation["responses"][status]["description"];
                assert!(
                    says.as_str().is_some_and(|says| says.contains(code.as_str())),
                    "{}: {code}",
                    route.name()
                );
            }
            let body = operation.get("requestBody").is_some();
            assert_eq!(body, route.body != BodyUse::None, "{}", route.name());
            assert!(!route.successes.is_empty(), "{}", route.name());
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_component_is_used() {
        let document = document(&table()).expect("a document");
        let text = document.to_string();
        let mut references = Vec::new();
        collect(&document, &mut references);
        for reference in &references {
            let pointer = reference.trim_start_matches('#');
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
        for kind in ["schemas", "parameters"] {
            for name in document["components"][kind].as_object().expect(kind).keys() {
                let reference = format!("#/components/{kind}/{name}\"");
                assert!(text.contains(&reference), "{reference} is not used");
            }
        }
    }

    fn collect(value: &Value, references: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(reference)) = map.get("$ref") {
                    references.push(reference.clone());
                }
                map.values().for_each(|value| collect(value, references));
            }
            Value::Array(values) => values.iter().for_each(|value| collect(value, references)),
            _ => {}
        }
    }
}
