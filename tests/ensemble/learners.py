"""What operators set about learners, each with an ensemble of its own: how they are brought up to date, how many at once, from whom
observers learn, and when.

    tests/ensemble/learners.py [--apache a39] [--only NAME]

`--apache KIND` is the kind that ringkeeper is mixed with. Ends with a line `learners: ...`.
"""

import argparse
import sys
import threading
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS / "lib"), str(TESTS / "parity")]

import servers  # noqa: E402
from cluster import Cluster, kinds, limit_seconds, unused_ports, wait_for  # noqa: E402
from member import expect  # noqa: E402
from network import usable  # noqa: E402

RK = "ringkeeper"
SCENARIOS = []


def scenario(function):
    SCENARIOS.append(function)
    return function


def syncs(member):
    """How many DIFFs (TRUNCs among them) and SNAPs a member says it has sent."""
    told = member.monitor()
    return int(float(told["zk_diff_count"])), int(float(told["zk_snap_count"]))


class Writing(threading.Thread):
    """Writes to one znode, some hundred times a second, until told to stop."""

    def __init__(self, member, path):
        super().__init__(daemon=True)
        self.client, self.path, self.ending, self.written, self.error = member.connect(), path, False, 0, None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.ending = True
        self.join(20)
        self.client.close()
        expect(self.error is None, f"a writer failed: {self.error}")

    def run(self):
        try:
            while not self.ending:
                self.client.pipeline([("set", self.path, b"w" * 50)] * 20)
                self.written += 20
                time.sleep(0.05)
        except Exception as error:  # noqa: BLE001 - judged by whoever waits for it
            self.error = error


def behind(cluster, member, count, data):
    """A member that comes back after so many writes: the (DIFFs, SNAPs) that its leader sent for that. Others go on writing."""
    leader = cluster.leader()
    member.kill()
    with leader.connect() as client:
        client.ensure("/behind")
        client.pipeline([("set", "/behind", data)] * count)
    before = syncs(leader)
    with Writing(leader, "/behind") as writing:
        member.launch()
        cluster.wait_serving([member])
        until = writing.written + 100
        wait_for("writes beside the synchronization", lambda: writing.written > until, 20)
    cluster.settle()
    expect(cluster.leader() is leader, "another leader meanwhile")
    return tuple(now - then for now, then in zip(syncs(leader), before))


@scenario
def diff_from_disk(apache):
    """Further behind than the leader keeps in memory, but not by much: its journal serves. By more: a snapshot."""
    with Cluster([RK, RK, apache], [apache, RK], tick=500) as cluster:
        cluster.lead(RK)
        with cluster.leader().connect() as client:
            client.load("/tree", 20000)
        cluster.settle()
        learners = [member for member in cluster.members if member is not cluster.leader()]
        for member in learners:
            sent = behind(cluster, member, 3000, b"x" * 50)
            expect(sent == (1, 0), f"{member}, 3000 writes behind, cost {sent} DIFFs and SNAPs")
        for member in learners[-2:]:
            sent = behind(cluster, member, 3000, b"x" * 1000)
            expect(sent == (0, 1), f"{member}, 3 MB behind, cost {sent} DIFFs and SNAPs")
        cluster.check_same()


@scenario
def no_diff_from_disk(apache):
    """A negative factor: nobody is caught up from the journal."""
    with Cluster([RK, RK, RK], [apache], tick=500, settings="snapshotSizeFactor=-1\n") as cluster:
        with cluster.leader().connect() as client:
            client.load("/tree", 5000)
        for member in [cluster.followers()[0], cluster.members[-1]]:
            sent = behind(cluster, member, 1000, b"x" * 10)
            expect(sent == (0, 1), f"{member} cost {sent} DIFFs and SNAPs")
        cluster.check_same()


def said(member, text):
    """How often a member's log has this in a line."""
    return member.log.read_text(errors="replace").count(text)


@scenario
def observers_wait_for_each_other(apache):
    """One snapshot at a time for observers; those turned away come again, and voters are never turned away."""
    # Every learner begins with nothing, again and again, and the tree is large enough for them to meet.
    settings = "leader.maxConcurrentSnapSyncs=1\nforceSnapshotSync=true\nobserver.election.DelayMs=50\n"
    with Cluster([RK, RK, RK], [RK, RK, apache], tick=500, settings=settings) as cluster:
        leader = cluster.leader()
        with leader.connect() as client:
            client.load("/tree", 60000, data=b"x" * 200)
        observers = [member for member in cluster.members if member.observer]
        for _ in range(2):
            for member in observers:
                member.kill()
            for member in observers:
                member.launch()
            cluster.wait_serving(observers, 60)
        expect(cluster.leader() is leader, "another leader meanwhile")
        turned_away = said(leader, "too many learners are being synchronized")
        expect(turned_away > 0, "no observer was turned away")
        follower = cluster.followers()[0]
        follower.kill()
        follower.launch()
        cluster.wait_serving([follower])
        cluster.check_same()


