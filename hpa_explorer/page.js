// Data reach the page as text and attributes only, never as markup: identifiers of fields are not to be trusted.

const blocks = [...document.querySelectorAll('script[type="application/json"]')];
const read = (kind) => blocks.filter((b) => b.dataset.kind === kind).map((b) => JSON.parse(b.textContent));
const [{ classes, tints, dark, map }] = read("page");
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
const mapped = cells.filter((cell) => cell.m);
const MARKS = { right: "✓", false: "✗", missed: "○", unjudged: "–" };

const filter = { number: -1, least: 0, outcome: "" }; // class, −1 for any; least confidence, 0 for none
let field = fields[0] || null;
let chosen = null; // the cell that stays when the pointer leaves
let shown = null; // the cell in the panel

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

// Words and numbers

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
  for (const id of ["clear", "clear-too"]) byId(id).addEventListener("click", clearFilter);
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
  byId("nothing").hidden = visible.length > 0 || !fields.length;
  byId("main").classList.toggle("nothing", !visible.length);
  if (visible.length && !visible.includes(field)) openField(visible[0]);
  else showCells();
}

// The classes predicted of a field's cells, the most frequent first: "Golgi 5, cytosol 2".
function predictedIn(one) {
  const count = (k) => one.cells.filter((cell) => cell.p && isPredicted(cell, k)).length;
  const counts = classes.names.map((_, k) => [k, count(k)]).filter(([, n]) => n);
  return counts.sort((a, b) => b[1] - a[1]).map(([k, n]) => `${classes.short[k]} ${n}`).join(", ");
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
    const predicted = predictedIn(own);
    item.querySelector(".predicted").textContent = predicted;
    item.firstElementChild.title = `${own.id}: ${predicted || "nothing predicted"}`;
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
    byId("nothing-why").textContent = `No cell is left: ${describeFilter()}.${hint}`;
    return count.replaceChildren(make("b", {}, "No cell"), ` of ${all}`);
  }
  const inFields = plural(new Set(found.map((cell) => cell.field)).size, "field");
  count.replaceChildren(make("b", {}, `${plural(found.length, "cell")} in ${inFields}`),
    ` of ${all}: ${describeFilter()}`);
}

// Fields

const visibleFields = () => fields.filter((f) => !isFiltering() || f.cells.some(matches));

function buildFields() {
  for (const one of fields) {
    const button = make("button", { type: "button", tabindex: -1 },
      make("img", { src: jpeg(one.thumbnail), alt: "" }), make("span", {}, one.id),
      make("span", { class: "predicted" }), make("span", { class: "n" }));
    button.addEventListener("click", () => openField(one));
    byId("fields").append(make("li", { "data-place": one.place }, button));
  }
}

function openField(wanted, cell = null) {
  const list = document.activeElement.closest("#fields, #cells"); // where the keyboard is; it stays there
  field = wanted;
  chosen = shown = cell;
  for (const item of byId("fields").children) {
    const current = Number(item.dataset.place) === field.place;
    item.firstElementChild.setAttribute("aria-current", current);
    item.firstElementChild.tabIndex = current ? 0 : -1;
    if (current) item.scrollIntoView({ block: "nearest", inline: "nearest" });
  }
  byId("field-name").textContent = byId("field-name").title = field.id;
  const names = field.labels && (field.labels.map((k) => classes.names[k]).join(", ") || "none");
  byId("field-labels").textContent = byId("field-labels").title = `Labels of the field: ${names || "unknown"}`;

  showPlanes(byId("planes"), field.planes, field.size);
  byId("picture").setAttribute("aria-label", `Field ${field.id}, ${plural(field.cells.length, "cell")}`);
  byId("outlines-drawn").replaceChildren(
    ...field.cells.map((one, place) => makeSvg("path", { d: one.path, "data-cell": place })));
  byId("cells").replaceChildren(
    ...field.cells.map((_, place) => make("li", {}, make("button", { type: "button", "data-cell": place }))));
  pictureView.show(field.size);
  showCells();
  list?.querySelector("[tabindex='0']")?.focus();
}

const announce = (text) => (byId("announced").textContent = text);

function stepField(step) {
  const visible = visibleFields();
  const place = visible.indexOf(field);
  const next = visible[place < 0 ? 0 : place + step];
  if (!next) return;
  openField(next);
  const cellsOfIt = `${plural(field.cells.length, "cell")}. Predicted: ${predictedIn(field) || "nothing"}.`;
  announce(`Field ${byId("position").textContent}, ${field.id}, ${cellsOfIt}`);
}

