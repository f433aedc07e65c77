"""What an ensemble does about sessions beyond the ordinary: local sessions and their upgrade, read-only mode, a leader that serves
nobody. Each with its own configuration, so each on an ensemble of its own.

    tests/ensemble/sessions.py a38,a39,rk [--observers rk] [--leader rk] [--only NAME]

`--leader KIND` makes the scenarios of local sessions start under a leader of that kind. Ends with a line `sessions: ...`.
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

from kazoo.client import KazooClient, KazooState, KeeperState  # noqa: E402
from kazoo.exceptions import NotReadOnlyCallError  # noqa: E402

import wire  # noqa: E402
from basic import below, lost, refused_with  # noqa: E402
from client import Client, SessionLost  # noqa: E402
from cluster import Cluster, Failed, kinds, limit_seconds, wait_for  # noqa: E402
from member import expect  # noqa: E402

NOT_READ_ONLY, EPHEMERAL_ON_LOCAL_SESSION, SESSION_EXPIRED = -119, -120, -112
LOCAL = "localSessionsEnabled=true\n"
UPGRADING = LOCAL + "localSessionsUpgradingEnabled=true\n"
READ_ONLY_JVM = ["-Dreadonlymode.enabled=true"]
SCENARIOS = []
logging.getLogger("kazoo").setLevel(logging.CRITICAL)


def scenario(settings, jvm=()):
    """A scenario, and what every member's configuration says for it. It makes the ensemble itself if `settings` is None."""
    def keep(function):
        SCENARIOS.append((function, settings, jvm))
        return function
    return keep


def counts(member):
    """(local, global) sessions as `mntr` tells them."""
    told = member.monitor()
    return int(float(told["zk_local_sessions"])), int(float(told["zk_global_sessions"]))


# ---- local sessions


@scenario(UPGRADING)
def local_sessions_leave_no_trace(cluster):
    """No zxid for their beginning and end, known at one member only, and good for everything but ephemerals."""
    root = below(cluster, "traceless")
    zxid = cluster.settle()
    for member in cluster.members:
        before = counts(member)
        client = member.connect()
        expect(counts(member) == (before[0] + 1, before[1]), f"{member} counts {counts(member)}, before {before}")
        expect(client.session >> 56 & 0xff == member.sid, f"{member} gave session {client.session:#x}")
        for other in cluster.members:
            if other is not member:
                expect(lost(client, other), f"{other} takes up a local session of {member}")
        client.connect(member.address)
        expect(client.exists(root) is not None, "a read after the local session was renewed")
        client.close()
        expect(counts(member) == before, f"{member} counts {counts(member)} after the close, before {before}")
        expect(lost(client, member), f"{member} takes up a closed local session")
    moved = {member: member.status()[1] for member in cluster.members}
    expect(set(moved.values()) == {zxid}, f"zxids moved from {zxid:#x}: { {m: hex(z) for m, z in moved.items()} }")
    for member in cluster.members:
        client = member.connect()
        client.create(f"{root}/{member.sid}", b"x")
        client.create(f"{root}/{member.sid}/s-", flags=2)
        client.ask(wire.CREATE_CONTAINER, "container", wire.create(f"{root}/{member.sid}/c", flags=4))
        client.set(f"{root}/{member.sid}", b"y")
        result = client.multi((wire.CREATE, wire.create(f"{root}/{member.sid}/m")), (wire.DELETE, wire.path_version(f"{root}/{member.sid}/m", -1)))
        expect([entry[0] for entry in result] == ["create", "delete"], f"multi: {result}")
        client.get(f"{root}/{member.sid}", watch=True)
        with cluster.members[member.sid % len(cluster.members)].connect() as other:
            other.set(f"{root}/{member.sid}", b"z")
        expect(client.wait_events(1) == [(3, f"{root}/{member.sid}")], f"events {client.events}")
        expect(counts(member)[0] >= 1, f"{member} forgot its local session")
        client.close()
    for member in cluster.members:
        expect(counts(member) == (0, 0), f"at the end {member} counts {counts(member)}")


