// Pushes what `tests/opentelemetry_js.py` expects, as JSON: URL RUN. Prints what the exporter said of each batch.
import { SeverityNumber } from "@opentelemetry/api-logs";
import { OTLPLogExporter } from "@opentelemetry/exporter-logs-otlp-http";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { BatchLogRecordProcessor, LoggerProvider } from "@opentelemetry/sdk-logs";

const [url, run] = process.argv.slice(2);
const codes = [];

class Exporter extends OTLPLogExporter {
  export(batch, done) {
    super.export(batch, (outcome) => {
      codes.push(outcome.code);
      done(outcome);
    });
  }
}

const exporter = new Exporter({ url: `${url}/otlp/v1/logs` });
const processor = new BatchLogRecordProcessor({ exporter, scheduledDelayMillis: 60000 });
const provider = new LoggerProvider({
  resource: resourceFromAttributes({ "service.name": "web", "service.instance.id": run, "host.name": "box" }),
  processors: [processor],
});
const logger = provider.getLogger("page", "3.4");
for (let number = 0; number < 50; number++) {
  logger.emit({
    severityNumber: SeverityNumber.ERROR,
    severityText: "Error",
    body: `numbered ${number}`,
    attributes: { number, nested: { deep: true }, list: ["a", 1] },
  });
}
logger.emit({ body: { kind: "map", n: 1 } });
await provider.forceFlush();
logger.emit({ body: "x".repeat(300000) });
await provider.forceFlush().catch(() => {});
await provider.shutdown().catch(() => {});
console.log(JSON.stringify(codes));
