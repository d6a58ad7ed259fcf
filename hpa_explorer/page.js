"use strict";
// Data reach the page as text and attributes only, never as markup: identifiers of fields are not to be trusted.

const byId = (id) => document.getElementById(id);
const blocks = [...document.querySelectorAll('script[type="application/json"]')];
const read = (kind) => blocks.filter((b) => b.dataset.kind === kind).map((b) => JSON.parse(b.textContent));
const [classes] = read("classes");
const fields = read("field");
blocks.forEach((block) => block.remove()); // the texts hold all pictures; once parsed they are not needed

const cells = [];
fields.forEach((field, place) => {
  field.place = place;
  for (const cell of field.cells) {
    cell.field = field;
    cell.top = cell.p ? cell.p.indexOf(Math.max(...cell.p)) : -1;
    cells.push(cell);
  }
});
const hasTruth = cells.some((cell) => cell.t);
const MARKS = { right: "✓", false: "✗", missed: "○" };

const filter = { number: -1, least: 0, outcome: "" }; // class, −1 for any; least confidence, 0 for none
let field = fields[0] || null;
let chosen = null; // the cell that stays when the pointer leaves
let shown = null; // the cell in the panel
let channel = "colour";

// What a cell counts as

const isPredicted = (cell, k) => (filter.least > 0 ? cell.p[k] >= filter.least : cell.top === k);

function outcomeOf(cell, k) {
  if (!cell.p || !cell.t || cell.t[k] < 0) return "";
  if (isPredicted(cell, k)) return cell.t[k] ? "right" : "false";
  return cell.t[k] ? "missed" : "";
}

const judgedClass = (cell) => (filter.number >= 0 ? filter.number : cell.top);
const judgedOutcome = (cell) => outcomeOf(cell, judgedClass(cell));
const possibleOutcomes = () => (filter.number >= 0 ? ["right", "false", "missed"] : ["right", "false"]);
const isFiltering = () => filter.number >= 0 || filter.least > 0 || filter.outcome !== "";

function matches(cell) {
  if (!isFiltering()) return true;
  if (!cell.p) return false;
  return filter.outcome ? judgedOutcome(cell) === filter.outcome : isPredicted(cell, judgedClass(cell));
}

// Small makers

function filled(element, attributes, content = []) {
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...content);
  return element;
}

const make = (name, attributes = {}, ...content) => filled(document.createElement(name), attributes, content);
const makeSvg = (name, attributes = {}) =>
  filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes);

const jpeg = (text) => "data:image/jpeg;base64," + text;
const plural = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;
const shortNumber = (x) => (x === 0 ? "0" : x < 0.0005 ? x.toExponential(0) : x.toFixed(3));
const floorTo3 = (x) => { // three digits, never above x, so that a cell of confidence x stays in
  if (!(x > 0)) return 0;
  const unit = 10 ** (Math.floor(Math.log10(x)) - 2);
  const down = Number((Math.floor(x / unit + 1e-9) * unit).toPrecision(3));
  return down <= x ? down : x;
};

// Filters

function referenceConfidences() {
  const values = cells.filter((c) => c.p).map((c) => c.p[judgedClass(c)]);
  return values.sort((a, b) => a - b);
}

function buildFilters() {
  const select = byId("class");
  select.append(make("option", { value: -1 }, "any"));
  classes.names.forEach((name, k) => select.append(make("option", { value: k }, `${k} ${name}`)));
  byId("outcome-label").hidden = !hasTruth;
  document.querySelectorAll(".truth").forEach((element) => (element.hidden = !hasTruth));
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  select.addEventListener("change", () => change({ number: Number(select.value) }));
  byId("outcome").addEventListener("change", () => change({ outcome: byId("outcome").value }));
  byId("least").addEventListener("input", () => change({ least: Math.max(0, Number(byId("least").value) || 0) }));
  byId("rank").addEventListener("input", () => {
    const values = referenceConfidences();
    const share = Number(byId("rank").value) / 100;
    const place = Math.min(values.length - 1, Math.floor(share * values.length));
    const least = share && values.length ? floorTo3(values[place]) : 0;
    byId("least").value = least || "";
    change({ least });
  });
  byId("clear").addEventListener("click", clearFilter);
}

