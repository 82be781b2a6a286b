"""Reading through the API, with nothing but the standard library."""

import http.client
import json
import urllib.parse
from dataclasses import dataclass

from .checks import Failed, shorten


@dataclass
class Entry:
    """An entry as the API tells it with `categorize-labels`."""

    time: int
    line: str
    labels: dict
    metadata: dict


class Api:
    def __init__(self, url, tenant=None):
        self._address = url.removeprefix("http://")
        self._headers = {"X-Scope-OrgID": tenant} if tenant else {}

    def ask(self, method, path, params=(), body=None, headers=None):
        """Status, headers and body of one request."""
        connection = http.client.HTTPConnection(self._address, timeout=30)
        query = f"?{urllib.parse.urlencode(params)}" if params else ""
        try:
            connection.request(method, path + query, body, {**self._headers, **(headers or {})})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def read(self, path, params=(), headers=None):
        """The JSON of a query that has to succeed."""
        status, _, body = self.ask("GET", path, params, headers=headers)
        if status != 200:
            raise Failed(f"GET {path} {params}: {status} {shorten(body.decode(errors='replace'))}")
        return json.loads(body)

    def push(self, streams):
        """Pushes `[(labels, [[time, line, metadata?], ...]), ...]`; times are numbers of nanoseconds."""
        streams = [
            {"stream": labels, "values": [[str(value[0]), *value[1:]] for value in values]} for labels, values in streams
        ]
        body = json.dumps({"streams": streams})
        status, _, answer = self.ask("POST", "/loki/api/v1/push", body=body, headers={"Content-Type": "application/json"})
        if status != 204 or answer:
            raise Failed(f"push: {status} {shorten(answer.decode(errors='replace'))}")

    def entries(self, query, direction="forward", limit=5000, **params):
        """What a log query finds within the last hour and the coming minutes, sorted by time in the direction."""
        params = {"query": query, "direction": direction, "limit": limit, "since": "2h", **params}
        flags = {"X-Loki-Response-Encoding-Flags": "categorize-labels"}
        answer = self.read("/loki/api/v1/query_range", params, flags)["data"]
        if list(answer)[:3] != ["resultType", "encodingFlags", "result"]:
            raise Failed(f"keys of data in the wrong order: {list(answer)}")
        found = []
        for stream in answer["result"]:
            for time, line, categories in stream["values"]:
                found.append(Entry(int(time), line, stream["stream"], categories.get("structuredMetadata", {})))
        # The sort is stable: entries of one stream that share a time stay in the order of the answer.
        return sorted(found, key=lambda entry: entry.time, reverse=direction == "backward")

    def lines(self, query, **params):
        return [entry.line for entry in self.entries(query, **params)]

    def value(self, query, time=None):
        """The one value of an instant query, as a number; nothing when there is none."""
        params = {"query": query, **({"time": time} if time else {})}
        result = self.read("/loki/api/v1/query", params)["data"]["result"]
        if len(result) > 1:
            raise Failed(f"{query}: {len(result)} values instead of one")
        return float(result[0]["value"][1]) if result else None

    def series(self, selector):
        return self.read("/loki/api/v1/series", {"match[]": selector, "since": "2h"})["data"]
