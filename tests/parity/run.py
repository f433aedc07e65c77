#!/usr/bin/env python3
"""Differential test: the same bytes to a reference ZooKeeper and to the candidate, every answer compared.

    tests/parity/run.py                                       ringkeeper against Apache 3.9, everything
    tests/parity/run.py --reference apache39 --candidate apache38
    tests/parity/run.py --cases 'multi*' --sequences 0        some cases only
    tests/parity/run.py --groups main --sequences 0 -v        one server configuration only, showing every answer
    tests/parity/run.py --cases none --seed 7 --sequences 1   replay of one random sequence

Deliberate differences are listed in differences.md (and, where Apache 3.8 takes part, differences-3.8.md); everything else is a
finding. Ends with one line for machines and exit code 1 when there is an undeclared difference:

    parity: <cases> cases, <sequences> sequences, undeclared differences: N
"""

import argparse
import difflib
import fnmatch
import random
import re
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib")]

import cases  # noqa: E402,F401  registers every case
import sequences  # noqa: E402
import servers  # noqa: E402
from differences import Declared  # noqa: E402
from harness import CASES, GROUPS, TIMED  # noqa: E402
from stage import Stage  # noqa: E402


ZXID = re.compile(r"\+\d+|\bold\b")


ABSENT = "(absent)"
EVENT_ZXID = re.compile(r"(EVENT \w+ [^;]*) (\+\d+|-1|old)(?=;|$)")


class Side:
    """One of the two targets: its current server and the thread that talks to it."""

    def __init__(self, target):
        self.target = target
        self.server = None
        self.thread = ThreadPoolExecutor(1)

    def launch(self, group):
        self.server = servers.Server(self.target, GROUPS[group].config, GROUPS[group].jvm, name=group)

    def play(self, case, number):
        """The notes of one case; a crash of the case or of the server is a note as well."""
        if self.server.process.poll() is not None:
            self.server.launch()
            self.server.wait_until_serving()
        root = "/" if case.group == "fresh" else f"/c{number}"
        stage = Stage(self.server, root)
        try:
            stage.open()
            case.play(stage)
            stage.finish()
        except Exception:
            stage.recording = True
            stage.note("the case itself", traceback.format_exc(limit=-3))
            for link in stage.links:
                link.drop()
        if self.server.process.poll() is not None:
            stage.note("the server", f"died with {self.server.process.returncode}")
        return stage.notes


def compare(case_id, left, right):
    """Mismatches of two lists of notes as (case, step, reference's answer, candidate's answer).

    Once one side has taken a zxid more, all later zxids of the case differ: only the first such mismatch is reported.
    """
    found, drifted = [], False
    for step, a, b in aligned(left, right):
        if step.endswith("closeSession"):
            # The ephemerals of a session go at one zxid, in the order of a hash set on one side and of their paths on the other.
            a, b = ("; ".join(sorted(answer.split("; "))) for answer in (a, b))
        if a != b:
            only_zxids = ZXID.sub("+#", a) == ZXID.sub("+#", b)
            if not (only_zxids and drifted):
                found.append((case_id, step, a, b))
            drifted = drifted or only_zxids
    return found


def aligned(left, right):
    """(step, answer, answer) triples; a step that only one side has is answered by ABSENT on the other."""
    steps, others = [step for step, _ in left], [step for step, _ in right]
    if steps == others:
        return [(step, a, b) for (step, a), (_, b) in zip(left, right)]
    triples = []
    for tag, i, i_end, j, j_end in difflib.SequenceMatcher(None, steps, others, autojunk=False).get_opcodes():
        if tag == "equal":
            triples += [(step, a, b) for (step, a), (_, b) in zip(left[i:i_end], right[j:j_end])]
        else:
            triples += [(step, a, ABSENT) for step, a in left[i:i_end]] + [(step, ABSENT, b) for step, b in right[j:j_end]]
    return triples


def start(side):
    """Waits for the server of a side; the reason when it did not come."""
    try:
        side.server.wait_until_serving()
    except RuntimeError as reason:
        return str(reason)
    return ""


def without_event_zxids(notes):
    """Apache 3.8 puts -1 where 3.9 puts the zxid into the header of a notification."""
    return [(step, EVENT_ZXID.sub(r"\1", answer)) for step, answer in notes]


def run_group(group, chosen, sides, verbose):
    """Plays the chosen cases of a group on both sides; returns the mismatches."""
    found = []
    for side in sides:
        side.launch(group)
    try:
        started = [start(side) for side in sides]
        if any(started):
            return [(f"group-{group}", "start", *(text or "serves" for text in started))]
        tasks = [[side.thread.submit(side.play, case, number) for number, case in chosen] for side in sides]
        for (_, case), left, right in zip(chosen, *tasks):
            left, right = left.result(), right.result()
            if servers_are_38(sides):
                left, right = without_event_zxids(left), without_event_zxids(right)
            mismatches = compare(case.id, left, right)
            found += mismatches
            broken = any(step in ("the case itself", "the server") for step, _ in left + right)
            if broken and not mismatches:
                found.append((case.id, "the case itself", left[-1][1], right[-1][1]))
            if verbose:
                print(f"--- {group}: {case.name} [{' '.join(case.rows)}]")
                for step, answer in left:
                    print(f"    {step:<50} {answer}")
    finally:
        for side in sides:
            side.server.stop()
    return found


