//! A small outbox behind the real gRPC contract: jobs of a few orders, leases, reports. It knows
//! of an order's life only what the worker needs to be driven through it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use onsale_mesh::{Node, ShardClient, server::serve_grpc};
use onsale_proto::{
    Code,
    allocator::{
        self as pb,
        control_service_server::{ControlService, ControlServiceServer},
        job_service_server::{JobService, JobServiceServer},
        settle_job_request::Result as Settled,
    },
    id, time,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, service::Routes};

/// Shorter than workers ask for: what a dead one still got is soon given to the next.
const LEASE_MS_MAX: u32 = 2_000;

#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) status: &'static str,
    pub(crate) intent: String,
    pub(crate) action_url: String,
    pub(crate) reason: String,
    pub(crate) signed: Option<pb::Signed>,
    pub(crate) captured_reports: u32,
    method: String,
    places: Vec<pb::Place>,
}

#[derive(Clone, Debug)]
struct Job {
    shard: u32,
    kind: &'static str,
    order: u128,
    attempts: u32,
    lease: u64,
    leased_until_ms: u64,
    due_ms: u64,
    first_leased_ms: u64,
}

#[derive(Debug, Default)]
struct State {
    orders: BTreeMap<u128, Order>,
    jobs: BTreeMap<u64, Job>,
    done: Vec<(u64, u64)>,
    last_job: u64,
    keys: Vec<pb::SigningKey>,
    key_refusals: u32,
    lose_reports: u32,
    leases: u32,
}

#[derive(Clone, Default)]
pub(crate) struct Shards {
    state: Arc<Mutex<State>>,
    news: Arc<Notify>,
}

impl Shards {
    /// Serves on a free port; the client finds it.
    pub(crate) async fn start() -> (Shards, ShardClient) {
        let shards = Shards::default();
        shards.state.lock().unwrap().key_refusals = 2;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let grpc = listener.local_addr().unwrap().to_string();
        let routes = Routes::new(JobServiceServer::new(shards.clone()))
            .add_service(ControlServiceServer::new(shards.clone()));
        tokio::spawn(serve_grpc(listener, routes, CancellationToken::new()));
        let client = ShardClient::new(vec![Node { id: 1, grpc }]).unwrap();
        (shards, client)
    }

    /// A new order of 1,900 with two places, waiting for `kind`.
    pub(crate) fn order(&self, shard: u32, kind: &'static str, method: &str) -> u128 {
        let order = id::new_order(shard).unwrap();
        let place = |seat_id: &str| pb::Place {
            seat_id: seat_id.to_owned(),
            price_minor: 950,
            ..pb::Place::default()
        };
        let made = Order {
            status: "processing",
            intent: String::new(),
            action_url: String::new(),
            reason: String::new(),
            signed: None,
            captured_reports: 0,
            method: method.to_owned(),
            places: vec![place("101-A-12"), place("")],
        };
        let mut state = self.state.lock().unwrap();
        state.orders.insert(order, made);
        state.add_job(kind, order);
        self.news.notify_waiters();
        order
    }

    pub(crate) fn get(&self, order: u128) -> Order {
        self.state.lock().unwrap().orders[&order].clone()
    }

    /// The fence ends: the order fails and its payment must not be.
    pub(crate) fn end_fence(&self, order: u128) {
        let mut state = self.state.lock().unwrap();
        state.jobs.retain(|_, job| job.order != order);
        state.orders.get_mut(&order).unwrap().status = "failed";
        state.add_job("void", order);
        self.news.notify_waiters();
    }

    /// All leases end now, as if their time were over.
    pub(crate) fn end_leases(&self) {
        for job in self.state.lock().unwrap().jobs.values_mut() {
            (job.lease, job.due_ms) = (0, 0);
        }
        self.news.notify_waiters();
    }

    /// Waiting jobs are due now, as if their pauses were over.
    pub(crate) fn end_pauses(&self) {
        for job in self.state.lock().unwrap().jobs.values_mut() {
            job.due_ms = 0;
        }
        self.news.notify_waiters();
    }

    /// Nothing is left to do.
    pub(crate) fn is_idle(&self) -> bool {
        self.state.lock().unwrap().jobs.is_empty()
    }

    pub(crate) fn leased(&self) -> u32 {
        self.state.lock().unwrap().leases
    }

    pub(crate) fn keys(&self) -> Vec<pb::SigningKey> {
        self.state.lock().unwrap().keys.clone()
    }

    /// So many reports are taken and their answers lost.
    pub(crate) fn lose_reports(&self, count: u32) {
        self.state.lock().unwrap().lose_reports = count;
    }
}

impl State {
    fn add_job(&mut self, kind: &'static str, order: u128) {
        self.last_job += 1;
        let job = Job {
            shard: id::shard_of(order),
            kind,
            order,
            attempts: 0,
            lease: 0,
            leased_until_ms: 0,
            due_ms: 0,
            first_leased_ms: 0,
        };
        self.jobs.insert(self.last_job, job);
    }

