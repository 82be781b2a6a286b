"""Loki's own command line client, the published program as it is."""

import json
import re
import tempfile
import time
from datetime import datetime, timezone

from harness.api import Api
from harness.checks import contains, equal, is_true
from harness.lab import Lines

# Entries of the big stream come in groups that share a time, of a size that divides no batch.
GROUP = 7
ENTRIES = 2100
STEP_NS = 1_000_000


def check(lab):
    # A multiple of the steps below, which the server rounds ranges to.
    start = time.time_ns() // 10**10 * 10**10 - 600 * 10**9
    labels = {"client": "logcli", "run": lab.run_id}
    lines = [f"number={number} level={'error' if number % 10 == 0 else 'info'}" for number in range(ENTRIES)]
    values = [[start + number // GROUP * STEP_NS, line] for number, line in enumerate(lines)]
    lab.api.push([(labels | {"host": "a"}, values)])
    few = [[start + number * STEP_NS + 501, f"few {number}", {"trace": f"t{number}"}] for number in range(30)]
    lab.api.push([(labels | {"host": "b"}, few)])
    with lab.wire() as wire:
        cli = Cli(lab, wire, start)
        batches_join_without_gaps_or_repeats(cli, lines)
        outputs_show_times_labels_and_metadata(cli, start)
        metrics_are_printed(cli, start)
        labels_and_series_are_listed(cli)
        sizes_are_told(cli)
        fields_are_detected(cli)
        parts_are_merged(cli, lines)
        refusals_end_it(cli)
        is_true(all(one.answer.status < 500 for one in wire.exchanges()), "a request was answered with 5xx")
        a_tail_prints_what_is_pushed(lab, cli, labels)
    tenants_are_apart(lab)
    deletes_are_asked_for(lab)


class Cli:
    def __init__(self, lab, wire, start):
        self.lab, self.wire = lab, wire
        self.selector = '{client="logcli", run="%s"}' % lab.run_id
        self.big = self.selector[:-1] + ', host="a"}'
        self.few = self.selector[:-1] + ', host="b"}'
        self.range = (f"--from={rfc3339(start)}", f"--to={rfc3339(start + 10 * 10**9)}")

    def command(self, *words):
        return self.lab.go("logcli", f"--addr={self.wire.url}", "--timezone=UTC", *words)

    def __call__(self, *words, **rest):
        return self.lab.run(self.command(*words), **rest)

    def lines(self, *words):
        return self(*words)[0].splitlines()


def rfc3339(ns):
    whole = datetime.fromtimestamp(ns // 10**9, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}.{ns % 10**9:09d}Z"


def batches_join_without_gaps_or_repeats(cli, lines):
    common = ("query", "--quiet", "--output=raw", *cli.range)
    for batch in (100, 333, 5000):
        for words, expected in (("--forward",), lines), ((), lines[::-1]):
            found = cli.lines(*common, *words, f"--limit={ENTRIES}", f"--batch={batch}", cli.big)
            in_order(found, expected, f"lines in batches of {batch} {words}")
    in_order(cli.lines(*common, "--limit=250", "--batch=100", "--forward", cli.big), lines[:250], "a limit within a batch")
    equal(len(cli.lines(*common, f"--limit={ENTRIES * 2}", "--batch=400", cli.selector)), ENTRIES + 30, "lines of both streams")
    in_order(cli.lines(*common, "--limit=5", "--forward", "--compress", cli.big), lines[:5], "lines sent compressed")
    last = cli.wire.exchanges()[-1]
    equal(last.answer.headers.get("content-encoding"), "gzip", "encoding of the answer to --compress")


def in_order(found, expected, what):
    """The client sorts what it prints by time alone, so that lines of one time come in any order."""
    equal([group_of(line) for line in found], [group_of(line) for line in expected], f"order of {what}")
    equal(sorted(found), sorted(expected), what)


def group_of(line):
    return int(re.match(r"number=(\d+)", line)[1]) // GROUP


def outputs_show_times_labels_and_metadata(cli, start):
    found = cli.lines("query", "--quiet", "--output=jsonl", "--forward", "--limit=2", "--include-common-labels", *cli.range, cli.few)
    first = json.loads(found[0])
    equal(first["line"], "few 0", "line as JSON")
    equal(first["timestamp"], rfc3339(start + 501), "time as JSON, to the nanosecond")
    labels = {"client": "logcli", "run": cli.lab.run_id, "host": "b", "service_name": "unknown_service", "trace": "t0",
              "detected_level": "unknown"}
    equal(first["labels"], labels, "labels as JSON, with structured metadata")

    output, notes = cli("query", "--forward", "--limit=2", "--stats", "--output-timestamp-format=rfc3339nano", *cli.range,
                        cli.few + " | trace=`t1`")
    contains(output, rfc3339(start + STEP_NS + 501), "the default output")
    contains(output, "few 1", "the default output")
    contains(notes, "/loki/api/v1/query_range?direction=FORWARD", "the notes")
    for word in ("Summary.ExecTime", "Summary.TotalLinesProcessed", "Ingester.TotalReached"):
        contains(notes, word, "the statistics")


def metrics_are_printed(cli, start):
    at = f"--now={rfc3339(start + 60 * 10**9)}"
    (vector,) = json.loads(cli("instant-query", "--quiet", at, "sum by (level) (count_over_time(%s | logfmt | level=`error` [5m]))" % cli.big)[0])
    equal((vector["metric"], vector["value"]), ({"level": "error"}, [(start + 60 * 10**9) // 10**9, str(ENTRIES // 10)]), "a vector")
    (series,) = json.loads(cli("query", "--quiet", "--step=5s", *cli.range, "sum(count_over_time(%s[5s]))" % cli.big)[0])
    # The range holds its start not, so that the first group belongs to the first step alone.
    seconds = start // 10**9
    equal(series["values"], [[seconds, str(GROUP)], [seconds + 5, str(ENTRIES - GROUP)]], "a matrix")
    (scalar,) = json.loads(cli("instant-query", "--quiet", "vector(1)+vector(1)")[0])
    equal(scalar["value"][1], "2", "a constant")


def labels_and_series_are_listed(cli):
    # Other tests push to the same server, so the label names here are not all there are.
    names = cli.lines("labels", "--quiet", "--since=2h")
    is_true({"client", "run", "host", "service_name"} <= set(names), f"label names are missing: {names}")
    equal(names, sorted(names), "label names in order")
    equal([value for value in cli.lines("labels", "--quiet", "--since=2h", "client") if value == "logcli"], ["logcli"], "label values")
    found = [labels_of(line) for line in cli.lines("series", "--quiet", "--since=2h", cli.selector)]
    base = {"client": "logcli", "run": cli.lab.run_id, "service_name": "unknown_service"}
    equal(sorted(found, key=lambda labels: labels["host"]), [base | {"host": "a"}, base | {"host": "b"}], "series")
    analysis = cli("series", "--quiet", "--since=2h", "--analyze-labels", cli.selector)[0]
    contains(analysis, "Total Streams:  2", "the analysis of labels")
    equal(cli.lines("series", "--quiet", "--since=2h", '{client="nobody"}'), [], "series of nobody")


def labels_of(text):
    return dict(re.findall(r'(\w+)="([^"]*)"', text))


def sizes_are_told(cli):
    stats = cli("stats", "--quiet", *cli.range, cli.selector)[0]
    found = {key.strip(): value.strip() for key, value in (line.split(":", 1) for line in stats.splitlines() if ":" in line)}
    is_true(found.get("streams") == "2" and found.get("entries") == str(ENTRIES + 30), f"statistics: {stats!r}")
    volumes = json.loads(cli("volume", "--quiet", *cli.range, "--targetLabels=host", cli.selector)[0])
    equal([one["metric"] for one in volumes], [{"host": "a"}, {"host": "b"}], "volumes by label, largest first")
    is_true(int(volumes[0]["value"][1]) > int(volumes[1]["value"][1]) > 0, f"volumes: {volumes}")
    volumes = json.loads(cli("volume_range", "--quiet", *cli.range, "--step=2s", "--aggregateByLabels", cli.selector)[0])
    is_true(volumes and all(list(one["metric"].values()) == [""] for one in volumes), f"volumes of labels: {volumes}")


def fields_are_detected(cli):
    output = cli("detected-fields", "--quiet", "--line-limit=5000", *cli.range, cli.selector)[0]
    for field in ("number", "level", "trace"):
        contains(output, field, "detected fields")


def parts_are_merged(cli, lines):
    with tempfile.TemporaryDirectory(prefix="loki-clients-logcli-") as folder:
        found = cli.lines("query", "--quiet", "--output=raw", "--forward", "--parallel-duration=1s", "--parallel-max-workers=4",
                          "--merge-parts", f"--part-path-prefix={folder}/part", "--batch=50", *cli.range, cli.big)
    in_order(found, lines, "lines that were downloaded in parallel")


def refusals_end_it(cli):
    for words, reason in ((("query", "{"), "parse error"), (("instant-query", cli.big), "log queries are not supported as an instant query type"),
                          (("series", '{client="x"} |= "y"'), "only label matchers are supported"),
                          (("query", "--limit=6000", "--batch=6000", cli.big), "max entries limit per query exceeded, limit > max_entries_limit_per_query (6000 > 5000)")):
        _, notes = cli(*words, expect_code=1)
        contains(notes, reason, f"the reason why {words} is refused")


def a_tail_prints_what_is_pushed(lab, cli, labels):
    query = '{client="logcli", run="%s", host=~"tail.*"}' % lab.run_id
    with lab.running(cli.command("query", "--tail", "--quiet", "--output=raw", query)) as process:
        printed = Lines(process.stdout)
        # What is pushed before the tail has begun is told as stored, what is pushed later as live.
        expected = []
        for batch in range(10):
            now = time.time_ns()
            fresh = [f"batch {batch} line {number}" for number in range(20)]
            lab.api.push([(labels | {"host": f"tail{batch % 2}"}, [[now + number, line] for number, line in enumerate(fresh)])])
            expected += fresh
            printed.wait_for(f"{len(expected)} lines", lambda all: len(all) >= len(expected))
        equal(printed.all, expected, "tailed lines")
        is_true(process.poll() is None, "logcli ended")


def tenants_are_apart(lab):
    with lab.another_server("-auth.enabled=true") as server, lab.wire(server) as wire:
        now = time.time_ns()
        for tenant in ("one", "two"):
            Api(server.url, tenant).push([({"app": "shared"}, [[now, f"of {tenant}"]])])
        def ask(*words, **rest):
            return lab.run(lab.go("logcli", f"--addr={wire.url}", *words, "query", "--quiet", "--output=raw", '{app="shared"}'), **rest)
        equal([ask(f"--org-id={tenant}")[0] for tenant in ("one", "two")], ["of one\n", "of two\n"], "lines of two tenants")
        contains(ask(expect_code=1)[1], "no org id", "the reason why nobody may ask")


def deletes_are_asked_for(lab):
    with lab.another_server("-compactor.retention-enabled=true", "-compactor.delete-request-store=filesystem") as server, lab.wire(server) as wire:
        api = Api(server.url)
        hour = 3600 * 10**9
        now = time.time_ns() // 10**9 * 10**9
        api.push([({"app": "a"}, [[now - hour, "secret"], [now - hour + 1, "harmless"]])])
        def ask(*words):
            return lab.run(lab.go("logcli", f"--addr={wire.url}", "delete", *words, "--quiet"))[0]
        ask("create", f"--from={rfc3339(now - 2 * hour)}", f"--to={rfc3339(now)}", '{app="a"} |= "secret"')
        # The client prints what it is told, whatever form that has.
        contains(ask("list"), 'app="a"', "the list of deletes")
        (request,) = api.read("/loki/api/v1/delete")
        equal((request["query"], request["start_time"], request["end_time"]), ('{app="a"} |= "secret"', (now - 2 * hour) // 10**9, now // 10**9),
              "the request")
        ask("cancel", f"--request-id={request['request_id']}")
        is_true(all(one.answer.status in (200, 204) for one in wire.exchanges("/loki/api/v1/delete")), "a delete was refused")
