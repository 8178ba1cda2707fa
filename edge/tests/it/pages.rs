//! The plain way for people: a purchase with nothing but forms, links and cookies.

use onsale_proto::id;

use crate::{
    backend::EVENT,
    client::{Answer, ask},
    fixture::Fixture,
};

fn html(answer: &Answer) -> String {
    assert_eq!(
        answer.header("content-type"),
        Some("text/html; charset=utf-8"),
        "{}",
        answer.text()
    );
    let policy = answer.header("content-security-policy").expect("a policy");
    assert!(policy.contains("default-src 'self'") && !policy.contains("unsafe"), "{policy}");
    let text = answer.text();
    for landmark in ["<main id=\"main\"", "class=\"skip\"", "lang=\"en\"", "<h1>"] {
        assert!(text.contains(landmark), "no {landmark}");
    }
    assert!(!text.contains("<script") && !text.contains("style=\""), "nothing inline");
    text
}

fn hidden<'a>(page: &'a str, name: &str) -> &'a str {
    let field = format!("name=\"{name}\" value=\"");
    let (_, rest) = page.split_once(&field).expect("a hidden field");
    rest.split('"').next().expect("a value")
}

#[tokio::test]
async fn a_ticket_is_bought_without_a_script() {
    let fixture = Fixture::start().await;
    let at = &fixture.address;
    let list = html(&ask("GET", "/?q=Night").send(at).await);
    assert!(list.contains("A &#60;Night&#62; at the Hall"), "escaped: {list}");
    let event = html(&ask("GET", &format!("/events/{EVENT}")).send(at).await);
    let key = hidden(&event, "key");
    let reserve = || {
        ask("POST", &format!("/events/{EVENT}/reserve"))
            .header("sec-fetch-site", "same-origin")
            .form(&[("key", key), ("quantity", "2"), ("where", "c:A")])
    };
    let held = reserve().send(at).await;
    assert_eq!(held.status, 303, "{}", held.text());
    let hold_path = held.header("location").expect("a hold's page").to_owned();
    let cookies = held.cookies();
    let token = cookies.iter().find(|cookie| cookie.starts_with("onsale_hold=")).expect("a token");
    assert!(!hold_path.contains(&token["onsale_hold=".len()..]), "no secret in a URL");
    assert!(held.all("set-cookie")[0].contains(&format!("Path={hold_path};")));
    let twice = reserve().send(at).await;
    assert_eq!(twice.header("location"), Some(hold_path.as_str()), "a second click is the first");

    let hold = html(&ask("GET", &hold_path).header("cookie", token).send(at).await);
    assert!(hold.contains("101-A-1") && hold.contains("EUR 190.00"), "{hold}");
    let stranger = ask("GET", &hold_path).send(at).await;
    assert_eq!(stranger.status, 404);
    html(&stranger);
    let extend =
        ask("POST", &format!("{hold_path}/extend")).header("cookie", token).form(&[("seen", "0")]);
    assert_eq!(extend.send(at).await.status, 303);
    let buy = |email: &str| {
        ask("POST", &format!("{hold_path}/checkout")).header("cookie", token).form(&[
            ("key", hidden(&hold, "key")),
            ("name", "Ada Lovelace"),
            ("email", email),
            ("payment_method", "pm_card_visa"),
        ])
    };
    let wrong = buy("nonsense").send(at).await;
    assert_eq!(wrong.status, 400);
    assert!(html(&wrong).contains("contact/email"));
    let bought = buy("ada@example.com").send(at).await;
    assert_eq!(bought.status, 303, "{}", bought.text());
    let order_path = bought.header("location").expect("an order's page").to_owned();
    let order_cookie = bought.cookies().remove(0);
    let waiting = ask("GET", &order_path).header("cookie", &order_cookie).send(at).await;
    assert!(html(&waiting).contains("http-equiv=\"refresh\""));
    let order = id::parse(id::ORDER, order_path.trim_start_matches("/orders/")).expect("an id");
    fixture.backend.confirm(order);
    let done = ask("GET", &order_path).header("cookie", &order_cookie).send(at).await;
    let done = html(&done);
    assert_eq!(done.matches("<svg ").count(), 2, "{done}");
    assert!(!done.contains("http-equiv=\"refresh\""));
    assert_eq!(ask("GET", &order_path).send(at).await.status, 404);
}

#[tokio::test]
async fn ticket_types_are_chosen_by_number() {
    let fixture = Fixture::start().await;
    let at = &fixture.address;
    fixture.backend.set_types(&["adult", "child"]);
    let event = html(&ask("GET", &format!("/events/{EVENT}")).send(at).await);
    assert!(!event.contains("name=\"quantity\""), "the types say how many");
    for field in ["name=\"type.adult\"", "name=\"type.child\"", "<th scope=\"col\">child</th>"] {
        assert!(event.contains(field), "no {field}: {event}");
    }
    let reserve = |fields: &[(&str, &str)]| {
        let key = format!("key {fields:?}").replace('"', "'");
        let fields = [&[("key", key.as_str())], fields].concat();
        ask("POST", &format!("/events/{EVENT}/reserve")).form(&fields)
    };
    let held = reserve(&[("type.adult", "1"), ("type.child", "2")]).send(at).await;
    assert_eq!(held.status, 303, "{}", held.text());
    let path = held.header("location").expect("a hold's page").to_owned();
    let cookies = held.cookies();
    let token = cookies.iter().find(|cookie| cookie.starts_with("onsale_hold=")).expect("a token");
    let hold = html(&ask("GET", &path).header("cookie", token).send(at).await);
    assert_eq!(hold.matches("<td>child</td>").count(), 2, "{hold}");
    assert_eq!(hold.matches("<td>adult</td>").count(), 1, "{hold}");
    for (fields, says) in [
        (&[][..], "quantity"),
        (&[("type.adult", "0")], "quantity"),
        (&[("type.adult", "two")], "type.adult"),
        (&[("type.adult", "65")], "type.adult"),
        (&[("type.adult", "64"), ("type.child", "1")], "quantity"),
        (&[("type.adult", "2"), ("companions", "1")], "companions"),
        (&[("type.adult", "1"), ("companions", "1"), ("accessible", "yes")], "quantity"),
    ] {
        let refused = reserve(fields).send(at).await;
        assert_eq!(refused.status, 400, "{fields:?}");
        assert!(html(&refused).contains(says), "{fields:?}: {}", refused.text());
    }
}

