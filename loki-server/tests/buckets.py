#!/usr/bin/env python3
"""Runs the server on buckets of real object stores: MinIO for S3, Azurite for Azure.

  buckets.py --server target/release/loki-server [--only minio azurite] [--cache FOLDER]

For each: push, kill, start again; stop, lose the local folder, start again; start again with what the disk cache kept;
take the object store away while pushes go on, give it back. Every acknowledged line must be there once after each step.
The object stores are programs of their own, installed once into the cache folder (~/.cache/loki-store-buckets unless LOKI_STORE_BUCKETS says otherwise) from Go's
module proxy and from npm; one whose installation needs a program that this machine lacks is skipped. The server needs
the cargo features aws and azure. Standard library only.
"""
import argparse, base64, email.utils, hashlib, hmac, http.client, json, os, shutil, signal, socket, subprocess, sys
import tempfile, time, urllib.parse

MINIO = "github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c"
AZURITE = "azurite@3.35.0"
INSTALL_SECONDS = 1500
READY_SECONDS = 60
USER, PASSWORD, BUCKET = "loki-store-test", "loki-store-test-secret", "logs"
# The account that every Azurite has; it is in its documentation.
AZURE_ACCOUNT = "devstoreaccount1"
AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
BASE_NS = 1_700_000_000_000_000_000
LINES_PER_PUSH = 500
STREAMS = 4

CONFIG = """
auth_enabled: false
server:
  http_listen_address: 127.0.0.1
  http_listen_port: %(port)d
  log_level: warn
common:
  path_prefix: %(folder)s/local
limits_config:
  reject_old_samples: false
  ingestion_rate_mb: 1000
  ingestion_burst_size_mb: 1000
  per_stream_rate_limit: 1000MB
  per_stream_rate_limit_burst: 1000MB
schema_config:
  configs:
    - {from: 2023-01-01, store: tsdb, object_store: %(kind)s, schema: v13, index: {prefix: index_, period: 24h}}
storage_config:
  %(storage)s
loki_store:
  flush_bytes: 262144
  disk_cache_bytes: 67108864
"""


class Skipped(Exception):
    """A program that the installation needs is not on this machine."""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def call(port, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def wait_until(what, condition, process):
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            if condition():
                return
        except OSError:
            pass
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"{what} does not answer")
        time.sleep(0.05)


def install(command, needs, folder, env):
    if not shutil.which(needs):
        raise Skipped(f"needs {needs}")
    print(f"(installing {command[-1]}: minutes, the first time)", file=sys.stderr, flush=True)
    outcome = subprocess.run(command, cwd=folder, env={**os.environ, **env}, stdin=subprocess.DEVNULL, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=INSTALL_SECONDS)
    if outcome.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{outcome.stdout[-3000:]}")


class Minio:
    """MinIO with one bucket, which is a folder in its own."""

    def __init__(self, cache, folder):
        self.program, self.folder, self.port = os.path.join(cache, "bin", "minio"), folder, free_port()
        if not os.path.exists(self.program):
            places = {"GOBIN": os.path.dirname(self.program), "GOPATH": os.path.join(cache, "go"),
                      "GOCACHE": os.path.join(cache, "go-build"), "GOFLAGS": "-modcacherw"}
            install(["go", "install", "-gcflags=all=-l", "-ldflags=-s -w", MINIO], "go", cache, places)
            # Gigabytes of sources and objects, of use to nobody now that the program is built.
            for name in ("go", "go-build"):
                shutil.rmtree(os.path.join(cache, name), ignore_errors=True)
        os.makedirs(os.path.join(folder, "objects", BUCKET))
        self.start()

    def start(self):
        env = {**os.environ, "MINIO_ROOT_USER": USER, "MINIO_ROOT_PASSWORD": PASSWORD, "MINIO_UPDATE": "off"}
        command = [self.program, "server", os.path.join(self.folder, "objects"), "--quiet",
                   "--address", f"127.0.0.1:{self.port}", "--console-address", f"127.0.0.1:{free_port()}"]
        self.process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until("MinIO", lambda: call(self.port, "GET", "/minio/health/ready")[0] == 200, self.process)

    def storage(self):
        return ("s3", f"aws: {{s3forcepathstyle: true, insecure: true, endpoint: '127.0.0.1:{self.port}', region: us-east-1, "
                      f"bucketnames: {BUCKET}, access_key_id: {USER}, secret_access_key: {PASSWORD}}}")


