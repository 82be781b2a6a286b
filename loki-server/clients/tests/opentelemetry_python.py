"""OpenTelemetry's SDK for Python: OTLP as protobuf, with gzip and without."""

import base64
import json
import time

from harness.checks import contains, equal

PATH = "/otlp/v1/logs"


def check(lab):
    start = time.time_ns() - 10**9
    with lab.wire() as wire:
        output, _ = lab.run(lab.python("with_opentelemetry.py", wire.url, lab.run_id, str(start)))
        exchanges = wire.exchanges(PATH)
    said = json.loads(output)
    equal(said["refused"], ["FAILURE"], "what the exporter said of a line that is too long")
    equal(said["outcomes"].count("FAILURE"), 1, "failures")
    # 608 records in batches of 512, one plain one, one refused without a retry, one more.
    equal([exchange.answer.status for exchange in exchanges], [204, 204, 204, 400, 204], "statuses")
    equal([exchange.request.headers.get("content-encoding") for exchange in exchanges], ["gzip", "gzip", None, None, None], "encodings")
    equal({exchange.request.headers["content-type"] for exchange in exchanges}, {"application/x-protobuf"}, "content types")
    equal([exchange.answer.body for exchange in exchanges if exchange.answer.status == 204], [b""] * 4, "bodies of 204")
    contains(exchanges[3].answer.body, b"max entry size", "the Status of the 400")
    equal(exchanges[3].answer.body[0], 0x12, "first byte of the Status, which names its message field")
    entries_are_mapped(lab, start)


def entries_are_mapped(lab, start):
    selector = '{service_instance_id="%s"}' % lab.run_id
    entries = lab.api.entries(selector, start=start, end=start + 10_000)
    labels = {"service_name": "shop", "service_namespace": "eu", "service_instance_id": lab.run_id,
              "deployment_environment_name": "test", "k8s_pod_name": "shop-0"}
    equal({json.dumps(entry.labels, sort_keys=True) for entry in entries}, {json.dumps(labels, sort_keys=True)}, "labels")

    resource = {"host_name": "box", "process_pid": "42"}
    scope = {"scope_name": "cart", "scope_version": "1.2", "scope_kind": "unit"}
    equal(entries[0].line, "with everything", "the first line")
    equal(entries[0].time, start, "the first time")
    expected = resource | scope | {
        "http_status": "200", "ok": "true", "ratio": "0.5", "list": '["a","b"]', "map_inner_deep": "x", "map_number": "1",
        "key_1st": "digit first", "observed_timestamp": str(start + 500), "severity_number": "13", "severity_text": "WARN",
        "detected_level": "warn", "trace_id": "0102030405060708090a0b0c0d0e0f10", "span_id": "1112131415161718", "flags": "1",
    }
    equal(entries[0].metadata, expected, "metadata of the first record")

    bodies = ["42", "true", "1.5", '{"a":1,"b":[true,"x"]}', '["one",2]', base64.b64encode(b"bytes").decode(),
              "ünï \"quoted\" \n newline"]
    equal([entry.line for entry in entries[1:8]], bodies, "bodies of all kinds as lines")
    equal(entries[1].metadata, resource | scope | {"observed_timestamp": str(start + 501), "severity_number": "9",
          "severity_text": "INFO", "detected_level": "info"}, "metadata of a plain record")
    equal([(entry.time - start, entry.line) for entry in entries[8:608]],
          [(number, f"numbered {number}") for number in range(20, 620)], "numbered records in order")
    equal([(entry.time - start, entry.line) for entry in entries[608:]],
          [(1000, "not compressed"), (3000, "after the refused one")], "records of the plain exporter")
    equal(entries[608].metadata["scope_name"], "plain", "scope of the plain exporter")
    equal(len(lab.api.lines(selector + " | severity_text=`WARN` | http_status=`200`", start=start, end=start + 10_000)), 1,
          "records by metadata")
