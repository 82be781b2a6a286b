"""Pushes what `tests/python_logging_loki.py` expects: URL RUN. Prints the errors that the library met."""

import json
import logging
import sys

import logging_loki

url, run = sys.argv[1:]
errors = []


class Handler(logging_loki.LokiHandler):
    def handleError(self, record):
        errors.append(str(sys.exc_info()[1]))
        self.emitter.close()


def logger(name, path, version):
    tags = {"client": "python-logging-loki", "run": run, "number": 5, "flag": True}
    found = logging.getLogger(name)
    found.setLevel(logging.DEBUG)
    found.propagate = False
    found.addHandler(Handler(url=url + path, tags=tags, version=version))
    return found


current = logger("current", "/loki/api/v1/push", "1")
for number in range(20):
    current.info("numbered %d", number)
current.warning('odd "quoted" \\ ünï\nnewline', extra={"tags": {"my.key-here": "of this record"}})
current.error("refused", extra={"tags": {"big": "x" * 3000}})
current.error("after the refused one")

legacy = logger("legacy", "/api/prom/push", "0")
for number in range(5):
    legacy.info("legacy %d", number, extra={"tags": {"quoted": 'say "hi"'}})

print(json.dumps(errors))
