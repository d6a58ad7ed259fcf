"use strict";
// What can be zoomed and moved: the picture of a field, made of its channels, and the map of cells.

const byId = (id) => document.getElementById(id);

function filled(element, attributes, content = []) {
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...content);
  return element;
}

const make = (name, attributes = {}, ...content) => filled(document.createElement(name), attributes, content);
const makeSvg = (name, attributes = {}, ...content) =>
  filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, content);

// Zoom and pan

const MOST_ZOOM = 24;
const STEP = 1.5; // of a key or a button
const STILL = 4; // px that a finger or mouse may stray in a click

function unitsAt(svg, x, y) { // a place in the window, in the units of the drawing
  return new DOMPoint(x, y).matrixTransform(svg.getScreenCTM().inverse());
}

// A view of a drawing: `show` gives it another drawing, `zoom` and `centre` move it; `changed` is called after each.
function makeView(svg, changed) {
  let whole = [1, 1];
  let [left, top, width] = [0, 0, 1];
  const heightOf = (w) => (w * whole[1]) / whole[0];

  function place(x, y, w) {
    width = Math.min(whole[0], Math.max(whole[0] / MOST_ZOOM, w));
    left = Math.min(whole[0] - width, Math.max(0, x));
    top = Math.min(whole[1] - heightOf(width), Math.max(0, y));
    svg.setAttribute("viewBox", `${left} ${top} ${width} ${heightOf(width)}`);
    svg.classList.toggle("zoomed", width < whole[0]);
    changed();
  }

  const view = {
    show(size) {
      whole = size;
      place(0, 0, size[0]);
    },
    zoom(factor, at = { x: left + width / 2, y: top + heightOf(width) / 2 }) {
      const w = Math.min(whole[0], Math.max(whole[0] / MOST_ZOOM, width / factor));
      place(at.x - ((at.x - left) * w) / width, at.y - ((at.y - top) * w) / width, w);
    },
    centre(at) {
      place(at.x - width / 2, at.y - heightOf(width) / 2, width);
    },
    reset: () => place(0, 0, whole[0]),
    isWithin: (box) => box.x >= left && box.y >= top && box.x + box.width <= left + width
      && box.y + box.height <= top + heightOf(width),
  };
  svg.addEventListener("wheel", (event) => {
    const scrolls = document.scrollingElement.scrollHeight > innerHeight; // then the wheel is the page's
    if (scrolls && !event.ctrlKey) return;
    event.preventDefault();
    const lines = event.deltaMode ? 30 : 1;
    view.zoom(Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.002)), unitsAt(svg, event.clientX, event.clientY));
  }, { passive: false });
  followFingers(svg, view, (x, y) => place(left + x, top + y, width));
  return view;
}

// Dragging with one finger or the mouse moves the view, two fingers zoom; the click at the end of it is not one.
function followFingers(svg, view, move) {
  const fingers = new Map();
  let strayed = false;
  const middle = (points) => ({
    x: points.reduce((sum, p) => sum + p.x, 0) / points.length, y: points.reduce((sum, p) => sum + p.y, 0) / points.length,
  });
  const apart = (points) => Math.hypot(points[0].x - points[1].x, points[0].y - points[1].y);

  svg.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    if (!fingers.size) strayed = false;
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  });
  svg.addEventListener("pointermove", (event) => {
    const last = fingers.get(event.pointerId);
    if (!last) return;
    const now = { x: event.clientX, y: event.clientY };
    if (!strayed && fingers.size < 2 && Math.hypot(now.x - last.x, now.y - last.y) < STILL) return;
    if (!strayed) svg.setPointerCapture(event.pointerId);
    strayed = true;
    const before = [...fingers.values()].slice(0, 2);
    fingers.set(event.pointerId, now);
    const after = [...fingers.values()].slice(0, 2);
    const from = unitsAt(svg, middle(before).x, middle(before).y);
    const to = unitsAt(svg, middle(after).x, middle(after).y);
    move(from.x - to.x, from.y - to.y);
    if (after.length === 2) view.zoom(apart(after) / Math.max(apart(before), 1), from);
  });
  for (const kind of ["pointerup", "pointercancel"]) {
    window.addEventListener(kind, (event) => fingers.delete(event.pointerId));
  }
  svg.addEventListener("click", (event) => strayed && event.stopImmediatePropagation(), true);
}

