//! Owns the one table of routes: what there is, who may use it, what it takes and answers.
//!
//! Must never be the place where something is done.

use http::Method;
use onsale_proto::Code;

use super::{Auth, BodyUse, Class, Handler, KeyUse, Route};
use crate::{
    auth::Role,
    handlers::{
        availability, channels, checkout, codes, events, gateway, holds, kills, meta, orders,
        organizer, reserve, support,
    },
    limits, pages,
};

/// All routes; more special paths stand before more general ones.
#[must_use]
pub fn table() -> Vec<Route> {
    let mut table = reading();
    table.extend(buying());
    table.extend(owning());
    table.extend(organizing());
    table.extend(withdrawing());
    table.extend(setting_aside());
    table.extend(inviting());
    table.extend(supporting());
    table.extend(pages());
    table
}

fn get(
    path: &'static str,
    operation: &'static str,
    summary: &'static str,
    handler: Handler,
) -> Route {
    Route::new(Method::GET, path, operation, summary, handler)
}

fn post(
    path: &'static str,
    operation: &'static str,
    summary: &'static str,
    handler: Handler,
) -> Route {
    Route::new(Method::POST, path, operation, summary, handler)
}

fn reading() -> Vec<Route> {
    const NOT_MODIFIED: &str = "As the ETag names it";
    vec![
        get("/v1/events", "listEvents", "Published events, soonest first", handler!(events::list))
            .query(&["q", "city", "category", "from", "to", "limit", "cursor"])
            .answers(200, "A page of events", "EventPage"),
        get("/v1/events/{event_id}", "getEvent", "One event", handler!(events::get)).answers(
            200,
            "The event",
            "Event",
        ),
        get(
            "/v1/events/{event_id}/seatmap",
            "getSeatMap",
            "An event's sections, rows and seats; it never changes",
            handler!(events::seat_map),
        )
        .answers(200, "The seat map", "SeatMap")
        .answers(304, NOT_MODIFIED, ""),
        get(
            "/v1/events/{event_id}/availability",
            "getAvailability",
            "What is available, exact as of a position",
            handler!(availability::get),
        )
        .query(&["section"])
        .answers(200, "The availability", "Availability")
        .answers(304, NOT_MODIFIED, ""),
        get(
            "/v1/events/{event_id}/availability/stream",
            "streamAvailability",
            "Server-sent events: `position`, then `delta`s, and `reset` when too far behind",
            handler!(availability::watch),
        )
        .query(&["position_from"])
        .answers_with(200, "The stream", "text/event-stream"),
        get(
            "/v1/keys",
            "getKeys",
            "Public keys with which ticket codes are checked",
            handler!(meta::keys),
        )
        .answers(200, "A JSON Web Key Set", "KeySet"),
        get("/openapi.json", "getOpenApi", "This document", handler!(meta::openapi))
            .answers(200, "OpenAPI 3.1", "OpenApi")
            .answers(304, NOT_MODIFIED, ""),
    ]
}

fn buying() -> Vec<Route> {
    vec![
        post(
            "/v1/reserve",
            "reserve",
            "Holds seats for a limited time, all of them or none",
            handler!(reserve::reserve),
        )
        .key(KeyUse::Required)
        .headers(&["ChannelKey"])
        .body(BodyUse::Json("ReserveRequest"))
        .answers(200, "The hold", "Reservation")
        .codes(&[
            Code::AdmissionRequired,
            Code::ChannelForbidden,
            Code::SeatUnavailable,
            Code::OrphanSeats,
            Code::CompanionWithoutAccessible,
            Code::SoldOut,
            Code::NotEnoughTogether,
            Code::QuotaExhausted,
            Code::BuyerLimitReached,
            Code::HoardingLimitReached,
            Code::CodeInvalid,
            Code::CodeUsedUp,
            Code::NotOnSale,
        ])
        .changes(),
        get("/v1/holds/{hold_id}", "getHold", "A hold's state", handler!(holds::get))
            .auth(Auth::HoldToken)
            .answers(200, "The hold", "Hold"),
        Route::new(
            Method::DELETE,
            "/v1/holds/{hold_id}",
            "releaseHold",
            "Gives a hold's seats back",
            handler!(holds::release),
        )
        .auth(Auth::HoldToken)
        .answers(204, "Released", "")
        .codes(&[Code::HoldInCheckout, Code::HoldExpired])
        .changes(),
        post(
            "/v1/holds/{hold_id}/extend",
            "extendHold",
            "Starts a hold's clock again, as often as the event allows",
            handler!(holds::extend),
        )
        .auth(Auth::HoldToken)
        .key(KeyUse::Optional)
        .body(BodyUse::OptionalJson("ExtendRequest"))
        .answers(200, "The hold", "Hold")
        .codes(&[
            Code::HoldInCheckout,
            Code::ExtensionLimitReached,
            Code::HoardingLimitReached,
            Code::HoldExpired,
        ])
        .changes(),
        post(
            "/v1/checkout",
            "checkout",
            "Makes an order of a hold and starts its payment",
            handler!(checkout::checkout),
        )
        .auth(Auth::HoldToken)
        .key(KeyUse::Required)
        .body(BodyUse::Json("CheckoutRequest"))
        .answers(202, "The order is being paid; poll it", "Checkout")
        .codes(&[Code::BuyerLimitReached, Code::HoldInCheckout, Code::HoldExpired])
        .changes(),
    ]
}

