//! The Stripe client against the sandbox, also when answers are lost.

use onsale_payments::gateway::{Answer, Call, Gateway, Intent, Payment, Status, Stripe};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{KEY, Proxy, Sandbox};

fn stripe(url: &str) -> Stripe {
    Stripe::new(url, KEY, "http://shop.test/orders/{order_id}", None).unwrap()
}

fn payment(order: &str, method: &str) -> Payment {
    Payment {
        order_id: order.to_owned(),
        amount_minor: 1900,
        currency: "EUR".to_owned(),
        payment_method: method.to_owned(),
    }
}

fn intent(answer: Answer) -> Intent {
    match answer {
        Answer::Intent(intent) => intent,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn authorise_capture_and_cancel_say_how_the_payment_stands() {
    let sandbox = Sandbox::start().await;
    let stripe = stripe(&sandbox.url);
    let visa = payment("ord_1", "pm_card_visa");
    let made = intent(stripe.call(&visa, &Call::Authorise).await);
    assert_eq!(made.status, Status::RequiresCapture);
    assert_eq!((made.amount_minor, made.capturable_minor), (1900, 1900));
    assert_eq!((made.currency.as_str(), made.order_id.as_deref()), ("eur", Some("ord_1")));
    let take = Call::Capture { intent: made.id.clone(), turn: 0 };
    for _ in 0..2 {
        let taken = intent(stripe.call(&visa, &take).await);
        assert_eq!((taken.status, taken.received_minor), (Status::Succeeded, 1900));
    }
    // Under a fresh key the gateway refuses, and its refusal says that it is taken already.
    let again = Call::Capture { intent: made.id.clone(), turn: 1 };
    assert_eq!(intent(stripe.call(&visa, &again).await).status, Status::Succeeded);
    let cancel = Call::Cancel { intent: made.id.clone(), turn: 0 };
    assert_eq!(intent(stripe.call(&visa, &cancel).await).status, Status::Succeeded);
    assert_eq!(sandbox.client().captured("ord_1").await, 1900);
    let back = Call::GiveBack(made.id);
    assert_eq!(stripe.call(&visa, &back).await, Answer::GivenBack);
    assert_eq!(stripe.call(&visa, &back).await, Answer::GivenBack);
    assert_eq!(sandbox.client().payments_of("ord_1").await[0]["refunded_minor"], 1900);
}

#[tokio::test]
async fn a_kept_answer_is_not_taken_for_the_present_state() {
    let sandbox = Sandbox::start().await;
    let stripe = stripe(&sandbox.url);
    let visa = payment("ord_1", "pm_card_visa");
    let made = intent(stripe.call(&visa, &Call::Authorise).await);
    let cancel = Call::Cancel { intent: made.id.clone(), turn: 0 };
    assert_eq!(intent(stripe.call(&visa, &cancel).await).status, Status::Canceled);
    // A worker that wakes late repeats the authorisation: its kept answer says "reserved".
    let late = intent(stripe.call(&visa, &Call::Authorise).await);
    assert_eq!((late.id, late.status), (made.id.clone(), Status::Canceled));
    let found = intent(stripe.call(&visa, &Call::Search).await);
    assert_eq!((found.id, found.status), (made.id, Status::Canceled));
    let capture = Call::Capture { intent: found_id(&stripe, &visa).await, turn: 0 };
    assert_eq!(intent(stripe.call(&visa, &capture).await).status, Status::Canceled);
}

async fn found_id(stripe: &Stripe, payment: &Payment) -> String {
    intent(stripe.call(payment, &Call::Search).await).id
}

#[tokio::test]
async fn refusals_are_told_apart_from_no_answer() {
    let sandbox = Sandbox::start().await;
    let stripe = stripe(&sandbox.url);
    let declined = stripe.call(&payment("ord_1", "pm_card_chargeDeclined"), &Call::Authorise).await;
    assert!(matches!(
        declined,
        Answer::Declined { intent: Some(_), ref reason } if reason == "generic_decline"
    ));
    let unknown = stripe.call(&payment("ord_2", "pm_nothing"), &Call::Authorise).await;
    assert_eq!(unknown, Answer::Refused { reason: "resource_missing".to_owned() });
    let asks = payment("ord_3", "pm_card_authenticationRequired");
    let asked = intent(stripe.call(&asks, &Call::Authorise).await);
    assert_eq!(asked.status, Status::RequiresAction);
    assert!(asked.next_action_url.unwrap().starts_with(&sandbox.url));
    // The same key with another amount: nobody knows what became of the first one.
    let other = Payment { amount_minor: 1, ..asks };
    assert_eq!(stripe.call(&other, &Call::Authorise).await, Answer::KeySpent);
    for id in ["pi_0", "../refunds", "", "pi 1"] {
        assert_eq!(stripe.retrieve(id).await, Answer::NotFound, "{id}");
    }
    let nothing = payment("ord_9", "pm_card_visa");
    assert_eq!(stripe.call(&nothing, &Call::Search).await, Answer::NotFound);
    let stranger = Stripe::new(&sandbox.url, "sk_other", "http://shop.test/", None).unwrap();
    let answer = stranger.call(&nothing, &Call::Authorise).await;
    assert_eq!(answer, Answer::Unknown { retry_after: None });
}

#[tokio::test]
async fn lost_answers_and_repeats_give_one_payment() {
    let sandbox = Sandbox::start().await;
    let proxy = Proxy::start(&sandbox.url).await;
    let stripe = stripe(&proxy.url);
    let visa = payment("ord_1", "pm_card_visa");
    proxy.lose(3);
    for _ in 0..3 {
        let lost = stripe.call(&visa, &Call::Authorise).await;
        assert_eq!(lost, Answer::Unknown { retry_after: None });
    }
    assert_eq!(proxy.left_to_lose(), 0, "all three were processed and lost");
    let made = intent(stripe.call(&visa, &Call::Authorise).await);
    assert_eq!(made.status, Status::RequiresCapture);
    let take = Call::Capture { intent: made.id.clone(), turn: 0 };
    proxy.lose(1);
    assert_eq!(stripe.call(&visa, &take).await, Answer::Unknown { retry_after: None });
    assert_eq!(intent(stripe.call(&visa, &take).await).status, Status::Succeeded);
    let payments = sandbox.client().payments_of("ord_1").await;
    assert_eq!(payments.len(), 1);
    assert_eq!(payments[0]["captured_minor"], 1900);
}

#[tokio::test]
async fn the_gate_shuts_when_nobody_answers_and_opens_again() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let stripe = stripe(&format!("http://{address}"));
    let visa = payment("ord_1", "pm_card_visa");
    for _ in 0..onsale_payments::limits::GATEWAY_FAILURES_MAX {
        assert_eq!(stripe.call(&visa, &Call::Authorise).await.name(), "unknown");
    }
    assert_eq!(stripe.gate(), onsale_mesh::breaker::Gate::Shut);
    let refused = stripe.call(&visa, &Call::Authorise).await;
    assert!(matches!(refused, Answer::Unknown { retry_after: Some(_) }), "it was not even tried");
}

/// What a broken or hostile gateway may send is never more than "unknown".
#[tokio::test]
async fn hostile_answers_are_no_answers() {
    let object = |id: &str, status: &str, amount: &str| {
        format!(
            "{{\"id\":\"{id}\",\"object\":\"payment_intent\",\"status\":\"{status}\",\
             \"amount\":{amount},\"currency\":\"eur\"}}"
        )
    };
    let bodies = [
        "nonsense".to_owned(),
        "{}".to_owned(),
        "[".repeat(200_000),
        object("../../etc", "requires_capture", "1900"),
        object("pi_1", "splendid", "1900"),
        object("pi_1", "requires_capture", "-1"),
        object("pi_1", "requires_capture", "1e99"),
        " ".repeat(onsale_payments::limits::GATEWAY_ANSWER_BYTES_MAX + 1),
    ];
    for body in bodies {
        let url = answers_once(body.clone()).await;
        let answer = stripe(&url).call(&payment("ord_1", "pm_card_visa"), &Call::Authorise).await;
        let start: String = body.chars().take(80).collect();
        assert_eq!(answer, Answer::Unknown { retry_after: None }, "{start}");
    }
    let mut odd = object("pi_1", "requires_action", "1900");
    odd.insert_str(
        odd.len() - 1,
        ",\"next_action\":{\"redirect_to_url\":{\"url\":\"javascript:x\"}}",
    );
    let url = answers_once(odd).await;
    let answer = stripe(&url).call(&payment("ord_1", "pm_card_visa"), &Call::Authorise).await;
    assert_eq!(intent(answer).next_action_url, None, "no browser is sent there");
}

async fn answers_once(body: String) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 16 * 1024];
        let _ = stream.read(&mut request).await;
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        let _ = stream.write_all(head.as_bytes()).await;
        let _ = stream.write_all(body.as_bytes()).await;
    });
    url
}