// Channels: grey pictures, each in its colour, laid over each other like light; one alone is white

const CHANNELS = ["red", "green", "blue", "yellow"];
const jpeg = (text) => "data:image/jpeg;base64," + text;
const isOn = (channel) => byId(channel).checked;

function makePlanes(id) {
  const planes = CHANNELS.map((channel) => makeSvg("g", { class: "plane", "data-channel": channel },
    makeSvg("image", { preserveAspectRatio: "none" }), makeSvg("rect", { class: "tint" })));
  return makeSvg("g", { id, class: "planes" }, ...planes);
}

function showPlanes(planes, pictures, [width, height]) {
  for (const plane of planes.children) {
    const source = jpeg(pictures[plane.dataset.channel]);
    for (const part of plane.children) filled(part, { width, height });
    if (plane.firstChild.getAttribute("href") !== source) plane.firstChild.setAttribute("href", source);
  }
}

function tintPlanes(planes, tints) {
  const alone = CHANNELS.filter(isOn).length === 1;
  for (const plane of planes.children) {
    const { channel } = plane.dataset;
    plane.style.display = isOn(channel) ? "" : "none";
    plane.lastChild.style.fill = alone ? "#fff" : tints[CHANNELS.indexOf(channel)];
  }
}

// Scale bar: 1, 2 or 5 times a power of ten, at most a quarter as long as the picture is wide

function drawScale(svg, umPerUnit) {
  svg.querySelector(".scale-bar")?.remove();
  const frame = svg.getBoundingClientRect();
  if (!frame.width) return;
  const unitsPerPixel = 1 / svg.getScreenCTM().a;
  const most = 0.25 * Math.min(frame.width, 480) * unitsPerPixel * umPerUnit;
  const power = 10 ** Math.floor(Math.log10(most));
  const um = power * [5, 2, 1].find((step) => step * power <= most);
  const corner = unitsAt(svg, frame.left + 12, frame.bottom - 12);
  const text = makeSvg("text", { x: 0, y: -8 });
  text.textContent = `${Number(um.toPrecision(1))} µm`;
  svg.append(makeSvg("g", { class: "scale-bar", transform: `translate(${corner.x} ${corner.y}) scale(${unitsPerPixel})` },
    makeSvg("rect", { y: -4, width: um / umPerUnit / unitsPerPixel, height: 4 }), text));
}

// Map of cells: a dot a cell, in one of ten colours and two shapes a class

const COLOURS = ["#77aadd", "#ee8866", "#eedd88", "#ffaabb", "#99ddff", "#44bb99", "#bbcc33", "#aaaa00", "#dddddd",
  "#c49bea"];
const MAP_SIDE = 1000;
const styleOf = (k) => (k < 0 ? "stroke: #777" :
  `stroke: ${COLOURS[k % COLOURS.length]}; stroke-linecap: ${k < COLOURS.length ? "round" : "square"}`);

// Dots for cells with a place `m` on the map, spread over a square with a rim
function makeDots(cells) {
  const [low, high] = [Math.min, Math.max].map((end) =>
    [0, 1].map((axis) => cells.reduce((so, cell) => end(so, cell.m[axis]), cells[0].m[axis])));
  const range = Math.max(high[0] - low[0], high[1] - low[1]) || 1;
  const spread = (value, axis) => MAP_SIDE * (0.5 + (0.92 * (value - (low[axis] + high[axis]) / 2)) / range);
  for (const cell of cells) cell.dot = { x: spread(cell.m[0], 0), y: MAP_SIDE - spread(cell.m[1], 1) };
  return cells.map((cell) => makeSvg("path", { d: `M${cell.dot.x.toFixed(1)} ${cell.dot.y.toFixed(1)}h0`, class: "dot",
    style: styleOf(cell.top) }, makeSvg("title")));
}

function nearestDot(svg, cells, event) { // the cell whose dot is next to a place in the window, if it is near
  const at = unitsAt(svg, event.clientX, event.clientY);
  const away = (cell) => Math.hypot(cell.dot.x - at.x, cell.dot.y - at.y);
  const nearest = cells.reduce((best, cell) => (away(cell) < away(best) ? cell : best), cells[0]);
  return away(nearest) * svg.getScreenCTM().a < 16 ? nearest : null;
}
