//! Owns the one thread that writes: frames, new segments, and the order of callbacks.
//!
//! One frame is in flight at a time, and a segment's first frame is durable before its file has a
//! segment's name; recovery relies on both. Must never call back `Ok` before the flush, and never
//! try an IO again that failed.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use crossbeam::{channel::Receiver, sync::Parker};

use super::{
    FatalHook, LogConfig, LogError, OldestHolder,
    disk::{Disk, FolderLock, SegmentFile},
    helper::{Helper, discard},
    ledger::Ledger,
    record::Record,
    recover::{SegmentInfo, Tail},
    segment::{Begin, FrameBuf, SPARE_NAME, SPARE_TMP_NAME, frame_bytes},
    segment_path,
    shard_log::{Message, Request, drop_unread},
    status::Status,
};

/// The segment being written.
#[derive(Debug)]
struct Current {
    file: Box<dyn SegmentFile>,
    path: PathBuf,
    segment: u64,
    salt: u64,
    offset: u64,
}

/// What follows what is written now.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Write,
    Roll,
    Stop,
}

/// The writer's state. It lives on its thread and holds the folder's lock.
pub(crate) struct Writer {
    config: LogConfig,
    disk: Arc<dyn Disk>,
    ledger: Ledger,
    segments: BTreeMap<u64, SegmentInfo>,
    current: Current,
    frame: FrameBuf,
    frame_number: u64,
    frame_crc: u32,
    helper: Helper,
    status: Arc<Status>,
    // Last, so that the folder is free only after the helper has ended.
    _lock: Box<dyn FolderLock>,
}

impl Writer {
    /// Begins a new segment behind what was read back, and tidies the folder.
    pub(crate) fn begin(
        config: LogConfig,
        disk: Arc<dyn Disk>,
        lock: Box<dyn FolderLock>,
        ledger: Ledger,
        segments: BTreeMap<u64, SegmentInfo>,
        tail: Tail,
        status: Arc<Status>,
    ) -> Result<Self, LogError> {
        let ready = find_spare(&config, disk.as_ref())?;
        let dir = config.dir.clone();
        let mut helper = Helper::start(Arc::clone(&disk), dir, ready, config.background)?;
        let mut frame = FrameBuf::with_capacity(config.flush_bytes_max);
        let previous = Position {
            segment: tail.segment,
            end: tail.end,
            number: tail.frame_number,
            crc: tail.frame_crc,
        };
        let begun = begin_segment(
            &config,
            disk.as_ref(),
            &mut helper,
            &ledger,
            &mut frame,
            previous,
            &status,
        )?;
        let mut writer = Self {
            config,
            disk,
            ledger,
            segments,
            current: begun.current,
            frame,
            frame_number: previous.number + 1,
            frame_crc: begun.crc,
            helper,
            status,
            _lock: lock,
        };
        writer.segments.insert(writer.current.segment, begun.info);
        writer.trim_previous(tail)?;
        let unneeded = writer.take_unneeded();
        writer.remove(unneeded)?;
        writer.helper.prepare(writer.config.segment_bytes);
        Ok(writer)
    }

    /// Until told to stop, or an error.
    pub(crate) fn run(mut self, queue: Receiver<Message>, parker: &Parker, fatal: FatalHook) {
        let end = End { status: Arc::clone(&self.status), queue, fatal };
        let mut waiting: Vec<Request> = Vec::new();
        let mut next = Next::Write;
        while next != Next::Stop {
            next = match wait(&end.queue, parker) {
                Message::Write(request) => {
                    waiting.push(request);
                    self.drain(&end.queue, &mut waiting)
                }
                Message::Roll => Next::Roll,
                Message::Stop => return,
            };
            let mut written = self.write(&waiting);
            if next == Next::Roll && written.is_ok() {
                written = self.roll();
            }
            if let Err(error) = written {
                end.fail(&error);
                waiting.into_iter().for_each(|request| request.done.call(Err(error.to_io())));
                return;
            }
            self.status.count_requests(waiting.len());
            let unneeded = self.take_unneeded();
            waiting.drain(..).for_each(|request| request.done.call(Ok(())));
            if let Err(error) = self.remove(unneeded) {
                end.fail(&error);
                return;
            }
        }
    }