@scenario(UPGRADING)
def local_sessions_expire_where_they_live(cluster):
    short = 4 * cluster.tick
    pairs = [(member, member.connect(timeout_ms=short), member.connect(timeout_ms=short)) for member in cluster.members]
    for _, idle, _ in pairs:
        idle.drop()
    deadline = time.monotonic() + 3 * short / 1000
    while time.monotonic() < deadline:
        for _, _, kept in pairs:
            kept.ping()
        time.sleep(0.1)
    for member, idle, kept in pairs:
        expect(lost(idle, member), f"a local session of {idle.timeout_ms} ms is alive after three times as long at {member}")
        expect(not lost(kept, member), f"a local session that pings is lost at {member}")
        kept.connect(member.address)
        kept.close()


@scenario(UPGRADING)
def an_ephemeral_upgrades_its_session(cluster):
    root = below(cluster, "upgrade")
    for at, member in enumerate(cluster.members):
        before = counts(member)
        client = member.connect(timeout_ms=8 * cluster.tick)
        kind = at % 3
        if kind == 0:
            client.create(f"{root}/e{at}", flags=1)
        elif kind == 1:
            client.ask(wire.CREATE, f"{root}/e{at}", wire.create(f"{root}/e{at}", flags=1))
        else:
            result = client.multi((wire.CREATE, wire.create(f"{root}/p{at}")), (wire.CREATE, wire.create(f"{root}/e{at}", flags=1)))
            expect([entry[0] for entry in result] == ["create", "create"], f"multi: {result}")
        expect(counts(member) == (before[0], before[1] + 1), f"{member} counts {counts(member)}, before {before}")
        client.create(f"{root}/q{at}-", flags=3)
        for other in cluster.members:
            with other.connect() as reader:
                reader.sync(root)
                stat = reader.exists(f"{root}/e{at}")
                expect(stat is not None and stat.owner == client.session, f"{other} has {stat and stat.owner}")
        # Everybody's now: it moves, and takes the ephemeral along.
        for other in cluster.members[at + 1:] + cluster.members[:at + 1]:
            client.connect(other.address)
            client.set(f"{root}/e{at}", b"moved")
        if at % 2:
            client.close()
        else:
            client.drop()
            with member.connect() as reader:
                wait_for("the upgraded session expires", lambda: reader.exists(f"{root}/e{at}") is None, 30 * cluster.tick / 1000 + 5)
        cluster.settle()
        for other in cluster.members:
            with other.connect() as reader:
                left = [name for name in reader.children(root) if name.startswith(("e", "q"))]
                expect(left == [], f"{other} has {left} after the session's end")


@scenario(UPGRADING)
def pipelines_around_an_upgrade(cluster):
    """Requests before, with and behind the one that upgrades, and a close in the middle of it: all answered in order, nothing left."""
    root = below(cluster, "pipelines")
    for member in cluster.members:
        for round_number in range(10):
            client = member.connect()
            base = f"{root}/{member.sid}-{round_number}"
            requests = [(wire.CREATE, wire.create(base)), (wire.SYNC, wire.string(base)), (wire.CREATE2, wire.create(f"{base}/e", flags=1)),
                        (wire.CREATE, wire.create(f"{base}/f", flags=1)), (wire.GET_DATA, wire.path_watch(f"{base}/e")),
                        (wire.CLOSE_SESSION, b"")]
            client.link.sendall(b"".join(wire.frame(wire.header(xid, op) + body) for xid, (op, body) in enumerate(requests, 1)))
            if round_number % 2 == 0:
                for xid in range(1, len(requests) + 1):
                    expect(client._reply(xid)[1] == 0, f"request {xid} of the pipeline failed at {member}")
            client.drop()
            if round_number % 2 == 0:
                expect(lost(client, member), "a session closed in the middle of its upgrade is taken up")
            # And a session that closes locally behind its own writes.
            client = member.connect()
            requests = [(wire.CREATE, wire.create(f"{base}-l{number}")) for number in range(20)] + [(wire.CLOSE_SESSION, b"")]
            client.link.sendall(b"".join(wire.frame(wire.header(xid, op) + body) for xid, (op, body) in enumerate(requests, 1)))
            for xid in range(1, len(requests) + 1):
                expect(client._reply(xid)[1] == 0, f"request {xid} of the local pipeline failed at {member}")
            client.drop()
    for member in cluster.members:
        wait_for(f"{member} has no session left", lambda: counts(member) == (0, 0), 60)
        with member.connect() as reader:
            reader.sync(root)
            for name in reader.children(root):
                expect(reader.children(f"{root}/{name}") == [], f"{member}: an ephemeral is left below {name}")


