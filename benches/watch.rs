//! What it costs to tell many watchers of one change: the table alone.
//!
//! `cargo bench --bench watch`

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ringkeeper::codec::reply::EventKind;
use ringkeeper::watch::{Mode, WatchTable};
use std::hint::black_box;
use std::time::Duration;

const WATCHERS: u32 = 1000;
const PATH: &str = "/services/orders/leader";

fn armed(path: &str, mode: Mode) -> WatchTable {
    let mut table = WatchTable::new();
    (0..WATCHERS).for_each(|watcher| table.arm(watcher, path, mode));
    table
}

fn fan_out(c: &mut Criterion) {
    let mut group = c.benchmark_group("watch");
    group.throughput(Throughput::Elements(u64::from(WATCHERS)));
    let mut hit = Vec::new();
    group.bench_function("arm 1000 on one path", |b| b.iter(|| black_box(armed(PATH, Mode::Data))));
    group.bench_function("fire 1000 one-shot", |b| {
        b.iter_batched(
            || armed(PATH, Mode::Data),
            |mut table| {
                hit.clear();
                table.fire(EventKind::NodeDataChanged, PATH, &mut hit);
                assert_eq!(hit.len(), WATCHERS as usize);
                table
            },
            BatchSize::SmallInput,
        );
    });
    for (name, at, mode) in [
        ("fire 1000 persistent", PATH, Mode::Persistent),
        ("fire 1000 recursive, two levels up", "/services", Mode::Recursive),
    ] {
        let mut table = armed(at, mode);
        group.bench_function(name, |b| {
            b.iter(|| {
                hit.clear();
                table.fire(EventKind::NodeDataChanged, PATH, &mut hit);
                assert_eq!(hit.len(), WATCHERS as usize);
            });
        });
    }
    group.finish();
    let mut elsewhere = armed("/elsewhere", Mode::Recursive);
    c.bench_function("watch/fire where nobody watches", |b| {
        b.iter(|| {
            hit.clear();
            black_box(elsewhere.fire(EventKind::NodeDataChanged, PATH, &mut hit))
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = fan_out
}
criterion_main!(benches);
