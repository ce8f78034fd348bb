#!/bin/bash
# Starts a Docker Engine for the tests when none answers: on a bare Debian machine, as root, without systemd.
# Installs the engine with apt-get when it is missing. Leaves the daemon running; prints its log's path.
set -euo pipefail

DEADLINE_S=${DEADLINE_S:-60}

if docker version >/dev/null 2>&1; then
    exit 0
fi
if [ "$(id -u)" != 0 ]; then
    echo "start_docker: no Docker Engine answers, and starting one needs root." >&2
    exit 1
fi
if ! command -v dockerd >/dev/null || ! command -v iptables >/dev/null; then
    apt-get update -q
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends docker.io iptables
fi

log=$(mktemp -t tritontui-dockerd.XXXXXX.log)
# A pid file that outlived its daemon (a machine restored from an image) keeps a new one from starting.
pid_file=/var/run/docker.pid
if [ -f "$pid_file" ] && ! grep -qs dockerd "/proc/$(cat "$pid_file")/comm"; then
    rm -f "$pid_file"
fi
setsid dockerd >"$log" 2>&1 </dev/null &
daemon=$!

for ((waited = 0; waited < DEADLINE_S * 5; waited++)); do
    if docker version >/dev/null 2>&1; then
        echo "start_docker: dockerd $daemon answers; its log is $log" >&2
        exit 0
    fi
    if ! kill -0 "$daemon" 2>/dev/null; then
        break
    fi
    sleep 0.2
done
echo "start_docker: dockerd did not come up within $DEADLINE_S s. The end of $log:" >&2
tail -n 20 "$log" >&2
kill "$daemon" 2>/dev/null || true
exit 1
