//! What a journal batch costs before it reaches a disk: encoding, two checksums, the seal; and finding it again.
//!
//! `cargo bench --bench journal`

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringkeeper::base::{Zxid, limits};
use ringkeeper::journal::{Batch, DiskEffect, Journal, JournalPosition, Recovery, SegmentId};
use std::hint::black_box;
use std::time::Duration;

const RECORDS: i64 = 1000;
const RECORD_BYTES: usize = 150;

/// A journal, and the zxid of its last record.
struct World {
    journal: Journal,
    zxid: i64,
    effects: Vec<DiskEffect>,
}

impl World {
    fn new() -> World {
        let journal = Journal::new(JournalPosition::fresh(1, Zxid::ZERO), limits::SEGMENT_BYTES);
        World { journal, zxid: 0, effects: Vec::new() }
    }

    /// Appends, seals, and lands at once. Segments are ready when they are asked for.
    fn batch(&mut self) -> Batch {
        for _ in 0..RECORDS {
            self.zxid += 1;
            let zxid = self.zxid.to_be_bytes();
            self.journal.append(Zxid(self.zxid), |out| {
                let start = out.len();
                out.resize(start + RECORD_BYTES, 7);
                out[start + 12..start + 20].copy_from_slice(&zxid);
            });
        }
        loop {
            self.journal.next_batch(&mut self.effects);
            let mut written = None;
            for effect in self.effects.drain(..) {
                match effect {
                    DiskEffect::PrepareSegment { segment, .. } => self.journal.segment_ready(segment),
                    DiskEffect::WriteBatch(batch) => written = Some(batch),
                    other => panic!("nothing else was asked for: {other:?}"),
                }
            }
            if let Some(batch) = written {
                self.journal.landed(batch.id);
                return batch;
            }
        }
    }
}

fn batches(c: &mut Criterion) {
    let mut group = c.benchmark_group("journal");
    group.throughput(Throughput::Elements(RECORDS as u64));
    let mut world = World::new();
    group.bench_function("append 1000 records of 150 B and seal", |b| {
        b.iter(|| {
            let batch = world.batch();
            assert_eq!(i64::from(batch.record_count), RECORDS);
            world.journal.give_back(black_box(batch).bytes);
        });
    });
    // One whole segment, as recovery reads it.
    let mut world = World::new();
    let mut segment = Vec::new();
    let mut records = 0;
    loop {
        let batch = world.batch();
        if batch.segment != SegmentId(1) || records == 100 * RECORDS {
            break;
        }
        segment.resize(batch.offset as usize, 0);
        segment.extend(batch.bytes);
        records += RECORDS;
    }
    segment.resize(limits::SEGMENT_BYTES as usize, 0);
    group.throughput(Throughput::Elements(records as u64));
    group.bench_function("recover a segment of 100000 records", |b| {
        b.iter(|| {
            let mut recovery = Recovery::new(Zxid::ZERO, 1);
            let mut found = 0;
            recovery
                .segment(SegmentId(1), black_box(&segment), |_, _| {
                    found += 1;
                    Ok(())
                })
                .unwrap();
            assert_eq!(found, records);
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20);
    targets = batches
}
criterion_main!(benches);
