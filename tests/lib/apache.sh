#!/usr/bin/env bash
# Installs the judges: Apache ZooKeeper 3.8 (Debian) and 3.9 (the jars inside the pyspark sdist), and the clients that talk to them.
#
# Idempotent: what is there is left alone and a second run takes well under a second. Everything that is not a Debian package lands in
# $RINGKEEPER_CACHE (default ~/.cache/ringkeeper):
#
#   venv/        Python environment: kazoo, pytest, xdist, timeout
#   apache39/    zookeeper-3.9.5.jar, zookeeper-jute, curator-*.jar and what they lean on
#   kazoo-src/   kazoo's source tree with its own tests
#
# Usage: tests/lib/apache.sh [debian] [venv] [jars39] [kazoo] [cclient]      (no argument: all of them)
set -euo pipefail

CACHE="${RINGKEEPER_CACHE:-$HOME/.cache/ringkeeper}"
PYSPARK_VERSION=4.3.0   # the release whose jars/ hold ZooKeeper 3.9.5 and Curator 5.9
KAZOO_VERSION=2.11.0
mkdir -p "$CACHE"

say() { echo "apache.sh: $*" >&2; }

# Several callers may start at once (parity and interop in parallel): the first one installs, the others wait for it.
exec 9>"$CACHE/.lock"
flock 9

apt_install() {
    local missing=()
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    say "apt-get install ${missing[*]}"
    if ! DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >"$CACHE/apt.log" 2>&1; then
        DEBIAN_FRONTEND=noninteractive apt-get update -qq >>"$CACHE/apt.log" 2>&1
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >>"$CACHE/apt.log" 2>&1 ||
            { tail -20 "$CACHE/apt.log" >&2; exit 1; }
    fi
}

debian() {
    apt_install zookeeper libzookeeper-java openjdk-17-jdk-headless libjline2-java
}

venv() {
    [ -e "$CACHE/venv/.ready-$KAZOO_VERSION" ] && return 0
    say "venv with kazoo $KAZOO_VERSION and pytest in $CACHE/venv"
    [ -x "$CACHE/venv/bin/pip" ] || python3 -m venv "$CACHE/venv"
    "$CACHE/venv/bin/pip" install -q --disable-pip-version-check wheel setuptools \
        "kazoo==$KAZOO_VERSION" pytest pytest-xdist pytest-timeout objgraph
    touch "$CACHE/venv/.ready-$KAZOO_VERSION"
}

jars39() {
    [ -e "$CACHE/apache39/.ready" ] && return 0
    venv
    say "pyspark $PYSPARK_VERSION sdist (450 MB, once) for the jars of ZooKeeper 3.9"
    rm -rf "$CACHE/pyspark-dl" && mkdir -p "$CACHE/pyspark-dl" "$CACHE/apache39"
    "$CACHE/venv/bin/pip" download -q --disable-pip-version-check --no-cache-dir --no-deps --no-binary pyspark \
        --no-build-isolation "pyspark==$PYSPARK_VERSION" -d "$CACHE/pyspark-dl"
    tar -xzf "$CACHE"/pyspark-dl/pyspark-*.tar.gz -C "$CACHE/apache39" --strip-components=3 --wildcards \
        '*/jars/zookeeper-*.jar' '*/jars/curator-*.jar' '*/jars/netty-*.jar' '*/jars/slf4j-api-*.jar' '*/jars/log4j-api-*.jar' \
        '*/jars/log4j-core-*.jar' '*/jars/log4j-slf4j2-impl-*.jar' '*/jars/metrics-core-*.jar' '*/jars/snappy-java-*.jar' \
        '*/jars/commons-cli-*.jar' '*/jars/commons-io-*.jar' '*/jars/commons-lang3-*.jar' '*/jars/jline-2*.jar' \
        '*/jars/guava-*.jar' '*/jars/failureaccess-*.jar' '*/jars/jackson-core-2*.jar' '*/jars/jackson-databind-2*.jar' \
        '*/jars/jackson-annotations-2*.jar'
    rm -f "$CACHE"/apache39/netty-tcnative-boringssl* "$CACHE"/apache39/*native*-osx* "$CACHE"/apache39/*aarch_64* "$CACHE"/apache39/*riscv*
    rm -rf "$CACHE/pyspark-dl"
    touch "$CACHE/apache39/.ready"
}

kazoo() {
    [ -e "$CACHE/kazoo-src/.ready-$KAZOO_VERSION" ] && return 0
    venv
    say "kazoo $KAZOO_VERSION source tree with its tests"
    rm -rf "$CACHE/kazoo-src" && mkdir -p "$CACHE/kazoo-src"
    "$CACHE/venv/bin/pip" download -q --disable-pip-version-check --no-deps --no-binary kazoo --no-build-isolation \
        "kazoo==$KAZOO_VERSION" -d "$CACHE/kazoo-src/dl"
    tar -xzf "$CACHE"/kazoo-src/dl/kazoo-*.tar.gz -C "$CACHE/kazoo-src" --strip-components=1
    touch "$CACHE/kazoo-src/.ready-$KAZOO_VERSION"
}

cclient() {
    apt_install gcc libc6-dev libzookeeper-mt-dev zookeeper-bin
}

for part in "${@:-debian venv jars39 kazoo cclient}"; do
    for name in $part; do "$name"; done
done
