// The studio, as a newcomer uses it, against a running Framewire with the built-in provider.
//
// Run: FRAMEWIRE_URL=http://127.0.0.1:8080 node --test. Every test has a visitor of its own.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { asVisitor as visitorOf, launch, visit } from "./browser.mjs";

let browser;
before(async () => (browser = await launch()));
after(() => browser.close());

const asVisitor = (body, options) => visitorOf(() => browser, body, options);

const BRISK = { steps: 10, step_ms: 60, width: 256, height: 256 };
const SLOW = { steps: 30, step_ms: 200, width: 256, height: 256 };

test(
  "a picture develops by real steps over a preview into a frame that decodes",
  asVisitor(async (studio) => {
    await studio.watch();
    await studio.submit({ prompt: "a red fox in snow", steps: 20, step_ms: 120 });
    await studio.reaches("completed");
    await studio.page.locator(".card img.is-frame.is-in").waitFor();

    const { steps, readings, previews } = await studio.seen();
    assert.ok(steps.length >= 4, `the bar stood at ${steps}`);
    assert.deepEqual(
      steps,
      [...steps].sort((a, b) => a - b),
      "the bar never goes back",
    );
    assert.equal(steps.at(-1), 20);
    assert.ok(
      readings.some((text) => /^Step \d+ of 20$/.test(text)),
      readings.join(", "),
    );
    assert.ok(previews >= 1, "no preview was seen");
    const width = await studio.page
      .locator(".card img.is-frame")
      .evaluate((img) => img.naturalWidth);
    assert.equal(width, 512);
  }),
);

test(
  "a reload midway finds the same job, which completes, and makes no second one",
  asVisitor(async (studio) => {
    await studio.submit({ prompt: "a harbour at dusk", ...SLOW });
    await studio.passesStep(3);
    const job = await studio.cards.first().getAttribute("data-job");

    await studio.page.reload();
    await studio.live();
    assert.equal(await studio.cards.count(), 1);
    assert.equal(await studio.reaches("completed"), job);
    assert.deepEqual(
      (await studio.jobs()).map(({ id }) => id),
      [job],
    );
    assert.equal(await studio.page.locator("#prompt").inputValue(), "a harbour at dusk");
  }),
);

test(
  "a reload after the end still shows the frames of the session",
  asVisitor(async (studio) => {
    await studio.submit({ prompt: "a quiet valley", ...BRISK, n: 2 });
    await studio.reaches("completed");
    await studio.page.reload();
    await studio.live();
    await studio.prints.nth(1).waitFor();
    assert.equal(await studio.prints.count(), 2);
  }),
);

test(
  "a cancelled job says so, draws nothing more and offers a retry that completes",
  asVisitor(async (studio) => {
    await studio.submit({ prompt: "a long train", ...SLOW, steps: 12 });
    await studio.passesStep(2);
    await studio.page.getByRole("button", { name: "Cancel" }).click();
    const job = await studio.reaches("cancelled");
    assert.equal(await studio.page.locator(".card .status").textContent(), "Cancelled");
    assert.equal(await studio.prints.count(), 0);

    await studio.page.getByRole("button", { name: "Retry" }).click();
    assert.equal(await studio.reaches("completed"), job);
    assert.equal(await studio.prints.count(), 1);
  }),
);

test(
  "the gallery's frames open in a dialog that names prompt and seed and gives focus back",
  asVisitor(async (studio) => {
    const { page, view } = studio;
    await studio.submit({ prompt: "three paper boats", ...BRISK, n: 3, seed: 41 });
    await studio.reaches("completed");
    await studio.prints.nth(2).waitFor();

    await studio.prints.nth(1).click();
    await view.waitFor();
    assert.equal(await page.locator("#view-prompt").textContent(), "three paper boats");
    assert.match(await page.locator("#view-facts").textContent(), /Seed42/);
    await page.keyboard.press("ArrowRight");
    assert.match(await page.locator("#view-facts").textContent(), /Seed43/);
    const download = await page.locator("#view-download").getAttribute("href");
    assert.equal((await page.request.get(new URL(download, page.url()).href)).status(), 200);

    await page.keyboard.press("Escape");
    await view.waitFor({ state: "hidden" });
    assert.ok(await studio.prints.nth(1).evaluate((node) => node === document.activeElement));
  }),
);

