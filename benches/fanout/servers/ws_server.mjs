// npm `ws` as a server under test, with the broadcast of its documentation.
import { createRequire } from "node:module";

const require = createRequire(new URL("../../../tests/tools/node/package.json", import.meta.url));
const { WebSocket, WebSocketServer } = require("ws");

// It sets TCP_NODELAY by itself, and compresses nothing unless it is told to.
const server = new WebSocketServer({ host: "127.0.0.1", port: 0, backlog: 4096 });
server.on("listening", () => console.log(`listening on 127.0.0.1:${server.address().port}`));
server.on("connection", (socket) => {
  socket.on("error", () => {});
  socket.on("message", (data, isBinary) => {
    for (const peer of server.clients) {
      if (peer !== socket && peer.readyState === WebSocket.OPEN) peer.send(data, { binary: isBinary });
    }
  });
});

process.stdin.on("end", () => process.exit(0)).resume();
