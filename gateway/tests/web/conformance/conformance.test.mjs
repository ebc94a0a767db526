// Readers that are not ours, on the gateway itself and through nginx with the configuration that
// ships: each is cut off midway, goes on, and has seen every event of its job once and in order.
//
// FRAMEWIRE_URL says where the gateway is; FRAMEWIRE_PYTHON is a Python that has sseclient-py and
// requests. Nothing here sleeps: waiting is on events.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { launch } from "../browser.mjs";
import { READERS } from "./readers.mjs";
import { frames, nginx, raw, wire } from "./wire.mjs";

const GATEWAY = process.env.FRAMEWIRE_URL ?? "http://127.0.0.1:8080";
const INPUT = { prompt: "a harbour in fog", width: 64, height: 64, steps: 8, step_ms: 40, n: 2 };
const CONTROL = new Set(["sync", "ping", "bye", "progress", "position"]);

async function ask(base, token, method, path, body) {
  const headers = { "content-type": "application/json" };
  if (token) headers.authorization = `Bearer ${token}`;
  const response = await fetch(base + path, { method, headers, body: body && JSON.stringify(body) });
  assert.ok(response.ok, `${method} ${path}: ${response.status} ${await response.clone().text()}`);
  return response.json();
}

const newSession = async () => (await ask(GATEWAY, null, "POST", "/v1/sessions", {})).token;
const order = (token, input) => ask(GATEWAY, token, "POST", "/v1/jobs", { input });

/** Collects what a reader says, and lets others wait for something of it. */
function notebook() {
  const events = [];
  let waiting = [];
  return {
    events,
    said(event) {
      events.push(event);
      waiting = waiting.filter(({ name, resolve }) => event.event !== name || resolve(event));
    },
    next: (name) => new Promise((resolve) => waiting.push({ name, resolve })),
  };
}

const durable = (events) =>
  events.filter(({ event }) => !CONTROL.has(event)).map(({ id, event, data }) => ({ id, event, data }));

let browser;
let front;
before(async () => ([browser, front] = await Promise.all([launch(), nginx(GATEWAY)])));
after(() => Promise.all([browser.close(), front.close()]));

for (const [way, address] of [
  ["the gateway", () => GATEWAY],
  ["nginx", () => front.base],
]) {
  describe(`through ${way}`, { concurrency: true }, () => {
    for (const [name, open] of Object.entries(READERS)) {
      test(`${name} is cut off midway and sees every event once and in order`, async () => {
        const [line, token] = await Promise.all([wire(address()), newSession()]);
        const { events, said, next } = notebook();
        const [synced, started] = [next("sync"), next("started")];
        const reader = await open({ base: line.base, token, browser }, said);
        try {
          const { at } = JSON.parse((await synced).data);
          const completed = next("completed");
          await order(token, INPUT);
          await started;
          line.cut();
          await completed;
          const { text } = await raw(GATEWAY, token, { "last-event-id": at }, (all) =>
            all.some(({ event }) => event === "completed"),
          );
          const seen = durable(events);
          assert.deepEqual(seen, durable(frames(text)));
          assert.equal(events.filter(({ event }) => event === "sync").length, 2, "it was cut off");
          const kinds = new Set(seen.map(({ event }) => event));
          for (const kind of ["queued", "started", "preview", "frame-ready"]) {
            assert.ok(kinds.has(kind), `no ${kind} among ${[...kinds]}`);
          }
        } finally {
          await reader.close();
          line.close();
        }
      });
    }

    test("an event is not held back, whatever encodings a reader takes", async () => {
      const token = await newSession();
      const headers = { "accept-encoding": "gzip, deflate, br, zstd" };
      let job;
      try {
        // The attempt never ends, so an event that waits for more to come waits for ever.
        const { response } = await raw(address(), token, headers, (all) => {
          job ??= order(token, { ...INPUT, fault: "hang" });
          return all.some(({ event }) => event === "started");
        });
        assert.match(response.headers.get("content-encoding") ?? "identity", /^identity$/);
      } finally {
        await ask(GATEWAY, token, "POST", `/v1/jobs/${(await job).id}/cancel`, {});
      }
    });
  });
}

test("what is for operators is not served through nginx", async () => {
  for (const path of ["/metrics", "/internal/gen-health"]) {
    assert.equal((await fetch(front.base + path)).status, 404);
  }
});

test("nginx logs no stream, so no ticket", async () => {
  const token = await newSession();
  await raw(front.base, token, {}, (all) => all.length > 0);
  await fetch(`${front.base}/healthz?seen`);
  const log = await front.log();
  assert.ok(log.includes("/healthz?seen"), "it logs what is no stream");
  assert.ok(!log.includes("/v1/events"));
});
