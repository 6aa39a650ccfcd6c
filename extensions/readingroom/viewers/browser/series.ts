// The series viewer in the browser. Canvas 2D; pixels are pulled slice by slice; what it draws equals viewers/render.py.

import type { RenderProps } from "@anywidget/types";

import { makeBrush, type Brush } from "./brush";
import { makeColours } from "./colours";
import { buildTools, drawContours, makeMeasure, type Measure } from "./measure";
import { element, show } from "./page";
import { makePresented } from "./presented";
import type { About, Answer, Frame, FrameMessage, Lut, Model, Overlay, Pixels, PixelType, State, Traits } from "./traits";
import { makeWash, washOver } from "./wash";

const IN_FLIGHT = 4;
const AHEAD = 8;
const CACHE_BYTES = 256 * 1024 * 1024;
const WAITING_MS = 1500;
const STILL_MS = 1000;
const UNANSWERED_MS = 30_000;
// 60 Mbit/s.
const SLOW_BYTES_PER_MS = 7_500;
const ARRAYS: Record<PixelType, { new (buffer: ArrayBufferLike): Pixels }> = { int8: Int8Array, uint8: Uint8Array, int16: Int16Array, uint16: Uint16Array, float32: Float32Array };

// ---- Grey levels: PS3.3 C.11.2.1.2.1, C.11.2.1.3.1 and .2, the same operations in the same order as render.py ----

function greyOf(value: number, centre: number, width: number, kind: About["function"]): number {
  let share;
  if (kind === "SIGMOID") share = 1 / (1 + Math.exp((-4 * (value - centre)) / width));
  else if (kind === "LINEAR_EXACT") share = (value - centre) / width + 0.5;
  else if (width === 1) share = value > centre - 0.5 ? 1 : 0;
  else share = (value - (centre - 0.5)) / (width - 1) + 0.5;
  if (Number.isNaN(share)) share = 0;
  return Math.floor(Math.min(Math.max(share, 0), 1) * 255 + 0.5);
}

// A stored VOI LUT (C.11.2.1.1): its levels come ready-made from Python.
function lookedUp(value: number, { first, levels }: Lut): number {
  const at = Math.floor((Number.isNaN(value) ? first : value) + 0.5) - first;
  return levels[Math.min(Math.max(at, 0), levels.length - 1)];
}

function packed(grey: number): number {
  return (0xff000000 | (grey << 16) | (grey << 8) | grey) >>> 0;
}

function lutOf(frame: Frame, { lut }: State): Lut | null {
  return lut === null ? null : (frame.luts[lut] ?? null);
}

function makePainter() {
  let key = "";
  let table = new Uint32Array(0);
  let lut: Lut | null = null;
  let palette: Uint32Array | null = null;
  // One entry for every bit pattern of a stored value: 65536 divisions a window, not one a pixel.
  function tableFor(frame: Frame, state: State): Uint32Array {
    const wanted = [frame.dtype, frame.slope, frame.intercept, ...state.window, state.kind, state.inverted].join();
    const chosen = lutOf(frame, state);
    if (wanted === key && chosen === lut && palette === state.palette) return table;
    lut = chosen;
    palette = state.palette;
    const bytes = frame.data.BYTES_PER_ELEMENT;
    const patterns = bytes === 1 ? new Uint8Array(256) : new Uint16Array(65536);
    for (let i = 0; i < patterns.length; i++) patterns[i] = i;
    const values = new ARRAYS[frame.dtype](patterns.buffer);
    table = new Uint32Array(values.length);
    for (let i = 0; i < values.length; i++) table[i] = level(values[i], frame, state);
    key = wanted;
    return table;
  }
  function level(stored: number, frame: Frame, state: State): number {
    const value = stored * frame.slope + frame.intercept;
    const own = lutOf(frame, state);
    const grey = own ? lookedUp(value, own) : greyOf(value, state.window[0], state.window[1], state.kind);
    const shown = state.inverted ? 255 - grey : grey;
    return state.palette ? state.palette[shown] : packed(shown);
  }
  let image: ImageData | null = null;
  return function paint(canvas: HTMLCanvasElement, frame: Frame, state: State): void {
    // Setting a canvas's size clears it and takes new memory: only where the size is another one.
    if (canvas.width !== frame.columns || canvas.height !== frame.rows) {
      canvas.width = frame.columns;
      canvas.height = frame.rows;
    }
    const context = canvas.getContext("2d")!;
    if (image?.width !== frame.columns || image?.height !== frame.rows) {
      image = context.createImageData(frame.columns, frame.rows);
    }
    const out = new Uint32Array(image.data.buffer);
    const data = frame.data;
    if (frame.samples === 3) {
      const flip = state.inverted ? 0x00ffffff : 0;
      for (let i = 0, j = 0; i < out.length; i++, j += 3) {
        out[i] = ((0xff000000 | (data[j + 2] << 16) | (data[j + 1] << 8) | data[j]) ^ flip) >>> 0;
      }
    } else if (frame.dtype === "float32") {
      for (let i = 0; i < out.length; i++) out[i] = level(data[i], frame, state);
    } else {
      const levels = tableFor(frame, state);
      const patterns = data.BYTES_PER_ELEMENT === 1
        ? new Uint8Array(data.buffer, data.byteOffset, data.length)
        : new Uint16Array(data.buffer, data.byteOffset, data.length);
      for (let i = 0; i < out.length; i++) out[i] = levels[patterns[i]];
    }
    if (frame.dose && state.wash) washOver(image.data, frame.dose, state.wash);
    if (frame.labels && state.outline) outline(out, frame.labels, frame, state.overlays);
    else if (frame.labels) blend(image.data, frame.labels, frame.weights, state.overlays);
    context.putImageData(image, 0, 0);
  };
}

