//! Owns the public listener: accepting, connection caps, deadlines for slow clients, shutdown.
//!
//! Deadlines cost no timer per request: each connection notes what it waits for since when, and one
//! sweep cuts off what is overdue. Must never wait for a client without a bound.

mod conversation;

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering},
    },
    time::Instant,
};

use dashmap::DashMap;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use onsale_proto::Code;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
};
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    dispatch,
    error::Error,
    limits::{self, AddressKey},
    metrics,
    problem::Problem,
    reply::Reply,
    service::Edge,
};
use conversation::Conversation;

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    /// Its first byte.
    New,
    /// The rest of a request's head.
    Head,
    /// The rest of a request's body.
    Body,
    /// Our handler.
    Handler,
    /// The next request, or room to write.
    Idle,
}

/// Milliseconds since the server began, as of the last sweep: connections need no better, and a
/// look at it costs nothing.
#[derive(Debug)]
struct Clock {
    started: Instant,
    now_ms: AtomicU64,
}

impl Clock {
    fn new() -> Clock {
        Clock { started: Instant::now(), now_ms: AtomicU64::new(0) }
    }

    fn advance(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.now_ms.store(now, Ordering::Relaxed);
    }

    fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::Relaxed)
    }
}

/// An open connection.
pub(crate) struct Connection {
    address: IpAddr,
    clock: Arc<Clock>,
    phase: AtomicU8,
    /// The server's time when the phase began or last moved.
    since_ms: AtomicU64,
    /// The same for when the client last stopped taking bytes, plus one; 0 while it takes them.
    stalled_ms: AtomicU64,
    cut: Notify,
}

impl Connection {
    fn new(address: IpAddr, clock: Arc<Clock>) -> Connection {
        Connection {
            address,
            phase: AtomicU8::new(Phase::New as u8),
            since_ms: AtomicU64::new(clock.now_ms()),
            clock,
            stalled_ms: AtomicU64::new(0),
            cut: Notify::new(),
        }
    }

    /// Who is at the other end.
    pub(crate) fn address(&self) -> IpAddr {
        self.address
    }

    /// A body is awaited.
    pub(crate) fn reads_body(&self) {
        self.enter(Phase::Body);
    }

    /// The body is complete.
    pub(crate) fn has_body(&self) {
        self.enter(Phase::Handler);
    }

    fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    fn enter(&self, phase: Phase) {
        self.since_ms.store(self.now_ms(), Ordering::Relaxed);
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    fn is(&self, phase: Phase) -> bool {
        self.phase.load(Ordering::Relaxed) == phase as u8
    }

    /// Bytes came in.
    fn received(&self) {
        if self.is(Phase::New) || self.is(Phase::Idle) {
            self.enter(Phase::Head);
        }
    }

    /// Bytes went out.
    fn sent(&self) {
        self.stalled_ms.store(0, Ordering::Relaxed);
        if self.is(Phase::Idle) {
            self.since_ms.store(self.now_ms(), Ordering::Relaxed);
        }
    }

    /// The client takes no bytes.
    fn stalled(&self) {
        let now = self.now_ms() + 1;
        let _ = self.stalled_ms.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// What is overdue, if anything.
    fn overdue(&self, config: &Config) -> Option<&'static str> {
        // What was noted since the last sweep bears its time: nobody is cut off too early.
        let sweep_ms = u64::try_from(config.sweep_interval().as_millis()).unwrap_or(0);
        let now = self.now_ms().saturating_sub(sweep_ms);
        let stalled = self.stalled_ms.load(Ordering::Relaxed);
        if stalled > 0 && now.saturating_sub(stalled - 1) > config.write_stall_ms {
            return Some("write");
        }
        let (what, most) = match self.phase.load(Ordering::Relaxed) {
            phase if phase == Phase::New as u8 => ("first_byte", config.first_byte_ms),
            phase if phase == Phase::Head as u8 => ("header", config.header_ms),
            phase if phase == Phase::Body as u8 => ("body", config.body_ms),
            phase if phase == Phase::Idle as u8 => ("idle", config.idle_ms),
            _ => return None,
        };
        let waited = now.saturating_sub(self.since_ms.load(Ordering::Relaxed));
        (waited > most).then_some(what)
    }
}

/// All open connections.
struct Connections {
    clock: Arc<Clock>,
    open: DashMap<u64, Arc<Connection>>,
    by_address: DashMap<AddressKey, u32>,
    count: AtomicU32,
}

/// A connection's place among the open ones; given back when dropped.
struct Place {
    connections: Arc<Connections>,
    gauge: ::metrics::Gauge,
    number: u64,
    address: AddressKey,
}

impl Connections {
    fn admit(
        self: &Arc<Self>,
        config: &Config,
        number: u64,
        connection: &Arc<Connection>,
        gauge: &::metrics::Gauge,
    ) -> Result<Place, &'static str> {
        if self.count.load(Ordering::Relaxed) >= config.connections_max {
            return Err("connections_max");
        }
        let address = AddressKey::of(connection.address);
        {
            let mut from_there = self.by_address.entry(address).or_insert(0);
            let most = config.connections_per_address_max.filter(|most| *most > 0);
            if most.is_some_and(|most| *from_there >= most) {
                return Err("connections_per_address_max");
            }
            *from_there += 1;
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        gauge.increment(1);
        self.open.insert(number, connection.clone());
        Ok(Place { connections: self.clone(), gauge: gauge.clone(), number, address })
    }

