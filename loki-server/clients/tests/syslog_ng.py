"""syslog-ng's HTTP destination: several streams with the same labels in one request, connections that stay."""

import json
import os
import subprocess
import tempfile
import time

from harness.checks import equal, eventually, is_true
from harness.install import PROGRAMS

BATCH_LINES = 20


def check(lab):
    with tempfile.TemporaryDirectory(prefix="loki-clients-syslog-ng-") as folder, lab.wire() as wire:
        source = os.path.join(folder, "input.log")
        open(source, "w").close()
        with lab.running(command(lab, wire, folder, source), env=lab.installed.syslog_ng()[1], stderr=subprocess.DEVNULL) as process:
            pushes_arrive(lab, wire, source)
            refused_messages_do_not_come_back(lab, wire, source)
            is_true(process.poll() is None, "syslog-ng ended")


def command(lab, wire, folder, source):
    with open(os.path.join(PROGRAMS, "syslog-ng.conf")) as template:
        text = template.read()
    for name, value in (("URL", wire.url), ("RUN", lab.run_id), ("SOURCE", source), ("BATCH_LINES", str(BATCH_LINES))):
        text = text.replace(f"@{name}@", value)
    path = os.path.join(folder, "syslog-ng.conf")
    with open(path, "w") as config:
        config.write(text)
    files = [f"--{name}={os.path.join(folder, name)}" for name in ("persist-file", "control", "pidfile")]
    return [*lab.installed.syslog_ng()[0], "--foreground", "--no-caps", "--stderr", f"--cfgfile={path}", *files]


def append(source, lines):
    with open(source, "a") as file:
        file.write("".join(f"{line}\n" for line in lines))


def selector(lab):
    return '{client="syslog-ng", run="%s"}' % lab.run_id


def pushes_arrive(lab, wire, source):
    before = time.time_ns() // 1000 * 1000
    lines = [f'numbered {number} "quoted" \\ ünï' for number in range(100)]
    append(source, lines)
    eventually("a hundred lines", lambda: len(lab.api.lines(selector(lab))) >= len(lines))
    entries = lab.api.entries(selector(lab))
    # Lines read within one microsecond have one time; the order of the push decides between them.
    equal([entry.line for entry in entries], lines, "lines in order")
    is_true(all(before <= entry.time <= time.time_ns() for entry in entries), "an entry has a time when nothing was pushed")
    equal(entries[0].labels, {"client": "syslog-ng", "run": lab.run_id, "service_name": "unknown_service"}, "labels")
    exchanges = wire.exchanges("/loki/api/v1/push")
    equal({exchange.answer.status for exchange in exchanges}, {204}, "statuses")
    streams = max((json.loads(exchange.request.body)["streams"] for exchange in exchanges), key=len)
    is_true(len(streams) > 1, "no request held more than one stream")
    equal(len({exchange.connection for exchange in exchanges}), 1, "connections")


def refused_messages_do_not_come_back(lab, wire, source):
    append(source, ["poison"])
    eventually("the refusal", lambda: [one for one in wire.exchanges() if one.answer.status == 400])
    append(source, ["after the refused one"])
    eventually("the line after it", lambda: "after the refused one" in lab.api.lines(selector(lab)))
    equal([one.answer.status for one in wire.exchanges()].count(400), 1, "attempts at what was refused")
