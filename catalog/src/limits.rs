//! Owns every bound of the catalog. Must never hold a bound that another role shares: see
//! `onsale_mesh::limits`.

use std::time::Duration;

/// Published events that are kept; later ones are counted as refused and not listed.
pub const EVENTS_MAX: usize = 200_000;
/// The largest encoded document that is kept.
pub const DOCUMENT_BYTES_MAX: usize = 8 << 20;
/// Events on a page.
pub const PAGE_SIZE_MAX: u32 = 100;
/// Events on a page where the request does not say.
pub const PAGE_SIZE_DEFAULT: u32 = 20;
/// A page ends early, after at least one event, when its events are larger than this.
pub const PAGE_BYTES_MAX: usize = 2 << 20;
/// Words of a query that are looked at; more are ignored.
pub const QUERY_WORDS_MAX: usize = 16;
/// Bytes of a query that are looked at; more are ignored.
pub const QUERY_BYTES_MAX: usize = 1_024;
/// Bytes of a city or category that are compared.
pub const FACET_BYTES_MAX: usize = 512;
/// Bytes of one word that are indexed.
pub const WORD_BYTES_MAX: usize = 128;
/// Different words of one event that are indexed.
pub const EVENT_WORDS_MAX: usize = 4_096;
/// The longest page token, in bytes.
pub const PAGE_TOKEN_BYTES_MAX: usize = 1_024;
/// The longest event id, in bytes.
pub const EVENT_ID_BYTES_MAX: usize = 255;
/// Requests that read at once; more are `overloaded`.
pub const READS_MAX: usize = 256;
/// Feed messages applied in one go.
pub const FEED_BATCH_MAX: usize = 256;
/// Memory of the index's writer.
pub const INDEX_WRITER_BYTES: usize = 16 << 20;
/// sled writes to disk at least so often. Losing more than this loses nothing but a moment.
pub const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// Unreadable folders kept aside for a look; older ones are removed.
pub const BROKEN_FOLDERS_MAX: usize = 2;

const _: () = assert!(PAGE_SIZE_DEFAULT <= PAGE_SIZE_MAX);
const _: () = assert!(PAGE_BYTES_MAX + DOCUMENT_BYTES_MAX < onsale_mesh::limits::MESSAGE_BYTES_MAX);
const _: () = assert!(EVENT_ID_BYTES_MAX * 2 + 34 <= PAGE_TOKEN_BYTES_MAX);
