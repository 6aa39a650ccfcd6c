// The grid of a dataset's series. Only tiles on the screen are in the page, and only their words and pictures are asked for.

import type { AnyModel, RenderProps } from "@anywidget/types";

import { element, keepAsking, keepKeys } from "./page";
import { makeWire, type Answer, type Failure } from "./wire";

const WIDE = 148;
const HIGH = 176;
const SPARE_ROWS = 1;
const PAGE = 200;
const PAGES = 100;
const PAGES_IN_FLIGHT = 2;
const THUMBS_IN_FLIGHT = 4;
const CACHE_BYTES = 32 * 1024 * 1024;
// What is only scrolled past is not read: each read is on the record.
const SETTLED_MS = 150;
const STILL_MS = 2000;

// ---- What is asked, and a cache by bytes of what came back ----

type Id = number;
// Number, title, whether it has pictures, what else is known, images.
type Row = [id: Id, title: string, pictured: boolean, line: string, images: number];

interface About {
  label: string;
  count: number;
  facets: Record<string, string>;
  known: Record<string, boolean>;
}

interface Found {
  total: number;
  counts: Record<string, [value: string, count: number][]>;
  // Of this answer to filters and search: places mean other series in the next.
  answer: number;
}

type Traits = {
  about: About;
  found: Found;
  filters: Record<string, string[]>;
  search: string;
};

type Model = AnyModel<Traits>;

interface RowsMessage {
  k: "rows";
  n: string;
  // null: filters have changed meanwhile.
  rows: Row[] | null;
}

interface ThumbMessage {
  k: "thumb";
  n: string;
  id: Id;
  shape: [rows: number, columns: number, samples?: number];
}

// What is asked, and what answers it.
type Questions = {
  rows: { asked: { from: number; answer: number }; told: RowsMessage };
  thumb: { asked: { id: Id }; told: ThumbMessage };
  open: { asked: { id: Id }; told: { k: "opened"; n: string } };
  still: { asked: object; told: { k: "still"; n: string } };
};

type Wire = ReturnType<typeof makeWire<Questions>>;

function makeCache() {
  const kept = new Map<Id, ImageData>();
  let held = 0;
  return {
    get(id: Id) {
      const found = kept.get(id);
      if (found) {
        // Used last, dropped last.
        kept.delete(id);
        kept.set(id, found);
      }
      return found;
    },
    put(id: Id, picture: ImageData) {
      kept.set(id, picture);
      held += picture.data.byteLength;
      for (const [old, dropped] of kept) {
        if (held <= CACHE_BYTES || old === id) break;
        kept.delete(old);
        held -= dropped.data.byteLength;
      }
    },
    clear() {
      kept.clear();
      held = 0;
    },
  };
}

function pictureOf({ message, buffers }: Answer<ThumbMessage>) {
  const [rows, columns, samples = 1] = message.shape;
  const grey = new Uint8Array(buffers[0].buffer, buffers[0].byteOffset, buffers[0].byteLength);
  const data = new Uint8ClampedArray(rows * columns * 4);
  for (let i = 0, j = 0; i < data.length; i += 4, j += samples) {
    data[i] = grey[j];
    data[i + 1] = grey[samples === 3 ? j + 1 : j];
    data[i + 2] = grey[samples === 3 ? j + 2 : j];
    data[i + 3] = 255;
  }
  return new ImageData(data, columns, rows);
}

// ---- The page ----

let pages = 0;

type Page = ReturnType<typeof makePage>;

function makePage(about: About) {
  const name = `rr-browse-${pages++}`;
  const search = element("input", { type: "search", placeholder: "Search ( / )", "aria-label": "Search description, patient, UID" });
  const clear = element("button", { type: "button" }, "Clear filters");
  const open = element("button", { type: "button" }, "Open");
  const status = element("span", { class: "rr-browse-status", role: "status" });
  const facets = element("div", { class: "rr-facets" });
  const list = element("div", { class: "rr-tiles", role: "listbox", tabindex: "0", "aria-label": `Series of ${about.label}` });
  const space = element("div", { class: "rr-space", role: "presentation" });
  list.append(space);
  const error = element("p", { class: "rr-browse-error", role: "alert", hidden: "" });
  const said = element("p", { class: "rr-browse-said", role: "status" });
  const note = element("p", { class: "rr-browse-note" },
    "Each thumbnail reads the middle image of its series, which is on the record like any other read. "
    + "What you only scroll past is not read. Arrow keys move, Enter opens, / searches.");
  const root = element("div", { class: "rr-browse", "data-lm-suppress-shortcuts": "true" },
    element("div", { class: "rr-browse-bar" }, search, clear, open, status),
    facets, error, list, said, note);
  return { name, search, clear, open, status, facets, list, space, error, said, note, root };
}

