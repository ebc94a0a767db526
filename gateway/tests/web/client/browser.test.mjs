// The client in a browser, against a running Framewire with the built-in provider.
//
// FRAMEWIRE_LAUNCHER is the process of `framewire up`, whose gateway one test kills.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, before, test } from "node:test";

import { visitClient } from "../browser.mjs";
import { BRISK, inBrowser, jobsOf, order, outcome, runs, SLOW } from "./page.mjs";

const inContext = inBrowser({ after, before });

/** A handle alone is two kilobytes; what the browser itself notes of a request is far less. */
const HELD_BYTES_MAX = 500;

test(
  "an order is followed by its steps, a preview and a frame that decodes",
  inContext(async (context) => {
    const page = await visitClient(context);
    await order(page, { ...SLOW, steps: 12 });
    await page.evaluate(() => {
      window.seen = new Set();
      const see = (type) => () => window.seen.add(type);
      const types = ["progress", "preview", "frame", "settled"];
      window.job.on(Object.fromEntries(types.map((type) => [type, see(type)])));
    });
    const { status, width } = await outcome(page);
    assert.deepEqual([status, width], ["completed", 64]);
    const seen = await page.evaluate(() => [...window.seen]);
    assert.deepEqual(seen.sort(), ["frame", "preview", "progress", "settled"]);
    assert.equal(await page.evaluate(() => window.fw.inFlight), 0);
  }),
);

test(
  "a reload midway goes on with the same job and makes no second one",
  inContext(async (context) => {
    const page = await visitClient(context);
    const id = await order(page, SLOW);
    await runs(page);
    await page.reload();
    await page.begin();
    await page.evaluate(async () => ([window.job] = await window.fw.resume()));
    const end = await outcome(page);
    assert.deepEqual([end.status, end.id], ["completed", id]);
    assert.equal((await jobsOf(page)).length, 1);
    assert.equal(await page.evaluate(() => localStorage.length), 0);
  }),
);

test(
  "a gateway that is killed midway costs the page neither the job nor its end",
  { skip: !process.env.FRAMEWIRE_LAUNCHER && "FRAMEWIRE_LAUNCHER is not set" },
  inContext(async (context) => {
    const page = await visitClient(context);
    await order(page, SLOW);
    await runs(page);
    const launcher = process.env.FRAMEWIRE_LAUNCHER;
    const [gateway] = execFileSync("pgrep", ["-P", launcher, "-f", "framewire-gateway"], {
      encoding: "utf8",
    }).split("\n");
    process.kill(Number(gateway), "SIGKILL");
    await page.reaches(() => window.fw.state === "reconnecting");
    assert.equal((await outcome(page)).status, "completed");
    assert.equal((await jobsOf(page)).length, 1);
  }),
);

test(
  "a network that goes away and comes back costs neither a job in flight nor an order",
  inContext(async (context) => {
    const page = await visitClient(context);
    await order(page, SLOW);
    await runs(page);
    await context.setOffline(true);
    await page.reaches(() => window.fw.state === "reconnecting");
    await page.evaluate(() => {
      window.second = window.fw.generate({ prompt: "ordered offline" });
    });
    await context.setOffline(false);
    assert.equal((await outcome(page)).status, "completed");
    const second = await page.evaluate(async () => (await (await window.second).result).status);
    assert.equal(second, "completed");
    assert.equal((await jobsOf(page)).length, 2);
  }),
);

test(
  "where the stream is blocked jobs are polled, and the stream is taken when it can be",
  inContext(async (context) => {
    await context.route("**/v1/events*", (route) => route.abort());
    const timing = { reconnectMs: 50, reconnectMsMax: 50, blockedAgainMs: 200, pollMs: 200 };
    const page = await visitClient(context, { timing });
    await order(page, SLOW);
    await page.reaches(() => window.fw.state === "polling");
    assert.equal((await outcome(page)).status, "completed");
    await context.unroute("**/v1/events*");
    await page.reaches(() => window.fw.state === "live");
    await order(page, BRISK);
    assert.equal((await outcome(page)).status, "completed");
  }),
);

