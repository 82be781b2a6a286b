"""promtail: the client whose code Docker's driver and fluent-bit's plugin share. Snappy protobuf without saying so."""

import json
import os
import subprocess
import tempfile
import time
from datetime import datetime, timezone

from harness.checks import contains, equal, eventually, is_true
from harness.install import PROGRAMS


def check(lab):
    with tempfile.TemporaryDirectory(prefix="loki-clients-promtail-") as folder, lab.wire() as wire:
        log = os.path.join(folder, "app.log")
        with lab.running(command(lab, wire, folder), stderr=subprocess.DEVNULL) as process:
            pushes_arrive(lab, wire, log)
            refused_entries_are_dropped(lab, wire, log)
            is_true(process.poll() is None, "promtail ended")


def command(lab, wire, folder):
    with open(os.path.join(PROGRAMS, "promtail.yaml")) as template:
        text = template.read()
    for name, value in (("URL", wire.url), ("RUN", lab.run_id), ("FOLDER", folder)):
        text = text.replace(f"@{name}@", value)
    path = os.path.join(folder, "promtail.yaml")
    with open(path, "w") as config:
        config.write(text)
    return lab.go("promtail", f"-config.file={path}")


def append(log, records):
    with open(log, "a") as file:
        file.write("".join(json.dumps(record) + "\n" for record in records))


def record(ns, level, message, **rest):
    whole = datetime.fromtimestamp(ns // 10**9, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
    return {"time": f"{whole}.{ns % 10**9:09d}Z", "level": level, "msg": message, **rest}


def selector(lab):
    return '{client="promtail", run="%s"}' % lab.run_id


def pushes_arrive(lab, wire, log):
    start = time.time_ns() - 10**9
    count = 500
    messages = [f'numbered {number} "quoted" \\ ünï' for number in range(count)]
    append(log, [record(start + number, ("info", "error")[number % 2], message, trace=f"t{number}") for number, message in enumerate(messages)])
    eventually("all entries", lambda: len(lab.api.lines(selector(lab))) >= count)
    entries = lab.api.entries(selector(lab))
    equal([(entry.time - start, entry.line) for entry in entries], list(enumerate(messages)), "times and lines")
    labels = {"client": "promtail", "run": lab.run_id, "odd": 'a "b" \\ c', "filename": log, "level": "error", "service_name": "unknown_service"}
    equal(entries[7].labels, labels, "labels")
    equal(entries[7].metadata, {"trace": "t7", "detected_level": "error"}, "metadata")
    for exchange in wire.exchanges():
        equal(exchange.answer.status, 204, "status")
        equal(exchange.request.path, "/loki/api/v1/push", "path")
        equal(exchange.request.headers["content-type"], "application/x-protobuf", "content type")
        is_true("content-encoding" not in exchange.request.headers, "there is a content encoding")
    equal(len({exchange.connection for exchange in wire.exchanges()}), 1, "connections")


def refused_entries_are_dropped(lab, wire, log):
    now = time.time_ns()
    append(log, [record(now - 20 * 24 * 3600 * 10**9, "info", "too old")])
    refused = eventually("the refusal", lambda: [one for one in wire.exchanges() if one.answer.status == 400])
    contains(refused[0].answer.text, "has timestamp too old", "the reason")
    append(log, [record(now, "info", "after the refused one")])
    eventually("the line after it", lambda: "after the refused one" in lab.api.lines(selector(lab)))
    equal([one.answer.status for one in wire.exchanges()].count(400), 1, "attempts at what was refused")
    is_true("too old" not in lab.api.lines(selector(lab), start=now - 21 * 24 * 3600 * 10**9), "what was refused is there")
