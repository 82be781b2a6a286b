#!/usr/bin/env python3
"""Runs real clients against the server, over real sockets.

  loki-server/clients/run.py --server target/release/loki-server [--only NAME ... | --fast] [--cache FOLDER] [--list]

Installs the clients into the cache folder (~/.cache/loki-store-clients unless LOKI_STORE_CLIENTS says otherwise) when
they are not there, starts a server on a free port with an empty folder, and prints a line for each client. A client
whose installation needs a program that this machine lacks is skipped, but fails when CI=true. Exits with 1 when a
client failed. Needs Python 3.10 and nothing else that is not a client's own.
"""

import argparse
import importlib
import os
import sys
import time
import traceback

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from harness.checks import Failed  # noqa: E402
from harness.install import GO_KINDS, Installation, Missing  # noqa: E402
from harness.lab import Lab  # noqa: E402

# Name of the client, module of its test, what has to be installed for it.
TESTS = [
    ("curl", "curl", "curl"),
    ("tracing-loki", "tracing_loki", "rust"),
    ("python-logging-loki", "python_logging_loki", "python"),
    ("loki-logger-handler", "loki_logger_handler", "python"),
    ("opentelemetry-python", "opentelemetry_python", "python"),
    ("websockets-python", "websockets_python", "python"),
    ("winston-loki", "winston_loki", "node"),
    ("pino-loki", "pino_loki", "node"),
    ("opentelemetry-js", "opentelemetry_js", "node"),
    ("ws-node", "ws_node", "node"),
    ("syslog-ng", "syslog_ng", "debian"),
    ("logcli", "logcli", "loki"),
    ("loki-canary", "loki_canary", "loki"),
    ("promtail", "promtail", "promtail"),
]
SHOWN_EXCHANGES = 2


def main():
    args = parse_args()
    tests = [test for test in TESTS if (not args.only or test[0] in args.only) and not (args.fast and test[2] in GO_KINDS)]
    if args.list:
        print("\n".join(name for name, *_ in tests))
        return 0
    installation = Installation(args.cache)
    installation.install({kind for *_, kind in tests}, lambda text: print(f"({text})", file=sys.stderr))
    counts = {"ok": 0, "FAILED": 0, "skipped": 0}
    lab = Lab(installation, os.path.abspath(args.server))
    try:
        for name, module, kind in tests:
            verdict = run_test(lab, name, module, installation.errors.get(kind))
            counts[verdict] += 1
    finally:
        code = lab.close()
    if code != 0:
        print(f"{'server':<22} FAILED  exit code {code} when stopped")
        counts["FAILED"] += 1
    skipped = f", {counts['skipped']} skipped" if counts["skipped"] else ""
    print(f"{counts['ok']} passed, {counts['FAILED']} failed{skipped}")
    return 1 if counts["FAILED"] else 0


def parse_args():
    default_cache = os.environ.get("LOKI_STORE_CLIENTS") or os.path.expanduser("~/.cache/loki-store-clients")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default="target/release/loki-server", help="the program to test")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--only", nargs="+", metavar="NAME", choices=[name for name, *_ in TESTS], help="these clients alone")
    which.add_argument("--fast", action="store_true", help="without the clients whose Go sources take minutes to build")
    parser.add_argument("--cache", default=default_cache, help="where clients are installed")
    parser.add_argument("--list", action="store_true", help="print the names of the clients and exit")
    return parser.parse_args()


def run_test(lab, name, module, install_error):
    """Runs one test and prints its line. Returns the verdict."""
    started = time.monotonic()
    if isinstance(install_error, Missing) and os.environ.get("CI") != "true":
        return verdict(name, "skipped", str(install_error))
    if install_error:
        return verdict(name, "FAILED", f"not installed: {install_error}")
    lab.begin()
    try:
        importlib.import_module(f"tests.{module}").check(lab)
    except Failed as failure:
        verdict(name, "FAILED", str(failure))
        show_wires(lab)
        return "FAILED"
    except Exception:
        verdict(name, "FAILED", traceback.format_exc())
        show_wires(lab)
        return "FAILED"
    return verdict(name, "ok", f"{time.monotonic() - started:.1f} s")


def verdict(name, word, more):
    print(f"{name:<22} {word:<7} {more}", flush=True)
    return word


def show_wires(lab):
    """The last exchanges of a failed test, byte for byte, refused ones first."""
    exchanges = [exchange for wire in lab.wires for exchange in wire.exchanges()]
    refused = [exchange for exchange in exchanges if exchange.answer.status >= 400]
    shown = refused[-SHOWN_EXCHANGES:] + exchanges[-SHOWN_EXCHANGES:]
    for exchange in dict.fromkeys(map(id, shown)):
        print(next(one for one in shown if id(one) == exchange).describe())
    print(f"server's log:\n{lab.server.log_tail()}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
