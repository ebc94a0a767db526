// Pictures to start from: chosen, dropped, pasted or taken from the gallery, with a painted mask.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { asVisitor as visitorOf, launch } from "./browser.mjs";

let browser;
before(async () => (browser = await launch()));
after(() => browser.close());

const asVisitor = (body, options) => visitorOf(() => browser, body, options);

const BRISK = { steps: 6, step_ms: 30, width: 256, height: 256 };

/** Draws a picture in the page, as its bytes in base64. */
const picture = (page, width, height, type = "image/png") =>
  page.evaluate(
    async ([w, h, kind]) => {
      const canvas = new OffscreenCanvas(w, h);
      const context = canvas.getContext("2d");
      context.fillStyle = "steelblue";
      context.fillRect(0, 0, w, h);
      context.fillStyle = "gold";
      context.fillRect(w / 4, h / 4, w / 2, h / 2);
      const blob = await canvas.convertToBlob({ type: kind });
      return btoa(String.fromCharCode(...new Uint8Array(await blob.arrayBuffer())));
    },
    [width, height, type],
  );

/** Puts a file into the page as a drop or a paste would. */
const hand = (page, how, base64, type = "image/png") =>
  page.evaluate(
    ([event, text, kind]) => {
      const bytes = Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
      const data = new DataTransfer();
      data.items.add(new File([bytes], "holiday.png", { type: kind }));
      const init = { bubbles: true, cancelable: true };
      const made =
        event === "paste"
          ? new ClipboardEvent("paste", { ...init, clipboardData: data })
          : new DragEvent("drop", { ...init, dataTransfer: data });
      document.getElementById("prompt").dispatchEvent(made);
    },
    [how, base64, type],
  );

/** Chooses a file by the button. */
async function choose(page, width, height) {
  const buffer = Buffer.from(await picture(page, width, height), "base64");
  const [chooser] = await Promise.all([
    page.waitForEvent("filechooser"),
    page.locator("#source-choose").click(),
  ]);
  await chooser.setFiles({ name: "holiday.png", mimeType: "image/png", buffer });
  await page.locator("#source-view img").waitFor();
}

/** Gives the input of the next order, and its job's id. */
async function ordered(studio, settings) {
  const [request] = await Promise.all([
    studio.page.waitForRequest(
      (asked) => asked.method() === "POST" && /v1\/jobs$/.test(asked.url()),
    ),
    studio.submit(settings),
  ]);
  return request.postDataJSON().input;
}

/** Reads the mask's file: how light it is in its middle and in its corner, 0 to 255. */
const lights = (page, file) =>
  page.evaluate(async (name) => {
    const blob = await (await fetch(`/v1/files/${name}`)).blob();
    const bitmap = await createImageBitmap(blob);
    const { width, height } = bitmap;
    const context = new OffscreenCanvas(width, height).getContext("2d");
    context.drawImage(bitmap, 0, 0);
    const light = (x, y) => context.getImageData(x, y, 1, 1).data[0];
    return { width, height, middle: light(width >> 1, height >> 1), corner: light(1, 1) };
  }, file);

test(
  "a picture that is chosen sets the size, is named in the order and can be removed again",
  asVisitor(async (studio) => {
    const { page } = studio;
    await choose(page, 512, 256);
    assert.equal(await page.locator("#width").inputValue(), "512");
    assert.equal(await page.locator("#height").inputValue(), "256");
    const input = await ordered(studio, { prompt: "gold on steel", ...BRISK, strength: 40 });
    assert.match(input.image, /^file_/);
    assert.equal(input.strength, 0.4);
    await studio.reaches("completed");
    assert.match(await page.locator(".card .facts").textContent(), /FromA picture.*40 %/i);

    await page.reload();
    await studio.live();
    await page.locator("#source-view img").waitFor();
    await page.locator("#source-remove").click();
    assert.equal(
      "image" in (await ordered(studio, { prompt: "nothing to start", ...BRISK })),
      false,
    );
  }),
);

test(
  "a picture can be dropped or pasted, and what is no picture says so",
  asVisitor(async (studio) => {
    const { page } = studio;
    await hand(page, "paste", await picture(page, 128, 256));
    await page.locator("#source-view img").waitFor();
    assert.equal(await page.locator("#height").inputValue(), "256");
    await hand(page, "drop", await picture(page, 256, 128));
    await page.waitForFunction(() => document.getElementById("height").value === "128");
    await hand(page, "drop", btoa("GIF89a"), "image/gif");
    await page.locator("#image-fault").filter({ hasText: "must be PNG, JPEG or WebP" }).waitFor();
    await hand(page, "drop", btoa("no picture at all"));
    await page.locator("#image-fault").filter({ hasText: /\w/ }).waitFor();
  }),
);

