"""curl, as people paste it from documentation: encodings, connection reuse, and every kind of refusal."""

import gzip
import json
import time

from harness.checks import contains, equal, is_true

JSON_TYPE = ("-H", "Content-Type: application/json")
PUSH = "/loki/api/v1/push"


def check(lab):
    with lab.wire() as wire:
        ask = Curl(lab, wire.url)
        pushes_are_answered_204(lab, ask, wire)
        what_was_pushed_is_read_back(lab, ask)
        connections_are_kept(lab, ask)
        mistakes_are_refused(lab, ask)
        valid_entries_survive_invalid_neighbours(lab, ask)


class Curl:
    def __init__(self, lab, url):
        self._lab, self._url = lab, url

    def __call__(self, path, *words, body=None):
        """Status and body of the answer."""
        command = ["curl", "-sS", "--max-time", "30", "-w", "\n%{http_code}", *words, self._url + path]
        if body is not None:
            command += ["--data-binary", "@-"]
        output, _ = self._lab.run(command, stdin=body)
        text, _, status = output.rpartition("\n")
        return int(status), text

    def push(self, labels, values, *words, change=lambda body: body):
        body = json.dumps({"streams": [{"stream": labels, "values": values}]}).encode()
        return self(PUSH, *JSON_TYPE, *words, body=change(body))

    def connects(self, *paths):
        """How many new connections each of several requests needed."""
        command = ["curl", "-sS", "--max-time", "30", "-o", "/dev/null", "-w", "%{num_connects}\n"]
        for number, path in enumerate(paths):
            command += ["--next", "-sS", "-o", "/dev/null", "-w", "%{num_connects}\n"] if number else []
            command.append(self._url + path)
        return [int(word) for word in self._lab.run(command)[0].split()]


def labels_of(lab, part):
    return {"client": "curl", "run": lab.run_id, "part": part}


def pushes_are_answered_204(lab, ask, wire):
    now = time.time_ns()
    line = "x" * 1000
    big = [[str(now + number), line] for number in range(1500)]
    equal(ask.push(labels_of(lab, "plain"), [[str(now), "plain"]]), (204, ""), "a push")
    equal(ask.push(labels_of(lab, "gzip"), [[str(now), "zipped"]], "-H", "Content-Encoding: gzip", change=gzip.compress),
          (204, ""), "a push with gzip")
    equal(ask.push(labels_of(lab, "chunked"), [[str(now), "chunked"]], "-H", "Transfer-Encoding: chunked"),
          (204, ""), "a push in chunks")
    equal(ask.push(labels_of(lab, "charset"), [[str(now), "x"]], "-H", "Content-Type: application/json; charset=utf-8"),
          (204, ""), "a push whose content type has parameters")
    equal(ask.push(labels_of(lab, "big"), big, "-H", "Expect: 100-continue"), (204, ""), "a push that waits to be asked on")
    interim = [connection for connection in wire.connections if connection.received.startswith(b"HTTP/1.1 100 ")]
    equal(len(interim), 1, "connections with a 100 Continue")
    for exchange in wire.exchanges(PUSH):
        equal(exchange.answer.body, b"", "the body of a 204")
        is_true(exchange.answer.headers.get("content-length", "0") == "0", "a 204 announces a body")
    count = '{client="curl", run="%s", part="%s"}'
    equal(len(lab.api.lines(count % (lab.run_id, "big"))), 1500, "entries of the big push")
    for part, expected in (("gzip", "zipped"), ("chunked", "chunked")):
        equal(lab.api.lines(count % (lab.run_id, part)), [expected], f"lines of {part}")


def what_was_pushed_is_read_back(lab, ask):
    now = time.time_ns() - 10**9
    labels = labels_of(lab, "back") | {"number": 5, "flag": True}
    # Two entries share a time; one is pushed twice and kept once; one is out of order.
    values = [[str(now + 7), "later"], [str(now + 1), "same 1"], [str(now + 1), "same 2"], [str(now + 1), "same 1"],
              [str(now), "first", {"trace": "abc", "ünsafe-name": "v"}], [str(now + 3), 'ünï "q" \\ \n\t\u0000', {}]]
    equal(ask.push(labels, values), (204, ""), "a push")
    selector = '{client="curl", run="%s", part="back"}' % lab.run_id
    times = ("--data-urlencode", f"start={now}", "--data-urlencode", f"end={now + 8}", "--data-urlencode", f"query={selector}")
    expected = [[now, "first"], [now + 1, "same 1"], [now + 1, "same 2"], [now + 3, 'ünï "q" \\ \n\t\u0000'], [now + 7, "later"]]
    forms = {"GET": ("-G",), "POST": (), "compressed": ("-G", "--compressed")}
    for form, words in forms.items():
        status, text = ask("/loki/api/v1/query_range", *words, *times, "-d", "direction=FORWARD")
        equal(status, 200, f"status of the query by {form}")
        result = json.loads(text)["data"]["result"]
        found = sorted(([int(time), line] for one in result for time, line in one["values"]), key=lambda pair: pair[0])
        equal(found, expected, f"entries by {form}")
        merged = next(one["stream"] for one in result if "trace" in one["stream"])
        equal({key: merged.get(key) for key in ("number", "flag", "trace", "_nsafe_name", "client")},
              {"number": "5", "flag": "true", "trace": "abc", "_nsafe_name": "v", "client": "curl"}, f"labels by {form}")
    _, text = ask("/loki/api/v1/query_range", "-G", *times, "-d", "direction=backward", "-d", "limit=2")
    found = sorted(line for one in json.loads(text)["data"]["result"] for _, line in one["values"])
    equal(found, sorted(['ünï "q" \\ \n\t\u0000', "later"]), "the newest two")
    entries = lab.api.entries(selector)
    equal(entries[0].metadata, {"trace": "abc", "_nsafe_name": "v", "detected_level": "unknown"}, "structured metadata")
    equal(entries[0].labels, {key: str(value).lower() if value is True else str(value) for key, value in labels.items()}
          | {"service_name": "unknown_service"}, "labels")
    _, text = ask("/loki/api/v1/query", "-G", "--data-urlencode", "query=vector(1)+vector(1)", "-d", "time=4000000000")
    equal(json.loads(text)["data"]["result"], [{"metric": {}, "value": [4000000000, "2"]}], "Grafana's question on saving")