fn owning() -> Vec<Route> {
    vec![
        get("/v1/orders/{order_id}", "getOrder", "An order and its tickets", handler!(orders::get))
            .auth(Auth::OrderTokenOrSupport)
            .answers(200, "The order", "Order"),
        get(
            "/v1/tickets/{ticket_id}.svg",
            "getTicketImage",
            "A ticket's code as a QR image",
            handler!(orders::get_ticket_svg),
        )
        .auth(Auth::OrderToken)
        .answers_with(200, "The image", "image/svg+xml")
        .codes(&[Code::Conflict]),
        get("/v1/tickets/{ticket_id}", "getTicket", "A ticket", handler!(orders::get_ticket))
            .auth(Auth::OrderToken)
            .answers(200, "The ticket", "Ticket"),
    ]
}

fn organizing() -> Vec<Route> {
    vec![
        post(
            "/v1/events",
            "createEvent",
            "Creates an event; answered when buyers can buy",
            handler!(organizer::create),
        )
        .auth(Auth::Staff(Role::Organizer))
        .key(KeyUse::Optional)
        .body(BodyUse::Json("EventRequest"))
        .body_max(limits::EVENT_BODY_BYTES_MAX)
        .answers(201, "The event", "Event")
        .changes(),
        Route::new(
            Method::PATCH,
            "/v1/events/{event_id}",
            "changeEvent",
            "Changes texts, times, prices, rules and areas' capacities of an event; its seats stay",
            handler!(organizer::change),
        )
        .auth(Auth::Staff(Role::Organizer))
        .key(KeyUse::Optional)
        .body(BodyUse::Json("EventChange"))
        .body_max(limits::EVENT_BODY_BYTES_MAX)
        .answers(200, "The event", "Event")
        .codes(&[Code::Conflict, Code::CapacityBelowTaken])
        .changes(),
        post(
            "/webhooks/stripe",
            "receiveWebhook",
            "Takes the payment gateway's signed events",
            handler!(gateway::webhook),
        )
        .auth(Auth::Gateway)
        .class(Class::Gateway)
        .body(BodyUse::Raw)
        .body_max(limits::WEBHOOK_BODY_BYTES_MAX)
        .answers(200, "Taken", "Received"),
    ]
}

fn withdrawing() -> Vec<Route> {
    let organizer = Auth::Staff(Role::Organizer);
    vec![
        post(
            "/v1/events/{event_id}/kills",
            "killSeats",
            "Withdraws places from sale; what is held, when its hold ends without a sale",
            handler!(kills::kill),
        )
        .auth(organizer)
        .key(KeyUse::Optional)
        .body(BodyUse::Json("KillRequest"))
        .body_max(limits::EVENT_BODY_BYTES_MAX)
        .answers(200, "What is withdrawn, and what will be", "Killed")
        .codes(&[Code::SeatsSold])
        .changes(),
        post(
            "/v1/events/{event_id}/returns",
            "returnSeats",
            "Puts withdrawn places on sale again",
            handler!(kills::give_back),
        )
        .auth(organizer)
        .key(KeyUse::Optional)
        .body(BodyUse::Json("ReturnRequest"))
        .body_max(limits::EVENT_BODY_BYTES_MAX)
        .answers(200, "How many are on sale again", "Returned")
        .codes(&[Code::SeatsNotKilled])
        .changes(),
        get(
            "/v1/events/{event_id}/kills",
            "listKills",
            "What is withdrawn, or will be, and why",
            handler!(kills::list),
        )
        .auth(organizer)
        .answers(200, "Places by reason", "Kills"),
    ]
}

fn setting_aside() -> Vec<Route> {
    let organizer = Auth::Staff(Role::Organizer);
    const ONE: &str = "/v1/events/{event_id}/channels/{key}";
    vec![
        Route::new(
            Method::PUT,
            ONE,
            "putChannel",
            "Sets places aside for who comes through a channel; these and no others from now on",
            handler!(channels::put),
        )
        .auth(organizer)
        .key(KeyUse::Optional)
        .body(BodyUse::Json("ChannelRequest"))
        .body_max(limits::EVENT_BODY_BYTES_MAX)
        .answers(200, "What is set aside", "ChannelPut")
        .codes(&[Code::SeatUnavailable])
        .changes(),
        Route::new(
            Method::DELETE,
            ONE,
            "deleteChannel",
            "Closes a channel: what is unsold of it is everybody's",
            handler!(channels::delete),
        )
        .auth(organizer)
        .key(KeyUse::Optional)
        .answers(204, "Closed", "")
        .changes(),
        get(
            ONE,
            "getChannel",
            "What a channel has, and what of it is left",
            handler!(channels::get),
        )
        .auth(organizer)
        .answers(200, "The channel", "Channel"),
        get(
            "/v1/events/{event_id}/channels",
            "listChannels",
            "An event's channels, in the order in which they were made",
            handler!(channels::list),
        )
        .auth(organizer)
        .answers(200, "The channels", "Channels"),
    ]
}