// The same operations in the same order as overlay.blended.
function blend(bytes: Uint8ClampedArray, labels: Uint8Array, weights: Uint8Array | null, overlays: Overlay[]): void {
  for (let i = 0, j = 0; i < labels.length; i++, j += 4) {
    const over = overlays[labels[i] - 1];
    if (!over) continue;
    const part = weights ? (over.opacity * weights[i]) / 255 : over.opacity;
    for (let k = 0; k < 3; k++) {
      bytes[j + k] = Math.floor(bytes[j + k] * (1 - part) + over.colour[k] * part + 0.5);
    }
  }
}

// The same rule as overlay.edges: a pixel that touches another label, or the picture's edge.
function outline(out: Uint32Array, labels: Uint8Array, { rows, columns }: Frame, overlays: Overlay[]): void {
  for (let row = 0, i = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++, i++) {
      const label = labels[i];
      const over = overlays[label - 1];
      if (!over) continue;
      const within = row > 0 && row < rows - 1 && column > 0 && column < columns - 1 && labels[i - 1] === label
        && labels[i + 1] === label && labels[i - columns] === label && labels[i + columns] === label;
      if (!within) out[i] = (0xff000000 | (over.colour[2] << 16) | (over.colour[1] << 8) | over.colour[0]) >>> 0;
    }
  }
}

const GONE = "The kernel was restarted or has ended, so these pictures are gone: run the cell again.";

// ---- Where pixels come from. Another source may use HTTP. ----
// get(index) -> Promise<frame>; still() -> Promise, whether all may be read still; close(). They fail with {text, ended: no
// access any more, lost: no answer}. onEnded(text): for what another view of the same pictures was told, too.

interface Failure {
  text: string;
  ended?: boolean;
  lost?: boolean;
}

interface Source {
  get(index: number): Promise<Frame>;
  still(): Promise<unknown>;
  close(): void;
}

interface Waiting {
  resolve(answer: Frame | Promise<Frame> | Answer): void;
  reject(failure: Failure): void;
  timer: ReturnType<typeof setTimeout>;
  lost(text: string): void;
}

function commSource(model: Model, onEnded: (text: string) => void): Source {
  const waiting = new Map<string, Waiting>();
  // Every view of a model hears every answer: a view's own requests carry its own random number.
  const own = Math.random().toString(36).slice(2);
  let serial = 0;
  const line = makeLine();
  function hear(message: Answer, buffers: DataView<ArrayBuffer>[]) {
    if (message.k === "error" && message.ended) onEnded(message.text);
    if (message.k === "labels" || message.k === "refused") return;
    const request = waiting.get(message.n);
    if (!request) return;
    waiting.delete(message.n);
    clearTimeout(request.timer);
    if (message.k === "error") request.reject(message);
    else if (message.k !== "frame") request.resolve(message);
    else {
      line.received(buffers.reduce((sum, b) => sum + b.byteLength, 0), waiting.size);
      request.resolve(message.deflated ? inflated(message, buffers) : frameOf(message, buffers));
    }
  }
  function ask<T>(content: { k: "get"; z: number; deflate: boolean } | { k: "still" }): Promise<T> {
    return new Promise((resolve, reject) => {
      const n = `${own}-${serial++}`;
      const lost = (text: string) => {
        clearTimeout(timer);
        waiting.delete(n);
        reject({ text, lost: true });
      };
      const timer = setTimeout(lost, UNANSWERED_MS, "no answer from the kernel: it is busy, or was restarted; then run the cell again");
      // What answers a question is of the kind that it asks for.
      waiting.set(n, { resolve: resolve as Waiting["resolve"], reject, timer, lost });
      try {
        model.send({ ...content, n });
      } catch {
        gone();
      }
    });
  }
  // The comm of a kernel that was restarted takes nothing: nothing will ever answer.
  function gone() {
    for (const request of [...waiting.values()]) request.lost(GONE);
    onEnded(GONE);
  }
  model.on("msg:custom", hear);
  return {
    get(index) {
      line.asked();
      return ask<Frame>({ k: "get", z: index, deflate: line.slow });
    },
    still: () => ask({ k: "still" }),
    close() {
      model.off("msg:custom", hear);
      for (const { timer } of waiting.values()) clearTimeout(timer);
      waiting.clear();
    },
  };
}

