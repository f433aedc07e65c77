//! The way from one core to another, without what the caches of two cores make of it and without a sleeper to wake.

use ringkeeper::runtime::{Wake, mailbox};

use super::meter;

/// As large as what a shard is told.
type Message = [u64; 4];

pub fn count() {
    let (here, there) = (Wake::new().expect("an eventfd"), Wake::new().expect("an eventfd"));
    let (mut outbox, mut inbox) = mailbox::<Message>(1024, &here, &there);
    for messages in [1, 256] {
        let mut received = 0;
        let mut hop = || {
            (0..messages).for_each(|_| outbox.push([7; 4]));
            outbox.send();
            received += inbox.drain().count();
        };
        hop();
        meter::count(&format!("mail, {messages} in a batch"), messages, &mut hop);
        assert_eq!(received, 2 * messages);
    }
}
