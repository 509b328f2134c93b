"use strict";

const slice = JSON.parse(document.getElementById("slice").textContent);
const form = document.getElementById("controls");
const [height, width] = slice.size;
const GRID_LINES = 12;
const GRID_POINTS = 60;
const HIDDEN = [11, 26, 42];
// Colours change in steps, so that their borders are lines of equal magnification.
const LARGEST_LOG = 3;
const STEPS_PER_OCTAVE = 2;
const STOPS = [[70, 165, 255], [42, 98, 170], [56, 62, 70], [176, 106, 22], [255, 200, 70]];

let grey;
let view = null;
let hovered = null;

const byId = (id) => document.getElementById(id);
const control = (name) => form.elements[name];
const clamped = (value, last) => Math.min(Math.max(value, 0), last);
const rounded = (value, decimals) => Number(value.toFixed(decimals));
const inDigits = (value, digits) => Number(value.toPrecision(digits));

// What the controls say, as arguments of sphericalView.
function settings() {
  const fitted = control("scale").value === "fit";
  return {
    size: slice.size,
    viewSize: slice.viewSize,
    spacing: slice.spacing,
    center: [clamped(Number(control("row").value), height - 1), clamped(Number(control("column").value), width - 1)],
    radius: inDigits(slice.radius * 2 ** Number(control("radius").value), 4),
    lift: control("lift").value,
    chart: control("chart").value,
    pose: control("pose").value,
    magnification: fitted ? null : rounded(2 ** Number(control("magnification").value), 2),
  };
}

// The same view in Python.
function pythonOf({ size, spacing, center, radius, lift, chart, pose, magnification: wanted }) {
  const tuple = (values) => `(${values.join(", ")})`;
  const options = [
    `radius=${radius}`,
    `lift="${lift}"`,
    `chart="${chart}"`,
    ...(pose === "turned" ? ['pose="turned"'] : []),
    ...(wanted ? [`magnification=${wanted}`] : []),
    `spacing=${tuple(spacing)}`,
  ];
  return `Views.spherical(${tuple(size)}, [${tuple(center)}], ${options.join(", ")})`;
}

function bilinear(values, y, x) {
  const [top, left] = [Math.floor(y), Math.floor(x)];
  const [down, right] = [y - top, x - left];
  const at = top * width + left;
  const below = down > 0 ? width : 0;
  const beside = right > 0 ? 1 : 0;
  const upper = values[at] * (1 - right) + values[at + beside] * right;
  const lower = values[at + below] * (1 - right) + values[at + below + beside] * right;
  return upper * (1 - down) + lower * down;
}

function paint(canvas, [rows, columns], colour) {
  const context = canvas.getContext("2d");
  const image = context.createImageData(columns, rows);
  const pixels = image.data;
  for (let at = 0, byte = 0; at < rows * columns; at += 1, byte += 4) {
    colour(at, pixels, byte);
    pixels[byte + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

function put(pixels, byte, red, green, blue) {
  pixels[byte] = red;
  pixels[byte + 1] = green;
  pixels[byte + 2] = blue;
}

function paintView() {
  const { y, x } = view ? sliceCoordinates(view) : { y: [], x: [] };
  paint(byId("view"), slice.viewSize, (at, pixels, byte) => {
    if (!(y[at] >= 0)) return put(pixels, byte, ...HIDDEN);
    const level = bilinear(grey, y[at], x[at]);
    return put(pixels, byte, level, level, level);
  });
}

// A colour between the stops: blue where the view is smaller than the slice, amber where it is larger.
function colourOf(logarithm) {
  const place = clamped((logarithm / LARGEST_LOG + 1) / 2, 1) * (STOPS.length - 1);
  const first = Math.min(Math.floor(place), STOPS.length - 2);
  return STOPS[first].map((from, channel) => from + (STOPS[first + 1][channel] - from) * (place - first));
}

const LEVELS = 2 * LARGEST_LOG * STEPS_PER_OCTAVE;
const COLOURS = Array.from({ length: LEVELS + 1 }, (_, level) => colourOf(level / STEPS_PER_OCTAVE - LARGEST_LOG));

function paintMagnification(values) {
  paint(byId("map"), slice.size, (at, pixels, byte) => {
    if (!(values[at] > 0)) return put(pixels, byte, ...HIDDEN);
    const level = Math.round((Math.log2(values[at]) + LARGEST_LOG) * STEPS_PER_OCTAVE);
    const [red, green, blue] = COLOURS[clamped(level, LEVELS)];
    const anatomy = 0.65 + 0.85 * grey[at] / 255;
    return put(pixels, byte, red * anatomy, green * anatomy, blue * anatomy);
  });
}

// The slice's grid lines as the path of an SVG whose unit is a pixel, with pixel centres at whole numbers.
function gridPath(place) {
  const point = new Float64Array(2);
  const lines = [];
  for (let axis = 0; axis < 2; axis += 1) {
    for (let line = 0; line < GRID_LINES; line += 1) {
      const fixed = line / (GRID_LINES - 1) * (slice.size[axis] - 1);
      let drawing = false;
      for (let step = 0; step <= GRID_POINTS; step += 1) {
        const along = step / GRID_POINTS * (slice.size[1 - axis] - 1);
        const shown = axis === 0 ? place(fixed, along, point) : place(along, fixed, point);
        if (shown) lines.push(`${drawing ? "L" : "M"}${point[1].toFixed(1)} ${point[0].toFixed(1)}`);
        drawing = shown;
      }
    }
  }
  return lines.join("");
}

function drawGrid() {
  const wanted = control("grid").checked;
  const onSlice = (y, x, point) => {
    point[0] = y;
    point[1] = x;
    return true;
  };
  byId("slice-grid").setAttribute("d", wanted ? gridPath(onSlice) : "");
  byId("view-grid").setAttribute("d", wanted && view ? gridPath((y, x, point) => toView(view, y, x, point)) : "");
}

function place(element, [y, x], [rows, columns]) {
  element.hidden = !(y >= -0.5 && y <= rows - 0.5 && x >= -0.5 && x <= columns - 0.5);
  element.style.left = `${100 * (x + 0.5) / columns}%`;
  element.style.top = `${100 * (y + 0.5) / rows}%`;
}

// The magnification where the pointer is, else at the centre.
function tell() {
  const [y, x] = hovered ?? settings().center;
  const landed = new Float64Array(2);
  const shown = view && toView(view, y, x, landed) && snap(landed, slice.viewSize);
  for (const name of ["slice-pointer", "map-pointer"]) place(byId(name), hovered ?? [NaN, NaN], slice.size);
  place(byId("view-pointer"), hovered && shown ? landed : [NaN, NaN], slice.viewSize);
  const where = `${hovered ? "Pointer" : "Centre"}: row ${y.toFixed(1)}, column ${x.toFixed(1)} of the slice`;
  const there = `row ${landed[0].toFixed(1)}, column ${landed[1].toFixed(1)} of the view`;
  byId("readout").textContent = shown
    ? `${where} is ${there}, where a slice pixel covers ${inWords(magnificationAt(view, y, x))} view pixels.`
    : `${where} is not in the view.`;
}

const inWords = (value) => `${inDigits(value, 3)}`;

function summarize(values) {
  let [count, least, most] = [0, Infinity, -Infinity];
  for (const value of values) {
    if (value > 0) {
      count += 1;
      least = Math.min(least, value);
      most = Math.max(most, value);
    }
  }
  const percent = rounded(100 * count / values.length, 1);
  byId("summary").textContent = count > 0
    ? `The view shows ${percent} % of the slice; a slice pixel covers ${inWords(least)} to ${inWords(most)} view pixels.`
    : "";
}

function draw() {
  const chosen = settings();
  try {
    view = sphericalView(chosen);
    byId("problem").textContent = "";
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    view = null;
    byId("problem").textContent = error.message;
  }
  byId("radius-value").value = `${chosen.radius} mm`;
  control("magnification").disabled = chosen.magnification === null;
  byId("magnification-value").value = chosen.magnification === null ? "fitted" : `${chosen.magnification} times`;
  byId("python").textContent = view ? pythonOf(chosen) : "";
  place(byId("handle"), chosen.center, slice.size);
  const values = view ? magnification(view) : new Float64Array(height * width);
  paintView();
  paintMagnification(values);
  summarize(values);
  drawGrid();
  tell();
}

let waiting = false;

// Draws once for each frame of the screen, however many events come.
function changed() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    draw();
  });
}

