// The leaf of the README in Node.js, with a document of just what it uses; README.md beside this file has the protocol.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { runInThisContext } from "node:vm";

const require = createRequire(new URL("../tools/node/package.json", import.meta.url));
const { WebSocket } = require("ws");

// Before version 22 there is none; unlike that of a browser this one throws errors that nobody listens for.
globalThis.WebSocket ??= class extends WebSocket {
  constructor(...given) {
    super(...given);
    this.on("error", () => {});
  }
};

const form = { elements: [{ value: "" }], reset: () => (form.elements[0].value = "") };
const pre = { append: (line) => process.stdout.write(`heard ${line}`) };
globalThis.document = { querySelector: (name) => ({ form, pre })[name] };

runInThisContext(readFileSync(process.argv[2], "utf8"));

for await (const line of createInterface({ input: process.stdin })) {
  form.elements[0].value = line.replace(/^say /, "");
  form.onsubmit({ preventDefault: () => {} });
}
process.exit(0);
