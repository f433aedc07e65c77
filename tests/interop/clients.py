#!/usr/bin/env python3
"""Real clients against the candidate, their output compared with what they say against Apache ZooKeeper.

    c         a program on the C client (libzookeeper_mt), client.c
    cli_mt    the shell of the C client, scripted by cli_mt.txt
    zkcli38   Apache 3.8's zkCli.sh, scripted by zkcli.txt
    zkcli39   Apache 3.9's zkCli, the same script
    curator   a program on Curator 5.9's framework and recipes, CuratorSession.java

    tests/interop/clients.py [--reference apache39] [--candidate ringkeeper] [--only c,curator] [-v]

Each client gets a fresh server of either kind, so zxids can be compared as they are; dates, ports and session ids are masked, and
events, which arrive on a thread of their own, are compared as a list of their own. A line that only one side has is a failure.
"""

import argparse
import difflib
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lib"))

import servers  # noqa: E402

CONFIG = ("tickTime=2000\nmaxClientCnxns=0\nadmin.enableServer=false\nforceSync=no\npreAllocSize=1024\nextendedTypesEnabled=true\n"
          "4lw.commands.whitelist=*\n")
ZKCLI = ["org.apache.zookeeper.ZooKeeperMain", "-server"]
DATE = re.compile(r"\b(Mon|Tue|Wed|Thu|Fri|Sat|Sun) \w{3} [ \d]\d .*?\d{4}\b")


NOISE = ("20", "WATCHER::", "SLF4J", "JLine support")  # logs and what the Java clients say about their own libraries


