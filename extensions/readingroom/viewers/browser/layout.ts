// The elements of a series view.

import { buildTools } from "./measure";
import { element, show } from "./page";
import type { About } from "./traits";

const HELP =
  "Scroll: wheel, arrow keys, Page Up/Down, Home, End. Window: drag, or Shift with arrow keys. " +
  "Crosshair, where there is one: click, or Alt with arrow keys. Zoom: Ctrl with wheel, + and −. Move: Shift with drag. Presets: 1 to 9. Invert: I. Colours: M. Outlines of overlays: O. Graphics of a presentation state: G. Cine: space bar. Reset: 0. " +
  "Measure: L length, A angle, C Cobb angle, E ellipse, R rectangle, F freehand; arrow keys and Enter place points, Backspace takes the last one back, Delete the last measurement of the slice. " +
  "Paint a mask: B, then draw, or arrow keys and Enter; X erases, [ and ] change the radius, Backspace takes the last stroke back. " +
  "Back to the notebook: Escape. The wheel works once the picture has the focus.";

export function buildPage(about: About) {
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
  const slider = element("input", { type: "range", class: "rr-slider", min: "0", max: String(about.count - 1), step: "1", "aria-label": "Slice" });
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
    element("div", { class: "rr-bar" }, slider, cine, presets, invert, outline, element("span", { class: "rr-zoom" }, farther, closer, reset)),
    tools.tools,
    status,
    tools.said,
    legend,
    tools.measured,
    element("details", { class: "rr-help" }, element("summary", {}, "Keys and mouse"), HELP));
  return { root, stage, canvas, layer, across, down, error, slider, play, rate, presets, invert, outline, closer, farther, reset, status, legend, ...tools };
}
