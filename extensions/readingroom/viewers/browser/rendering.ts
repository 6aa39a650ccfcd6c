// A volume drawn whole, in the browser: its controls. Voxels come once, over the comm; volume.js draws them.

import type { AnyModel, RenderProps } from "@anywidget/types";

import { element, keepAsking, keepKeys, makePatience, show } from "./page";
import type { Scene } from "./volume";
import { makeWire, type Failure } from "./wire";

const STILL_MS = 1000;
const PATIENCE_MS = 15000;
const SETTLED_MS = 200;
// What a picture may take while it turns, and when it rests. A graphics card needs neither; a processor does.
const MOVING_MS = 100;
const RESTING_MS = 2000;
const NO_WEBGL = "This browser draws no WebGL 2, which volume rendering needs: switch on hardware acceleration, or take another "
  + "browser. series.mpr(slab=20) shows thick slabs without it.";
const NO_SCRIPT = "This server does not have the script that draws volumes: the readingroom package must be installed "
  + "where JupyterLab itself is, too.";

export type Vector = [number, number, number];

export interface Look {
  blend: "composite" | "maximum";
  // Modality value, then red, green and blue, or what a millimetre hides: 0 to 1.
  colours: [value: number, red: number, green: number, blue: number][];
  opacity: [value: number, part: number][];
}

interface Grid {
  shape: [slices: number, rows: number, columns: number];
  // 4 x 4, row by row: of (slice, row, column, 1), in mm, LPS.
  affine: number[];
  // From the centre to a corner, in mm.
  reach: number;
  slope: number;
  intercept: number;
}

export interface Voxels extends Grid {
  data: Int16Array;
}

interface About extends Grid {
  title: string;
  // The shape of the volume before it was made smaller.
  whole: number[];
  looks: Record<string, Look>;
  // Below the server's address of JupyterLab's extensions.
  script: string;
}

type Traits = {
  about: About;
  preset: string;
  azimuth: number;
  elevation: number;
  zoom: number;
};

type Model = AnyModel<Traits>;

type Questions = {
  voxels: { asked: object; told: { k: "voxels" } };
  still: { asked: object; told: { k: "still" } };
};

// Azimuth and elevation of the views along the body's axes.
const SIDES: Readonly<Record<string, [name: string, azimuth: number, elevation: number]>> = {
  a: ["front", 0, 0],
  p: ["back", -180, 0],
  l: ["left", 90, 0],
  r: ["right", -90, 0],
  h: ["head", 0, 90],
  f: ["feet", 0, -90],
};
const HELP =
  "Turn: drag, or arrow keys (Shift: 45 degrees). Zoom: + and −, or the wheel once the picture has the focus. "
  + "Seen from: A front, P back, L left, R right, H head, F feet. Presets: 1 to 9. Reset: 0. Back to the notebook: Escape.";

// As in VolumeView._axes.
function axesOf(azimuth: number, elevation: number): { towards: Vector; up: Vector; right: Vector } {
  const [turn, rise] = [(azimuth * Math.PI) / 180, (elevation * Math.PI) / 180];
  const [s, c, t, d] = [Math.sin(turn), Math.cos(turn), Math.sin(rise), Math.cos(rise)];
  return { towards: [s * d, -c * d, t], up: [-s * t, c * t, d], right: [c, s, 0] };
}

// As geometry.letters names a direction.
function letters(direction: Vector): string {
  const names = [["R", "L"], ["A", "P"], ["F", "H"]];
  const strongest = [0, 1, 2].sort((a, b) => Math.abs(direction[b]) - Math.abs(direction[a]));
  return strongest.slice(0, 2).filter((axis) => Math.abs(direction[axis]) > 0.3).map((axis) => names[axis][direction[axis] > 0 ? 1 : 0]).join("");
}

const opposite = (direction: Vector) => direction.map((v) => -v) as Vector;

function buildPage({ title, looks, shape, whole }: About) {
  const place = element("div", { class: "rr-volume-place", "aria-hidden": "true" });
  const edges = [0, 1, 2, 3].map((i) => element("span", { class: "rr-edge", "data-edge": i, "aria-hidden": "true" }));
  const smaller = shape.join() === whole.join() ? "" : `${shape.join(" × ")} voxels of ${whole.join(" × ")}`;
  const note = element("span", { class: "rr-volume-note" }, smaller);
  const error = element("div", { class: "rr-error", role: "alert", hidden: "" });
  const stage = element("div", { class: "rr-stage", tabindex: "0", role: "application", "aria-label": `${title}, volume rendering. ${smaller} ${HELP}`, "data-empty": "" },
    place, ...edges, note, error);
  const presets = element("select", {}, ...Object.keys(looks).map((name) => element("option", { value: name }, name)));
  const sides = element("select", {}, element("option", { value: "" }, "another side"),
    ...Object.entries(SIDES).map(([key, [name]]) => element("option", { value: key }, `${name} (${key.toUpperCase()})`)));
  const farther = element("button", { type: "button", "aria-label": "Zoom out" }, "−");
  const closer = element("button", { type: "button", "aria-label": "Zoom in" }, "+");
  const reset = element("button", { type: "button" }, "Reset");
  const status = element("div", { class: "rr-status", role: "status", "aria-live": "polite" });
  const root = element("div", { class: "rr-view rr-volume", "data-lm-suppress-shortcuts": "true" },
    stage,
    element("div", { class: "rr-bar" }, element("label", {}, "Preset ", presets), element("label", {}, "Seen from ", sides), farther, closer, reset),
    status,
    element("details", { class: "rr-help" }, element("summary", {}, "Keys and mouse"), HELP));
  return { root, stage, place, edges, error, presets, sides, farther, closer, reset, status };
}

