"""The judge must be able to condemn: a sound history passes, and each way of spoiling it is found. No server needed.

    python3 tests/ensemble/judge_test.py
"""

from history import Gone, History, Made, Read, Violation, Write

R = "/load/registers/0"
NAME = "/load/sequence/n-%010d"


def sound():
    """Two sessions, one register, an unsure write that happened, a sequence, an ephemeral."""
    history = History()
    for write in (
        Write(R, b"1:1", "ok", 1, 2, 0.0, 0.1, 10, 1),
        Write(R, b"2:1", "ok", 2, 1, 0.2, 0.3, 11, 2),
        Write(R, b"1:2", "info", 1, 3, 0.4, 0.9, 0, 0),
        Write(R, b"2:2", "fail", 2, 3, 0.5, 0.6, 0, 0),
        Write(R, b"2:3", "ok", 2, 4, 1.0, 1.1, 14, 4),
    ):
        history.add(history.writes, write)
    for read in (
        Read(R, b"", 1, 1, -0.2, -0.1, 5, 0, None),
        Read(R, b"2:1", 2, 2, 0.35, 0.36, 11, 2, None),
        Read(R, b"1:2", 1, 4, 0.95, 0.96, 12, 3, None),
        Read(R, b"2:3", 1, 5, 1.3, 1.4, 14, 4, 1.2),
        Read(R, b"1:2", 3, 1, 1.3, 1.4, 12, 3, None),
    ):
        history.add(history.reads, read)
    history.add(history.sequence, Made(NAME % 0, "ok", 1, 6, 2.0, 2.1, 20))
    history.add(history.sequence, Made(NAME % 1, "ok", 2, 5, 2.2, 2.3, 21))
    history.add(history.ephemerals, Made("/load/ephemerals/a", "ok", 1, 7, 3.0, 3.1, 30))
    final = {R: (b"2:3", 4, 14)}
    names = {NAME % 0: 20, NAME % 1: 21}
    return history, final, names


def judged(spoil=lambda history, final, names: None, strict=True):
    history, final, names = sound()
    spoil(history, final, names)
    return history.judge(final, names, strict)


def change(entries, at, **fields):
    entries[at] = entries[at]._replace(**fields)


SPOILT = {
    "a lost write": lambda h, f, n: f.update({R: (b"1:2", 3, 12)}),
    "an acknowledged write that never was": lambda h, f, n: change(h.writes, 4, version=9),
    "a zxid twice": lambda h, f, n: change(h.writes, 1, zxid=10),
    "a later write with a smaller zxid": lambda h, f, n: change(h.writes, 4, zxid=9),
    "a version twice": lambda h, f, n: change(h.writes, 4, version=2),
    "a value nobody wrote": lambda h, f, n: change(h.reads, 2, value=b"9:9"),
    "a failed write that is read": lambda h, f, n: change(h.reads, 2, value=b"2:2"),
    "another value under a known version": lambda h, f, n: change(h.reads, 1, value=b"1:2"),
    "an unsure write read at two zxids": lambda h, f, n: change(h.reads, 4, zxid=13),
    "an unsure write out of order": lambda h, f, n: (change(h.reads, 2, zxid=15), change(h.reads, 4, zxid=15)),
    "a read older than its session knew": lambda h, f, n: change(h.reads, 4, session=2, number=5),
    "a read older than one before it in a pipeline": lambda h, f, n: change(h.reads, 4, session=1, number=6, began=1.3, ended=1.4),
    "a write that overtook one of its session": lambda h, f, n: change(h.writes, 4, number=1),
    "an ephemeral that overtook a write of its session": lambda h, f, n: change(h.ephemerals, 0, session=2, number=3),
    "an ephemeral with the zxid of a write": lambda h, f, n: change(h.ephemerals, 0, zxid=14),
    "a sync that misses": lambda h, f, n: change(h.reads, 4, synced=1.2),
    "more writes than were sent": lambda h, f, n: f.update({R: (b"1:2", 9, 19)}),
    "a sequence node lost": lambda h, f, n: n.pop(NAME % 0),
    "a sequence number against its zxid": lambda h, f, n: (change(h.sequence, 0, zxid=22), n.update({NAME % 0: 22})),
    "a sequence node deleted and there": lambda h, f, n: h.gone.append(Gone(NAME % 0, "ok", 1, 8, 4.0, 4.1)),
    "a sequence node nobody made": lambda h, f, n: n.update({NAME % 2: 40}),
}

EPHEMERALS = {
    "of a dead session": ({"/load/ephemerals/a": 1}, {2}),
    "lost": ({}, {1}),
    "with another owner": ({"/load/ephemerals/a": 2}, {1, 2}),
    "that nobody made": ({"/load/ephemerals/a": 1, "/load/ephemerals/b": 1}, {1}),
}


def condemned(call):
    try:
        call()
    except Violation:
        return True
    return False


def main():
    assert judged() == 0
    found = 0
    for name, spoil in SPOILT.items():
        assert condemned(lambda: judged(spoil)), f"not found: {name}"
        found += 1
    assert judged(SPOILT["a sync that misses"], strict=False) == 1
    sound()[0].check_ephemerals({"/load/ephemerals/a": 1}, {1})
    sound()[0].check_ephemerals({}, {2})
    # Deleted for sure, or perhaps.
    history, final, names = sound()
    for outcome in ("ok", "info"):
        history.gone = [Gone(path, outcome, 1, 8, 4.0, 4.1) for path in (NAME % 0, "/load/ephemerals/a")]
        history.judge(final, {NAME % 1: 21}, True)
        history.check_ephemerals({}, {1})
    history.judge(final, names, True)
    assert condemned(lambda: judged(lambda h, f, n: (h.gone.append(Gone(NAME % 0, "fail", 1, 8, 4.0, 4.1)), n.pop(NAME % 0))))
    for name, (nodes, live) in EPHEMERALS.items():
        assert condemned(lambda: sound()[0].check_ephemerals(nodes, live)), f"not found: an ephemeral {name}"
        found += 1
    print(f"judge_test: {found} spoilt histories found out, all passed")


if __name__ == "__main__":
    main()
