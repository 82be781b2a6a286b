"""A proxy between a client and the server that remembers every byte."""

import gzip
import socket
import threading
from dataclasses import dataclass, field

REMEMBERED_BYTES = 16 << 20


@dataclass
class Message:
    """A request or an answer of HTTP/1.1."""

    start: str
    headers: dict
    body: bytes
    raw: bytes

    @property
    def status(self):
        return int(self.start.split(" ")[1])

    @property
    def path(self):
        return self.start.split(" ")[1]

    @property
    def text(self):
        body = gzip.decompress(self.body) if self.headers.get("content-encoding") == "gzip" else self.body
        return body.decode(errors="replace")


@dataclass
class Exchange:
    """A request with its answer."""

    request: Message
    answer: Message
    connection: int

    def describe(self, limit=700):
        return f">>> {show(self.request, limit)}\n<<< {show(self.answer, limit)}"


@dataclass
class Connection:
    """Both directions of a connection."""

    sent: bytearray = field(default_factory=bytearray)
    received: bytearray = field(default_factory=bytearray)


class Wire:
    """Listens on a port of its own and forwards to the server."""

    def __init__(self, server_port):
        self._server_port = server_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.address}"
        self.connections = []
        self._sockets = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # Shutting down first wakes the thread that accepts.
        for sock in [self._listener, *self._sockets]:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()

    def exchanges(self, path=None):
        """All complete exchanges, those of a path alone when one is given, in order within each connection."""
        found = []
        for number, connection in enumerate(list(self.connections)):
            requests = parse(bytes(connection.sent))
            answers = parse(bytes(connection.received), [request.start.split(" ")[0] for request in requests])
            found += [Exchange(request, answer, number) for request, answer in zip(requests, answers)]
        return [one for one in found if path is None or one.request.path.split("?")[0] == path]

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server_port))
            except OSError:
                return
            connection = Connection()
            self.connections.append(connection)
            self._sockets += [client, server]
            for source, target, record in ((client, server, connection.sent), (server, client, connection.received)):
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=copy, args=(source, target, record), daemon=True).start()


def copy(source, target, record):
    try:
        while piece := source.recv(1 << 16):
            if len(record) < REMEMBERED_BYTES:
                record += piece
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        # One side went away; the other has to know.
        for sock in (source, target):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def parse(stream, methods=None):
    """The complete messages of one direction; `methods` are those of the requests when it holds answers."""
    messages, at = [], 0
    while (head_end := stream.find(b"\r\n\r\n", at)) >= 0:
        lines = stream[at:head_end].decode("latin-1").split("\r\n")
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        status = int(lines[0].split(" ")[1]) if methods is not None else None
        if status is not None and 100 <= status < 200 and status != 101:
            at = head_end + 4
            continue
        method = methods[len(messages)] if methods is not None and len(messages) < len(methods) else None
        has_body = status not in (101, 204, 304) and method != "HEAD"
        body, end = read_body(stream, head_end + 4, headers, has_body)
        if end is None:
            break
        messages.append(Message(lines[0], headers, body, stream[at:end]))
        at = end
    return messages


def read_body(stream, at, headers, has_body):
    """The body and where it ends; no end when it is not complete yet."""
    if not has_body:
        return b"", at
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return read_chunks(stream, at)
    end = at + int(headers.get("content-length", 0))
    return (stream[at:end], end) if end <= len(stream) else (b"", None)


def read_chunks(stream, at):
    body = bytearray()
    while (line_end := stream.find(b"\r\n", at)) >= 0:
        size = int(stream[at:line_end].split(b";")[0], 16)
        start, end = line_end + 2, line_end + 2 + size
        if end + 2 > len(stream):
            break
        body += stream[start:end]
        at = end + 2
        if size == 0:
            return bytes(body), at
    return b"", None


def show(message, limit):
    """A message for a person: text as it is, what cannot be printed escaped, what is zipped unzipped, long bodies cut."""
    head = message.raw[: message.raw.find(b"\r\n\r\n") + 4]
    body = gzip.decompress(message.body) if message.headers.get("content-encoding") == "gzip" else message.raw[len(head) :]
    text = (head + body[:limit]).decode(errors="backslashreplace").replace("\r\n", "\n").rstrip("\n")
    text = "".join(char if char.isprintable() or char == "\n" else f"\\x{ord(char):02x}" for char in text)
    return text.replace("\n", "\n    ") + (f" ... ({len(body)} bytes)" if len(body) > limit else "")