function moveCentre(y, x) {
  control("row").value = rounded(clamped(y, height - 1), 1);
  control("column").value = rounded(clamped(x, width - 1), 1);
  changed();
}

function pixelAt(event, [rows, columns]) {
  const box = event.currentTarget.getBoundingClientRect();
  return [
    (event.clientY - box.top) / box.height * rows - 0.5,
    (event.clientX - box.left) / box.width * columns - 0.5,
  ];
}

function followPointer(picture, size, toSlicePoint) {
  picture.addEventListener("pointermove", (event) => {
    hovered = toSlicePoint(pixelAt(event, size));
    tell();
  });
  picture.addEventListener("pointerleave", () => {
    hovered = null;
    tell();
  });
}

function onSlice([y, x]) {
  return insideSlice(slice, y, x) ? [y, x] : null;
}

function fromView([v, u]) {
  const point = new Float64Array(2);
  return view && toSlice(view, v, u, point) ? onSlice(point) : null;
}

const picture = byId("slice-picture");
let dragging = false;
picture.addEventListener("pointerdown", (event) => {
  if (event.button !== 0) return;
  dragging = true;
  picture.setPointerCapture(event.pointerId);
  moveCentre(...pixelAt(event, slice.size));
  event.preventDefault();
  byId("handle").focus({ preventScroll: true });
});
picture.addEventListener("pointermove", (event) => dragging && moveCentre(...pixelAt(event, slice.size)));
for (const end of ["pointerup", "pointercancel"]) picture.addEventListener(end, () => { dragging = false; });

byId("handle").addEventListener("keydown", (event) => {
  const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
  if (!step || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  const far = event.shiftKey ? 10 : 1;
  const [y, x] = settings().center;
  moveCentre(y + far * step[0], x + far * step[1]);
});

followPointer(picture, slice.size, onSlice);
followPointer(byId("map-picture"), slice.size, onSlice);
followPointer(byId("view-picture"), slice.viewSize, fromView);
form.addEventListener("input", changed);
form.addEventListener("submit", (event) => event.preventDefault());
// The fields have their first values only after the event.
form.addEventListener("reset", () => setTimeout(draw));

async function start() {
  const image = new Image();
  image.src = slice.image;
  await image.decode();
  const context = byId("plane").getContext("2d");
  context.drawImage(image, 0, 0);
  grey = context.getImageData(0, 0, width, height).data.filter((_, byte) => byte % 4 === 0);
  const steps = COLOURS.map((colour) => `rgb(${colour.map(Math.round).join(" ")})`);
  byId("bar").style.background = `linear-gradient(to right, ${steps.join(", ")})`;
  draw();
}

start();