function clearFilter() {
  byId("least").value = "";
  change({ number: -1, least: 0, outcome: "" });
}

function change(wish) {
  Object.assign(filter, wish);
  if (filter.number < 0 && filter.outcome === "missed") filter.outcome = "";
  showFilter();
  const visible = visibleFields();
  if (visible.length && !visible.includes(field)) openField(visible[0]);
  else showCells();
}

function showFilter() {
  const values = referenceConfidences();
  byId("class").value = filter.number;
  const rank = byId("rank");
  rank.disabled = !values.length;
  if (document.activeElement !== rank || !filter.least) {
    const below = values.filter((value) => value < filter.least).length;
    rank.value = values.length ? Math.ceil((100 * below) / values.length) : 0;
  }
  rank.setAttribute("aria-valuetext", filter.least ? `at least ${filter.least}` : "any");

  const outcome = byId("outcome");
  outcome.replaceChildren(make("option", { value: "" }, "any"));
  for (const kind of possibleOutcomes()) outcome.append(make("option", { value: kind }, `${MARKS[kind]} ${kind}`));
  outcome.value = filter.outcome;
  for (const option of byId("class").options) {
    const k = Number(option.value);
    if (k >= 0) {
      const n = cells.filter((c) => c.p && isPredicted(c, k)).length;
      option.textContent = `${k} ${classes.names[k]} (${n.toLocaleString("en")})`;
    }
  }

  for (const item of byId("fields").children) {
    const own = fields[Number(item.dataset.place)];
    const n = own.cells.filter(matches).length;
    const all = own.cells.length ? plural(own.cells.length, "cell") : "no cells";
    item.querySelector(".n").textContent = isFiltering() ? `${n} of ${all}` : all;
    item.hidden = isFiltering() && n === 0;
  }
  byId("filters").firstElementChild.textContent = isFiltering() ? "Filter cells (on)" : "Filter cells";
  byId("clear").disabled = !isFiltering();
  showCount(values);
}

function describeFilter() {
  const name = filter.number >= 0 ? classes.names[filter.number] : "";
  const at = filter.least ? `confidence ≥ ${filter.least}` : "the most confident class";
  if (!name) {
    const judged = { "": "", right: ", which is right", false: ", which is false" }[filter.outcome];
    return filter.least ? `most confident class${judged}, ${at}` : `most confident class${judged}`;
  }
  if (filter.outcome === "missed") return `shows ${name}, but it is not predicted (${at})`;
  const judged = { "": "", right: " rightly", false: " falsely" }[filter.outcome];
  return `${name}${judged} predicted (${at})`;
}

function showCount(values) {
  const count = byId("count");
  const all = `${plural(cells.length, "cell")} in ${plural(fields.length, "field")}`;
  if (!fields.length) return count.replaceChildren("This page holds no fields.");
  if (!isFiltering()) {
    const without = cells.filter((cell) => !cell.p).length;
    return count.replaceChildren(make("b", {}, all), without ? `; ${plural(without, "cell")} not predicted` : "");
  }
  const found = cells.filter(matches);
  if (!found.length) {
    const most = values[values.length - 1];
    const hint = most < filter.least ? ` The highest confidence is ${shortNumber(most)}.` : "";
    return count.replaceChildren(make("b", {}, "No cell"), ` of ${all}: ${describeFilter()}.${hint}`);
  }
  const inFields = plural(new Set(found.map((cell) => cell.field)).size, "field");
  count.replaceChildren(make("b", {}, `${plural(found.length, "cell")} in ${inFields}`),
    ` of ${all}: ${describeFilter()}`);
}

// Fields

const visibleFields = () => fields.filter((f) => !isFiltering() || f.cells.some(matches));

function buildFields() {
  for (const one of fields) {
    const button = make("button", { type: "button", title: one.id },
      make("img", { src: jpeg(one.thumbnail), alt: "" }), make("span", {}, one.id), make("span", { class: "n" }));
    button.addEventListener("click", () => openField(one));
    byId("fields").append(make("li", { "data-place": one.place }, button));
  }
}

