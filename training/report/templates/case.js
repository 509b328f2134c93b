"use strict";

const slices = JSON.parse(document.getElementById("slices").textContent);
const viewer = document.getElementById("viewer");
const panels = document.getElementById("panels");
const slider = document.getElementById("slider");
const WHEEL_STEP = 30;
const DRAG_STEP = 10;

const position = () => Number(slider.value);

function show(wanted) {
  const now = Math.min(Math.max(wanted, 0), slices.length - 1);
  const { index, images, outlines } = slices[now];
  slider.value = now;
  slider.setAttribute("aria-valuetext", `slice ${index}`);
  document.getElementById("index").value = index;
  document.querySelectorAll(".panel").forEach((panel, number) => {
    const image = panel.querySelector("img");
    image.src = `data:image/jpeg;base64,${images[number]}`;
    image.alt = `${panel.dataset.title}, slice ${index}`;
    panel.querySelectorAll("path").forEach((path) => path.setAttribute("d", outlines[path.dataset.outline] ?? ""));
  });
  document.querySelectorAll(".cursor").forEach((line) => {
    line.setAttribute("x1", now);
    line.setAttribute("x2", now);
  });
}

slider.addEventListener("input", () => show(position()));

viewer.addEventListener("keydown", (event) => {
  const step = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1 }[event.key];
  if (!step || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  show(position() + step);
});

// A touch pad sends many small turns, a mouse wheel one large turn a notch: one slice each.
let turned = 0;
panels.addEventListener("wheel", (event) => {
  if (event.ctrlKey) return;
  event.preventDefault();
  turned += event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? event.deltaY : Math.sign(event.deltaY) * WHEEL_STEP;
  if (Math.abs(turned) < WHEEL_STEP) return;
  show(position() - Math.sign(turned));
  turned = 0;
}, { passive: false });

function dragged(element, move) {
  let start = null;
  element.addEventListener("pointerdown", (event) => {
    start = { x: event.clientX, position: position() };
    element.setPointerCapture(event.pointerId);
    move(event, start);
  });
  element.addEventListener("pointermove", (event) => start && move(event, start));
  for (const end of ["pointerup", "pointercancel"]) element.addEventListener(end, () => { start = null; });
}

dragged(panels, (event, start) => show(start.position + Math.trunc((event.clientX - start.x) / DRAG_STEP)));

document.querySelectorAll(".plot svg").forEach((plot) => dragged(plot, (event) => {
  const box = plot.getBoundingClientRect();
  show(Math.round((event.clientX - box.left) / box.width * (slices.length - 1)));
}));

document.querySelectorAll(".jump").forEach((button) => button.addEventListener("click", () => {
  show(Number(button.dataset.position));
  viewer.scrollIntoView({ block: "nearest" });
}));

document.getElementById("outlines").addEventListener("change", (event) => {
  panels.classList.toggle("plain", !event.target.checked);
});

show(position());
viewer.focus({ preventScroll: true });