@scenario(UPGRADING)
def clients_and_words_meet_local_sessions(cluster):
    root = below(cluster, "words")
    for member in cluster.members:
        kazoo = KazooClient(hosts=member.where, timeout=20)
        kazoo.start(20)
        local = f"0x{kazoo.client_id[0] & (1 << 64) - 1:x}"
        text = member.word("dump")
        head, _, rest = text.partition("Global Session")
        expect("Local Session Sets (" in head and local in head, f"{member} dumps {text}")
        with kazoo.Lock(f"{root}/lock-{member.sid}"):
            pass
        head, _, rest = member.word("dump").partition("Global Session")
        sessions, _, _ = rest.partition("ephemeral nodes dump")
        expect(local not in head and local in sessions, f"{member} dumps {head}{rest}")
        expect(rest.startswith(" Sets (" if member.mode == "leader" else "s("), f"{member} dumps {rest}")
        kazoo.create(f"{root}/{member.sid}", ephemeral=True)
        kazoo.stop()
        kazoo.close()
        with member.connect() as reader:
            reader.sync(root)
            expect(reader.exists(f"{root}/{member.sid}") is None, "kazoo's ephemeral is left")


@scenario(UPGRADING)
def upgraded_sessions_survive_the_leader_and_local_ones_do_not(cluster):
    root = below(cluster, "survive")
    leader = cluster.leader()
    survivor = next(member for member in cluster.voters if member is not leader)
    upgraded, local = survivor.connect(timeout_ms=20 * cluster.tick), survivor.connect(timeout_ms=20 * cluster.tick)
    upgraded.create(f"{root}/e", flags=1)
    leader.kill()
    cluster.leader(among=[member for member in cluster.awake() if not member.observer], seconds=60)
    cluster.wait_serving()
    upgraded.connect(survivor.address)
    expect(upgraded.exists(f"{root}/e").owner == upgraded.session, "the upgraded session's ephemeral")
    expect(lost(local, survivor), "a local session outlived the role of its server")
    leader.launch()
    wait_for(f"{leader} serves", leader.status, 40)
    leader.note_replay()
    upgraded.close()


@scenario(LOCAL)
def without_upgrading_ephemerals_are_refused(cluster):
    root = below(cluster, "refused")
    for member in cluster.members:
        client = member.connect()
        refused_with(EPHEMERAL_ON_LOCAL_SESSION, lambda: client.create(f"{root}/e", flags=1))
        refused_with(EPHEMERAL_ON_LOCAL_SESSION, lambda: client.ask(wire.CREATE, "e", wire.create(f"{root}/e", flags=3)))
        result = client.multi((wire.CREATE, wire.create(f"{root}/p")), (wire.CREATE, wire.create(f"{root}/e", flags=1)))
        codes = [entry[-1] for entry in result]
        # The reference's own learners show in a multi what their leader makes of it.
        due = {EPHEMERAL_ON_LOCAL_SESSION} if member.kind == "ringkeeper" else {EPHEMERAL_ON_LOCAL_SESSION, SESSION_EXPIRED}
        expect([entry[0] for entry in result] == ["error"] * 2 and codes[0] == 0 and codes[1] in due, f"multi at {member}: {result}")
        client.create(f"{root}/{member.sid}")
        expect(counts(member) == (1, 0), f"{member} counts {counts(member)}")
        client.close()
    for member in cluster.members:
        with member.connect() as reader:
            reader.sync(root)
            expect(sorted(reader.children(root)) == [str(one.sid) for one in cluster.members], f"{member}: {reader.children(root)}")