function openField(wanted, cell = null) {
  field = wanted;
  chosen = shown = cell;
  for (const item of byId("fields").children) {
    const current = Number(item.dataset.place) === field.place;
    item.firstElementChild.setAttribute("aria-current", current);
    if (current) item.scrollIntoView({ block: "nearest", inline: "nearest" });
  }
  byId("field-name").textContent = byId("field-name").title = field.id;
  const names = field.labels && (field.labels.map((k) => classes.names[k]).join(", ") || "none");
  byId("field-labels").textContent = byId("field-labels").title = `Labels of the field: ${names || "unknown"}`;

  const [width, height] = field.size;
  const picture = byId("picture");
  picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const paths = makeSvg("g");
  picture.replaceChildren(makeSvg("image", { width, height, preserveAspectRatio: "none" }), paths);
  byId("cells").replaceChildren();
  field.cells.forEach((one, place) => {
    paths.append(makeSvg("path", { d: one.path, "data-cell": place }));
    const button = make("button", { type: "button", "data-cell": place });
    byId("cells").append(make("li", {}, button));
  });
  showChannel();
  showCells();
}

function showChannel() {
  byId("channel").setAttribute("aria-pressed", channel === "green");
  if (!field) return;
  byId("picture").firstElementChild.setAttribute("href", jpeg(field[channel]));
  const what = channel === "green" ? "protein channel" : "all channels";
  byId("picture").setAttribute("aria-label", `Field ${field.id}, ${what}, ${plural(field.cells.length, "cell")}`);
  showCloseUp();
}

function stepField(step) {
  const visible = visibleFields();
  const place = visible.indexOf(field);
  const next = visible[place < 0 ? 0 : place + step];
  if (next) openField(next);
}

// Cells

function stateOf(cell, outcome) {
  return `cell ${cell.p ? outcome : "unpredicted"}${matches(cell) ? "" : " dim"}${cell === shown ? " shown" : ""}`;
}

function showCells() {
  if (!field) return showPanel();
  const paths = [...byId("picture").querySelectorAll("path")];
  byId("cells").querySelectorAll("button").forEach((button, place) => {
    const cell = field.cells[place];
    const outcome = judgedOutcome(cell); // none of a cell that was not predicted
    const state = stateOf(cell, outcome);
    button.className = state;
    button.setAttribute("aria-pressed", cell === chosen);
    button.textContent = outcome ? `${cell.id} ${MARKS[outcome]}` : cell.id;
    const said = cell.p ? outcome : "not predicted";
    const away = matches(cell) ? "" : ", not in the filter";
    button.setAttribute("aria-label", `Cell ${cell.id}${said ? ", " + said : ""}${away}`);
    const path = paths.find((p) => Number(p.dataset.cell) === place);
    path.setAttribute("class", state);
    if (cell === shown) path.parentNode.append(path); // on top of its neighbours' outlines
  });
  showLegend();
  showPanel();
  rememberPlace();
}

function showLegend() {
  const legend = byId("legend");
  if (!field.cells.length) return legend.replaceChildren("No cells were found in this field.");
  if (!field.cells.some((cell) => cell.p)) return legend.replaceChildren("The cells of this field were not predicted.");
  if (!hasTruth) return legend.replaceChildren("");
  const of = filter.number >= 0 ? classes.names[filter.number] : "the most confident class";
  legend.replaceChildren(`Outlines, by ${of}:`);
  for (const kind of possibleOutcomes()) {
    const line = makeSvg("svg", { viewBox: "0 0 26 8", "aria-hidden": "true" });
    line.append(makeSvg("path", { d: "M1 4h24", class: `cell ${kind}` }));
    legend.append(line, ` ${MARKS[kind]} ${kind}${kind === "right" ? ", or not judged" : ""}`);
  }
}

function choose(cell) {
  chosen = shown = cell;
  showCells();
}

