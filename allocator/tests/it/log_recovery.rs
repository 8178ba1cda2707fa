//! Reading the log back: torn tails are cut, damage is refused, nothing is lost on the way.

#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
};

use onsale_allocator::log::{
    Log, LogConfig, LogError, LogRecord, REMEDY,
    disk::Disk,
    real_disk::RealDisk,
    scan,
    sim_disk::{Fault, SimDisk},
};

use crate::log_common::{entries, entry, open, remember, sim_dir, small, try_open, wait};

/// A log of several segments and shards, every frame acknowledged; its entries.
fn filled(disk: &SimDisk) -> BTreeMap<u16, Vec<LogRecord>> {
    let (log, _) = open(small(&sim_dir()), disk);
    let mut all = BTreeMap::new();
    for shard in 1..4 {
        let log = log.shard(shard);
        wait(|done| log.save_vote(vec![7; 17].into(), done)).unwrap();
        for index in 0..6 {
            let entry = entry(shard, 1, index, 700 * usize::from(shard));
            wait(|done| log.append(vec![entry.clone()], done)).unwrap();
            all.entry(shard).or_insert_with(Vec::new).push(entry);
        }
    }
    log.shutdown();
    all
}

fn entries_of(log: &Log) -> BTreeMap<u16, Vec<LogRecord>> {
    (1..4).map(|shard| (shard, log.shard(shard).read(0..u64::MAX, usize::MAX))).collect()
}

fn segments(disk: &SimDisk) -> Vec<PathBuf> {
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|e| e == "segment");
    disk.paths().into_iter().filter(is_segment).collect()
}

fn copy(disk: &SimDisk) -> SimDisk {
    let copy = SimDisk::new(1);
    for path in disk.paths() {
        let bytes = disk.read(&path).unwrap();
        copy.create(&path, bytes.len() as u64).unwrap();
        copy.change(&path, |data| data.clone_from(&bytes));
    }
    copy.sync_dir(&sim_dir()).unwrap();
    copy
}

