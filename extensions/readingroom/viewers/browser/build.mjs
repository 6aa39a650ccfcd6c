// Builds the widgets' scripts: one file in ../built for each widget, and one for the extension of JupyterLab. With --check it writes nothing, and fails where a
// built file is not what the sources give.

import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { build } from "esbuild";

const SOURCES = import.meta.dirname;
const BUILT = join(SOURCES, "..", "built");
const WIDGETS = ["browse", "header_table", "histogram", "series", "sheet"];

const onlyCheck = process.argv.includes("--check");
const built = (names, format) => build({
  entryPoints: names.map((name) => join(SOURCES, `${name}.ts`)),
  outdir: BUILT,
  bundle: true,
  minify: true,
  format,
  target: "es2022",
  charset: "utf8",
  logLevel: "warning",
  write: false,
});
// JupyterLab loads its extensions as plain scripts.
const made = await Promise.all([built(WIDGETS, "esm"), built(["lab"], "iife")]);
const wanted = new Map(made.flatMap(({ outputFiles }) => outputFiles).map(({ path, text }) => [basename(path), text]));
mkdirSync(BUILT, { recursive: true });
const there = new Map(readdirSync(BUILT).map((name) => [name, readFileSync(join(BUILT, name), "utf8")]));
const wrong = [...new Set([...wanted.keys(), ...there.keys()])].filter((name) => wanted.get(name) !== there.get(name));
if (onlyCheck && wrong.length > 0) {
  console.error(`Not what the sources give: ${wrong.join(", ")}. Run: make scripts`);
  process.exit(1);
}
for (const name of wrong) {
  if (wanted.has(name)) writeFileSync(join(BUILT, name), wanted.get(name));
  else rmSync(join(BUILT, name));
}
