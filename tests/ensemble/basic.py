"""What an ensemble is for, once each, in order: writes and reads through every member, watches, ephemerals, moves, and every way a
member comes back (DIFF, SNAP with nothing, SNAP when far behind, TRUNC), leaders killed, stopped and paused, observers.

    tests/ensemble/basic.py a38,a39,rk [--observers rk] [--leader rk] [--only NAME]

`--leader KIND` makes every scenario start under a leader of that kind. Ends with a line `basic: ...`.
"""

import argparse
import logging
import socket
import sys
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS / "lib"), str(TESTS / "parity")]

import servers  # noqa: E402

if __name__ == "__main__":
    servers.use_venv()

from kazoo.client import KazooClient  # noqa: E402

import wire  # noqa: E402
from client import BAD_VERSION, NO_NODE, Client, Refused, SessionLost  # noqa: E402
from cluster import Cluster, Failed, kinds, limit_seconds, wait_for  # noqa: E402
from member import expect  # noqa: E402

SCENARIOS = []
SYNCS = {}
logging.getLogger("kazoo").setLevel(logging.CRITICAL)


def scenario(function):
    SCENARIOS.append(function)
    return function


def refused_with(error, call):
    try:
        call()
    except Refused as refused:
        expect(refused.error == error, f"error {refused.error} where {error} was due")
    else:
        raise Failed(f"no error where {error} was due")


def below(cluster, name):
    """A fresh folder for a scenario. A connection that is lost on the way is made again, as any client would, and reported."""
    for attempt in range(3):
        leader = cluster.leader()
        try:
            with leader.connect() as client:
                client.ensure(f"/{name}")
            break
        except ConnectionError as error:
            print(f"  {leader} closed the connection that makes /{name}: {error}; its log ends with\n{leader.tail()}", flush=True)
            if attempt == 2 or leader.kind == "ringkeeper":
                raise
    cluster.settle()
    return f"/{name}"


def lost(client, member, read_only=False):
    """Whether the member says that this client's session is over; the client keeps it.

    An Apache server that hears of the session's end just then closes every connection that claims it, before its answer has left; so it
    is asked again.
    """
    ghost = Client(None, connect=False, read_only=read_only)
    ghost.session, ghost.password = client.session, client.password
    for attempt in range(5):
        try:
            ghost.connect(member.address, retry=False)
        except SessionLost:
            return True
        except ConnectionError:
            if member.kind == "ringkeeper" or attempt == 4:
                raise
            continue
        ghost.drop()
        return False


def syncs(cluster):
    """How often the leader says it sent a DIFF and a SNAP; what it does not count is not said."""
    told = cluster.leader().monitor()
    return {name: int(float(told[key])) for name, key in (("DIFF", "zk_diff_count"), ("SNAP", "zk_snap_count")) if key in told}


def down_and_up(cluster, member, meanwhile, empty=False):
    """Stops a member, does something, starts it again and waits until all are the same."""
    member.kill()
    cluster.wait_serving()
    with cluster.leader().connect() as client:
        meanwhile(client)
    if empty:
        member.empty()
    back(cluster, member)


def back(cluster, member):
    """Starts a member, waits until all are the same, and keeps what the leader says it sent (a TRUNC counts as a DIFF)."""
    before = syncs(cluster)
    member.launch()
    cluster.wait_serving()
    cluster.settle()
    for name, count in syncs(cluster).items():
        if name in before:
            SYNCS[name] = SYNCS.get(name, 0) + count - before[name]