# ---- read-only mode


@scenario(UPGRADING, READ_ONLY_JVM)
def a_member_alone_serves_read_only(cluster):
    """Each member in turn is left alone, serves those who put up with it, and is a member like any other when the rest is back."""
    root = below(cluster, "alone")
    with cluster.leader().connect() as client:
        client.create(f"{root}/a", b"kept")
    for alone in cluster.members:
        cluster.settle()
        others = [member for member in cluster.members if member is not alone]
        ensembles = alone.connect(timeout_ms=40 * cluster.tick)
        ensembles.create(f"{root}/e{alone.sid}", flags=1)
        cluster.settle()
        expect(alone.word("isro") == "rw", f"{alone} says isro {alone.word('isro')}")
        rw_kazoo = KazooClient(hosts=alone.where, timeout=20, read_only=True)
        rw_kazoo.start(20)
        expect(rw_kazoo.client_state == KeeperState.CONNECTED, f"kazoo is {rw_kazoo.client_state}")
        for member in others:
            member.kill()
        began = time.monotonic()
        wait_for("it serves read-only", lambda: alone.word("isro") == "ro", 60)
        expect(time.monotonic() - began > 1.9, "it did not wait for a leader first")
        read_only_words(alone)
        zxid = alone.status()[1]
        # Sessions of its own, for those who ask for it.
        reader = alone.connect(read_only=True)
        expect(reader.served_read_only and reader.session >> 56 & 0xff == alone.sid, f"session {reader.session:#x}")
        expect(reader.get(f"{root}/a", watch=True)[0] == b"kept", "what it has")
        expect(reader.exists(f"{root}/e{alone.sid}").owner == ensembles.session, "an ephemeral of the ensemble's")
        reader.ping()
        for refused in (lambda: reader.create(f"{root}/no"), lambda: reader.create(f"{root}/no", flags=1), lambda: reader.set(f"{root}/a", b"no"),
                        lambda: reader.delete(f"{root}/a"), lambda: reader.sync(root),
                        lambda: reader.multi((wire.CREATE, wire.create(f"{root}/no")))):
            refused_with(NOT_READ_ONLY, refused)
        reader.connect(alone.address)
        expect(reader.served_read_only and reader.exists(f"{root}/a") is not None, "its own session is renewed")
        reader.close()
        expect(lost(reader, alone, read_only=True), "a closed session is taken up")
        # Not for others, and not for sessions of the ensemble.
        for client in (Client(None, connect=False), Client(None, connect=False, read_only=True)):
            if client.read_only:
                client.session, client.password = ensembles.session, ensembles.password
            try:
                client.connect(alone.address, retry=False)
                raise Failed(f"{alone} lets {'a session of the ensemble' if client.read_only else 'anybody'} in")
            except ConnectionError:
                pass
            except SessionLost:
                raise Failed(f"{alone} says of a session of the ensemble that it is over") from None
        expect(alone.status()[1] == zxid, f"sessions moved the zxid from {zxid:#x} to {alone.status()[1]:#x}")
        kazoo = KazooClient(hosts=alone.where, timeout=20, read_only=True)
        states = []
        kazoo.add_listener(states.append)
        kazoo.start(20)
        expect(kazoo.client_state == KeeperState.CONNECTED_RO, f"kazoo is {kazoo.client_state}")
        expect(kazoo.get(f"{root}/a")[0] == b"kept", "kazoo reads")
        try:
            kazoo.create(f"{root}/no")
            raise Failed("kazoo writes")
        except NotReadOnlyCallError:
            pass
        held = alone.connect(read_only=True, timeout_ms=40 * cluster.tick)
        # The rest is back: its clients are sent away and find a server with a leader.
        for member in others:
            member.launch()
        wait_for("a leader is found", lambda: alone.word("isro") == "rw", 60)
        expect(ends(held), f"{alone} keeps a read-only connection")
        cluster.settle(60)
        kazoo.set_hosts(cluster.hosts)
        wait_for("kazoo may write again", lambda: kazoo.client_state == KeeperState.CONNECTED and kazoo.state == KazooState.CONNECTED, 30)
        kazoo.retry(kazoo.set, f"{root}/a", b"kept")
        kazoo.stop()
        kazoo.close()
        rw_kazoo.stop()
        rw_kazoo.close()
        ensembles.connect(alone.address)
        expect(ensembles.exists(f"{root}/e{alone.sid}").owner == ensembles.session, "the ensemble's session came through")
        ensembles.close()


