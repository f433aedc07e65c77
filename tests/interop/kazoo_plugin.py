"""pytest plugin under which kazoo's own tests run against a server of our choice.

kazoo's harness starts three Apache servers with a Java command of its own. Here it gets one standalone server instead, started by
tests/lib/servers.py: the target is $KAZOO_TARGET (apache39, apache38 or ringkeeper). Every xdist worker has a server of its own.
Certificates are not made: tests over TLS are among those not expected to pass.
"""

import os
import shutil
import sys
import types
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
for module in ("OpenSSL", "jks"):  # only wanted for certificates
    sys.modules.setdefault(module, types.ModuleType(module))

import servers  # noqa: E402
from kazoo.testing import common  # noqa: E402

TARGET = os.environ["KAZOO_TARGET"]
CONFIG = "tickTime=2000\nmaxClientCnxns=0\nadmin.enableServer=false\nforceSync=no\npreAllocSize=1024\n"
JVM = ["-Dfile.encoding=UTF-8", "-Dreadonlymode.enabled=true"]
os.environ.setdefault("ZOOKEEPER_CLUSTER_SIZE", "1")
os.environ.setdefault("ZOOKEEPER_VERSION", "3.8.0")
os.environ.setdefault("ZOOKEEPER_PATH", "/usr/share/java")
os.environ["ZOOKEEPER_PORT_OFFSET"] = str(servers.free_port())


def run(self):
    """Starts the server of kazoo's ManagedZooKeeper, again with its old data after stop()."""
    if self._running:
        return
    server = getattr(self, "server", None)
    if server is None:
        entries = "".join(f"{entry}\n" for entry in self.configuration_entries)
        self.server = server = servers.Server(TARGET, CONFIG + entries, [*JVM, *self.java_system_properties], "kazoo", self.client_port)
    else:
        server.launch()
    server.wait_until_serving()
    self._running = True


def stop(self):
    if self._running:
        self.server.kill()
        self._running = False


def reset(self):
    self.stop()
    if getattr(self, "server", None):
        shutil.rmtree(self.server.directory / "data", True)
        (self.server.directory / "data").mkdir()


def destroy(self):
    self.stop()
    if getattr(self, "server", None):
        self.server.stop()
        self.server = None
    shutil.rmtree(self.working_path, True)


common.ManagedZooKeeper.run = run
common.ManagedZooKeeper.stop = stop
common.ManagedZooKeeper.reset = reset
common.ManagedZooKeeper.destroy = destroy
common.ManagedZooKeeper.get_logs = lambda self, num_lines=100: []
common.ZookeeperCluster.perform_ssl_certs_generation = lambda self: None
common.ZookeeperCluster.get_ssl_client_configuration = lambda self: dict.fromkeys(("client_key", "client_cert", "ca_cert"), b"")