test(
  "a frame of the gallery is the next order's start, without being sent again",
  asVisitor(async (studio) => {
    const { page } = studio;
    await studio.submit({ prompt: "the first draft", ...BRISK });
    const id = await studio.reaches("completed");
    await studio.prints.first().click();
    await page.locator("#view-start").click();
    await page.locator("#source-view img").waitFor();
    const input = await ordered(studio, { prompt: "the second draft", ...BRISK });
    const { frames } = (await studio.api(`/v1/jobs/${id}`)).body;
    assert.equal(input.image, frames[0].url);
    await studio.reaches("completed");
  }),
);

test(
  "a mask is painted by mouse, undone, inverted and erased, and goes with the order",
  asVisitor(async (studio) => {
    const { page } = studio;
    await choose(page, 256, 256);
    await page.locator("#source-mask").click();
    const cover = page.locator("#mask-cover");
    const canvas = page.locator(".mask-canvas");
    const box = await canvas.boundingBox();
    const at = (x, y) => [box.x + box.width * x, box.y + box.height * y];
    await page.mouse.move(...at(0.4, 0.5));
    await page.mouse.down();
    await page.mouse.move(...at(0.6, 0.5), { steps: 5 });
    await page.mouse.up();
    const painted = await cover.textContent();
    assert.match(painted, /^[1-9]\d? % is drawn anew$/);

    await page.keyboard.press("Control+z");
    assert.match(await cover.textContent(), /^Nothing is masked/);
    await page.keyboard.press("Control+Shift+z");
    assert.equal(await cover.textContent(), painted);
    await page.getByRole("button", { name: "Invert" }).click();
    assert.match(await cover.textContent(), /^9\d %/);
    await page.getByRole("button", { name: "Invert" }).click();
    await page.getByRole("button", { name: "Use this mask" }).click();
    await page.locator("#source-view .mask-veil").waitFor();

    const input = await ordered(studio, { prompt: "a new middle", ...BRISK });
    assert.match(input.mask, /^file_/);
    const { width, middle, corner } = await lights(page, input.mask);
    assert.deepEqual({ width, middle, corner }, { width: 256, middle: 255, corner: 0 });
    await studio.reaches("completed");

    await page.locator("#source-mask").click();
    await cover.filter({ hasText: painted }).waitFor();
    await page.getByRole("button", { name: "Clear" }).click();
    await page.getByRole("button", { name: "Use this mask" }).click();
    await page.locator("#source-view .mask-veil").waitFor({ state: "detached" });
  }),
);

test(
  "a mask is painted by the keyboard alone",
  asVisitor(async (studio) => {
    const { page } = studio;
    await choose(page, 256, 256);
    await page.locator("#source-mask").focus();
    await page.keyboard.press("Enter");
    await page.locator(".mask-canvas:focus").waitFor();
    await page.keyboard.down("Space");
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("Shift+ArrowRight");
    await page.keyboard.up("Space");
    assert.match(await page.locator("#mask-cover").textContent(), /% is drawn anew/);
    const use = page.getByRole("button", { name: "Use this mask" });
    while (!(await use.evaluate((node) => node === document.activeElement))) {
      await page.keyboard.press("Tab");
    }
    await page.keyboard.press("Enter");
    await page.locator("#source-view .mask-veil").waitFor();
    assert.ok(
      await page.locator("#source-mask").evaluate((node) => node === document.activeElement),
    );
  }),
);

test(
  "a finger paints a mask and does not scroll the page",
  asVisitor(
    async (studio) => {
      const { page } = studio;
      await choose(page, 256, 256);
      await page.locator("#source-mask").click();
      const box = await page.locator(".mask-canvas").boundingBox();
      assert.ok(box.width > 200 && box.x >= 0 && box.x + box.width <= 390, JSON.stringify(box));
      await page.touchscreen.tap(box.x + box.width / 2, box.y + box.height / 2);
      await page.locator("#mask-cover").filter({ hasText: "% is drawn anew" }).waitFor();
    },
    { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true },
  ),
);
