// Pushes what `tests/pino_loki.py` expects: URL RUN good|refused. The library prints its errors to stderr.
import pino from "pino";
import { pinoLoki } from "pino-loki";

const [url, run, what] = process.argv.slice(2);
const stream = pinoLoki({
  host: url,
  labels: { client: "pino-loki", run, ...(what === "refused" ? { big: "x".repeat(3000) } : {}) },
  propsToLabels: ["part"],
  batching: { interval: 60 },
});
// Nanoseconds of the clock, as the library's own example for exact times does it.
const offset = BigInt(Date.now()) * 1000000n - process.hrtime.bigint();
const logger = pino({ level: "trace", timestamp: () => `,"time":"${process.hrtime.bigint() + offset}"` }, stream);

for (let number = 0; number < 50; number++) {
  logger.info({ part: number % 2 ? "odd" : "even", meta: { order: number, who: { name: "ünï" } } }, `numbered ${number}`);
}
logger.fatal({ array: [1, 2] }, 'as fatal "quoted" \n newline');
// Ending the stream sends what is left.
stream.end();