interface Tile {
  root: HTMLElement;
  canvas: HTMLCanvasElement;
  title: HTMLElement;
  line: HTMLElement;
  missing: HTMLElement;
  at: number;
  drawn: ImageData | null;
}

function makeTile(): Tile {
  const canvas = element("canvas", { width: "96", height: "96", "aria-hidden": "true" });
  const title = element("div", { class: "rr-tile-title" });
  const line = element("div", { class: "rr-tile-line" });
  const missing = element("div", { class: "rr-tile-missing" });
  const root = element("div", { class: "rr-tile", role: "option" }, element("div", { class: "rr-tile-picture" }, canvas, missing), title, line);
  return { root, canvas, title, line, missing, at: -1, drawn: null };
}

function paint(tile: Tile, picture: ImageData | null) {
  if (tile.drawn === picture) return;
  tile.drawn = picture;
  tile.canvas.width = picture?.width ?? 96;
  tile.canvas.height = picture?.height ?? 96;
  if (picture) tile.canvas.getContext("2d")!.putImageData(picture, 0, 0);
  tile.root.toggleAttribute("data-pictured", Boolean(picture));
}

// ---- Filters: what may be chosen, and how many series each choice would leave ----

interface Box {
  input: HTMLInputElement;
  number: HTMLElement;
  root: HTMLElement;
}

function makeFacets(model: Model, page: Page) {
  const about = model.get("about");
  function choose(facet: string, value: string, on: boolean) {
    const filters = { ...model.get("filters") };
    const rest = (filters[facet] ?? []).filter((one) => one !== value);
    filters[facet] = on ? [...rest, value] : rest;
    if (filters[facet].length === 0) delete filters[facet];
    model.set("filters", filters);
    model.save_changes();
  }
  const made = Object.entries(about.facets).map(([facet, title]) => {
    const summary = element("summary");
    const group = element("fieldset", {}, element("legend", {}, title));
    const root = element("details", { class: "rr-facet", "data-facet": facet }, summary, group);
    page.facets.append(root);
    return { facet, title, summary, group, boxes: new Map<string, Box>() };
  });
  return function show() {
    const { counts } = model.get("found");
    const filters = model.get("filters");
    for (const one of made) {
      const chosen = filters[one.facet] ?? [];
      one.summary.textContent = chosen.length ? `${one.title}: ${chosen.map((v) => v || "not told").join(", ")}` : one.title;
      if (!about.known[one.facet]) {
        one.group.replaceChildren(element("legend", {}, one.title), "not known in this version");
        continue;
      }
      const seen = new Set<string>();
      for (const [value, count] of counts[one.facet]) {
        seen.add(value);
        let box = one.boxes.get(value);
        if (!box) {
          const input = element("input", { type: "checkbox" });
          const number = element("span", { class: "rr-count" });
          box = { input, number, root: element("label", {}, input, ` ${value || "not told"} `, number) };
          input.addEventListener("change", () => choose(one.facet, value, input.checked));
          one.boxes.set(value, box);
        }
        box.input.checked = chosen.includes(value);
        box.number.textContent = count.toLocaleString("en");
        // Moving a box takes the focus from it.
        if (!box.root.isConnected) one.group.append(box.root);
      }
      for (const [value, box] of one.boxes) {
        if (seen.has(value)) continue;
        box.root.remove();
        one.boxes.delete(value);
      }
    }
  };
}

// ---- The grid ----

type Grid = ReturnType<typeof makeGrid>;

