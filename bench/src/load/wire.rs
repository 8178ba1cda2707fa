//! Owns one connection of a load: sends requests, times them from their intended moment, and
//! counts how each ended.
//!
//! Must never let a request vanish: whatever happens to it is counted.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    op::{Fate, Op},
    tally::{Ended, Span, Tally},
};
use crate::http::{Connection, Head, Target};

/// What all connections of a load share.
pub struct Shared {
    /// What is counted, in time.
    pub span: Span,
    tally: Mutex<Tally>,
    stopped: AtomicBool,
    ran_out: AtomicBool,
}

impl Shared {
    /// Before the first request.
    ///
    /// # Errors
    /// When there can be no histograms.
    pub fn new(span: Span, by_intended: bool) -> anyhow::Result<Shared> {
        let tally = Mutex::new(Tally::new(span, by_intended)?);
        Ok(Shared { span, tally, stopped: AtomicBool::new(false), ran_out: AtomicBool::new(false) })
    }

    /// The count; held for a moment only.
    pub fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answered(&self, op: Op, ended: Ended, code: &str) {
        let mut tally = self.tally();
        tally.in_flight -= 1;
        tally.record(op, ended, code);
    }

    /// No new requests from now on.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Nothing is left to ask for: no new requests either.
    pub fn run_out(&self) {
        self.ran_out.store(true, Ordering::Relaxed);
        self.stop();
    }

    /// Whether there was nothing left to ask for.
    pub fn ran_out(&self) -> bool {
        self.ran_out.load(Ordering::Relaxed)
    }

    /// Whether it was told to stop, before its time or after.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Whether requests may still begin.
    pub fn is_over(&self) -> bool {
        self.is_stopped() || Instant::now() >= self.span.until
    }
}

/// An answer, until the next request on the same wire.
pub struct Heard<'a> {
    /// How it ended.
    pub fate: Fate,
    /// The status; 0 without an answer.
    pub status: u16,
    /// The body.
    pub body: &'a [u8],
}

/// One connection; made again when it broke.
pub struct Wire {
    target: Target,
    connection: Option<Connection>,
    /// How long a client waits for an answer.
    pub patience: Duration,
}

impl Wire {
    /// Connects.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn open(target: Target, patience: Duration) -> std::io::Result<Wire> {
        let connection = Some(Connection::open(&target).await?);
        Ok(Wire { target, connection, patience })
    }

    /// Sends a request once and counts its end.
    pub async fn send(
        &mut self,
        shared: &Shared,
        op: Op,
        request: &[u8],
        intended: Instant,
    ) -> Heard<'_> {
        let sent = Instant::now();
        shared.tally().in_flight += 1;
        let head = self.exchange(request).await.ok();
        let answer = match (&self.connection, head) {
            (Some(connection), Some(head)) => Some(connection.answer(head)),
            _ => None,
        };
        let ended = Instant::now();
        let (status, body) = answer.map_or((0, &[][..]), |answer| (answer.status, answer.body));
        let fate = if status == 0 { Fate::Lost } else { op.judge(status) };
        let code = if fate == Fate::Good { "" } else { code(status, body) };
        shared.answered(op, Ended { intended, sent, ended, fate }, code);
        if status == 0 {
            // Not faster than that against a server that is gone.
            tokio::time::sleep(crate::limits::RECONNECT_PAUSE).await;
        }
        Heard { fate, status, body }
    }
}

impl Wire {
    /// Sends a request; once more on another connection where the server ended this one while it
    /// rested. All our requests may be repeated: they read, or have a key.
    async fn exchange(&mut self, request: &[u8]) -> std::io::Result<Head> {
        if let Some(connection) = self.connection.as_mut().filter(|it| !it.is_gone()) {
            match connection.send(request, self.patience).await {
                Err(error) if connection.was_ended(&error) => {}
                answered => return answered,
            }
        }
        self.connection = None;
        let connection = self.connection.insert(Connection::open(&self.target).await?);
        connection.send(request, self.patience).await
    }
}

/// The `code` of a problem document, without reading all of it.
fn code(status: u16, body: &[u8]) -> &str {
    const NAME: &[u8] = b"\"code\":\"";
    if status == 0 {
        return "no_answer";
    }
    text_behind(body, NAME).unwrap_or("no_code")
}

/// The text behind a name of a JSON document, up to the next quote.
pub fn text_behind<'a>(body: &'a [u8], name: &[u8]) -> Option<&'a str> {
    let start = body.windows(name.len()).position(|window| window == name)? + name.len();
    let rest = body.get(start..)?;
    let end = rest.iter().position(|byte| *byte == b'"')?;
    std::str::from_utf8(&rest[..end]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problems_code_is_found_without_reading_the_rest() {
        let body = br#"{"type":"x","code":"seat_unavailable","seat_ids":["1"]}"#;
        assert_eq!(code(409, body), "seat_unavailable");
        assert_eq!(code(502, b"<html>"), "no_code");
        assert_eq!(code(409, br#"{"code":"#), "no_code");
        assert_eq!(code(0, b""), "no_answer");
    }

    /// A server that ends its first connection unused when it is told to, says so, and answers on
    /// the second.
    fn moody() -> (Target, impl FnOnce()) {
        use std::io::{Read as _, Write as _};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("port");
        let authority = listener.local_addr().expect("address").to_string();
        let (tell, told) = std::sync::mpsc::channel::<()>();
        let (say, said) = std::sync::mpsc::channel::<()>();
        std::thread::spawn(move || {
            let (first, _) = listener.accept().expect("accepts");
            told.recv().expect("told");
            drop(first);
            say.send(()).expect("heard");
            let (mut socket, _) = listener.accept().expect("accepts");
            let _ = socket.read(&mut [0; 64]);
            let _ = socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        });
        // The runtime waits meanwhile and sees nothing of it, as on a machine that is too busy.
        let end = move || {
            tell.send(()).expect("it listens");
            said.recv().expect("it ended");
        };
        (Target { authority }, end)
    }

    fn shared() -> Shared {
        let started = Instant::now();
        let length = Duration::from_secs(60);
        let span = Span { started, counted_from: started, until: started + length };
        Shared::new(span, true).expect("histograms")
    }

    #[tokio::test]
    async fn what_a_server_ended_while_it_rested_loses_no_request() {
        let (target, end) = moody();
        let mut wire = Wire::open(target, Duration::from_secs(5)).await.expect("connects");
        end();
        let connection = wire.connection.as_mut().expect("open");
        assert!(!connection.is_gone(), "nobody has looked");
        connection.rests_since = Instant::now() - crate::limits::REST_MIN;
        let shared = shared();
        let heard = wire.send(&shared, Op::Event, b"GET / HTTP/1.1\r\n\r\n", Instant::now());
        assert_eq!(heard.await.status, 200);
    }

    #[tokio::test]
    async fn what_a_server_ends_under_a_request_is_lost_and_counted() {
        let (target, end) = moody();
        let mut wire = Wire::open(target, Duration::from_secs(5)).await.expect("connects");
        end();
        let shared = shared();
        let heard = wire.send(&shared, Op::Event, b"GET / HTTP/1.1\r\n\r\n", Instant::now());
        assert_eq!(heard.await.fate, Fate::Lost);
    }
}
