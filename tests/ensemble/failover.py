"""How long an ensemble is away when its leader dies or hangs, and what that costs the sessions. Prints figures, judges only losses.

    tests/ensemble/failover.py rk,rk,rk [--kills 20] [--pauses 3] [--sessions 1000] [--znodes 1000000] [--parts kill,pause,...]

  kill      the leader is killed (kill -9): until the next write is acknowledged to a client of a survivor; clients that lose their
            connection try the survivors again at once
  pause     the same for a leader that is stopped with SIGSTOP
  sessions  sessions over all servers, each with an ephemeral, when the leader is killed: how many are lost, how long until all are back
  fill      a follower with an empty directory in an ensemble with many znodes: from its start until it serves
  idle      resident memory of the three servers, an empty ensemble at rest

Ends with a line `failover: ...`.
"""

import argparse
import random
import statistics
import sys
import threading
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS / "lib"), str(TESTS / "parity")]

import servers  # noqa: E402
from client import Client  # noqa: E402
from cluster import Cluster, Failed, kinds, limit_seconds, wait_for  # noqa: E402
from crowd import Crowd  # noqa: E402


class Writer(threading.Thread):
    """Writes without pause through the servers it is given; the first acknowledged write that began after `mark` is what counts."""

    def __init__(self, addresses, path):
        super().__init__(daemon=True)
        self.client = Client(addresses[0], 20000, patience=20.0)
        self.addresses, self.path = addresses, path
        self.mark, self.after, self.written, self.ending = None, None, 0, False

    def run(self):
        at = 0
        while not self.ending:
            began = time.monotonic()
            try:
                if self.client.link is None:
                    at += 1
                    self.client.connect(self.addresses[at % len(self.addresses)], retry=False)
                    began = time.monotonic()
                self.client.set(self.path, b"x" * 100)
                self.written += 1
                if self.mark is not None and self.after is None and began >= self.mark:
                    self.after = time.monotonic()
            except (OSError, ConnectionError):
                self.client.drop()
                time.sleep(0.002)
            if self.mark is None:
                time.sleep(0.005)


def away(cluster, hurt, mend, limit):
    """Seconds from the harm until an acknowledged write, by clients that only know the survivors."""
    leader = cluster.leader()
    addresses = [member.address for member in cluster.awake() if member is not leader]
    writers = [Writer(addresses[at:] + addresses[:at], "/failover") for at in range(len(addresses))]
    try:
        for writer in writers:
            writer.start()
        wait_for("writes", lambda: all(writer.written > 10 for writer in writers), 20, 0.01)
        time.sleep(random.uniform(0, 0.5))
        hurt(leader)
        harmed = time.monotonic()
        for writer in writers:
            writer.mark = harmed
        wait_for("a write after the harm", lambda: any(writer.after for writer in writers), limit, 0.001)
        took = min(writer.after for writer in writers if writer.after) - harmed
        wait_for("both clients write again", lambda: all(writer.after for writer in writers), limit, 0.01)
        everyone = max(writer.after for writer in writers) - harmed
    finally:
        for writer in writers:
            writer.ending = True
            writer.join(30)
            writer.client.drop()
    mend(leader)
    cluster.wait_serving(cluster.members, 60)
    cluster.settle(60)
    return took, everyone


def figures(name, seconds):
    firsts, everyone = zip(*seconds)
    text = f"{name} median {statistics.median(firsts) * 1000:.0f} ms, worst {max(firsts) * 1000:.0f} ms ({len(firsts)} times)"
    print(f"  {text}; all clients again: median {statistics.median(everyone) * 1000:.0f} ms", flush=True)
    return text


def prepared(cluster):
    with cluster.leader().connect() as client:
        client.ensure("/failover")


def kill(options):
    with Cluster(options.voters, tick=options.tick) as cluster:
        prepared(cluster)
        return figures("leader killed", [away(
            cluster, lambda leader: leader.kill(), lambda leader: leader.launch(), 60) for _ in range(options.kills)])


def pause(options):
    with Cluster(options.voters, tick=options.tick) as cluster:
        prepared(cluster)
        with cluster.leader().connect() as client:
            Crowd.prepare(client, 60)
        crowd = Crowd([member.address for member in cluster.members], 60, 20 * options.tick)
        crowd.start()
        wait_for("every session is connected", lambda: crowd.ready == 60, 30)
        told = figures("leader paused", [away(
            cluster, lambda leader: leader.pause(), lambda leader: leader.resume(), 90) for _ in range(options.pauses)])
        wait_for("every session is connected", lambda: crowd.ready + crowd.lost == 60, 60)
        lost = crowd.lost
        crowd.stop()
        if lost:
            raise Failed(f"{lost} of 60 sessions lost by a paused leader")
        return f"{told}, no session of 60 lost"


