//! What members promise about the order of what they tell each other, in whatever pieces it is read.

use super::members::*;
use super::*;
use crate::codec::opcode::OpCode;
use crate::codec::peer::PacketKind;
use crate::mail::Service;

/// An acknowledgement that completes a quorum and a sync beside it, read at once: the commit goes first. A client here
/// would get its answers in the wrong order, and a learner of the reference, which pairs commits with its queue by
/// position, would never answer anybody again.
#[test]
fn a_sync_is_answered_behind_the_commit_that_came_with_it() {
    let mut members = Members::serving(|_| {});
    let client = members.client(FOLLOWER, 1, 10_000);
    for is_behind in [true, false] {
        let (first, second) = if is_behind { (1, 2) } else { (3, 4) };
        let sync = |members: &mut Members| {
            members.submit(FOLLOWER, client, second, OpCode::Sync, encoded(|w| w.string("/")));
        };
        members.submit(FOLLOWER, client, first, OpCode::Create, create(&format!("/{first}"), 0));
        members.hold(FOLLOWER);
        if !is_behind {
            sync(&mut members);
        }
        members.settle();
        if is_behind {
            sync(&mut members);
        }
        members.let_speak(FOLLOWER);
        let told = members.texts(FOLLOWER, client.0);
        assert!(told.len() == 2 && told[0] == format!("{first} ok"), "{told:?}");
    }
}

/// A commit that is read together with the UPTODATE behind it came before it.
#[test]
fn a_commit_in_front_of_uptodate_belongs_to_the_synchronization() {
    // The leader needs nobody's word to commit.
    let mut members = Members::serving(|settings| {
        settings.observer = settings.me == ServerId(1);
        settings.view = View::parse("server.1=a:1:2:observer\nserver.2=b:1:2:participant\nversion=0").unwrap().into();
    });
    let client = members.client(LEADER, 1, 60_000);
    members.part();
    let write = |members: &mut Members, xid: i32| {
        members.submit(LEADER, client, xid, OpCode::Create, create(&format!("/{xid}"), 0));
        members.settle();
    };
    write(&mut members, 1);
    members.join();
    members.run_until(|members| members.packets().iter().any(|packet| packet.kind == PacketKind::AckEpoch));
    members.hold(FOLLOWER); // Its ACK of NEWLEADER.
    members.settle();
    members.hold(LEADER);
    write(&mut members, 2);
    members.let_speak(FOLLOWER);
    members.served(FOLLOWER);
    members.let_speak(LEADER);
    assert_eq!(members.served(FOLLOWER), [Service::Everybody]);
    write(&mut members, 3);
    let follower = &members.replicas[FOLLOWER];
    assert_eq!(follower.last_committed(), members.replicas[LEADER].last_committed());
    assert!(follower.tree().get("/3").is_some());
}