function stepCell(step) {
  if (!field) return;
  const reachable = field.cells.filter(matches);
  if (!reachable.length) return;
  const place = reachable.indexOf(shown);
  const next = place < 0 ? (step > 0 ? 0 : reachable.length - 1) : (place + step + reachable.length) % reachable.length;
  choose(reachable[next]);
}

function followPointer() {
  const picture = byId("picture");
  const under = (event) => {
    const path = event.target.closest("path");
    return path ? field.cells[Number(path.dataset.cell)] : null;
  };
  picture.addEventListener("pointermove", (event) => {
    const cell = field && under(event);
    if (event.pointerType === "mouse" && cell && cell !== shown) {
      shown = cell;
      showCells();
    }
  });
  picture.addEventListener("pointerleave", () => {
    if (chosen && shown !== chosen) choose(chosen);
  });
  picture.addEventListener("click", (event) => field && choose(under(event)));
  byId("cells").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) choose(field.cells[Number(button.dataset.cell)]);
  });
}

// Panel

// one scale for all cells of the page, so that they can be compared
const highest = cells.reduce((most, cell) => (cell.p ? Math.max(most, cell.p[cell.top]) : most), 0);
const ENDS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5];
const fullBar = ENDS.find((end) => highest <= end) || Math.max(1, highest);

function showPanel() {
  const cell = shown;
  byId("panel").classList.toggle("empty", !cell);
  byId("cell-name").textContent = cell ? `Cell ${cell.id}` : "No cell chosen";
  byId("cell-note").textContent = noteOn(cell);
  showCloseUp();
  const known = Boolean(cell && cell.p);
  byId("bars").hidden = byId("scale").hidden = !known;
  if (!known) return;
  const order = classes.names.map((_, k) => k);
  if (byId("sort").checked) order.sort((a, b) => cell.p[b] - cell.p[a] || a - b);
  byId("bars").tBodies[0].replaceChildren(...order.map((k) => makeRow(cell, k)));
  byId("scale").textContent = `Full bar: ${fullBar}. Classes with ◂ are labels of the field.`;
}

function makeRow(cell, k) {
  const outcome = outcomeOf(cell, k);
  const name = make("th", { scope: "row", title: `${k} ${classes.names[k]}` }, classes.short[k]);
  if (field.labels && field.labels.includes(k)) name.append(make("small", { "aria-label": "label of the field" }, " ◂"));
  const bar = make("div");
  bar.style.width = `${Math.min(100, (100 * cell.p[k]) / fullBar)}%`;
  const word = outcome === "missed" && !filter.least ? ordinal(rankOf(cell, k)) : outcome;
  const truth = outcome ? `${MARKS[outcome]} ${word}` : "";
  const row = make("tr", { "data-class": k }, name, make("td", { class: "bar-cell" }, bar),
    make("td", { class: "value" }, shortNumber(cell.p[k])));
  if (hasTruth) row.append(make("td", { class: `mark ${outcome}` }, truth));
  row.classList.toggle("top", isPredicted(cell, k));
  row.classList.toggle("chosen", k === filter.number);
  return row;
}

const rankOf = (cell, k) => 1 + cell.p.filter((p) => p > cell.p[k]).length;
const ordinal = (n) => n + ({ 1: "st", 2: "nd", 3: "rd" }[n] || "th"); // there are 19 classes

function noteOn(cell) {
  if (!field) return "";
  if (!cell) {
    if (!field.cells.length) return "This field has no cells.";
    return "Point at a cell, tap it, or step with ↑ ↓.";
  }
  const lost = cell.path ? "" : " It has no outline in this picture.";
  const top = cell.p ? `Most confident: ${classes.names[cell.top]}.` : "This cell was not predicted.";
  return top + truthOf(cell) + lost;
}

function truthOf(cell) {
  if (!hasTruth) return "";
  if (!cell.t) return " Truth: unknown.";
  const shows = classes.names.filter((_, k) => cell.t[k] === 1).join(", ") || "none of them";
  const known = cell.t.filter((value) => value >= 0).length;
  return ` Truth${known < cell.t.length ? `, known for ${known} of the 19 classes` : ""}: ${shows}.`;
}

