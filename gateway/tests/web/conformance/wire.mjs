// The way between a reader and the gateway: a wire that can be cut, nginx, and the bytes themselves.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const CONF = new URL("../../../../deploy/nginx/framewire.conf", import.meta.url);

/** A wire to an address, `cut` as a network is: nobody is told why. Gives its own address. */
export async function wire(to) {
  const { hostname, port } = new URL(to);
  const ends = new Set();
  const server = createServer((near) => {
    const far = connect(Number(port), hostname);
    for (const [end, other] of [
      [near, far],
      [far, near],
    ]) {
      ends.add(end);
      end.on("error", () => {});
      end.on("close", () => {
        ends.delete(end);
        other.destroy();
      });
    }
    near.pipe(far).pipe(near);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const cut = () => ends.forEach((end) => end.resetAndDestroy());
  return {
    base: `http://127.0.0.1:${server.address().port}`,
    cut,
    close() {
      server.close();
      cut();
    },
  };
}

/** A port that nobody had a moment ago. */
async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

/** Runs nginx with the configuration that ships, in front of a gateway. */
export async function nginx(gateway) {
  const folder = await mkdtemp(join(tmpdir(), "fw-nginx."));
  const port = await freePort();
  const shipped = (await readFile(CONF, "utf8"))
    .replace("server 127.0.0.1:8080;", `server ${new URL(gateway).host};`)
    .replace("listen 80;", `listen 127.0.0.1:${port};`);
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
  const whole = [
    "daemon off; master_process off;",
    `pid ${folder}/pid; error_log ${folder}/error.log;`,
    `events {} http { access_log ${folder}/access.log;`,
    ...temporary.map((name) => `${name}_temp_path ${folder}/${name};`),
    // What distributions turn on for everything, and a stream must survive.
    "gzip on; gzip_types *; gzip_proxied any;",
    shipped,
    "}",
  ].join("\n");
  await writeFile(join(folder, "nginx.conf"), whole);
  const process = spawn("nginx", ["-c", join(folder, "nginx.conf"), "-p", folder], {
    stdio: "inherit",
  });
  const base = `http://127.0.0.1:${port}`;
  await answers(base, process);
  return {
    base,
    log: () => readFile(join(folder, "access.log"), "utf8"),
    async close() {
      process.kill("SIGTERM");
      if (process.exitCode === null) await once(process, "exit");
      await rm(folder, { recursive: true });
    },
  };
}

/** Waits until an address answers, or its process has ended. */
async function answers(base, process) {
  for (;;) {
    assert.equal(process.exitCode, null, "nginx has ended; the lines above say why");
    try {
      return await fetch(`${base}/healthz`);
    } catch {
      await new Promise(setImmediate);
    }
  }
}

/** Reads a stream's own bytes until `enough` says so of its frames; gives head and text. */
export async function raw(base, token, headers, enough) {
  const stop = new AbortController();
  const response = await fetch(`${base}/v1/events`, {
    headers: { authorization: `Bearer ${token}`, ...headers },
    signal: stop.signal,
  });
  let text = "";
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  for await (const bytes of response.body) {
    text += decoder.decode(bytes, { stream: true });
    const whole = text.lastIndexOf("\n\n");
    if (whole >= 0 && enough(frames(text.slice(0, whole + 2)))) break;
  }
  stop.abort();
  return { response, text: text.slice(0, text.lastIndexOf("\n\n") + 2) };
}

/**
 * Reads frames as strictly as the standard's grammar allows a sender to be (HTML, section 9.2.5):
 * whole frames, known fields, one line of data each, LF alone, no mark before the first.
 */
export function frames(text) {
  assert.ok(text.endsWith("\n\n"), "the last frame is whole");
  assert.ok(!text.includes("\r"), "a line ends with LF alone");
  assert.ok(!text.includes("\0") && !text.includes("\uFEFF"), "neither NUL nor a byte order mark");
  return text
    .slice(0, -2)
    .split("\n\n")
    .map((frame) => {
      const fields = {};
      for (const line of frame.split("\n")) {
        const [, name, value] = /^(event|data|id|retry): (.+)$/.exec(line) ?? [];
        assert.ok(name, `a field that is known and has a value, not ${JSON.stringify(line)}`);
        assert.ok(!(name in fields), `${name} stands once in a frame`);
        fields[name] = value;
      }
      assert.ok(fields.event && fields.data, "a frame has a name and data");
      return fields;
    });
}