// The server writes into its page where its extensions lie: behind a hub, below the user's own address.
async function load(script: string): Promise<typeof import("./volume")> {
  const told = document.getElementById("jupyter-config-data")?.textContent;
  const below = told ? (JSON.parse(told) as { fullLabextensionsUrl?: string }).fullLabextensionsUrl : undefined;
  if (!below) throw new Error(NO_SCRIPT);
  try {
    return await import(new URL(`${below}/${script}`, location.href).href);
  } catch (cause) {
    throw new Error(NO_SCRIPT, { cause });
  }
}

async function inflated(packed: DataView<ArrayBuffer>): Promise<Int16Array> {
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Int16Array(await new Response(stream).arrayBuffer());
}

function render({ model, el }: RenderProps<Traits>) {
  const about = model.get("about");
  const page = buildPage(about);
  const wire = makeWire<Questions>(model);
  const over = new AbortController();
  let scene: Scene | null = null;
  let ended = false;
  let frame = 0;
  let size: number[] = [];
  let settled: ReturnType<typeof setTimeout> | undefined;
  const patience = makePatience(PATIENCE_MS, (words) => { page.status.textContent = words; });

  // Nothing that was drawn, and no voxel, stays.
  function end(text: string) {
    ended = true;
    patience.end();
    clearTimeout(settled);
    scene?.stop();
    scene = null;
    page.place.replaceChildren();
    page.stage.setAttribute("data-empty", "");
    page.stage.removeAttribute("data-drawn");
    page.error.textContent = text;
    page.error.hidden = false;
    page.status.textContent = "no picture";
  }
  wire.onEnded(end);
  patience.begin();

  // One picture under way, and what is asked for meanwhile is one more.
  let drawing = false;
  let again = false;
  async function draw(rests: boolean) {
    if (drawing) {
      again = true;
      return;
    }
    const drawer = scene;
    if (!drawer || over.signal.aborted) return;
    drawing = true;
    let finer = false;
    try {
      finer = await drawer.draw(rests ? RESTING_MS : MOVING_MS);
    } catch {
      end("This browser could not draw the volume. series.mpr(slab=20) shows thick slabs without it.");
    }
    drawing = false;
    if (scene !== drawer) return;
    page.stage.removeAttribute("data-empty");
    if (again) {
      again = false;
      void draw(false);
    } else if (rests && !finer) page.stage.setAttribute("data-drawn", "");
    else settled = setTimeout(draw, rests ? 0 : SETTLED_MS, true);
  }
  function turn() {
    const [azimuth, elevation] = [model.get("azimuth"), model.get("elevation")];
    const { towards, up, right } = axesOf(azimuth, elevation);
    scene?.look(towards, up, model.get("zoom"));
    [opposite(right), right, up, opposite(up)].forEach((direction, i) => { page.edges[i].textContent = letters(direction); });
    page.presets.value = model.get("preset");
    page.sides.value = Object.keys(SIDES).find((key) => SIDES[key][1] === azimuth && SIDES[key][2] === elevation) ?? "";
    if (scene) {
      const sides = letters(towards).split("").map((letter) => SIDES[letter.toLowerCase()][0]).join(" and ");
      page.status.textContent = `${model.get("preset")}, seen from ${sides}, azimuth ${show(azimuth)}°, elevation ${show(elevation)}°`;
    }
  }
  function soon() {
    page.stage.removeAttribute("data-drawn");
    turn();
    clearTimeout(settled);
    frame ||= requestAnimationFrame(() => {
      frame = 0;
      void draw(false);
    });
  }
  function follow() {
    scene?.show(about.looks[model.get("preset")]);
    soon();
  }

  async function begin() {
    if (!document.createElement("canvas").getContext("webgl2")) throw new Error(NO_WEBGL);
    page.status.textContent = "loading the volume";
    const [{ makeScene }, { buffers }] = await Promise.all([load(about.script), wire.ask("voxels", {})]);
    const { shape, affine, reach, slope, intercept } = about;
    const voxels = { shape, affine, reach, slope, intercept, data: await inflated(buffers[0]) };
    patience.end();
    if (ended || over.signal.aborted) return;
    scene = makeScene(page.place, voxels);
    page.place.querySelector("canvas")?.addEventListener("webglcontextlost", () => end("The graphics card gave up: run the cell again."), { signal: over.signal });
    resize();
    follow();
  }
  function resize() {
    const box = page.stage.getBoundingClientRect();
    if (!scene || box.width === 0) return;
    const fine = Math.min(devicePixelRatio, 2);
    const now = [Math.round(box.width * fine), Math.round(box.height * fine)];
    // Hidden and shown again, as while JupyterLab changes its theme: what is there is still right.
    if (now.join() === size.join()) return;
    size = now;
    scene.resize(size[0], size[1]);
    soon();
  }
  const resized = new ResizeObserver(resize);

  const stopAsking = keepAsking(STILL_MS, page.root, () => !ended && scene !== null, () => wire.ask("still", {}));

  el.append(page.root);
  turn();
  resized.observe(page.stage);
  listen(page, model, Object.keys(about.looks), over.signal);
  model.on("change:preset", follow);
  for (const trait of ["azimuth", "elevation", "zoom"]) model.on(`change:${trait}`, soon);
  begin().catch((error: Error | Failure) => {
    if (!ended && !over.signal.aborted) end("text" in error ? error.text : error.message);
  });

  return () => {
    over.abort();
    stopAsking();
    patience.end();
    clearTimeout(settled);
    cancelAnimationFrame(frame);
    resized.disconnect();
    model.off("change:preset", follow);
    for (const trait of ["azimuth", "elevation", "zoom"] as const) model.off(`change:${trait}`, soon);
    wire.close();
    scene?.stop();
    scene = null;
  };
}

