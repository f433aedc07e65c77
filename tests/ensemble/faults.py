"""Random faults from a seed over a real ensemble under load, and the judgement on what its clients saw.

    tests/ensemble/faults.py rk,rk,rk [--observers rk] [--seconds 60] [--seed 1] [--faults kill,pause,...] [--local]

Faults: kill -9, stop, pause (SIGSTOP), stutter, cuts of the network in one or both directions between members or towards the clients,
a full disk, a slow disk, a lost one, everybody killed at once, a wall clock that jumps (by seconds or years, either way), a machine
that was just booted or has been up for years. The clients are of two kinds, kazoo (workers.py) and the Rust crate `zookeeper-client`
(recorder.py). After each fault all is mended and the ensemble must acknowledge writes again within a bound. At the end every
acknowledged write is readable, the history is in order (history.py), ephemerals are exactly those of living sessions, and all members
agree. Much of this needs root: what this machine does not allow is said in the verdict. Ends with a line `faults: ...`.
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

import network  # noqa: E402
import workers as load  # noqa: E402
from cluster import Cluster, Failed, kinds, limit_seconds, wait_for  # noqa: E402
from disk import mount_small  # noqa: E402
from history import History  # noqa: E402
from recorder import Recorder  # noqa: E402

RECOVERY_SECONDS = 45.0
# An Apache server syncs what a new leader has sent it, then its new epoch; killed in between it will not start again (ZOOKEEPER-2354).
# Its operator takes its files away while all the others serve, and so do we.
APACHE_REFUSES_ITS_EPOCH = "is older than the last zxid"
# Many snapshots, and only the last ones kept: each start purges.
SETTINGS = "snapCount=2000\nautopurge.purgeInterval=1\nautopurge.snapRetainCount=3\n"


class Nemesis:
    """Does harm, mends it, and waits until the ensemble has recovered."""

    def __init__(self, cluster, history, dice, allowed):
        self.cluster, self.history, self.dice = cluster, history, dice
        self.detection = cluster.sync * cluster.tick / 1000
        every = {"kill": self.kill, "leader": self.kill_leader, "stop": self.stop, "pause": self.pause, "empty": self.lose_disk,
                 "all": self.kill_all, "flap": self.flap, "stutter": self.stutter}
        if cluster.network:
            every |= {"isolate": self.isolate, "oneway": self.one_way, "pair": self.pair, "clients": self.cut_clients}
        if cluster[1].data.is_mount():
            every["disk"] = self.fill_disk
        self.slowable = [member for member in cluster.members if cluster.disks.can_slow_down(member.sid, member.data)]
        if self.slowable:
            every["slow"] = self.slow_disk
        if cluster.clocks.wall:
            every["clock"] = self.move_clock
        if cluster.clocks.monotonic:
            every["boot"] = self.boot
        # What this machine does not allow.
        self.missing = sorted({"isolate", "oneway", "pair", "clients", "disk", "slow", "clock", "boot"} - set(every))
        unknown = set(allowed or ()) - set(every)
        if unknown:
            raise SystemExit(f"cannot do {', '.join(sorted(unknown))} here; what can be done: {', '.join(every)}")
        self.faults = {name: fault for name, fault in every.items() if not allowed or name in allowed}
        self.counts = dict.fromkeys(self.faults, 0)
        self.slowest, self.restarted, self.replayed, self.refused = 0.0, set(), 0, 0

    def run(self, seconds):
        deadline = time.monotonic() + seconds
        order = list(self.faults)
        self.dice.shuffle(order)
        done = 0
        while time.monotonic() < deadline:
            # Every fault once, then as the dice fall.
            name = order[done] if done < len(order) else self.dice.choice(order)
            begun, told = time.monotonic(), "under way"
            try:
                told = self.faults[name]()
                self.mend()
                recovered = self.recover(time.monotonic())
            except Failed as reason:
                raise Failed(f"{name} {told}: {reason}") from None
            self.counts[name] += 1
            done += 1
            self.slowest = max(self.slowest, recovered)
            self.cluster.check_mismatches(at_rest=False)
            counted = [f"{member} counted {member.replay_mismatches} digest mismatches in its replay"
                       for member in self.cluster.members if member.replay_mismatches]
            print(f"  {name} {told}: {time.monotonic() - begun - recovered:.1f} s, writes again {recovered:.1f} s after mending"
                  + "".join(f"; {text}" for text in counted), flush=True)
            time.sleep(self.dice.uniform(0.2, 1.5))

    def mend(self):
        if self.cluster.network:
            self.cluster.network.heal()
        self.cluster.disks.heal()
        filler = self.cluster[1].data / "filler"
        filler.unlink(missing_ok=True)
        for member in self.cluster.members:
            if member.paused and member.running:
                member.resume()
            if not member.running:
                member.launch()
                self.restarted.add(member)

    def recover(self, since):
        """Until every member serves and a write that began now was acknowledged."""
        try:
            wait_for(f"{self.cluster.members} serve", self.all_serve, RECOVERY_SECONDS)
            for member in self.restarted:
                member.note_replay()
                self.replayed += member.replay_mismatches
            self.restarted.clear()
            now = time.monotonic()
            wait_for("an acknowledged write", lambda: self.history.last_acknowledged > now, RECOVERY_SECONDS)
        except Failed as reason:
            raise Failed(f"no recovery: {reason}") from None
        return time.monotonic() - since

    def all_serve(self):
        members = self.cluster.members
        serving = [member for member in members if member.status()]
        for member in members:
            if member.running:
                continue
            if member.kind == "ringkeeper" or APACHE_REFUSES_ITS_EPOCH not in member.words:
                raise Failed(f"{member} ended by itself: {member.last_words}")
            if len(serving) == len(members) - 1:
                member.empty()
                member.launch()
                self.restarted.add(member)
                self.refused += 1
        return len(serving) == len(members)

    def some(self):
        return self.dice.choice(self.cluster.members)

    def victim(self):
        """The leader half of the time."""
        return self.current_leader() if self.dice.random() < 0.5 else self.some()

    def current_leader(self):
        return self.cluster.leader(RECOVERY_SECONDS)

    def last(self, low=0.2, high=None):
        high = high or 1.6 * self.detection
        time.sleep(self.dice.uniform(low, high))

    def kill(self):
        victim = self.some()
        victim.kill()
        self.last(0, 2)
        return victim

    def kill_leader(self):
        victim = self.current_leader()
        victim.kill()
        self.last(0, 2)
        return victim

    def stop(self):
        victim = self.victim()
        victim.stop()
        self.last(0, 2)
        return victim

    def pause(self):
        victim = self.victim()
        victim.pause()
        self.last()
        return victim

    def flap(self):
        """One member dies again while it comes back."""
        victim = self.victim()
        for _ in range(3):
            victim.kill()
            victim.launch()
            self.restarted.add(victim)
            self.last(0.1, 1.5)
        return victim

    def stutter(self):
        """A member that gets a processor only now and then, never away long enough to be given up."""
        victim = self.victim()
        deadline = time.monotonic() + self.dice.uniform(1, 4)
        while time.monotonic() < deadline:
            victim.pause()
            time.sleep(self.dice.uniform(0.05, 0.3) * self.detection / 2)
            victim.resume()
            time.sleep(self.dice.uniform(0.01, 0.1))
        return victim

    def lose_disk(self):
        """A follower or observer comes back with nothing; only while all the others are there."""
        victim = self.dice.choice([member for member in self.cluster.members if member is not self.current_leader()])
        victim.kill()
        victim.empty()
        return victim

    def kill_all(self):
        for member in self.dice.sample(self.cluster.members, len(self.cluster.members)):
            member.kill()
        return "everybody"

    def isolate(self):
        victim = self.victim()
        for other in self.cluster.members:
            if other is not victim:
                self.cluster.network.separate(victim.sid, other.sid)
        self.last()
        return victim

    def one_way(self):
        """The victim hears and is not heard, or the other way round."""
        victim, deaf = self.victim(), self.dice.random() < 0.5
        for other in self.cluster.members:
            if other is not victim:
                self.cluster.network.cut(*((other.sid, victim.sid) if deaf else (victim.sid, other.sid)))
        self.last()
        return f"{victim} {'hears nothing' if deaf else 'is not heard'}"

    def pair(self):
        one, other = self.dice.sample(self.cluster.members, 2)
        if self.dice.random() < 0.5:
            self.cluster.network.separate(one.sid, other.sid)
        else:
            self.cluster.network.cut(one.sid, other.sid)
        self.last()
        return f"{one} and {other}"

    def cut_clients(self):
        victim = self.victim()
        self.cluster.network.separate(victim.sid, network.CLIENTS)
        self.last()
        return victim

    def fill_disk(self):
        """Member 1 writes to a small disk of its own: now it is full. It may go on, stop serving or end; never lie."""
        filler = self.cluster[1].data / "filler"
        with open(filler, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(1 << 20))
            except OSError:
                pass
            try:
                while True:
                    file.write(bytes(512))
            except OSError:
                pass
        self.last(2, 6)
        victim = self.cluster[1]
        told = f"{victim}, {'still up' if victim.running else 'ended'}"
        # Whatever it did, an operator makes room and starts it again.
        filler.unlink()
        victim.kill()
        return told

    def slow_disk(self):
        """A disk that takes a handful of writes per second: the leader's half of the time; now and then two, which leaves no quick quorum."""
        victims = self.dice.sample(self.slowable, len(self.slowable))
        if self.dice.random() < 0.5:
            leader = self.current_leader()
            victims.sort(key=lambda member: member is not leader)
        victims = victims[:self.dice.choice((1, 1, 2))]
        writes_per_second = self.dice.choice((2, 6, 20, 60))
        for victim in victims:
            self.cluster.disks.slow_down(victim.sid, victim.data, writes_per_second)
        self.last(1, 2.5 * self.detection)
        return f"{', '.join(map(repr, victims))}: {writes_per_second} writes a second"

    def move_clock(self):
        """The wall clock of one server jumps; half of the time it jumps back, else it stays there."""
        victim = self.victim()
        seconds = self.dice.choice((-1, 1)) * 10 ** self.dice.uniform(-0.5, 8.5)
        self.cluster.clocks.move_wall(victim.sid, seconds)
        self.last(0.2, 2)
        back = self.dice.random() < 0.5
        if back:
            self.cluster.clocks.move_wall(victim.sid, 0)
        return f"{victim} by {seconds:+.1f} s{' and back' if back else ''}"

    def boot(self):
        """A server comes back on a machine whose monotonic clock has just begun, or has run for a long time."""
        victim, age = self.victim(), self.dice.choice((0.0, 10 ** self.dice.uniform(0, 8.5)))
        victim.kill()
        self.cluster.clocks.boot(victim.sid, age)
        self.last(0, 1)
        return f"{victim}, {age:.0f} s after its machine"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("voters", type=kinds)
    parser.add_argument("--observers", type=kinds, default=[])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--tick", type=int, default=400)
    parser.add_argument("--clients", type=int, default=6, help="kazoo clients")
    parser.add_argument("--crate-clients", type=int, default=4, help="clients of the Rust crate zookeeper-client; 0 for none")
    parser.add_argument("--local", action="store_true", help="sessions begin as local ones and are upgraded")
    parser.add_argument("--faults", type=lambda text: text.split(","))
    options = parser.parse_args()
    servers.exit_on_signal()
    limit_seconds(int(options.seconds * 1.2) + 300)
    started = time.monotonic()
    names = "+".join(options.voters) + (f", observers {'+'.join(options.observers)}" if options.observers else "")
    print(f"faults: {names}, seed {options.seed}, {options.seconds:.0f} s", flush=True)
    settings = SETTINGS + ("localSessionsEnabled=true\nlocalSessionsUpgradingEnabled=true\n" if options.local else "")
    cluster = Cluster(options.voters, options.observers, tick=options.tick, settings=settings, hurtable=True,
                      prealloc=64)
    mount_small(cluster[1].data)
    history = History()
    everybody = [load.Worker(number, cluster.hosts, history, options.seed, timeout=18 * options.tick / 1000)
                 for number in range(options.clients)]
    if options.crate_clients:
        everybody.append(Recorder(cluster.hosts, options.crate_clients, history, options.seed, timeout=18 * options.tick / 1000))
    try:
        with cluster:
            with cluster.leader().connect() as client:
                load.prepare(client)
            nemesis = Nemesis(cluster, history, random.Random(options.seed), options.faults)
            for worker in everybody:
                worker.begin()
            nemesis.run(options.seconds)
            strict = all(member.kind == "ringkeeper" for member in cluster.members)
            told = load.judge(cluster, everybody, history, strict)
    finally:
        cluster.close()
    faults = ", ".join(f"{count} {name}" for name, count in sorted(nemesis.counts.items()))
    print(f"faults: {names}: seed {options.seed}: {faults}; {told}; slowest recovery {nemesis.slowest:.1f} s, "
          f"{f'{nemesis.replayed} digest mismatches in replays of Apache servers, ' if nemesis.replayed else ''}"
          f"{f'{nemesis.refused} Apache servers that refused their epoch emptied, ' if nemesis.refused else ''}"
          f"{f'NOT POSSIBLE HERE: {nemesis.missing}, ' if nemesis.missing else ''}{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
