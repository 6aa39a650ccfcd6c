// The dose over a picture, and its legend. Codes of each pixel come from Python; colours are mixed as in dose.washed.

import { element, show } from "./page";
import type { Model, Wash } from "./traits";

const DOSE_STEPS = 65534;

export function washOver(bytes: Uint8ClampedArray, codes: Uint16Array, { highest, colours, threshold, opacity }: Wash): void {
  for (let i = 0, j = 0; i < codes.length; i++, j += 4) {
    const code = codes[i];
    if (code === 0 || !(((code - 1) / DOSE_STEPS) * highest >= threshold)) continue;
    const at = 3 * Math.floor(((code - 1) * 255) / DOSE_STEPS + 0.5);
    for (let k = 0; k < 3; k++) bytes[j + k] = Math.floor(bytes[j + k] * (1 - opacity) + colours[at + k] * opacity + 0.5);
  }
}

// `changed` is called when the picture has to be drawn again, `renewed` when another dose has come, or none.
export function makeWash(model: Model, page: { legend: HTMLElement }, changed: () => void, renewed: () => void) {
  const bar = element("span", { class: "rr-dose-bar", "aria-hidden": "true" });
  const ends = element("span", { class: "rr-dose-ends" });
  const title = element("span", {});
  const least = element("input", { type: "number", min: "0", step: "any", class: "rr-rate" });
  const opacity = element("input", { type: "range", min: "0", max: "1", step: "0.05" });
  const unit = element("span", {});
  const root = element("div", { class: "rr-bar rr-dose", role: "group", "aria-label": "Dose" },
    title, element("span", { class: "rr-dose-scale" }, bar, ends),
    element("label", {}, "From ", least, " ", unit), element("label", {}, "Opacity ", opacity));
  function wash(): Wash | null {
    const found = model.get("wash");
    if (!found.colours) return null;
    return { ...found, threshold: model.get("dose_threshold"), opacity: model.get("dose_opacity") };
  }
  function follow() {
    least.value = show(model.get("dose_threshold"));
    opacity.value = String(model.get("dose_opacity"));
    changed();
  }
  function build() {
    const found = wash();
    if (!found) root.remove();
    else {
      page.legend.after(root);
      title.textContent = `Dose ${found.title}`.trim();
      unit.textContent = found.unit;
      ends.replaceChildren(...[0, found.highest / 2, found.highest].map((dose) => element("span", {}, `${Number(dose.toPrecision(3))}`)));
      ends.lastElementChild!.append(` ${found.unit}`);
      const stops = Array.from({ length: 18 }, (_, i) => `rgb(${found.colours.slice(45 * i, 45 * i + 3).join()})`);
      bar.style.background = `linear-gradient(to right, ${stops.join()})`;
    }
    follow();
  }
  // At first no picture is there to come again: to ask for one would read a slice that nobody looks at.
  function renew() {
    build();
    renewed();
  }
  function write(name: "dose_threshold" | "dose_opacity", value: number) {
    if (value >= 0 && Number.isFinite(value)) {
      model.set(name, value);
      model.save_changes();
    } else follow();
  }
  least.addEventListener("change", () => write("dose_threshold", least.valueAsNumber));
  opacity.addEventListener("input", () => write("dose_opacity", opacity.valueAsNumber));
  const followed = { "change:wash": renew, "change:dose_threshold": follow, "change:dose_opacity": follow };
  for (const [event, action] of Object.entries(followed)) model.on(event, action);
  return {
    wash, build,
    stop() {
      for (const [event, action] of Object.entries(followed)) model.off(event, action);
    },
  };
}