class Azurite:
    """Azurite with one container."""

    def __init__(self, cache, folder):
        self.program = os.path.join(cache, "node_modules", ".bin", "azurite-blob")
        self.folder, self.port = folder, free_port()
        if not os.path.exists(self.program):
            install(["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", AZURITE], "npm", cache, {})
        self.start()
        status, answer = self.create_container()
        if status != 201:
            sys.exit(f"Azurite answered {status} {answer!r} to a new container")

    def start(self):
        command = [self.program, "--silent", "--skipApiVersionCheck", "--location", os.path.join(self.folder, "objects"),
                   "--blobHost", "127.0.0.1", "--blobPort", str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until("Azurite", lambda: call(self.port, "GET", "/")[0] > 0, self.process)

    def create_container(self):
        path = f"/{AZURE_ACCOUNT}/{BUCKET}"
        headers = {"x-ms-date": email.utils.formatdate(usegmt=True), "x-ms-version": "2021-12-02", "Content-Length": "0"}
        canonical = "".join(f"{name}:{headers[name]}\n" for name in ("x-ms-date", "x-ms-version"))
        to_sign = "PUT" + "\n" * 12 + canonical + f"/{AZURE_ACCOUNT}{path}\nrestype:container"
        digest = hmac.new(base64.b64decode(AZURE_KEY), to_sign.encode(), hashlib.sha256).digest()
        headers["Authorization"] = f"SharedKey {AZURE_ACCOUNT}:{base64.b64encode(digest).decode()}"
        return call(self.port, "PUT", f"{path}?restype=container", None, headers)

    def storage(self):
        endpoint = f"http://127.0.0.1:{self.port}/{AZURE_ACCOUNT}"
        text = f"AccountName={AZURE_ACCOUNT};AccountKey={AZURE_KEY};BlobEndpoint={endpoint}"
        return "azure", f"azure: {{container_name: {BUCKET}, connection_string: '{text}'}}"


class Server:
    """Ours, with its data in a bucket."""

    def __init__(self, program, bucket, folder):
        self.program, self.bucket, self.folder = program, bucket, folder
        self.acknowledged = 0
        self.start()

    def start(self):
        kind, storage = self.bucket.storage()
        self.port = free_port()
        config = os.path.join(self.folder, "config.yaml")
        with open(config, "w") as file:
            file.write(CONFIG % dict(port=self.port, folder=self.folder, kind=kind, storage=storage))
        with open(os.path.join(self.folder, "log.txt"), "ab") as log:
            self.process = subprocess.Popen([self.program, f"-config.file={config}"], stdout=log, stderr=log)
        wait_until("the server", lambda: call(self.port, "GET", "/ready")[0] == 200, self.process)

    def stop(self, how):
        self.process.send_signal(how)
        self.process.wait(READY_SECONDS)

    def push(self, bodies):
        for _ in range(bodies):
            first = self.acknowledged
            streams = [{"stream": {"app": "buckets", "n": str(n)},
                        "values": [[str(BASE_NS + i), f"line {i} of buckets " + "x" * (i % 53)]
                                   for i in range(first + n, first + LINES_PER_PUSH, STREAMS)]} for n in range(STREAMS)]
            body = json.dumps({"streams": streams})
            status, answer = call(self.port, "POST", "/loki/api/v1/push", body, {"Content-Type": "application/json"})
            if status != 204:
                sys.exit(f"push answered {status} {answer!r}")
            self.acknowledged += LINES_PER_PUSH

    def count(self):
        """Status, and how many lines there are of all streams together."""
        text = urllib.parse.quote('sum(count_over_time({app="buckets"} |= "line"[1s]))')
        status, body = call(self.port, "GET", f"/loki/api/v1/query?query={text}&time={BASE_NS + self.acknowledged}")
        if status != 200:
            return status, body
        result = json.loads(body)["data"]["result"]
        return status, int(result[0]["value"][1]) if result else 0

    def check(self, step):
        answer = self.count()
        if answer != (200, self.acknowledged):
            sys.exit(f"{step}: {self.acknowledged} lines were acknowledged, the answer is {answer}; data in {self.folder}")
        needle = urllib.parse.quote('{app="buckets"} |= "line ' + str(self.acknowledged - 1) + ' "')
        span = f"start={BASE_NS}&end={BASE_NS + self.acknowledged}"
        status, body = call(self.port, "GET", f"/loki/api/v1/query_range?query={needle}&{span}")
        found = status == 200 and [v[0] for s in json.loads(body)["data"]["result"] for v in s["values"]]
        if found != [str(BASE_NS + self.acknowledged - 1)]:
            sys.exit(f"{step}: the last line is not found: {status} {body!r}")

    def check_disk_cache(self, step):
        """What was read before a restart is found."""
        _, text = call(self.port, "GET", "/metrics")
        counts = dict(line.rsplit(" ", 1) for line in text.decode().splitlines() if line.startswith("loki_store_disk_cache_"))
        counts = {name: float(count) for name, count in counts.items()}
        faults = [counts[f"loki_store_disk_cache_{name}_total"] for name in ("damaged", "write_failures")]
        if counts["loki_store_disk_cache_hits_total"] == 0 or any(faults):
            sys.exit(f"{step}: the disk cache does not work: {counts}")


def run(kind, program, cache):
    folder = tempfile.mkdtemp(prefix="buckets-")
    bucket = kind(cache, folder)
    server = Server(program, bucket, folder)
    try:
        server.push(40)
        server.check("after pushes")
        server.stop(signal.SIGKILL)
        server.start()
        server.check("after a kill")
        server.push(10)
        server.stop(signal.SIGTERM)
        shutil.rmtree(os.path.join(folder, "local"))
        server.start()
        server.check("with an empty local folder")
        server.stop(signal.SIGTERM)
        server.start()
        server.check("with a disk cache")
        server.check_disk_cache("after a restart")
        # Not killed: what Azurite holds is not safe from that.
        bucket.process.terminate()
        bucket.process.wait(READY_SECONDS)
        server.push(2)
        status, answer = server.count()
        if status < 500 and (status, answer) != (200, server.acknowledged):
            sys.exit(f"without its object store the server answers {status} {answer!r}; data in {folder}")
        bucket.start()
        wait_until("the query", lambda: server.count()[0] == 200, server.process)
        server.push(2)
        server.check("when the object store came back")
    finally:
        for process in (server.process, bucket.process):
            process.kill()
            process.wait()
    shutil.rmtree(folder)
    return server.acknowledged


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", required=True)
    kinds = {"minio": Minio, "azurite": Azurite}
    parser.add_argument("--only", nargs="+", choices=kinds, default=list(kinds))
    default_cache = os.environ.get("LOKI_STORE_BUCKETS") or os.path.expanduser("~/.cache/loki-store-buckets")
    parser.add_argument("--cache", default=default_cache)
    args = parser.parse_args()
    os.makedirs(args.cache, exist_ok=True)
    passed = skipped = 0
    for name in args.only:
        try:
            lines = run(kinds[name], os.path.abspath(args.server), args.cache)
        except Skipped as reason:
            print(f"{name:<10} skipped {reason}")
            skipped += 1
            continue
        print(f"{name:<10} ok      {lines} lines, none lost, none twice")
        passed += 1
    print(f"{passed} passed, 0 failed, {skipped} skipped")


main()
