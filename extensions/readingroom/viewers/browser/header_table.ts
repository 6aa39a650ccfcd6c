// A header's elements, to search in. Values come from files that nobody vouches for: they are set as text, never as HTML.

import type { RenderProps } from "@anywidget/types";

import { element, keepKeys } from "./page";

const MOST = 500;

// Depth, tag, name and VR, a value for each side (null: absent), and whether the sides differ.
type Row = [depth: number, tag: string, name: string, vr: string, ...values: (string | null)[], differs: boolean];

type Traits = {
  table: { titles: string[]; cut: number; rows: Row[] };
  search: string;
  differences: boolean;
};

interface Whole {
  k: "whole";
  row: number;
  side: number;
  text: string;
}

function render({ model, el }: RenderProps<Traits>) {
  const { titles, cut, rows } = model.get("table");
  const wholes = new Map<string, string>();
  const search = element("input", { type: "search", placeholder: "Tag, name or value", "aria-label": "Search the header" });
  const differences = element("input", { type: "checkbox" });
  const only = element("label", {}, differences, " Only what differs");
  only.hidden = titles.length < 2;
  const said = element("span", { role: "status", "aria-live": "polite" });
  const body = element("tbody", {});
  const heads = ["Tag", "Name", "VR", ...titles].map((title) => element("th", { scope: "col" }, title));
  const scroll = element("div", { class: "rr-header-rows", tabindex: "0", role: "region", "aria-label": `Header of ${titles.join(" and ")}` },
    element("table", {}, element("thead", {}, element("tr", {}, ...heads)), body));
  const root = element("div", { class: "rr-header", "data-lm-suppress-shortcuts": "true" },
    element("div", { class: "rr-header-bar" }, search, only, said), scroll);

  // A line of letters for each row, once: a key press searches in thousands of them.
  const paths: string[] = [];
  const letters = rows.map(([depth, tag, name, , ...rest]) => {
    paths.length = depth;
    paths.push(depth % 2 ? `[${tag.slice(5)}]` : tag);
    return [paths.join(""), name, ...rest].filter((text) => typeof text === "string").map((text) => text.toLowerCase());
  });

  function value(row: number, side: number) {
    const text = rows[row][4 + side] as string | null;
    const whole = wholes.get(`${row} ${side}`);
    const cell = element("td", {});
    if (text === null) cell.append(element("i", {}, "absent"));
    else if (whole !== undefined) cell.append(whole);
    else if (text.length <= cut) cell.append(text);
    else {
      const more = element("button", { type: "button", "aria-label": `The whole value of ${rows[row][2]}` }, "…");
      more.addEventListener("click", () => model.send({ k: "whole", row, side }));
      cell.append(text.slice(0, cut), more);
    }
    cell.dataset.at = `${row} ${side}`;
    return cell;
  }
  function line(row: number) {
    const [depth, tag, name, vr] = rows[row];
    const differs = titles.length > 1 && rows[row].at(-1);
    const first = element("th", { scope: "row" }, tag);
    first.style.paddingLeft = `${0.5 + depth}em`;
    const made = element("tr", differs ? { "data-differs": "" } : {}, first,
      element("td", {}, name, ...(differs ? [element("span", { class: "rr-differs" }, "differs")] : [])), element("td", {}, vr),
      ...titles.map((_, side) => value(row, side)));
    return made;
  }
  function choose() {
    const sought = model.get("search").toLowerCase();
    if (document.activeElement !== search) search.value = model.get("search");
    differences.checked = model.get("differences");
    const found: number[] = [];
    for (let i = 0; i < rows.length; i++) {
      if (differences.checked && !rows[i].at(-1)) continue;
      if (letters[i].some((text) => text.includes(sought))) found.push(i);
    }
    body.replaceChildren(...found.slice(0, MOST).map(line));
    const rest = found.length > MOST ? `, the first ${MOST} shown` : "";
    said.textContent = `${found.length} of ${rows.length} elements${rest}`;
  }
  function hear(message: Whole) {
    if (message.k !== "whole") return;
    wholes.set(`${message.row} ${message.side}`, message.text);
    const cell = body.querySelector<HTMLElement>(`td[data-at="${message.row} ${message.side}"]`);
    if (!cell) return;
    const focused = cell.contains(document.activeElement);
    cell.replaceChildren(message.text);
    // The button is gone: the focus stays where it was, and does not fall back to the page's beginning.
    if (focused) {
      cell.tabIndex = -1;
      cell.focus();
    }
  }
  search.addEventListener("input", () => {
    model.set("search", search.value);
    model.save_changes();
  });
  differences.addEventListener("change", () => {
    model.set("differences", differences.checked);
    model.save_changes();
  });
  keepKeys(root);
  model.on("change:search", choose);
  model.on("change:differences", choose);
  model.on("msg:custom", hear);
  el.append(root);
  choose();
  return () => {
    model.off("change:search", choose);
    model.off("change:differences", choose);
    model.off("msg:custom", hear);
  };
}

export default { render };