// How fast the line is. A slow one gets its pixels deflated, which costs the kernel some milliseconds a slice; so does the
// first slice, since nobody knows yet.
function makeLine() {
  let since = 0;
  let bytes = 0;
  let answers = 0;
  let isFirst = true;
  return {
    slow: true,
    asked() {
      if (!since) since = performance.now();
    },
    received(count: number, left: number) {
      bytes += count;
      answers += 1;
      // One answer waits for the kernel more than for the line; a few in a row say what the line bears.
      if (answers >= 3) this.slow = bytes / (performance.now() - since) < SLOW_BYTES_PER_MS;
      else if (isFirst) this.slow = false;
      isFirst = false;
      if (left) return;
      since = bytes = answers = 0;
    },
  };
}

async function inflated(message: FrameMessage, [packed, ...rest]: DataView<ArrayBuffer>[]): Promise<Frame> {
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return frameOf(message, [new DataView(await new Response(stream).arrayBuffer()), ...rest]);
}

function frameOf(message: FrameMessage, buffers: DataView<ArrayBuffer>[]): Frame {
  // Copied: the comm's buffer need not be aligned, and would keep its whole message alive.
  const [bytes, ...rest] = buffers.map((b) => b.buffer.slice(b.byteOffset, b.byteOffset + b.byteLength));
  const labels = message.labelled ? new Uint8Array(rest.shift()!) : null;
  const weights = message.weighted ? new Uint8Array(rest.shift()!) : null;
  const luts = message.luts.map((first, i) => ({ first, levels: new Uint8Array(rest[i]) }));
  const dose = message.dosed ? new Uint16Array(rest[luts.length]) : null;
  return { ...message, data: new ARRAYS[message.dtype](bytes), labels, weights, luts, dose, weighs: 0 };
}

// ---- The loader: the latest wish first, few requests under way, ahead in the direction of scrolling ----

// `fills`: what is held in the kernel's memory anyway comes whole, nearest first, while nothing else is asked for. Files
// are read only where they are looked at: each read is on the record.
function makeLoader(
  source: Source, count: number, fills: boolean, onFrame: (frame: Frame) => void,
  onError: (index: number, text: string) => void, onLost: (index: number, text: string) => void,
) {
  const cache = new Map<number, Frame>();
  const underWay = new Set<number>();
  // Not asked for again in advance, only when wished for.
  const failed = new Set<number>();
  let held = 0;
  let wish = 0;
  let shown = Infinity;
  let direction = 1;
  let stopped = false;
  let generation = 0;

  function keep(index: number, frame: Frame) {
    const luts = frame.luts.map((lut) => lut.levels);
    frame.weighs = [frame.data, frame.labels, frame.weights, frame.dose, ...luts].reduce((sum, one) => sum + (one ? one.byteLength : 0), 0);
    held += frame.weighs - (cache.get(index)?.weighs ?? 0);
    cache.set(index, frame);
    for (const [old, dropped] of cache) {
      if (held <= CACHE_BYTES || old === wish) break;
      cache.delete(old);
      held -= dropped.weighs;
    }
  }
  function consider(index: number) {
    const known = cache.has(index) || underWay.has(index) || failed.has(index);
    if (index >= 0 && index < count && !known) fetch(index);
  }
  function ask() {
    // The first picture has the line for itself.
    if (shown === Infinity && underWay.size > 0) return;
    const ahead = shown === Infinity ? 0 : AHEAD;
    for (let step = 0; step <= ahead && underWay.size < IN_FLIGHT && !stopped; step++) consider(wish + direction * step);
    if (!fills || shown === Infinity || cache.size === 0 || (held / cache.size) * count > CACHE_BYTES) return;
    for (let step = 1; step < count && underWay.size < IN_FLIGHT && !stopped; step++) {
      consider(wish + direction * step);
      if (underWay.size < IN_FLIGHT) consider(wish - direction * step);
    }
  }
  // While the wish is under way, whatever comes nearer to it than what is on the screen is shown: the picture moves
  // with the wheel, and says that it is loading.
  function nearer(index: number) {
    return index === wish || Math.abs(index - wish) < Math.abs(shown - wish);
  }
  function put(frame: Frame) {
    shown = frame.z;
    onFrame(frame);
  }
  function fetch(index: number) {
    underWay.add(index);
    const asked = generation;
    source.get(index).then(
      (frame) => {
        if (asked !== generation) return;
        underWay.delete(index);
        if (stopped) return;
        keep(index, frame);
        if (nearer(index)) put(frame);
        ask();
      },
      (error: Failure) => {
        if (asked !== generation) return;
        underWay.delete(index);
        if (stopped) return;
        if (error.lost) {
          // Nothing is wrong with the picture: it may be asked for again, but only when it is wished for.
          if (index === wish) onLost(index, error.text);
          return;
        }
        failed.add(index);
        if (index === wish) {
          shown = Infinity;
          onError(index, error.text);
        }
        ask();
      },
    );
  }
  function drop() {
    generation += 1;
    cache.clear();
    underWay.clear();
    failed.clear();
    held = 0;
    shown = Infinity;
  }
  return {
    want(index: number) {
      if (index !== wish) direction = index > wish ? 1 : -1;
      wish = index;
      failed.delete(index);
      const frame = cache.get(index);
      if (frame) {
        // Used last, dropped last.
        cache.delete(index);
        cache.set(index, frame);
        put(frame);
      }
      ask();
      return Boolean(frame);
    },
    // What came before and what is under way is of no use any more.
    forget() {
      drop();
      ask();
    },
    // Access is over: nothing that was read before stays, and nothing is asked for until the user asks.
    drop,
    // Change a frame that is kept, and nothing else.
    amend(index: number, change: (frame: Frame) => void) {
      const frame = cache.get(index);
      if (frame) change(frame);
    },
    stop() {
      stopped = true;
      cache.clear();
      source.close();
    },
  };
}

