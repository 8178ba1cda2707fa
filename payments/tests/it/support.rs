//! A running sandbox, a plain client of it, and a proxy that loses answers.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use onsale_payments::sandbox;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

pub(crate) const KEY: &str = "sk_test_key";
pub(crate) const SECRET: &str = "whsec_of_the_tests";

pub(crate) struct Sandbox {
    pub(crate) url: String,
    stop: CancellationToken,
    running: JoinHandle<Result<(), onsale_payments::Error>>,
}

impl Sandbox {
    pub(crate) async fn start() -> Sandbox {
        Sandbox::start_with(sandbox::Config::default()).await
    }

    pub(crate) async fn start_in(folder: PathBuf) -> Sandbox {
        Sandbox::start_with(sandbox::Config {
            data_dir: Some(folder),
            ..sandbox::Config::default()
        })
        .await
    }

    pub(crate) async fn start_with(config: sandbox::Config) -> Sandbox {
        let config = sandbox::Config {
            gateway_key: KEY.to_owned(),
            webhook_secret: SECRET.to_owned(),
            ..config
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let running = tokio::spawn(sandbox::run(config, listener, stop.clone()));
        Sandbox { url, stop, running }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.url)
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.running.await.unwrap().unwrap();
    }
}

/// What any HTTP client could do.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    url: String,
    pub(crate) key: String,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) replayed: bool,
    pub(crate) location: Option<String>,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    pub(crate) fn id(&self) -> String {
        self.json()["id"].as_str().unwrap().to_owned()
    }

    pub(crate) fn error(&self) -> String {
        let error = &self.json()["error"];
        format!(
            "{} {} {}",
            self.status,
            error["type"].as_str().unwrap(),
            error["code"].as_str().unwrap_or("-")
        )
    }
}

impl Client {
    pub(crate) fn new(url: &str) -> Client {
        let _ = rustls::crypto::ring::default_provider().install_default();
        Client {
            http: reqwest::Client::builder()
                .tls_certs_only([])
                .redirect(reqwest::redirect::Policy::none())
                .build()
                .unwrap(),
            url: url.to_owned(),
            key: KEY.to_owned(),
        }
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        self.try_send(request).await.expect("an answer")
    }

    async fn try_send(&self, request: reqwest::RequestBuilder) -> Option<Answer> {
        let answer = request.bearer_auth(&self.key).send().await.ok()?;
        let header = |name: &str| {
            let value = answer.headers().get(name)?;
            Some(value.to_str().unwrap().to_owned())
        };
        Some(Answer {
            status: answer.status().as_u16(),
            replayed: header("idempotent-replayed").is_some(),
            location: header("location"),
            text: answer.text().await.ok()?,
        })
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.http.get(format!("{}{path}", self.url))).await
    }

    pub(crate) async fn post(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        let request = self.http.post(format!("{}{path}", self.url)).form(form);
        self.send(request).await
    }

    pub(crate) async fn post_with(&self, key: &str, path: &str, form: &[(&str, &str)]) -> Answer {
        let request = self.http.post(format!("{}{path}", self.url)).form(form);
        self.send(request.header("Idempotency-Key", key)).await
    }

    /// `None` when there is no whole answer.
    pub(crate) async fn try_post_with(
        &self,
        key: &str,
        path: &str,
        form: &[(&str, &str)],
    ) -> Option<Answer> {
        let request = self.http.post(format!("{}{path}", self.url)).form(form);
        self.try_send(request.header("Idempotency-Key", key)).await
    }

    pub(crate) async fn pay(&self, method: &str, amount: &str, order: &str) -> Answer {
        let form = [
            ("amount", amount),
            ("currency", "eur"),
            ("payment_method", method),
            ("confirm", "true"),
            ("capture_method", "manual"),
            ("metadata[order_id]", order),
            ("return_url", "http://shop.test/orders/1"),
        ];
        self.post("/v1/payment_intents", &form).await
    }

    /// Captured minor units of all payments of an order.
    pub(crate) async fn captured(&self, order: &str) -> u64 {
        self.payments_of(order)
            .await
            .iter()
            .map(|row| row["captured_minor"].as_u64().unwrap())
            .sum()
    }

    pub(crate) async fn payments_of(&self, order: &str) -> Vec<Value> {
        let books = self.get("/sandbox/books").await.json();
        let rows = books["payment_intents"].as_array().unwrap();
        rows.iter().filter(|row| row["order_id"] == order).cloned().collect()
    }
}

/// Passes bytes on, but loses as many answers as it is told: the request has been done then.
pub(crate) struct Proxy {
    pub(crate) url: String,
    lose: Arc<AtomicU32>,
}

impl Proxy {
    pub(crate) async fn start(to: &str) -> Proxy {
        let to = to.strip_prefix("http://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let lose = Arc::new(AtomicU32::new(0));
        let losing = Arc::clone(&lose);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, to.clone(), Arc::clone(&losing)));
            }
        });
        Proxy { url, lose }
    }

    pub(crate) fn lose(&self, answers: u32) {
        self.lose.store(answers, Ordering::SeqCst);
    }

    pub(crate) fn left_to_lose(&self) -> u32 {
        self.lose.load(Ordering::SeqCst)
    }
}

async fn pass(client: TcpStream, to: String, lose: Arc<AtomicU32>) {
    let Ok(server) = TcpStream::connect(to).await else {
        return;
    };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let asking = async {
        let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
    };
    let answering = async {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read) = from_server.read(&mut buffer).await {
            let fewer = |left: u32| left.checked_sub(1);
            let lost = lose.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer).is_ok();
            if read == 0 || lost || to_client.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = asking => {}
        () = answering => {}
    }
}

/// Waits for something to become true; the test's own limit ends it otherwise.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut check: impl FnMut() -> F) {
    let waiting = async {
        while !check().await {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    let limit = std::time::Duration::from_secs(20);
    assert!(tokio::time::timeout(limit, waiting).await.is_ok(), "never happened: {what}");
}
