// A histogram with the limits of the window. Counts come from Python; heights are square roots, so that few pixels show.

import type { RenderProps } from "@anywidget/types";

import { element, shapeElement } from "./page";

const WIDTH = 512;
const HEIGHT = 96;

interface Chart {
  counts: number[];
  edges: number[];
  // Of the window.
  limits: [number, number];
  text: string;
}

function render({ model, el }: RenderProps<{ chart: Chart }>) {
  const svg = shapeElement("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", class: "rr-histogram", preserveAspectRatio: "none" });
  const said = element("div");
  el.append(svg, said);
  function draw(): void {
    const { counts, edges, limits, text } = model.get("chart");
    said.textContent = text;
    svg.setAttribute("aria-label", `Histogram: ${text}`);
    const span = edges[edges.length - 1] - edges[0];
    const most = Math.sqrt(counts.reduce((a, b) => Math.max(a, b), 0));
    if (!(span > 0 && most > 0)) return svg.replaceChildren();
    const x = (value: number) => Math.min(Math.max(((value - edges[0]) / span) * WIDTH, 0), WIDTH);
    const bars = counts.map((n, i) => {
      const height = (Math.sqrt(n) / most) * (HEIGHT - 4);
      return shapeElement("rect", { x: x(edges[i]), y: HEIGHT - height, width: x(edges[i + 1]) - x(edges[i]), height });
    });
    const between = shapeElement("rect", { class: "rr-within", x: x(limits[0]), y: 0, width: x(limits[1]) - x(limits[0]), height: HEIGHT });
    svg.replaceChildren(between, ...bars);
  }
  model.on("change:chart", draw);
  draw();
  return () => model.off("change:chart", draw);
}

export default { render };
