"""Pushes what `tests/loki_logger_handler.py` expects: URL RUN. Prints whether the library met an error."""

import json
import logging
import sys

from loki_logger_handler.loki_logger_handler import LokiLoggerHandler

url, run = sys.argv[1:]


def logger(name, labels):
    handler = LokiLoggerHandler(
        url=url + "/loki/api/v1/push",
        labels={"client": "loki-logger-handler", "run": run, **labels},
        label_keys={"level"},
        timeout=600,
        compressed=True,
        enable_structured_loki_metadata=True,
        loki_metadata={"service": "shop"},
        loki_metadata_keys=["order"],
    )
    found = logging.getLogger(name)
    found.setLevel(logging.DEBUG)
    found.propagate = False
    found.addHandler(handler)
    return found, handler


def flush(handler):
    """What the library's thread does when its interval is over."""
    try:
        handler._send()
    except Exception as error:
        handler.handle_unexpected_error(error)


good, good_handler = logger("good", {})
for number in range(50):
    good.info("numbered %d", number, extra={"order": f"o-{number}", "loki_metadata": {"trace": "abc"}})
good.error("as error")
flush(good_handler)

bad, bad_handler = logger("bad", {"big": "x" * 3000})
bad.info("refused")
flush(bad_handler)

print(json.dumps({"good": good_handler.error, "bad": bad_handler.error}))
