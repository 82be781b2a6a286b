"""What a test gets: a server, the installed clients, and a way to run them that leaves nothing behind."""

import os
import signal
import subprocess
import threading
import uuid
from contextlib import contextmanager

from .api import Api
from .checks import Failed, eventually, shorten
from .install import PROGRAMS
from .server import Server
from .wire import Wire


class Lab:
    def __init__(self, installation, server_program):
        self.installed = installation
        self._server_program = server_program
        self.server = Server(server_program)
        self.api = Api(self.server.url)
        self.begin()

    def begin(self):
        """Starts a test: labels hold the run's name, so that tests do not see each other's entries."""
        self.run_id = uuid.uuid4().hex[:12]
        self.wires = []

    def close(self):
        return self.server.stop()

    @contextmanager
    def wire(self, server=None):
        """A recording way to the server. The harness prints what went over it when the test fails."""
        with Wire((server or self.server).port) as wire:
            self.wires.append(wire)
            yield wire

    @contextmanager
    def another_server(self, *flags):
        server = Server(self._server_program, flags)
        try:
            yield server
        finally:
            server.stop()

    def run(self, command, stdin=None, timeout=90, env=None, expect_code=0):
        """Runs a client to its end; returns its output and what it said on stderr."""
        with self.running(command, stdin=subprocess.PIPE, env=env) as process:
            try:
                output, errors = process.communicate(stdin, timeout)
            except subprocess.TimeoutExpired:
                raise Failed(f"{name_of(command)} did not end within {timeout} s") from None
        output, errors = output.decode(errors="replace"), errors.decode(errors="replace")
        if expect_code is not None and process.returncode != expect_code:
            raise Failed(f"{name_of(command)} ended with {process.returncode}: {shorten(errors.strip() or output.strip(), 1500)}")
        return output, errors

    @contextmanager
    def running(self, command, stdin=subprocess.DEVNULL, env=None, stderr=subprocess.PIPE):
        """A client in the background, with all its children in a group that ends with the test."""
        process = subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, stderr=stderr,
                                   env={**os.environ, **(env or {})}, start_new_session=True)
        try:
            yield process
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe:
                    pipe.close()

    def python(self, program, *words):
        return [self.installed.python, os.path.join(PROGRAMS, "python", program), *words]

    def node(self, program, *words):
        # Node looks for modules beside the program, so the program is put beside them.
        source = os.path.join(PROGRAMS, "node", program)
        target = os.path.join(self.installed.node_folder, program)
        with open(source) as origin, open(target, "w") as copy:
            copy.write(origin.read())
        return ["node", target, *words]

    def go(self, program, *words):
        return [os.path.join(self.installed.go_bin, program), *words]


class Lines:
    """The lines that a running client prints, as they come."""

    def __init__(self, pipe):
        self.all = []
        self._pipe = pipe
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        for line in self._pipe:
            self.all.append(line.decode(errors="replace").rstrip("\n"))

    def wait_for(self, what, condition, seconds=20):
        """Waits until the lines so far satisfy a condition, and returns what it answered."""
        try:
            return eventually(what, lambda: condition(list(self.all)), seconds)
        except Failed as failure:
            raise Failed(f"{failure}; printed so far: {shorten(self.all)}") from None

    def wait_for_end(self, seconds=20):
        eventually("the end of a client's output", lambda: not self._thread.is_alive(), seconds)


def name_of(command):
    return " ".join(os.path.basename(word) for word in command[:2])
