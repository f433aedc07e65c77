"""A live ensemble changes its software member by member, and back, and no client notices.

    tests/ensemble/rolling.py --to rk [--start a38,a38,a38] [--how network|convert|roundtrip] [--znodes 20000]

Three servers with many znodes, sessions that write and read all the time (kazoo and the Rust crate) and sessions that only hold an ephemeral and a watch.
Each follower and at last the leader is stopped and comes back as the other kind: with an empty directory that the network fills, or
with its own directory converted (`ringkeeper import`, `ringkeeper export`; between two Apache versions the directory as it is;
`roundtrip` imports and exports it before an Apache server takes it up). Then back to the kinds it began with. No session may be lost, every watch fires exactly once, the histories and all members agree.
Ends with a line `rolling: ...`.
"""

import argparse
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))

import servers  # noqa: E402

if __name__ == "__main__":
    servers.use_venv()

import cluster as ensemble  # noqa: E402
import workers as load  # noqa: E402
from cluster import Failed, kinds, wait_for  # noqa: E402
from crowd import Crowd  # noqa: E402
from history import History  # noqa: E402
from recorder import Recorder  # noqa: E402


def roll(cluster, wanted, how, crowd):
    """Followers first, the leader last."""
    begun = time.monotonic()
    order = sorted(cluster.members, key=lambda member: member.mode == "leader")
    for member in order:
        before, started = member.kind, time.monotonic()
        cluster.replace(member, wanted[member.sid - 1], how)
        cluster.wait_serving(cluster.members, 300)
        took = time.monotonic() - started
        member.note_replay()
        passing = f", {member.replay_mismatches} digest mismatches before it served" if member.replay_mismatches else ""
        print(f"  server {member.sid}: {before} -> {member.kind} by {how}: {took:.1f} s{passing}", flush=True)
        wait_for("every session is connected", lambda: crowd.ready == len(crowd.people), 40)
        if crowd.lost:
            raise Failed(f"{crowd.lost} sessions lost")
        cluster.check_mismatches(at_rest=False)
    return time.monotonic() - begun


def check_watches(cluster, crowd):
    """Every watch was registered before the first replacement and taken along: a change fires it once."""
    early = [person.number for person in crowd.people if person.fired]
    if early:
        raise Failed(f"watches fired though nothing changed: {early[:5]}")
    with cluster.leader().connect() as client:
        client.pipeline([("set", person.watched, b"1") for person in crowd.people])
        client.pipeline([("set", person.watched, b"2") for person in crowd.people])
    wait_for("every watch fires", lambda: all(person.fired for person in crowd.people), 20)
    time.sleep(0.3)
    wrong = [person.fired for person in crowd.people if person.fired != [(3, person.watched)]]
    if wrong:
        raise Failed(f"{len(wrong)} watches fired wrongly, first {wrong[0]}")


def check_held(cluster, crowd):
    """All of the crowd's ephemerals at every member, each its session's own."""
    for member in cluster.members:
        with member.connect() as client:
            client.sync("/")
            for person in crowd.people:
                stat = client.exists(person.ephemeral)
                if stat is None or stat.owner != person.session:
                    raise Failed(f"{person.ephemeral} of {person.session:#x} at {member}: {stat and hex(stat.owner)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--start", type=kinds, default=kinds("a38,a38,a38"))
    parser.add_argument("--to", type=kinds, default=kinds("rk"))
    parser.add_argument("--how", choices=("network", "convert", "roundtrip"), default="network")
    parser.add_argument("--znodes", type=int, default=20000)
    parser.add_argument("--sessions", type=int, default=60)
    parser.add_argument("--clients", type=int, default=4, help="kazoo clients under load")
    parser.add_argument("--crate-clients", type=int, default=3, help="clients of the Rust crate zookeeper-client; 0 for none")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--tick", type=int, default=2000)
    parser.add_argument("--heap", default=None, help="of a Java server; by default enough for the znodes")
    options = parser.parse_args()
    servers.exit_on_signal()
    ensemble.limit_seconds(240 + options.znodes // 500)
    heap = options.heap or f"{256 + options.znodes // 1000}m"
    wanted = options.to * 3 if len(options.to) == 1 else options.to
    started = time.monotonic()
    history = History()
    with ensemble.Cluster(options.start, tick=options.tick, heap=heap, init=30) as cluster:
        if options.znodes > 50000:
            cluster.not_walked += ("/data",)
        addresses = [member.address for member in cluster.members]
        with cluster.leader().connect() as client:
            client.load("/data", options.znodes)
            Crowd.prepare(client, options.sessions)
            load.prepare(client)
        print(f"  {options.znodes} znodes made: {time.monotonic() - started:.1f} s", flush=True)
        crowd = Crowd(addresses, options.sessions, 20 * options.tick)
        crowd.start()
        everybody = [load.Worker(number, cluster.hosts, history, options.seed, timeout=20 * options.tick / 1000, pause=0.01)
                     for number in range(options.clients)]
        if options.crate_clients:
            everybody.append(Recorder(cluster.hosts, options.crate_clients, history, options.seed, timeout=20 * options.tick / 1000))
        for worker in everybody:
            worker.begin()
        wait_for("every session is connected", lambda: crowd.ready == options.sessions, 30)
        there = roll(cluster, wanted, options.how, crowd)
        back = roll(cluster, options.start, options.how, crowd)
        for worker in everybody:
            worker.stop()
        lost = sum(worker.lost for worker in everybody) + crowd.lost
        if lost:
            raise Failed(f"{lost} sessions lost")
        check_watches(cluster, crowd)
        check_held(cluster, crowd)
        told = load.judge(cluster, everybody, history, strict_sync=True)
        with cluster.leader().connect() as client:
            count = sum(len(client.children(f"/data/{folder}")) for folder in client.children("/data"))
        if count != options.znodes:
            raise Failed(f"{count} of {options.znodes} znodes at the end")
        crowd.stop()
    print(f"rolling: {'+'.join(options.start)} -> {'+'.join(wanted)} and back by {options.how}, {options.znodes} znodes: there {there:.0f} s, "
          f"back {back:.0f} s; {options.sessions} holding sessions, {told}; {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
