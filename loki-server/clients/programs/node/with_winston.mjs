// Pushes what `tests/winston_loki.py` expects: URL RUN. Prints the errors that the library met.
import winston from "winston";
import LokiTransport from "winston-loki";

const [url, run] = process.argv.slice(2);

function logger(json, labels) {
  const errors = [];
  const transport = new LokiTransport({
    host: url,
    json,
    labels: { client: "winston-loki", run, ...labels },
    format: winston.format.json(),
    interval: 60,
    clearOnError: true,
    gracefulShutdown: false,
    onConnectionError: (error) => errors.push(error.message),
  });
  return { errors, transport, logger: winston.createLogger({ level: "silly", transports: [transport] }) };
}

// The loop of the library sends every interval; a test does not wait for it.
async function send({ transport }) {
  await transport.batcher.sendBatchToLoki().catch(() => {});
}

const found = {};
for (const [name, json] of [["protobuf", false], ["json", true]]) {
  const good = logger(json, { encoding: name });
  for (let number = 0; number < 50; number++) good.logger.info(`numbered ${number}`);
  good.logger.error("as error ünï\nnewline", { order: 7, nested: { deep: [1, "x"] }, text: "t" });
  await send(good);
  // A second batch goes over the same connection.
  good.logger.warn("second batch");
  await send(good);
  const bad = logger(json, { encoding: name, big: "x".repeat(3000) });
  bad.logger.info("refused");
  await send(bad);
  found[name] = { good: good.errors, bad: bad.errors };
}
// Nothing may hold the process back: the library waits for its interval otherwise.
process.stdout.write(JSON.stringify(found), () => process.exit(0));
