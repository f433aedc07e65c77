//! Apache's directories, damaged: an import refuses, or writes a snapshot that is what its report says.
//!
//! The damage is done before the checksums as often as after them, so that it reaches what they protect.

use super::Target;
use super::dice::{Dice, join, split};
use super::{txns, wire};
use ringkeeper::codec::Writer;
use ringkeeper::convert::{ImportOptions, import};
use ringkeeper::snapshot;
use std::fs;
use std::io::Write;
use std::path::PathBuf;

pub const IMPORTS: Target = Target { name: "imports", make, run };

/// Input: two bytes of options, then pairs of a file's name and its bytes.
fn make(dice: &mut Dice) -> Vec<u8> {
    let mut parts = vec![vec![dice.next() as u8, dice.next() as u8]];
    let damage = dice.below(4);
    if !dice.one_in(8) {
        let plain = snapshot_file(dice, damage == 1);
        let (name, mut bytes) = match dice.below(6) {
            0 => ("snapshot.5.gz", gzip(&plain)),
            1 => ("snapshot.5.snappy", snappy(&plain)),
            _ => ("snapshot.5", plain),
        };
        if damage == 2 {
            dice.mutate(&mut bytes, 3);
        }
        parts.extend([name.into(), bytes]);
    }
    let mut log = log_file(dice, 6, damage == 1);
    if damage == 3 {
        dice.mutate(&mut log, 3);
    }
    parts.extend([b"log.6".to_vec(), log]);
    if dice.one_in(4) {
        let first = if dice.one_in(2) { 9 } else { dice.number() };
        let more = log_file(dice, first, false);
        parts.extend([b"log.9".to_vec(), more]);
    }
    join(&parts)
}

fn snapshot_file(dice: &mut Dice, is_damaged: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let w = &mut Writer(&mut bytes);
    w.i32(0x5a4b_534e);
    w.i32(2);
    w.i64(-1);
    let sessions = dice.below(3);
    w.i32(sessions as i32);
    for id in 0..sessions {
        w.i64(7 + id as i64);
        w.i32(4000);
    }
    let lists = dice.below(3);
    w.i32(lists as i32);
    for id in 1..=lists {
        w.i64(id as i64);
        w.acl(&wire::acl(dice));
    }
    let mut paths = vec!["", "/zookeeper", "/zookeeper/config", "/zookeeper/quota", "/a", "/a/b", "/b"];
    if dice.one_in(4) {
        paths.push(dice.path());
    }
    for path in paths.into_iter().filter(|path| *path != "/") {
        w.string(path);
        w.buffer(Some(&dice.bytes(30)));
        w.i64(if dice.one_in(4) { dice.below(4) as i64 } else { -1 });
        for _ in 0..4 {
            w.i64(if dice.one_in(20) { dice.number() } else { 1 });
        }
        for _ in 0..3 {
            w.i32(if dice.one_in(20) { dice.number() as i32 } else { 0 });
        }
        w.i64(if dice.one_in(8) { dice.pick(&[7, i64::MIN, -1, 0xff00_0000_0000_0005_u64 as i64]) } else { 0 });
        w.i64(1);
    }
    w.string("/");
    if is_damaged {
        dice.mutate(&mut bytes, 3);
    }
    seal(&mut bytes);
    if dice.one_in(3) {
        let w = &mut Writer(&mut bytes);
        w.i64(if dice.one_in(2) { 5 } else { dice.number() });
        w.i32(2);
        w.i64(1_371_985_504);
        seal(&mut bytes);
    }
    bytes
}

fn seal(bytes: &mut Vec<u8>) {
    let sum = i64::from(adler2::adler32_slice(bytes));
    let w = &mut Writer(bytes);
    w.i64(sum);
    w.string("/");
}

fn log_file(dice: &mut Dice, first: i64, is_damaged: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let w = &mut Writer(&mut bytes);
    w.i32(0x5a4b_4c47);
    w.i32(2);
    w.i64(0);
    for zxid in 0..dice.below(5) as i64 {
        let mut payload = txns::payload(dice, first.saturating_add(zxid));
        if is_damaged && dice.one_in(3) {
            dice.mutate(&mut payload, 3);
        }
        w.i64(i64::from(adler2::adler32_slice(&payload)));
        w.buffer(Some(&payload));
        w.0.push(b'B');
    }
    if dice.one_in(2) {
        w.0.resize(w.0.len() + 50, 0);
    }
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

fn snappy(bytes: &[u8]) -> Vec<u8> {
    let mut file = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
    for block in bytes.chunks(200) {
        let block = snap::raw::Encoder::new().compress_vec(block).expect("a small block");
        Writer(&mut file).buffer(Some(&block));
    }
    file
}

/// A folder in memory, if there is such a place.
fn folder() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    let parent = if memory.is_dir() { memory } else { std::env::temp_dir() };
    parent.join(format!("ringkeeper-fuzz-{}", std::process::id()))
}

fn run(input: &[u8]) {
    let parts = split(input);
    let Some(([options, files @ ..], folder)) = Some((&parts[..], folder())) else { return };
    let (apache, ours) = (folder.join("version-2"), folder.join("ours"));
    fs::create_dir_all(&apache).expect("a folder for the test");
    for pair in files.chunks_exact(2) {
        let name = String::from_utf8_lossy(pair[0]).replace(['/', '\0'], "_");
        fs::write(apache.join(name), pair[1]).expect("a file for the test");
    }
    let option = |bit: u8| options.first().is_some_and(|byte| byte & bit != 0);
    let options = ImportOptions { ignore_digest: option(1), trust_empty: option(2), ..ImportOptions::default() };
    let result = import(&folder, None, &ours, None, &options, &mut |_| {});
    match result {
        Ok(report) => {
            let file = fs::File::open(&report.written).expect("the report says where it is");
            match snapshot::load(file, options.rules, 0) {
                Ok(loaded) => {
                    assert_eq!((loaded.zxid, loaded.digest), (report.last_zxid, report.digest));
                    assert_eq!(loaded.tree.digest_from_scratch(), report.digest);
                    // Of the three reserved znodes, those that a log deleted (no server wrote it) are planted again.
                    let planted = loaded.tree.znode_count() - report.znodes;
                    assert!(planted <= 2, "{planted} znodes from nowhere");
                }
                Err(error) => panic!("the import wrote what cannot be read: {error}"),
            }
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            let is_written = fs::read_dir(ours.join("ringkeeper")).is_ok_and(|mut entries| {
                entries
                    .any(|entry| entry.is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with("snapshot.")))
            });
            assert!(!is_written, "a failed import left a snapshot: {error}");
        }
    }
    fs::remove_dir_all(&folder).expect("the folder was ours");
}
