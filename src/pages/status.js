"use strict";
// Reads /mesh and /peers once a second and draws them. Whatever a peer has said or is called becomes text, never markup.
const PERIOD = 1000, POINTS = 120, LINES = 200, MIDDLE = [200, 155];
const by = id => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
let token = sessionStorage.getItem("token") || "";
let before = null, socket = null, retry = 0;
const rates = [];

function make(name, attributes = {}, ...children) {
  const isSvg = ["circle", "line", "g", "text", "polyline", "title"].includes(name);
  const element = isSvg ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children.map(child => child instanceof Node ? child : String(child)));
  return element;
}
const short = id => id ? id.slice(0, 8) : "–";
const count = n => n < 10 ? String(Math.round(n * 10) / 10) : Math.round(n).toLocaleString("en");
function size(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  for (; n >= 1024 && unit < units.length - 1; unit++) n /= 1024;
  return `${n < 10 && unit ? n.toFixed(1) : Math.round(n)} ${units[unit]}`;
}
function time(seconds) {
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const first = Math.max(0, parts.findIndex(([unit]) => seconds >= unit || unit === 1));
  return parts.slice(first, first + 2).map(([unit, name], i) =>
    `${Math.floor(i ? seconds % parts[first][0] / unit : seconds / unit)} ${name}`).join(" ");
}
const hops = mesh => `${mesh.hops_from_root} hop${mesh.hops_from_root === 1 ? "" : "s"}`;
const trip = seconds => seconds === null ? "–" : `${(seconds * 1000).toFixed(seconds < .01 ? 2 : 0)} ms`;

async function read(path) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const answer = await fetch(path, { headers, cache: "no-store", signal: AbortSignal.timeout(5000) });
  by("key").hidden = answer.status !== 401 && answer.status !== 403;
  if (!answer.ok) throw new Error((await answer.text()).trim() || `answered ${answer.status}`);
  return answer.json();
}

