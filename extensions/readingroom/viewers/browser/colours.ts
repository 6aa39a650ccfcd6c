// The colour map of grey pictures. The palette comes from Python: 256 levels, looked up after window and inversion.

import { element } from "./page";
import type { About, Model } from "./traits";

// `changed` is called with 256 packed colours, or null for shades of grey, when the picture has to be drawn again.
export function makeColours(model: Model, about: About, page: { invert: HTMLElement }, changed: (palette: Uint32Array | null) => void) {
  const title = (name: string) => name.charAt(0) + name.slice(1).toLowerCase().replaceAll("_", " ");
  const names = ["", ...about.palettes];
  const menu = element("select", { "aria-label": "Colours", "aria-keyshortcuts": "m", title: "Colours (M for the next)" },
    ...names.map((name) => element("option", { value: name }, name ? title(name) : "Grey")));
  const bar = element("span", { class: "rr-colours", "aria-hidden": "true" });
  page.invert.after(menu, bar);
  let said = "";
  function follow() {
    const levels = model.get("palette");
    menu.value = model.get("colours");
    said = levels.length ? `, colours ${title(menu.value)}` : "";
    bar.hidden = levels.length === 0;
    const stops = levels.length ? Array.from({ length: 52 }, (_, i) => `rgb(${levels.slice(15 * i, 15 * i + 3).join()})`) : ["#000", "#fff"];
    bar.style.background = `linear-gradient(to right, ${stops.join()})`;
    const packedLevels = (_: unknown, i: number) => (0xff000000 | (levels[3 * i + 2] << 16) | (levels[3 * i + 1] << 8) | levels[3 * i]) >>> 0;
    changed(levels.length ? Uint32Array.from({ length: 256 }, packedLevels) : null);
  }
  function choose(name: string) {
    model.set("colours", name);
    model.save_changes();
  }
  menu.addEventListener("change", () => choose(menu.value));
  model.on("change:palette", follow);
  return {
    follow,
    next: () => choose(names[(names.indexOf(model.get("colours")) + 1) % names.length]),
    // Of what is drawn: the palette comes after its name.
    words: () => said,
    stop: () => model.off("change:palette", follow),
  };
}
