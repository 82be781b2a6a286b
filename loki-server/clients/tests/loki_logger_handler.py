"""loki-logger-handler (Python): gzip and structured metadata."""

import json

from harness.checks import contains, equal


def check(lab):
    with lab.wire() as wire:
        output, _ = lab.run(lab.python("with_loki_logger_handler.py", wire.url, lab.run_id))
        exchanges = wire.exchanges("/loki/api/v1/push")
    equal(json.loads(output), {"good": False, "bad": True}, "whether the library met errors")
    equal([exchange.answer.status for exchange in exchanges], [204, 400], "statuses")
    equal({exchange.request.headers.get("content-encoding") for exchange in exchanges}, {"gzip"}, "encodings")
    contains(exchanges[1].answer.text, "label value too long", "the reason of the 400")

    entries = lab.api.entries('{client="loki-logger-handler", run="%s"}' % lab.run_id)
    messages = [json.loads(entry.line)["message"] for entry in entries]
    # The library's times have microseconds, so entries of one moment may tie; they keep the order of the push.
    equal(messages, [f"numbered {number}" for number in range(50)] + ["as error"], "messages in order")
    equal(entries[7].labels, {"client": "loki-logger-handler", "run": lab.run_id, "level": "INFO", "service_name": "unknown_service"},
          "labels")
    equal(entries[7].metadata, {"service": "shop", "order": "o-7", "trace": "abc", "detected_level": "info"}, "metadata")
    equal(lab.api.lines('{client="loki-logger-handler", run="%s"} | order="o-7"' % lab.run_id), [entries[7].line],
          "lines by metadata")
