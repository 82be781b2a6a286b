"""python-logging-loki: takes nothing but 204 for success, sends labels that are no strings, knows the legacy route."""

import json

from harness.checks import contains, equal


def check(lab):
    with lab.wire() as wire:
        output, _ = lab.run(lab.python("with_python_logging_loki.py", wire.url, lab.run_id))
        current, legacy = wire.exchanges("/loki/api/v1/push"), wire.exchanges("/api/prom/push")
    equal(json.loads(output), ["Unexpected Loki API response status code: 400"], "errors that the library met")
    equal([exchange.answer.status for exchange in current], [204] * 21 + [400, 204], "statuses")
    contains(current[21].answer.text, "label value too long", "the reason of the 400")
    equal([exchange.answer.status for exchange in legacy], [204] * 5, "statuses of the legacy route")
    # The library closes its connection after an error, and the legacy handler has its own.
    equal(len({exchange.connection for exchange in current + legacy}), 3, "connections")

    base = {"client": "python-logging-loki", "run": lab.run_id, "number": "5", "service_name": "unknown_service"}
    entries = lab.api.entries('{client="python-logging-loki", run="%s", logger="current"}' % lab.run_id)
    numbered = [f"numbered {number}" for number in range(20)]
    odd = 'odd "quoted" \\ ünï\nnewline'
    equal([entry.line for entry in entries], [*numbered, odd, "after the refused one"], "lines in order")
    equal(entries[0].labels, base | {"flag": "true", "logger": "current", "severity": "info"}, "labels")
    equal(entries[0].metadata, {"detected_level": "info"}, "metadata")
    equal(entries[20].labels, base | {"flag": "true", "logger": "current", "severity": "warning", "my_key_here": "of this record"},
          "labels of one record")

    entries = lab.api.entries('{client="python-logging-loki", run="%s", logger="legacy"}' % lab.run_id)
    equal([entry.line for entry in entries], [f"legacy {number}" for number in range(5)], "legacy lines in order")
    equal(entries[0].labels, base | {"flag": "True", "logger": "legacy", "severity": "info", "quoted": 'say "hi"'}, "legacy labels")
