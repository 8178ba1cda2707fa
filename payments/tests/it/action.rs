//! Payments that their buyer has to confirm.

use crate::support::Sandbox;

#[tokio::test]
async fn the_buyer_confirms_or_refuses_on_the_sandboxs_page() {
    let sandbox = Sandbox::start().await;
    let client = sandbox.client();
    let table = [
        ("succeed", "requires_capture", "succeeded"),
        ("fail", "requires_payment_method", "failed"),
    ];
    for (outcome, status, word) in table {
        let intent = client.pay("pm_card_authenticationRequired", "1900", "ord_1").await.json();
        assert_eq!(intent["status"], "requires_action");
        assert_eq!(intent["next_action"]["type"], "redirect_to_url");
        let url = intent["next_action"]["redirect_to_url"]["url"].as_str().unwrap();
        let path = url.strip_prefix(sandbox.url.as_str()).expect("the sandbox's own page");
        let page = client.get(path).await;
        assert_eq!(page.text.matches("<button").count(), 2);
        assert!(page.text.contains("<html lang=\"en\"") && !page.text.contains("<script"));
        assert!(page.text.contains("19.00 EUR"));
        assert_eq!(client.post(path, &[("outcome", "perhaps")]).await.status, 400);
        let decided = client.post(path, &[("outcome", outcome)]).await;
        assert_eq!(decided.status, 303);
        let back = decided.location.unwrap();
        assert!(back.starts_with("http://shop.test/orders/1?payment_intent=pi_"), "{back}");
        assert!(back.ends_with(&format!("redirect_status={word}")), "{back}");
        let id = intent["id"].as_str().unwrap();
        let path_of = format!("/v1/payment_intents/{id}");
        assert_eq!(client.get(&path_of).await.json()["status"], status);
        // Deciding again changes nothing.
        let other = if outcome == "fail" { "succeed" } else { "fail" };
        assert_eq!(client.post(path, &[("outcome", other)]).await.status, 303);
        assert_eq!(client.get(&path_of).await.json()["status"], status);
        assert_eq!(client.get(path).await.text.matches("<button").count(), 0);
    }
}

#[tokio::test]
async fn a_payment_given_up_cannot_be_confirmed_later() {
    let sandbox = Sandbox::start().await;
    let client = sandbox.client();
    let intent = client.pay("pm_card_authenticationRequired", "1900", "ord_1").await.json();
    let id = intent["id"].as_str().unwrap();
    client.post(&format!("/v1/payment_intents/{id}/cancel"), &[]).await;
    let page = format!("/sandbox/authorise/{id}");
    client.post(&page, &[("outcome", "succeed")]).await;
    let intent = client.get(&format!("/v1/payment_intents/{id}")).await.json();
    assert_eq!(intent["status"], "canceled");
    assert_eq!(client.post("/sandbox/authorise/pi_0", &[("outcome", "succeed")]).await.status, 404);
}
