// The slideshow through bad times, in a browser, each test against a Framewire of its own.
//
// FRAMEWIRE_UP is the program `framewire`. The long run is two minutes: outages are not shorter.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { launch } from "../browser.mjs";
import { PROGRAM, up, watchPicture, watchScreen } from "./support.mjs";

const skip = !PROGRAM && "FRAMEWIRE_UP is not set";
const RUN_MS = 120_000;
const WAIT_MS = 40_000;
/** Small and quick, so that a run sees many pictures on a busy machine. */
const QUICK = "seconds=3&size=192x128";

let browser;
before(async () => (browser = await launch({ gl: true })));
after(() => browser.close());

/** Gives a test a Framewire, and a page that shows pictures from it. */
const inShow = (how, body) => async () => {
  const framewire = await up();
  const context = await browser.newContext({
    viewport: how.viewport ?? { width: 480, height: 300 },
    reducedMotion: how.calm ? "reduce" : "no-preference",
  });
  context.setDefaultTimeout(WAIT_MS);
  try {
    const page = await context.newPage();
    await watchPicture(page);
    const show = {
      framewire,
      context,
      page,
      open: () => page.goto(`${framewire.url}/examples/morph/?${how.query ?? "paint=plain"}&${QUICK}`),
      /** How often the page counted something: `turns`, or `fresh`, turns of new pictures. */
      count: (what) => page.evaluate((name) => Number(document.body.dataset[name] ?? 0), what),
      /** Waits for `more` of it. */
      async sees(what, more = 1) {
        const wanted = (await show.count(what)) + more;
        await page.waitForFunction(
          ([name, least]) => Number(document.body.dataset[name] ?? 0) >= least,
          [what, wanted],
        );
      },
      says: (state) => page.locator(`body[data-state="${state}"]`).waitFor(),
      eye: () => page.evaluate(() => ({ ...window.eye, restart: undefined })),
    };
    await body(show);
  } finally {
    await context.close();
    await framewire.stop();
  }
};

const neverBlack = ({ looks, black, blank, darkest, worst }) => {
  assert.ok(looks > 0);
  const what = `first at ${worst}; the least light was ${darkest}`;
  assert.deepEqual({ black, blank }, { black: 0, blank: 0 }, what);
};

/** Every order from now on makes the provider misbehave, each in the next way. */
function spoil(context, faults) {
  let turn = 0;
  const misbehave = async (route, request) => {
    if (request.method() !== "POST") return route.continue();
    const order = request.postDataJSON();
    order.input.fault = faults[turn++ % faults.length];
    await route.continue({ postData: JSON.stringify(order) });
  };
  return context.route("**/v1/jobs", misbehave).then(() => async () => {
    await context.unroute("**/v1/jobs", misbehave);
    return turn;
  });
}