// ---- The page ----

const HELP =
  "Scroll: wheel, arrow keys, Page Up/Down, Home, End. Window: drag, or Shift with arrow keys. " +
  "Crosshair, where there is one: click, or Alt with arrow keys. Zoom: Ctrl with wheel, + and −. Move: Shift with drag. Presets: 1 to 9. Invert: I. Colours: M. Outlines of overlays: O. Graphics of a presentation state: G. Cine: space bar. Reset: 0. " +
  "Measure: L length, A angle, C Cobb angle, E ellipse, R rectangle, F freehand; arrow keys and Enter place points, Backspace takes the last one back, Delete the last measurement of the slice. " +
  "Paint a mask: B, then draw, or arrow keys and Enter; X erases, [ and ] change the radius, Backspace takes the last stroke back. " +
  "Back to the notebook: Escape. The wheel works once the picture has the focus.";

function buildPage(about: About) {
  const canvas = element("canvas", { "aria-hidden": "true" });
  const error = element("div", { class: "rr-error", role: "alert", hidden: "" });
  const across = element("div", { class: "rr-cross", "aria-hidden": "true", hidden: "" });
  const down = element("div", { class: "rr-cross", "aria-hidden": "true", hidden: "" });
  const tools = buildTools(about);
  const layer = element("div", { class: "rr-layer" }, across, down, tools.contours, tools.shapes, tools.marks);
  const edges = about.edges.map((text, i) => element("span", { class: "rr-edge", "data-edge": i, "aria-hidden": "true" }, text));
  const stage = element("div", {
    class: "rr-stage",
    tabindex: "0",
    role: "application",
    "aria-label": `${about.title}, ${about.count} slices. ${HELP}`,
    "data-empty": "",
  }, canvas, layer, ...edges, error);
  stage.style.aspectRatio = `${about.columns * about.spacing[1]} / ${about.rows * about.spacing[0]}`;
  const slider = element("input", { type: "range", min: "0", max: String(about.count - 1), step: "1", "aria-label": "Slice" });
  const presets = element("select", { "aria-label": "Window preset" }, element("option", { value: "" }, "Window…"),
    ...about.presets.map(([name, centre, width], i) => element("option", { value: i }, `${i + 1} ${name} (W ${show(width)} L ${show(centre)})`)),
    ...about.luts.map((name, i) => element("option", { value: about.presets.length + i }, `${about.presets.length + i + 1} ${name}`)));
  const invert = element("button", { type: "button", "aria-pressed": "false" }, "Invert");
  const outline = element("button", { type: "button", "aria-pressed": "false", hidden: "" }, "Outline");
  const play = element("button", { type: "button", "aria-pressed": "false", "aria-keyshortcuts": "Space" }, "Play");
  const rate = element("input", { type: "number", min: "0.1", max: "60", step: "any", class: "rr-rate" });
  const cine = element("span", { class: "rr-cine" }, play, element("label", {}, rate, " / s"));
  rate.setAttribute("aria-label", "Pictures a second");
  cine.hidden = about.count < 2;
  const closer = element("button", { type: "button", "aria-label": "Zoom in" }, "+");
  const farther = element("button", { type: "button", "aria-label": "Zoom out" }, "−");
  const reset = element("button", { type: "button" }, "Reset");
  const legend = element("ul", { class: "rr-legend", "aria-label": "Overlays", hidden: "" });
  const status = element("div", { class: "rr-status", role: "status", "aria-live": "polite" });
  const root = element("div", { class: "rr-view", "data-lm-suppress-shortcuts": "true" },
    stage,
    element("div", { class: "rr-bar" }, slider, cine, presets, invert, outline, farther, closer, reset),
    tools.tools,
    status,
    tools.said,
    legend,
    tools.measured,
    element("details", { class: "rr-help" }, element("summary", {}, "Keys and mouse"), HELP));
  return { root, stage, canvas, layer, across, down, error, slider, play, rate, presets, invert, outline, closer, farther, reset, status, legend, ...tools };
}

