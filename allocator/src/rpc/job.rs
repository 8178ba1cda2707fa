//! Owns `JobService`: payment workers lease due jobs here and report what became of them.
//!
//! Must never give a job out from memory: a lease is an entry in the log.

use std::time::Duration;

use onsale_mesh::{Deadline, Failure};
use onsale_proto::{Code, allocator as pb, error::not_leader, id};
use onsale_state::{CommandKind, Done, LeasedJob};
use pb::job_service_server::JobService;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::{convert, deadline::deadline, node::Node};
use crate::{
    limits::{LEASE_WAIT_MAX, RESUME_PAUSE, UNARY_TIMEOUT},
    shard::Group,
};

/// The service on a node.
pub struct Jobs {
    node: Node,
}

impl Jobs {
    /// The service.
    #[must_use]
    pub fn new(node: Node) -> Jobs {
        Jobs { node }
    }

    /// Leases due jobs; waits until `until` for some.
    async fn lease(
        &self,
        group: &Group,
        command: CommandKind,
        until: Instant,
        end: Deadline,
    ) -> Result<Vec<LeasedJob>, Status> {
        let shard = u32::from(group.no());
        let mut due = group.jobs_due();
        // The first look is for all jobs: a repeat gets those of its own lease, due or not.
        let mut is_repeat = true;
        loop {
            due.borrow_and_update();
            if !group.leads() {
                return Err(not_leader(group.leader()));
            }
            let counts = group.read(|shard| shard.counts());
            if counts.due_jobs > 0 || (is_repeat && counts.jobs > 0) {
                let done = self.node.propose_here(shard, command.clone(), end).await?;
                let (Done::Leased(jobs), _) = done else {
                    return Err(unexpected().into());
                };
                if !jobs.is_empty() {
                    return Ok(jobs);
                }
            }
            is_repeat = false;
            let now = Instant::now();
            if now >= until {
                return Ok(Vec::new());
            }
            // Woken by a due job, and now and then to see whether this node still leads.
            let wake_at = until.min(now + RESUME_PAUSE);
            let _ = tokio::time::timeout_at(wake_at, due.changed()).await;
        }
    }
}

#[tonic::async_trait]
impl JobService for Jobs {
    async fn lease_jobs(
        &self,
        request: Request<pb::LeaseJobsRequest>,
    ) -> Result<Response<pb::LeaseJobsResponse>, Status> {
        let message = request.get_ref();
        let wait = Duration::from_millis(u64::from(message.wait_ms)).min(LEASE_WAIT_MAX);
        let end = deadline(request.metadata(), wait + UNARY_TIMEOUT);
        let command = convert::lease_jobs(message)?;
        let group = self.node.group(message.shard)?;
        let until = (Instant::now() + wait).min(end.instant());
        let jobs = self.lease(group, command, until, end).await?;
        let log_time_ms = group.log_time_ms();
        let views = group.views();
        let job = |job: &LeasedJob| {
            convert::job(job, views.get(&job.event).map(AsRef::as_ref), log_time_ms)
        };
        Ok(Response::new(pb::LeaseJobsResponse { jobs: jobs.iter().map(job).collect() }))
    }

    async fn settle_job(
        &self,
        request: Request<pb::SettleJobRequest>,
    ) -> Result<Response<pb::SettleJobResponse>, Status> {
        let end = deadline(request.metadata(), UNARY_TIMEOUT);
        let message = request.into_inner();
        let shard = message.shard;
        let command = convert::settle_job(message)?;
        match self.node.propose_here(shard, command, end).await? {
            (Done::Settled { status, .. }, _) => {
                let status = convert::order_status_name(status).to_owned();
                Ok(Response::new(pb::SettleJobResponse { status }))
            }
            _ => Err(unexpected().into()),
        }
    }

    async fn wake_job(
        &self,
        request: Request<pb::WakeJobRequest>,
    ) -> Result<Response<pb::WakeJobResponse>, Status> {
        let end = deadline(request.metadata(), UNARY_TIMEOUT);
        let shard = id::from_bytes(&request.get_ref().order_id).map_or(0, id::shard_of);
        let command = convert::wake_job(request.get_ref(), shard)?;
        if shard == 0 {
            return Err(convert::not_found("order").into());
        }
        self.node.propose_here(shard, command, end).await?;
        Ok(Response::new(pb::WakeJobResponse {}))
    }
}

fn unexpected() -> Failure {
    Failure::new(Code::Internal, "the outcome is not one of this command")
}