@scenario
def write_each_read_each(cluster):
    root = below(cluster, "each")
    clients = [member.connect() for member in cluster.members]
    for at, client in enumerate(clients):
        _, stat = client.create(f"{root}/{at}", b"from %d" % at)
        for other in clients:
            other.sync(root)
            data, seen = other.get(f"{root}/{at}")
            expect(data == b"from %d" % at and seen.czxid == stat.czxid, f"{root}/{at} through another member: {data}")
        refused_with(BAD_VERSION, lambda: client.set(f"{root}/{at}", b"no", version=7))
        refused_with(NO_NODE, lambda: client.delete(f"{root}/none"))
    names = [clients[number % len(clients)].create(f"{root}/s-", flags=2)[0] for number in range(30)]
    expect(names == sorted(set(names)), f"sequence numbers through the members: {names}")
    for at, client in enumerate(clients):
        result = client.multi((wire.CHECK, wire.path_version(f"{root}/{at}", 0)), (wire.SET_DATA, wire.set_data(f"{root}/{at}", b"m")),
                              (wire.CREATE, wire.create(f"{root}/m{at}")), (wire.DELETE, wire.path_version(f"{root}/m{at}")))
        expect([entry[0] for entry in result] == ["check", "setData", "create", "delete"], f"multi: {result}")
        result = client.multi((wire.SET_DATA, wire.set_data(f"{root}/{at}", b"z")), (wire.CHECK, wire.path_version(f"{root}/{at}", 99)))
        expect([entry[0] for entry in result] == ["error", "error"], f"failing multi: {result}")
    for client in clients:
        client.close()


@scenario
def watches_across_members(cluster):
    root = below(cluster, "watches")
    for at, member in enumerate(cluster.members):
        with member.connect() as watcher, cluster.members[at - 1].connect() as writer:
            writer.create(f"{root}/{at}", b"0")
            watcher.sync(root)
            watcher.get(f"{root}/{at}", watch=True)
            watcher.exists(f"{root}/{at}-new", watch=True)
            watcher.children(root, watch=True)
            writer.set(f"{root}/{at}", b"1")
            writer.create(f"{root}/{at}-new")
            writer.set(f"{root}/{at}", b"2")
            watcher.sync(root)
            expect(sorted(watcher.wait_events(3)) == sorted([(3, f"{root}/{at}"), (1, f"{root}/{at}-new"), (4, root)]),
                   f"events {watcher.events}")


@scenario
def ephemerals_vanish_everywhere(cluster):
    root = below(cluster, "ephemerals")
    for member in cluster.members:
        with member.connect() as owner:
            owner.create(f"{root}/closed", flags=1)
        dropped = member.connect(timeout_ms=2 * cluster.tick)
        dropped.create(f"{root}/dropped", flags=1)
        dropped.drop()
        started = time.monotonic()
        for other in cluster.members:
            with other.connect() as reader:
                reader.sync(root)
                expect(reader.exists(f"{root}/closed") is None, f"the ephemeral of a closed session is left at {other}")
        with member.connect() as reader:
            wait_for("a dropped session expires", lambda: reader.exists(f"{root}/dropped") is None, 2 * cluster.tick / 1000 * 3 + 5)
            took = time.monotonic() - started
            expect(took > 2 * cluster.tick / 1000 - 0.5, f"a session of {dropped.timeout_ms} ms lived {took:.1f} s")
        cluster.settle()
        for other in cluster.members:
            with other.connect() as reader:
                expect(reader.exists(f"{root}/dropped") is None, f"the ephemeral of an expired session is left at {other}")


