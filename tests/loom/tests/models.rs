//! Every order in which two or three threads may run through what they share, as far as loom's bound goes.
//!
//! An executor here does what `src/runtime/driver.rs` does: it takes what there is, sets its bell, looks once more and
//! sleeps. A wake that is lost is a deadlock, a message that is lost or comes twice fails an assertion.

use loom::model::Builder;
use loom::thread;
use ringkeeper_loom::mailbox::{Inbox, mailbox};
use ringkeeper_loom::news::News;
use ringkeeper_loom::queue::Queue;
use ringkeeper_loom::stop::{Phase, Stop};
use ringkeeper_loom::sync::Arc;
use ringkeeper_loom::wake::Wake;

/// Times a thread may lose its CPU where it could have gone on. Of known errors in such structures two show nearly all;
/// each more multiplies the orders.
const PREEMPTIONS: usize = 3;

fn model(check: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.check(check);
}

/// Sleeps unless there is news already.
fn sleep(wake: &Wake, has_news: impl Fn() -> bool) {
    wake.prepare_to_sleep();
    if !has_news() {
        wake.bell().wait();
    }
    wake.awake();
}

fn receive(inbox: &mut Inbox<u32>, wake: &Wake, count: u32) {
    let mut expected = 0;
    while expected < count {
        for number in inbox.drain() {
            assert_eq!(number, expected, "in order, none lost, none twice");
            expected += 1;
        }
        if expected < count {
            sleep(wake, || inbox.has_mail());
        }
    }
    assert!(!inbox.has_mail());
}

#[test]
fn mail_arrives_once_and_in_order_and_wakes_the_sleeper() {
    model(|| {
        let (here, there) = (Wake::new().unwrap(), Wake::new().unwrap());
        let (mut outbox, mut inbox) = mailbox(8, &here, &there);
        let receiver = thread::spawn(move || receive(&mut inbox, &there, 3));
        outbox.push(0);
        outbox.push(1);
        outbox.send();
        outbox.push(2);
        outbox.send();
        receiver.join().unwrap();
    });
}

/// The sender sleeps too, until there is room.
#[test]
fn room_in_a_full_mailbox_wakes_the_sender() {
    model(|| {
        let (here, there) = (Wake::new().unwrap(), Wake::new().unwrap());
        let (mut outbox, mut inbox) = mailbox(1, &here, &there);
        let receiver = thread::spawn(move || receive(&mut inbox, &there, 2));
        outbox.push(0);
        outbox.push(1);
        outbox.send();
        while outbox.is_blocked() {
            // The driver's turn: try again, and sleep if it was in vain. The wake it waits for was asked for by the try.
            here.prepare_to_sleep();
            outbox.send();
            if outbox.is_blocked() {
                here.bell().wait();
            }
            here.awake();
            outbox.send();
        }
        receiver.join().unwrap();
    });
}

/// Two shards send, the replica sleeps once for both: only one of them rings.
#[test]
fn two_senders_wake_one_sleeper() {
    model(|| {
        let wake = Wake::new().unwrap();
        let mut inboxes = Vec::new();
        let mut senders = Vec::new();
        for number in 0..2_u32 {
            let (mut outbox, inbox) = mailbox(8, &Wake::new().unwrap(), &wake);
            inboxes.push(inbox);
            senders.push(thread::spawn(move || {
                outbox.push(number);
                outbox.send();
            }));
        }
        let mut seen = Vec::new();
        while seen.len() < 2 {
            for inbox in &mut inboxes {
                seen.extend(inbox.drain());
            }
            if seen.len() < 2 {
                sleep(&wake, || inboxes.iter().any(Inbox::has_mail));
            }
        }
        seen.sort_unstable();
        assert_eq!(seen, [0, 1]);
        senders.into_iter().for_each(|sender| sender.join().unwrap());
    });
}

/// The journal's thread: batches down a queue, news of them back, the end behind the last.
#[test]
fn every_batch_is_written_and_told_of() {
    model(|| {
        let wake = Wake::new().unwrap();
        let shared = Arc::new((Queue::default(), News::new(wake.clone())));
        let theirs = shared.clone();
        let writer = thread::spawn(move || {
            let (batches, news) = &*theirs;
            while let Some(batch) = batches.next() {
                news.tell([batch]);
            }
        });
        let (batches, news) = &*shared;
        batches.push(1);
        batches.push(2);
        let mut landed = Vec::new();
        while landed.len() < 2 {
            news.take(&mut landed);
            if landed.len() < 2 {
                sleep(&wake, || news.are_there());
            }
        }
        batches.end();
        writer.join().unwrap();
        news.take(&mut landed);
        assert_eq!(landed, [1, 2], "in order, none lost, none twice");
    });
}

/// Several look-ups of names end at once, and their asker may be asleep.
#[test]
fn answers_of_two_threads_are_all_told() {
    model(|| {
        let wake = Wake::new().unwrap();
        let answers = Arc::new(News::new(wake.clone()));
        let threads = [1, 2].map(|number| {
            let theirs = answers.clone();
            thread::spawn(move || theirs.tell([number]))
        });
        let mut told = Vec::new();
        while told.len() < 2 {
            answers.take(&mut told);
            if told.len() < 2 {
                sleep(&wake, || answers.are_there());
            }
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        told.sort_unstable();
        assert_eq!(told, [1, 2]);
    });
}

/// A stop: both executors hear of the phase, the replica's of the other shard's last mail, the main thread of the end.
#[test]
fn a_stop_reaches_sleepers_and_comes_to_an_end() {
    model(|| {
        let wakes = [Wake::new().unwrap(), Wake::new().unwrap()];
        let stop = Stop::new(wakes.to_vec(), 1).unwrap();
        let (shards, replicas) = (stop.clone(), stop.clone());
        let [shard_wake, replica_wake] = wakes;
        let shard = thread::spawn(move || {
            while shards.phase() < Phase::Quieting {
                sleep(&shard_wake, || shards.phase() >= Phase::Quieting);
            }
            shards.shard_is_quiet();
            while shards.phase() < Phase::Flushed {
                sleep(&shard_wake, || shards.phase() >= Phase::Flushed);
            }
            shards.executor_ended();
        });
        let replica = thread::spawn(move || {
            while !replicas.all_quiet() {
                sleep(&replica_wake, || replicas.all_quiet());
            }
            replicas.enter(Phase::Flushed);
            replicas.executor_ended();
        });
        stop.enter(Phase::Quieting);
        while !stop.has_ended() {
            stop.bell.wait();
        }
        shard.join().unwrap();
        replica.join().unwrap();
        assert_eq!(stop.phase(), Phase::Flushed, "never back");
    });
}

/// A disk that fails while the server is asked to stop: halted is where it stays, with the reason.
#[test]
fn a_halt_outranks_a_stop() {
    model(|| {
        let wake = Wake::new().unwrap();
        let stop = Stop::new(vec![wake.clone()], 1).unwrap();
        let theirs = stop.clone();
        let disk = thread::spawn(move || theirs.halt("the disk is full".to_owned()));
        stop.enter(Phase::Quieting);
        while stop.phase() != Phase::Halted {
            sleep(&wake, || stop.phase() == Phase::Halted);
        }
        assert!(stop.has_ended());
        assert_eq!(stop.why().as_deref(), Some("the disk is full"));
        disk.join().unwrap();
    });
}