#[tokio::test]
async fn a_payment_that_asks_for_more_or_fails_is_explained() {
    let fixture = Fixture::start().await;
    let at = &fixture.address;
    let body = serde_json::json!({"event_id": EVENT, "quantity": 1});
    let hold = ask("POST", "/v1/reserve").key("k").json(&body).send(at).await.json();
    let body = serde_json::json!({
        "hold_id": hold["hold_id"], "hold_token": hold["hold_token"],
        "contact": {"name": "Ada", "email": "ada@example.com"}, "payment_method": "pm_card_visa",
    });
    let order = ask("POST", "/v1/checkout").key("k").json(&body).send(at).await.json();
    let order_id = order["order_id"].as_str().expect("an id").to_owned();
    let cookie = format!("onsale_order={}", order["order_token"].as_str().expect("a token"));
    let bits = id::parse(id::ORDER, &order_id).expect("an id");
    let read = || ask("GET", &format!("/orders/{order_id}")).header("cookie", &cookie);
    {
        let mut truth = fixture.backend.truth.lock();
        let order = truth.orders.get_mut(&bits).expect("an order");
        order.next_action_url = "http://127.0.0.1:1/confirm?a=1&b=2".into();
    }
    let page = html(&read().send(at).await);
    assert!(page.contains("href=\"http://127.0.0.1:1/confirm?a=1&#38;b=2\""), "{page}");
    // The gateway sends the buyer back with fields of its own, and may be faster than its webhook.
    let back = "?payment_intent=pi_1&redirect_status=succeeded";
    let back = ask("GET", &format!("/orders/{order_id}{back}")).header("cookie", &cookie);
    let page = html(&back.send(at).await);
    assert!(page.contains("on its way") && page.contains("http-equiv=\"refresh\""), "{page}");
    {
        let mut truth = fixture.backend.truth.lock();
        let order = truth.orders.get_mut(&bits).expect("an order");
        order.next_action_url = "javascript:alert(1)".into();
    }
    assert!(!html(&read().send(at).await).contains("javascript:"));
    {
        let mut truth = fixture.backend.truth.lock();
        let order = truth.orders.get_mut(&bits).expect("an order");
        (order.status, order.failure_code) = ("failed".into(), "payment_declined".into());
    }
    assert!(html(&read().send(at).await).contains("the card was declined"));
}

#[tokio::test]
async fn forms_from_other_sites_are_refused() {
    let fixture = Fixture::start().await;
    let form = |name: &str, value: &str| {
        ask("POST", &format!("/events/{EVENT}/reserve"))
            .header(name, value)
            .form(&[("key", "k"), ("quantity", "1")])
    };
    let own = format!("http://{}", fixture.address);
    for (name, value, status) in [
        ("sec-fetch-site", "cross-site", 403),
        ("sec-fetch-site", "same-site", 403),
        ("origin", "https://evil.example", 403),
        ("origin", "null", 403),
        ("origin", own.as_str(), 303),
        ("sec-fetch-site", "same-origin", 303),
    ] {
        let answer = form(name, value).send(&fixture.address).await;
        assert_eq!(answer.status, status, "{name}: {value}");
    }
}

#[tokio::test]
async fn the_reference_works_offline_and_every_code_has_its_page() {
    let fixture = Fixture::start().await;
    let docs = html(&ask("GET", "/docs").send(&fixture.address).await);
    assert!(docs.contains("POST /v1/reserve") && !docs.contains("//cdn"), "offline");
    for code in onsale_proto::Code::ALL {
        let page = ask("GET", &format!("/problems/{code}")).send(&fixture.address).await;
        assert_eq!(page.status, 200, "{code}");
        html(&page);
    }
    let style = ask("GET", "/assets/style.css").send(&fixture.address).await;
    assert_eq!(style.header("content-type"), Some("text/css; charset=utf-8"));
}

#[tokio::test]
async fn every_answer_is_safe_for_browsers_and_names_its_request() {
    let fixture = Fixture::start().await;
    for path in ["/", "/v1/events", "/v1/nothing", "/docs", "/v1/keys"] {
        let answer = ask("GET", path).header("x-request-id", "mine-1").send(&fixture.address).await;
        assert_eq!(answer.header("x-request-id"), Some("mine-1"), "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        let policy = answer.header("content-security-policy").expect("a policy");
        assert!(policy.contains("frame-ancestors 'none'"), "{path}: {policy}");
        assert!(answer.header("referrer-policy").is_some(), "{path}");
    }
    let problem = ask("GET", "/v1/nothing").header("x-request-id", "mine-1");
    assert_eq!(problem.send(&fixture.address).await.json()["request_id"], "mine-1");
    let odd = ask("GET", "/v1/nothing").header("x-request-id", "with space");
    let odd = odd.send(&fixture.address).await.json();
    assert!(odd["request_id"].as_str().is_some_and(|id| id.starts_with("req_")), "{odd}");
    let page = ask("GET", "/nothing").header("accept", "text/html,*/*");
    html(&page.send(&fixture.address).await);
}
