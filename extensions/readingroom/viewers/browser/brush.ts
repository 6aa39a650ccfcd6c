// Painting masks. A stroke leaves as pixels of one picture; what it covers is Python's word, drawn here in advance.

import { STEPS, TOOLS, type Measure } from "./measure";
import { element, shapeElement, show } from "./page";
import type { About, Answer, Frame, Model, Point, State, Traits } from "./traits";

const MOST_STROKE = 4000;

function buildBrush(about: About) {
  const ring = shapeElement("svg", {
    class: "rr-shapes", viewBox: `0 0 ${about.columns} ${about.rows}`, preserveAspectRatio: "none", "aria-hidden": "true",
  });
  const button = (name: string, key: string, title: string) => element("button", { type: "button", "aria-pressed": "false", title: `${title} (${key})`, "aria-keyshortcuts": key }, name);
  const brush = button("Brush", "B", "Paint a mask");
  const erase = button("Erase", "X", "Take away instead of painting");
  const radius = element("input", { type: "number", min: "0.1", max: "1000", step: "any", class: "rr-rate", "aria-label": "Radius of the brush" });
  const names = element("select", { "aria-label": "Mask that is painted" });
  const fresh = element("button", { type: "button" }, "New mask");
  const undo = button("Undo", "Backspace", "Take the last stroke back");
  const options = element("span", { class: "rr-cine", hidden: "" }, erase, element("label", {}, radius, ` ${about.length_unit}`), names, fresh, undo);
  const bar = element("div", { class: "rr-bar rr-brush", role: "group", "aria-label": "Paint" }, brush, options);
  return { ring, bar, brush, erase, radius, names, fresh, undo, options };
}

// The same rule as brush.stamp: pixels whose centres lie within the radius of the line from `start` to `end`.
function stampOver(
  labels: Uint8Array, { rows, columns }: Frame, start: Point, end: Point, radius: number, spacing: [number, number], put: (label: number) => number,
): void {
  const low = [0, 1].map((i) => Math.max(Math.ceil(Math.min(start[i], end[i]) - radius / spacing[i]), 0));
  const high = [0, 1].map((i) => Math.min(Math.floor(Math.max(start[i], end[i]) + radius / spacing[i]), (i ? columns : rows) - 1));
  const [dy, dx] = [(end[0] - start[0]) * spacing[0], (end[1] - start[1]) * spacing[1]];
  const length = dy * dy + dx * dx;
  for (let row = low[0]; row <= high[0]; row++) {
    for (let column = low[1]; column <= high[1]; column++) {
      const [y, x] = [(row - start[0]) * spacing[0], (column - start[1]) * spacing[1]];
      const along = length ? Math.min(Math.max((y * dy + x * dx) / length, 0), 1) : 0;
      const near = (y - along * dy) ** 2 + (x - along * dx) ** 2 <= radius * radius + 1e-9;
      if (near) labels[row * columns + column] = put(labels[row * columns + column]);
    }
  }
}

// `shown()` is the frame on the screen, `draw()` paints it again, `amend(z, labels, weights)` renews one wherever it is kept.
interface Controls {
  page: { stage: HTMLElement; layer: HTMLElement; tools: HTMLElement; said: HTMLElement };
  state: State;
  about: About;
  model: Model;
  measure: Measure;
}

interface Screen {
  shown(): Frame | null;
  draw(): void;
  amend(index: number, labels: Uint8Array, weights: Uint8Array | null): void;
}

export type Brush = ReturnType<typeof makeBrush>;

