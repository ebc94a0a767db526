// The studio as the face of a whole session: several tabs, outages, the past, tries, and the drawer
// that says what just happened.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { asVisitor as visitorOf, launch, openTab } from "./browser.mjs";
import { KEPT_MAX, Log, asLines } from "../../web/studio/log.js";

let browser;
before(async () => (browser = await launch()));
after(() => browser.close());

const asVisitor = (body, options) => visitorOf(() => browser, body, options);

const BRISK = { steps: 6, step_ms: 30, width: 256, height: 256 };
const SLOW = { steps: 30, step_ms: 250, width: 256, height: 256 };

test(
  "two tabs show the same board, and what one cancels, retries or deletes changes in both",
  asVisitor(async (first) => {
    const second = await openTab(first.context);
    await first.submit({ prompt: "one board for two", ...SLOW });
    await second.passesStep(1);
    const job = await second.page.locator(".card").getAttribute("data-job");
    await second.page.getByRole("button", { name: "Cancel" }).click();
    await first.card(job, "cancelled");
    await second.card(job, "cancelled");
    await first.page.getByRole("button", { name: "Retry" }).click();
    const status = second.page.locator(".card .status");
    await status.filter({ hasText: "retried 1×" }).waitFor();
    await second.page.getByRole("button", { name: "Cancel" }).click();
    await first.card(job, "cancelled");

    await first.past("jobs");
    await first.page.locator(".job").getByRole("button", { name: "More" }).click();
    await first.page.getByRole("button", { name: "Delete job and frames" }).click();
    await second.page.locator(".card").waitFor({ state: "detached" });
    assert.equal(await first.page.locator(".job").count(), 0);
    assert.deepEqual(await first.jobs(), []);
  }),
);

test(
  "a job of another program that fails at once gets a card all the same",
  asVisitor(async (studio) => {
    const job = await studio.orderByApi({ prompt: "gone before you look", fault: "permanent" });
    const card = await studio.card(job, "failed");
    assert.match(await card.locator(".note").textContent(), /\w/);
  }),
);

test(
  "a job that is tried again by itself says which attempt it is",
  asVisitor(async (studio) => {
    const input = { prompt: "the second time", ...BRISK, fault: "temporary", fault_attempts: 1 };
    const job = await studio.orderByApi(input);
    const card = await studio.card(job, "completed");
    assert.match(await card.locator(".status").textContent(), /attempt 2/);
  }),
);

test(
  "a network that goes away is said, its jobs go on, and the page is up to date when it is back",
  asVisitor(async (studio) => {
    const { page, context } = studio;
    await studio.submit({ prompt: "through a tunnel", ...SLOW, step_ms: 60 });
    await studio.passesStep(1);
    await context.setOffline(true);
    const banner = page.locator("#banner");
    await banner.filter({ hasText: "You are offline" }).waitFor();
    await page.locator('#connection[data-state="offline"]').waitFor();

    await studio.order({ prompt: "ordered in the tunnel", ...BRISK });
    await page.locator("#submit").click();
    await page.locator("#form-message").filter({ hasText: "You are offline" }).waitFor();
    assert.equal(await page.locator('.card[data-status="sending"]').count(), 1);

    await context.setOffline(false);
    await banner.filter({ hasText: "Back again" }).waitFor();
    await page.locator('.card[data-status="completed"]').nth(1).waitFor();
    assert.equal((await studio.jobs()).length, 2);
    await banner.waitFor({ state: "hidden" });
  }),
);