@scenario
def an_observer_without_a_journal(apache):
    """syncEnabled=false: it serves and writes nothing down, comes back with what it began with, and is caught up."""
    with Cluster([RK, apache, RK], [RK, RK], tick=500) as cluster:
        cluster.lead(RK)
        observer, other = cluster.members[-2:]
        observer.stop()
        observer.settings = "syncEnabled=false\n"
        observer.launch()
        cluster.wait_serving([observer])
        with cluster.leader().connect() as client:
            client.load("/tree", 2000)
        cluster.settle()
        logged = [sum(path.read_bytes().count(b"/tree/1/") for path in (member.data / "ringkeeper").glob("journal.*"))
                  for member in (observer, other)]
        expect(logged[0] == 0 and logged[1] >= 1000, f"{logged} of the transactions are in the journals of the two")
        # It goes on from memory under another leader, and from its disk after a restart.
        cluster.leader().stop()
        cluster.wait_serving([observer, other])
        for member in cluster.members:
            if not member.running:
                member.launch()
        cluster.settle()
        expect(said(observer, "mode=\"Snap\"") == 0, "it was sent everything though it had it in memory")
        with observer.connect() as client:
            client.create("/by-observer")
        observer.kill()
        observer.launch()
        cluster.wait_serving([observer])
        cluster.check_same()


@scenario
def a_leader_gives_up_a_disloyal_voter(apache):
    """The voters that elected a leader cannot reach it: with the limit set it votes again soon instead of after initLimit."""
    settings = "leader.maxTimeToWaitForEpoch=300\nleaderConnectDelayDuringRetryMs=50\n"
    with Cluster([RK, RK, RK], tick=1000, init=30, settings=settings) as cluster:
        leader = cluster.members[-1]  # Of equal histories that of the highest number counts.
        others = cluster.members[:-1]
        cluster.settle()
        for member in cluster.members:
            member.stop()
        for member in others:
            member.misled = {leader.sid: unused_ports(1)[0]}
        for member in cluster.members:
            member.launch()
        wait_for("the elected leader gives up", lambda: said(leader, "looks for a leader again") > 1, 10)
        expect(said(others[0], "the leader cannot be connected to") > 0, "it was never dialled in vain")
        for member in others:
            member.stop()
            member.misled = {}
            member.launch()
        cluster.wait_serving()
        cluster.check_same()
        counted = int(float(leader.monitor()["zk_quit_leading_due_to_disloyal_voter"]))
        expect(counted > 1, f"counted {counted} times")


def masters(cluster):
    """Who every observer says it learns from; waits until nobody learns from the leader."""
    leader = cluster.leader()

    def learnt_from():
        told = {member: int(member.monitor().get("zk_observer_master_id", -1)) for member in cluster.awake() if member.observer}
        followers = [member.sid for member in cluster.followers()]
        return all(sid in followers for sid in told.values()) and told
    found = wait_for("observers learn from followers", learnt_from, 30)
    told = leader.monitor()
    expect(int(float(told["zk_learners"])) == len(cluster.followers()), f"the leader has {told['zk_learners']} learners")
    return found


def serves_as_well(cluster, observer, round_number):
    """All that an observer's clients may ask works through its master."""
    root = f"/masters/{observer.sid}-{round_number}"
    others = [member for member in cluster.awake() if member is not observer]
    with cluster.leader().connect() as client:
        client.ensure("/masters")
        client.ensure(root)
    # Both directions of a write, with sync in between, and watches.
    with observer.connect() as mine, others[0].connect() as theirs:
        mine.sync(root)
        mine.children(root, watch=True)
        theirs.create(f"{root}/theirs", b"1")
        mine.sync(root)
        expect(mine.get(f"{root}/theirs")[0] == b"1", "a sync was answered too early")
        mine.create(f"{root}/mine", b"2", flags=1)
        mine.pipeline([("set", f"{root}/theirs", b"%d" % number) for number in range(200)])
        theirs.sync(root)
        expect(theirs.get(f"{root}/theirs")[0] == b"199" and theirs.exists(f"{root}/mine").owner == mine.session, "writes through it")
        expect(mine.wait_events(1)[0] == (4, root), f"events {mine.events}")
    # A session that only the observer hears lives on; one it hears no more ends.
    kept, dropped = observer.connect(timeout_ms=2 * cluster.tick), observer.connect(timeout_ms=2 * cluster.tick)
    kept.create(f"{root}/kept", flags=1)
    dropped.create(f"{root}/dropped", flags=1)
    dropped.drop()
    ended = None
    until = time.monotonic() + 6 * cluster.tick / 1000
    while time.monotonic() < until or ended is None:
        kept.ping()
        ended = ended or (kept.exists(f"{root}/dropped") is None and time.monotonic())
        expect(time.monotonic() < until + 10, "the session of a client that is gone does not end")
        time.sleep(cluster.tick / 5000)
    expect(kept.exists(f"{root}/kept") is not None, "a session with a living client ended")
    # It moves away and back again.
    for member in [*others, observer]:
        kept.connect(member.address)
        kept.sync(root)
        expect(kept.exists(f"{root}/kept").owner == kept.session, f"the session at {member}")
        kept.set(f"{root}/kept", b"x")
    kept.close()
    with observer.connect() as client:
        client.sync(root)
        expect(client.exists(f"{root}/kept") is None and client.exists(f"{root}/mine") is None, "ephemerals of closed sessions")