// At most one write to the kernel every `ms`, the last one never lost.
function throttled(ms: number, write: () => void) {
  let timer: ReturnType<typeof setTimeout> | null = null;
  let again = false;
  later.waits = () => again;
  return later;
  function later() {
    if (timer !== null) {
      again = true;
      return;
    }
    write();
    timer = setTimeout(() => {
      timer = null;
      if (again) {
        again = false;
        later();
      }
    }, ms);
  }
}

function render({ model, el }: RenderProps<Traits>) {
  const about = model.get("about");
  const page = buildPage(about);
  let paint = makePainter();
  const state: State = {
    index: model.get("index"),
    window: [...model.get("window")],
    zoom: model.get("zoom"),
    pan: [...model.get("pan")],
    kind: about.function,
    lut: model.get("lut"),
    inverted: false,
    overlays: model.get("overlays"),
    outline: model.get("outline"),
    wash: null,
    palette: null,
  };
  let frame: Frame | null = null;
  let waitingTimer: ReturnType<typeof setTimeout> | undefined;
  let ended = false;
  const wash = makeWash(model, page, () => {
    state.wash = wash.wash();
    draw();
  }, () => { if (!ended) loader.forget(); });
  const presented = makePresented(model, about, page);
  const colours = makeColours(model, about, page, (palette) => {
    state.palette = palette;
    draw();
  });
  const save = throttled(50, () => model.save_changes());

  const source = commSource(model, (text) => {
    ended = true;
    loader.drop();
    blank(state.index, text);
  });
  const loader = makeLoader(source, about.count, about.held, (arrived) => {
    ended = false;
    if (arrived.z === state.index) clearTimeout(waitingTimer);
    frame = arrived;
    page.error.hidden = true;
    page.stage.removeAttribute("data-empty");
    draw();
  }, blank, (index, text) => {
    clearTimeout(waitingTimer);
    page.status.textContent = `slice ${index + 1} of ${about.count}: ${text}`;
  });

  // No picture, and nothing that was drawn of a file over it, stays in the page.
  function blank(index: number, text: string) {
    clearTimeout(waitingTimer);
    frame = null;
    paint = makePainter();
    presented.draw({});
    drawContours(page.contours, [], state.overlays);
    page.canvas.width = page.canvas.height = 1;
    page.stage.setAttribute("data-empty", "");
    page.stage.removeAttribute("data-slice");
    if (model.get("playing")) setPlaying(false);
    page.error.textContent = text;
    page.error.hidden = false;
    page.status.textContent = `slice ${index + 1} of ${about.count} cannot be shown`;
  }

  // A withdrawal must be seen when nothing is being read. One question at a time: a busy kernel answers later.
  let asking = false;
  function askStill() {
    if (ended || asking || !frame || document.hidden || !page.root.offsetParent) return;
    asking = true;
    // A refusal has been told to every view already; no answer says nothing of the access.
    source.still().catch(() => {}).finally(() => { asking = false; });
  }
  const stillTimer = setInterval(askStill, STILL_MS);

  function draw() {
    if (frame) {
      paint(page.canvas, frame, state);
      page.stage.setAttribute("data-slice", String(frame.z));
      page.stage.toggleAttribute("data-overlaid", Boolean(frame.labels || frame.contours || frame.dose));
      presented.draw(frame);
      drawContours(page.contours, frame.contours ?? [], state.overlays);
    }
    tell();
  }
  function tell() {
    const loading = frame && frame.z === state.index ? "" : " (loading)";
    const inverted = model.get("invert") ? ", inverted" : "";
    const shown = (state.lut === null ? undefined : about.luts[state.lut]) ?? `W ${show(state.window[1])} L ${show(state.window[0])}`;
    const [row, column] = model.get("cross");
    const cross = row === undefined || column === undefined ? "" : `, crosshair at row ${row + 1} column ${column + 1}`;
    page.slider.value = String(state.index);
    page.slider.setAttribute("aria-valuetext", `slice ${state.index + 1} of ${about.count}`);
    page.invert.setAttribute("aria-pressed", String(model.get("invert")));
    if (page.error.hidden) {
      page.status.textContent =
        `slice ${state.index + 1} of ${about.count}${loading}, ${shown}${inverted}${colours.words()}${cross}`;
    }
  }
  function place() {
    const box = page.stage.getBoundingClientRect();
    const x = (state.pan[0] * box.width) / about.columns;
    const y = (state.pan[1] * box.height) / about.rows;
    page.canvas.style.transform = page.layer.style.transform = `scale(${state.zoom}) translate(${x}px, ${y}px)`;
    page.layer.style.setProperty("--thin", `${1 / state.zoom}px`);
    page.canvas.style.imageRendering = state.zoom > 2 ? "pixelated" : "auto";
  }
  function placeCross(): void {
    const [row, column] = model.get("cross");
    page.across.hidden = page.down.hidden = row === undefined;
    if (row === undefined || column === undefined) return tell();
    page.across.style.cssText = `left: 0; right: 0; height: var(--thin); top: ${(100 * (row + 0.5)) / about.rows}%`;
    page.down.style.cssText = `top: 0; bottom: 0; width: var(--thin); left: ${(100 * (column + 0.5)) / about.columns}%`;
    tell();
  }
  function nameOverlays() {
    page.legend.replaceChildren(...state.overlays.map(({ name, colour, slice }) => {
      const swatch = element("span", { class: "rr-swatch", "aria-hidden": "true" });
      swatch.style.background = `rgb(${colour.join()})`;
      const open = element("button", { type: "button", class: "rr-plain", title: "Show the slice with the most of it" }, name);
      if (slice === null) open.disabled = true;
      else open.addEventListener("click", () => go(slice));
      return element("li", {}, swatch, open);
    }));
    page.legend.hidden = page.outline.hidden = state.overlays.length === 0;
    page.outline.setAttribute("aria-pressed", String(state.outline));
  }
  function setCross(row: number, column: number) {
    if (!model.get("cross").length) return;
    const kept = (v: number, end: number) => Math.min(Math.max(Math.floor(v), 0), end - 1);
    model.set("cross", [kept(row, about.rows), kept(column, about.columns)]);
    save();
  }
  function go(index: number) {
    const next = Math.min(Math.max(index, 0), about.count - 1);
    // After an end the same slice may be asked for again: access may have been granted anew.
    if (next === state.index && !ended) return;
    state.index = next;
    model.set("index", next);
    save();
    controls.measure.moved();
    controls.brush.moved();
    fetchShown();
  }
  function fetchShown() {
    clearTimeout(waitingTimer);
    if (!loader.want(state.index)) {
      tell();
      waitingTimer = setTimeout(() => {
        page.status.textContent = `slice ${state.index + 1} of ${about.count}: waiting for the kernel, which may be busy`;
      }, WAITING_MS);
    }
  }
  // A cine never runs ahead of its pictures: the next one is asked for when this one is on the screen.
  let due = 0;
  let turning: number | null = null;
  function turn(now: number) {
    turning = null;
    if (!model.get("playing")) return;
    const period = 1000 / model.get("rate");
    if (frame?.z === state.index && now >= due) {
      due = now - due < period ? due + period : now + period;
      go((state.index + 1) % about.count);
    }
    turning = requestAnimationFrame(turn);
  }
  function followPlaying() {
    const on = model.get("playing");
    page.play.setAttribute("aria-pressed", String(on));
    page.play.textContent = on ? "Stop" : "Play";
    page.rate.value = show(model.get("rate"));
    // A screen reader is not told of every picture.
    page.status.setAttribute("aria-live", on ? "off" : "polite");
    if (on && turning === null) {
      due = performance.now() + 1000 / model.get("rate");
      turning = requestAnimationFrame(turn);
    }
  }
  function setPlaying(on: boolean) {
    model.set("playing", on && about.count > 1);
    model.save_changes();
  }
  function setRate(rate: number) {
    if (rate >= 0.1 && rate <= 60) {
      model.set("rate", rate);
      model.save_changes();
    } else page.rate.value = show(model.get("rate"));
  }
  function setWindow(centre: number, width: number, commit: boolean) {
    state.window = [centre, Math.max(width, about.function === "LINEAR" ? 1 : 1e-6)];
    state.lut = null;
    if (commit) commitWindow();
    draw();
  }
  function commitWindow() {
    model.set("window", [...state.window]);
    model.set("lut", null);
    model.save_changes();
  }
  function setZoom(zoom: number) {
    state.zoom = Math.min(Math.max(zoom, 0.1), 32);
    model.set("zoom", state.zoom);
    save();
    place();
  }
  function setPan(x: number, y: number) {
    state.pan = [x, y];
    model.set("pan", [...state.pan]);
    save();
    place();
  }
  function setInvert(inverted: boolean) {
    model.set("invert", inverted);
    model.save_changes();
  }
  function setOutline(on: boolean) {
    model.set("outline", on);
    model.save_changes();
  }
  function preset(i: number) {
    const lut = i - about.presets.length;
    if (lut < 0) setWindow(about.presets[i][1], about.presets[i][2], true);
    else if (about.luts[lut] !== undefined) {
      model.set("lut", lut);
      model.save_changes();
    }
  }
  function resetView() {
    setZoom(1);
    setPan(0, 0);
    preset(0);
    setInvert(false);
  }

  const handles = { state, page, about, go, setWindow, commitWindow, setZoom, setPan, setCross, setInvert, setOutline, setPlaying, setRate, preset, resetView, model };
  const measure = makeMeasure(handles);
  const brush = makeBrush({ ...handles, measure }, {
    shown: () => frame,
    draw,
    amend(index, labels, weights) {
      const change = (one: Frame) => Object.assign(one, { labels, weights });
      loader.amend(index, change);
      if (frame?.z === index) {
        change(frame);
        draw();
      }
    },
  });
  const controls: Controls = { ...handles, presented, colours, measure, brush };
  const listening = new AbortController();
  listenToPointer(controls, listening.signal);
  listenToKeys(controls, listening.signal);
  listenToBar(controls, listening.signal);

  const followed: Record<string, () => void> = {
    "change:index": () => {
      // The kernel's echo of an older slice, while a newer one waits to be written: the newer one holds.
      if (save.waits()) model.set("index", state.index);
      if (model.get("index") !== state.index) {
        state.index = model.get("index");
        controls.measure.moved();
        controls.brush.moved();
        fetchShown();
      }
    },
    "change:window": () => {
      state.window = [...model.get("window")];
      draw();
    },
    "change:lut": () => {
      state.lut = model.get("lut");
      draw();
    },
    "change:invert": () => {
      state.inverted = model.get("invert") !== about.flipped;
      draw();
    },
    "change:zoom": () => {
      state.zoom = model.get("zoom");
      place();
    },
    "change:cross": placeCross,
    "change:overlays": () => {
      // A picture that is on the screen keeps its old colours until the new one comes.
      const drawn = (all: Overlay[]) => JSON.stringify(all.map(({ name, colour, opacity, painted }) => [name, colour, opacity, painted]));
      const same = drawn(state.overlays) === drawn(model.get("overlays"));
      state.overlays = model.get("overlays");
      nameOverlays();
      // A stroke moves an overlay's largest slice only: its own picture comes by itself.
      if ((!same || !state.overlays.some((one) => one.painted)) && !ended) loader.forget();
    },
    "change:drawings": controls.measure.listAll,
    "change:playing": followPlaying,
    "change:rate": followPlaying,
    "change:outline": () => {
      state.outline = model.get("outline");
      nameOverlays();
      draw();
    },
    "change:pan": () => {
      state.pan = [...model.get("pan")];
      place();
    },
  };
  for (const [event, follow] of Object.entries(followed)) model.on(event, follow);
  const resized = new ResizeObserver(place);
  resized.observe(page.stage);
  el.append(page.root);
  followed["change:invert"]();
  placeCross();
  nameOverlays();
  wash.build();
  colours.follow();
  controls.brush.follow();
  controls.measure.listAll();
  // Who asked for less motion starts it by hand.
  if (model.get("playing") && matchMedia("(prefers-reduced-motion: reduce)").matches) setPlaying(false);
  followPlaying();
  fetchShown();

  return () => {
    for (const [event, follow] of Object.entries(followed)) model.off(event, follow);
    if (turning !== null) cancelAnimationFrame(turning);
    controls.measure.stop();
    controls.brush.stop();
    wash.stop();
    colours.stop();
    presented.stop();
    listening.abort();
    resized.disconnect();
    clearTimeout(waitingTimer);
    clearInterval(stillTimer);
    loader.stop();
  };
}

