"""Pushes what `tests/opentelemetry_python.py` expects: URL RUN START_NS. Prints what the exporter said of each batch."""

import json
import sys

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

url, run, start_ns = sys.argv[1], sys.argv[2], int(sys.argv[3])
outcomes = []


class Exporter(OTLPLogExporter):
    def export(self, batch):
        outcome = super().export(batch)
        outcomes.append(outcome.name)
        return outcome


def provider(compression):
    resource = Resource(
        {
            "service.name": "shop",
            "service.namespace": "eu",
            "service.instance.id": run,
            "deployment.environment.name": "test",
            "k8s.pod.name": "shop-0",
            "host.name": "box",
            "process.pid": 42,
        }
    )
    found = LoggerProvider(resource=resource)
    exporter = Exporter(endpoint=url + "/otlp/v1/logs", compression=compression)
    found.add_log_record_processor(BatchLogRecordProcessor(exporter, schedule_delay_millis=60_000))
    return found


def emit(logger, number, body, severity=SeverityNumber.INFO, **rest):
    logger.emit(
        LogRecord(
            timestamp=start_ns + number,
            observed_timestamp=start_ns + number + 500,
            severity_number=severity,
            severity_text=severity.name,
            body=body,
            **rest,
        )
    )


zipped = provider(Compression.Gzip)
logger = zipped.get_logger("cart", "1.2", attributes={"scope.kind": "unit"})
trace = SpanContext(0x0102030405060708090A0B0C0D0E0F10, 0x1112131415161718, False, TraceFlags(TraceFlags.SAMPLED))
emit(
    logger,
    0,
    "with everything",
    SeverityNumber.WARN,
    attributes={
        "http.status": 200,
        "ok": True,
        "ratio": 0.5,
        "list": ["a", "b"],
        "map": {"inner": {"deep": "x"}, "number": 1},
        "1st": "digit first",
    },
    context=set_span_in_context(NonRecordingSpan(trace)),
)
bodies = [42, True, 1.5, {"a": 1, "b": [True, "x"]}, ["one", 2], b"bytes", "ünï \"quoted\" \n newline"]
for number, body in enumerate(bodies, start=1):
    emit(logger, number, body)
for number in range(20, 620):
    emit(logger, number, f"numbered {number}")
zipped.force_flush()

plain = provider(Compression.NoCompression)
emit(plain.get_logger("plain"), 1000, "not compressed")
plain.force_flush()

before = len(outcomes)
emit(plain.get_logger("plain"), 2000, "x" * 300_000)
plain.force_flush()
refused = outcomes[before:]

emit(plain.get_logger("plain"), 3000, "after the refused one")
for one in (zipped, plain):
    one.shutdown()
print(json.dumps({"outcomes": outcomes, "refused": refused}))