    /// Takes what is waiting, up to a full frame; says what to do after that.
    fn drain(&self, queue: &Receiver<Message>, waiting: &mut Vec<Request>) -> Next {
        let bytes_of = |request: &Request| -> usize {
            request.records.iter().map(Record::encoded_bytes).sum()
        };
        let mut bytes: usize = waiting.iter().map(bytes_of).sum();
        while bytes < self.config.flush_bytes_max && waiting.len() < self.config.queue_max {
            match queue.try_recv() {
                Ok(Message::Write(request)) => {
                    bytes += bytes_of(&request);
                    waiting.push(request);
                }
                Ok(Message::Roll) => return Next::Roll,
                Ok(Message::Stop) => return Next::Stop,
                Err(_) => break,
            }
        }
        Next::Write
    }

    /// Everything waiting, durable when this returns.
    fn write(&mut self, waiting: &[Request]) -> Result<(), LogError> {
        for record in waiting.iter().flat_map(|request| &request.records) {
            self.make_room(record)?;
            self.frame.push(self.current.salt, record);
            self.ledger.apply(self.current.segment, record).map_err(LogError::System)?;
        }
        self.flush()
    }

    /// Ends the frame when it is full, the segment when the frame would not fit.
    fn make_room(&mut self, record: &Record) -> Result<(), LogError> {
        let fits = |writer: &Self| {
            let frame = frame_bytes(writer.frame.body_bytes() + record.encoded_bytes());
            writer.current.offset + frame <= writer.config.segment_bytes
        };
        let body = self.frame.body_bytes() + record.encoded_bytes();
        if !self.frame.is_empty() && (body > self.config.flush_bytes_max || !fits(self)) {
            self.flush()?;
        }
        if !fits(self) {
            self.roll()?;
        }
        if fits(self) {
            return Ok(());
        }
        Err(LogError::Config(format!(
            "a record of {} bytes does not fit into a segment of {}",
            record.encoded_bytes(),
            self.config.segment_bytes
        )))
    }

    fn flush(&mut self) -> Result<(), LogError> {
        if self.frame.is_empty() {
            return Ok(());
        }
        let (number, records) = (self.frame_number + 1, self.frame.records());
        let crc =
            put_frame(&mut self.current, &mut self.frame, number, self.frame_crc, |bytes, us| {
                self.status.count_flush(bytes, records, us);
            })?;
        (self.frame_number, self.frame_crc) = (number, crc);
        Ok(())
    }

    fn roll(&mut self) -> Result<(), LogError> {
        let previous = Position {
            segment: self.current.segment,
            end: self.current.offset,
            number: self.frame_number,
            crc: self.frame_crc,
        };
        let begun = begin_segment(
            &self.config,
            self.disk.as_ref(),
            &mut self.helper,
            &self.ledger,
            &mut self.frame,
            previous,
            &self.status,
        )?;
        (self.frame_number, self.frame_crc) = (previous.number + 1, begun.crc);
        self.current = begun.current;
        self.segments.insert(self.current.segment, begun.info);
        self.helper.prepare(self.config.segment_bytes);
        Ok(())
    }

    /// The segments nobody needs any more; says who needs the oldest of the rest. Called after the
    /// flush: purge marks are durable by now.
    fn take_unneeded(&mut self) -> Vec<u64> {
        let current = self.current.segment;
        let (oldest, shard) = self.ledger.oldest_needed().unwrap_or((current, 0));
        let kept = self.segments.split_off(&oldest.min(current));
        let unneeded = std::mem::replace(&mut self.segments, kept);
        let holder = (oldest < current).then(|| OldestHolder {
            shard,
            segment: oldest,
            opened_at_ms: self.segments.get(&oldest).map_or(0, |info| info.opened_at_ms),
            segments: current - oldest + 1,
        });
        self.status.set_holder(holder);
        unneeded.into_keys().collect()
    }

    fn remove(&mut self, unneeded: Vec<u64>) -> Result<(), LogError> {
        if unneeded.is_empty() { Ok(()) } else { self.helper.remove(unneeded) }
    }

    /// The previous segment's unused end goes back to the file system: a process that restarts
    /// often must not fill the disk. Its end is written down in the new segment by now.
    fn trim_previous(&mut self, tail: Tail) -> Result<(), LogError> {
        if tail.segment == 0 || tail.file_bytes <= tail.end {
            return Ok(());
        }
        let path = segment_path(&self.config.dir, tail.segment);
        self.disk.set_len(&path, tail.end).map_err(|error| LogError::io("shorten", &path, error))
    }
}

/// The next message. The channel's own waiting yields its core a dozen times before it sleeps,
/// which cost a fiftieth of a hold; every sender unparks instead.
fn wait(queue: &Receiver<Message>, parker: &Parker) -> Message {
    loop {
        match queue.try_recv() {
            Ok(message) => return message,
            Err(_) => parker.park(),
        }
    }
}