function showPosition() {
  const visible = visibleFields();
  const place = visible.indexOf(field);
  byId("position").textContent = place < 0 ? `– of ${visible.length}` : `${place + 1} of ${visible.length}`;
  byId("previous").disabled = place <= 0;
  byId("next").disabled = place < 0 ? !visible.length : place === visible.length - 1;
}

// Cells

function stateOf(cell, outcome) {
  const kind = cell.p ? outcome || "unjudged" : "unpredicted";
  return `cell ${kind}${matches(cell) ? "" : " dim"}${cell === shown ? " shown" : ""}`;
}

function showCells() {
  if (!field) return showPanel();
  const paths = [...byId("outlines-drawn").children];
  const buttons = [...byId("cells").querySelectorAll("button")];
  buttons.forEach((button, place) => {
    const cell = field.cells[place];
    const outcome = judgedOutcome(cell); // none of a cell that was not predicted
    const state = stateOf(cell, outcome);
    button.className = state;
    button.setAttribute("aria-pressed", cell === chosen);
    button.tabIndex = (chosen ? cell === chosen : !place) ? 0 : -1;
    button.textContent = outcome ? `${cell.id} ${MARKS[outcome]}` : cell.id;
    const said = !cell.p ? "not predicted" : outcome || (hasTruth ? "not judged" : "");
    const away = matches(cell) ? "" : ", not in the filter";
    button.setAttribute("aria-label", `Cell ${cell.id}${said ? ", " + said : ""}${away}`);
    const path = paths.find((p) => Number(p.dataset.cell) === place);
    path.setAttribute("class", state);
    if (cell === shown) path.parentNode.append(path); // on top of its neighbours' outlines
  });
  showPosition();
  showLegend();
  showMap();
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
  for (const kind of [...possibleOutcomes(), "unjudged"]) {
    const line = makeSvg("svg", { viewBox: "0 0 26 10", "aria-hidden": "true" },
      makeSvg("path", { d: "M2 5h22", class: `cell ${kind}` }));
    legend.append(make("span", {}, line, `${MARKS[kind]} ${kind === "unjudged" ? "not judged" : kind}`));
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
  const inList = document.activeElement.closest("#cells");
  choose(reachable[next]);
  inList?.querySelector("[tabindex='0']")?.focus();
  const outcome = chosen.p ? judgedOutcome(chosen) : "";
  announce(`Cell ${chosen.id}, ${next + 1} of ${reachable.length}. ${noteOn(chosen)} ${outcome && `Judged: ${outcome}.`}`);
  const box = boxOf(chosen);
  if (box && !pictureView.isWithin(box)) pictureView.centre(middleOf(box));
}

function boxOf(cell) { // of its outline in the picture; none while the map is shown instead
  if (!cell || !cell.path || isMapShown()) return null;
  return byId("outlines-drawn").querySelector(`[data-cell="${field.cells.indexOf(cell)}"]`).getBBox();
}

const middleOf = (box) => ({ x: box.x + box.width / 2, y: box.y + box.height / 2 });

function followPointer() {
  const picture = byId("picture");
  const under = (event) => {
    const path = event.target.closest("#outlines-drawn path");
    return path ? field.cells[Number(path.dataset.cell)] : null;
  };
  picture.addEventListener("pointermove", (event) => {
    const cell = field && under(event);
    if (event.pointerType === "mouse" && !event.buttons && cell && cell !== shown) {
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
  const outline = byId("close-up-outline");
  outline.setAttribute("d", shown.path);
  outline.setAttribute("class", stateOf(shown, judgedOutcome(shown)));
  const box = outline.getBBox();
  const margin = 0.08 * Math.max(box.width, box.height);
  view.setAttribute("viewBox",
    `${box.x - margin} ${box.y - margin} ${box.width + 2 * margin} ${box.height + 2 * margin}`);
  drawScale(view, umPerUnit());
}

const umPerUnit = () => field.width_um / field.size[0];

// Map

function buildMap() {
  byId("map-button").hidden = !mapped.length;
  if (!mapped.length) return;
  byId("map").append(makeSvg("g", { id: "dots" }, ...makeDots(mapped)), makeSvg("g", { id: "ring" }));
  byId("map").setAttribute("aria-label", `Map of ${plural(mapped.length, "cell")} by ${map}`);
  mapped.forEach((cell, place) => {
    const name = cell.p ? `${classes.short[cell.top]} ${shortNumber(cell.p[cell.top])}` : "not predicted";
    byId("dots").children[place].firstChild.textContent = `${name}\ncell ${cell.id} of ${cell.field.id}`;
  });
  byId("map").addEventListener("click", (event) => {
    const cell = nearestDot(byId("map"), mapped, event);
    if (cell) openField(cell.field, cell);
  });
  mapView.show([MAP_SIDE, MAP_SIDE]);
}

function showMap() {
  if (!mapped.length || !isMapShown()) return;
  mapped.forEach((cell, place) => byId("dots").children[place].classList.toggle("dim", !matches(cell)));
  const ringed = shown && shown.dot ? ["rim", "gap", ""] : [];
  byId("ring").replaceChildren(...ringed.map((part) => makeSvg("path", { d: `M${shown.dot.x} ${shown.dot.y}h0`,
    class: `dot ${part}`, style: part ? "" : styleOf(shown.top) })));
  const count = (k) => mapped.filter((cell) => cell.top === k && matches(cell)).length;
  const counts = classes.names.map((_, k) => [k, count(k)]).filter(([, n]) => n).sort((a, b) => b[1] - a[1]);
  byId("map-legend").replaceChildren(`${map} of what the network's head sees: near cells look alike to it. Colour: the ` +
    "most confident class.", ...counts.map(([k, n]) => make("span", {}, makeSvg("svg", { viewBox: "0 0 12 12",
    "aria-hidden": "true" }, makeSvg("path", { d: "M6 6h0", class: "dot", style: styleOf(k) })), `${classes.short[k]} ${n}`)));
}

// Keys, buttons, address

const pictureView = makeView(byId("picture"), () => field && drawScale(byId("picture"), umPerUnit()));
const mapView = makeView(byId("map"), () => {});
const currentView = () => (isMapShown() ? mapView : pictureView);

function zoomBy(factor) { // about the chosen cell, so that keys alone lead to it
  const box = boxOf(shown);
  currentView().zoom(factor);
  if (box && factor > 1) pictureView.centre(middleOf(box));
}

const showChannels = () => tintPlanes(byId("planes"), tints);

function toggleProteinAlone() {
  const alone = CHANNELS.every((channel) => isOn(channel) === (channel === "green"));
  for (const channel of CHANNELS) {
    byId(channel).checked = alone ? byId(channel).defaultChecked : channel === "green";
  }
  showChannels();
}

function toggleOutlines() {
  const plain = document.body.classList.toggle("plain");
  byId("outlines").setAttribute("aria-pressed", !plain);
}

const isMapShown = () => !byId("map").hasAttribute("hidden"); // the property is one of HTML, not of SVG

function toggleMap() {
  if (!mapped.length) return;
  const on = !isMapShown();
  byId("map-button").setAttribute("aria-pressed", on);
  for (const id of ["map", "map-legend"]) byId(id).toggleAttribute("hidden", !on);
  for (const id of ["picture", "legend"]) byId(id).toggleAttribute("hidden", on);
  showCells();
}

function letGo() {
  if (shown) choose(null);
  else if (isFiltering()) clearFilter();
}

const KEYS = {
  ArrowLeft: () => stepField(-1), p: () => stepField(-1), ArrowRight: () => stepField(1), n: () => stepField(1),
  ArrowUp: () => stepCell(-1), k: () => stepCell(-1), ArrowDown: () => stepCell(1), j: () => stepCell(1),
  1: () => byId("red").click(), 2: () => byId("green").click(), 3: () => byId("blue").click(),
  4: () => byId("yellow").click(), g: toggleProteinAlone, o: toggleOutlines, m: toggleMap,
  "+": () => zoomBy(STEP), "=": () => zoomBy(STEP), "-": () => zoomBy(1 / STEP), 0: () => currentView().reset(),
  s: () => byId("sort").click(), "?": () => byId("help").showModal(),
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
  byId("outlines").addEventListener("click", toggleOutlines);
  byId("map-button").addEventListener("click", toggleMap);
  byId("closer").addEventListener("click", () => zoomBy(STEP));
  byId("farther").addEventListener("click", () => zoomBy(1 / STEP));
  byId("whole").addEventListener("click", () => currentView().reset());
  CHANNELS.forEach((channel, place) => {
    byId(channel).checked = byId(channel).defaultChecked = !dark.includes(channel);
    byId(channel).addEventListener("change", showChannels);
    byId(channel).parentNode.style.setProperty("--tint", tints[place]);
  });
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
  byId("picture").append(makePlanes("planes"), makeSvg("g", { id: "outlines-drawn" }));
  byId("close-up").append(makeSvg("use", { href: "#planes" }), makeSvg("path", { id: "close-up-outline" }));
  showChannels();
  buildMap();
  new ResizeObserver(() => {
    if (field) drawScale(byId("picture"), umPerUnit());
    if (field) showCloseUp();
  }).observe(byId("picture"));
  byId("viewer").hidden = byId("panel").hidden = !fields.length;
  showFilter();
  goToAddress();
}

start();
