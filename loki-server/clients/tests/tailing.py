"""What the two websocket clients have in common: starting one, and reading what it tells."""

import json
import urllib.parse
from contextlib import contextmanager

from harness.lab import Lines


def tail_url(wire, **params):
    return f"ws://{wire.address}/loki/api/v1/tail?{urllib.parse.urlencode(params)}"


@contextmanager
def tailing(lab, command):
    """A tail that is open, and its process."""
    with lab.running(command, stdin=-1) as process:
        tail = Tail(process)
        tail.wait_for("open")
        yield tail


class Tail:
    def __init__(self, process):
        self.process = process
        self._lines = Lines(process.stdout)

    def happened(self, kind):
        return [event for event in map(json.loads, list(self._lines.all)) if event["kind"] == kind]

    def wait_for(self, kind, count=1, seconds=20):
        """Waits until something happened that often."""
        self._lines.wait_for(f"{count} x {kind}", lambda _: len(self.happened(kind)) >= count, seconds)
        return self.happened(kind)

    def entries(self):
        """Everything received so far: labels, time, line, and the third element where there is one."""
        return [
            (stream["stream"], int(value[0]), *value[1:])
            for message in self.happened("message")
            for stream in message["content"]["streams"]
            for value in stream["values"]
        ]

    def wait_for_entries(self, count, seconds=20):
        self._lines.wait_for(f"{count} entries", lambda _: len(self.entries()) >= count, seconds)
        return self.entries()