test(
  "a frame's prompt and seed go back into the form",
  asVisitor(async (studio) => {
    const { page } = studio;
    await studio.submit({ prompt: "an orange kite", ...BRISK, seed: 7 });
    await studio.reaches("completed");
    await page.locator("#prompt").fill("something else");
    await page.locator("#seed").fill("");

    await studio.prints.first().click();
    await page.locator("#view-reuse").click();
    assert.equal(await page.locator("#prompt").inputValue(), "an orange kite");
    assert.equal(await page.locator("#seed").inputValue(), "7");
  }),
);

test(
  "a size that can't be drawn marks its field with the reason and submits nothing",
  asVisitor(async (studio) => {
    const { page } = studio;
    await studio.submit({ prompt: "a narrow door", width: 13 });
    await page.locator('#width[aria-invalid="true"]').waitFor();
    assert.match(await page.locator("#width-fault").textContent(), /multiple of 8/);
    assert.ok(await page.locator("#width").evaluate((node) => node === document.activeElement));
    assert.equal(await page.locator('#height[aria-invalid="true"]').count(), 0);
    assert.deepEqual(await studio.jobs(), []);

    await page.locator("#width").fill("512");
    assert.equal(await page.locator('[aria-invalid="true"]').count(), 0);
  }),
);

test(
  "another visitor sees nothing of the first one's jobs and frames",
  asVisitor(async (first) => {
    await first.submit({ prompt: "a private garden", ...BRISK });
    const job = await first.reaches("completed");

    const second = await visit(browser);
    try {
      assert.deepEqual(await second.jobs(), []);
      assert.equal(await second.cards.count(), 0);
      assert.equal(await second.prints.count(), 0);
      assert.equal((await second.api(`/v1/jobs/${job}`)).status, 404);
    } finally {
      await second.leave();
    }
  }),
);

test(
  "the keyboard alone submits, cancels and moves on",
  asVisitor(async (studio) => {
    const { page } = studio;
    await studio.order({ prompt: "", ...SLOW });
    await page.locator("#prompt").focus();
    await page.keyboard.type("a bridge in the rain");
    await page.keyboard.press("Control+Enter");
    await studio.passesStep(1);
    await page.getByRole("button", { name: "Cancel" }).focus();
    await page.keyboard.press("Enter");
    await studio.reaches("cancelled");
    const focused = await page.evaluate(() => document.activeElement.className);
    assert.match(focused, /card/, "focus stays on the card whose button went away");
  }),
);

test(
  "a submission whose answer is lost is sent again and makes one job",
  asVisitor(async (studio) => {
    let sent = 0;
    await studio.page.route("**/v1/jobs", async (route) => {
      if (route.request().method() !== "POST" || ++sent > 1) return route.continue();
      await route.fetch();
      await route.abort("connectionreset");
    });
    await studio.submit({ prompt: "one lighthouse", ...BRISK });
    await studio.reaches("completed");
    await studio.page.locator('#submit[aria-disabled="false"]').waitFor();
    assert.equal(sent, 2);
    assert.equal((await studio.jobs()).length, 1);
    assert.equal(await studio.cards.count(), 1);
  }),
);

/** Answers submissions with a refusal; gives a way to stop. */
async function refuseSubmits(studio, status, problem, retry_s) {
  const refuse = (route) =>
    route.request().method() === "POST"
      ? route.fulfill({
          status,
          headers: { "Retry-After": String(retry_s), "Content-Type": "application/problem+json" },
          body: JSON.stringify({ status, ...problem }),
        })
      : route.continue();
  await studio.page.route("**/v1/jobs", refuse);
  return () => studio.page.unroute("**/v1/jobs", refuse);
}