    fn cut_overdue(&self, config: &Config) {
        self.clock.advance();
        for connection in &self.open {
            if let Some(what) = connection.overdue(config) {
                metrics::cut(what);
                connection.cut.notify_one();
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.open.remove(&self.number);
        self.connections.count.fetch_sub(1, Ordering::Relaxed);
        self.gauge.decrement(1);
        if let Some(mut from_there) = self.connections.by_address.get_mut(&self.address) {
            *from_there = from_there.saturating_sub(1);
        }
        self.connections.by_address.remove_if(&self.address, |_, from_there| *from_there == 0);
    }
}

/// Serves until `stop`, then lets accepted requests finish.
pub(crate) async fn serve(
    edge: Arc<Edge>,
    listener: TcpListener,
    stop: CancellationToken,
) -> Result<(), Error> {
    let connections = Arc::new(Connections {
        clock: Arc::new(Clock::new()),
        open: DashMap::new(),
        by_address: DashMap::new(),
        count: AtomicU32::new(0),
    });
    let sweeping = tokio::spawn(sweep(edge.clone(), connections.clone()));
    let mut number = 0_u64;
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                number += 1;
                accept(&edge, &connections, number, stream, peer, &stop);
            }
            // One connection broke while it was taken, or we have no file descriptor left: in
            // either case the next attempt may do.
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(limits::ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let drained = async {
        while connections.count.load(Ordering::Relaxed) > 0 {
            tokio::time::sleep(limits::DRAIN_LOOK).await;
        }
    };
    if tokio::time::timeout(limits::DRAIN_MAX, drained).await.is_err() {
        for connection in &connections.open {
            connection.cut.notify_one();
        }
    }
    sweeping.abort();
    Ok(())
}

async fn sweep(edge: Arc<Edge>, connections: Arc<Connections>) {
    let mut tick = tokio::time::interval(edge.config.sweep_interval());
    loop {
        tick.tick().await;
        connections.cut_overdue(&edge.config);
    }
}

fn accept(
    edge: &Arc<Edge>,
    connections: &Arc<Connections>,
    number: u64,
    stream: TcpStream,
    peer: SocketAddr,
    stop: &CancellationToken,
) {
    let connection = Arc::new(Connection::new(peer.ip(), connections.clock.clone()));
    let gauge = &edge.metrics.connections;
    match connections.admit(&edge.config, number, &connection, gauge) {
        Ok(place) => {
            // Answers are written whole; without this the small ones wait for an acknowledgement.
            if stream.set_nodelay(true).is_ok() {
                let talk = talk(edge.clone(), connection, stream, place, stop.clone());
                tokio::spawn(talk);
            }
        }
        Err(bound) => {
            metrics::refused(bound);
            refuse(&stream);
        }
    }
}

/// Says why, as far as the socket takes it at once, and hangs up.
fn refuse(stream: &TcpStream) {
    let problem = Problem::new(Code::Overloaded, "too many open connections");
    let body = problem.to_json("");
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\n\
         content-length: {}\r\nretry-after: 1\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(&body);
    // Whoever is cut off here cannot be told otherwise.
    let _ = stream.try_write(&bytes);
}

async fn talk(
    edge: Arc<Edge>,
    connection: Arc<Connection>,
    stream: TcpStream,
    _place: Place,
    stop: CancellationToken,
) {
    let io = TokioIo::new(Conversation::new(stream, connection.clone()));
    let service = {
        let connection = connection.clone();
        service_fn(move |request| {
            let (edge, connection) = (edge.clone(), connection.clone());
            async move {
                connection.enter(Phase::Handler);
                let reply: Reply = dispatch::answer(edge, connection.clone(), request).await;
                connection.enter(Phase::Idle);
                Ok::<_, Infallible>(reply)
            }
        })
    };
    let mut builder = http1::Builder::new();
    builder
        .half_close(true)
        .writev(false)
        .max_header_size(limits::HEADER_BYTES_MAX)
        .max_buf_size(limits::CONNECTION_BUFFER_BYTES_MAX);
    let talking = builder.serve_connection(io, service);
    tokio::pin!(talking);
    let mut stopping = false;
    loop {
        tokio::select! {
            // Broken clients are their own affair; what we sent wrongly shows in the metrics.
            _ = talking.as_mut() => return,
            () = connection.cut.notified() => return,
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                talking.as_mut().graceful_shutdown();
            }
        }
    }
}
