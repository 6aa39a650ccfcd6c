// A drawing made in Python, and its sliders: one request under way, and the last state is what is asked for next.

import type { RenderProps } from "@anywidget/types";

import { element, keepKeys } from "./page";

const PATIENCE_MS = 15000;
const STILL_MS = 1000;
const GONE = "The kernel was restarted or has ended, so this picture is gone: run the cell again.";

function dark() {
  const light = document.body.dataset.jpThemeLight;
  return light ? light === "false" : matchMedia("(prefers-color-scheme: dark)").matches;
}

interface Control {
  trait: string;
  label: string;
  least: number;
  most: number;
  step: number;
  // Down and up, as KeyboardEvent.key names them.
  keys: [string, string];
}

type About = { title: string; controls: Control[] };

// Besides `about`, a number for each control, under the name that the control gives.
type Traits = { about: About; [trait: string]: About | number };

type Answer =
  | { k: "drawn"; n: number; mime: string; text: string }
  | { k: "error"; n: number | "still"; text: string };

type Question = { k: "draw"; n: number; at: Record<string, number>; dark: boolean } | { k: "still"; n: "still" };

function render({ model, el }: RenderProps<Traits>) {
  const { title, controls } = model.get("about");
  const picture = element("img", { class: "rr-drawn", alt: "" });
  const stage = element("div", { class: "rr-sheet-stage", tabindex: 0, role: "group" }, picture);
  const status = element("div", { class: "rr-sheet-status", role: "status" });
  const bar = element("div", { class: "rr-sheet-bar" });
  const root = element("div", { class: "rr-sheet", "data-lm-suppress-shortcuts": "true" }, stage, bar, status);
  keepKeys(root);
  stage.setAttribute("aria-label", `${title}. ${controls.map((c) => `${c.label}: ${c.keys.join(" and ")}`).join("; ")}`);
  el.append(root);

  let asked = 0;
  let underWay: ReturnType<typeof setTimeout> | undefined;
  let stale = false;
  let url = "";

  function show(blob: Blob | null, text: string) {
    URL.revokeObjectURL(url);
    url = blob ? URL.createObjectURL(blob) : "";
    if (url) picture.src = url;
    else picture.removeAttribute("src");
    picture.alt = text;
    status.textContent = text;
  }

  // The comm of a kernel that was restarted takes nothing.
  function send(message: Question) {
    try {
      model.send(message);
    } catch {
      show(null, GONE);
    }
  }

  function settled() {
    clearTimeout(underWay);
    underWay = undefined;
    root.removeAttribute("aria-busy");
    if (stale) ask();
  }

  function ask() {
    stale = underWay !== undefined;
    if (stale) return;
    asked += 1;
    root.setAttribute("aria-busy", "true");
    underWay = setTimeout(() => {
      show(null, "The kernel does not answer. Restart it and run the cell again, or wait until it is idle.");
      settled();
    }, PATIENCE_MS);
    const at = Object.fromEntries(controls.map((control) => [control.trait, valueOf(control)]));
    send({ k: "draw", n: asked, at, dark: dark() });
  }

  // A withdrawal must be seen when nothing is asked for, too. It is told to every view of the model.
  const stillTimer = setInterval(() => {
    if (url && underWay === undefined && !document.hidden && root.offsetParent) send({ k: "still", n: "still" });
  }, STILL_MS);

  const answered = (content: Answer, buffers: DataView<ArrayBuffer>[]) => {
    if (content.k === "error" && content.n === "still") show(null, content.text);
    if (content.n !== asked) return;
    if (content.k === "drawn") show(new Blob([buffers[0]], { type: content.mime }), content.text);
    else show(null, content.text);
    settled();
  };
  model.on("msg:custom", answered);

  const valueOf = ({ trait }: Control) => model.get(trait) as number;
  function set(control: Control, value: number) {
    model.set(control.trait, Math.min(Math.max(value, control.least), control.most));
    model.save_changes();
  }

  const heard: [string, () => void][] = [];
  for (const control of controls) {
    const input = element("input", { type: "range", min: control.least, max: control.most, step: control.step });
    const told = element("output");
    const follow = () => {
      const value = valueOf(control);
      input.value = String(value);
      told.textContent = Number.isInteger(control.step) ? `${value + 1} of ${control.most + 1}` : String(value);
      ask();
    };
    input.addEventListener("input", () => set(control, Number(input.value)));
    model.on(`change:${control.trait}`, follow);
    heard.push([`change:${control.trait}`, follow]);
    bar.append(element("label", {}, `${control.label} `, input, told));
    follow();
  }
  if (!controls.length) ask();

  stage.addEventListener("keydown", (event) => {
    for (const control of controls) {
      const way = control.keys.indexOf(event.key);
      if (way < 0 || event.ctrlKey || event.metaKey || event.altKey) continue;
      event.preventDefault();
      set(control, valueOf(control) + (way ? control.step : -control.step));
    }
  });

  const theme = new MutationObserver(ask);
  theme.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });

  return () => {
    theme.disconnect();
    clearTimeout(underWay);
    clearInterval(stillTimer);
    URL.revokeObjectURL(url);
    model.off("msg:custom", answered);
    for (const [name, follow] of heard) model.off(name, follow);
  };
}

export default { render };
