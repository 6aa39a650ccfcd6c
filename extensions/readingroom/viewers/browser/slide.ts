// The slide viewer in the browser: a field that is moved and zoomed over the tiles of a slide's levels.

import type { AnyModel, RenderProps } from "@anywidget/types";

import { element, keepAsking, keepKeys, makePatience, throttled } from "./page";
import { levelFor, makeTiles, steps, wishesFor, type Field, type Level, type Tile, type TileMessage, type Wish } from "./tiles";
import { makeWire, type Failure } from "./wire";

const STILL_MS = 1000;
const SAVE_MS = 100;
const WAITING_MS = 1500;
// Pixels of the screen that one of the finest level may be wide.
const CLOSEST = 16;
const INSET = 128;
const HELP =
  "Move: drag, or arrow keys, with Shift by half a view. Zoom: wheel, or + and −. All of it: 0. " +
  "Optical path: P. Focal plane: [ and ]. Back to the notebook: Escape. The wheel works once the slide has the focus.";

type About = {
  title: string;
  levels: Level[];
  // mm between rows, between columns of the finest level.
  spacing: [number, number];
  paths: string[];
  planes: number[];
  magnification: number;
  overview: boolean;
  notes: string[];
};

type Traits = { about: About; centre: [number, number]; field: number; path: number; plane: number };
type Choice = "path" | "plane";

type Questions = {
  tile: { asked: Wish & { deflate: boolean; decoded: boolean }; told: TileMessage };
  profile: { asked: { number: number }; told: object };
  still: { asked: object; told: object };
};

function written(mm: number): string {
  const digits = (value: number) => String(Number(value.toPrecision(3)));
  return mm >= 1 ? `${digits(mm)} mm` : `${digits(mm * 1000)} µm`;
}

// The greatest of 1, 2 and 5 times a power of ten that is no more than `most`.
function nice(most: number): number {
  const power = 10 ** Math.floor(Math.log10(most));
  return Math.max(...[1, 2, 5].map((step) => step * power).filter((one) => one <= most * 1.0001));
}

function buildPage(about: About) {
  const canvas = element("canvas", { "aria-hidden": "true" });
  const inset = element("canvas", { class: "rr-slide-inset", "aria-hidden": "true" });
  const bar = element("div", { class: "rr-slide-scale", "aria-hidden": "true" });
  const error = element("div", { class: "rr-slide-error", role: "alert", hidden: "" });
  const stage = element("div", {
    class: "rr-slide-stage", tabindex: "0", role: "application", "aria-label": `${about.title}, a whole slide. ${HELP}`,
  }, canvas, inset, bar, error);
  inset.hidden = !about.overview;
  const select = (label: string, names: string[]) => {
    const made = element("select", { "aria-label": label }, ...names.map((name, i) => element("option", { value: i }, name)));
    made.hidden = names.length < 2;
    return made;
  };
  const button = (words: string, label: string) => element("button", { type: "button", "aria-label": label }, words);
  const selects: Record<Choice, HTMLSelectElement> = {
    path: select("Optical path", about.paths),
    plane: select("Focal plane", about.planes.map((z) => `${z} µm`)),
  };
  const [closer, farther, whole] = [button("+", "Zoom in"), button("−", "Zoom out"), button("All", "Show the whole slide")];
  const status = element("div", { class: "rr-slide-status", role: "status", "aria-live": "polite" });
  const said = element("div", { class: "rr-slide-said", role: "status" });
  const notes = element("div", { class: "rr-slide-notes" }, ...about.notes.map((note) => element("p", {}, note)));
  const root = element("div", { class: "rr-slide", "data-lm-suppress-shortcuts": "true" },
    stage, element("div", { class: "rr-slide-bar" }, farther, closer, whole, selects.path, selects.plane), status, said, notes,
    element("details", { class: "rr-slide-help" }, element("summary", {}, "Keys and mouse"), HELP));
  return { root, stage, canvas, inset, bar, error, selects, closer, farther, whole, status, said };
}

