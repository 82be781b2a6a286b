"""Tails what `tests/websockets_python.py` asks for: URL. Prints one JSON object for each thing that happens."""

import asyncio
import json
import sys

import websockets


def tell(kind, **rest):
    print(json.dumps({"kind": kind, **rest}), flush=True)


class Tail(websockets.ClientConnection):
    """Tells of the server's pings, which clients use to see that it lives."""

    def process_event(self, event):
        if getattr(event, "opcode", None) == 9:
            tell("ping")
        super().process_event(event)


async def main(url):
    try:
        async with websockets.connect(url, create_connection=Tail, ping_interval=None) as connection:
            tell("open")
            async for message in connection:
                tell("message", text=isinstance(message, str), content=json.loads(message))
            tell("close", code=connection.close_code, reason=connection.close_reason)
    except websockets.InvalidStatus as refused:
        tell("refused", status=refused.response.status_code, body=refused.response.body.decode())
    except websockets.ConnectionClosedError as closed:
        tell("close", code=closed.rcvd.code if closed.rcvd else 1006, reason=closed.rcvd.reason if closed.rcvd else "")


asyncio.run(main(sys.argv[1]))
