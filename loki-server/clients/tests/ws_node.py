"""A live tail with ws (JavaScript) as Grafana's back end does it: categorised labels; many entries, none lost or doubled."""

import time

from harness.checks import equal, eventually
from tests.tailing import tail_url, tailing


def check(lab):
    labels = {"client": "ws-node", "run": lab.run_id}
    selector = '{client="ws-node", run="%s"}' % lab.run_id
    with lab.wire() as wire:
        url = tail_url(wire, query=selector + " | logfmt", start=time.time_ns())
        with tailing(lab, lab.node("with_ws.mjs", url)) as tail:
            now = time.time_ns()
            lab.api.push([(labels, [[now, "a=1", {"trace": "abc"}], [now + 1, "plain"]])])
            first, second = tail.wait_for_entries(2)
            expected = labels | {"service_name": "unknown_service"}
            categories = {"structuredMetadata": {"trace": "abc", "detected_level": "unknown"}, "parsed": {"a": "1"}}
            equal(first, (expected, now, "a=1", categories), "an entry with everything")
            equal(second[:3], (expected, now + 1, "plain"), "a plain entry")
            equal(tail.happened("message")[0]["content"]["encodingFlags"], ["categorize-labels"], "flags")

            sent = []
            for batch in range(8):
                now = time.time_ns()
                lines = [f"number={batch * 40 + number}" for number in range(40)]
                lab.api.push([(labels | {"part": str(batch % 4)}, [[now + at, line] for at, line in enumerate(lines)])])
                sent += lines
                # A client that keeps up loses nothing; the queue of a tail holds ten messages.
                received = tail.wait_for_entries(2 + len(sent))[2:]
            equal([entry[2] for entry in received], sent, "entries of four streams in order")
            tail.wait_for("ping", 2, seconds=6)

            tail.process.stdin.close()
            equal(tail.wait_for("close")[0]["code"], 1000, "code of a tail that its client ends")
        eventually("the end of the tail in the server", lambda: tails_open(lab) == 0)


def tails_open(lab):
    status, _, body = lab.api.ask("GET", "/metrics")
    equal(status, 200, "status of the metrics")
    for line in body.decode().splitlines():
        if line.startswith("loki_querier_tail_active "):
            return float(line.split()[1])
    return 0