function render({ model, el }: RenderProps<Traits>) {
  const about = model.get("about");
  const { levels, spacing } = about;
  const first = levels[0];
  const coarsest = levels.length - 1;
  const page = buildPage(about);
  const state = { centre: [...model.get("centre")] as [number, number], width: model.get("field") };
  let ended = false;
  let frame = 0;
  const patience = makePatience(WAITING_MS, (words) => { page.status.textContent = words; });

  const wire = makeWire<Questions>(model);
  wire.onEnded(leave);
  const tiles = makeTiles({
    tile: (wish, deflate, decoded) => wire.ask("tile", { ...wish, deflate, decoded }),
    profile: async (number) => (await wire.ask("profile", { number })).buffers[0],
  }, coarsest, {
    changed: later,
    failed(failure: Failure) {
      // What ended has been told to every view already.
      if (!failure.ended) page.said.textContent = failure.text;
    },
  });
  const save = throttled(SAVE_MS, () => model.save_changes());

  // No tile stays in the page.
  function leave(text: string) {
    ended = true;
    patience.end();
    tiles.drop();
    page.canvas.width = page.inset.width = 1;
    page.canvas.height = page.inset.height = 1;
    page.error.textContent = page.status.textContent = text;
    page.error.hidden = false;
    page.root.removeAttribute("aria-busy");
    delete page.root.dataset.level;
  }

  const stopAsking = keepAsking(STILL_MS, page.root, () => !ended, () => wire.ask("still", {}));

  function field(): Field {
    const ratio = Math.min(devicePixelRatio, 2);
    const { clientWidth, clientHeight } = page.stage;
    return { centre: state.centre, width: state.width, pixels: [Math.max(Math.round(clientWidth * ratio), 1), Math.max(Math.round(clientHeight * ratio), 1)] };
  }
  // What the user does asks anew, after an end as well: access may have been granted again.
  function look() {
    ended = false;
    page.error.hidden = true;
    page.said.textContent = "";
    const now = field();
    const number = levelFor(levels, now);
    const [path, plane] = [model.get("path"), model.get("plane")];
    const wishes = number < 0 ? [] : wishesFor(levels, number, now, path, plane);
    if (about.overview && number !== coarsest) {
      const whole: Field = { centre: [first.width / 2, first.height / 2], width: first.width, pixels: [first.width, first.height] };
      wishes.push(...wishesFor(levels, coarsest, whole, path, plane));
    }
    tiles.want(wishes);
    later();
  }
  function later() {
    if (!frame) frame = requestAnimationFrame(draw);
  }
  function draw() {
    frame = 0;
    if (ended) return;
    const now = field();
    const number = levelFor(levels, now);
    const [across, down] = now.pixels;
    if (page.canvas.width !== across || page.canvas.height !== down) [page.canvas.width, page.canvas.height] = [across, down];
    const context = page.canvas.getContext("2d")!;
    context.fillStyle = "#eee";
    context.fillRect(0, 0, across, down);
    const scale = across / state.width;
    // Coarse tiles lie below, for as long as finer ones are under way.
    const shown = [...tiles.all()].filter(isShown).filter((tile) => number >= 0 && tile.level >= number);
    for (const tile of shown.sort((a, b) => b.level - a.level)) {
      lay(context, tile, scale, state.centre[0] - across / 2 / scale, state.centre[1] - down / 2 / scale);
    }
    if (about.overview) drawInset(down / across);
    drawBar();
    const missing = tiles.missing();
    page.root.toggleAttribute("aria-busy", missing > 0);
    page.root.dataset.level = String(number);
    tell(number, missing);
    if (missing) patience.begin();
    else patience.end();
  }
  const isShown = (tile: Tile) => tile.path === model.get("path") && tile.plane === model.get("plane");
  function lay(context: CanvasRenderingContext2D, tile: Tile, scale: number, left: number, top: number) {
    const level = levels[tile.level];
    const [wide, high] = steps(levels, tile.level);
    const at = (n: number, step: number, from: number) => Math.round((n * step - from) * scale);
    const [x, y] = [tile.x * level.tile[0], tile.y * level.tile[1]];
    const [x0, x1] = [at(x, wide, left), at(x + tile.picture.width, wide, left)];
    const [y0, y1] = [at(y, high, top), at(y + tile.picture.height, high, top)];
    // Pixels that are looked at are squares.
    context.imageSmoothingEnabled = wide * scale < 2;
    context.drawImage(tile.picture, x0, y0, x1 - x0, y1 - y0);
  }
  function drawInset(aspect: number) {
    const scale = INSET / Math.max(first.width, first.height);
    const [across, down] = [Math.round(first.width * scale), Math.round(first.height * scale)];
    if (page.inset.width !== across || page.inset.height !== down) [page.inset.width, page.inset.height] = [across, down];
    const context = page.inset.getContext("2d")!;
    context.fillStyle = "#eee";
    context.fillRect(0, 0, across, down);
    for (const tile of tiles.all()) if (isShown(tile) && tile.level === coarsest) lay(context, tile, scale, 0, 0);
    const [w, h] = [state.width * scale, state.width * aspect * scale];
    context.strokeStyle = "#be0000";
    context.lineWidth = 2;
    context.strokeRect(state.centre[0] * scale - w / 2, state.centre[1] * scale - h / 2, w, h);
  }
  function drawBar() {
    const mm = state.width * spacing[1];
    const length = nice(mm / 4);
    page.bar.style.width = `${(100 * length) / mm}%`;
    page.bar.textContent = written(length);
  }
  function tell(number: number, missing: number) {
    const magnification = Number(((about.magnification * page.stage.clientWidth) / state.width).toPrecision(3));
    const high = (state.width * page.stage.clientHeight) / page.stage.clientWidth;
    const place = `${(state.centre[0] * spacing[1]).toFixed(2)}, ${(state.centre[1] * spacing[0]).toFixed(2)} mm`;
    const more = number < 0 ? "; zoom in to see its pixels" : missing ? `; loading ${missing} tiles` : "";
    page.status.textContent = `${magnification} x, ${written(state.width * spacing[1])} by ${written(high * spacing[0])} at ${place}${more}`;
    for (const choice of ["path", "plane"] as const) page.selects[choice].value = String(model.get(choice));
  }

  // Two traits that change one after the other: what is heard between them is no wish of the kernel's.
  let writing = false;
  function write() {
    writing = true;
    model.set("centre", [...state.centre]);
    model.set("field", state.width);
    writing = false;
  }
  const kept = (value: number, most: number) => Math.min(Math.max(value, 0), most);
  function go(x: number, y: number, width: number) {
    const most = 1.2 * Math.max(first.width, (first.height * 4) / 3);
    const least = Math.min(640 / CLOSEST, most);
    state.width = Math.min(Math.max(width, least), most);
    state.centre = [kept(x, first.width), kept(y, first.height)];
    write();
    save();
    look();
  }
  const pan = (x: number, y: number) => go(state.centre[0] + x * state.width, state.centre[1] + y * state.width, state.width);
  const zoom = (by: number) => go(state.centre[0], state.centre[1], state.width / by);
  // What lies under the pointer stays there.
  function zoomAt(event: WheelEvent, by: number) {
    const box = page.stage.getBoundingClientRect();
    const unit = state.width / box.width;
    const width = state.width / by;
    const [x, y] = [(event.clientX - box.left - box.width / 2) * unit, (event.clientY - box.top - box.height / 2) * unit];
    go(state.centre[0] + x * (1 - 1 / by), state.centre[1] + y * (1 - 1 / by), width);
  }
  const whole = () => go(first.width / 2, first.height / 2, 1.05 * Math.max(first.width, (first.height * 4) / 3));
  function choose(choice: Choice, number: number) {
    const count = choice === "path" ? about.paths.length : about.planes.length;
    model.set(choice, (number + count) % count);
    model.save_changes();
  }

  const listening = new AbortController();
  const { signal } = listening;
  listen(page, { pan, zoom, zoomAt, whole, choose, go, model, state, first }, signal);

  const followed = {
    "change:centre": follow,
    "change:field": follow,
    "change:path": look,
    "change:plane": look,
  };
  function follow() {
    // The kernel's echo of an older place, while a newer one waits to be written: the newer one holds.
    if (writing) return;
    if (save.waits()) {
      write();
      return;
    }
    const [centre, width] = [model.get("centre"), model.get("field")];
    if (centre.join() === state.centre.join() && width === state.width) return;
    state.centre = [...centre];
    state.width = width;
    look();
  }
  for (const [event, act] of Object.entries(followed)) model.on(event as "change:centre", act);
  const resized = new ResizeObserver(() => { if (!ended) look(); });
  el.append(page.root);
  resized.observe(page.stage);
  look();

  return () => {
    for (const [event, act] of Object.entries(followed)) model.off(event as "change:centre", act);
    stopAsking();
    patience.end();
    cancelAnimationFrame(frame);
    listening.abort();
    resized.disconnect();
    wire.close();
    tiles.drop();
  };
}