def sessions(options):
    count = options.sessions
    with Cluster(options.voters, tick=options.tick) as cluster:
        with cluster.leader().connect() as client:
            Crowd.prepare(client, count)
        crowd = Crowd([member.address for member in cluster.members], count, 10 * options.tick)
        crowd.start()
        wait_for("every session is connected", lambda: crowd.ready == count, 60)
        leader = cluster.leader()
        leader.kill()
        killed = time.monotonic()
        wait_for("the survivors lead", lambda: cluster.leader(30), 40)
        # Back when the last of them was greeted, and a second later that is still so.
        wait_for("every session is back or lost", lambda: (
            crowd.ready + crowd.lost == count and time.monotonic() - max(killed, crowd.greeted_at) > 1), 60)
        took = max(0.0, crowd.greeted_at - killed)
        # The new leader counts every session's timeout anew; one that it forgot would be gone after this.
        time.sleep(10 * options.tick / 1000 * 1.2)
        wait_for("every session is connected", lambda: crowd.ready + crowd.lost == count, 30)
        owners = {}
        with cluster.leader().connect() as client:
            client.sync("/")
            for person in crowd.people:
                stat = client.exists(person.ephemeral)
                owners[person.number] = stat and stat.owner
        gone = sum(owners[person.number] != person.session for person in crowd.people)
        lost = crowd.lost
        crowd.stop()
        text = f"{lost} of {count} sessions lost, all back after {took * 1000:.0f} ms"
        print(f"  {text}, {gone} ephemerals gone", flush=True)
        if lost or gone:
            raise Failed(f"{text}, {gone} ephemerals gone")
        leader.launch()
        cluster.settle(60)
        return text


def fill(options):
    heap = f"{256 + options.znodes // 800}m"
    with Cluster(options.voters, tick=options.tick, init=60, heap=heap) as cluster:
        started = time.monotonic()
        with cluster.leader().connect(timeout_ms=40000) as client:
            client.load("/data", options.znodes, data=b"x" * 100)
        cluster.settle(120)
        print(f"  {options.znodes} znodes made in {time.monotonic() - started:.0f} s", flush=True)
        times = []
        for _ in range(options.fills):
            follower = cluster.followers()[0]
            follower.kill()
            follower.empty()
            follower.launch()
            begun = time.monotonic()
            wait_for("the follower serves", lambda: follower.status(), 300, 0.02)
            times.append(time.monotonic() - begun)
            cluster.settle(120)
        cluster.check_digests()
        text = f"empty follower with {options.znodes} znodes serves after {statistics.median(times):.1f} s"
        print(f"  {text}, median of {len(times)}", flush=True)
        return text


def resident(member):
    """Resident memory in MB."""
    for line in Path(f"/proc/{member.process.pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1]) / 1024
    raise Failed("no Rss")


def idle(options):
    with Cluster(options.voters, tick=options.tick, heap=options.idle_heap) as cluster:
        time.sleep(5)
        sizes = [resident(member) for member in cluster.members]
        text = f"idle memory of {len(sizes)} servers {sum(sizes):.0f} MB"
        print(f"  {text}: {', '.join(f'{size:.0f}' for size in sizes)}", flush=True)
        return text


PARTS = {"kill": kill, "pause": pause, "sessions": sessions, "fill": fill, "idle": idle}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("voters", type=kinds)
    parser.add_argument("--parts", type=lambda text: text.split(","), default=list(PARTS))
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--pauses", type=int, default=3)
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument("--znodes", type=int, default=1_000_000)
    parser.add_argument("--fills", type=int, default=3)
    parser.add_argument("--tick", type=int, default=2000)
    parser.add_argument("--idle-heap", default="512m", help="of a Java server in the idle part")
    options = parser.parse_args()
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"unknown parts {', '.join(unknown)}: {', '.join(PARTS)}")
    servers.exit_on_signal()
    limit_seconds(1500)
    told = [PARTS[part](options) for part in options.parts]
    print(f"failover: {'+'.join(options.voters)}: {'; '.join(told)}")


if __name__ == "__main__":
    main()