@scenario
def sessions_move(cluster):
    root = below(cluster, "moves")
    client = Client(cluster.members[0].address)
    client.create(f"{root}/mine", flags=1)
    client.create(f"{root}/watched")
    client.get(f"{root}/watched", watch=True)
    for round_number in range(2):
        for member in cluster.members[1:] + cluster.members[:1]:
            client.connect(member.address)
            expect(client.exists(f"{root}/mine").owner == client.session, "the ephemeral did not move along")
            client.set(f"{root}/mine", b"%d" % round_number)
    expect(client.events == [], f"nothing happened, and yet: {client.events}")
    client.drop()
    with cluster.members[0].connect() as other:
        other.set(f"{root}/watched", b"changed")
    client.connect(cluster.members[-1].address)
    client.sync()
    expect(client.wait_events(1) == [(3, f"{root}/watched")], f"missed while disconnected: {client.events}")
    client.close()
    for member in cluster.members:
        expect(lost(client, member), f"{member} takes up a closed session")
    kazoo = KazooClient(hosts=cluster.hosts, timeout=20)
    kazoo.start(20)
    first = kazoo.client_id
    kazoo.create(f"{root}/kazoo", ephemeral=True)
    for member in cluster.members:
        kazoo.set_hosts(member.where)
        kazoo._connection._socket.shutdown(socket.SHUT_RDWR)
        wait_for("kazoo at the next member", lambda: kazoo.retry(kazoo.exists, f"{root}/kazoo"), 20)
    expect(kazoo.client_id == first, "kazoo got another session")
    kazoo.stop()
    kazoo.close()


@scenario
def follower_back_by_diff(cluster):
    root = below(cluster, "diff")
    for member in list(cluster.followers()):
        down_and_up(cluster, member, lambda client: client.pipeline([("create", f"{root}/{member.sid}-{n}", b"x") for n in range(50)]))


@scenario
def follower_back_with_nothing(cluster):
    root = below(cluster, "snap")
    for member in list(cluster.followers()):
        down_and_up(cluster, member, lambda client: client.pipeline([("create", f"{root}/{member.sid}-{n}", b"x") for n in range(50)]),
                    empty=True)


@scenario
def follower_back_far_behind(cluster):
    root = below(cluster, "behind")
    # More than the 500 txns a leader keeps in memory: few bytes, which it may read from its log again, and many, in several logs and
    # much more than its snapshot, which it may not.
    few = lambda client: client.pipeline([("set", root, b"x")] * 600)  # noqa: E731
    many = lambda client: client.pipeline([("set", root, bytes(10000))] * 1500)  # noqa: E731
    for member, meanwhile in zip(list(cluster.followers()), (few, many)):
        down_and_up(cluster, member, meanwhile)


@scenario
def uncommitted_tail_is_cut(cluster):
    """The old leader is back before anything was written in the new epoch: a TRUNC, as its log alone is longer."""
    tail_is_cut(cluster, "trunc", written=0)


@scenario
def uncommitted_tail_is_replaced(cluster):
    """The old leader is back when the new epoch has its own txns: Apache sends no TRUNC across epochs but a SNAP."""
    tail_is_cut(cluster, "tail", written=3)


def tail_is_cut(cluster, name, written):
    """A leader logs what no follower ever heard of, dies, and comes back under another leader."""
    root = below(cluster, name)
    leader = cluster.leader()
    followers = [member for member in cluster.members if member is not leader]
    client = leader.connect()
    stat = client.create(f"{root}/base")[1]
    for member in followers:
        member.pause()
    for number in range(5):
        client.xid += 1
        client.link.sendall(wire.frame(wire.header(client.xid, wire.CREATE) + wire.create(f"{root}/lost{number}")))
    time.sleep(0.3)
    leader.kill()
    client.drop()
    # What the leader sent them waits unread in their sockets: it dies with the stopped processes.
    for member in followers:
        member.process.kill()
        member.process.wait()
        member.launch()
    successor = cluster.leader(among=followers)
    cluster.wait_serving(followers)
    if written:
        with successor.connect() as client:
            for number in range(written):
                client.create(f"{root}/kept{number}")
            expect(not [name for name in client.children(root) if name.startswith("lost")], "a write nobody heard of is there")
    back(cluster, leader)
    wanted = ["base"] + [f"kept{number}" for number in range(written)]
    for member in cluster.members:
        with member.connect() as client:
            client.sync()
            names = sorted(client.children(root))
            expect(names == wanted, f"after the cut {member} has {names}")
            expect(client.exists(f"{root}/base").czxid == stat.czxid, "the node before the cut changed")


