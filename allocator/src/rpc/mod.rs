//! gRPC services.

pub mod control;
pub mod convert;
pub mod deadline;
pub mod directory;
pub mod feed;
pub mod hold;
pub mod job;
pub mod node;
pub mod status;
pub(crate) mod cluster;
pub(crate) mod raft;
pub(crate) mod submit;
