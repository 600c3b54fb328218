"""picows as a server under test, with the core interface that it is fast by."""

import asyncio
import sys

from picows import WSCloseCode, WSListener, WSMsgType, ws_create_server

peers = set()


class Relay(WSListener):
    def on_ws_connected(self, transport):
        peers.add(transport)

    def on_ws_disconnected(self, transport):
        peers.discard(transport)

    def on_ws_frame(self, transport, frame):
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(WSCloseCode.OK)
            transport.disconnect()
        elif frame.msg_type in (WSMsgType.TEXT, WSMsgType.BINARY):
            message = frame.get_payload_as_bytes()
            for peer in peers:
                if peer is not transport:
                    peer.send(frame.msg_type, message)


async def main():
    # asyncio sets TCP_NODELAY by itself.
    server = await ws_create_server(lambda request: Relay(), "127.0.0.1", 0, backlog=4096)
    print(f"listening on 127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await asyncio.to_thread(sys.stdin.read)


asyncio.run(main())