function listen(page: ReturnType<typeof buildPage>, model: Model, looks: string[], signal: AbortSignal) {
  const { stage } = page;
  function seen(azimuth: number, elevation: number) {
    model.set("azimuth", ((((azimuth + 180) % 360) + 360) % 360) - 180);
    model.set("elevation", Math.min(Math.max(elevation, -90), 90));
    model.save_changes();
  }
  // The front of the body goes where the arrow or the hand goes.
  const turned = (right: number, up: number) => seen(model.get("azimuth") - right, model.get("elevation") - up);
  function zoomed(by: number) {
    model.set("zoom", Math.min(Math.max(model.get("zoom") * by, 0.2), 20));
    model.save_changes();
  }
  function choose(name: string | undefined) {
    if (name === undefined) return;
    model.set("preset", name);
    model.save_changes();
  }
  function reset() {
    model.set("zoom", 1);
    seen(0, 0);
  }
  const keys: Readonly<Record<string, (step: number) => void>> = {
    ArrowRight: (step) => turned(step, 0),
    ArrowLeft: (step) => turned(-step, 0),
    ArrowUp: (step) => turned(0, step),
    ArrowDown: (step) => turned(0, -step),
    "+": () => zoomed(1.25),
    "=": () => zoomed(1.25),
    "-": () => zoomed(0.8),
    0: reset,
  };
  stage.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const side = SIDES[event.key.toLowerCase()];
    if (keys[event.key]) keys[event.key](event.shiftKey ? 45 : 5);
    else if (side) seen(side[1], side[2]);
    else if (/^[1-9]$/.test(event.key)) choose(looks[Number(event.key) - 1]);
    else return;
    event.preventDefault();
  }, { signal });
  keepKeys(page.root);
  let held: { x: number; y: number } | null = null;
  stage.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    stage.focus({ preventScroll: true });
    stage.setPointerCapture(event.pointerId);
    held = { x: event.clientX, y: event.clientY };
    event.preventDefault();
  }, { signal });
  stage.addEventListener("pointermove", (event) => {
    if (!held) return;
    // Across the picture is half a turn.
    const part = 180 / stage.clientWidth;
    turned((event.clientX - held.x) * part, (held.y - event.clientY) * part);
    held = { x: event.clientX, y: event.clientY };
  }, { signal });
  for (const name of ["pointerup", "pointercancel"] as const) stage.addEventListener(name, () => { held = null; }, { signal });
  stage.addEventListener("wheel", (event) => {
    // Without the focus the page scrolls, so that a notebook can be read past its pictures.
    if (!stage.contains(document.activeElement)) return;
    event.preventDefault();
    zoomed(event.deltaY < 0 ? 1.25 : 0.8);
  }, { signal, passive: false });
  page.presets.addEventListener("change", () => choose(page.presets.value), { signal });
  page.sides.addEventListener("change", () => {
    const side = SIDES[page.sides.value];
    if (side) seen(side[1], side[2]);
  }, { signal });
  page.farther.addEventListener("click", () => zoomed(0.8), { signal });
  page.closer.addEventListener("click", () => zoomed(1.25), { signal });
  page.reset.addEventListener("click", reset, { signal });
}

export default { render };