def ends(client):
    """Whether the server closes the connection."""
    client.link.settimeout(5)
    try:
        while client.link.recv(65536):
            pass
    except ConnectionResetError:
        pass
    except socket.timeout:
        return False
    return True


def read_only_words(member):
    said = member.word("srvr")
    expect(said.split("\n")[1] == "READ-ONLY mode; serving only read-only clients" and "Mode: read-only\n" in said, f"srvr: {said}")
    expect("READ-ONLY mode" in member.word("stat"), f"stat: {member.word('stat')}")
    told = member.monitor()
    expect(told["zk_server_state"] == "read-only" and "zk_peer_state" not in told and "zk_quorum_size" not in told, f"mntr: {told}")
    expect("membership" not in member.word("conf") and "peerType=" in member.word("conf"), f"conf: {member.word('conf')}")
    dumped = member.word("dump")
    expect(dumped.startswith("SessionTracker dump:\nLocal Session Sets (") and "Global Sessions(" in dumped, f"dump: {dumped}")


@scenario(None)
def read_only_after_a_restart(kinds_of, observers):
    """A member that has never seen a leader since its start serves what its log holds."""
    with Cluster(kinds_of, observers, tick=500, settings=LOCAL, jvm=READ_ONLY_JVM) as cluster:
        root = below(cluster, "restart")
        with cluster.leader().connect() as client:
            client.pipeline([("create", f"{root}/{number}", b"x") for number in range(50)])
        zxid = cluster.settle()
        for member in cluster.members:
            member.stop()
        for alone in cluster.members:
            alone.launch()
            wait_for("it serves read-only", lambda: alone.word("isro") == "ro", 60)
            expect(alone.status() == ("read-only", zxid), f"{alone} says {alone.status()}, it stopped at {zxid:#x}")
            with alone.connect(read_only=True) as reader:
                expect(reader.served_read_only and len(reader.children(root)) == 50, "what was acknowledged")
            alone.stop()
        cluster.launch()
        return cluster.check_same()


@scenario(None)
def read_only_needs_both_settings(kinds_of, observers):
    """Without the property nobody is served; without local sessions no session can be opened. (ringkeeper alone is judged: the
    reference answers such a handshake with a bare reply header.)"""
    for settings, jvm in ((LOCAL, ()), ("", READ_ONLY_JVM)):
        with Cluster(kinds_of, observers, tick=500, settings=settings, jvm=jvm) as cluster:
            alone = next((member for member in cluster.members if member.kind == "ringkeeper"), None)
            if alone is None:
                return None
            for member in cluster.members:
                if member is not alone:
                    member.kill()
            if jvm:
                wait_for("it serves read-only", lambda: alone.word("isro") == "ro", 60)
            else:
                wait_for("it serves nobody", lambda: alone.status() is None, 30)
                time.sleep(3)
                expect(alone.word("isro") == "null" and "not currently serving" in alone.word("srvr"), f"{alone.word('isro')}")
            for read_only in (False, True):
                try:
                    Client(None, connect=False, read_only=read_only).connect(alone.address, retry=False)
                    raise Failed(f"{alone} opens a session")
                except ConnectionError:
                    pass


