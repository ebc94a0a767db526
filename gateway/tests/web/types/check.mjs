// Checks the types of the client with the TypeScript compiler, all of its strictness on.
//
// Three things: the modules are sound by themselves (`--checkJs`), what `framewire.d.ts` promises is
// what they are (`matches.ts`), and who uses it is helped, and stopped where wrong (`usage.ts`: a line
// after `@ts-expect-error` must not compile). A `.d.ts` hides the `.js` beside it from whoever imports
// that, so the face is checked under another name, in a copy.

import { execFileSync } from "node:child_process";
import { cpSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const client = join(here, "../../../web/client");
const compiler = join(dirname(createRequire(import.meta.url).resolve("typescript/package.json")), "bin/tsc");

const OPTIONS = {
  strict: true,
  noImplicitReturns: true,
  noFallthroughCasesInSwitch: true,
  noEmit: true,
  allowJs: true,
  checkJs: true,
  target: "es2022",
  module: "esnext",
  moduleResolution: "bundler",
  lib: ["es2023", "dom", "dom.iterable", "dom.asynciterable"],
  types: [],
};

const copy = mkdtempSync(join(tmpdir(), "fw-types."));
try {
  cpSync(client, copy, { recursive: true });
  for (const file of ["matches.ts", "usage.ts"]) cpSync(join(here, file), join(copy, file));
  renameSync(join(copy, "framewire.js"), join(copy, "face.js"));
  const config = join(copy, "tsconfig.json");
  writeFileSync(config, JSON.stringify({ compilerOptions: OPTIONS, include: ["*.js", "*.ts"] }));
  execFileSync(process.execPath, [compiler, "-p", config, "--pretty", "false"], { stdio: "inherit" });
  console.log("the client's types hold");
} catch (error) {
  process.exitCode = error.status ?? 1;
  if (error.status === undefined) console.error(error);
} finally {
  rmSync(copy, { recursive: true, force: true });
}
