//! Owns the documents on disk, in sled: `d<event id>` → revision and document, `mversion`,
//! `mposition`.
//!
//! All of it can be read again from the feed. Must never hold anything that cannot: sled's flush
//! does not survive a power loss. A folder that cannot be read is moved aside, not repaired.

use std::{
    fs::{self, File, TryLockError},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use onsale_proto::catalog::EventDocument;
use prost::Message as _;

use crate::{Config, Error, limits, metrics};

const VERSION: u64 = 1;
const VERSION_KEY: &[u8] = b"mversion";
const POSITION_KEY: &[u8] = b"mposition";
const DOCUMENT_PREFIX: u8 = b'd';
const FOLDER: &str = "documents";
const BROKEN_PREFIX: &str = "documents.broken-";

/// A document as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stored {
    pub(crate) revision: u64,
    pub(crate) document: EventDocument,
}

/// What to do to one event's document.
pub(crate) enum Change {
    /// Store this encoded document.
    Put { event_id: String, revision: u64, document: Bytes },
    /// Forget it.
    Remove { event_id: String },
}

/// The documents of one folder.
pub(crate) struct Store {
    db: sled::Db,
    // Held for as long as the store is: a second process would read half-written pages.
    _lock: File,
}

/// What was found in the folder.
pub(crate) struct Found {
    pub(crate) documents: Vec<Stored>,
    /// The feed index they were exact at.
    pub(crate) position: u64,
}

impl Store {
    /// Opens the folder, or a new one in place of one that cannot be read.
    pub(crate) fn open(config: &Config) -> Result<(Store, Found), Error> {
        let root = &config.data_dir;
        fs::create_dir_all(root).map_err(|source| folder_error(root, source))?;
        let lock = lock(root)?;
        let folder = root.join(FOLDER);
        let (db, found) = match read_folder(&folder, config.cache_bytes) {
            Ok(read) => read,
            Err(error) => {
                let aside = move_aside(root, &folder)?;
                ::metrics::counter!(metrics::REBUILDS).increment(1);
                tracing::warn!(
                    %error, aside = %aside.display(),
                    "stored documents are unreadable: moved aside, filled again from the feed"
                );
                read_folder(&folder, config.cache_bytes)?
            }
        };
        Ok((Store { db, _lock: lock }, found))
    }

    /// One document with its revision.
    pub(crate) fn get(&self, event_id: &str) -> Result<Option<Stored>, Error> {
        let value = self.db.get(key(event_id))?;
        value.map(|value| decode(&value)).transpose()
    }

    /// All changes and the position they lead to, together.
    pub(crate) fn write(&self, position: u64, changes: &[Change]) -> Result<(), Error> {
        let mut batch = sled::Batch::default();
        for change in changes {
            match change {
                Change::Put { event_id, revision, document } => {
                    let mut value = Vec::with_capacity(document.len() + 8);
                    value.extend_from_slice(&revision.to_be_bytes());
                    value.extend_from_slice(document);
                    batch.insert(key(event_id), value);
                }
                Change::Remove { event_id } => batch.remove(key(event_id)),
            }
        }
        batch.insert(POSITION_KEY, &position.to_be_bytes());
        self.db.apply_batch(batch)?;
        Ok(())
    }

    /// Writes what is in memory to the file.
    pub(crate) fn flush(&self) -> Result<(), Error> {
        self.db.flush()?;
        Ok(())
    }
}

fn lock(root: &Path) -> Result<File, Error> {
    let path = root.join("LOCK");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|source| folder_error(&path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Locked(root.to_owned())),
        Err(TryLockError::Error(source)) => Err(folder_error(&path, source)),
    }
}

/// sled may panic over pages it cannot make sense of; that is one more way to be unreadable.
fn read_folder(folder: &Path, cache_bytes: u64) -> Result<(sled::Db, Found), Error> {
    let reading = catch_unwind(AssertUnwindSafe(|| {
        let db = sled::Config::default()
            .path(folder)
            .mode(sled::Mode::LowSpace)
            .cache_capacity(cache_bytes)
            .flush_every_ms(u64::try_from(limits::FLUSH_INTERVAL.as_millis()).ok())
            .open()?;
        check_version(&db)?;
        let found = read_all(&db)?;
        Ok((db, found))
    }));
    reading.unwrap_or_else(|_| Err(Error::Unreadable("sled panicked while opening".to_owned())))
}

fn check_version(db: &sled::Db) -> Result<(), Error> {
    match db.get(VERSION_KEY)? {
        Some(value) if *value == VERSION.to_be_bytes() => Ok(()),
        Some(_) => Err(Error::Unreadable("another version wrote it".to_owned())),
        None if db.is_empty() => {
            db.insert(VERSION_KEY, &VERSION.to_be_bytes())?;
            Ok(())
        }
        None => Err(Error::Unreadable("it has no version".to_owned())),
    }
}

fn read_all(db: &sled::Db) -> Result<Found, Error> {
    let mut documents = Vec::new();
    for entry in db.scan_prefix([DOCUMENT_PREFIX]) {
        let (_, value) = entry?;
        documents.push(decode(&value)?);
    }
    let position = match db.get(POSITION_KEY)? {
        Some(value) => number(&value)?,
        None => 0,
    };
    Ok(Found { documents, position })
}