test(
  "the past comes page by page, and is searched by words and by state",
  asVisitor(async (studio) => {
    const { page } = studio;
    // More than one page of jobs, made by the client in another page of the session.
    await page.evaluate(async () => {
      const order = (prompt, more) =>
        fetch("/v1/jobs", {
          method: "POST",
          headers: { "Content-Type": "application/json" },
          body: JSON.stringify({
            input: { prompt, width: 64, height: 64, steps: 1, step_ms: 0, ...more },
          }),
        });
      for (let at = 0; at < 55; at++) await order(`a pebble, number ${at}`);
      await order("a broken bridge", { fault: "permanent" });
    });
    await page.waitForFunction(
      async () => (await (await fetch("/v1/jobs?active=1")).json()).jobs.length === 0,
      null,
      { polling: 500, timeout: 60_000 },
    );
    await page.reload();
    await studio.live();
    await studio.past("jobs");
    await page.locator("#older").scrollIntoViewIfNeeded();
    await page.locator(".job").nth(55).waitFor({ state: "attached" });
    assert.equal(await page.locator("#job-count").textContent(), "56 jobs");

    await page.locator("#search").fill("pebble 7");
    assert.equal(await page.locator(".job:visible").count(), 5, "7, 17, 27, 37, 47");
    await page.locator("#search").fill("");
    await page.locator("#state").selectOption("failed");
    assert.equal(await page.locator(".job:visible").count(), 1);
    await page.locator("#search").fill("no such thing");
    await page.locator("#past-nothing").waitFor();
  }),
);

test(
  "the drawer shows what the stream says with ids and gaps, for one job too, and copies it",
  asVisitor(
    async (studio) => {
      const { page } = studio;
      await studio.submit({ prompt: "every word of it", ...BRISK });
      const job = await studio.reaches("completed");
      await studio.orderByApi({ prompt: "another one", ...BRISK });
      await page.locator('.card[data-status="completed"]').nth(1).waitFor();

      await page.locator("#events").click();
      const types = () => page.locator(".event-type").allTextContents();
      await page.locator('.event[data-type="completed"]').first().waitFor();
      await page.locator(".drawer select").selectOption(job);
      assert.ok((await types()).includes("progress"));
      await page.getByLabel("Steps and pings").uncheck();
      const own = await types();
      assert.deepEqual([own[0], own.at(-1)], ["queued", "completed"]);
      assert.ok(!own.includes("progress"));

      await page.locator(".log").focus();
      await page.keyboard.press("End");
      const detail = JSON.parse(await page.locator(".detail").textContent());
      assert.equal(detail.event, "completed");
      assert.equal(detail.data.job, job);
      assert.match(detail.id, /^\d+-\w+$/);

      await page.locator(".drawer").getByRole("button", { name: "Copy" }).click();
      await page.locator(".toast").waitFor();
      const lines = (await page.evaluate(() => navigator.clipboard.readText())).split("\n");
      assert.deepEqual(
        lines.map((line) => JSON.parse(line).event),
        await types(),
      );
      await page.keyboard.press("Escape");
      assert.ok(await page.locator("#events").evaluate((node) => node === document.activeElement));
    },
    { permissions: ["clipboard-read", "clipboard-write"] },
  ),
);

test(
  "thousands of events cost the drawer a screenful of rows",
  asVisitor(async (studio) => {
    const follower = await openTab(studio.context);
    const { page } = follower;
    await page.locator("#events").click();
    // Whoever leads the stream has much to say.
    await studio.page.evaluate((entries) => {
      const channel = new BroadcastChannel("framewire.stream");
      for (let step = 0; step < entries; step++) {
        const said = { type: "progress", data: { step, steps: entries }, id: null };
        channel.postMessage({ said });
      }
    }, KEPT_MAX + 500);
    await page
      .locator(".drawer-count")
      .filter({ hasText: `${KEPT_MAX} events` })
      .waitFor();
    await page
      .locator(".event")
      .last()
      .filter({ hasText: `step ${KEPT_MAX + 499}` })
      .waitFor();
    assert.ok((await page.locator(".event").count()) < 80);
  }),
);

test("the log keeps the newest entries and the time before each", () => {
  const log = new Log();
  for (let at = 0; at < KEPT_MAX + 10; at++) {
    log.add({ type: "progress", data: { job: `job_${at % 2}` }, id: null }, at * 5);
  }
  const entries = log.entries();
  assert.equal(entries.length, KEPT_MAX);
  assert.deepEqual([entries[0].number, entries[0].gap_ms], [11, 5]);
  assert.equal(log.entries({ job: "job_1" }).length, KEPT_MAX / 2);
  assert.deepEqual(log.entries({ passing: false }), []);
  assert.equal(JSON.parse(asLines(entries.slice(0, 1))).gap_ms, 5);
});
