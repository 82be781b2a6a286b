"""A live tail with Python's websockets, as browsers do it: merged labels, pings, refusals, the end."""

import time

from harness.checks import contains, equal, is_true
from tests.tailing import Tail, tail_url, tailing


def check(lab):
    labels = {"client": "websockets-python", "run": lab.run_id}
    selector = '{client="websockets-python", run="%s"}' % lab.run_id
    with lab.wire() as wire:
        stored_entries_come_first_and_live_ones_follow(lab, wire, labels, selector)
        a_pipeline_filters(lab, wire, labels, selector)
        mistakes_are_refused_before_the_upgrade(lab, wire, selector)
        later_refusals_close_with_a_reason(lab, wire, selector)
        tails_beyond_the_limit_are_closed_with_a_reason(lab, wire, selector)
    a_server_that_stops_says_so(lab)


def command(lab, wire, **params):
    return lab.python("with_websockets.py", tail_url(wire, **params))


def stored_entries_come_first_and_live_ones_follow(lab, wire, labels, selector):
    start = time.time_ns() - 10**9
    lab.api.push([(labels, [[start + number, f"stored {number}"] for number in range(5)])])
    with tailing(lab, command(lab, wire, query=selector, limit=3, start=start)) as tail:
        stored = tail.wait_for_entries(3)
        # As a query of that limit would: the newest ones, told in the order of their times.
        equal([entry[2] for entry in stored], ["stored 2", "stored 3", "stored 4"], "stored entries")
        equal([entry[1] for entry in stored], [start + 2, start + 3, start + 4], "times of stored entries")
        for number in range(20):
            lab.api.push([(labels, [[time.time_ns(), f"live {number}", {"trace": "abc"}]])])
        live = tail.wait_for_entries(23)[3:]
        equal([entry[2] for entry in live], [f"live {number}" for number in range(20)], "live entries in order")
        merged = labels | {"service_name": "unknown_service", "detected_level": "unknown", "trace": "abc"}
        equal([entry[0] for entry in live], [merged] * 20, "labels of live entries")
        is_true(all(len(entry) == 3 for entry in live), "there is a third element although nobody asked for categories")
        is_true(all(message["text"] for message in tail.happened("message")), "a message is not text")
        tail.wait_for("ping", 2, seconds=6)
        equal(len(tail.entries()), 23, "entries at the end")


def a_pipeline_filters(lab, wire, labels, selector):
    query = selector + ' | logfmt | level="error" | line_format "{{.msg}}!"'
    with tailing(lab, command(lab, wire, query=query, start=time.time_ns())) as tail:
        now = time.time_ns()
        lines = ["level=info msg=no", "level=error msg=yes", "level=error msg=again"]
        lab.api.push([(labels, [[now + number, line] for number, line in enumerate(lines)])])
        found = tail.wait_for_entries(2)
        equal([entry[2] for entry in found], ["yes!", "again!"], "filtered and formatted lines")
        equal(found[0][0]["msg"], "yes", "the label that the parser made")


def mistakes_are_refused_before_the_upgrade(lab, wire, selector):
    refused = [
        ({"query": "{"}, "parse error"),
        ({"query": selector, "delay_for": 6}, "delay_for can't be greater than 5"),
    ]
    for params, reason in refused:
        with lab.running(command(lab, wire, **params)) as process:
            (told,) = Tail(process).wait_for("refused")
        equal(told["status"], 400, f"status of {params}")
        contains(told["body"], reason, f"the reason why {params} is refused")


def later_refusals_close_with_a_reason(lab, wire, selector):
    with lab.running(command(lab, wire, query="rate(%s[1m])" % selector)) as process:
        (closed,) = Tail(process).wait_for("close")
    equal((closed["code"], closed["reason"]), (1011, "only log selector is supported"), "the end of a tail of a metric")


def tails_beyond_the_limit_are_closed_with_a_reason(lab, wire, selector):
    with lab.another_server("-querier.max-concurrent-tail-requests=1") as server:
        with lab.wire(server) as small, tailing(lab, command(lab, small, query=selector)):
            with lab.running(command(lab, small, query=selector)) as process:
                (closed,) = Tail(process).wait_for("close")
        equal(closed["code"], 1011, "code of a tail too many")
        contains(closed["reason"], "max concurrent tail requests limit exceeded, count > limit (2 > 1)", "its reason")


def a_server_that_stops_says_so(lab):
    with lab.another_server() as server, lab.wire(server) as wire:
        with tailing(lab, command(lab, wire, query='{a="b"}')) as tail:
            server.process.terminate()
            tail.wait_for("close")
            equal(server.process.wait(20), 0, "exit code of the server")