/// The writer's end, also by a panic: the log says so, and whoever waits hears of it.
struct End {
    status: Arc<Status>,
    queue: Receiver<Message>,
    fatal: FatalHook,
}

impl End {
    fn fail(&self, error: &LogError) {
        tracing::error!(%error, "the log has stopped; nothing more is acknowledged");
        self.status.set_poison(error.to_string());
        (self.fatal)(error);
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.fail(&LogError::System("the log's writer has panicked".to_owned()));
        }
        self.status.set_ended();
        drop_unread(&self.queue);
    }
}

/// Where the log ends.
#[derive(Clone, Copy)]
struct Position {
    segment: u64,
    end: u64,
    number: u64,
    crc: u32,
}

struct Begun {
    current: Current,
    crc: u32,
    info: SegmentInfo,
}

/// Writes a new segment's first frame, then gives the file its name, durably.
fn begin_segment(
    config: &LogConfig,
    disk: &dyn Disk,
    helper: &mut Helper,
    ledger: &Ledger,
    frame: &mut FrameBuf,
    previous: Position,
    status: &Status,
) -> Result<Begun, LogError> {
    if helper.take(config.segment_bytes)? {
        status.count_stall();
    }
    let spare = config.dir.join(SPARE_NAME);
    let file = disk.open(&spare).map_err(|error| LogError::io("open", &spare, error))?;
    let segment = previous.segment + 1;
    let salt = getrandom::u64().map_err(|error| LogError::System(error.to_string()))?;
    let mut current = Current { file, path: spare.clone(), segment, salt, offset: 0 };
    let begin = Begin {
        segment_bytes: config.segment_bytes,
        previous_end: previous.end,
        opened_at_ms: unix_ms(),
    };
    frame.clear();
    frame.push(salt, &begin.to_record());
    for record in ledger.restate() {
        frame.push(salt, &record);
    }
    if frame_bytes(frame.body_bytes()) > config.segment_bytes / 2 {
        return Err(LogError::Config(format!(
            "the shards' marks take {} bytes, too many for segments of {}",
            frame.body_bytes(),
            config.segment_bytes
        )));
    }
    let crc = put_frame(&mut current, frame, previous.number + 1, previous.crc, |_, _| ())?;
    current.path = segment_path(&config.dir, segment);
    disk.rename(&spare, &current.path).map_err(|error| LogError::io("rename", &spare, error))?;
    disk.sync_dir(&config.dir)
        .map_err(|error| LogError::io("flush the folder", &config.dir, error))?;
    status.count_segment(begin.opened_at_ms);
    Ok(Begun { current, crc, info: SegmentInfo { opened_at_ms: begin.opened_at_ms } })
}

/// Writes and flushes a frame; returns its checksum.
fn put_frame(
    current: &mut Current,
    frame: &mut FrameBuf,
    number: u64,
    previous_crc: u32,
    count: impl FnOnce(u64, u64),
) -> Result<u32, LogError> {
    let crc = frame.seal(current.segment, current.salt, number, previous_crc);
    let begun = Instant::now();
    current
        .file
        .write_at(current.offset, frame.blocks())
        .map_err(|error| LogError::io("write to", &current.path, error))?;
    current.file.flush().map_err(|error| LogError::io("flush", &current.path, error))?;
    let bytes = frame.blocks().len() as u64;
    count(bytes, u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
    current.offset += bytes;
    frame.clear();
    Ok(crc)
}

/// The prepared segment of the last run, if it is whole, of the right size and nothing but zeros.
fn find_spare(config: &LogConfig, disk: &dyn Disk) -> Result<Option<u64>, LogError> {
    let spare = config.dir.join(SPARE_NAME);
    discard(disk, &config.dir.join(SPARE_TMP_NAME))?;
    let names = disk.list(&config.dir).map_err(|error| LogError::io("list", &config.dir, error))?;
    if !names.iter().any(|name| name == SPARE_NAME) {
        return Ok(None);
    }
    // Zeros that are only in the page cache would do no harm until the next power loss.
    let bytes = disk
        .sync_file(&spare)
        .and_then(|()| disk.read(&spare))
        .map_err(|error| LogError::io("read", &spare, error))?;
    if bytes.len() as u64 == config.segment_bytes && bytes.iter().all(|&byte| byte == 0) {
        return Ok(Some(config.segment_bytes));
    }
    discard(disk, &spare)?;
    Ok(None)
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
