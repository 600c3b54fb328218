"""Python `websockets` as a peer; README.md beside this file has the protocol."""

import asyncio
import logging
import ssl
import sys
import zlib
from urllib.parse import urlsplit

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

connections = []
tasks = set()


def say(*words):
    print(*words, flush=True)


def start(coroutine):
    """Runs it on the side; an exception is told, not lost."""

    def done(task):
        tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            say("failed", type(task.exception()).__name__, task.exception())

    task = asyncio.create_task(coroutine)
    tasks.add(task)
    task.add_done_callback(done)


def crc32(data):
    return f"{zlib.crc32(data):08x}"


async def handle(connection, path):
    number = len(connections)
    connections.append(connection)
    say("open", number, path)
    try:
        while True:
            message = await connection.recv()
            if isinstance(message, str):
                data = message.encode()
                shown = message if len(data) <= 100 else ""
                say("text", number, len(data), crc32(data), shown)
            else:
                shown = message.hex() if len(message) <= 100 else ""
                say("binary", number, len(message), crc32(message), shown)
    except ConnectionClosed as closed:
        if closed.rcvd is None:
            say("closed", number, 1006, "")
        else:
            say("closed", number, closed.rcvd.code, closed.rcvd.reason)


async def dial(url):
    # No time-outs of its own: the test has the deadline.
    connection = await connect(url, open_timeout=None, close_timeout=None)
    await handle(connection, urlsplit(url).path)


async def ping(number, words):
    pong = await connections[number].ping(words)
    await pong
    say("pong", number, words)


async def burst(connection, count, words):
    for number in range(count):
        await connection.send(f"{words} {number}")


def large(size):
    return bytes(97 + (at * at + (at >> 8)) % 26 for at in range(size))


def carry_out(line, url):
    command, first, *rest = line.split(" ")
    if command == "connect":
        for _ in range(int(first)):
            start(dial(url))
        return
    if command == "all":
        for connection in connections:
            start(connection.send(" ".join([first, *rest])))
        return
    number = int(first)
    connection = connections[number]
    if command == "text":
        start(connection.send(" ".join(rest)))
    elif command == "binary":
        start(connection.send(bytes.fromhex("".join(rest))))
    elif command == "large":
        kind, size = rest
        data = large(int(size))
        say("sent", number, kind, len(data), crc32(data))
        start(connection.send(data if kind == "binary" else data.decode()))
    elif command == "burst":
        start(burst(connection, int(rest[0]), " ".join(rest[1:])))
    elif command == "ping":
        start(ping(number, " ".join(rest)))
    elif command == "close":
        code = int(rest[0]) if rest else 1000
        start(connection.close(code, " ".join(rest[1:])))
    else:
        say("failed", "unknown command", line)


async def commands(url):
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    async for line in reader:
        carry_out(line.decode().rstrip("\n"), url)


async def main():
    # A refused or lost connection is an event of the protocol, not a traceback.
    logging.getLogger("websockets").setLevel(logging.CRITICAL)
    role, *rest = sys.argv[1:]
    if role == "listen":

        async def accepted(connection):
            await handle(connection, connection.request.path)

        context = None
        if rest:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(*rest)
        server = await serve(
            accepted, "127.0.0.1", 0, backlog=4096, close_timeout=None, ssl=context
        )
        say("listening", server.sockets[0].getsockname()[1])
        await commands(None)
    else:
        await commands(*rest)


asyncio.run(main())