def run(command, address, script=None, pause=0.0, seconds=120):
    """The lines a client prints. `script` is fed to its input, line by line with `pause` seconds between them when that is set."""
    process = subprocess.Popen([*command, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               preexec_fn=servers.die_with_parent)
    lines = script.read_text().splitlines(keepends=True) if script else []
    with ThreadPoolExecutor(1) as reader:
        output = reader.submit(process.stdout.read)
        try:
            if pause:
                time.sleep(1.0)
            for line in lines:
                process.stdin.write(line)
                process.stdin.flush()
                time.sleep(pause)
            process.stdin.close()
            process.wait(seconds)
        except (subprocess.TimeoutExpired, BrokenPipeError) as reason:
            process.kill()
            return [*output.result().splitlines(), f"ended by {type(reason).__name__}"]
        return [*output.result().splitlines(), f"exit code {process.wait()}"]


def masked(lines):
    """Dates, durations, ports and session ids replaced; lists without order sorted."""
    result = []
    for line in lines:
        line = DATE.sub("DATE", line.rstrip())
        line = re.sub(r"0x1[0-9a-f]{14}\b", "0xSESSION", line)
        line = re.sub(r"(ephemeralOwner = )[1-9]\d{12,}", r"\1SESSION", line)
        line = re.sub(r"127\.0\.0\.1:\d+", "ADDRESS", line)
        line = re.sub(r"time = \d+ msec", "time", line)
        if re.fullmatch(r"\[[^\]]*, [^\]]*\]", line):
            line = "[" + ", ".join(sorted(line[1:-1].split(", "))) + "]"
        if line and not line.startswith(NOISE) and "ZOO_" not in line:
            result.append(line)
    return result


def events_apart(lines):
    """The lines without the events, then the events."""
    events = [line for line in lines if line.startswith(("WatchedEvent", "Watcher "))]
    return [line for line in lines if line not in events] + events


def sorted_runs(lines, pattern):
    """Neighbouring lines that match `pattern` are printed in no particular order: sort them."""
    result, block = [], []
    for line in [*lines, None]:
        if line is not None and re.fullmatch(pattern, line):
            block.append(line)
            continue
        result += sorted(block) + ([line] if line is not None else [])
        block = []
    return result


def c_program(address, work):
    return masked(run([str(work / "client")], address))


def cli_mt(address, _):
    lines = events_apart(masked(run(["/usr/lib/zookeeper/bin/cli_mt", "-h"], address, HERE / "cli_mt.txt", pause=0.15)))
    return sorted_runs(lines, r"\t[^\s=]+")


def zkcli38(address, _):
    lines = events_apart(masked(run(["/usr/share/zookeeper/bin/zkCli.sh", "-server"], address, HERE / "zkcli.txt")))
    return sorted_runs(lines, r"\w+: [\w.]+")


def zkcli39(address, _):
    command = ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp", servers.classpath("apache39"), *ZKCLI]
    lines = events_apart(masked(run(command, address, HERE / "zkcli.txt")))
    return sorted_runs(lines, r"\w+: [\w.]+")


def curator(address, work):
    command = ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp", f"{work}:{servers.classpath('apache39')}", "CuratorSession"]
    return masked(run(command, address))


CLIENTS = {"c": c_program, "cli_mt": cli_mt, "zkcli38": zkcli38, "zkcli39": zkcli39, "curator": curator}


def build(work, chosen):
    if "c" in chosen:
        subprocess.run(["gcc", "-O1", "-Wall", "-Wextra", "-o", str(work / "client"), str(HERE / "client.c"), "-lzookeeper_mt", "-lpthread"],
                       check=True)
    if "curator" in chosen:
        subprocess.run(["javac", "-cp", servers.classpath("apache39"), "-d", str(work), str(HERE / "CuratorSession.java")], check=True)


def compare(name, reference, candidate, verbose):
    """Prints what differs; returns how many lines agree and how many do not."""
    passed = failed = 0
    for tag, i, i_end, j, j_end in difflib.SequenceMatcher(None, reference, candidate, autojunk=False).get_opcodes():
        if tag == "equal":
            passed += i_end - i
            continue
        failed += max(i_end - i, j_end - j)
        print(f"{name}: after {reference[i - 1] if i else 'the start'}")
        print("".join(f"  reference  {line}\n" for line in reference[i:i_end]) + "".join(f"  candidate  {line}\n" for line in candidate[j:j_end]), end="")
    if verbose:
        print("".join(f"  {line}\n" for line in reference), end="")
    return passed, failed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", choices=servers.TARGETS, default="apache39")
    parser.add_argument("--candidate", choices=servers.TARGETS, default="ringkeeper")
    parser.add_argument("--only", default=",".join(CLIENTS), help="comma list of clients")
    parser.add_argument("-v", "--verbose", action="store_true", help="print the reference's lines")
    options = parser.parse_args()
    servers.exit_on_signal()
    servers.limit_minutes(10)
    servers.install("debian", "venv", "jars39", "cclient")
    chosen = options.only.split(",")
    total = [0, 0]
    with tempfile.TemporaryDirectory(prefix="ringkeeper-clients-") as directory:
        work = Path(directory)
        build(work, chosen)
        for name in chosen:
            started = time.monotonic()
            pair = [servers.Server(target, CONFIG, name=name) for target in (options.reference, options.candidate)]
            try:
                try:
                    for server in pair:
                        server.wait_until_serving()
                except RuntimeError as reason:
                    print(f"{name}: {reason}")
                    total[1] += 1
                    continue
                with ThreadPoolExecutor(2) as threads:
                    answers = list(threads.map(lambda server, name=name: CLIENTS[name](f"127.0.0.1:{server.port}", work), pair))
            finally:
                for server in pair:
                    server.stop()
            if "apache38" in (options.reference, options.candidate):  # sends no zxid with its events
                answers = [[re.sub(r"(WatchedEvent .*) zxid: -?\d+$", r"\1", line) for line in lines] for lines in answers]
            passed, failed = compare(name, *answers, options.verbose)
            if passed < 10:  # a client that said nothing has proved nothing
                failed += 1
                print(f"{name}: only {passed} lines agree:\n  " + "\n  ".join(answers[0][:20]))
            total = [total[0] + passed, total[1] + failed]
            print(f"{name}: {passed} passed, {failed} failed, {time.monotonic() - started:.0f} s", flush=True)
    print(f"clients: {total[0]} passed, {total[1]} failed")
    return 1 if total[1] else 0


if __name__ == "__main__":
    sys.exit(main())
