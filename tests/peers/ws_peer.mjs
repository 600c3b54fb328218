// npm `ws` as a peer; README.md beside this file has the protocol.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(new URL("../tools/node/package.json", import.meta.url));
const { WebSocket, WebSocketServer } = require("ws");

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  for (let bit = 0; bit < 8; bit += 1) byte = byte & 1 ? (byte >>> 1) ^ 0xedb88320 : byte >>> 1;
  return byte >>> 0;
});

function crc32(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (crc >>> 8) ^ CRC_TABLE[(crc ^ byte) & 0xff];
  return ((crc ^ 0xffffffff) >>> 0).toString(16).padStart(8, "0");
}

const say = (...words) => process.stdout.write(`${words.join(" ")}\n`);
const connections = [];

function onOpen(socket, path) {
  const number = connections.push(socket) - 1;
  say("open", number, path);
  socket.on("message", (bytes, isBinary) => {
    let shown = "";
    if (bytes.length <= 100) shown = bytes.toString(isBinary ? "hex" : "utf8");
    say(isBinary ? "binary" : "text", number, bytes.length, crc32(bytes), shown);
  });
  socket.on("pong", (bytes) => say("pong", number, bytes.toString()));
  socket.on("close", (code, reason) => say("closed", number, code, reason.toString()));
  socket.on("error", (error) => say("failed", number, error.message));
}

function connect(url) {
  // No time-out of its own: the test has the deadline.
  const socket = new WebSocket(url);
  const onError = (error) => say("failed", "connect", error.message);
  socket.on("error", onError);
  // The first frames can come with the answer: listen before anything is awaited.
  socket.on("open", () => {
    socket.off("error", onError);
    onOpen(socket, new URL(url).pathname);
  });
}

function large(size) {
  return Buffer.from(Uint8Array.from({ length: size }, (_, at) => 97 + ((at * at + (at >> 8)) % 26)));
}

const [role, url] = process.argv.slice(2);
if (role === "listen") {
  const server = new WebSocketServer({ host: "127.0.0.1", port: 0, backlog: 4096 });
  server.on("listening", () => say("listening", server.address().port));
  server.on("connection", (socket, request) => onOpen(socket, request.url));
}

for await (const line of createInterface({ input: process.stdin })) {
  const [command, first, ...rest] = line.split(" ");
  const socket = connections[Number(first)];
  if (command === "connect") {
    for (let count = Number(first); count > 0; count -= 1) connect(url);
  } else if (command === "text") {
    socket.send(rest.join(" "));
  } else if (command === "binary") {
    socket.send(Buffer.from(rest.join(""), "hex"));
  } else if (command === "large") {
    const bytes = large(Number(rest[1]));
    say("sent", first, rest[0], bytes.length, crc32(bytes));
    socket.send(bytes, { binary: rest[0] === "binary" });
  } else if (command === "burst") {
    const words = rest.slice(1).join(" ");
    for (let number = 0; number < Number(rest[0]); number += 1) socket.send(`${words} ${number}`);
  } else if (command === "all") {
    for (const each of connections) each.send([first, ...rest].join(" "));
  } else if (command === "ping") {
    socket.ping(rest.join(" "));
  } else if (command === "close") {
    if (rest.length === 0) socket.close();
    else socket.close(Number(rest[0]), rest.slice(1).join(" "));
  } else {
    say("failed", "unknown command", line);
  }
}
process.exit(0);
