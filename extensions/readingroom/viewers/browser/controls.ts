// What a user does to a series view: pointer, keys, the bar below the picture.

import type { Brush } from "./brush";
import type { makeColours } from "./colours";
import type { buildPage } from "./layout";
import type { Measure } from "./measure";
import { keepKeys } from "./page";
import type { makePresented } from "./presented";
import type { About, Model, State } from "./traits";

export interface Controls {
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

export function listenToPointer(c: Controls, signal: AbortSignal) {
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
      const box = c.page.layer.getBoundingClientRect();
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

export function listenToKeys(c: Controls, signal: AbortSignal) {
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
  keepKeys(c.page.root);
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

export function listenToBar(c: Controls, signal: AbortSignal) {
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