test(
  "two hundred jobs of one page share one stream and leave nothing behind",
  inContext(async (context) => {
    const page = await visitClient(context);
    const cdp = await context.newCDPSession(page);
    await cdp.send("Performance.enable");
    /** What the page holds once everything that can go has gone. */
    const held = async () => {
      await cdp.send("HeapProfiler.collectGarbage");
      const { metrics } = await cdp.send("Performance.getMetrics");
      const { JSHeapUsedSize, JSEventListeners } = Object.fromEntries(
        metrics.map(({ name, value }) => [name, value]),
      );
      return { heap_bytes: JSHeapUsedSize, listeners: JSEventListeners };
    };
    const runAll = (counts) =>
      page.evaluate(
        async ({ input, counts }) => {
          const many = (count) => Array.from({ length: count }, () => window.fw.generate(input));
          const seen = [];
          for (const count of counts) {
            const jobs = await Promise.all(many(count));
            for (const { status } of await Promise.all(jobs.map(({ result }) => result))) {
              seen.push(status);
            }
          }
          return seen;
        },
        { input: { ...BRISK, steps: 1, step_ms: 0 }, counts },
      );
    await runAll([20]);
    const before = await held();
    // A session may have a hundred unfinished ones.
    const statuses = await runAll([80, 80, 40]);
    const after = await held();
    assert.equal(statuses.length, 200);
    assert.deepEqual([...new Set(statuses)], ["completed"]);
    assert.equal(await page.evaluate(() => window.fw.inFlight), 0);
    assert.equal(await page.evaluate(() => localStorage.length), 0);
    assert.equal(page.streamsOpened, 1);
    assert.equal(after.listeners, before.listeners);
    const grown = (after.heap_bytes - before.heap_bytes) / 200;
    assert.ok(grown < HELD_BYTES_MAX, `each job left ${Math.round(grown)} bytes behind`);
  }),
);

test(
  "as many frames as are wanted come one by one, and their pictures decode",
  inContext(async (context) => {
    const page = await visitClient(context);
    const widths = await page.evaluate(async (input) => {
      const { ProgressiveLoader } = await import("/client/framewire.js");
      const widths = [];
      const frames = new ProgressiveLoader(window.fw).want(5, input);
      for await (const { picture } of frames) widths.push(picture.width);
      return widths;
    }, BRISK);
    assert.deepEqual(widths, [64, 64, 64, 64, 64]);
    assert.equal(await page.evaluate(() => window.fw.inFlight), 0);
  }),
);

test(
  "a buffer hands out no picture that is black all over",
  inContext(async (context) => {
    const page = await visitClient(context);
    const handed = await page.evaluate(async (input) => {
      const { FrameBuffer } = await import("/client/framewire.js");
      const black = () => new OffscreenCanvas(64, 64);
      const fill = (canvas) => {
        const brush = canvas.getContext("2d", { alpha: false });
        brush.fillRect(0, 0, 64, 64);
        return canvas.transferToImageBitmap();
      };
      let made = 0;
      const make = async () => ({ picture: fill(black()), n: made++ });
      const blank = new FrameBuffer(make, { ahead: 1, timing: { remakeMs: 1, remakeMsMax: 1 } });
      const drawn = FrameBuffer.of(window.fw, () => input, { ahead: 1 });
      const { frame, picture } = await drawn.next();
      const seen = { made, blanks: blank.size, width: picture.width, url: frame.url };
      blank.close();
      drawn.close();
      return seen;
    }, BRISK);
    assert.ok(handed.made > 1, "blank ones are made again");
    assert.equal(handed.blanks, 0);
    assert.equal(handed.width, 64);
    assert.match(handed.url, /^\/v1\/artifacts\//);
  }),
);

test(
  "a frame that was kept is there without a network",
  inContext(async (context) => {
    const page = await visitClient(context, { cacheFrames: true });
    await order(page, BRISK);
    const { picture } = await outcome(page);
    await page.evaluate((url) => window.fw.frames.keep(url), picture);
    await context.setOffline(true);
    assert.equal((await outcome(page)).width, 64);
  }),
);

test(
  "another visitor sees nothing of the first one's jobs",
  inContext(async (context, browser) => {
    const first = await visitClient(context);
    const id = await order(first, SLOW);
    const elsewhere = await browser.newContext();
    try {
      const second = await visitClient(elsewhere);
      await second.evaluate(async (job) => (window.job = await window.fw.watch(job)), id);
      const { status, job } = await second.evaluate(() => window.job.result);
      assert.deepEqual([status, job.isUnknown], ["failed", true]);
      assert.deepEqual(await jobsOf(second), []);
      assert.deepEqual(await second.evaluate(() => window.fw.resume()), []);
    } finally {
      await elsewhere.close();
    }
    assert.equal((await outcome(first)).status, "completed");
  }),
);
