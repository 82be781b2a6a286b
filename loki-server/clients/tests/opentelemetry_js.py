"""OpenTelemetry's SDK for JavaScript: OTLP as JSON."""

import json
import time

from harness.checks import equal, is_true

SUCCESS, FAILED = 0, 1


def check(lab):
    before = time.time_ns() - 10**7
    with lab.wire() as wire:
        output, _ = lab.run(lab.node("with_opentelemetry.mjs", wire.url, lab.run_id))
        exchanges = wire.exchanges("/otlp/v1/logs")
    equal(json.loads(output), [SUCCESS, FAILED], "what the exporter said of each batch")
    equal([exchange.answer.status for exchange in exchanges], [204, 400], "statuses")
    equal({exchange.request.headers["content-type"] for exchange in exchanges}, {"application/json"}, "content types")
    equal(exchanges[1].answer.body[0], 0x12, "first byte of the Status, which names its message field")

    entries = lab.api.entries('{service_instance_id="%s"}' % lab.run_id)
    equal([entry.line for entry in entries], [f"numbered {number}" for number in range(50)] + ['{"kind":"map","n":1}'], "lines")
    is_true(all(before <= entry.time <= time.time_ns() for entry in entries), "an entry has a time when nothing was pushed")
    equal(entries[3].labels, {"service_name": "web", "service_instance_id": lab.run_id}, "labels")
    found = dict(entries[3].metadata)
    is_true(abs(int(found.pop("observed_timestamp")) - entries[3].time) < 10**9, "the observed time is elsewhere")
    equal(found, {"host_name": "box", "scope_name": "page", "scope_version": "3.4", "severity_number": "17", "severity_text": "Error",
                  "detected_level": "error", "number": "3", "nested_deep": "true", "list": '["a",1]'}, "metadata")
