#!/usr/bin/env python3
"""kazoo's own test-suite against ringkeeper; what passes with Apache ZooKeeper 3.8.0 must pass here.

    tests/interop/kazoo_suite.py                          ringkeeper, compared with the committed kazoo-apache.txt
    tests/interop/kazoo_suite.py --target apache39        the same for another server
    tests/interop/kazoo_suite.py --regenerate             runs Apache 3.8.0 and rewrites kazoo-apache.txt

Tests that Apache does not pass in this setting (ensembles, TLS, SASL, reconfig need more than one plain server) are in the list as
`failed` or `skipped` and are not asked of anyone. A test that fails the first time is run again alone before it counts: several of
kazoo's tests race against their own timeouts on a busy machine. Exit code 1 when a test that must pass does not.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lib"))

import servers  # noqa: E402

LIST = HERE / "kazoo-apache.txt"
SOURCE = servers.CACHE / "kazoo-src"
# Handlers for gevent and eventlet need packages we do not install.
IGNORED = ("test_gevent_handler.py", "test_eventlet_handler.py", "test_sasl.py")


def run(target, selection, workers):
    """Runs kazoo's tests; returns {test: passed|failed|skipped}."""
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory) / "report.xml"
        environment = dict(os.environ, KAZOO_TARGET=target, PYTHONPATH=f"{HERE}:{SOURCE}")
        environment.pop("CI", None)  # kazoo's tests would believe a variable instead of asking the server for its version
        subprocess.run(
            [str(servers.CACHE / "venv/bin/python"), "-m", "pytest", "-p", "kazoo_plugin", "-p", "no:cacheprovider", "-q", "--no-header",
             "--tb=no", "-n", str(workers), "--dist", "loadscope", "--timeout", "90", "-o", "junit_family=xunit1",
             f"--junitxml={report}", *(f"--ignore=kazoo/tests/{name}" for name in IGNORED), *(selection or ["kazoo/tests"])],
            cwd=SOURCE, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=900, check=False,
            preexec_fn=servers.die_with_parent)
        results = {}
        for test in ElementTree.parse(report).iter("testcase"):
            path, _, classname = test.get("classname").partition(".tests.")
            module, _, group = classname.partition(".")
            name = "::".join(filter(None, (f"kazoo/tests/{module}.py", group, test.get("name"))))
            kinds = {child.tag for child in test}
            verdict = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
            if results.get(name) != "failed":
                results[name] = verdict
        return results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", choices=servers.TARGETS, default="ringkeeper")
    parser.add_argument("--regenerate", action="store_true", help="run Apache 3.8.0 and rewrite the list")
    parser.add_argument("--workers", type=int, default=6, help="parallel workers, each with its own server; most tests wait")
    options = parser.parse_args()
    servers.install("debian", "venv", "jars39", "kazoo")
    target = "apache38" if options.regenerate else options.target
    servers.limit_minutes(20)
    with servers.Server(target, "tickTime=2000\nadmin.enableServer=false\n"):
        pass  # a server that does not even start would otherwise be tried three hundred times
    started = time.monotonic()
    results = run(target, [], options.workers)
    expected = {} if options.regenerate else dict(line.split(" ", 1)[::-1] for line in LIST.read_text().splitlines() if line[:1] not in "#")
    suspects = [name for name, verdict in results.items() if verdict == "failed" and (options.regenerate or expected.get(name) == "passed")]
    if suspects and len(suspects) <= 60:
        results.update(run(target, suspects, 2))
        for name in suspects:
            print(f"run a second time: {name}, then {results[name]}")
    counts = {verdict: sum(result == verdict for result in results.values()) for verdict in ("passed", "failed", "skipped")}
    print(f"kazoo on {target}: {counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped, "
          f"{time.monotonic() - started:.0f} s")
    if options.regenerate:
        LIST.write_text("# kazoo's tests against one standalone Apache ZooKeeper 3.8.0; written by kazoo_suite.py --regenerate\n"
                        + "".join(f"{verdict} {name}\n" for name, verdict in sorted(results.items())))
        return 0
    missing = [name for name, verdict in expected.items() if verdict == "passed" and results.get(name) != "passed"]
    for name in missing:
        print(f"passes with Apache 3.8.0, here {results.get(name, 'not run')}: {name}")
    wanted = sum(verdict == "passed" for verdict in expected.values())
    print(f"kazoo: {wanted - len(missing)} passed, {len(missing)} failed of those that pass with Apache 3.8.0")
    return 1 if missing or not wanted else 0


if __name__ == "__main__":
    sys.exit(main())