/** Waits until a card shows what stands in for its frame, and gives what that is. */
async function standIn(card) {
  const picture = card.locator("img.is-fallback.is-in");
  await picture.waitFor();
  assert.ok(await picture.evaluate((img) => img.naturalWidth > 0), "a broken picture");
  return new URL(await picture.getAttribute("src"), "http://gateway").pathname;
}

test(
  "a job shows what ships until its first preview and the session's last frame from then on",
  asVisitor(async (studio) => {
    await studio.submit({ prompt: "the first of all", ...BRISK, step_ms: 400 });
    assert.equal(await standIn(studio.cards.first()), "/v1/fallback.webp");
    const first = await studio.reaches("completed");
    await studio.page.locator(".card img.is-frame.is-in").waitFor();

    await studio.submit({ prompt: "the second", ...SLOW });
    const url = await standIn(studio.cards.first());
    assert.equal(url, (await studio.api(`/v1/jobs/${first}`)).body.frames[0].url);
    await studio.page.locator(".card img.is-preview.is-in").waitFor();
  }),
);

test(
  "a refused order says why and when, shows a picture, and is sent again on request",
  asVisitor(async (studio) => {
    const { page } = studio;
    const detail = "10000 jobs wait already, which is as many as may. Try again later.";
    const stop = await refuseSubmits(studio, 503, { code: "queue_full", detail }, 40);
    await studio.submit({ prompt: "no room for a whale", ...BRISK });
    const card = page.locator('.card[data-status="refused"]');
    await card.waitFor();
    assert.equal(await standIn(card), "/v1/fallback.webp");
    assert.equal(await card.locator(".note").textContent(), detail);
    assert.match(await card.locator(".card-reading").textContent(), /^Try again in (40|3\d) s$/);
    assert.match(await page.locator("#announcer").textContent(), /Try again in 40 s/);
    assert.equal(await page.locator("#prompt").inputValue(), "no room for a whale");

    await card.getByRole("button", { name: "Try again" }).click();
    await card.locator('button[aria-disabled="false"]').waitFor();
    assert.equal(await card.count(), 1, "refused twice, shown once");

    await stop();
    await card.getByRole("button", { name: "Try again" }).click();
    await studio.reaches("completed");
    assert.equal(await card.count(), 0);
    assert.equal((await studio.jobs()).length, 1);
  }),
);

test(
  "a fallback that can't be fetched gives way to the one that ships",
  asVisitor(async (studio) => {
    const fallback = { url: "/v1/artifacts/gone.png", kind: "session" };
    await refuseSubmits(studio, 429, { code: "session_full", detail: "Full.", fallback }, 5);
    await studio.submit({ prompt: "nothing to see", ...BRISK });
    const card = studio.page.locator('.card[data-status="refused"]');
    assert.equal(await standIn(card), "/v1/fallback.webp");
  }),
);

test(
  "a failed job shows its error, a way to try again and a picture in place of the frame",
  asVisitor(async (studio) => {
    await studio.page.route("**/v1/jobs", (route) => {
      if (route.request().method() !== "POST") return route.continue();
      const order = route.request().postDataJSON();
      order.input.fault = "permanent";
      return route.continue({ postData: JSON.stringify(order) });
    });
    await studio.submit({ prompt: "a bridge nobody draws", ...BRISK });
    await studio.reaches("failed");
    const card = studio.cards.first();
    assert.equal(await standIn(card), "/v1/fallback.webp");
    assert.match(await card.locator(".note").textContent(), /provider/);
    assert.ok(await card.getByRole("button", { name: "Retry" }).isVisible());
  }),
);

test(
  "a hostile prompt is shown as text and the page breaks none of its own content rules",
  asVisitor(async (studio) => {
    const prompt = `<img src=x onerror="window.struck=1"><b>bold</b>`;
    await studio.submit({ prompt, ...BRISK });
    await studio.reaches("completed");
    await studio.prints.first().click();
    assert.equal(await studio.page.locator("#view-prompt").textContent(), prompt);
    assert.equal(await studio.page.evaluate(() => window.struck), undefined);
    assert.deepEqual(studio.complaints, []);
  }),
);
