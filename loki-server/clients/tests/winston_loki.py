"""winston-loki (JavaScript): snappy protobuf by default, JSON with a free third element on demand."""

import json
import time

from harness.checks import contains, equal, is_true

MS = 10**6


def check(lab):
    before = time.time_ns() // MS * MS
    with lab.wire() as wire:
        output, _ = lab.run(lab.node("with_winston.mjs", wire.url, lab.run_id))
        exchanges = wire.exchanges("/loki/api/v1/push")
    said = json.loads(output)
    types = [exchange.request.headers["content-type"] for exchange in exchanges]
    equal(types, ["application/x-protobuf"] * 3 + ["application/json"] * 3, "content types")
    equal([exchange.answer.status for exchange in exchanges], [204, 204, 400] * 2, "statuses")
    for encoding in ("protobuf", "json"):
        equal(said[encoding]["good"], [], f"errors of good batches as {encoding}")
        equal(len(said[encoding]["bad"]), 1, f"errors of the bad batch as {encoding}")
        contains(said[encoding]["bad"][0], "label value too long", "what the library says of the bad batch")
        read_back(lab, encoding, before)


def read_back(lab, encoding, before):
    entries = lab.api.entries('{client="winston-loki", run="%s", encoding="%s"}' % (lab.run_id, encoding))
    is_true(all(before <= entry.time <= time.time_ns() and entry.time % MS == 0 for entry in entries), "times are not as sent")
    messages = [json.loads(entry.line)["message"] for entry in entries]
    equal(sorted(messages), sorted([f"numbered {number}" for number in range(50)] + ["as error ünï\nnewline", "second batch"]),
          f"messages as {encoding}")
    numbered = [message for message in messages if message.startswith("numbered")]
    equal(numbered, [f"numbered {number}" for number in range(50)], f"order as {encoding}")
    error = next(entry for entry in entries if "as error" in entry.line)
    labels = {"client": "winston-loki", "run": lab.run_id, "encoding": encoding, "level": "error", "service_name": "unknown_service"}
    equal(error.labels, labels, f"labels as {encoding}")
    # As JSON everything beside the message is metadata, the level too, which the label of that name hides.
    metadata = {"level_extracted": "error", "order": "7", "nested": '{"deep":[1,"x"]}', "text": "t"} if encoding == "json" else {}
    equal(error.metadata, metadata | {"detected_level": "error"}, f"metadata as {encoding}")