fn refused(disk: &SimDisk) -> (PathBuf, u64, String) {
    match try_open(small(&sim_dir()), disk) {
        Err(LogError::Damaged(damage)) => {
            assert!(damage.to_string().contains(REMEDY));
            (damage.file, damage.offset, damage.what)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn everything_acknowledged_comes_back_after_a_restart() {
    for disk in [RealDisk::new(), RealDisk::buffered()] {
        let dir = tempfile::tempdir().unwrap();
        let config = LogConfig { background: true, ..small(dir.path()) };
        for round in 0..3_u64 {
            let (log, recovered) = open(config.clone(), &disk);
            let shard = log.shard(2);
            let kept = shard.read(0..u64::MAX, usize::MAX);
            assert_eq!(kept, entries(2, 1, 0..round * 40, 333));
            assert_eq!(recovered.shards.len(), usize::from(round > 0));
            for index in round * 40..(round + 1) * 40 {
                wait(|done| shard.append(entries(2, 1, index..index + 1, 333), done)).unwrap();
            }
            shard.save_committed(round * 40, vec![round as u8].into());
            log.shutdown();
        }
        let (log, recovered) = open(config, &disk);
        assert_eq!(recovered.torn_tail, None);
        assert_eq!(log.shard(2).state().committed.unwrap().index, 80);
        assert_eq!(log.shard(2).state().last.unwrap().1, 119);
    }
}

#[test]
fn a_second_process_on_the_folder_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(small(dir.path()), &RealDisk::new());
    let error = try_open(small(dir.path()), &RealDisk::new()).unwrap_err();
    assert!(matches!(error, LogError::Locked(_)));
    assert!(error.to_string().contains("in use by another process"), "{error}");
    log.shutdown();
    open(small(dir.path()), &RealDisk::new());
}

#[test]
fn a_torn_tail_is_cut_and_said_and_stays_cut() {
    let disk = SimDisk::new(3);
    filled(&disk);
    let (log, _) = open(small(&sim_dir()), &disk);
    let shard = log.shard(1);
    wait(|done| shard.append(entries(1, 2, 6..7, 500), done)).unwrap();
    // The next frame is torn: written to a part, and the process dies.
    disk.plan(disk.operations(), Fault::Crash);
    wait(|done| shard.append(entries(1, 2, 7..9, 4000), done)).unwrap_err();
    drop(log);
    disk.kill();
    let torn = segments(&disk).pop().unwrap();
    let mut cut = 0;
    for round in 0..3 {
        let (log, recovered) = open(small(&sim_dir()), &disk);
        if let Some(tail) = recovered.torn_tail {
            assert_eq!((round, &tail.file), (0, &torn));
            assert!(tail.offset > 0 && tail.bytes > 0);
            cut += 1;
        }
        let shard = log.shard(1);
        let next = 7 + round;
        assert_eq!(shard.state().last.unwrap().1 + 1, next);
        wait(|done| shard.append(entries(1, 3, next..next + 1, 10), done)).unwrap();
        log.shutdown();
    }
    assert_eq!(cut, 1, "cut once, and then never seen again");
}

#[test]
fn a_flipped_bit_is_refused_with_file_and_offset() {
    let disk = SimDisk::new(5);
    let all = filled(&disk);
    let mut places: Vec<(PathBuf, u64, u64)> = Vec::new();
    scan(&sim_dir(), &disk, &mut |found| {
        let bytes = found.record.encoded_bytes() as u64;
        places.push((found.file.to_owned(), found.offset, bytes));
    })
    .unwrap();
    assert!(segments(&disk).len() > 3 && places.len() > 30);
    for (file, offset, bytes) in &places {
        for place in [0, 5, 9, 17, 39, bytes / 2, bytes - 1] {
            let disk = copy(&disk);
            disk.flip_bit(file, offset + place, (place % 8) as u8);
            let (found, at, what) = refused(&disk);
            assert_eq!((&found, at), (file, *offset), "{what}");
            let report = scan(&sim_dir(), &disk, &mut |_| ()).unwrap();
            assert_eq!(report.damage.first().map(|d| (&d.file, d.offset)), Some((file, *offset)));
        }
    }
    // Frame headers: refused too, at the frame.
    for file in segments(&disk) {
        for place in [0, 9, 13, 17, 30, 40, 45, 63] {
            for frame in [0, 4096] {
                let disk = copy(&disk);
                if disk.read(&file).unwrap()[frame] == 0 {
                    continue;
                }
                disk.flip_bit(&file, frame as u64 + place, 3);
                let (found, at, _) = refused(&disk);
                assert_eq!(found, file);
                assert!(at.abs_diff(frame as u64) <= 64);
            }
        }
    }
    // Anywhere at all: what was written is refused; elsewhere nothing is missing.
    for file in segments(&disk) {
        for place in (0..16_usize << 10).step_by(97) {
            let disk = copy(&disk);
            let before = disk.read(&file).unwrap().get(place).copied().unwrap_or_default();
            disk.flip_bit(&file, place as u64, 1);
            match try_open(small(&sim_dir()), &disk) {
                Ok((log, _)) => {
                    assert_eq!(before, 0, "{} {place}: filler counts too", file.display());
                    assert_eq!(entries_of(&log), all);
                }
                Err(LogError::Damaged(damage)) => assert_eq!(damage.file, file),
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[test]
fn a_byte_far_behind_the_last_frame_is_damage_and_no_torn_write() {
    let disk = SimDisk::new(5);
    let config = LogConfig { segment_bytes: 16 << 20, ..small(&sim_dir()) };
    let (log, _) = open(config.clone(), &disk);
    wait(|done| log.shard(1).append(entries(1, 1, 1..4, 10), done)).unwrap();
    log.shutdown();
    let file = segments(&disk).pop().unwrap();
    disk.change(&file, |data| data[9 << 20] = 1);
    match try_open(config, &disk) {
        Err(LogError::Damaged(damage)) => assert_eq!((damage.file, damage.offset), (file, 9 << 20)),
        other => panic!("{:?}", other.err()),
    }
}

#[test]
fn a_damaged_last_frame_is_no_torn_write() {
    let disk = SimDisk::new(5);
    filled(&disk);
    let mut last = (PathBuf::new(), 0, 0);
    scan(&sim_dir(), &disk, &mut |found| {
        last = (found.file.to_owned(), found.offset, found.record.encoded_bytes());
    })
    .unwrap();
    let flipped = copy(&disk);
    flipped.flip_bit(&last.0, last.1 + last.2 as u64 - 1, 0);
    assert!(refused(&flipped).2.contains("no torn write"));
    // A lost sector of the very last frame looks like a torn write; the module's text says so.
    let lost = copy(&disk);
    lost.change(&last.0, |data| data[last.1 as usize + 512..last.1 as usize + 1600].fill(0));
    let (_, recovered) = open(small(&sim_dir()), &lost);
    assert!(recovered.torn_tail.is_some());
}

#[test]
fn missing_shortened_and_swapped_files_are_refused() {
    let disk = SimDisk::new(5);
    filled(&disk);
    let files = segments(&disk);
    for (place, file) in files.iter().enumerate().rev().skip(1) {
        let disk = copy(&disk);
        disk.remove(file).unwrap();
        let (found, _, what) = refused(&disk);
        assert_eq!(&found, file, "{place}: {what}");
        assert!(what.contains("missing"));
    }
    for (place, file) in files.iter().enumerate() {
        let disk = copy(&disk);
        disk.change(file, |data| data.truncate(5000));
        let (found, at, what) = refused(&disk);
        assert_eq!(&found, file);
        assert!(at <= 8192, "{place}: {at} {what}");
    }
    let swapped = copy(&disk);
    let (one, two) = (&files[1], &files[2]);
    let aside = sim_dir().join("aside");
    swapped.rename(one, &aside).unwrap();
    swapped.rename(two, one).unwrap();
    swapped.rename(&aside, two).unwrap();
    assert_eq!(&refused(&swapped).0, one);
    // A segment of another log under the right name.
    let other = SimDisk::new(9);
    filled(&other);
    let mixed = copy(&disk);
    let foreign = other.read(two).unwrap();
    mixed.change(two, |data| data.clone_from(&foreign));
    assert_eq!(&refused(&mixed).0, two);
}

#[test]
fn a_full_disk_acknowledges_nothing_and_reopens_with_room() {
    let disk = SimDisk::new(2);
    disk.set_space(Some(4 * (16 << 10)));
    let (fatal, fatals) = remember();
    let config = small(&sim_dir());
    let (log, _) = Log::open(config.clone(), Arc::new(disk.clone()), fatal).unwrap();
    let shard = log.shard(1);
    let mut acknowledged = 0;
    let error = loop {
        let next = entries(1, 1, acknowledged..acknowledged + 1, 3000);
        match wait(|done| shard.append(next, done)) {
            Ok(()) => acknowledged += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert!(error.to_string().contains("is the disk full?"), "{error}");
    assert_eq!(acknowledged, 12, "three frames in each of four segments");
    assert_eq!(fatals.lock().len(), 1);
    assert!(log.stopped().is_some());
    wait(|done| shard.save_vote(vec![1].into(), done)).unwrap_err();
    wait(|done| log.shard(9).append(entries(9, 1, 0..1, 1), done)).unwrap_err();
    assert_eq!(fatals.lock().len(), 1, "the process ends once");
    drop(log);
    assert!(try_open(config.clone(), &disk).is_err(), "still full");
    disk.set_space(None);
    let (log, _) = open(config, &disk);
    assert_eq!(log.shard(1).read(0..99, usize::MAX), entries(1, 1, 0..acknowledged, 3000));
}

#[test]
fn the_first_failed_flush_stops_the_log_for_good() {
    for after in 0..2 {
        let disk = SimDisk::new(2);
        let (fatal, fatals) = remember();
        let (log, _) = Log::open(small(&sim_dir()), Arc::new(disk.clone()), fatal).unwrap();
        let shard = log.shard(1);
        wait(|done| shard.append(entries(1, 1, 0..1, 100), done)).unwrap();
        disk.plan(disk.operations() + after, Fault::Error(ErrorKind::Other));
        wait(|done| shard.append(entries(1, 1, 1..2, 100), done)).unwrap_err();
        let operations = disk.operations();
        wait(|done| shard.append(entries(1, 1, 2..3, 100), done)).unwrap_err();
        drop(log);
        assert_eq!(disk.operations(), operations, "nothing is tried again");
        assert_eq!(fatals.lock().len(), 1);
        disk.power_loss();
        let (log, _) = open(small(&sim_dir()), &disk);
        let kept = log.shard(1).state().last.unwrap().1;
        assert!(kept <= 1, "the failed frame may be there, what followed is not");
    }
}

#[test]
fn an_idle_shard_pins_nothing_and_the_holder_of_the_oldest_segment_is_named() {
    let disk = SimDisk::new(2);
    let (log, _) = open(small(&sim_dir()), &disk);
    let (idle, slow, busy) = (log.shard(1), log.shard(2), log.shard(3));
    wait(|done| idle.save_vote(b"idle".as_slice().into(), done)).unwrap();
    wait(|done| idle.append(entries(1, 1, 0..3, 50), done)).unwrap();
    wait(|done| idle.purge_to(2, b"gone".as_slice().into(), done)).unwrap();
    wait(|done| slow.append(entries(2, 1, 0..1, 50), done)).unwrap();
    for index in 0..30 {
        wait(|done| busy.append(entries(3, 1, index..index + 1, 900), done)).unwrap();
        wait(|done| busy.purge_to(index, vec![index as u8].into(), done)).unwrap();
    }
    let holder = log.oldest_holder().unwrap();
    assert_eq!((holder.shard, holder.segment), (2, 2), "three frames fit into segment 1");
    assert_eq!(holder.segments, segments(&disk).len() as u64);
    assert!(holder.segments > 10 && holder.opened_at_ms > 0);
    wait(|done| slow.purge_to(0, vec![0].into(), done)).unwrap();
    // Deleting comes after the callback; one more request has it done.
    wait(|done| slow.save_vote(vec![3].into(), done)).unwrap();
    assert_eq!(segments(&disk).len(), 1);
    assert_eq!(log.oldest_holder(), None);
    log.shutdown();
    let (log, _) = open(small(&sim_dir()), &disk);
    let state = log.shard(1).state();
    assert_eq!(state.vote.as_deref(), Some(b"idle".as_slice()));
    assert_eq!(
        state.purged.map(|mark| (mark.index, mark.id)),
        Some((2, b"gone".as_slice().into()))
    );
    wait(|done| log.shard(1).append(entries(1, 2, 3..4, 50), done)).unwrap();
    wait(|done| log.shard(3).append(entries(3, 2, 31..32, 50), done)).unwrap_err();
    wait(|done| log.shard(3).append(entries(3, 2, 30..31, 50), done)).unwrap();
}

#[test]
fn a_prepared_segment_that_is_not_all_zeros_is_not_used() {
    let disk = SimDisk::new(2);
    let spare = sim_dir().join("spare.zeros");
    disk.create(&spare, 16 << 10).unwrap();
    disk.flip_bit(&spare, 12 << 10, 0);
    let (log, _) = open(small(&sim_dir()), &disk);
    wait(|done| log.shard(1).append(entries(1, 1, 0..1, 50), done)).unwrap();
    log.shutdown();
    let (log, recovered) = open(small(&sim_dir()), &disk);
    assert_eq!(recovered.torn_tail, None);
    assert_eq!(log.shard(1).read(0..9, usize::MAX), entries(1, 1, 0..1, 50));
}

#[test]
fn restarts_do_not_fill_the_disk() {
    let disk = SimDisk::new(2);
    for round in 0..20 {
        let (log, _) = open(small(&sim_dir()), &disk);
        wait(|done| log.shard(1).append(entries(1, 1, round..round + 1, 50), done)).unwrap();
    }
    let used: usize = disk.paths().iter().map(|path| disk.read(path).unwrap().len()).sum();
    assert!(used <= 20 * 2 * 4096 + 2 * (16 << 10), "{used} bytes for twenty starts");
}

#[test]
fn appends_with_a_gap_or_too_large_are_refused_and_change_nothing() {
    let disk = SimDisk::new(2);
    let config = small(&sim_dir());
    let too_large = config.record_bytes_max() + 1;
    let (log, _) = open(config, &disk);
    let shard = log.shard(1);
    wait(|done| shard.append(entries(1, 1, 0..3, 50), done)).unwrap();
    let before = shard.state();
    for bad in [entries(1, 1, 2..3, 1), entries(1, 1, 4..5, 1), entries(1, 1, 3..4, too_large)] {
        let error = wait(|done| shard.append(bad, done)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
    assert_eq!(shard.state(), before);
    wait(|done| shard.append(entries(1, 1, 3..4, too_large - 1), done)).unwrap();
    wait(|done| shard.purge_to(2, vec![1].into(), done)).unwrap();
    wait(|done| shard.truncate_from(2, done)).unwrap_err();
    assert_eq!(shard.read(0..9, usize::MAX).len(), 1);
}

#[test]
fn reading_is_bounded_by_bytes_but_never_empty() {
    let disk = SimDisk::new(2);
    let (log, _) = open(small(&sim_dir()), &disk);
    let shard = log.shard(1);
    wait(|done| shard.append(entries(1, 1, 5..15, 100), done)).unwrap();
    let indexes = |range, bytes| -> Vec<u64> {
        shard.read(range, bytes).iter().map(|entry| entry.index).collect()
    };
    assert_eq!(indexes(5..15, 250), [5, 6]);
    assert_eq!(indexes(7..15, 1), [7]);
    assert_eq!(indexes(0..8, usize::MAX), [5, 6, 7]);
    assert_eq!(indexes(13..99, usize::MAX), [13, 14]);
    assert!(indexes(15..99, usize::MAX).is_empty());
    assert!(indexes(0..5, usize::MAX).is_empty());
}

#[test]
fn one_flush_carries_what_many_shards_wait_for() {
    let dir = tempfile::tempdir().unwrap();
    let config = LogConfig::new(dir.path());
    let config = LogConfig { segment_bytes: 4 << 20, ..config };
    let (log, _) = open(config, &RealDisk::buffered());
    let (sender, receiver) = std::sync::mpsc::channel();
    for index in 0..50 {
        for shard in 0..8 {
            let sender = sender.clone();
            let done = move |result: std::io::Result<()>| {
                result.unwrap();
                sender.send((shard, index)).unwrap();
            };
            log.shard(shard).append(entries(shard, 1, index..index + 1, 200), Box::new(done));
        }
    }
    drop(sender);
    let order: Vec<(u16, u64)> = receiver.iter().collect();
    let submitted: Vec<(u16, u64)> = (0..50).flat_map(|i| (0..8).map(move |s| (s, i))).collect();
    assert_eq!(order, submitted, "callbacks come in the order of the requests");
    let stats = log.stats();
    assert!(stats.flushes < 400, "{stats:?}");
    assert_eq!(stats.records, 400);
}

#[test]
fn a_scan_reads_a_folder_without_changing_it() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(small(dir.path()), &RealDisk::new());
    let shard = log.shard(4);
    for index in 0..20 {
        wait(|done| shard.append(entries(4, 1, index..index + 1, 600), done)).unwrap();
    }
    drop(log);
    let files = |dir: &Path| -> BTreeMap<PathBuf, Vec<u8>> {
        let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        paths.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    };
    let before = files(dir.path());
    let mut seen = Vec::new();
    let report = scan(dir.path(), &RealDisk::new(), &mut |found| {
        if found.record.kind == onsale_allocator::log::record::Kind::Entry {
            seen.push(found.record.index);
        }
    })
    .unwrap();
    assert_eq!(seen, Vec::from_iter(0..20));
    assert_eq!((report.damage.len(), report.torn_tail, report.shards), (0, None, vec![4]));
    assert!(report.segments.len() > 3);
    assert_eq!(files(dir.path()), before);
}

#[test]
fn settings_out_of_range_are_refused() {
    for (segment_bytes, queue_max) in [(4096, 1), (16385, 1), (16384, 0)] {
        let config = LogConfig { segment_bytes, queue_max, ..small(&sim_dir()) };
        assert!(matches!(try_open(config, &SimDisk::new(1)), Err(LogError::Config(_))));
    }
}