interface Controls {
  page: ReturnType<typeof buildPage>;
  state: State;
  about: About;
  model: Model;
  measure: Measure;
  brush: Brush;
  presented: ReturnType<typeof makePresented>;
  colours: ReturnType<typeof makeColours>;
  go(index: number): void;
  setWindow(centre: number, width: number, commit: boolean): void;
  commitWindow(): void;
  setZoom(zoom: number): void;
  setPan(x: number, y: number): void;
  setCross(row: number, column: number): void;
  setInvert(inverted: boolean): void;
  setOutline(on: boolean): void;
  setPlaying(on: boolean): void;
  setRate(rate: number): void;
  preset(i: number): void;
  resetView(): void;
}

function listenToPointer(c: Controls, signal: AbortSignal) {
  const { stage } = c.page;
  const tool = () => (c.brush.active() ? c.brush : c.measure);
  let drag: { x: number; y: number; window: [number, number]; pan: [number, number]; move: boolean } | null = null;
  stage.addEventListener("pointerdown", (event) => {
    stage.focus({ preventScroll: true });
    if (tool().active() && event.button === 0 && !event.shiftKey) {
      tool().down(event);
      stage.setPointerCapture(event.pointerId);
      event.preventDefault();
      return;
    }
    drag = { x: event.clientX, y: event.clientY, window: [...c.state.window], pan: [...c.state.pan], move: event.shiftKey || event.button === 1 };
    stage.setPointerCapture(event.pointerId);
    event.preventDefault();
  }, { signal });
  stage.addEventListener("pointermove", (event) => {
    if (!drag) {
      if (tool().active()) tool().move(event);
      return;
    }
    const dx = event.clientX - drag.x;
    const dy = event.clientY - drag.y;
    if (drag.move) {
      const box = stage.getBoundingClientRect();
      c.setPan(
        drag.pan[0] + (dx * c.about.columns) / (box.width * c.state.zoom),
        drag.pan[1] + (dy * c.about.rows) / (box.height * c.state.zoom),
      );
      return;
    }
    // A drag over 256 pixels doubles the width, or moves the centre by one width: the same feel for 80 HU and for 0.1.
    const step = drag.window[1] / 256;
    const round = c.about.function === "LINEAR" ? Math.round : (v: number) => v;
    c.setWindow(round(drag.window[0] + dy * step), round(drag.window[1] + dx * step), false);
  }, { signal });
  function release(event: PointerEvent) {
    if (!drag) {
      if (tool().active()) tool().up(event);
      return;
    }
    const still = drag && event.type === "pointerup" && event.clientX === drag.x && event.clientY === drag.y;
    if (still && !drag.move) {
      const box = c.page.canvas.getBoundingClientRect();
      c.setCross(
        ((event.clientY - box.top) / box.height) * c.about.rows,
        ((event.clientX - box.left) / box.width) * c.about.columns,
      );
    } else if (drag && !drag.move) c.commitWindow();
    drag = null;
  }
  stage.addEventListener("pointerup", release, { signal });
  stage.addEventListener("pointercancel", release, { signal });
  stage.addEventListener("wheel", (event) => {
    // Without the focus the page scrolls, so that a notebook can be read past its pictures.
    if (!stage.contains(document.activeElement)) return;
    event.preventDefault();
    if (event.ctrlKey) c.setZoom(c.state.zoom * (event.deltaY < 0 ? 1.25 : 0.8));
    else if (event.deltaY !== 0) c.go(c.state.index + (event.deltaY > 0 ? 1 : -1));
  }, { signal, passive: false });
}

