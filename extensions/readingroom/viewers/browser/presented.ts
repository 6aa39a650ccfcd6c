// What a presentation state draws and writes over a picture, and what of the state is not followed.

import { element, shapeElement } from "./page";
import type { About, Graphic, Model, Words } from "./traits";

interface Page {
  layer: HTMLElement;
  outline: HTMLElement;
  legend: HTMLElement;
}

export function makePresented(model: Model, about: About, page: Page) {
  const svg = shapeElement("svg", {
    class: "rr-shapes", viewBox: `0 0 ${about.columns} ${about.rows}`, preserveAspectRatio: "none", "aria-hidden": "true",
  });
  const words = element("div", { class: "rr-marks" });
  const button = element("button", { type: "button", "aria-keyshortcuts": "g", title: "Graphics and words of the presentation state (G)" }, "Graphics");
  if (about.notes) {
    page.layer.prepend(svg, words);
    page.outline.after(button);
    if (about.notes.length) page.legend.after(element("p", { class: "rr-notes" }, `Not shown as the presentation state says: ${about.notes.join("; ")}.`));
  }
  function follow() {
    const on = model.get("graphics");
    button.setAttribute("aria-pressed", String(on));
    svg.style.display = words.style.display = on ? "" : "none";
  }
  function toggle() {
    if (!about.notes) return;
    model.set("graphics", !model.get("graphics"));
    model.save_changes();
  }
  button.addEventListener("click", toggle);
  model.on("change:graphics", follow);
  follow();
  return {
    toggle,
    draw({ graphics = [], texts = [] }: { graphics?: Graphic[]; texts?: Words[] }) {
      svg.replaceChildren(...graphics.flatMap(({ line, filled, colour }) => {
        const points = line.map(([row, column]) => `${column + 0.5},${row + 0.5}`).join(" ");
        const drawn = shapeElement("polyline", { class: "rr-contour", points });
        drawn.style.stroke = `rgb(${colour.join()})`;
        if (filled) drawn.style.fill = drawn.style.stroke;
        return [shapeElement("polyline", { class: "rr-halo", points }), drawn];
      }));
      words.replaceChildren(...texts.map(({ text, at: [row, column], colour }) => {
        const said = element("span", { class: "rr-words" }, text);
        said.style.cssText = `left: ${(100 * (column + 0.5)) / about.columns}%; top: ${(100 * (row + 0.5)) / about.rows}%; color: rgb(${colour.join()})`;
        return said;
      }));
    },
    stop: () => model.off("change:graphics", follow),
  };
}