fn decode(value: &[u8]) -> Result<Stored, Error> {
    let (revision, document) = value
        .split_first_chunk::<8>()
        .ok_or_else(|| Error::Unreadable("a document is too short".to_owned()))?;
    Ok(Stored {
        revision: u64::from_be_bytes(*revision),
        document: EventDocument::decode(document)
            .map_err(|error| Error::Unreadable(error.to_string()))?,
    })
}

fn number(value: &[u8]) -> Result<u64, Error> {
    let bytes = value
        .try_into()
        .map_err(|_| Error::Unreadable("a number has another length".to_owned()))?;
    Ok(u64::from_be_bytes(bytes))
}

fn key(event_id: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(event_id.len() + 1);
    key.push(DOCUMENT_PREFIX);
    key.extend_from_slice(event_id.as_bytes());
    key
}

fn move_aside(root: &Path, folder: &Path) -> Result<PathBuf, Error> {
    let mut broken = Vec::new();
    for entry in fs::read_dir(root).map_err(|source| folder_error(root, source))? {
        let path = entry.map_err(|source| folder_error(root, source))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if name.is_some_and(|name| name.starts_with(BROKEN_PREFIX)) {
            broken.push(path);
        }
    }
    broken.sort();
    let kept_max = limits::BROKEN_FOLDERS_MAX.saturating_sub(1);
    let surplus = broken.len().saturating_sub(kept_max);
    for path in &broken[..surplus] {
        fs::remove_dir_all(path).map_err(|source| folder_error(path, source))?;
    }
    let name = format!("{BROKEN_PREFIX}{:013}", onsale_proto::time::now_ms());
    let aside = root.join(name);
    if folder.exists() {
        fs::rename(folder, &aside).map_err(|source| folder_error(folder, source))?;
    }
    Ok(aside)
}

fn folder_error(path: &Path, source: std::io::Error) -> Error {
    Error::Folder { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(root: &Path) -> Config {
        Config { data_dir: root.to_owned(), ..Config::default() }
    }

    fn put(event_id: &str, revision: u64) -> Change {
        let document = EventDocument { event_id: event_id.to_owned(), ..EventDocument::default() };
        Change::Put {
            event_id: event_id.to_owned(),
            revision,
            document: document.encode_to_vec().into(),
        }
    }

    fn broken_folders(root: &Path) -> usize {
        let entries = fs::read_dir(root).expect("folder");
        let names = entries.map(|entry| entry.expect("entry").file_name());
        names.filter(|name| name.to_string_lossy().starts_with(BROKEN_PREFIX)).count()
    }

    #[test]
    fn a_folder_serves_one_process() {
        let root = tempfile::tempdir().expect("folder");
        let (store, _) = Store::open(&config(root.path())).expect("opens");
        assert!(matches!(Store::open(&config(root.path())), Err(Error::Locked(_))));
        drop(store);
        Store::open(&config(root.path())).expect("opens again");
    }

    #[test]
    fn documents_and_position_are_there_after_a_restart() {
        let root = tempfile::tempdir().expect("folder");
        let (store, found) = Store::open(&config(root.path())).expect("opens");
        assert_eq!((found.documents.len(), found.position), (0, 0));
        store.write(7, &[put("evt_a", 1), put("evt_b", 2)]).expect("written");
        let gone = Change::Remove { event_id: "evt_a".to_owned() };
        store.write(9, &[gone]).expect("written");
        drop(store);
        let (store, found) = Store::open(&config(root.path())).expect("opens");
        assert_eq!((found.documents.len(), found.position), (1, 9));
        assert_eq!(store.get("evt_b").expect("read").map(|stored| stored.revision), Some(2));
        assert_eq!(store.get("evt_a").expect("read"), None);
    }

    #[test]
    fn another_version_is_moved_aside_and_few_such_folders_are_kept() {
        let root = tempfile::tempdir().expect("folder");
        for _ in 0..4 {
            let (store, _) = Store::open(&config(root.path())).expect("opens");
            store.write(1, &[put("evt_a", 1)]).expect("written");
            store.db.insert(VERSION_KEY, &99_u64.to_be_bytes()).expect("written");
            store.flush().expect("flushed");
            drop(store);
            // Folder names are milliseconds: let the clock move on.
            let started = onsale_proto::time::now_ms();
            while onsale_proto::time::now_ms() == started {}
        }
        let (_, found) = Store::open(&config(root.path())).expect("opens");
        assert_eq!(found.documents, vec![]);
        assert_eq!(broken_folders(root.path()), limits::BROKEN_FOLDERS_MAX);
    }

    #[test]
    fn a_document_that_cannot_be_decoded_makes_the_folder_unreadable() {
        let root = tempfile::tempdir().expect("folder");
        let (store, _) = Store::open(&config(root.path())).expect("opens");
        store.db.insert(key("evt_a"), b"12345678\xff\xff".as_slice()).expect("written");
        drop(store);
        let (_, found) = Store::open(&config(root.path())).expect("opens");
        assert_eq!(found.documents, vec![]);
        assert_eq!(broken_folders(root.path()), 1);
    }
}