def run_sequences(sides, seed, count, verbose):
    """Plays `count` random sequences; returns the mismatches."""
    for side in sides:
        side.launch("main")
    try:
        started = [start(side) for side in sides]
        if any(started):
            return [("sequences", "start", *(text or "serves" for text in started))]
        tasks = [side.thread.submit(sequences.play_all, side.server, seed, count, servers_are_38(sides)) for side in sides]
        left, right = (task.result() for task in tasks)
    finally:
        for side in sides:
            side.server.stop()
    found = []
    for one, other in zip(left, right):
        assert one[0] == other[0]
        if servers_are_38(sides):
            one, other = (one[0], without_event_zxids(one[1])), (other[0], without_event_zxids(other[1]))
        mismatches = compare(f"sequence-{one[0]}", one[1], other[1])
        found += mismatches[:3]  # the rest of a sequence that went apart says nothing new
        if verbose:
            for step, answer in one[1]:
                print(f"    {step:<70} {answer}")
    return found


def servers_are_38(sides):
    return any(side.target == "apache38" for side in sides)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", choices=servers.TARGETS, default="apache39")
    parser.add_argument("--candidate", choices=servers.TARGETS, default="ringkeeper")
    parser.add_argument("--groups", default="*", help=f"comma list of patterns over {', '.join(GROUPS)}")
    parser.add_argument("--cases", default="*", help="comma list of patterns over case ids")
    parser.add_argument("--sequences", type=int, default=2000, help="how many random sequences")
    parser.add_argument("--seed", type=int, default=None, help="seed of the first sequence; the others follow by one")
    parser.add_argument("--list", action="store_true", help="list the cases and stop")
    parser.add_argument("--strict", action="store_true", help="fail as well when a declared difference never appeared")
    parser.add_argument("-v", "--verbose", action="store_true", help="print every step and the reference's answer")
    options = parser.parse_args()
    servers.exit_on_signal()
    servers.limit_minutes(15)

    def wanted(value, patterns):
        return any(fnmatch.fnmatchcase(value, pattern.strip()) for pattern in patterns.split(","))

    chosen = [(number, case) for number, case in enumerate(CASES) if wanted(case.id, options.cases) and wanted(case.group, options.groups)]
    if options.list:
        for _, case in chosen:
            print(f"{case.group:15} {case.id:90} {' '.join(case.rows)}")
        return 0
    servers.install("debian", "venv", "jars39")
    declared = Declared(HERE, options.reference, options.candidate)
    sides = [Side(options.reference), Side(options.candidate)]
    found, started = [], time.monotonic()
    for group in GROUPS:
        members = [(number, case) for number, case in chosen if case.group == group]
        if members:
            at = time.monotonic()
            mismatches = run_group(group, members, sides, options.verbose)
            suspects = {mismatch[0] for mismatch in mismatches if not declared.covers(mismatch)}
            if group in TIMED and suspects:
                print(f"{group}: once more {', '.join(sorted(suspects))}")
                mismatches = [mismatch for mismatch in mismatches if mismatch[0] not in suspects]
                mismatches += run_group(group, [(number, case) for number, case in members if case.id in suspects], sides, False)
            found += mismatches
            print(f"{group}: {len(members)} cases in {time.monotonic() - at:.1f} s", flush=True)
    if options.sequences:
        seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 31)
        at = time.monotonic()
        print(f"random sequences from seed {seed} on (replay one: --cases none --sequences 1 --seed <its number>)", flush=True)
        found += run_sequences(sides, seed, options.sequences, options.verbose)
        print(f"{options.sequences} sequences in {time.monotonic() - at:.1f} s", flush=True)

    undeclared = [mismatch for mismatch in found if not declared.covers(mismatch)]
    for case_id, step, reference, candidate in undeclared:
        print(f"\nDIFFERENCE in {case_id}\n  step       {step}\n  {options.reference:10} {reference}\n  {options.candidate:10} {candidate}")
    everything = options.cases == "*" and options.groups == "*"
    stale = declared.unseen() if everything else []
    for identifier in stale:
        print(f"\ndeclared difference {identifier} did not appear: remove it from the list")
    print(f"\ndeclared differences seen: {declared.seen_count()}, never seen: {len(stale)}, {time.monotonic() - started:.0f} s")
    print(f"parity: {len(chosen)} cases, {options.sequences} sequences, undeclared differences: {len(undeclared)}")
    return 1 if undeclared or (stale and options.strict) else 0


if __name__ == "__main__":
    sys.exit(main())
