// The series viewer in the browser: what is on the screen, and how it follows its traits.

import type { InitializeProps, RenderProps } from "@anywidget/types";

import { makeBrush } from "./brush";
import { makeColours } from "./colours";
import { listenToBar, listenToKeys, listenToPointer, type Controls } from "./controls";
import { makeDraft } from "./draft";
import { hastySource } from "./hasty";
import { buildPage } from "./layout";
import { makeLoader } from "./loader";
import { drawContours, makeMeasure } from "./measure";
import { element, keepAsking, makePatience, show, throttled } from "./page";
import { makePainter } from "./painter";
import { makePresented } from "./presented";
import { commSource, keepFirst, type Slices } from "./source";
import type { Frame, Overlay, State, Traits } from "./traits";
import { makeWash } from "./wash";

const WAITING_MS = 1500;
const STILL_MS = 1000;

function render({ model, el }: RenderProps<Traits>, first: () => Promise<Slices | null>) {
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
  const patience = makePatience(WAITING_MS, (words) => {
    page.status.textContent = `slice ${state.index + 1} of ${about.count}: ${words}`;
  });
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
  const draft = makeDraft(about, page.canvas, page.stage, state, draw);
  const save = throttled(50, () => model.save_changes());

  const end = (text: string) => {
    ended = true;
    loader.drop();
    blank(state.index, text);
  };
  const plain = () => about.notes === null && state.overlays.length === 0 && !state.wash;
  const source = hastySource(commSource(model, end, first), plain, end);
  const loader = makeLoader(source, about.count, about.held, (arrived) => {
    ended = false;
    if (arrived.z === state.index) patience.end();
    frame = arrived;
    page.error.hidden = true;
    page.stage.removeAttribute("data-empty");
    draw();
  }, blank, (index, text) => {
    patience.end();
    page.status.textContent = `slice ${index + 1} of ${about.count}: ${text}`;
  });

  // No picture, and nothing that was drawn of a file over it, stays in the page.
  function blank(index: number, text: string) {
    patience.end();
    frame = null;
    draft.end();
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

  const stopAsking = keepAsking(STILL_MS, page.root, () => !ended && frame !== null, () => source.still());

  function draw() {
    draft.end();
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
    if (draft.shown()) draw();
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
    patience.end();
    if (!loader.want(state.index)) {
      tell();
      patience.begin();
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
    if (!commit && frame && draft.draw(frame)) tell();
    else draw();
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
    draft.end();
    patience.end();
    stopAsking();
    loader.stop();
  };
}

export default () => {
  let first: () => Promise<Slices | null> = async () => null;
  return {
    initialize({ model }: InitializeProps<Traits>) { first = keepFirst(model); },
    render: (props: RenderProps<Traits>) => render(props, first),
  };
};
