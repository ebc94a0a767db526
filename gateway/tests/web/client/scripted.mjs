// A gateway that says what a test tells it to: its jobs, its answers and its streams.

import { createServer } from "node:http";
import { once } from "node:events";
import * as runner from "node:test";

import { Framewire } from "../../../web/client/framewire.js";

const TEST_MS_MAX = 20_000;

/** A test that fails, and does not hang, where what it waits for never comes. */
export const test = (name, body) => runner.test(name, { timeout: TEST_MS_MAX }, body);

export const FALLBACK = { url: "/v1/fallback.webp", kind: "static" };

/** Faster than life; the caps are those of the client. */
const TIMING = {
  reconnectMs: 5,
  reconnectMsMax: 20,
  blockedAgainMs: 20,
  pollMs: 5,
  pollMsMax: 20,
  submitMs: 5,
  submitMsMax: 10,
};

export class Scripted {
  jobs = new Map();
  /** Requests so far, as "POST /v1/jobs". */
  asked = [];
  keys = [];
  streams = new Set();
  streamsOpened = 0;
  /** May answer a request instead: (request, response, body) → true if it did. */
  intercept = () => false;
  #clients = [];
  #position = 0;
  #changed = new EventTarget();

  static async start(t) {
    const gateway = new Scripted();
    gateway.server = createServer((request, response) => gateway.#answer(request, response));
    gateway.server.listen(0, "127.0.0.1");
    await once(gateway.server, "listening");
    gateway.url = `http://127.0.0.1:${gateway.server.address().port}`;
    t.after(() => gateway.#stop());
    return gateway;
  }

  client(options = {}) {
    const { timing, ...others } = options;
    const client = new Framewire({ url: this.url, timing: { ...TIMING, ...timing }, ...others });
    this.#clients.push(client);
    return client;
  }

  /** Makes or changes a job; every change raises `v`. */
  set(id, change = {}) {
    const before = this.jobs.get(id) ?? {
      id,
      v: 0,
      status: "queued",
      queue_position: 0,
      estimated_wait_ms: null,
      frames: [],
      fallback: FALLBACK,
    };
    const job = { ...before, v: before.v + 1, ...change };
    this.jobs.set(id, job);
    return job;
  }

  /** Sends an event to every stream. */
  say(type, data) {
    const id = ["progress", "position"].includes(type) ? "" : `id: ${++this.#position}-u\n`;
    for (const stream of this.streams) {
      stream.write(`${id}event: ${type}\ndata: ${JSON.stringify(data)}\n\n`);
    }
  }

  /** Changes a job and tells of it. */
  tell(id, type, { data = {}, ...change } = {}) {
    const { v, status } = this.set(id, change);
    this.say(type, { job: id, v, status, ...data });
  }

  complete(id) {
    const frames = [frameOf(id, 0)];
    this.tell(id, "completed", { status: "completed", frames, data: { frames } });
  }

  /** Waits until something is true of this gateway. */
  async until(what) {
    while (!what()) await once(this.#changed, "change");
  }

  count(request) {
    return this.asked.filter((line) => line === request).length;
  }

  async #answer(request, response) {
    let body = "";
    for await (const chunk of request) body += chunk;
    const path = request.url.split("?")[0];
    this.asked.push(`${request.method} ${path}`);
    if (!this.intercept(request, response, body)) this.#route(request, response, path);
    this.#changed.dispatchEvent(new Event("change"));
  }

  #route(request, response, path) {
    const [, id, verb] = path.match(/^\/v1\/jobs\/([^/]+)\/?(.*)$/) ?? [];
    if (path === "/v1/sessions") return json(response, 201, { id: "ses_1", token: "t" });
    if (request.headers.authorization === undefined) return json(response, 401, {});
    if (path === "/v1/events") return this.#stream(request, response);
    if (path === "/v1/jobs" && request.method === "POST") {
      const key = request.headers["idempotency-key"];
      this.keys.push(key);
      const known = [...this.jobs.values()].find((job) => job.key === key);
      return json(response, 202, known ?? this.set(`job_${this.jobs.size + 1}`, { key }));
    }
    if (path === "/v1/jobs") {
      const jobs = [...this.jobs.values()].filter((job) => !job.finished);
      return json(response, 200, { head: `${this.#position}-u`, jobs, more: false, data: jobs });
    }
    if (!this.jobs.has(id))
      return json(response, 404, { code: "job_not_found", fallback: FALLBACK });
    if (verb === "cancel") this.tell(id, "cancelled", { status: "cancelled" });
    if (verb === "retry") this.tell(id, "queued", { status: "queued" });
    return json(response, 200, this.jobs.get(id));
  }

  #stream(request, response) {
    this.streamsOpened++;
    const at = `${this.#position}-u`;
    const mode =
      new URL(request.url, this.url).searchParams.get("cursor") === at ? "resumed" : "reset";
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    response.write(
      `event: sync\ndata: ${JSON.stringify({ mode, at, head: at, ping_ms: 15000 })}\n\n`,
    );
    this.streams.add(response);
    request.on("close", () => this.streams.delete(response));
    response.on("close", () => {
      this.streams.delete(response);
      this.#changed.dispatchEvent(new Event("change"));
    });
  }

  #stop() {
    for (const client of this.#clients) client.close();
    this.server.closeAllConnections();
    this.server.close();
  }
}

export const frameOf = (id, index) => ({ index, url: `/v1/artifacts/${id}-${index}.png` });

export function json(response, status, document) {
  response.writeHead(status, { "Content-Type": "application/json" });
  response.end(JSON.stringify(document));
  return true;
}

/** A storage as pages have it. */
export class FakeStorage {
  #items = new Map();
  get length() {
    return this.#items.size;
  }
  key = (index) => [...this.#items.keys()][index] ?? null;
  getItem = (name) => this.#items.get(name) ?? null;
  setItem = (name, value) => void this.#items.set(name, String(value));
  removeItem = (name) => void this.#items.delete(name);
}