function listenToKeys(c: Controls, signal: AbortSignal) {
  const windowKeys: Readonly<Record<string, [up: number, wider: number]>> = { ArrowUp: [1, 0], ArrowDown: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1] };
  const keys: Readonly<Record<string, () => void>> = {
    ArrowUp: () => c.go(c.state.index - 1),
    ArrowLeft: () => c.go(c.state.index - 1),
    ArrowDown: () => c.go(c.state.index + 1),
    ArrowRight: () => c.go(c.state.index + 1),
    PageUp: () => c.go(c.state.index - 10),
    PageDown: () => c.go(c.state.index + 10),
    Home: () => c.go(0),
    End: () => c.go(c.about.count - 1),
    "+": () => c.setZoom(c.state.zoom * 1.25),
    "=": () => c.setZoom(c.state.zoom * 1.25),
    "-": () => c.setZoom(c.state.zoom * 0.8),
    0: c.resetView,
    i: () => c.setInvert(!c.model.get("invert")),
    " ": () => c.setPlaying(!c.model.get("playing")),
    o: () => c.setOutline(!c.model.get("outline")),
    g: () => c.presented.toggle(),
    m: () => c.colours.next(),
  };
  // The notebook takes the focus away at any key that reaches it; Escape is the way back to it.
  c.page.root.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") event.stopPropagation();
  }, { signal });
  c.page.stage.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey) return;
    if (c.brush.key(event) || c.measure.key(event)) {
      event.preventDefault();
      event.stopPropagation();
      return;
    }
    if (event.altKey) {
      const [row, column] = c.model.get("cross");
      const [up, wider] = windowKeys[event.key] ?? [0, 0];
      if (row === undefined || column === undefined || (!up && !wider)) return;
      c.setCross(row - up, column + wider);
      event.preventDefault();
      return;
    }
    const [centre, width] = c.state.window;
    const step = c.about.function === "LINEAR" ? Math.max(Math.round(width / 20), 1) : width / 20;
    if (event.shiftKey && windowKeys[event.key]) {
      const [up, wider] = windowKeys[event.key];
      c.setWindow(centre + up * step, width + wider * step, true);
    } else if (/^[1-9]$/.test(event.key)) c.preset(Number(event.key) - 1);
    else if (keys[event.key]) keys[event.key]();
    else return;
    event.preventDefault();
  }, { signal });
}

function listenToBar(c: Controls, signal: AbortSignal) {
  const { page } = c;
  page.slider.addEventListener("input", () => c.go(Number(page.slider.value)), { signal });
  page.presets.addEventListener("change", () => {
    if (page.presets.value !== "") c.preset(Number(page.presets.value));
    page.presets.value = "";
  }, { signal });
  page.invert.addEventListener("click", () => c.setInvert(!c.model.get("invert")), { signal });
  page.play.addEventListener("click", () => c.setPlaying(!c.model.get("playing")), { signal });
  page.rate.addEventListener("change", () => c.setRate(Number(page.rate.value)), { signal });
  page.outline.addEventListener("click", () => c.setOutline(!c.model.get("outline")), { signal });
  page.closer.addEventListener("click", () => c.setZoom(c.state.zoom * 1.25), { signal });
  page.farther.addEventListener("click", () => c.setZoom(c.state.zoom * 0.8), { signal });
  page.reset.addEventListener("click", c.resetView, { signal });
  for (const button of page.buttons) {
    button.addEventListener("click", () => {
      c.brush.end();
      c.measure.choose(button.dataset.kind ?? null);
      page.stage.focus();
    }, { signal });
  }
}

export default { render };
