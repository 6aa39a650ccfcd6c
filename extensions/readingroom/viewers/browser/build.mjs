// Builds what runs in the browser into ../built: a file for each widget, one for the extension of JupyterLab, and one that
// draws volumes, which the server hands out when a widget needs it. With --check it writes nothing, and fails where a built
// file is not what the sources give.

import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { build } from "esbuild";

const SOURCES = import.meta.dirname;
const BUILT = join(SOURCES, "..", "built");
const MODULES = join(SOURCES, "..", "..", "..", "..", "node_modules");
const WIDGETS = ["browse", "hang", "header_table", "histogram", "rendering", "series", "sheet", "slide"];

const onlyCheck = process.argv.includes("--check");
const built = (names, format) => build({
  entryPoints: names.map((name) => join(SOURCES, `${name}.ts`)),
  outdir: BUILT,
  bundle: true,
  minify: true,
  format,
  target: "es2022",
  charset: "utf8",
  legalComments: "none",
  logLevel: "warning",
  metafile: true,
  write: false,
});

// Licences ask to go with every copy: of each package that is in the file, its own.
function licencesOf(inputs) {
  const packages = new Set(inputs.map((path) => /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1]).filter(Boolean));
  const texts = [...packages].sort().map((name) => {
    const folder = join(MODULES, name);
    const { version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    const file = readdirSync(folder).sort().find((one) => /^(licen[cs]e|copyright)/i.test(one));
    // Some have it at the end of their README only.
    const text = readFileSync(join(folder, file ?? "README.md"), "utf8").replaceAll("\r\n", "\n");
    return `${name} ${version} (${license})\n\n${(file ? text : text.slice(text.search(/^licen[cs]e/im))).trim()}`;
  });
  return `Parts of volume.js, and their licences.\n\n${texts.join(`\n\n${"-".repeat(80)}\n\n`)}\n`;
}

// JupyterLab loads its extensions as plain scripts.
const made = await Promise.all([built(WIDGETS, "esm"), built(["volume"], "esm"), built(["lab"], "iife")]);
const wanted = new Map(made.flatMap(({ outputFiles }) => outputFiles).map(({ path, text }) => [basename(path), text]));
wanted.set("volume.licences.txt", licencesOf(Object.keys(made[1].metafile.inputs)));
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