# ---- a leader that serves nobody


@scenario(None)
def a_leader_may_serve_nobody(kinds_of, observers):
    """leaderServes=no: the leader orders what its learners' clients ask, and takes no client itself."""
    cluster = Cluster(kinds_of, observers, tick=500, settings="leaderServes=no\n")
    try:
        cluster.launch()

        def leader(missing=()):
            here = [member for member in cluster.members if member not in missing]
            silent = [member for member in here if member.status() is None]
            return silent[0] if len(silent) == 1 else None

        first = wait_for("all but one serve", leader, 60)
        for step in range(2):
            missing = [] if step == 0 else [first]
            now = wait_for("all but one serve", lambda: leader(missing), 60)
            expect(now is not first or step == 0, "another one leads")
            expect("not currently serving requests" in now.word("srvr") and now.word("isro") == "null", f"{now}: {now.word('srvr')}")
            try:
                now.connect(patience=5, connect=False).connect(now.address, retry=False)
                raise Failed(f"{now} leads, and lets a client in")
            except ConnectionError:
                pass
            serving = [member for member in cluster.members if member is not now and member not in missing]
            for member in serving:
                expect(member.mode in ("follower", "observer"), f"{member} is {member.mode}")
                with member.connect() as client:
                    client.create(f"/{step}-{member.sid}", b"x")
                    client.create(f"/{step}-{member.sid}/e", flags=1)
                    client.sync("/")
            with serving[-1].connect() as client:
                client.sync("/")
                expect(len([name for name in client.children("/") if name.startswith(f"{step}-")]) == len(serving), "writes of all")
            if step == 0:
                now.kill()
        first.launch()
        wait_for("all but one serve", leader, 60)
    except Failed:
        cluster.report()
        raise
    finally:
        cluster.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("voters", type=kinds, help="such as a38,a39,rk")
    parser.add_argument("--observers", type=kinds, default=[])
    parser.add_argument("--leader", help="the kind that must lead when a scenario of local sessions begins")
    parser.add_argument("--tick", type=int, default=500)
    parser.add_argument("--only", action="append", help="a scenario, by name")
    options = parser.parse_args()
    lead = options.leader and kinds(options.leader)[0]
    servers.exit_on_signal()
    limit_seconds(540)
    started = time.monotonic()
    chosen = [one for one in SCENARIOS if not options.only or one[0].__name__ in options.only]
    if not chosen:
        sys.exit("no such scenario: " + ", ".join(one[0].__name__ for one in SCENARIOS))
    shared = None
    for function, settings, jvm in chosen:
        begun = time.monotonic()
        if settings is None:
            if shared:
                close(shared)
                shared = None
            function(options.voters, options.observers)
        else:
            if shared and shared[0] != (settings, tuple(jvm)):
                close(shared)
                shared = None
            if not shared:
                cluster = Cluster(options.voters, options.observers, tick=options.tick, settings="snapCount=1000\n" + settings, jvm=jvm)
                shared = (settings, tuple(jvm)), cluster.__enter__()
            cluster = shared[1]
            try:
                if lead and not jvm:
                    cluster.lead(lead)
                function(cluster)
            except Exception:
                cluster.report()
                raise
        print(f"  {function.__name__}: {time.monotonic() - begun:.1f} s", flush=True)
    if shared:
        close(shared)
    names = "+".join(options.voters) + (f", observers {'+'.join(options.observers)}" if options.observers else "")
    print(f"sessions: {names}{', ' + lead + ' leading' if lead else ''}: {len(chosen)} scenarios passed, {time.monotonic() - started:.0f} s")


def close(shared):
    """The members are the same at the end of what they went through, and go."""
    shared[1].check_same()
    shared[1].close()


if __name__ == "__main__":
    main()
