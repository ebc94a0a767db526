// The client as a package: what is in it, and that it can be used from there.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const client = fileURLToPath(new URL("../../../web/client/", import.meta.url));

const run = (program, args, cwd) =>
  execFileSync(program, args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });

test("the package has every module, the types, the read-me and both licences, and nothing else", () => {
  const [{ name, files }] = JSON.parse(run("npm", ["pack", "--dry-run", "--json"], client));
  assert.equal(name, "framewire-client");
  const packed = files.map(({ path }) => path).sort();
  const modules = readdirSync(client).filter((file) => file.endsWith(".js"));
  const others = ["LICENSE-APACHE", "LICENSE-MIT", "README.md", "framewire.d.ts", "package.json"];
  assert.deepEqual(packed, [...modules, ...others].sort());
});

test("what was packed can be imported by its name, and needs nothing", () => {
  const project = mkdtempSync(join(tmpdir(), "fw-package."));
  try {
    const [{ filename }] = JSON.parse(
      run("npm", ["pack", "--json", "--pack-destination", project], client),
    );
    const home = join(project, "node_modules/framewire-client");
    mkdirSync(home, { recursive: true });
    run("tar", ["-xzf", join(project, filename), "-C", home, "--strip-components=1"], project);
    const { dependencies, version } = JSON.parse(readFileSync(join(home, "package.json"), "utf8"));
    assert.equal(dependencies, undefined);
    assert.match(version, /^\d+\.\d+\.\d+$/);
    const use = 'import { Framewire } from "framewire-client"; console.log(typeof Framewire);';
    writeFileSync(join(project, "use.mjs"), use);
    assert.equal(run(process.execPath, ["use.mjs"], project), "function\n");
  } finally {
    rmSync(project, { recursive: true, force: true });
  }
});
