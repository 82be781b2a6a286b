"""loki-canary, Loki's own watchdog: it pushes, tails and queries, and counts what is lost, late, doubled or out of order."""

import subprocess
import urllib.request

from harness.checks import eventually, equal, is_true
from harness.server import free_port

MIN_ENTRIES = 60


def check(lab):
    port = free_port()
    with lab.wire() as wire:
        with lab.running(command(lab, wire, port), stderr=subprocess.DEVNULL):
            eventually("enough entries, spot checks and metric tests", lambda: is_enough(read(port)), seconds=60)
            counts = read(port)
        pushes = wire.exchanges("/loki/api/v1/push")
        equal({exchange.answer.status for exchange in pushes}, {204}, "statuses of pushes")
        equal(len({exchange.connection for exchange in pushes}), 1, "connections of pushes")
        queries = wire.exchanges("/loki/api/v1/query_range") + wire.exchanges("/loki/api/v1/query")
        equal({exchange.answer.status for exchange in queries}, {200}, "statuses of queries")
    for name in ("missing_entries", "websocket_missing_entries", "spot_check_missing_entries", "unexpected_entries",
                 "duplicate_entries", "out_of_order_entries", "ws_reconnects"):
        equal(counts.get(f"loki_canary_{name}_total", 0), 0, name)
    expected, actual = (counts[f"loki_canary_metric_test_{name}"] for name in ("expected", "actual"))
    # The client itself allows for the entries of a moment.
    is_true(abs(expected - actual) <= 0.1 * expected, f"metric test: expected {expected}, got {actual}")


def command(lab, wire, port):
    # The canary gives a tail up that is silent for ten intervals; the server's pings come every second.
    return lab.go(
        "loki-canary", f"-addr={wire.address}", f"-port={port}", "-push=true", "-tls=false", "-interval=200ms", "-size=120",
        "-labelname=canary", f"-labelvalue={lab.run_id}", "-streamname=stream", "-streamvalue=stdout", "-wait=3s", "-max-wait=6s",
        "-pruneinterval=1s", "-spot-check-interval=1s", "-spot-check-initial-wait=1s", "-spot-check-query-rate=2s",
        "-metric-test-interval=3s", "-metric-test-range=6s", "-cache-test-interval=2s", "-cache-test-range=4s", "-cache-test-now=1s",
    )


def is_enough(counts):
    return (counts.get("loki_canary_entries_total", 0) >= MIN_ENTRIES and counts.get("loki_canary_metric_test_actual", 0) > 0
            and counts.get("loki_canary_spot_check_entries_total", 0) > 0
            and counts.get("loki_canary_spot_check_request_duration_seconds_count", 0) > 1)


def read(port):
    """The canary's own metrics."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return {}
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if not line.startswith("#"))}
