//! The whole role: jobs over gRPC, the sandbox over HTTP, webhooks, tickets.

use bytes::Bytes;
use onsale_mesh::{ShardClient, channel, server::serve_grpc};
use onsale_payments::{Config, Service, ticket, webhook};
use onsale_proto::{
    id,
    payments::{
        ReceiveWebhookRequest, RenderTicketRequest, payments_service_client::PaymentsServiceClient,
    },
    ticket_code, time,
};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::{
    shards::Shards,
    support::{KEY, Proxy, SECRET, Sandbox, until},
};

struct Role {
    channel: Channel,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<Result<(), onsale_payments::Error>>,
    _folder: tempfile::TempDir,
}

impl Role {
    async fn start(gateway: &str, client: &ShardClient, shards: u32) -> Role {
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            gateway_url: gateway.to_owned(),
            gateway_key: KEY.to_owned(),
            webhook_secret: SECRET.to_owned(),
            gateway_rate_max: None,
            data_dir: folder.path().to_owned(),
            ..Config::default()
        };
        let service = Service::open(config, client.clone(), shards).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let channel = channel::connect(&listener.local_addr().unwrap().to_string()).unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(serve_grpc(listener, service.routes(), stop.clone()));
        let handle = service.handle();
        let running = tokio::spawn(service.run(stop.clone()));
        assert!(handle.ready().await);
        Role { channel, stop, running, _folder: folder }
    }

    /// As if the process had died: nothing is finished.
    async fn die(self) {
        self.running.abort();
        let _ = self.running.await;
        self.stop.cancel();
    }

    async fn webhook(&self, body: &str, signature: String) -> Result<(), tonic::Status> {
        let request =
            ReceiveWebhookRequest { body: Bytes::copy_from_slice(body.as_bytes()), signature };
        let mut client = PaymentsServiceClient::new(self.channel.clone());
        client.receive_webhook(request).await.map(|_| ())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paid_order_gets_tickets_that_verify_and_the_money_is_taken_once() {
    let sandbox = Sandbox::start().await;
    let (shards, client) = Shards::start().await;
    let role = Role::start(&sandbox.url, &client, 2).await;
    let orders = [1, 2, 1, 2].map(|shard| shards.order(shard, "authorise", "pm_card_visa"));
    let counter = shards.order(2, "issue", "");
    shards.lose_reports(3);
    until("all are confirmed", async || shards.is_idle()).await;
    let keys = shards.keys();
    assert_eq!(keys.len(), 1, "registered, after two refusals");
    let public: [u8; 32] = keys[0].public_key.as_ref().try_into().unwrap();
    for order in orders.into_iter().chain([counter]) {
        let done = shards.get(order);
        assert_eq!(done.status, "confirmed");
        let signed = done.signed.unwrap();
        assert_eq!(signed.signing_key, keys[0].key_id);
        let seats = [Some("101-A-12"), None];
        for (number, (seat, signature)) in (1..).zip(seats.iter().zip(&signed.signatures)) {
            let ticket = id::format(id::TICKET, id::ticket(order, number));
            let input = ticket_code::signing_input(signed.signing_key, &ticket, "evt_arena", *seat);
            let code = ticket_code::assemble(&input, signature);
            assert!(ticket::verify(&code, &public));
            let mut render = PaymentsServiceClient::new(role.channel.clone());
            let svg = render.render_ticket(RenderTicketRequest { code }).await.unwrap();
            assert!(svg.into_inner().svg.starts_with("<svg "));
        }
        let paid = if order == counter { 0 } else { 1900 };
        let name = id::format(id::ORDER, order);
        assert_eq!(sandbox.client().captured(&name).await, paid);
        assert_eq!(done.captured_reports, u32::from(order != counter));
    }
    role.stop.cancel();
    role.running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn declined_unknown_and_voided_orders_leave_nothing_reserved() {
    let sandbox = Sandbox::start().await;
    let (shards, client) = Shards::start().await;
    let _role = Role::start(&sandbox.url, &client, 1).await;
    let declined = shards.order(1, "authorise", "pm_card_chargeDeclined");
    let unknown = shards.order(1, "authorise", "pm_nothing");
    let never_asked = shards.order(1, "void", "pm_card_visa");
    let never_payable = shards.order(1, "void", "pm_card_chargeDeclined");
    until("all are decided", async || shards.is_idle()).await;
    assert_eq!(shards.get(declined).reason, "generic_decline");
    assert_eq!(shards.get(unknown).reason, "resource_missing");
    assert_eq!(shards.get(never_asked).reason, "voided");
    assert_eq!(shards.get(never_payable).reason, "voided");
    let books = sandbox.client().get("/sandbox/books").await.json();
    let sums = &books["currencies"]["eur"];
    assert_eq!((&sums["captured_minor"], &sums["uncaptured_minor"]), (&0.into(), &0.into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_is_a_hint_that_wakes_the_job_and_nothing_more() {
    let sandbox = Sandbox::start().await;
    let (shards, client) = Shards::start().await;
    let role = Role::start(&sandbox.url, &client, 1).await;
    let order = shards.order(1, "authorise", "pm_card_authenticationRequired");
    until("the buyer is asked", async || !shards.get(order).action_url.is_empty()).await;
    let asked = shards.get(order);
    let say = |kind: &str, id: &str| {
        format!(
            "{{\"type\":\"payment_intent.{kind}\",\
             \"data\":{{\"object\":{{\"id\":\"{id}\",\"status\":\"succeeded\"}}}}}}"
        )
    };
    let now = time::now_ms() / 1000;
    // A lie, well signed: the payment is fetched, it still waits, nothing is captured.
    let lie = say("succeeded", &asked.intent);
    role.webhook(&lie, webhook::sign(SECRET, lie.as_bytes(), now)).await.unwrap();
    let forged = role.webhook(&lie, webhook::sign("whsec_other", lie.as_bytes(), now)).await;
    assert_eq!(forged.unwrap_err().code(), tonic::Code::InvalidArgument);
    for id in ["pi_unknown", "../../v1/refunds", ""] {
        let odd = say("succeeded", id);
        role.webhook(&odd, webhook::sign(SECRET, odd.as_bytes(), now)).await.unwrap();
    }
    let name = id::format(id::ORDER, order);
    assert_eq!(
        (shards.get(order).status, sandbox.client().captured(&name).await),
        ("processing", 0)
    );
    let page = asked.action_url.strip_prefix(sandbox.url.as_str()).unwrap().to_owned();
    sandbox.client().post(&page, &[("outcome", "succeed")]).await;
    let news = say("amount_capturable_updated", &asked.intent);
    for _ in 0..3 {
        role.webhook(&news, webhook::sign(SECRET, news.as_bytes(), now)).await.unwrap();
    }
    until("it is confirmed", async || shards.get(order).status == "confirmed").await;
    role.webhook(&news, webhook::sign(SECRET, news.as_bytes(), now)).await.unwrap();
    assert_eq!(sandbox.client().captured(&name).await, 1900);
    // Refused by its buyer; no webhook comes, polling finds out.
    let order = shards.order(1, "authorise", "pm_card_authenticationRequired");
    until("the buyer is asked", async || !shards.get(order).action_url.is_empty()).await;
    let url = shards.get(order).action_url;
    let page = url.strip_prefix(sandbox.url.as_str()).unwrap().to_owned();
    sandbox.client().post(&page, &[("outcome", "fail")]).await;
    until("it has failed", async || shards.get(order).status == "failed").await;
    assert_eq!(shards.get(order).reason, "authentication_failed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn given_up_while_the_buyer_thinks_and_confirmed_too_late_takes_nothing() {
    let sandbox = Sandbox::start().await;
    let (shards, client) = Shards::start().await;
    let _role = Role::start(&sandbox.url, &client, 1).await;
    let order = shards.order(1, "authorise", "pm_card_authenticationRequired");
    until("the buyer is asked", async || !shards.get(order).action_url.is_empty()).await;
    let url = shards.get(order).action_url;
    shards.end_fence(order);
    until("it is voided", async || shards.get(order).reason == "voided").await;
    let page = url.strip_prefix(sandbox.url.as_str()).unwrap().to_owned();
    sandbox.client().post(&page, &[("outcome", "succeed")]).await;
    let payments = sandbox.client().payments_of(&id::format(id::ORDER, order)).await;
    assert_eq!(payments.len(), 1);
    assert_eq!(payments[0]["status"], "canceled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_that_die_and_answers_that_are_lost_take_money_once() {
    let sandbox = Sandbox::start().await;
    let proxy = Proxy::start(&sandbox.url).await;
    let (shards, client) = Shards::start().await;
    let orders: Vec<u128> = (0..40).map(|_| shards.order(1, "authorise", "pm_card_visa")).collect();
    let mut deaths = 0;
    while !shards.is_idle() {
        let before = shards.leased();
        let role = Role::start(&proxy.url, &client, 1).await;
        if deaths < 5 {
            proxy.lose(4);
            shards.lose_reports(3);
            until("it works", async || {
                shards.end_pauses();
                shards.leased() > before || shards.is_idle()
            })
            .await;
            role.die().await;
            deaths += 1;
        } else {
            until("all are confirmed", async || {
                shards.end_pauses();
                shards.is_idle()
            })
            .await;
        }
        shards.end_leases();
    }
    for order in orders {
        let done = shards.get(order);
        assert_eq!((done.status, done.captured_reports), ("confirmed", 1));
        let payments = sandbox.client().payments_of(&id::format(id::ORDER, order)).await;
        assert_eq!(payments.len(), 1, "one payment for an order");
        assert_eq!(payments[0]["captured_minor"], 1900);
    }
}
