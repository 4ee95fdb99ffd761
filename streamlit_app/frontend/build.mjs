// Bundles both components into dist/, with the licences of the bundled packages and a hash of the
// sources.
//
//   node build.mjs [folder]
import { createHash } from "node:crypto";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join, relative, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";

import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const out = resolve(process.argv[2] ?? join(here, "dist"));

const { metafile } = await build({
  absWorkingDir: here,
  entryPoints: { canvas: "src/canvas/index.tsx", editor: "src/editor/index.ts" },
  outdir: out,
  bundle: true,
  format: "esm",
  target: "es2022",
  jsx: "automatic",
  minify: true,
  legalComments: "none",
  charset: "utf8",
  define: { "process.env.NODE_ENV": '"production"' },
  // Style sheets are part of the script, so that layout is never measured without them.
  loader: { ".css": "text" },
  logLevel: "info",
  metafile: true,
});
writeFileSync(join(out, "LICENSES.txt"), licences(Object.keys(metafile.inputs)));
writeFileSync(join(out, "sources.sha256"), `${sourcesHash()}\n`);

/** The licences of the bundled packages. */
function licences(inputs) {
  const packages = inputs.map((path) => /^node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1]);
  const texts = [...new Set(packages)].filter(Boolean).sort().map((name) => {
    const folder = join(here, "node_modules", name);
    const { version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
    const text = file ? readFileSync(join(folder, file), "utf8").trim() : "";
    return `${name} ${version} (${license})\n\n${text}\n`;
  });
  return texts.join(`\n${"-".repeat(80)}\n\n`);
}

/** A hash of everything that determines the bundles; tests/streamlit_app/frontend repeats it. */
function sourcesHash() {
  const hash = createHash("sha256");
  for (const path of sources().sort()) {
    hash.update(`${path}\0`);
    hash.update(readFileSync(join(here, path)));
  }
  return hash.digest("hex");
}

function sources() {
  const inSrc = readdirSync(join(here, "src"), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(here, join(entry.parentPath, entry.name)).split(sep).join("/"));
  return ["build.mjs", "package.json", "package-lock.json", ...inSrc];
}
