// Drawing measurements. Points leave as pixels of one picture; millimetres, values and words are Python's.

import { element, shapeElement } from "./page";
import type { About, Answer, Contour, Model, Overlay, Point } from "./traits";

// By key: kind, name, points to place (ellipse and rectangle: two corners; freehand: until it is closed).
type Kind = "length" | "angle" | "cobb" | "ellipse" | "rectangle" | "freehand";
type Shape = [kind: Kind, name: string, points: number];
export const TOOLS: Readonly<Record<string, Shape>> = {
  l: ["length", "Length", 2],
  a: ["angle", "Angle", 3],
  c: ["cobb", "Cobb angle", 4],
  e: ["ellipse", "Ellipse", 2],
  r: ["rectangle", "Rectangle", 2],
  f: ["freehand", "Freehand", Infinity],
};
export const STEPS: Readonly<Record<string, Point>> = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
const MOST_POINTS = 2000;

export function buildTools(about: About) {
  const [contours, shapes] = ([0, 1] as const).map(() => shapeElement("svg", {
    class: "rr-shapes", viewBox: `0 0 ${about.columns} ${about.rows}`, preserveAspectRatio: "none", "aria-hidden": "true",
  }));
  const marks = element("div", { class: "rr-marks", "aria-hidden": "true" });
  const buttons = Object.entries(TOOLS).map(([key, [kind, name]]) => element("button", {
    type: "button", "aria-pressed": "false", "data-kind": kind, title: `${name} (${key.toUpperCase()})`, "aria-keyshortcuts": key,
  }, name));
  const tools = element("div", { class: "rr-bar rr-tools", role: "group", "aria-label": "Measure" }, ...buttons);
  const said = element("div", { class: "rr-said", role: "status", "aria-live": "polite" });
  const measured = element("ol", { class: "rr-measured", "aria-label": "Measurements", hidden: "" });
  return { contours, shapes, marks, buttons, tools, said, measured };
}

// Lines that came with the picture, each with the number of its overlay from 1.
export function drawContours(svg: SVGElement, lines: Contour[], overlays: Overlay[]): void {
  svg.replaceChildren(...lines.flatMap(([number, line]) => {
    const points = line.map(([row, column]) => `${column + 0.5},${row + 0.5}`).join(" ");
    const drawn = shapeElement("polygon", { class: "rr-contour", points });
    drawn.style.stroke = `rgb(${overlays[number - 1]?.colour.join()})`;
    return [shapeElement("polygon", { class: "rr-halo", points }), drawn];
  }));
}

// The lines that a shape under way shows, before Python has said what it is.
function sketch(kind: Kind, points: Point[]): Point[][] {
  if (points.length < 2) return [points];
  if (kind === "cobb") return [points.slice(0, 2), points.slice(2)];
  const [[top, left], [bottom, right]] = points;
  if (kind === "rectangle") return [[[top, left], [top, right], [bottom, right], [bottom, left], [top, left]]];
  if (kind === "ellipse") {
    const turns = Array.from({ length: 49 }, (_, i) => (i * Math.PI) / 24);
    return [turns.map((turn) => [
      (top + bottom) / 2 + (Math.sin(turn) * (bottom - top)) / 2, (left + right) / 2 + (Math.cos(turn) * (right - left)) / 2,
    ])];
  }
  return [points];
}

export interface MeasureControls {
  page: ReturnType<typeof buildTools> & { layer: HTMLElement; stage: HTMLElement };
  state: { index: number };
  about: About;
  model: Model;
  go(index: number): void;
}

export type Measure = ReturnType<typeof makeMeasure>;

