//! Owns the pages about the interface itself: the reference made from the OpenAPI document, what
//! each error code means, the style sheet.
//!
//! Must never need anything from another host.

use std::sync::Arc;

use askama::Template;
use onsale_proto::Code;

use super::page;
use crate::{
    problem::Problem,
    reply::{self, Reply},
    request::Request,
    routes::{Auth, BodyUse, KeyUse, Route},
    service::Edge,
};

const STYLE: &str = include_str!("../assets/style.css");
const ICON: &str = include_str!("../assets/icon.svg");
const ERRORS: &str = include_str!("../../../docs/errors.md");

/// A piece of text in a paragraph.
enum Span {
    Plain(String),
    Strong(String),
    Code(String),
}

enum Block {
    Paragraph(Vec<Span>),
    Code(String),
}

#[derive(Template)]
#[template(path = "code.html")]
struct CodePage {
    code: &'static str,
    title: &'static str,
    status: u16,
    retryable: bool,
    blocks: Vec<Block>,
}

struct RouteView {
    id: &'static str,
    name: String,
    summary: &'static str,
    who: &'static str,
    key: &'static str,
    takes: String,
    answers: Vec<String>,
    codes: Vec<&'static str>,
}

#[derive(Template)]
#[template(path = "docs.html")]
struct DocsPage {
    routes: Vec<RouteView>,
    schemas: Vec<(String, String)>,
}

/// `GET /problems/{code}`
pub(crate) async fn problem(_edge: Arc<Edge>, request: Request) -> Result<Reply, Problem> {
    let code = Code::from_name(request.param(0))
        .ok_or_else(|| Problem::not_found("there is no such error code"))?;
    page(&CodePage {
        code: code.as_str(),
        title: code.title(),
        status: code.http_status(),
        retryable: code.retryable(),
        blocks: blocks(section(code)),
    })
}

/// The code's part of the error reference, without its heading and its first line.
fn section(code: Code) -> &'static str {
    let heading = format!("## `{code}`");
    let Some((_, rest)) = ERRORS.split_once(&heading) else {
        return "";
    };
    let text = rest.split("\n## ").next().unwrap_or("").trim();
    text.split_once("\n\n").map_or(text, |(_, rest)| rest)
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    for (place, part) in text.split("```").enumerate() {
        if place % 2 == 1 {
            let code = part.split_once('\n').map_or(part, |(_, code)| code);
            blocks.push(Block::Code(code.trim_end().to_owned()));
            continue;
        }
        let mut paragraph = String::new();
        for line in part.lines() {
            if (line.trim().is_empty() || line.starts_with("**")) && !paragraph.is_empty() {
                blocks.push(Block::Paragraph(spans(&paragraph)));
                paragraph.clear();
            }
            if !line.trim().is_empty() {
                paragraph.push_str(line);
                paragraph.push(' ');
            }
        }
        if !paragraph.is_empty() {
            blocks.push(Block::Paragraph(spans(&paragraph)));
        }
    }
    blocks
}

fn spans(text: &str) -> Vec<Span> {
    let mut spans = Vec::new();
    for (place, part) in text.split("**").enumerate() {
        if place % 2 == 1 {
            spans.push(Span::Strong(part.to_owned()));
            continue;
        }
        for (place, part) in part.split('`').enumerate() {
            spans.push(if place % 2 == 1 {
                Span::Code(part.to_owned())
            } else {
                Span::Plain(part.to_owned())
            });
        }
    }
    spans
}

/// `GET /docs`
pub(crate) async fn docs(edge: Arc<Edge>, _request: Request) -> Result<Reply, Problem> {
    let document: serde_json::Value =
        serde_json::from_slice(&edge.openapi.body).unwrap_or_default();
    let schemas = document["components"]["schemas"].as_object();
    let schemas = schemas.into_iter().flatten().map(|(name, schema)| {
        let text = serde_json::to_string_pretty(schema).unwrap_or_default();
        (name.clone(), text)
    });
    page(&DocsPage {
        routes: edge.routes.all.iter().map(view).collect(),
        schemas: schemas.collect(),
    })
}

fn view(route: &Route) -> RouteView {
    RouteView {
        id: route.operation,
        name: route.name(),
        summary: route.summary,
        who: match route.auth {
            Auth::Anyone => "anyone",
            Auth::HoldToken => "who has the hold's token",
            Auth::OrderToken => "who has the order's token",
            Auth::OrderTokenOrSupport => "who has the order's token, or a support key",
            Auth::Staff(role) => role.name(),
            Auth::Gateway => "the payment gateway, by its signature",
        },
        key: match route.key {
            KeyUse::None => "",
            KeyUse::Optional => "optional",
            KeyUse::Required => "required",
        },
        takes: match route.body {
            BodyUse::None => String::new(),
            BodyUse::Json(name) => name.to_owned(),
            BodyUse::OptionalJson(name) => format!("{name}, or nothing"),
            BodyUse::Form(fields) => format!("a form: {}", fields.join(", ")),
            BodyUse::Raw => "the raw bytes that were signed".to_owned(),
        },
        answers: route
            .successes
            .iter()
            .map(|success| match success.schema {
                "" => format!("{}: {}", success.status, success.says),
                schema => format!("{}: {} ({schema})", success.status, success.says),
            })
            .collect(),
        codes: route.all_codes().iter().map(|code| code.as_str()).collect(),
    }
}

/// `GET /assets/style.css`
pub(crate) async fn style(_edge: Arc<Edge>, _request: Request) -> Result<Reply, Problem> {
    Ok(reply::bytes("text/css; charset=utf-8", "public, max-age=3600", STYLE))
}

/// `GET /assets/icon.svg`
pub(crate) async fn icon(_edge: Arc<Edge>, _request: Request) -> Result<Reply, Problem> {
    Ok(reply::bytes("image/svg+xml", "public, max-age=86400", ICON))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_page() {
        for code in Code::ALL {
            let blocks = blocks(section(*code));
            let says = |block: &Block| match block {
                Block::Paragraph(spans) => {
                    spans.iter().any(|span| matches!(span, Span::Strong(text) if text == "Cause."))
                }
                Block::Code(_) => false,
            };
            assert!(blocks.iter().any(says), "{code}");
        }
    }
}