function makeGrid(model: Model, page: Page, wire: Wire) {
  const cache = makeCache();
  const failed = new Map<Id, string>();
  const rows = new Map<number, Row[]>(); // page of places -> rows
  const asked = new Set<number>();
  const reading = new Set<Id>();
  const tiles = new Map<number, Tile>(); // place -> tile
  const spare: Tile[] = [];
  let found = model.get("found");
  let at = 0;
  let first = 0;
  let last = -1;
  let ended = false;
  let stopped = false;
  let frame = 0;
  let settled: ReturnType<typeof setTimeout> | undefined;
  // Enter may be faster than the words of the series.
  let opens = -1;

  const across = () => Math.max(Math.floor(page.list.clientWidth / WIDE), 1);
  const rowAt = (place: number) => rows.get(Math.floor(place / PAGE))?.[place % PAGE];

  function fill(tile: Tile, place: number) {
    const row = rowAt(place);
    const columns = across();
    tile.at = place;
    tile.root.id = `${page.name}-${place}`;
    tile.root.style.transform = `translate(${(place % columns) * WIDE}px, ${Math.floor(place / columns) * HIGH}px)`;
    tile.root.setAttribute("aria-posinset", String(place + 1));
    tile.root.setAttribute("aria-setsize", String(found.total));
    tile.root.setAttribute("aria-selected", String(place === at));
    const [id, title, pictured, line, n]: [Id | null, ...unknown[]] & [unknown, string, boolean, string, number] = row ?? [null, "…", true, "", 0];
    tile.title.textContent = title;
    tile.line.textContent = row ? `${n} ${n === 1 ? "image" : "images"}${line ? `, ${line}` : ""}` : "";
    tile.root.title = row ? `${title}\n${tile.line.textContent}` : "";
    tile.root.setAttribute("aria-label", row ? `${title}, ${tile.line.textContent}` : "loading");
    paint(tile, id === null ? null : (cache.get(id) ?? null));
    tile.missing.textContent = !pictured ? "no picture" : (id === null ? "" : (failed.get(id) ?? ""));
  }

  function draw() {
    frame = 0;
    // Hidden, as while JupyterLab changes its theme: what is there stays until it has a size again.
    if (stopped || ended || page.list.clientHeight === 0) return;
    const columns = across();
    const height = Math.ceil(found.total / columns) * HIGH;
    page.space.style.height = `${height}px`;
    const top = Math.max(Math.floor(page.list.scrollTop / HIGH) - SPARE_ROWS, 0);
    const bottom = Math.ceil((page.list.scrollTop + page.list.clientHeight) / HIGH) + SPARE_ROWS;
    first = Math.min(top * columns, Math.max(found.total - 1, 0));
    last = Math.min(bottom * columns, found.total) - 1;
    for (const [place, tile] of tiles) {
      if (place >= first && place <= last) continue;
      tiles.delete(place);
      spare.push(tile);
    }
    for (let place = first; place <= last; place++) {
      let tile = tiles.get(place);
      if (!tile) {
        tile = spare.pop() ?? makeTile();
        tiles.set(place, tile);
        if (!tile.root.isConnected) page.space.append(tile.root);
      }
      fill(tile, place);
    }
    for (const tile of spare.splice(0)) tile.root.remove();
    if (tiles.has(at)) page.list.setAttribute("aria-activedescendant", `${page.name}-${at}`);
    else page.list.removeAttribute("aria-activedescendant");
    askRows();
  }
  function soon() {
    frame ||= requestAnimationFrame(draw);
  }
  // Pictures only when the grid has come to rest, and words as they come on the screen; what left it is not asked for.
  function moved() {
    soon();
    clearTimeout(settled);
    settled = setTimeout(askThumbs, SETTLED_MS);
  }

  function askRows() {
    if (last < first) return;
    for (let number = Math.floor(first / PAGE); number <= Math.floor(last / PAGE); number++) {
      if (rows.has(number) || asked.has(number) || asked.size >= PAGES_IN_FLIGHT) continue;
      asked.add(number);
      const { answer } = found;
      wire.ask("rows", { from: number * PAGE, answer }).then(({ message }) => {
        if (stopped || answer !== found.answer) return;
        asked.delete(number);
        if (message.rows) rows.set(number, message.rows.slice(0, PAGE));
        if (rows.size > PAGES) rows.delete(rows.keys().next().value!);
        if (opens === at) open();
        moved();
      }, () => asked.delete(number));
    }
  }

  function askThumbs() {
    if (stopped || ended) return;
    for (let place = first; place <= last && reading.size < THUMBS_IN_FLIGHT; place++) {
      const [id, , pictured] = rowAt(place) ?? [null, "", false] as const;
      if (id === null || !pictured || cache.get(id) || reading.has(id) || failed.has(id)) continue;
      reading.add(id);
      wire.ask("thumb", { id }).then((answer) => {
        reading.delete(id);
        if (stopped || ended) return;
        cache.put(id, pictureOf(answer));
        soon();
        askThumbs();
      }, (error: Failure) => {
        reading.delete(id);
        failed.set(id, "not readable");
        if (!error.ended) page.said.textContent = error.text;
        soon();
        askThumbs();
      });
    }
  }

  // Nothing that was read before stays.
  function end(text: string) {
    ended = true;
    cache.clear();
    rows.clear();
    for (const tile of tiles.values()) tile.root.remove();
    tiles.clear();
    spare.length = 0;
    page.list.removeAttribute("aria-activedescendant");
    page.list.hidden = true;
    page.facets.hidden = true;
    page.open.disabled = true;
    page.said.textContent = "";
    page.status.textContent = "";
    page.error.textContent = text;
    page.error.hidden = false;
  }
  wire.onEnded(end);
  const stopAsking = keepAsking(STILL_MS, page.list, () => !ended, () => wire.ask("still", {}));

  function reveal() {
    const top = Math.floor(at / across()) * HIGH;
    if (top < page.list.scrollTop) page.list.scrollTop = top;
    else if (top + HIGH > page.list.scrollTop + page.list.clientHeight) page.list.scrollTop = top + HIGH - page.list.clientHeight;
    moved();
  }
  function open() {
    const row = rowAt(at);
    opens = row ? -1 : at;
    if (!row || ended) return;
    page.said.textContent = `Opening ${row[1]} …`;
    wire.ask("open", { id: row[0] }).then(
      () => { page.said.textContent = `${row[1]} is open below.`; },
      (error: Failure) => { if (!error.ended) page.said.textContent = error.text; },
    );
  }
  return {
    moved,
    across,
    perScreen: () => across() * Math.max(Math.floor(page.list.clientHeight / HIGH), 1),
    go(place: number) {
      at = Math.min(Math.max(place, 0), Math.max(found.total - 1, 0));
      reveal();
    },
    at: () => at,
    last: () => found.total - 1,
    open,
    show() {
      found = model.get("found");
      rows.clear();
      asked.clear();
      at = 0;
      opens = -1;
      page.list.scrollTop = 0;
      if (ended) return;
      const all = model.get("about").count.toLocaleString("en");
      page.status.textContent = `${found.total.toLocaleString("en")} of ${all} series`;
      page.clear.disabled = !model.get("search") && Object.keys(model.get("filters")).length === 0;
      moved();
    },
    close() {
      stopped = true;
      stopAsking();
      clearTimeout(settled);
      cancelAnimationFrame(frame);
    },
  };
}