    fn lease(&mut self, request: &pb::LeaseJobsRequest, now_ms: u64) -> Vec<pb::Job> {
        let mut leased = Vec::new();
        for (job_id, job) in &mut self.jobs {
            let again = job.lease == request.lease;
            let free = job.lease == 0 || job.leased_until_ms <= now_ms;
            let most = usize::try_from(request.jobs_max).unwrap();
            if job.shard != request.shard || leased.len() >= most || job.due_ms > now_ms {
                continue;
            }
            if !again && !free {
                continue;
            }
            if !again {
                job.first_leased_ms = if job.attempts == 0 { now_ms } else { job.first_leased_ms };
                job.lease = request.lease;
                job.leased_until_ms = now_ms + u64::from(request.lease_ms.min(LEASE_MS_MAX));
                job.attempts += 1;
                self.leases += 1;
            }
            let order = &self.orders[&job.order];
            leased.push(pb::Job {
                job_id: *job_id,
                kind: job.kind.to_owned(),
                order_id: id::to_bytes(job.order),
                event_id: "evt_arena".to_owned(),
                amount_minor: 1900,
                currency: "EUR".to_owned(),
                payment_method: order.method.clone(),
                payment_intent: order.intent.clone(),
                attempts: job.attempts - 1,
                first_leased_at_ms: job.first_leased_ms,
                log_time_ms: now_ms,
                places: order.places.clone(),
                tickets: (1..).take(order.places.len()).collect(),
            });
        }
        leased
    }

    fn settle(&mut self, request: pb::SettleJobRequest, now_ms: u64) -> Result<String, Status> {
        let stale = || Code::Conflict.to_status("stale lease");
        if self.done.contains(&(request.job_id, request.lease)) {
            return Ok("repeated".to_owned());
        }
        let job = self.jobs.get_mut(&request.job_id).ok_or_else(stale)?;
        if job.lease != request.lease {
            return Err(stale());
        }
        let order_id = job.order;
        let order = self.orders.get_mut(&order_id).unwrap();
        let mut follow = None;
        match request.result.unwrap() {
            Settled::Retry(retry) => {
                (job.lease, job.due_ms) = (0, now_ms + u64::from(retry.after_ms));
                return Ok(order.status.to_owned());
            }
            Settled::ActionRequired(action) => {
                order.intent = action.payment_intent;
                order.action_url = action.next_action_url;
                (job.lease, job.due_ms) = (0, now_ms + u64::from(action.poll_after_ms));
                return Ok(order.status.to_owned());
            }
            Settled::Authorised(authorised) => {
                order.intent = authorised.payment_intent;
                follow = Some("capture");
            }
            Settled::Declined(declined) => {
                (order.status, order.reason) = ("failed", declined.reason);
            }
            Settled::Captured(signed) => {
                order.captured_reports += 1;
                (order.status, order.signed) = ("confirmed", Some(signed));
            }
            Settled::Issued(signed) => (order.status, order.signed) = ("confirmed", Some(signed)),
            Settled::CaptureRefused(refused) => {
                (order.status, order.reason) = ("failed", refused.reason);
            }
            Settled::Voided(_) => order.reason = "voided".to_owned(),
        }
        self.done.push((request.job_id, request.lease));
        self.jobs.remove(&request.job_id);
        if let Some(kind) = follow {
            self.add_job(kind, order_id);
        }
        Ok(self.orders[&order_id].status.to_owned())
    }
}

#[tonic::async_trait]
impl JobService for Shards {
    async fn lease_jobs(
        &self,
        request: Request<pb::LeaseJobsRequest>,
    ) -> Result<Response<pb::LeaseJobsResponse>, Status> {
        let request = request.into_inner();
        let until_ms = time::now_ms() + u64::from(request.wait_ms);
        loop {
            let now_ms = time::now_ms();
            let jobs = self.state.lock().unwrap().lease(&request, now_ms);
            if !jobs.is_empty() || now_ms >= until_ms {
                return Ok(Response::new(pb::LeaseJobsResponse { jobs }));
            }
            let _ = tokio::time::timeout(Duration::from_millis(20), self.news.notified()).await;
        }
    }

    async fn settle_job(
        &self,
        request: Request<pb::SettleJobRequest>,
    ) -> Result<Response<pb::SettleJobResponse>, Status> {
        let mut state = self.state.lock().unwrap();
        let status = state.settle(request.into_inner(), time::now_ms())?;
        self.news.notify_waiters();
        if state.lose_reports > 0 {
            state.lose_reports -= 1;
            return Err(Code::OutcomeUnknown.to_status("lost on the way"));
        }
        Ok(Response::new(pb::SettleJobResponse { status }))
    }

    async fn wake_job(
        &self,
        request: Request<pb::WakeJobRequest>,
    ) -> Result<Response<pb::WakeJobResponse>, Status> {
        let order = id::from_bytes(&request.into_inner().order_id).unwrap();
        let mut state = self.state.lock().unwrap();
        let job = state.jobs.values_mut().find(|job| job.order == order);
        let job = job.ok_or_else(|| Code::NotFound.to_status("no job waits"))?;
        job.due_ms = 0;
        self.news.notify_waiters();
        Ok(Response::new(pb::WakeJobResponse {}))
    }
}

#[tonic::async_trait]
impl ControlService for Shards {
    async fn put_signing_key(
        &self,
        request: Request<pb::PutSigningKeyRequest>,
    ) -> Result<Response<pb::PutSigningKeyResponse>, Status> {
        let mut state = self.state.lock().unwrap();
        if state.key_refusals > 0 {
            state.key_refusals -= 1;
            return Err(Code::Overloaded.to_status("not now"));
        }
        state.keys.extend(request.into_inner().key);
        Ok(Response::new(pb::PutSigningKeyResponse {}))
    }

    async fn put_api_key(
        &self,
        _: Request<pb::PutApiKeyRequest>,
    ) -> Result<Response<pb::PutApiKeyResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn create_event(
        &self,
        _: Request<pb::CreateEventRequest>,
    ) -> Result<Response<pb::CreateEventResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn change_event(
        &self,
        _: Request<pb::ChangeEventRequest>,
    ) -> Result<Response<pb::ChangeEventResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }
}
