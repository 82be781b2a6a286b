#!/usr/bin/env python3
"""Kills a server at random moments while two clients push, and checks that every acknowledged line is there once.

  kill9.py --server target/release/loki-server [--rounds 20] [--seed N]

Each round: push from two clients, `kill -9` after a random time, start again on the same data, compare what was pushed
in this round and count what was pushed before; at the end, compare everything. A push that was not acknowledged may be there or not, but never twice. Standard library only.
"""
import argparse, http.client, json, os, random, re, shutil, signal, socket, subprocess, sys, tempfile, threading, time

ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
ap.add_argument("--server", required=True)
ap.add_argument("--rounds", type=int, default=20)
ap.add_argument("--seed", type=int, default=int(time.time()))
ap.add_argument("--flush-bytes", type=int, default=1 << 20, help="flush often, so that kills hit flushes too")
args = ap.parse_args()

BASE_NS = 1_700_000_000_000_000_000
CLIENTS = 2
LINES_PER_PUSH = 50
LINES_PER_QUERY = 20_000
READY_SECONDS = 30

CONFIG = """
auth_enabled: false
server:
  http_listen_address: 127.0.0.1
  http_listen_port: %(port)d
  log_level: warn
common:
  path_prefix: %(folder)s/data
limits_config:
  max_entries_limit_per_query: 0
  ingestion_rate_mb: 10000
  ingestion_burst_size_mb: 10000
  per_stream_rate_limit: 10000MB
  per_stream_rate_limit_burst: 10000MB
  reject_old_samples: false
loki_store:
  flush_bytes: %(flush_bytes)d
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    def __init__(self, folder):
        self.folder, self.port = folder, free_port()
        config = os.path.join(folder, "config.yaml")
        with open(config, "w") as f:
            f.write(CONFIG % dict(port=self.port, folder=folder, flush_bytes=args.flush_bytes))
        self.log = open(os.path.join(folder, "log.txt"), "ab")
        self.process = subprocess.Popen([args.server, f"-config.file={config}"], stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + READY_SECONDS
        while not self.is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                sys.exit("server did not start:\n" + open(self.log.name).read()[-2000:])
            time.sleep(0.01)

    def is_ready(self):
        try:
            return self.request("GET", "/ready")[0] == 200
        except OSError:
            return False

    def request(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.log.close()


class Client(threading.Thread):
    """Pushes numbered lines until the server is gone; a line's number is also its time."""

    def __init__(self, server, name, first, acknowledged):
        super().__init__()
        self.server, self.label, self.next, self.acknowledged, self.failure = server, name, first, acknowledged, None

    def run(self):
        while True:
            numbers = range(self.next, self.next + LINES_PER_PUSH)
            values = [[str(BASE_NS + n), f"client {self.label} line {n} " + "x" * (n % 97)] for n in numbers]
            body = json.dumps({"streams": [{"stream": {"app": "kill9", "client": str(self.label)}, "values": values}]})
            self.next = numbers.stop
            try:
                status, answer = self.server.request("POST", "/loki/api/v1/push", body)
            except (OSError, http.client.HTTPException):
                return
            if status != 204:
                self.failure = f"push answered {status} {answer!r}"
                return
            self.acknowledged.extend(numbers)


def stored(server, client, begin, end):
    """Numbers from `begin` up to `end` of the stored lines of a client, with repetitions."""
    found, start = [], BASE_NS + begin
    while True:
        span = f"start={start}&end={BASE_NS + end}&limit={LINES_PER_QUERY}&direction=forward"
        data = query(server, f"query_range?query={selector(client)}&{span}")
        values = sorted((int(t), line) for s in data["result"] for t, line in s["values"])
        found += [int(re.match(r"client \d+ line (\d+) ", line)[1]) for _, line in values]
        if len(values) < LINES_PER_QUERY:
            return found
        start = values[-1][0] + 1


def count(server, client, end):
    """How many lines of a client with numbers below `end` are stored."""
    if end == 0:
        return 0
    counted = f"sum(count_over_time({selector(client)}[1s]))"
    result = query(server, f"query?query={counted}&time={BASE_NS + end - 1}")["result"]
    return int(result[0]["value"][1]) if result else 0


def selector(client):
    return "%7Bclient%3D%22" + str(client) + "%22%7D"


def query(server, path):
    status, body = server.request("GET", f"/loki/api/v1/{path}")
    if status != 200:
        sys.exit(f"query answered {status} {body!r}")
    return json.loads(body)["data"]


class Ledger:
    """What is known of a client's lines. Only those of the last round are listed, older ones are counted."""

    def __init__(self):
        self.acknowledged, self.sent = [], 0
        self.checked, self.kept = 0, 0

    def check(self, server, client):
        """Compares the lines of the last round; those before must be as many as they were."""
        self.compare(server, client, self.checked, [n for n in self.acknowledged if n >= self.checked])
        older = count(server, client, self.checked)
        if older != self.kept:
            sys.exit(f"client {client}: {self.kept} lines became {older}; data in {server.folder}")
        self.checked, self.kept = self.sent, count(server, client, self.sent)

    def compare(self, server, client, begin, acknowledged):
        found = stored(server, client, begin, self.sent)
        lost = set(acknowledged) - set(found)
        if lost:
            sys.exit(f"client {client}: {len(lost)} acknowledged lines lost, first {min(lost)}; data in {server.folder}")
        if len(found) != len(set(found)):
            sys.exit(f"client {client}: {len(found) - len(set(found))} lines are there twice; data in {server.folder}")


def main():
    rng = random.Random(args.seed)
    folder = tempfile.mkdtemp(prefix="kill9-")
    ledgers = {client: Ledger() for client in range(CLIENTS)}
    server = Server(folder)
    for _ in range(args.rounds):
        clients = [Client(server, c, ledger.sent, ledger.acknowledged) for c, ledger in ledgers.items()]
        for client in clients:
            client.start()
        time.sleep(rng.uniform(0.02, 1.0))
        server.kill()
        for client in clients:
            client.join()
            ledgers[client.label].sent = client.next
            if client.failure:
                sys.exit(client.failure)
        server = Server(folder)
        for client, ledger in ledgers.items():
            ledger.check(server, client)
    for client, ledger in ledgers.items():
        ledger.compare(server, client, 0, ledger.acknowledged)
    server.kill()
    shutil.rmtree(folder)
    total = sum(len(ledger.acknowledged) for ledger in ledgers.values())
    print(f"{args.rounds} kills, {total} acknowledged lines, none lost, none twice (seed {args.seed})")


main()