export function makeBrush({ page, state, about, model, measure }: Controls, { shown, draw, amend }: Screen) {
  const made = buildBrush(about);
  let on = false;
  let erasing = false;
  let stroke: { points: Point[]; radius: number; erase: boolean } | null = null;
  let cursor: Point | null = null;
  page.tools.after(made.bar);
  page.layer.append(made.ring);

  function say(text: string) {
    page.said.textContent = text;
  }
  function name() {
    const chosen = model.get("brush_name");
    return state.overlays.some((one) => one.painted && one.name === chosen) ? chosen : null;
  }
  function radius() {
    return model.get("brush_radius");
  }
  function at(event: PointerEvent): Point {
    const box = page.layer.getBoundingClientRect();
    return [
      ((event.clientY - box.top) / box.height) * about.rows - 0.5,
      ((event.clientX - box.left) / box.width) * about.columns - 0.5,
    ];
  }
  function ringAt(point: Point | null): void {
    const [ry, rx] = about.spacing.map((step) => radius() / step);
    if (!point || !on) return made.ring.replaceChildren();
    const placed = { cx: point[1] + 0.5, cy: point[0] + 0.5, rx, ry };
    made.ring.replaceChildren(...["rr-halo", "rr-line"].map((kind) => shapeElement("ellipse", { ...placed, class: kind })));
  }
  function ask(what: "new" | "undo") {
    model.send({ k: "brush", what, name: name() });
  }
  function choose(wanted: boolean) {
    on = wanted;
    stroke = cursor = null;
    if (on) {
      measure.choose(null);
      if (!name()) {
        const known = state.overlays.find((one) => one.painted);
        if (known) write("brush_name", known.name);
        else ask("new");
      }
      say("Brush: draw, or move the ring with arrow keys (Shift: 10 pixels) and paint with Enter. X erases, [ and ] change the radius, Escape ends.");
    } else say("");
    follow();
  }
  function write<K extends "brush_name" | "brush_radius">(trait: K, value: Traits[K]) {
    model.set(trait, value);
    model.save_changes();
  }
  function setErasing(wanted: boolean) {
    erasing = wanted;
    follow();
    say(erasing ? "Erase" : "Paint");
  }
  function setRadius(wanted: number) {
    if (wanted > 0 && wanted <= 1000) {
      write("brush_radius", wanted);
      say(`Radius ${show(wanted)} ${about.length_unit}`);
    }
    follow();
  }
  function follow() {
    const painted = state.overlays.filter((one) => one.painted).map((one) => one.name);
    made.brush.setAttribute("aria-pressed", String(on));
    made.erase.setAttribute("aria-pressed", String(erasing));
    made.options.hidden = !on;
    made.radius.value = show(radius());
    made.names.replaceChildren(...painted.map((one) => element("option", { value: one }, one)));
    made.names.value = name() ?? "";
    made.names.hidden = painted.length === 0;
    ringAt(cursor);
  }
  function preview(start: Point, end: Point) {
    const frame = shown();
    const number = state.overlays.findIndex((one) => one.name === name()) + 1;
    if (!stroke || !frame?.labels || frame.z !== state.index || number === 0) return;
    const put = stroke.erase ? (label: number) => (label === number ? 0 : label) : () => number;
    stampOver(frame.labels, frame, start, end, stroke.radius, about.spacing, put);
    draw();
  }
  function begin(point: Point, erase: boolean) {
    stroke = { points: [point], radius: radius(), erase };
    preview(point, point);
  }
  function finish() {
    if (!stroke) return;
    const { points, radius: size, erase } = stroke;
    stroke = null;
    model.send({ k: "brush", what: "stroke", name: name(), z: state.index, points, radius: size, erase });
  }
  function down(event: PointerEvent) {
    cursor = null;
    begin(at(event), erasing !== event.altKey);
    ringAt(at(event));
  }
  function move(event: PointerEvent) {
    const point = at(event);
    ringAt(point);
    if (!stroke) return;
    const last = stroke.points[stroke.points.length - 1];
    if (Math.hypot(point[0] - last[0], point[1] - last[1]) < 0.5) return;
    stroke.points.push(point);
    preview(last, point);
    if (stroke.points.length < MOST_STROKE) return;
    const { erase } = stroke;
    finish();
    begin(point, erase);
  }
  function up() {
    finish();
  }
  function key(event: KeyboardEvent): boolean {
    if (event.key === "b") {
      choose(!on);
      return true;
    }
    if (!on) return false;
    // Another tool takes over.
    if (TOOLS[event.key]) {
      choose(false);
      return false;
    }
    const [row, column] = cursor ?? [Math.floor(about.rows / 2), Math.floor(about.columns / 2)];
    if (event.key === "Escape") choose(false);
    else if (event.key === "x") setErasing(!erasing);
    else if (event.key === "[") setRadius(radius() / 1.25);
    else if (event.key === "]") setRadius(radius() * 1.25);
    else if (event.key === "Backspace") ask("undo");
    else if (event.key === "Enter") {
      cursor = [row, column];
      begin(cursor, erasing);
      finish();
      ringAt(cursor);
    } else if (STEPS[event.key] && !event.altKey) {
      const size = event.shiftKey ? 10 : 1;
      const moved = (v: number, by: number, end: number) => Math.min(Math.max(v + by * size, 0), end - 1);
      cursor = [moved(row, STEPS[event.key][0], about.rows), moved(column, STEPS[event.key][1], about.columns)];
      ringAt(cursor);
      say(`row ${cursor[0] + 1} column ${cursor[1] + 1}`);
    } else return false;
    return true;
  }
  function hear(message: Answer, buffers: DataView<ArrayBuffer>[]) {
    if (message.k !== "labels") return;
    const [labels, weights] = buffers.map((b) => new Uint8Array(b.buffer.slice(b.byteOffset, b.byteOffset + b.byteLength)));
    amend(message.z, labels, message.weighted ? weights : null);
    if (message.z === state.index) say(message.text);
  }

  made.brush.addEventListener("click", () => {
    choose(!on);
    page.stage.focus();
  });
  made.erase.addEventListener("click", () => setErasing(!erasing));
  made.radius.addEventListener("change", () => setRadius(made.radius.valueAsNumber));
  made.names.addEventListener("change", () => write("brush_name", made.names.value));
  made.fresh.addEventListener("click", () => ask("new"));
  made.undo.addEventListener("click", () => ask("undo"));
  page.stage.addEventListener("pointerleave", () => ringAt(cursor));
  const followed = { "change:brush_name": follow, "change:brush_radius": follow, "change:overlays": follow, "msg:custom": hear };
  for (const [event, action] of Object.entries(followed)) model.on(event, action);
  return {
    active: () => on,
    end: () => on && choose(false),
    down, move, up, key, follow,
    moved() {
      stroke = null;
    },
    stop() {
      for (const [event, action] of Object.entries(followed)) model.off(event, action);
    },
  };
}