def connections_are_kept(lab, ask):
    equal(ask.connects("/ready", "/loki/api/v1/labels", "/loki/api/v1/query?query=%7B", "/nowhere", "/ready"), [1, 0, 0, 0, 0],
          "new connections of five requests, refused ones among them")


def mistakes_are_refused(lab, ask):
    now = str(time.time_ns())
    labels = labels_of(lab, "refused")
    old = str(time.time_ns() - 30 * 24 * 3600 * 10**9)
    future = str(time.time_ns() + 3600 * 10**9)
    # A client that loops on everything but 400 must not meet 413, 415 or 5xx for what can never succeed.
    refused = [
        ("no JSON", b"{", ()),
        ("an array", b"[]", ()),
        ("a number as time", json.dumps({"streams": [{"stream": labels, "values": [[1, "x"]]}]}).encode(), ()),
        ("a number as line", json.dumps({"streams": [{"stream": labels, "values": [[now, 1]]}]}).encode(), ()),
        ("a bad time", json.dumps({"streams": [{"stream": labels, "values": [["soon", "x"]]}]}).encode(), ()),
        ("nested metadata", json.dumps({"streams": [{"stream": labels, "values": [[now, "x", {"a": {"b": "c"}}]]}]}).encode(), ()),
        ("no labels", json.dumps({"streams": [{"stream": {}, "values": [[now, "x"]]}]}).encode(), ()),
        ("too old", json.dumps({"streams": [{"stream": labels, "values": [[old, "x"]]}]}).encode(), ()),
        ("too new", json.dumps({"streams": [{"stream": labels, "values": [[future, "x"]]}]}).encode(), ()),
        ("too long", json.dumps({"streams": [{"stream": labels, "values": [[now, "x" * 300_000]]}]}).encode(), ()),
        ("no gzip", b"{}", ("-H", "Content-Encoding: gzip")),
        ("an unknown encoding", b"{}", ("-H", "Content-Encoding: br")),
        ("no protobuf", b"\xff\xff\xff\xff", ("-H", "Content-Type: application/x-protobuf")),
        ("no snappy", b"hello", ("-H", "Content-Type: application/x-protobuf")),
    ]
    for what, body, words in refused:
        status, text = ask(PUSH, *JSON_TYPE, *words, body=body)
        equal(status, 400, f"status of {what} ({text.strip()[:200]})")
        is_true(text.endswith("\n") and text.strip(), f"the reason why {what} is refused: {text!r}")
    equal(ask(PUSH, "-H", "Content-Type:", body=b'{"streams":[]}')[0], 400, "status of a push without content type")
    status, text = ask(PUSH, *JSON_TYPE, body=b'{"streams":[]}')
    equal((status, text.strip()), (422, "error at least one valid stream is required for ingestion"), "no streams")
    for query, part in (("{", "parse error at line 1, col 2"), ('{a=~".*"}', "at least one regexp or equality matcher"),
                        ("{a=\"b\"} | line_format \"{{\"", "parse error")):
        status, text = ask("/loki/api/v1/query_range", "-G", "--data-urlencode", f"query={query}")
        equal(status, 400, f"status of {query}")
        contains(text, part, f"the reason why {query} is refused")
    equal(ask("/nowhere")[0], 404, "status of a path that is not there")
    equal(ask(PUSH, "-X", "GET")[0], 405, "status of a method that is not there")
    equal(lab.api.lines('{client="curl", run="%s", part="refused"}' % lab.run_id), [], "entries that were refused")


def valid_entries_survive_invalid_neighbours(lab, ask):
    now = time.time_ns()
    values = [[str(now), "good 1"], [str(now + 1), "x" * 300_000], [str(now + 2), "good 2"]]
    status, text = ask.push(labels_of(lab, "mixed"), values)
    equal(status, 400, "status of a push with one line too long")
    contains(text, "max entry size '262144' bytes exceeded", "the reason")
    equal(lab.api.lines('{client="curl", run="%s", part="mixed"}' % lab.run_id), ["good 1", "good 2"], "what was stored")