function listen(page: Page, grid: Grid, model: Model, signal: AbortSignal) {
  page.list.addEventListener("scroll", grid.moved, { signal, passive: true });
  page.list.addEventListener("click", (event) => {
    const tile = (event.target as Element).closest(".rr-tile");
    if (tile) grid.go(Number(tile.getAttribute("aria-posinset")) - 1);
  }, { signal });
  page.list.addEventListener("dblclick", () => grid.open(), { signal });
  page.open.addEventListener("click", () => grid.open(), { signal });
  page.clear.addEventListener("click", () => {
    page.search.value = "";
    model.set("search", "");
    model.set("filters", {});
    model.save_changes();
    page.list.focus();
  }, { signal });
  let typing: ReturnType<typeof setTimeout> | undefined;
  page.search.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => {
      model.set("search", page.search.value);
      model.save_changes();
    }, 200);
  }, { signal });
  const keys: Readonly<Record<string, () => void>> = {
    ArrowRight: () => grid.go(grid.at() + 1),
    ArrowLeft: () => grid.go(grid.at() - 1),
    ArrowDown: () => grid.go(Math.min(grid.at() + grid.across(), grid.last())),
    ArrowUp: () => grid.go(grid.at() - grid.across()),
    PageDown: () => grid.go(grid.at() + grid.perScreen()),
    PageUp: () => grid.go(grid.at() - grid.perScreen()),
    Home: () => grid.go(0),
    End: () => grid.go(grid.last()),
    Enter: () => grid.open(),
    "/": () => page.search.focus(),
  };
  page.list.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
    keys[event.key]();
    event.preventDefault();
  }, { signal });
  page.root.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.target === page.list) return;
    page.list.focus();
    event.stopImmediatePropagation();
  }, { signal });
  keepKeys(page.root);
}

function render({ model, el }: RenderProps<Traits>) {
  const page = makePage(model.get("about"));
  const wire = makeWire<Questions>(model);
  const grid = makeGrid(model, page, wire);
  const showFacets = makeFacets(model, page);
  const over = new AbortController();
  const found = () => {
    showFacets();
    if (document.activeElement !== page.search) page.search.value = model.get("search");
    grid.show();
  };
  el.append(page.root);
  listen(page, grid, model, over.signal);
  model.on("change:found", found);
  const watch = new ResizeObserver(() => grid.moved());
  watch.observe(page.list);
  found();
  return () => {
    over.abort();
    watch.disconnect();
    model.off("change:found", found);
    grid.close();
    wire.close();
  };
}

export default { render };
