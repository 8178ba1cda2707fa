//! Owns the sandbox's journal: one JSON line for each request that changed something, flushed to
//! the disk before its answer leaves. One flush serves all requests that wait for it.
//!
//! Must never acknowledge what is not flushed; a failed flush fails everything after it.

use std::{
    fs::{File, OpenOptions},
    io::{BufRead as _, BufReader, Seek as _, SeekFrom, Write as _},
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
};

use tokio::sync::watch;

use super::books::Post;
use crate::{Error, limits::SANDBOX_JOURNAL_LINE_BYTES_MAX};

const FILE: &str = "sandbox.journal";
const HEADER: &str = "{\"onsale_sandbox_journal\":1}\n";

/// How far the journal is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Durable {
    Upto(u64),
    Failed,
}

/// The journal of one folder, locked while it is open.
#[derive(Debug)]
pub(crate) struct Journal {
    queue: Arc<Queue>,
    durable: watch::Receiver<Durable>,
    writer: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Queue {
    lines: Mutex<Lines>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct Lines {
    bytes: Vec<u8>,
    written: u64,
    closed: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Journal {
    /// Opens the folder's journal and plays every request in it, in order.
    pub(crate) fn open(folder: &Path, play: impl FnMut(&Post)) -> Result<Journal, Error> {
        let path = folder.join(FILE);
        let failed = |error| Error::file(&path, error);
        std::fs::create_dir_all(folder).map_err(failed)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(failed)?;
        if file.try_lock().is_err() {
            return Err(Error::InUse(path));
        }
        let length = replay(&file, &path, play)?;
        file.set_len(length).map_err(failed)?;
        file.seek(SeekFrom::End(0)).map_err(failed)?;
        if length == 0 {
            file.write_all(HEADER.as_bytes()).map_err(failed)?;
        }
        file.sync_all().map_err(failed)?;
        sync_folder(folder).map_err(failed)?;
        let (tell, durable) = watch::channel(Durable::Upto(0));
        let queue = Arc::new(Queue::default());
        let writing = Arc::clone(&queue);
        let writer = std::thread::Builder::new()
            .name("sandbox-journal".to_owned())
            .spawn(move || write(&file, &path, &writing, &tell))
            .map_err(|error| Error::file(&folder.join(FILE), error))?;
        Ok(Journal { queue, durable, writer: Some(writer) })
    }

    /// Adds a line; the answer is its number for [`Self::flushed`].
    pub(crate) fn append(&self, post: &Post) -> Result<u64, Error> {
        let line = serde_json::to_vec(post).map_err(|error| Error::Journal(error.to_string()))?;
        let mut lines = self.queue.lock();
        lines.bytes.extend_from_slice(&line);
        lines.bytes.push(b'\n');
        lines.written += 1;
        self.queue.news.notify_one();
        Ok(lines.written)
    }

    /// The number of the last line added.
    pub(crate) fn last(&self) -> u64 {
        self.queue.lock().written
    }

    /// Waits until that line is on the disk.
    pub(crate) async fn flushed(&self, number: u64) -> Result<(), Error> {
        let mut durable = self.durable.clone();
        let enough = |durable: &Durable| match durable {
            Durable::Upto(done) => *done >= number,
            Durable::Failed => true,
        };
        match durable.wait_for(enough).await.map(|state| *state) {
            Ok(Durable::Upto(_)) => Ok(()),
            Ok(Durable::Failed) | Err(_) => Err(Error::Journal("the journal failed".to_owned())),
        }
    }

    /// Returns when writing failed; whoever runs the sandbox has to end then.
    pub(crate) async fn failed(&self) {
        let mut durable = self.durable.clone();
        let _ = durable.wait_for(|durable| *durable == Durable::Failed).await;
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.news.notify_one();
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

/// Plays the whole lines and returns where they end; a torn last line was never acknowledged.
fn replay(file: &File, path: &Path, mut play: impl FnMut(&Post)) -> Result<u64, Error> {
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    let mut offset = 0_u64;
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line);
        read.map_err(|error| Error::file(path, error))?;
        if line.last() != Some(&b'\n') {
            return Ok(offset);
        }
        let damaged = || Error::Damaged { path: path.to_path_buf(), offset };
        if line.len() > SANDBOX_JOURNAL_LINE_BYTES_MAX {
            return Err(damaged());
        }
        if offset == 0 {
            if line != HEADER.as_bytes() {
                return Err(damaged());
            }
        } else {
            let post = serde_json::from_slice(&line).map_err(|_| damaged())?;
            play(&post);
        }
        offset += line.len() as u64;
    }
}

fn write(mut file: &File, path: &Path, queue: &Queue, durable: &watch::Sender<Durable>) {
    let mut batch = Vec::new();
    loop {
        let mut lines = queue.lock();
        while lines.bytes.is_empty() && !lines.closed {
            lines = queue.news.wait(lines).unwrap_or_else(PoisonError::into_inner);
        }
        if lines.bytes.is_empty() {
            return;
        }
        batch.clear();
        std::mem::swap(&mut batch, &mut lines.bytes);
        let written = lines.written;
        drop(lines);
        if let Err(error) = file.write_all(&batch).and_then(|()| file.sync_data()) {
            tracing::error!(path = %path.display(), %error, "the sandbox's journal failed");
            durable.send_replace(Durable::Failed);
            return;
        }
        durable.send_replace(Durable::Upto(written));
    }
}

/// Makes a new name in the folder durable.
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn post(number: u64) -> Post {
        Post {
            at_ms: number,
            seed: u128::from(number) << 100,
            path: "/v1/refunds".to_owned(),
            form: "a=\"1\"\n".to_owned(),
            key: number.is_multiple_of(2).then(|| "key".to_owned()),
        }
    }

    fn read(folder: &Path) -> Result<Vec<Post>, Error> {
        let mut posts = Vec::new();
        Journal::open(folder, |post| posts.push(post.clone())).map(|_| posts)
    }

    #[tokio::test]
    async fn what_was_flushed_is_read_back_and_a_torn_line_is_cut() {
        let folder = tempfile::tempdir().expect("a folder");
        let journal = Journal::open(folder.path(), |_| {}).expect("opens");
        for number in 0..5 {
            let line = journal.append(&post(number)).expect("appends");
            journal.flushed(line).await.expect("flushes");
        }
        assert!(matches!(read(folder.path()), Err(Error::InUse(_))), "one owner only");
        drop(journal);
        let path = folder.path().join(FILE);
        let whole = std::fs::read(&path).expect("reads");
        let expected: Vec<Post> = (0..5).map(post).collect();
        assert_eq!(read(folder.path()).expect("opens"), expected);
        for cut in 1..40 {
            std::fs::write(&path, &whole[..whole.len() - cut]).expect("writes");
            assert_eq!(read(folder.path()).expect("opens"), expected[..4], "{cut} bytes torn off");
        }
        let mut damaged = whole.clone();
        damaged[HEADER.len() + 1] ^= 0xff;
        std::fs::write(&path, damaged).expect("writes");
        assert!(matches!(read(folder.path()), Err(Error::Damaged { .. })));
    }
}