export function makeMeasure({ page, state, about, model, go }: MeasureControls) {
  let tool: Shape | null = null;
  let points: Point[] = [];
  let hover: Point | null = null;
  let pressed: { x: number; y: number } | null = null;
  let cursor: Point | null = null;
  let known = new Set(model.get("drawings").map((one) => one.id));

  function say(text: string) {
    page.said.textContent = text;
  }
  function at(event: PointerEvent): Point {
    const box = page.layer.getBoundingClientRect();
    const kept = (v: number, end: number) => Math.min(Math.max(v, -0.5), end - 0.5);
    return [
      kept(((event.clientY - box.top) / box.height) * about.rows - 0.5, about.rows),
      kept(((event.clientX - box.left) / box.width) * about.columns - 0.5, about.columns),
    ];
  }
  function drop() {
    points = [];
    hover = pressed = null;
  }
  function choose(key: string | null) {
    drop();
    const wanted = key === null ? null : TOOLS[key];
    tool = tool === wanted ? null : wanted;
    cursor = null;
    for (const button of page.buttons) button.setAttribute("aria-pressed", String(button.dataset.kind === tool?.[0]));
    say(tool ? `${tool[1]}: draw, or move the cross with arrow keys (Shift: 10 pixels) and place points with Enter. Escape ends.` : "");
    redraw();
  }
  function finish() {
    if (!tool) return;
    model.send({ k: "draw", kind: tool[0], z: state.index, points });
    drop();
  }
  function place(point: Point) {
    if (!tool) return;
    points.push(point);
    if (points.length === tool[2] || points.length === MOST_POINTS) finish();
    else say(`${tool[1]}: point ${points.length} at row ${Math.round(point[0]) + 1} column ${Math.round(point[1]) + 1}`);
    redraw();
  }
  function down(event: PointerEvent) {
    cursor = null;
    pressed = { x: event.clientX, y: event.clientY };
    if (tool?.[0] === "freehand") drop();
    pressed = { x: event.clientX, y: event.clientY };
    place(at(event));
  }
  function move(event: PointerEvent) {
    hover = at(event);
    if (pressed && tool?.[0] === "freehand") {
      const [row, column] = points[points.length - 1] ?? hover;
      if (Math.hypot(hover[0] - row, hover[1] - column) >= 1 && points.length < MOST_POINTS) points.push(hover);
    }
    redraw();
  }
  function up(event: PointerEvent) {
    const moved = pressed && Math.hypot(event.clientX - pressed.x, event.clientY - pressed.y) > 3;
    pressed = null;
    if (!tool || !moved || !points.length) return;
    if (tool[0] !== "freehand") place(at(event));
    else if (points.length >= 3) finish();
    redraw();
  }
  function key(event: KeyboardEvent): boolean {
    if (event.key === "Delete") {
      const mine = model.get("drawings").filter((one) => one.index === state.index);
      if (mine.length) remove(mine[mine.length - 1].id);
      return true;
    }
    if (TOOLS[event.key]) {
      choose(event.key);
      return true;
    }
    if (!tool) return false;
    const [row, column] = cursor ?? [Math.floor(about.rows / 2), Math.floor(about.columns / 2)];
    if (event.key === "Escape") choose(null);
    else if (event.key === "Backspace") points.pop();
    else if (event.key === "Enter") {
      const last = points[points.length - 1];
      cursor = [row, column];
      if (tool[0] === "freehand" && points.length >= 3 && last[0] === row && last[1] === column) finish();
      else place([row, column]);
    } else if (STEPS[event.key] && !event.altKey) {
      const size = event.shiftKey ? 10 : 1;
      const moved = (v: number, by: number, end: number) => Math.min(Math.max(v + by * size, 0), end - 1);
      cursor = [moved(row, STEPS[event.key][0], about.rows), moved(column, STEPS[event.key][1], about.columns)];
      hover = cursor;
      say(`row ${cursor[0] + 1} column ${cursor[1] + 1}`);
    } else return false;
    redraw();
    return true;
  }
  function remove(id: string) {
    model.set("annotations", model.get("annotations").filter((one) => one.id !== id));
    model.save_changes();
  }
  function lineOf(line: Point[]) {
    const text = line.map(([row, column]) => `${column + 0.5},${row + 0.5}`).join(" ");
    return ["rr-halo", "rr-line"].map((name) => shapeElement("polyline", { class: name, points: text }));
  }
  function redraw() {
    const here = model.get("drawings").map((one, i) => ({ ...one, n: i + 1 })).filter((one) => one.index === state.index);
    const lines = here.flatMap((one) => one.lines);
    if (tool && points.length) lines.push(...sketch(tool[0], hover && tool[0] !== "freehand" ? [...points, hover] : points));
    if (cursor) {
      const [row, column] = cursor;
      lines.push([[row - 4, column], [row + 4, column]], [[row, column - 4], [row, column + 4]]);
    }
    page.shapes.replaceChildren(...lines.flatMap(lineOf));
    page.marks.replaceChildren(...here.map((one) => {
      const [row, column] = one.lines[0][0];
      const mark = element("span", { class: "rr-mark" }, String(one.n));
      mark.style.left = `${(100 * (column + 0.5)) / about.columns}%`;
      mark.style.top = `${(100 * (row + 0.5)) / about.rows}%`;
      return mark;
    }));
  }
  function listAll() {
    const all = model.get("drawings");
    page.measured.replaceChildren(...all.map((one) => {
      const where = one.index === null ? "not in these slices" : `slice ${one.index + 1}`;
      const open = element("button", { type: "button", class: "rr-plain" }, `${one.text} (${where})`);
      const gone = element("button", { type: "button", "aria-label": `Delete ${one.text}` }, "×");
      const { index } = one;
      if (index === null) open.disabled = true;
      else open.addEventListener("click", () => go(index));
      gone.addEventListener("click", () => {
        remove(one.id);
        page.stage.focus();
      });
      return element("li", {}, open, gone);
    }));
    page.measured.hidden = all.length === 0;
    const fresh = all.filter((one) => !known.has(one.id));
    if (fresh.length) say(fresh[fresh.length - 1].text);
    else if (all.length < known.size) say("Measurement deleted");
    known = new Set(all.map((one) => one.id));
    redraw();
  }
  function hear(message: Answer) {
    if (message.k === "refused") say(message.text);
  }
  model.on("msg:custom", hear);
  return {
    active: () => tool !== null,
    choose: (kind: string | null) => choose(Object.keys(TOOLS).find((name) => TOOLS[name][0] === kind) ?? null),
    down, move, up, key, redraw, listAll,
    // What was begun on one slice does not go on on another.
    moved() {
      drop();
      redraw();
    },
    stop: () => model.off("msg:custom", hear),
  };
}
