// The controls below series that hang side by side: what is linked, and blinking.

import type { RenderProps } from "@anywidget/types";

import { element, keepKeys } from "./page";

const BLINK_MS = 500;
const SWITCHES = { position: "Same place", window: "Same window", zoom: "Same zoom", blink: "Blink" };

type Switch = keyof typeof SWITCHES;
type Traits = Record<Switch, boolean> & { front: number; count: number; notes: string };

function render({ model, el }: RenderProps<Traits>) {
  const button = (text: string) => element("button", { type: "button" }, text);
  const switches = Object.entries(SWITCHES).map(([name, text]) => [name as Switch, button(text)] as const);
  const link = button("Link what is shown");
  link.title = "The pictures on the screen show the same place: scroll from here";
  const play = button("Alternate");
  const notes = element("div", { role: "status" });
  const root = element("div", { class: "rr-hang", "data-lm-suppress-shortcuts": "true" },
    element("div", { class: "rr-bar" }, ...switches.map(([, made]) => made), link, play), notes);
  keepKeys(root);

  let timer: ReturnType<typeof setInterval> | undefined;
  function turn() {
    model.set("front", (model.get("front") + 1) % model.get("count"));
    model.save_changes();
  }
  function setPlaying(on: boolean) {
    clearInterval(timer);
    timer = on ? setInterval(turn, BLINK_MS) : undefined;
    play.textContent = on ? "Stop" : "Alternate";
  }
  function draw() {
    for (const [name, made] of switches) made.setAttribute("aria-pressed", String(model.get(name)));
    play.hidden = !model.get("blink");
    if (play.hidden) setPlaying(false);
    notes.textContent = model.get("notes");
  }
  for (const [name, made] of switches) {
    made.addEventListener("click", () => {
      model.set(name, !model.get(name));
      model.save_changes();
    });
  }
  link.addEventListener("click", () => model.send({ k: "link" }));
  play.addEventListener("click", () => setPlaying(timer === undefined));
  model.on("change", draw);
  draw();
  el.append(root);
  return () => {
    setPlaying(false);
    model.off("change", draw);
  };
}

export default { render };
