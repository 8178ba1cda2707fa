//! A demo as a process of its own, for tests that look at it from outside and kill parts of it.

use std::{
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

/// The longest that any condition may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running demo; killed when dropped.
pub struct Demo {
    pub child: Child,
    pub url: String,
    pub dir: PathBuf,
    pub client: Client,
}

/// A request's answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

impl Demo {
    /// Starts `onsale demo` on free ports over `dir` and waits for its `ready` line.
    pub fn start(dir: &Path, arguments: &[&str]) -> Demo {
        let [http, ops, grpc] = free_ports();
        let mut child = Command::new(env!("CARGO_BIN_EXE_onsale"))
            .arg("demo")
            .arg("--data-dir")
            .arg(dir)
            .args(["--listen", &http, "--ops-listen", &ops, "--grpc-listen", &grpc])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let stdout = child.stdout.take().expect("stdout is piped");
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let line = lines.recv_timeout(PATIENCE).expect("the demo says that it is ready");
        let url = line.strip_prefix("ready ").expect("the ready line").to_owned();
        Demo { child, url, dir: dir.to_owned(), client: http_client() }
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    pub async fn get(&self, path: &str) -> Answer {
        answer(self.request(Method::GET, path)).await.expect("an answer")
    }

    /// A reserve of these seats under this key, without a session of its own.
    pub async fn reserve(&self, key: &str, body: &Value) -> Result<Answer, reqwest::Error> {
        let request = self.request(Method::POST, "/v1/reserve").header("Idempotency-Key", key);
        answer(request.json(body)).await
    }

    /// A checkout of a hold as `reserve` answered it.
    pub async fn checkout(
        &self,
        key: &str,
        hold: &Value,
        method: &str,
    ) -> Result<Answer, reqwest::Error> {
        let body = json!({
            "hold_id": hold["hold_id"], "hold_token": hold["hold_token"],
            "contact": {"name": "A Buyer", "email": format!("{key}@example.org")},
            "payment_method": method,
        });
        let request = self.request(Method::POST, "/v1/checkout").header("Idempotency-Key", key);
        answer(request.json(&body)).await
    }

    /// An order as `checkout` answered it.
    pub async fn order(&self, order: &Value) -> Result<Answer, reqwest::Error> {
        let id = order["order_id"].as_str().expect("an order id");
        let token = order["order_token"].as_str().expect("an order token");
        answer(self.request(Method::GET, &format!("/v1/orders/{id}")).header("Order-Token", token))
            .await
    }

    /// Asks for the order until `done` says so.
    pub async fn order_until(&self, order: &Value, done: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        eventually("the order gets where it should", async || {
            if let Ok(answer) = self.order(order).await
                && answer.status == 200
            {
                last = answer.json();
            }
            done(&last)
        })
        .await;
        last
    }

    pub fn credentials(&self) -> Value {
        let text = std::fs::read(self.dir.join("credentials.json")).expect("credentials are there");
        serde_json::from_slice(&text).expect("credentials are JSON")
    }

    pub fn processes(&self) -> Vec<Value> {
        let text = std::fs::read(self.dir.join("processes.json")).expect("the list is there");
        serde_json::from_slice(&text).expect("the list is JSON")
    }

    /// SIGTERM, then the exit code; panics after 10 s.
    pub fn terminate(mut self) -> i32 {
        signal(self.child.id(), "TERM");
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("the child can be asked") {
                return status.code().unwrap_or(-1);
            }
            assert!(started.elapsed() < Duration::from_secs(10), "does not stop within 10 s");
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }

    /// kill -9 of the demo itself.
    pub fn kill(&mut self) {
        self.child.kill().expect("the child can be killed");
        self.child.wait().expect("the child has ended");
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub async fn answer(request: RequestBuilder) -> Result<Answer, reqwest::Error> {
    let response = request.send().await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Ok(Answer { status, headers, text: response.text().await? })
}

/// Runs `onsale` with these arguments to its end.
pub fn onsale(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_onsale"))
        .args(arguments)
        .output()
        .expect("the binary runs");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

/// Waits until `condition` holds, looking again every few milliseconds.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < PATIENCE, "waited too long until {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    assert!(status.is_ok_and(|status| status.success()), "kill -{name} {pid}");
}

/// Whether a process of that number runs (a zombie does not).
pub fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// A folder on a real disk, removed when dropped.
pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder")
}

pub fn free_ports<const N: usize>() -> [String; N] {
    let listeners: [TcpListener; N] =
        std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").expect("a port"));
    listeners.map(|listener| listener.local_addr().expect("an address").to_string())
}

pub fn http_client() -> Client {
    // Another test may have installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().timeout(Duration::from_secs(15)).build().expect("a client")
}
