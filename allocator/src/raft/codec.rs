//! Owns how Raft calls are spelled in bytes between nodes: fixed little-endian fields, and an
//! entry's batch as the bytes that stand in the log.
//!
//! Must never read beyond its input or believe a length in it.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use openraft::{
    CommittedLeaderId, LeaderId,
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
    },
};

use super::types::{Entry, LogId, Payload, Proposal, TypeConfig, Vote};
use crate::limits::APPEND_BYTES_MAX;

const BLANK: u8 = 0;
const NORMAL: u8 = 1;
const MEMBERSHIP: u8 = 2;

/// Why bytes are not a Raft call.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CodecError {
    /// They end too early.
    #[error("the message ends in the middle of a value")]
    Truncated,
    /// There is something that no version wrote.
    #[error("{0} is not valid")]
    Invalid(&'static str),
    /// A batch in it is not one.
    #[error(transparent)]
    Batch(#[from] onsale_state::DecodeError),
}

type Decoded<T> = Result<T, CodecError>;

/// Encodes as many entries as fit a call, at least one if there is one; says how many.
pub(crate) fn encode_append(request: &AppendEntriesRequest<TypeConfig>) -> (Bytes, usize) {
    let mut out = BytesMut::with_capacity(256);
    put_vote(&mut out, &request.vote);
    put_log_id(&mut out, request.prev_log_id.as_ref());
    put_log_id(&mut out, request.leader_commit.as_ref());
    let mut taken = 0;
    for entry in &request.entries {
        let payload = match &entry.payload {
            Payload::Blank => (BLANK, Bytes::new()),
            Payload::Normal(proposal) => (NORMAL, proposal.bytes().clone()),
            Payload::Membership(members) => {
                (MEMBERSHIP, serde_json::to_vec(members).unwrap_or_default().into())
            }
        };
        if taken > 0 && out.len() + payload.1.len() > APPEND_BYTES_MAX {
            break;
        }
        put_log_id(&mut out, Some(&entry.log_id));
        out.put_u8(payload.0);
        out.put_u32_le(payload.1.len() as u32);
        out.put_slice(&payload.1);
        taken += 1;
    }
    (out.freeze(), taken)
}

/// The inverse of [`encode_append`].
pub(crate) fn decode_append(mut from: Bytes) -> Decoded<AppendEntriesRequest<TypeConfig>> {
    let vote = get_vote(&mut from)?;
    let prev_log_id = get_log_id(&mut from)?;
    let leader_commit = get_log_id(&mut from)?;
    let mut entries = Vec::new();
    while from.has_remaining() {
        let log_id = get_log_id(&mut from)?.ok_or(CodecError::Invalid("an entry's id"))?;
        need(&from, 5)?;
        let kind = from.get_u8();
        let length = from.get_u32_le() as usize;
        need(&from, length)?;
        let bytes = from.split_to(length);
        let payload = match kind {
            BLANK => Payload::Blank,
            // A copy: a part of it would keep all that was received with it, and its buffer.
            NORMAL => Payload::Normal(Proposal::decode(Bytes::copy_from_slice(&bytes))?),
            MEMBERSHIP => Payload::Membership(
                serde_json::from_slice(&bytes).map_err(|_| CodecError::Invalid("a membership"))?,
            ),
            _ => return Err(CodecError::Invalid("an entry's kind")),
        };
        entries.push(Entry { log_id, payload });
    }
    Ok(AppendEntriesRequest { vote, prev_log_id, entries, leader_commit })
}

pub(crate) fn encode_append_answer(answer: &AppendEntriesResponse<u64>) -> Bytes {
    let mut out = BytesMut::with_capacity(32);
    match answer {
        AppendEntriesResponse::Success => out.put_u8(0),
        AppendEntriesResponse::PartialSuccess(matching) => {
            out.put_u8(1);
            put_log_id(&mut out, matching.as_ref());
        }
        AppendEntriesResponse::Conflict => out.put_u8(2),
        AppendEntriesResponse::HigherVote(vote) => {
            out.put_u8(3);
            put_vote(&mut out, vote);
        }
    }
    out.freeze()
}

pub(crate) fn decode_append_answer(mut from: Bytes) -> Decoded<AppendEntriesResponse<u64>> {
    need(&from, 1)?;
    Ok(match from.get_u8() {
        0 => AppendEntriesResponse::Success,
        1 => AppendEntriesResponse::PartialSuccess(get_log_id(&mut from)?),
        2 => AppendEntriesResponse::Conflict,
        3 => AppendEntriesResponse::HigherVote(get_vote(&mut from)?),
        _ => return Err(CodecError::Invalid("an append's answer")),
    })
}

pub(crate) fn encode_vote(request: &VoteRequest<u64>) -> Bytes {
    let mut out = BytesMut::with_capacity(64);
    put_vote(&mut out, &request.vote);
    put_log_id(&mut out, request.last_log_id.as_ref());
    out.freeze()
}

pub(crate) fn decode_vote(mut from: Bytes) -> Decoded<VoteRequest<u64>> {
    let vote = get_vote(&mut from)?;
    Ok(VoteRequest { vote, last_log_id: get_log_id(&mut from)? })
}

pub(crate) fn encode_vote_answer(answer: &VoteResponse<u64>) -> Bytes {
    let mut out = BytesMut::with_capacity(64);
    put_vote(&mut out, &answer.vote);
    out.put_u8(u8::from(answer.vote_granted));
    put_log_id(&mut out, answer.last_log_id.as_ref());
    out.freeze()
}

pub(crate) fn decode_vote_answer(mut from: Bytes) -> Decoded<VoteResponse<u64>> {
    let vote = get_vote(&mut from)?;
    need(&from, 1)?;
    let vote_granted = from.get_u8() == 1;
    Ok(VoteResponse { vote, vote_granted, last_log_id: get_log_id(&mut from)? })
}

/// The first message of a snapshot: under which vote it is sent.
pub(crate) fn encode_snapshot_head(vote: &Vote) -> Bytes {
    let mut out = BytesMut::with_capacity(32);
    put_vote(&mut out, vote);
    out.freeze()
}

pub(crate) fn decode_snapshot_head(mut from: Bytes) -> Decoded<Vote> {
    get_vote(&mut from)
}

pub(crate) fn encode_snapshot_answer(answer: &SnapshotResponse<u64>) -> Bytes {
    encode_snapshot_head(&answer.vote)
}

pub(crate) fn decode_snapshot_answer(from: Bytes) -> Decoded<SnapshotResponse<u64>> {
    Ok(SnapshotResponse { vote: decode_snapshot_head(from)? })
}

fn put_vote(out: &mut BytesMut, vote: &Vote) {
    out.put_u64_le(vote.leader_id.term);
    out.put_u64_le(vote.leader_id.node_id);
    out.put_u8(u8::from(vote.committed));
}

fn get_vote(from: &mut Bytes) -> Decoded<Vote> {
    need(from, 17)?;
    let leader_id = LeaderId::new(from.get_u64_le(), from.get_u64_le());
    let committed = match from.get_u8() {
        0 => false,
        1 => true,
        _ => return Err(CodecError::Invalid("a vote")),
    };
    Ok(Vote { leader_id, committed })
}

fn put_log_id(out: &mut BytesMut, log_id: Option<&LogId>) {
    let Some(log_id) = log_id else {
        out.put_u8(0);
        return;
    };
    out.put_u8(1);
    out.put_u64_le(log_id.leader_id.term);
    out.put_u64_le(log_id.leader_id.node_id);
    out.put_u64_le(log_id.index);
}

fn get_log_id(from: &mut Bytes) -> Decoded<Option<LogId>> {
    need(from, 1)?;
    match from.get_u8() {
        0 => Ok(None),
        1 => {
            need(from, 24)?;
            let leader = CommittedLeaderId::new(from.get_u64_le(), from.get_u64_le());
            Ok(Some(LogId::new(leader, from.get_u64_le())))
        }
        _ => Err(CodecError::Invalid("a log id")),
    }
}

fn need(from: &Bytes, bytes: usize) -> Decoded<()> {
    if from.remaining() < bytes {
        return Err(CodecError::Truncated);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use onsale_state::{Batch, Command, CommandKind};

    use super::*;
    use crate::raft::types::{Member, Membership};

    fn log_id(index: u64) -> LogId {
        LogId::new(CommittedLeaderId::new(7, 2), index)
    }

    fn append(batches: usize, entry_commands: usize) -> AppendEntriesRequest<TypeConfig> {
        let tick = Command { not_after_ms: 9, kind: CommandKind::Tick };
        let batch = Batch { log_time_ms: 5, commands: vec![tick; entry_commands] };
        let voters = BTreeSet::from([1, 2, 3]);
        let nodes = voters.iter().map(|id| (*id, Member { grpc: "h:1".to_owned() }));
        let members = Membership::new(
            vec![voters.clone()],
            nodes.collect::<std::collections::BTreeMap<_, _>>(),
        );
        let mut entries = vec![
            Entry { log_id: log_id(4), payload: Payload::Blank },
            Entry { log_id: log_id(5), payload: Payload::Membership(members) },
        ];
        for at in 0..batches as u64 {
            let payload = Payload::Normal(Proposal::new(batch.clone()));
            entries.push(Entry { log_id: log_id(6 + at), payload });
        }
        AppendEntriesRequest {
            vote: Vote::new_committed(7, 2),
            prev_log_id: Some(log_id(3)),
            leader_commit: None,
            entries,
        }
    }

    #[test]
    fn an_append_is_read_back_and_every_shorter_one_is_refused_or_ends_between_entries() {
        let request = append(2, 3);
        let (bytes, taken) = encode_append(&request);
        assert_eq!(taken, 4);
        let back = decode_append(bytes.clone()).expect("decodes");
        assert_eq!(back.entries, request.entries);
        assert_eq!((back.vote, back.prev_log_id), (request.vote, request.prev_log_id));
        for length in 0..bytes.len() {
            if let Ok(part) = decode_append(bytes.slice(..length)) {
                assert_eq!(part.entries[..], request.entries[..part.entries.len()]);
                assert!(part.entries.len() < request.entries.len());
            }
        }
    }

    #[test]
    fn an_append_takes_no_more_than_fits_one_call() {
        let one = Proposal::new(Batch {
            log_time_ms: 1,
            commands: vec![Command { not_after_ms: 1, kind: CommandKind::Tick }; 512],
        });
        let needed = APPEND_BYTES_MAX / one.bytes().len() + 2;
        let request = append(needed, 512);
        let (bytes, taken) = encode_append(&request);
        assert!(taken < request.entries.len() && taken > 2, "{taken}");
        assert!(bytes.len() <= APPEND_BYTES_MAX + 64);
        assert_eq!(decode_append(bytes).expect("decodes").entries.len(), taken);
    }

    #[test]
    fn votes_and_answers_are_read_back() {
        let vote = Vote::new(3, 1);
        let request = VoteRequest { vote, last_log_id: Some(log_id(8)) };
        assert_eq!(decode_vote(encode_vote(&request)).expect("decodes"), request);
        let answer = VoteResponse { vote, vote_granted: true, last_log_id: None };
        assert_eq!(decode_vote_answer(encode_vote_answer(&answer)).expect("decodes"), answer);
        let answers = [
            AppendEntriesResponse::Success,
            AppendEntriesResponse::PartialSuccess(Some(log_id(1))),
            AppendEntriesResponse::Conflict,
            AppendEntriesResponse::HigherVote(vote),
        ];
        for answer in answers {
            let back = decode_append_answer(encode_append_answer(&answer)).expect("decodes");
            assert_eq!(back, answer);
        }
        let answer = SnapshotResponse { vote };
        let back = decode_snapshot_answer(encode_snapshot_answer(&answer)).expect("decodes");
        assert_eq!(back, answer);
    }
}
