#!/usr/bin/env bash
# Import and export against Apache's own server (Debian's package): what it wrote is imported and exported again,
# and it must find on the exported directory exactly what it had. Bounded: under three minutes.
#
#   RINGKEEPER_BIN=target/release/ringkeeper tests/convert/run.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
for package in zookeeper libzookeeper-java default-jre-headless; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed' && continue
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >/dev/null
done
exec timeout 240 python3 tests/convert/convert.py "${RINGKEEPER_BIN:-$PWD/target/release/ringkeeper}"
