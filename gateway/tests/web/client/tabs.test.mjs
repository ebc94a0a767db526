// Several tabs and the pages that browsers put aside, against a running Framewire.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { launch, visitClient } from "../browser.mjs";
import { BRISK, inBrowser, order, outcome, runs, SLOW } from "./page.mjs";

const inContext = inBrowser({ after, before });

test(
  "two tabs share one stream, and the other takes it over when the leader closes",
  inContext(async (context) => {
    const leader = await visitClient(context);
    await order(leader, BRISK);
    await leader.reaches(() => window.fw.state === "live");
    const other = await visitClient(context);
    await order(other, SLOW);
    await runs(other);
    assert.equal(other.streamsOpened, 0, "what it knows it has from the leader");
    assert.equal(await other.evaluate(() => window.fw.leads), false);

    await leader.close();
    await other.reaches(() => window.fw.leads && window.fw.state === "live");
    assert.equal((await outcome(other)).status, "completed");
    assert.equal(other.streamsOpened, 1);
  }),
);

test(
  "a leader that hangs is noticed: the other tab polls, and then takes its lock",
  inContext(async (context) => {
    const timing = { quietPings: 0.04, leaderPings: 0.2, pollMs: 200 };
    const leader = await visitClient(context, { timing: { ...timing, checkMs: 600_000 } });
    await order(leader, BRISK);
    await leader.reaches(() => window.fw.state === "live");
    const other = await visitClient(context, { timing });
    await order(other, { ...SLOW, steps: 50, step_ms: 300 });
    await runs(other);
    assert.equal(await other.evaluate(() => window.fw.leads), false);
    await other.bringToFront();

    const cdp = await context.newCDPSession(leader);
    await cdp.send("Page.setWebLifecycleState", { state: "frozen" });
    await other.reaches(() => window.fw.state === "polling");
    assert.equal(await other.evaluate(() => window.fw.leads), false, "it polls at first");
    await other.reaches(() => window.fw.leads && window.fw.state === "live");
    assert.equal(other.streamsOpened, 1);
    assert.equal((await outcome(other)).status, "completed");

    await cdp.send("Page.setWebLifecycleState", { state: "active" });
    await leader.reaches(() => !window.fw.leads);
    assert.equal((await outcome(leader)).status, "completed");
  }),
);

test("a page that comes back from the browser's cache goes on with what it missed", async () => {
  // Playwright turns that cache off.
  const cached = await launch({ without: ["--disable-back-forward-cache"] });
  try {
    const context = await cached.newContext();
    const page = await visitClient(context);
    await order(page, { ...SLOW, steps: 15 });
    await runs(page);
    await page.evaluate(() => {
      window.stays = true;
      addEventListener("pageshow", ({ persisted }) => (window.persisted = persisted));
    });
    await page.goto(new URL("/examples/morph/show.js", page.url()).href);
    await page.waitForFunction(async () => {
      const { data } = await (await fetch("/v1/jobs?limit=100")).json();
      return data.every(({ status }) => status === "completed");
    });
    await page.goBack({ waitUntil: "commit" });
    assert.equal(await page.evaluate(() => window.stays && window.persisted), true);
    assert.equal((await outcome(page)).status, "completed");
    await order(page, BRISK);
    assert.equal((await outcome(page)).status, "completed");
    await page.reaches(() => window.fw.leads && window.fw.state === "live");
  } finally {
    await cached.close();
  }
});