interface Moves {
  pan(x: number, y: number): void;
  zoom(by: number): void;
  zoomAt(event: WheelEvent, by: number): void;
  whole(): void;
  choose(choice: Choice, number: number): void;
  go(x: number, y: number, width: number): void;
  model: AnyModel<Traits>;
  state: { centre: [number, number]; width: number };
  first: Level;
}

function listen(page: ReturnType<typeof buildPage>, moves: Moves, signal: AbortSignal) {
  const { stage, root, inset } = page;
  const { state, model } = moves;
  let drag: { x: number; y: number; centre: [number, number] } | null = null;
  stage.addEventListener("pointerdown", (event) => {
    stage.focus({ preventScroll: true });
    event.preventDefault();
    if (event.target === inset) {
      const box = inset.getBoundingClientRect();
      moves.go(((event.clientX - box.left) / box.width) * moves.first.width, ((event.clientY - box.top) / box.height) * moves.first.height, state.width);
      return;
    }
    drag = { x: event.clientX, y: event.clientY, centre: [...state.centre] };
    stage.setPointerCapture(event.pointerId);
  }, { signal });
  stage.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const unit = state.width / stage.clientWidth;
    moves.go(drag.centre[0] - (event.clientX - drag.x) * unit, drag.centre[1] - (event.clientY - drag.y) * unit, state.width);
  }, { signal });
  for (const end of ["pointerup", "pointercancel"] as const) stage.addEventListener(end, () => { drag = null; }, { signal });
  stage.addEventListener("wheel", (event) => {
    // Without the focus the page scrolls, so that a notebook can be read past its pictures.
    if (!stage.contains(document.activeElement) || event.deltaY === 0) return;
    event.preventDefault();
    moves.zoomAt(event, event.deltaY < 0 ? 1.25 : 0.8);
  }, { signal, passive: false });
  keepKeys(root);
  stage.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const by = event.shiftKey ? 0.5 : 0.125;
    const keys: Record<string, () => void> = {
      ArrowLeft: () => moves.pan(-by, 0),
      ArrowRight: () => moves.pan(by, 0),
      ArrowUp: () => moves.pan(0, -by),
      ArrowDown: () => moves.pan(0, by),
      "+": () => moves.zoom(1.25),
      "=": () => moves.zoom(1.25),
      "-": () => moves.zoom(0.8),
      0: moves.whole,
      p: () => moves.choose("path", model.get("path") + 1),
      "[": () => moves.choose("plane", model.get("plane") - 1),
      "]": () => moves.choose("plane", model.get("plane") + 1),
    };
    const act = keys[event.key];
    if (!act) return;
    act();
    event.preventDefault();
  }, { signal });
  page.closer.addEventListener("click", () => moves.zoom(1.25), { signal });
  page.farther.addEventListener("click", () => moves.zoom(0.8), { signal });
  page.whole.addEventListener("click", moves.whole, { signal });
  for (const choice of ["path", "plane"] as const) {
    page.selects[choice].addEventListener("change", () => moves.choose(choice, Number(page.selects[choice].value)), { signal });
  }
}

export default { render };
