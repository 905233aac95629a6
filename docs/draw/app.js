// The page: what is drawn is labelled at once, by the symbols that were added before.

import { drawHeat } from "./heat.js";
import { Network } from "./network.js";
import { Pad } from "./pad.js";
import { Support } from "./support.js";

const N_NEAREST = 3;
const part = (id) => document.getElementById(id);
const pad = new Pad(part("pad"), part("pen"));
const support = new Support();
let network = null;
let query = null; // the embedding of what is drawn
let isBusy = false;
let isStale = false; // whether the drawing changed meanwhile

async function start() {
  try {
    const loaded = await Network.load(new URL("./network/", import.meta.url));
    const { row } = await loaded.embed(pad.pixels); // the first run of each graph is slow
    await Promise.all([loaded.compare(row, [row]), loaded.cells(row, row)]);
    network = loaded;
  } catch (error) {
    show(`The network cannot be loaded: ${error.message}`);
    throw error;
  }
  document.body.dataset.ready = "true";
  await update();
}

// Label the drawing; once more if it changed meanwhile.
async function update() {
  part("undo").disabled = part("clear").disabled = pad.isEmpty;
  part("add-button").disabled = pad.isEmpty || !network;
  if (!network) return;
  isStale = true;
  if (isBusy) return;
  isBusy = true;
  document.body.dataset.busy = "true";
  try {
    while (isStale) {
      isStale = false;
      await label();
    }
  } finally {
    isBusy = false;
    delete document.body.dataset.busy;
  }
}

async function label() {
  const before = performance.now();
  query = pad.isEmpty ? null : { ...(await network.embed(pad.pixels)), picture: pad.canvas };
  if (!query || !support.exemplars.length) {
    const isFirst = !support.exemplars.length;
    show(isFirst ? "Draw a symbol, and add it." : "Draw one of your symbols.");
    return;
  }
  const answer = await support.answer(network, query);
  const { exemplar } = answer.classes[0];
  const cells = await network.cells(query.row, exemplar.row);
  showAnswer(answer);
  const most = Math.max(...cells.flatMap((each) => [...each]).map(Math.abs));
  const { shape } = network.about.cells;
  drawHeat(part("match-query"), query, cells[0], shape, most);
  drawHeat(part("match-exemplar"), exemplar, cells[1], shape, most);
  part("match").hidden = false;
  performance.measure("answer", { start: before });
}

// Show a sentence instead of an answer.
function show(text) {
  part("answer").textContent = text;
  part("nearest").replaceChildren();
  part("match").hidden = part("doubt").hidden = true;
}

function showAnswer({ classes, isDoubtful }) {
  const [{ name, p }] = classes;
  const isRejected = isDoubtful && part("reject").checked;
  const strong = element("strong", { textContent: isRejected ? "unknown" : name });
  part("answer").replaceChildren(strong, isRejected ? "" : ` ${percent(p)}`);
  part("doubt").hidden = !isDoubtful;
  part("nearest").replaceChildren(
    ...classes.slice(0, N_NEAREST).map(({ name, p, exemplar }) => {
      const label = element("span", { className: "name", textContent: name });
      label.style.setProperty("--part", `${100 * p}%`);
      const value = element("span", { className: "percent", textContent: percent(p) });
      const item = element("li");
      item.append(thumbnail(exemplar), label, value);
      return item;
    }),
  );
}

function percent(p) {
  return `${(100 * p).toFixed(p < 0.1 ? 1 : 0)} %`;
}

function element(tag, properties = {}) {
  return Object.assign(document.createElement(tag), properties);
}

function thumbnail({ name, url }) {
  return element("img", { src: url, alt: `Drawing of ${name}` });
}

function showSymbols() {
  const names = support.names;
  part("no-symbols").hidden = names.length > 0;
  part("symbols").replaceChildren(
    ...names.map((name) => {
      const item = element("li");
      const button = element("button", { type: "button", textContent: "Delete" });
      button.setAttribute("aria-label", `Delete ${name}`);
      button.addEventListener("click", () => remove(name));
      const drawings = support.of(name);
      const count = drawings.length > 1 ? ` (${drawings.length})` : "";
      const label = element("span", { className: "name", textContent: name + count });
      item.append(thumbnail(drawings[0]), label, button);
      return item;
    }),
  );
}

async function add(event) {
  event.preventDefault();
  if (pad.isEmpty || !network) return;
  const picture = pad.picture();
  const name = part("name").value.trim() || support.freeName();
  part("name").value = "";
  pad.clear();
  const { row, level, box } = await network.embed(pixelsOf(picture));
  support.add({ name, row, level, box, picture, url: picture.toDataURL() });
  showSymbols();
  say(`Added ${name}.`);
  await update();
}

function pixelsOf(picture) {
  return picture.getContext("2d").getImageData(0, 0, picture.width, picture.height);
}

async function remove(name) {
  const place = support.names.indexOf(name);
  support.remove(name);
  showSymbols();
  say(`Deleted ${name}.`);
  const buttons = part("symbols").querySelectorAll("button");
  (buttons[Math.min(place, buttons.length - 1)] ?? part("pad")).focus();
  await update();
}

// Tell screen readers; the answer itself changes too often while a stroke is drawn.
function say(text) {
  part("status").textContent = text;
}

pad.addEventListener("change", update);
pad.addEventListener("settle", async () => {
  await update();
  if (!pad.isEmpty) say(part("answer").textContent);
});
part("undo").addEventListener("click", () => pad.undo());
part("clear").addEventListener("click", () => pad.clear());
part("add").addEventListener("submit", add);
part("reject").addEventListener("change", update);
document.addEventListener("keydown", (event) => {
  if (event.target === part("name")) return;
  if (event.key === "Escape") pad.clear();
  if (event.key === "z" && (event.ctrlKey || event.metaKey)) pad.undo();
});
showSymbols();
start();