// The long run waits most of the time; the others go on beside it.
describe("the slideshow", { concurrency: 2, skip }, () => {
  test(
    "two minutes of outages show a picture in every frame, and new ones whenever there can be",
    { timeout: RUN_MS + 90_000 },
    inShow({}, async (show) => {
      const { page, context, framewire } = show;
      const helper = await context.newPage();
      await page.bringToFront();
      const screen = await watchScreen(page, helper);
      const began = Date.now();
      await show.open();
      await show.sees("fresh", 3);

      // The provider refuses, answers rubbish, is overloaded.
      const unspoil = await spoil(context, ["permanent", "garbage", "temporary", "auth"]);
      await show.says("from cache");
      await show.sees("turns", 3);
      assert.ok((await unspoil()) > 0, "an order was spoilt");
      await show.sees("fresh", 2);

      // The gateway dies, and dies again as soon as it is back.
      for (let kill = 0; kill < 2; kill++) {
        framewire.killGateway();
        await show.sees("turns");
        await show.sees("fresh");
      }

      // No network.
      await context.setOffline(true);
      await show.says("offline");
      await show.sees("turns", 5);
      const offline = await show.count("fresh");
      await show.sees("turns", 2);
      assert.equal(await show.count("fresh"), offline, "what was ahead has been shown");
      await context.setOffline(false);
      await show.says("live");

      // A stream that is blocked, while the provider takes its time over half of the orders.
      await context.route("**/v1/events*", (route) => route.abort());
      framewire.killGateway();
      const unhurry = await spoil(context, ["slow_body", undefined]);
      await show.sees("turns", 2);
      await unhurry();
      await context.unroute("**/v1/events*");
      while (Date.now() - began < RUN_MS) await show.sees("turns");
      await show.sees("fresh");

      const eye = await show.eye();
      const { looks, darkest } = await screen();
      neverBlack(eye);
      assert.ok(eye.looks > (RUN_MS / 1000) * 8, `it was looked at ${eye.looks} times`);
      assert.ok(eye.still_ms_max < 3_000, `it stood still for ${Math.round(eye.still_ms_max)} ms`);
      assert.ok(looks > RUN_MS / 1000, `the screen was looked at ${looks} times`);
      assert.ok(darkest > 8, `the screen had a mean light of ${darkest}`);
    }),
  );

  test(
    "a graphics context that is lost leaves no black frame behind, and another takes its place",
    inShow({ query: "paint=gl", viewport: { width: 240, height: 150 } }, async (show) => {
      const { page } = show;
      await page.addInitScript(() => {
        const take = HTMLCanvasElement.prototype.getContext;
        HTMLCanvasElement.prototype.getContext = function (kind, how) {
          const context = take.call(this, kind, how);
          if (kind === "webgl2") (window.made ??= []).push(context);
          return context;
        };
      });
      await show.open();
      await show.sees("fresh", 2);
      assert.equal(await page.evaluate(() => window.made?.length), 1, "it paints with WebGL");
      await page.evaluate(() => window.made[0].getExtension("WEBGL_lose_context").loseContext());
      await page.waitForFunction(() => window.made.length === 2);
      await show.sees("turns", 2);
      const lost = await page.evaluate(() => window.made.map((context) => context.isContextLost()));
      assert.deepEqual(lost, [true, false]);
      const canvases = await page.locator("#stage canvas").count();
      assert.equal(canvases, 1, "the lost ones are gone");
      neverBlack(await show.eye());
    }),
  );

  test(
    "a reload when nobody is there any more finds the page and its pictures",
    inShow({}, async (show) => {
      const { page, framewire } = show;
      await show.open();
      await show.sees("fresh", 3);
      await page.evaluate(() => navigator.serviceWorker.ready);
      await page.waitForFunction(async () => {
        const kept = await (await caches.open("morph.page")).keys();
        return kept.some(({ url }) => url.endsWith("/client/framewire.js"));
      });
      await framewire.stop();
      await page.reload();
      await show.sees("turns", 2);
      await show.says("from cache");
      neverBlack(await show.eye());
    }),
  );

  test(
    "the keys pause it, and change what is drawn",
    inShow({}, async (show) => {
      const { page } = show;
      await show.open();
      await show.sees("fresh");
      await page.keyboard.press("Space");
      await show.says("paused");
      const turns = await show.count("turns");
      await page.evaluate(() => window.eye.restart());
      await page.waitForFunction(() => window.eye.still_ms_max > 3_000);
      assert.equal(await show.count("turns"), turns);
      await page.keyboard.press("Space");

      const order = page.waitForRequest(
        (request) =>
          request.method() === "POST" &&
          request.postDataJSON()?.input?.prompt?.startsWith("a paper boat"),
      );
      await page.keyboard.press("e");
      await page.locator("#prompt").fill("a paper boat");
      await page.keyboard.press("Enter");
      await order;
      await page.waitForFunction(() =>
        document.getElementById("caption").textContent.startsWith("a paper boat"),
      );
      await page.keyboard.press("f");
      await page.waitForFunction(() => document.fullscreenElement !== null);
    }),
  );

  test(
    "who wants no motion gets none but the dissolve",
    inShow({ calm: true, query: "paint=plain&seconds=6" }, async (show) => {
      const { page } = show;
      await show.open();
      await show.sees("fresh", 2);
      // The last fifth of a turn is rest.
      await page.evaluate(() => window.eye.restart());
      await page.waitForFunction(() => window.eye.still_ms_max > 1_000);
      neverBlack(await show.eye());
    }),
  );
});
