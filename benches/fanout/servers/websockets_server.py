"""Python `websockets` as a server under test, with its own broadcast."""

import asyncio
import logging
import sys

from websockets.asyncio.server import broadcast, serve

logging.getLogger("websockets").setLevel(logging.CRITICAL)
connections = set()


async def relay(connection):
    connections.add(connection)
    try:
        async for message in connection:
            broadcast((peer for peer in connections if peer is not connection), message)
    finally:
        connections.remove(connection)


async def main():
    # asyncio sets TCP_NODELAY by itself.
    options = {"compression": None, "ping_interval": None, "backlog": 4096}
    async with serve(relay, "127.0.0.1", 0, **options) as server:
        print(f"listening on 127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
        await asyncio.to_thread(sys.stdin.read)


asyncio.run(main())
