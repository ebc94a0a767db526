// The studio for everybody: no serious finding of axe in any view, by day and by night; the
// keyboard's way through it; small screens; and nothing that moves by itself.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";

import { asVisitor as visitorOf, launch } from "./browser.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
/** Sum of layout shifts that a page may have while frames arrive. */
const SHIFT_MAX = 0.01;

let browser;
before(async () => (browser = await launch()));
after(() => browser.close());

const asVisitor = (body, options) => visitorOf(() => browser, body, options);

const BRISK = { steps: 6, step_ms: 30, width: 256, height: 256 };

/** Lists what axe holds for serious or critical in a view. */
async function findings(page, view) {
  const found = await page.evaluate(async () => {
    const { violations } = await window.axe.run(document, { resultTypes: ["violations"] });
    return violations
      .filter(({ impact }) => impact === "serious" || impact === "critical")
      .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 160)).join(" | ")}`);
  });
  return found.map((finding) => `${view}: ${finding}`);
}

for (const colorScheme of ["light", "dark"]) {
  test(
    `axe finds nothing serious in any view (${colorScheme})`,
    asVisitor(
      async (studio) => {
        const { page } = studio;
        const found = [];
        const look = async (view) => found.push(...(await findings(page, view)));
        await page.evaluate(AXE);
        await page.locator(".more").evaluate((more) => (more.open = true));
        await look("the empty page");
        await studio.submit({ prompt: "for everybody", ...BRISK, n: 2 });
        await studio.passesStep(1);
        const moving = () => document.getAnimations().map(({ animationName }) => animationName);
        assert.deepEqual(await page.evaluate(moving), [], "motion that was not wanted");
        await studio.reaches("completed");
        await page.locator(".print-button.is-in").nth(1).waitFor();
        await look("board and contact sheet");
        await page.locator(".card").getByRole("button", { name: "More" }).click();
        await look("menu");
        await page.keyboard.press("Escape");
        await studio.past("jobs");
        await look("list of jobs");
        await studio.past("frames");
        await page.locator("#events").click();
        await page.locator(".log").focus();
        await page.keyboard.press("End");
        await look("drawer");
        await page.keyboard.press("Escape");
        await studio.prints.first().click();
        await look("larger view");
        await page.locator("#view-compare").click();
        await page.locator("#compare .paper:enabled").nth(1).waitFor();
        await look("seeds side by side");
        await page.locator('[name="compare-view"][value="slider"]').check({ force: true });
        await look("seeds one over the other");
        await page.keyboard.press("Escape");
        await studio.prints.first().click();
        await page.locator("#view-start").click();
        await page.locator("#source-mask").click();
        await page.locator(".mask-canvas:focus").waitFor();
        await look("mask editor");
        await page.keyboard.press("Space");
        await page.getByRole("button", { name: "Use this mask" }).click();
        await page.locator(".mask-veil").waitFor();
        await look("a picture to start from");
        await studio.submit({ prompt: "", ...BRISK, width: "" });
        await look("faults");
        assert.deepEqual(found, []);
      },
      // Half-way through a transition, colours have half their contrast.
      { colorScheme, reducedMotion: "reduce" },
    ),
  );
}

test(
  "dialogs hold the focus, and every press gives it back",
  asVisitor(async (studio) => {
    const { page } = studio;
    await studio.submit({ prompt: "held fast", ...BRISK });
    await studio.reaches("completed");
    const focus = () => page.evaluate(() => document.activeElement.textContent.trim());
    const within = (selector) =>
      page.evaluate((what) => document.activeElement.matches(`${what} *`), selector);

    const opener = page.getByRole("button", { name: "Compare seeds" });
    await opener.focus();
    await page.keyboard.press("Enter");
    for (let press = 0; press < 12; press++) {
      // Between its last element and its first a dialog hands the focus to the browser itself.
      const isOut = await page.evaluate(() => document.activeElement === document.body);
      assert.ok(isOut || (await within("#compare")), `press ${press}`);
      await page.keyboard.press("Tab");
    }
    await page.keyboard.press("Escape");
    assert.equal(await focus(), "Compare seeds");

    const more = page.locator(".card").getByRole("button", { name: "More" });
    await more.focus();
    await page.keyboard.press("Enter");
    assert.equal(await focus(), "Use prompt and seed");
    await page.keyboard.press("ArrowDown");
    assert.equal(await focus(), "Start from this frame");
    await page.keyboard.press("Escape");
    assert.ok(await more.evaluate((node) => node === document.activeElement));
  }),
);

for (const width of [320, 390]) {
  test(
    `nothing moves sideways ${width} pixels wide, with pictures, drawer and dialogs`,
    asVisitor(
      async (studio) => {
        const { page } = studio;
        const fits = async (view) => {
          const wide = await page.evaluate(() => document.documentElement.scrollWidth);
          assert.ok(wide <= width, `${view}: ${wide} pixels`);
        };
        await fits("empty");
        await studio.submit({ prompt: "w".repeat(300), ...BRISK, width: 384, n: 4 });
        await studio.reaches("completed");
        await fits("with a picture");
        await studio.past("jobs");
        await fits("list of jobs");
        await page.locator("#events").click();
        await fits("drawer");
        await page.getByRole("button", { name: "Close the events" }).click();
        await studio.past("frames");
        for (const [open, dialog] of [
          [studio.prints.first(), "#view"],
          [page.locator(".card").getByRole("button", { name: "Compare seeds" }), "#compare"],
        ]) {
          await open.click();
          const box = await page.locator(dialog).boundingBox();
          assert.ok(box.x >= 0 && box.x + box.width <= width, `${dialog}: ${JSON.stringify(box)}`);
          const wide = await page
            .locator(dialog)
            .evaluate((node) => node.scrollWidth - node.clientWidth);
          assert.equal(wide, 0, `${dialog} scrolls sideways`);
          await page.keyboard.press("Escape");
        }
      },
      { viewport: { width, height: 844 }, hasTouch: true, isMobile: true },
    ),
  );
}

test(
  "nothing on the page moves while the frames of two jobs develop and arrive",
  asVisitor(
    async (studio) => {
      const { page } = studio;
      await studio.submit({ prompt: "the shore before it", ...BRISK });
      await studio.reaches("completed");
      await page.locator(".print-button.is-in").waitFor();
      await page.evaluate(() => {
        window.shifts = [];
        const note = (list) =>
          window.shifts.push(...list.getEntries().filter((shift) => !shift.hadRecentInput));
        new PerformanceObserver(note).observe({ type: "layout-shift", buffered: false });
      });
      await studio.submit({ prompt: "a still lake", ...BRISK, height: 384 });
      const first = studio.page.locator(".card").first();
      const sheet = first.locator(".sheet");
      const size = () => sheet.evaluate((node) => [node.offsetWidth, node.offsetHeight]);
      const [width, height] = await size();
      await studio.reaches("completed");
      await studio.submit({ prompt: "two still lakes", ...BRISK, n: 2 });
      await studio.reaches("completed");
      await page.locator(".print-button.is-in").nth(3).waitFor();
      assert.ok(Math.abs(height / width - 1.5) < 0.02, `${width} × ${height}`);
      const moved = await page.evaluate(() => ({
        sum: window.shifts.reduce((sum, shift) => sum + shift.value, 0),
        nodes: window.shifts.flatMap((shift) =>
          shift.sources.map(({ node }) => node?.className ?? node?.nodeName),
        ),
      }));
      assert.ok(moved.sum <= SHIFT_MAX, JSON.stringify(moved));
    },
    { viewport: { width: 1280, height: 1800 } },
  ),
);

test(
  "a frame that was seen before is a blurred miniature until its picture is there",
  asVisitor(async (studio) => {
    const { page } = studio;
    await studio.submit({ prompt: "seen before", ...BRISK });
    await studio.reaches("completed");
    await page.waitForFunction(() =>
      localStorage.getItem("framewire.tiny")?.includes("data:image"),
    );
    await page.route("**/v1/artifacts/**", () => {}); // Never comes.
    await page.reload();
    await studio.live();
    const tiny = page.locator(".print-button img.is-tiny");
    await tiny.waitFor();
    assert.ok(await tiny.evaluate((img) => img.naturalWidth > 0 && img.naturalWidth <= 20));
  }),
);
