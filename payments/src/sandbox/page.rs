//! Owns the page on which a buyer plays the bank's confirmation: plain HTML, two buttons, no
//! script.
//!
//! Must never show anything of the payment but amount and state, nor echo what a caller wrote.

use super::objects::{Intent, Status};

/// Where the pages are.
pub(crate) const PREFIX: &str = "/sandbox/authorise/";

/// What the page may load: nothing but its own style.
pub(crate) const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; \
    form-action 'self' http: https:; frame-ancestors 'none'; base-uri 'none'";

/// The page's address for an intent.
pub(crate) fn address(base_url: &str, intent: &str) -> String {
    format!("{}{PREFIX}{intent}", base_url.trim_end_matches('/'))
}

/// The page as it stands for this intent. Everything put in is a number or a word of ours, the
/// currency has been checked to be letters.
pub(crate) fn render(intent: &Intent) -> String {
    let amount = format!(
        "{}.{:02} {}",
        intent.amount / 100,
        intent.amount % 100,
        intent.currency.to_uppercase()
    );
    let main = match intent.status {
        Status::RequiresAction => format!(
            "<p>Your bank asks: is this payment of <strong>{amount}</strong> yours?</p>\
             <form method=\"post\">\
             <button name=\"outcome\" value=\"succeed\">Yes, confirm the payment</button> \
             <button name=\"outcome\" value=\"fail\">No, refuse it</button></form>"
        ),
        Status::RequiresCapture | Status::Succeeded => format!(
            "<p role=\"status\">The payment of <strong>{amount}</strong> is confirmed. \
             You may close this page.</p>"
        ),
        _ => "<p role=\"status\">The payment was refused or given up. You may close this page.</p>"
            .to_owned(),
    };
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>Confirm your payment (sandbox)</title><style>body{{font:1.1rem/1.5 \
         system-ui,sans-serif;max-width:36rem;margin:3rem auto;padding:0 1rem;color:#111;\
         background:#fff}}button{{font:inherit;padding:.6rem 1rem;margin:.3rem 0}}</style></head>\
         <body><main><h1>Confirm your payment</h1>{main}\
         <p><small>This is a sandbox: no money moves.</small></p></main></body></html>"
    )
}
