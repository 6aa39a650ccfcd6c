// What the widgets' scripts share: elements of a page and of a drawing, with their attributes, whose keys they get,
// how a number is written, writes that wait, words for who waits, and whether what is shown may be shown still.

type Attributes = Record<string, string | number>;

export function element<K extends keyof HTMLElementTagNameMap>(tag: K, attributes: Attributes = {}, ...children: (Node | string)[]): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  made.append(...children);
  return made;
}

export function shapeElement<K extends keyof SVGElementTagNameMap>(tag: K, attributes: Attributes): SVGElementTagNameMap[K] {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  return made;
}

// A widget's keys are its own: the notebook takes the focus away at any key that reaches it. Escape, where the widget
// itself has no use for it, is the way back, to the cell in command mode.
export function keepKeys(root: HTMLElement) {
  // Notebook 7 looks at keys before they reach the widget, and first at the element that has the focus: where that does
  // not carry the mark itself, `a` adds a cell and `d` twice deletes one. JupyterLab looks at what reaches the page.
  root.addEventListener("focusin", ({ target }) => (target as Element).setAttribute("data-lm-suppress-shortcuts", "true"));
  root.addEventListener("keydown", (event) => {
    const cell = event.key === "Escape" ? root.closest<HTMLElement>(".jp-Cell") : null;
    if (event.key !== "Escape" || cell) event.stopPropagation();
    cell?.focus({ preventScroll: true });
  });
}

export function show(number: number): string {
  return String(Math.round(number * 1000) / 1000);
}

// At most one write to the kernel every `ms`, the last one never lost.
export function throttled(ms: number, write: () => void) {
  let timer: ReturnType<typeof setTimeout> | null = null;
  let again = false;
  later.waits = () => again;
  return later;
  function later() {
    if (timer !== null) {
      again = true;
      return;
    }
    write();
    timer = setTimeout(() => {
      timer = null;
      if (again) {
        again = false;
        later();
      }
    }, ms);
  }
}

// A withdrawal must be seen when nothing else is asked for: every `ms` while `place` is on the screen. One question at a
// time: a busy kernel finds one when it has done, and not hundreds. A refusal is told to every view by itself, and no
// answer says nothing of the access.
export function keepAsking(ms: number, place: HTMLElement, isShown: () => boolean, ask: () => Promise<unknown>) {
  let asking = false;
  const timer = setInterval(() => {
    if (asking || document.hidden || !place.offsetParent || !isShown()) return;
    asking = true;
    ask().catch(() => {}).finally(() => { asking = false; });
  }, ms);
  return () => clearInterval(timer);
}

// Says after `ms` that the kernel is waited for, unless what began has ended by then; what begins again waits anew.
export function makePatience(ms: number, say: (words: string) => void) {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const end = () => clearTimeout(timer);
  function begin() {
    end();
    timer = setTimeout(say, ms, "waiting for the kernel, which may be busy");
  }
  return { begin, end };
}