@scenario
def leader_killed(cluster):
    leader_lost(cluster, "killed", lambda leader: leader.kill(), lambda leader: leader.launch())


@scenario
def leader_stopped(cluster):
    leader_lost(cluster, "stopped", lambda leader: leader.stop(), lambda leader: leader.launch())


@scenario
def leader_paused(cluster):
    leader_lost(cluster, "paused", lambda leader: leader.pause(), lambda leader: leader.resume())


def leader_lost(cluster, name, hurt, mend):
    """The others go on with all that was acknowledged and with the sessions; the old leader comes back as one of them."""
    root = below(cluster, name)
    leader = cluster.leader()
    survivors = [member for member in cluster.members if member is not leader]
    client = survivors[0].connect(timeout_ms=20 * cluster.tick)
    client.create(f"{root}/mine", flags=1)
    client.pipeline([("create", f"{root}/{n}", b"x") for n in range(100)])
    hurt(leader)
    cluster.leader(among=survivors, seconds=60)
    for member in survivors:
        client.connect(member.address, seconds=30)
        client.sync()
        expect(len(client.children(root)) == 101, f"acknowledged and lost at {member}")
        client.set(f"{root}/mine", b"still here")
    mend(leader)
    cluster.wait_serving()
    cluster.settle()
    client.connect(leader.address)
    expect(client.exists(f"{root}/mine").owner == client.session, "the session's ephemeral at the old leader")
    client.close()


@scenario
def observers_follow(cluster):
    observers = [member for member in cluster.members if member.observer]
    root = below(cluster, "observers")
    for observer in observers:
        expect(observer.mode == "observer", f"{observer} says {observer.mode}")
        with observer.connect() as client:
            client.create(f"{root}/{observer.sid}")
        down_and_up(cluster, observer, lambda client: client.load(f"{root}/far", 3000, batch=4) if not client.exists(f"{root}/far")
                    else client.create(f"{root}/near{observer.sid}"))
        down_and_up(cluster, observer, lambda client: client.set(root, b"1"), empty=True)
    if len(cluster.voters) < 3 or not observers:
        return
    # Observers are in no quorum: with them and one voter nothing is served.
    leader = cluster.leader()
    others = [member for member in cluster.voters if member is not leader]
    for member in others:
        member.kill()
    wait_for("one voter and observers stop serving", lambda: not any(member.status() for member in cluster.awake()), 30)
    for member in others:
        member.launch()
    cluster.settle(60)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("voters", type=kinds, help="such as a38,a39,rk")
    parser.add_argument("--observers", type=kinds, default=[])
    parser.add_argument("--leader", help="the kind that must lead when a scenario begins")
    parser.add_argument("--tick", type=int, default=500)
    parser.add_argument("--only", action="append", help="a scenario, by name")
    options = parser.parse_args()
    lead = options.leader and kinds(options.leader)[0]
    servers.exit_on_signal()
    limit_seconds(420)
    started = time.monotonic()
    chosen = [one for one in SCENARIOS if one.__name__ in options.only] if options.only else SCENARIOS
    if not chosen:
        sys.exit("no such scenario: " + ", ".join(one.__name__ for one in SCENARIOS))
    with Cluster(options.voters, options.observers, tick=options.tick, settings="snapCount=1000\n") as cluster:
        for one in chosen:
            begun = time.monotonic()
            if lead:
                cluster.lead(lead)
            SYNCS.clear()
            one(cluster)
            counted = "".join(f", {count} {name}" for name, count in SYNCS.items() if count)
            print(f"  {one.__name__}: {time.monotonic() - begun:.1f} s, leader {cluster.leader()}{counted}", flush=True)
        zxid = cluster.check_same()
    names = "+".join(options.voters) + (f", observers {'+'.join(options.observers)}" if options.observers else "")
    print(f"basic: {names}{', ' + lead + ' leading' if lead else ''}: {len(chosen)} scenarios passed, digests equal at {zxid:#x}, "
          f"{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
