"""tracing-loki (Rust): snappy protobuf, a stream for each level."""

import json
import time

from harness.checks import contains, equal, is_true


def check(lab):
    selector = '{client="tracing-loki", run="%s"}' % lab.run_id
    with lab.wire() as wire:
        before = time.time_ns()
        lab.run([lab.installed.tracing_loki, wire.url, lab.run_id, "events"])
        after = time.time_ns()
        exchanges = wire.exchanges()
        is_true(exchanges, "nothing was pushed")
        for exchange in exchanges:
            equal(exchange.answer.status, 204, "status of a push")
            equal(exchange.request.headers.get("content-encoding"), "snappy", "encoding of a push")
        equal(len({exchange.connection for exchange in exchanges}), 1, "connections")

    entries = lab.api.entries(selector)
    equal(len(entries), 104, "entries")
    is_true(all(before <= entry.time <= after for entry in entries), "an entry has a time when nothing was pushed")
    is_true(any(entry.time % 1000 for entry in entries), "no time is exact to the nanosecond")
    equal([json.loads(entry.line)["number"] for entry in entries[:100]], list(range(100)), "numbers in the order of their times")
    labels = {"client": "tracing-loki", "run": lab.run_id, "odd": "a \"quoted\" \\ back\nslash", "service_name": "unknown_service"}
    for entry, level in zip(entries[99:], ("info", "trace", "debug", "warn", "error"), strict=True):
        equal(entry.labels, labels | {"level": level}, f"labels of {level}")
        equal(entry.metadata, {"detected_level": level}, f"metadata of {level}")
    warning = json.loads(entries[102].line)
    expected = {"message": "as warn \"quoted\" \n newline", "ratio": 0.5, "good": True, "user": "ünï", "attempt": 3, "pid": "7"}
    equal({key: warning.get(key) for key in expected}, expected, "fields of the warning")
    equal(lab.api.value("sum(count_over_time(%s | json | attempt=`3` [1h]))" % selector), 104, "count through the json parser")

    with lab.wire() as wire:
        lab.run([lab.installed.tracing_loki, wire.url, lab.run_id, "too-long"])
        exchanges = wire.exchanges()
        is_true(exchanges, "nothing was pushed")
        for exchange in exchanges:
            equal(exchange.answer.status, 400, "status of a line that is too long")
            contains(exchange.answer.text, "max entry size", "the reason")
