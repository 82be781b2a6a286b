"""pino-loki (JavaScript): JSON with one stream object for each line, so that label sets repeat."""

import json
import time

from harness.checks import contains, equal, is_true


def check(lab):
    before = time.time_ns() - 2 * 10**6
    with lab.wire() as wire:
        _, errors = lab.run(lab.node("with_pino.mjs", wire.url, lab.run_id, "good"))
        equal(errors, "", "what the library complains about")
        (exchange,) = wire.exchanges("/loki/api/v1/push")
        equal(exchange.answer.status, 204, "status")
        streams = json.loads(exchange.request.body)["streams"]
        equal(len(streams), 51, "streams in the request")
        is_true(len({json.dumps(stream["stream"]) for stream in streams}) < 51, "no label set was repeated")

    selector = '{client="pino-loki", run="%s"}' % lab.run_id
    entries = lab.api.entries(selector)
    messages = [json.loads(entry.line)["msg"] for entry in entries]
    equal(messages, [f"numbered {number}" for number in range(50)] + ['as fatal "quoted" \n newline'], "messages in order")
    is_true(all(before <= entry.time <= time.time_ns() for entry in entries), "an entry has a time when nothing was pushed")
    equal([entry.time for entry in entries], [int(stream["values"][0][0]) for stream in streams], "times")
    labels = {"client": "pino-loki", "run": lab.run_id, "level": "info", "part": "odd", "service_name": "unknown_service",
              "hostname": streams[0]["stream"]["hostname"]}
    equal(entries[3].labels, labels, "labels")
    equal(entries[3].metadata, {"order": "3", "who": '{"name":"ünï"}', "detected_level": "info"}, "metadata")
    equal(lab.api.value("sum(count_over_time(%s | json | part=`odd` [1h]))" % selector), 25, "count by label")

    with lab.wire() as wire:
        _, errors = lab.run(lab.node("with_pino.mjs", wire.url, lab.run_id, "refused"))
        contains(errors, "label value too long", "what the library prints of a refused batch")
        equal([exchange.answer.status for exchange in wire.exchanges()], [400], "statuses of the refused batch")