function showCloseUp() {
  const view = byId("close-up");
  const nothing = !shown || !shown.path;
  view.toggleAttribute("hidden", nothing);
  if (nothing) return;
  const path = byId("picture").querySelector(`path[data-cell="${field.cells.indexOf(shown)}"]`);
  const box = path.getBBox();
  const margin = 0.08 * Math.max(box.width, box.height);
  view.setAttribute("viewBox",
    `${box.x - margin} ${box.y - margin} ${box.width + 2 * margin} ${box.height + 2 * margin}`);
  const [width, height] = field.size;
  const [image, outline] = view.children;
  const source = jpeg(field[channel]);
  if (image.getAttribute("href") !== source) image.setAttribute("href", source); // else it is decoded at every cell
  image.setAttribute("width", width);
  image.setAttribute("height", height);
  outline.setAttribute("d", shown.path);
  outline.style.visibility = byId("viewer").classList.contains("plain") ? "hidden" : "visible";
}

// Keys, buttons, address

function toggleChannel() {
  channel = channel === "green" ? "colour" : "green";
  showChannel();
}

function toggleOutlines() {
  const plain = byId("viewer").classList.toggle("plain");
  byId("outlines").setAttribute("aria-pressed", !plain);
  showCloseUp();
}

function letGo() {
  if (shown) choose(null);
  else if (isFiltering()) clearFilter();
}

const KEYS = {
  ArrowLeft: () => stepField(-1), p: () => stepField(-1), ArrowRight: () => stepField(1), n: () => stepField(1),
  ArrowUp: () => stepCell(-1), k: () => stepCell(-1), ArrowDown: () => stepCell(1), j: () => stepCell(1),
  g: toggleChannel, o: toggleOutlines, s: () => byId("sort").click(), "?": () => byId("help").showModal(),
};

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("help").open) return;
  const typing = event.target.matches("select, input:not([type=checkbox])");
  if (event.key === "Escape") return typing ? event.target.blur() : letGo();
  if (typing || !KEYS[event.key]) return;
  event.preventDefault();
  KEYS[event.key]();
}

const encoded = (id) => encodeURIComponent(id.replace(/[\ud800-\udfff]/gu, "�")); // half characters cannot be encoded

let remembering = 0;

function rememberPlace() { // after a pause: browsers refuse an address that changes at every key of a held one
  clearTimeout(remembering);
  remembering = setTimeout(() => {
    const address = "#" + encoded(field.id) + (chosen ? `/${chosen.id}` : "");
    if (location.hash !== address) history.replaceState(null, "", address);
  }, 200);
}

function goToAddress() {
  const [id, number] = location.hash.slice(1).split("/");
  const wanted = fields.find((one) => encoded(one.id) === id);
  const cell = wanted && wanted.cells.find((one) => String(one.id) === number);
  if (wanted || field) openField(wanted || field, cell || null);
}

function start() {
  buildFilters();
  buildFields();
  byId("channel").addEventListener("click", toggleChannel);
  byId("outlines").addEventListener("click", toggleOutlines);
  byId("sort").addEventListener("change", showPanel);
  byId("previous").addEventListener("click", () => stepField(-1));
  byId("next").addEventListener("click", () => stepField(1));
  byId("help-button").addEventListener("click", () => byId("help").showModal());
  document.addEventListener("keydown", onKey);
  window.addEventListener("hashchange", goToAddress);
  const narrow = matchMedia("(max-width: 999.9px)"); // where the filters fold away; at full width they have no handle
  const fold = () => (byId("filters").open = !narrow.matches);
  narrow.addEventListener("change", fold);
  fold();
  byId("sort").checked = matchMedia("(max-width: 720px)").matches; // little room: what matters comes first
  followPointer();
  byId("close-up").append(makeSvg("image", { preserveAspectRatio: "none" }), makeSvg("path", { class: "cell" }));
  byId("viewer").hidden = byId("panel").hidden = !fields.length;
  showFilter();
  goToAddress();
}

start();
