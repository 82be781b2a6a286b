"""A server of this project on a free port with an empty folder."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

READY_SECONDS = 30
STOP_SECONDS = 20


class Server:
    def __init__(self, program, flags=()):
        self.folder = tempfile.mkdtemp(prefix="loki-clients-")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_path = os.path.join(self.folder, "log.txt")
        command = [
            program,
            "-server.http-listen-address=127.0.0.1",
            f"-server.http-listen-port={self.port}",
            f"-common.path-prefix={self.folder}/loki",
            f"-loki-store.data-folder={self.folder}/loki",
            # Off unless it is asked for, but clients meet it everywhere else.
            "-validation.reject-old-samples=true",
            *flags,
        ]
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def _wait_until_ready(self):
        deadline = time.monotonic() + READY_SECONDS
        while not self.is_ready():
            if self.process.poll() is not None:
                raise RuntimeError(f"the server stopped at once:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"the server is not ready after {READY_SECONDS} s:\n{self.log_tail()}")
            time.sleep(0.02)

    def is_ready(self):
        try:
            with urllib.request.urlopen(f"{self.url}/ready", timeout=5) as answer:
                return answer.status == 200
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def log_tail(self, lines=20):
        with open(self.log_path, errors="replace") as log:
            return "".join(log.readlines()[-lines:])

    def stop(self):
        """Stops the server and removes its folder. Returns its exit code."""
        self.process.terminate()
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
        return code


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
