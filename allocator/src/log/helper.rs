//! Owns the work on segments that need not stop the writer: making the next one, deleting the
//! oldest ones.
//!
//! Must never touch a segment that has a frame somebody needs: the writer names what may go, and
//! only after the purge marks are durable.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
};

use crossbeam::channel::{Receiver, Sender, bounded};

use super::{
    LogError,
    disk::Disk,
    segment::{SPARE_NAME, SPARE_TMP_NAME},
    segment_path,
};

/// Jobs waiting for the helper; the writer does what does not fit itself.
const JOBS_MAX: usize = 16;

enum Job {
    Prepare(u64),
    Remove(Vec<u64>),
}

/// Makes and deletes segments, on a thread of its own or in line.
#[derive(Debug)]
pub(crate) struct Helper {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    thread: Option<Thread>,
    /// A prepared segment of this size is there.
    ready: Option<u64>,
    /// The thread is preparing one.
    pending: bool,
}

#[derive(Debug)]
struct Thread {
    jobs: Option<Sender<Job>>,
    prepared: Receiver<Result<u64, LogError>>,
    handle: Option<JoinHandle<()>>,
}

impl Helper {
    /// `ready`: size of the prepared segment found at the opening.
    pub(crate) fn start(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        ready: Option<u64>,
        background: bool,
    ) -> Result<Self, LogError> {
        let thread = if background { Some(spawn(&disk, &dir)?) } else { None };
        Ok(Self { disk, dir, thread, ready, pending: false })
    }

    /// Asks for a segment ahead of its use. Does nothing in line.
    pub(crate) fn prepare(&mut self, bytes: u64) {
        if self.ready == Some(bytes) || self.pending {
            return;
        }
        let jobs = self.thread.as_ref().and_then(|thread| thread.jobs.as_ref());
        self.pending = jobs.is_some_and(|jobs| jobs.try_send(Job::Prepare(bytes)).is_ok());
    }

    /// A prepared segment under [`SPARE_NAME`]; makes one if there is none. Also says whether the
    /// caller had to wait for it.
    pub(crate) fn take(&mut self, bytes: u64) -> Result<bool, LogError> {
        let mut waited = false;
        if std::mem::take(&mut self.pending)
            && let Some(thread) = &self.thread
        {
            waited = thread.prepared.is_empty();
            match thread.prepared.recv() {
                Ok(Ok(prepared)) => self.ready = Some(prepared),
                Ok(Err(error)) => tracing::warn!(%error, "a segment could not be made ahead"),
                Err(_) => {}
            }
        }
        if self.ready.take() != Some(bytes) {
            waited = true;
            make_spare(self.disk.as_ref(), &self.dir, bytes)?;
        }
        Ok(waited)
    }

    /// Deletes segments, oldest first.
    pub(crate) fn remove(&mut self, segments: Vec<u64>) -> Result<(), LogError> {
        let segments = match self.thread.as_ref().and_then(|thread| thread.jobs.as_ref()) {
            None => segments,
            Some(jobs) => match jobs.try_send(Job::Remove(segments)) {
                Ok(()) => return Ok(()),
                Err(error) => match error.into_inner() {
                    Job::Remove(segments) => segments,
                    Job::Prepare(_) => return Ok(()),
                },
            },
        };
        remove(self.disk.as_ref(), &self.dir, &segments)
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        if let Some(thread) = &mut self.thread {
            drop(thread.jobs.take());
            if let Some(handle) = thread.handle.take() {
                let _ = handle.join();
            }
        }
    }
}

fn spawn(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Thread, LogError> {
    let (jobs, waiting) = bounded::<Job>(JOBS_MAX);
    let (done, prepared) = bounded(JOBS_MAX);
    let (disk, dir) = (Arc::clone(disk), dir.to_owned());
    let work = move || {
        for job in waiting {
            match job {
                Job::Prepare(bytes) => {
                    let result = make_spare(disk.as_ref(), &dir, bytes).map(|()| bytes);
                    if done.send(result).is_err() {
                        return;
                    }
                }
                // What cannot be deleted only takes space; the next opening tries again.
                Job::Remove(segments) => {
                    if let Err(error) = remove(disk.as_ref(), &dir, &segments) {
                        tracing::warn!(%error, "an old segment could not be deleted");
                    }
                }
            }
        }
    };
    let handle = std::thread::Builder::new()
        .name("log-helper".to_owned())
        .spawn(work)
        .map_err(|error| LogError::System(error.to_string()))?;
    Ok(Thread { jobs: Some(jobs), prepared, handle: Some(handle) })
}

fn make_spare(disk: &dyn Disk, dir: &Path, bytes: u64) -> Result<(), LogError> {
    let (tmp, spare) = (dir.join(SPARE_TMP_NAME), dir.join(SPARE_NAME));
    let fail = |action, path: &Path| {
        let path = path.to_owned();
        move |error| LogError::io(action, &path, error)
    };
    discard(disk, &spare)?;
    disk.create(&tmp, bytes).map_err(fail("make a segment (is the disk full?)", &tmp))?;
    disk.rename(&tmp, &spare).map_err(fail("rename", &tmp))?;
    disk.sync_dir(dir).map_err(fail("flush the folder", dir))
}

/// Removes a file that may not be there.
pub(crate) fn discard(disk: &dyn Disk, path: &Path) -> Result<(), LogError> {
    match disk.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(LogError::io("remove", path, error))
        }
        _ => Ok(()),
    }
}

/// Each deletion is durable before the next: the segments left are always contiguous.
fn remove(disk: &dyn Disk, dir: &Path, segments: &[u64]) -> Result<(), LogError> {
    for &segment in segments {
        discard(disk, &segment_path(dir, segment))?;
        disk.sync_dir(dir).map_err(|error| LogError::io("flush the folder", dir, error))?;
    }
    Ok(())
}
