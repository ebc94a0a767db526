// Five readers of event streams that are not ours, behind one face: `open(way, said)` reads the
// session's stream until `close`, goes on by itself after a cut, and says every event it gives out.

import { spawn } from "node:child_process";
import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

import { EventSource } from "eventsource";

/** All that a gateway says; a page has to name what it wants to hear. */
const EVENTS = [
  ...["queued", "started", "preview", "frame-ready", "completed", "failed", "cancelled"],
  ...["progress", "position", "sync", "ping", "bye"],
];
const PYTHON = process.env.FRAMEWIRE_PYTHON ?? "python3";
const LIBRARY = new URL("../node_modules/@microsoft/fetch-event-source/lib/esm/", import.meta.url);

/** Runs a program again and again, each time after the last id that it gave. */
function program(command, parse) {
  return ({ base, token }, said) => {
    let child;
    let last = "";
    let closed = false;
    const begin = () => {
      if (closed) return;
      let heard = false;
      child = spawn(...command(`${base}/v1/events`, token, last));
      parse(createInterface({ input: child.stdout }), (event) => {
        heard = true;
        if (event.id) last = event.id;
        said(event);
      });
      child.once("close", (code) => {
        // Cut off it has heard something; else it can't run at all, and never will.
        if (!closed && !heard) throw new Error(`${child.spawnfile} gave up: ${code}`);
        begin();
      });
    };
    begin();
    return {
      close() {
        closed = true;
        child.kill("SIGKILL");
      },
    };
  };
}

const curl = program(
  (url, token, after) => {
    const headers = [`Authorization: Bearer ${token}`, ...(after ? [`Last-Event-ID: ${after}`] : [])];
    return ["curl", ["-sN", ...headers.flatMap((header) => ["-H", header]), url]];
  },
  (lines, said) => {
    let event = {};
    lines.on("line", (line) => {
      if (line === "") {
        if (event.data) said(event);
        event = {};
        return;
      }
      const [, name, value] = /^(\w+): (.*)$/.exec(line) ?? [];
      event[name] = value;
    });
  },
);

const python = program(
  (url, token, after) => {
    const script = fileURLToPath(new URL("reader.py", import.meta.url));
    return [PYTHON, [script, url, token, after], { stdio: ["ignore", "pipe", "inherit"] }];
  },
  (lines, said) => lines.on("line", (line) => said(JSON.parse(line))),
);

/** The npm package, in Node. */
function eventsource({ base, token }, said) {
  const source = new EventSource(`${base}/v1/events`, {
    fetch: (url, init) =>
      fetch(url, { ...init, headers: { ...init.headers, authorization: `Bearer ${token}` } }),
  });
  for (const name of EVENTS) {
    source.addEventListener(name, ({ lastEventId, data }) =>
      said({ id: lastEventId, event: name, data }),
    );
  }
  return source;
}

/** A page of the gateway in which a script reads; `begin` is that script. */
function inPage(begin) {
  return async ({ base, token, browser }, said) => {
    const context = await browser.newContext();
    const { hostname } = new URL(base);
    await context.addCookies([
      { name: "framewire", value: token, domain: hostname, path: "/", httpOnly: true },
    ]);
    // Its modules name each other without their endings, as bundlers want it.
    await context.route("**/library/*", async (route) => {
      const name = new URL(route.request().url()).pathname.split("/").at(-1).replace(/\.js$/, "");
      const body = await readFile(new URL(`${name}.js`, LIBRARY), "utf8");
      await route.fulfill({ body, contentType: "text/javascript" });
    });
    const page = await context.newPage();
    await page.exposeFunction("said", said);
    await page.goto(`${base}/client/framewire.js`);
    await page.evaluate(begin, EVENTS);
    return { close: () => context.close() };
  };
}

const chromium = inPage((names) => {
  const source = new EventSource("/v1/events");
  for (const name of names) {
    source.addEventListener(name, ({ lastEventId, data }) =>
      window.said({ id: lastEventId, event: name, data }),
    );
  }
});

const fetchEventSource = inPage(async () => {
  const { fetchEventSource } = await import("/library/fetch.js");
  fetchEventSource("/v1/events", {
    openWhenHidden: true,
    onmessage: (event) => window.said(event),
    // It takes an end for the end unless it is told that it is none.
    onclose: () => {
      throw new Error("closed");
    },
  });
});

export const READERS = {
  "Chromium's EventSource": chromium,
  "npm eventsource": eventsource,
  "npm @microsoft/fetch-event-source": fetchEventSource,
  "PyPI sseclient-py": python,
  "curl -N": curl,
};
