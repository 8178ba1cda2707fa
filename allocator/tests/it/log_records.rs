//! The codecs of records and frames, and recovery, on arbitrary bytes.

#![allow(clippy::unwrap_used)]

use onsale_allocator::log::{
    disk::{AlignedBuf, BLOCK_BYTES, Disk},
    record::{Kind, Record},
    scan,
    segment::{FrameHeader, file_name, parse_file_name},
    sim_disk::SimDisk,
};
use proptest::{collection::vec, prelude::*};

use crate::log_common::{entries, open, sim_dir, small, try_open, wait};

fn record() -> impl Strategy<Value = Record> {
    let kind = prop_oneof![
        Just(Kind::Begin),
        Just(Kind::Extent),
        Just(Kind::Entry),
        Just(Kind::Vote),
        Just(Kind::Truncate),
        Just(Kind::Purge),
        Just(Kind::Committed),
    ];
    let numbers = any::<(u16, u8, u64, u64, u64)>();
    (kind, numbers, vec(any::<u8>(), 0..300)).prop_map(|(kind, numbers, payload)| {
        let (shard, tag, term, index, origin) = numbers;
        Record { shard, kind, tag, term, index, origin, payload: payload.into() }
    })
}

fn encoded(record: &Record, salt: u64) -> Vec<u8> {
    let mut buf = AlignedBuf::with_capacity(0);
    record.encode(salt, &mut buf);
    buf.as_slice().to_vec()
}

proptest! {
    #[test]
    fn a_record_reads_back_as_written(
        record in record(), salt: u64, rest in vec(any::<u8>(), 0..50),
    ) {
        let mut bytes = encoded(&record, salt);
        let length = bytes.len();
        bytes.extend(rest);
        prop_assert_eq!(Record::decode(salt, &bytes), Ok((record, length)));
    }

    #[test]
    fn arbitrary_bytes_are_no_record(bytes in vec(any::<u8>(), 0..500), salt: u64) {
        prop_assert!(Record::decode(salt, &bytes).is_err());
        prop_assert!(FrameHeader::decode(&bytes).is_err());
    }

    #[test]
    fn a_changed_record_is_no_record(
        record in record(), salt: u64, place: prop::sample::Index, change in 1..=255_u8,
    ) {
        let mut bytes = encoded(&record, salt);
        let place = place.index(bytes.len());
        bytes[place] ^= change;
        prop_assert!(Record::decode(salt, &bytes).is_err());
        let bytes = encoded(&record, salt);
        prop_assert!(Record::decode(salt, &bytes[..place]).is_err());
        prop_assert!(Record::decode(salt.wrapping_add(1 + place as u64), &bytes).is_err());
    }

    #[test]
    fn aligned_buffers_are_aligned_and_keep_their_bytes(
        parts in vec(vec(any::<u8>(), 0..6000), 0..9),
    ) {
        let mut buf = AlignedBuf::with_capacity(1);
        for part in &parts {
            buf.extend(part);
            prop_assert_eq!(buf.as_slice().as_ptr().align_offset(BLOCK_BYTES), 0);
        }
        let all = parts.concat();
        prop_assert_eq!(buf.as_slice(), &all[..]);
        buf.pad_to_block(9);
        prop_assert_eq!(buf.len() % BLOCK_BYTES, 0);
        prop_assert_eq!(&buf.as_slice()[..all.len()], &all[..]);
    }

    #[test]
    fn only_segment_names_are_segment_names(
        name in "[0-9]{0,18}(\\.segment)?", number in 0..1_u64 << 50,
    ) {
        prop_assert_eq!(parse_file_name(&file_name(number)), Some(number));
        if let Some(number) = parse_file_name(&name) {
            prop_assert_eq!(file_name(number), name);
        }
    }

    /// Any overwritten stretch of any segment: no panic, no entry that was not written, and if the
    /// log opens at all, no hole.
    #[test]
    fn overwritten_bytes_never_become_entries(
        seed: u64, file: prop::sample::Index, at in 0..16_384_usize,
        junk in vec(any::<u8>(), 1..2000),
    ) {
        let disk = SimDisk::new(seed);
        let written = entries(1, 1, 0..9, 1200);
        let (log, _) = open(small(&sim_dir()), &disk);
        for entry in &written {
            wait(|done| log.shard(1).append(vec![entry.clone()], done)).unwrap();
        }
        log.shutdown();
        let paths = disk.paths();
        disk.change(&paths[file.index(paths.len())], |data| {
            let end = (at + junk.len()).min(data.len());
            if at < end {
                data[at..end].copy_from_slice(&junk[..end - at]);
            }
        });
        let mut seen = Vec::new();
        scan(&sim_dir(), &disk, &mut |found| {
            if found.record.kind == Kind::Entry {
                seen.push((found.record.index, found.record.payload));
            }
        }).unwrap();
        for (index, payload) in seen {
            prop_assert_eq!(&written[index as usize].payload, &payload);
        }
        if let Ok((log, _)) = try_open(small(&sim_dir()), &disk) {
            let kept = log.shard(1).read(0..u64::MAX, usize::MAX);
            prop_assert!(written.starts_with(&kept));
        }
        let _ = disk.list(&sim_dir()).unwrap();
    }
}
