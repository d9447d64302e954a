#!/bin/sh
# Bring a Docker engine up (or down) on a bare Debian machine: `.ci/engine.sh start|stop`.
# Does nothing when an engine already answers. Log and pid: $PLATEAU_ENGINE_DIR (default /tmp).
set -eu

dir=${PLATEAU_ENGINE_DIR:-/tmp}
pidfile=$dir/dockerd.pid
log=$dir/dockerd.log
socket=/var/run/docker.sock

answers() {
    python3 - "$socket" <<'PY' 2>/dev/null
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(2)
s.connect(sys.argv[1])
s.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
sys.exit(0 if b"OK" in s.recv(4096) else 1)
PY
}

launch() {  # launch SECONDS ARGS...: start dockerd and wait until it answers
    seconds=$1; shift
    # Keep the log and detach from the caller's terminal and pipes, so that CI does not wait for it.
    nohup setsid dockerd --pidfile "$pidfile.daemon" "$@" >>"$log" 2>&1 </dev/null &
    echo $! >"$pidfile"
    tries=$((seconds * 2))
    while [ "$tries" -gt 0 ]; do
        if answers; then echo "engine: up, pid $(cat "$pidfile"), log $log"; return 0; fi
        kill -0 "$(cat "$pidfile")" 2>/dev/null || return 1
        sleep 0.5
        tries=$((tries - 1))
    done
    return 1
}

start() {
    if answers; then echo "engine: already answers on $socket"; return 0; fi
    if [ "$(id -u)" != 0 ]; then echo "engine: needs root" >&2; return 1; fi
    if ! command -v dockerd >/dev/null; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends docker.io iptables >>"$log" 2>&1
    fi
    # The boxes use no network, so an engine without a bridge is as good where iptables is refused.
    launch 30 && return 0
    stop
    launch 30 --iptables=false --ip6tables=false --bridge=none && return 0
    echo "engine: did not come up; last lines of $log:" >&2
    tail -n 20 "$log" >&2
    return 1
}

stop() {
    if [ ! -f "$pidfile" ]; then return 0; fi
    pid=$(cat "$pidfile")
    kill "$pid" 2>/dev/null || true
    tries=40
    while [ "$tries" -gt 0 ] && kill -0 "$pid" 2>/dev/null; do sleep 0.25; tries=$((tries - 1)); done
    kill -9 "$pid" 2>/dev/null || true
    rm -f "$pidfile" "$pidfile.daemon"
}

case "${1:-}" in
    start) start ;;
    stop) stop ;;
    *) echo "usage: $0 start|stop" >&2; exit 2 ;;
esac