fn inviting() -> Vec<Route> {
    const CODES: &str = "/v1/events/{event_id}/codes";
    vec![
        post(
            CODES,
            "putCodes",
            "Gives an event presale and voucher codes, or makes some and says them this once",
            handler!(codes::put),
        )
        .auth(Auth::Staff(Role::Organizer))
        .key(KeyUse::Optional)
        .body(BodyUse::Json("CodesRequest"))
        .body_max(limits::EVENT_BODY_BYTES_MAX)
        .answers(200, "The codes", "CodesPut")
        .changes(),
        get(
            CODES,
            "listCodes",
            "What codes are good for and how often they were used; never the codes",
            handler!(codes::list),
        )
        .auth(Auth::Staff(Role::Organizer))
        .answers(200, "Codes by what they are good for", "Codes"),
    ]
}

fn supporting() -> Vec<Route> {
    let support = Auth::Staff(Role::Support);
    vec![
        post(
            "/v1/orders/{order_id}/swaps",
            "swapSeat",
            "Moves a ticket to another available seat of its kind and price",
            handler!(support::swap),
        )
        .auth(support)
        .key(KeyUse::Optional)
        .body(BodyUse::Json("SwapRequest"))
        .answers(200, "The new ticket; the old one is void", "Swapped")
        .codes(&[Code::SeatUnavailable, Code::PriceDiffers, Code::QuotaExhausted, Code::Conflict])
        .changes(),
        post(
            "/v1/orders/{order_id}/renames",
            "renameTickets",
            "Gives one ticket of an order, or all, another holder's name",
            handler!(support::rename),
        )
        .auth(support)
        .key(KeyUse::Optional)
        .body(BodyUse::Json("RenameRequest"))
        .answers(200, "The tickets", "Renamed")
        .codes(&[Code::Conflict])
        .changes(),
    ]
}

/// What the form of an event's page may say, beside a number for each ticket type.
const RESERVE_FIELDS: [&str; 9] = [
    "quantity",
    "where",
    "split",
    "accessible",
    "companions",
    "code",
    "channel",
    "channel_key",
    "key",
];

fn page(
    path: &'static str,
    operation: &'static str,
    summary: &'static str,
    handler: Handler,
) -> Route {
    get(path, operation, summary, handler).class(Class::Page).answers_with(
        200,
        "The page",
        "text/html",
    )
}

fn form(
    path: &'static str,
    operation: &'static str,
    summary: &'static str,
    fields: &'static [&'static str],
    handler: Handler,
) -> Route {
    post(path, operation, summary, handler)
        .class(Class::Page)
        .body(BodyUse::Form(fields))
        .answers_with(303, "Look there", "")
        .codes(&[Code::Forbidden])
        .changes()
}

fn pages() -> Vec<Route> {
    let mut pages = vec![
        page("/", "listPage", "Events, for people", handler!(pages::events::list))
            .query(&["q", "city", "category", "cursor"]),
        page(
            "/events/{event_id}",
            "eventPage",
            "One event, for people",
            handler!(pages::events::event),
        ),
        form(
            "/events/{event_id}/reserve",
            "reserveForm",
            "Holds seats from the event's page",
            &RESERVE_FIELDS,
            handler!(pages::buying::reserve),
        ),
        page(
            "/problems/{code}",
            "problemPage",
            "What an error code means",
            handler!(pages::reference::problem),
        ),
        page("/docs", "docsPage", "This interface, for people", handler!(pages::reference::docs)),
        get("/assets/style.css", "styleSheet", "How pages look", handler!(pages::reference::style))
            .answers_with(200, "The style sheet", "text/css"),
        get("/assets/icon.svg", "icon", "The pages' icon", handler!(pages::reference::icon))
            .answers_with(200, "The icon", "image/svg+xml"),
    ];
    pages.extend(pages_of_a_purchase());
    pages
}

/// The way from a hold to its tickets.
fn pages_of_a_purchase() -> Vec<Route> {
    vec![
        page(
            "/holds/{hold_id}",
            "holdPage",
            "A hold and its checkout, for people",
            handler!(pages::buying::hold),
        ),
        form(
            "/holds/{hold_id}/extend",
            "extendForm",
            "Extends a hold from its page",
            &["seen"],
            handler!(pages::buying::extend),
        ),
        form(
            "/holds/{hold_id}/release",
            "releaseForm",
            "Releases a hold from its page",
            &[],
            handler!(pages::buying::release),
        ),
        form(
            "/holds/{hold_id}/checkout",
            "checkoutForm",
            "Checks out from the hold's page",
            &["name", "email", "payment_method", "key"],
            handler!(pages::buying::checkout),
        ),
        page(
            "/orders/{order_id}",
            "orderPage",
            "An order and its tickets, for people",
            handler!(pages::order::order),
        ),
    ]
}