function figures(mesh, rate) {
  const all = [
    ["neighbors", `${mesh.neighbors.length} of ${mesh.neighbors_wanted}`],
    ["plain peers", count(mesh.plain_peers)],
    ["root of the tree", mesh.is_root ? "this node" : mesh.root ? `${short(mesh.root)}, ${hops(mesh)}` : "not known"],
    ["messages/s in, out", rate ? `${count(rate.messagesIn)}, ${count(rate.messagesOut)}` : "–"],
    ["waiting", `${size(mesh.outbox_bytes)} for ${mesh.peers_waiting}`],
    ["published here", count(mesh.published)],
    ["of others", count(mesh.delivered)],
    ["duplicates, missed", `${count(mesh.duplicates)}, ${count(mesh.missed)}`],
  ];
  by("figures").replaceChildren(...all.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
}

function dot(x, y, radius, label, note, kind) {
  const group = make("g", { class: kind }, make("circle", { cx: x, cy: y, r: radius }),
    make("text", { x, y: y + 4 }, label));
  // Away from the middle, where the lines are.
  if (note) group.append(make("text", { x, y: y < MIDDLE[1] ? y - radius - 5 : y + radius + 12, class: "note" }, note));
  return group;
}

function draw(mesh) {
  const [x, y] = MIDDLE, lines = [], dots = [];
  const ring = mesh.neighbors.map(one => ({ id: one.id, tie: one.tie, leaf: one.is_leaf, trip: one.round_trip_seconds }));
  const isFar = mesh.root && !mesh.is_root && !ring.some(one => one.id === mesh.root);
  const places = ring.length + (mesh.plain_peers ? 1 : 0);
  const place = i => {
    const angle = 2 * Math.PI * i / Math.max(places, 1) - Math.PI / 2;
    return [x + 140 * Math.cos(angle), y + 105 * Math.sin(angle)];
  };
  ring.forEach((one, i) => {
    const [px, py] = place(i);
    lines.push(make("line", { x1: x, y1: y, x2: px, y2: py, class: one.tie }));
    const what = one.id === mesh.root ? "root" : one.leaf ? "leaf" : one.tie;
    dots.push(dot(px, py, ring.length > 16 ? 12 : 26, ring.length > 16 ? "" : short(one.id).slice(0, 6),
      ring.length > 16 ? "" : `${what} ${one.trip === null ? "" : trip(one.trip)}`, one.id === mesh.root ? "root" : "neighbor"));
  });
  if (mesh.plain_peers) {
    const [px, py] = place(ring.length);
    lines.push(make("line", { x1: x, y1: y, x2: px, y2: py }));
    dots.push(dot(px, py, 26, count(mesh.plain_peers), "plain peers", "crowd"));
  }
  if (isFar) dots.push(make("text", { x, y: 306, class: "note" }, `root ${short(mesh.root)} is ${hops(mesh)} away`));
  dots.push(dot(x, y, 32, short(mesh.id).slice(0, 6), "", mesh.is_root ? "self root" : "self"));
  by("mesh").replaceChildren(...lines, ...dots);
  by("mesh").setAttribute("aria-label", `This node, ${ring.length} neighbors, ${ring.filter(one => one.tie !== "spare").length} of them in the broadcast tree, ${mesh.plain_peers} plain peers`);
}

function plot(id, keys, show) {
  const max = Math.max(1, ...rates.flatMap(rate => keys.map(key => rate[key])));
  const points = key => rates.map((rate, i) => `${POINTS - rates.length + i + 1},${(39 - 38 * rate[key] / max).toFixed(2)}`).join(" ");
  by(id).replaceChildren(...keys.map((key, i) => make("polyline", { class: i ? "out" : "in", points: points(key) })));
  by(`${id}-max`).textContent = show(max);
}

function table(mesh, peers) {
  const row = (name, what, one) => {
    const level = make("meter", { min: 0, max: mesh.outbox_bytes_max, high: mesh.outbox_bytes_max / 2, value: one.outbox_bytes, "aria-label": "outbox" });
    const cells = [make("td", { title: name }, name), make("td", {}, what), make("td", {}, trip(one.round_trip_seconds)),
      make("td", {}, level, ` ${size(one.outbox_bytes)}`)];
    return make("tr", {}, ...cells);
  };
  by("peers").replaceChildren(
    ...peers.neighbors.map(one => row(`${short(one.id)} ${one.name}`, `neighbor, ${one.tie}`, one)),
    ...peers.peers.map(one => row(one.name, one.channel, one)));
  by("more").textContent = peers.peers_more ? `… and ${count(peers.peers_more)} more plain peers` : "";
}

function measure(mesh) {
  const now = performance.now();
  const seconds = before && before.id === mesh.id ? (now - before.now) / 1000 : 0;
  const rate = seconds > 0 ? {
    messagesIn: (mesh.messages_received - before.messages_received) / seconds,
    messagesOut: (mesh.messages_sent - before.messages_sent) / seconds,
    bytesIn: (mesh.bytes_received - before.bytes_received) / seconds,
    bytesOut: (mesh.bytes_sent - before.bytes_sent) / seconds,
  } : null;
  before = { ...mesh, now };
  if (rate) rates.push(rate);
  rates.splice(0, rates.length - POINTS);
  return rate;
}

async function look() {
  try {
    const [mesh, peers] = await Promise.all([read("/mesh"), read("/peers")]);
    const rate = measure(mesh);
    by("id").textContent = short(mesh.id);
    by("id").title = mesh.id;
    document.title = `wsmesh ${short(mesh.id)}`;
    by("state").className = "";
    by("state").textContent = `network ${mesh.network}, version ${mesh.version}, up for ${time(mesh.uptime_seconds)}`;
    figures(mesh, rate);
    draw(mesh);
    plot("messages", ["messagesIn", "messagesOut"], count);
    plot("bytes", ["bytesIn", "bytesOut"], size);
    table(mesh, peers);
  } catch (error) {
    by("state").className = "lost";
    by("state").textContent = by("key").hidden ? `The node does not answer, trying again (${error.message})` : error.message;
  }
  setTimeout(look, document.hidden ? 10 * PERIOD : PERIOD);
}

function log(text, kind) {
  const list = by("log"), isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  list.append(make("li", { class: kind }, text));
  while (list.childElementCount > LINES) list.firstElementChild.remove();
  if (isAtEnd) list.scrollTop = list.scrollHeight;
}

function listen() {
  const channel = by("channel").value;
  if (socket) { socket.onclose = null; socket.close(); }
  clearTimeout(retry);
  const subprotocols = token ? ["wsmesh.plain", `wsmesh.token.${token}`] : [];
  const mine = socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${channel}`, subprotocols);
  mine.binaryType = "arraybuffer";
  mine.onopen = () => { by("joined").textContent = `listening to ${channel}`; };
  mine.onmessage = event => log(typeof event.data === "string" ? event.data : `(${size(event.data.byteLength)} binary)`, "other");
  mine.onclose = event => {
    by("joined").textContent = `not connected${event.reason ? `: ${event.reason}` : ""}, trying again`;
    retry = setTimeout(listen, 1000 + 2000 * Math.random());
  };
}

by("join").addEventListener("submit", event => { event.preventDefault(); by("log").replaceChildren(); listen(); });
by("publish").addEventListener("submit", event => {
  event.preventDefault();
  if (!socket || socket.readyState !== WebSocket.OPEN) return log("not published: listen to a channel first", "news");
  socket.send(by("text").value);
  log(`you: ${by("text").value}`, "own");
  by("text").value = "";
});
by("key").addEventListener("submit", event => {
  event.preventDefault();
  token = by("token").value.trim();
  sessionStorage.setItem("token", token);
  if (socket) listen();
});
look();
