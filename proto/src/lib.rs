//! What onsale's parts say to each other: the `.proto` contracts and the code made from them, ids,
//! times, keyed hashes, the ticket's code and the one error table.
//!
//! Everything here is a value or a function of values. Must never do IO, keep state or know which
//! role uses it.

pub mod error;
pub mod id;
pub mod keyed;
pub mod packed;
pub mod ticket_code;
pub mod time;

/// Generated from `proto/onsale/allocator/v1`.
#[allow(missing_docs, clippy::all, clippy::pedantic, unused_qualifications)]
pub mod allocator {
    tonic::include_proto!("onsale.allocator.v1");
}

/// Generated from `proto/onsale/catalog/v1`.
#[allow(missing_docs, clippy::all, clippy::pedantic, unused_qualifications)]
pub mod catalog {
    tonic::include_proto!("onsale.catalog.v1");
}

/// Generated from `proto/onsale/payments/v1`.
#[allow(missing_docs, clippy::all, clippy::pedantic, unused_qualifications)]
pub mod payments {
    tonic::include_proto!("onsale.payments.v1");
}

/// The encoded `FileDescriptorSet` of all contracts, for gRPC reflection.
pub const FILE_DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

pub use error::Code;
