// Tails what `tests/ws_node.py` asks for: URL. Prints one JSON object for each thing that happens.
import WebSocket from "ws";

const tell = (kind, rest = {}) => console.log(JSON.stringify({ kind, ...rest }));
const socket = new WebSocket(process.argv[2], { headers: { "X-Loki-Response-Encoding-Flags": "categorize-labels" } });
socket.on("open", () => tell("open"));
socket.on("ping", () => tell("ping"));
socket.on("message", (bytes, isBinary) => tell("message", { text: !isBinary, content: JSON.parse(bytes) }));
socket.on("close", (code, reason) => tell("close", { code, reason: reason.toString() }));
socket.on("error", (error) => tell("error", { message: error.message }));
// Closed from outside: say goodbye as a browser does.
process.stdin.on("end", () => socket.close(1000)).resume();