def observer_masters(voters, observers):
    """Observers of every kind learn from followers of every kind, and go to another one when theirs ends."""
    # One port for all of them, so each needs an address of its own.
    expect(usable(), "network namespaces (root and `ip`) are needed")
    settings = "observerMasterPort=2191\nobserver.reconnectDelayMs=100\n"
    with Cluster(voters, observers, tick=500, settings=settings, hurtable=True) as cluster:
        learners = [member for member in cluster.members if member.observer]
        for observer in learners:
            serves_as_well(cluster, observer, 0)
        found = masters(cluster)
        served = {member: int(float(member.monitor()["zk_synced_observers"])) for member in cluster.followers()}
        due = {member: sum(sid == member.sid for sid in found.values()) for member in cluster.followers()}
        expect(served == due, f"observers learn from {found}, followers serve {served}")
        # The master of one of them ends, then the leader.
        cluster[found[learners[0]]].kill()
        cluster.settle(60)
        masters(cluster)
        serves_as_well(cluster, learners[0], 1)
        cluster.launch()
        cluster.settle(60)
        cluster.leader().kill()
        # Nobody who still believes in the old one is at the new epoch's first transaction.
        cluster.settle(60)
        serves_as_well(cluster, learners[-1], 2)
        cluster.launch()
        cluster.settle(60)
        # Far behind: what it lacks is in its master's journal, or is all there is.
        for observer, count in [(learners[0], 3000), (learners[-1], 50)]:
            observer.kill()
            with cluster.leader().connect() as client:
                client.load(f"/far{observer.sid}-{count}", count, batch=4)
            observer.launch()
            cluster.wait_serving([observer])
        learners[0].kill()
        learners[0].empty()
        learners[0].launch()
        cluster.wait_serving(seconds=60)
        cluster.settle(60)
        masters(cluster)
        cluster.check_same()


@scenario
def observers_of_each_kind_at_our_followers(apache):
    observer_masters([RK, RK, RK], [apache, RK])


@scenario
def our_observers_at_followers_of_apache(apache):
    observer_masters([apache, apache, apache], [RK, RK])


@scenario
def observers_and_masters_of_every_kind(apache):
    observer_masters([RK, apache, RK], [apache, RK, RK])


def oracle(member, yes):
    """What the oracle of a member says from now on; in one step, as whoever keeps it would do it."""
    path = member.directory / "oracle"
    path.with_suffix(".new").write_text("1\n" if yes else "0\n")
    path.with_suffix(".new").rename(path)


def one_of_two(kinds_of_both):
    """Of two voters each loses the other one, as leader and as follower, and goes on alone until it is back."""
    cluster = Cluster(kinds_of_both, tick=500)
    for member in cluster.members:
        member.settings = f"oraclePath={member.directory / 'oracle'}\n"
        oracle(member, False)
    with cluster:
        with cluster.leader().connect() as client:
            client.create("/oracle", b"0")
        for number, leads in enumerate([True, False, True, False]):
            # The leader or its follower dies; the oracle tells the other one to go on.
            leader = cluster.leader()
            follower = cluster.followers()[0]
            survivor, gone = (leader, follower) if leads else (follower, leader)
            if not leads:
                gone.kill()
                wait_for("without the oracle nobody serves", lambda: not survivor.status(), 30)
                time.sleep(1)
                expect(not survivor.status(), "the oracle said no")
                oracle(survivor, True)
            else:
                oracle(survivor, True)
                gone.kill()
            cluster.leader(among=[survivor])
            with survivor.connect() as client:
                client.pipeline([("set", "/oracle", b"%d" % number)] * 50)
                client.sync()
                expect(client.get("/oracle")[0] == b"%d" % number, "a write while it leads alone")
            # The other one is back, follows, and the two decide again.
            gone.launch()
            cluster.wait_serving(seconds=60)
            expect(cluster.leader() is survivor, "the one that was away leads")
            oracle(survivor, False)
            cluster.settle(60)
            with gone.connect() as client:
                client.sync()
                expect(client.get("/oracle")[0] == b"%d" % number, "the one that was away has the writes")
        cluster.check_same()


@scenario
def one_of_two_voters_goes_on_by_an_oracle(apache):
    one_of_two([RK, RK])
    one_of_two([RK, apache])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--apache", default="a39", help="a38 or a39")
    parser.add_argument("--only", action="append", help="a scenario, by name")
    options = parser.parse_args()
    apache = kinds(options.apache)[0]
    servers.exit_on_signal()
    limit_seconds(540)
    started = time.monotonic()
    chosen = [one for one in SCENARIOS if one.__name__ in options.only] if options.only else SCENARIOS
    if not chosen:
        sys.exit("no such scenario: " + ", ".join(one.__name__ for one in SCENARIOS))
    for one in chosen:
        begun = time.monotonic()
        one(apache)
        print(f"  {one.__name__}: {time.monotonic() - begun:.1f} s", flush=True)
    print(f"learners: with {apache}: {len(chosen)} scenarios passed, {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
