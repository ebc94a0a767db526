// The studio's frames: batches, seeds side by side, models with fewer abilities, and orders as
// text.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, before, test } from "node:test";

import { asVisitor as visitorOf, launch } from "./browser.mjs";
import { curl, javascript, orderOf } from "../../web/studio/snippets.js";

let browser;
before(async () => (browser = await launch()));
after(() => browser.close());

const asVisitor = (body, options) => visitorOf(() => browser, body, options);

const BRISK = { steps: 6, step_ms: 30, width: 256, height: 256 };

test(
  "every frame of a batch develops on its own paper and says its seed",
  asVisitor(async (studio) => {
    await studio.submit({ prompt: "three of a kind", ...BRISK, n: 3, seed: 40 });
    await studio.reaches("completed");
    const captions = studio.page.locator(".card .caption");
    assert.deepEqual(await captions.allTextContents(), ["1 · 40", "2 · 41", "3 · 42"]);
    assert.equal(await studio.page.locator(".card .paper:enabled").count(), 3);
  }),
);

test(
  "a frame that a batch lacks says why on its own paper, and the others are there",
  asVisitor(async (studio) => {
    const { page } = studio;
    await studio.submit({ prompt: "one is missing", ...BRISK, n: 2, seed: 5 });
    const id = await studio.reaches("completed");
    // As a gateway tells of it whose provider has made one frame of two.
    await page.route(/\/v1\/jobs(\?|\/)/, async (route) => {
      const response = await route.fetch();
      const body = await response.json();
      for (const job of body.data ?? [body]) {
        if (job.id !== id) continue;
        job.frames = job.frames.slice(0, 1);
        job.missing = [{ index: 1, error: { code: "PERMANENT", message: "the filter said no" } }];
      }
      await route.fulfill({ response, json: body });
    });
    await page.reload();
    await studio.live();
    const note = page.locator(".card .paper-missing");
    await note.waitFor();
    assert.equal(await note.textContent(), "The filter said no.");
    assert.equal(await page.locator(".card .caption").last().textContent(), "2 · missing");
    assert.match(await page.locator(".card .card-reading").textContent(), /^1 of 2 frames/);
  }),
);

test(
  "seeds of one prompt stand side by side, more are ordered on the spot, and one is locked",
  asVisitor(async (studio) => {
    const { page } = studio;
    await studio.submit({ prompt: "a choice of moons", ...BRISK, n: 2, seed: 70 });
    await studio.reaches("completed");
    await page.getByRole("button", { name: "Compare seeds" }).click();
    const frames = page.locator("#compare .compare-frame");
    assert.deepEqual(await frames.locator(".compare-seed").allTextContents(), ["70", "71"]);

    await page.getByRole("button", { name: "Draw 2 more seeds" }).click();
    await page.locator("#compare .paper:enabled").nth(3).waitFor();
    const seeds = await frames.locator(".compare-seed").allTextContents();
    assert.equal(new Set(seeds).size, 4);

    await page.locator('[name="compare-view"][value="slider"]').check({ force: true });
    const slider = page.getByLabel("How much of A is seen");
    await slider.focus();
    await page.keyboard.press("Home");
    const cut = () => page.locator(".ab").evaluate((node) => node.style.getPropertyValue("--cut"));
    assert.equal(await cut(), "0%");

    await page.locator('[name="compare-view"][value="grid"]').check({ force: true });
    await frames.nth(2).getByRole("button", { name: "Lock seed" }).click();
    await page.locator("#compare").waitFor({ state: "hidden" });
    assert.equal(await page.locator("#seed").inputValue(), seeds[2]);
    assert.equal(await page.locator("#prompt").inputValue(), "a choice of moons");
  }),
);

test(
  "the form has no field for what the chosen model can't do",
  asVisitor(async (studio) => {
    const { page } = studio;
    const sizes = {
      only: [
        [1024, 1024],
        [1536, 1024],
      ],
    };
    const abilities = { sizes, size_default: [1024, 1024], formats: ["png"], n_max: 1 };
    const narrow = {
      id: "narrow",
      abilities: { ...abilities, negative_prompt: false, seed: false, steps: false },
    };
    await page.route("**/v1/models", async (route) => {
      const response = await route.fetch();
      const { data, ...list } = await response.json();
      await route.fulfill({ response, json: { ...list, data: [...data, narrow] } });
    });
    await page.reload();
    await page.locator("#model-row").waitFor();
    await page.locator(".more").evaluate((more) => (more.open = true));
    const seen = async () => {
      const rows = page.locator("#order .row[id]:visible");
      return rows.evaluateAll((nodes) => nodes.map(({ id }) => id.replace("-row", "")));
    };
    assert.deepEqual(await seen(), [
      "model",
      "shape",
      "sides",
      "steps",
      "seed",
      "n",
      "negative",
      "pace",
    ]);
    await page.locator("#model").selectOption("narrow");
    assert.deepEqual(await seen(), ["model", "only"]);

    await page.locator("#prompt").fill("as it can");
    const [request] = await Promise.all([
      page.waitForRequest((asked) => asked.method() === "POST" && /v1\/jobs$/.test(asked.url())),
      page.locator("#submit").click(),
    ]);
    const input = { prompt: "as it can", n: 1, output_format: "png", width: 1024, height: 1024 };
    assert.deepEqual(request.postDataJSON().input, input);
  }),
);

test(
  "a job copied as a shell's lines makes the same picture when they are run",
  asVisitor(
    async (studio) => {
      const { page } = studio;
      const prompt = `it's "quoted", $HOME and \\ all`;
      await studio.submit({ prompt, ...BRISK, seed: 9 });
      const id = await studio.reaches("completed");
      await page.locator(".card").getByRole("button", { name: "More" }).click();
      await page.getByRole("button", { name: "Copy as curl" }).click();
      await page.locator(".toast").waitFor();
      const text = await page.evaluate(() => navigator.clipboard.readText());
      const answer = JSON.parse(
        execFileSync("sh", ["-c", text], { encoding: "utf8", stdio: "pipe" }),
      );
      const job = (await studio.api(`/v1/jobs/${id}`)).body;
      assert.notEqual(answer.id, id);
      assert.deepEqual(answer.input, job.input);
    },
    { permissions: ["clipboard-read", "clipboard-write"] },
  ),
);

test(
  "a job copied as JavaScript makes the same picture when it is run",
  asVisitor(async (studio) => {
    const { page } = studio;
    await studio.submit({ prompt: "`back${ticks}`", ...BRISK, seed: 9 });
    const id = await studio.reaches("completed");
    const { body: job } = await studio.api(`/v1/jobs/${id}`);
    const said = page.waitForEvent("console", (message) => /^completed/.test(message.text()));
    const text = javascript(job, new URL(page.url()).origin);
    await page.evaluate(`(async () => { ${text} })()`);
    assert.match((await said).text(), /^completed http.*\/v1\/artifacts\//);
    const jobs = await studio.jobs();
    assert.equal(jobs.length, 2);
    assert.equal(jobs[0].frames[0].sha256, job.frames[0].sha256);
  }),
);

test("what a job fills in by itself is left out of its text, and a picture of ours is sent again", () => {
  const input = { prompt: "x", n: 1, image: "file_1", mask: "https://a/m.png", strength: 0.5 };
  const job = { model: "builtin", priority: "normal", input };
  assert.deepEqual(Object.keys(orderOf(job).input), ["prompt", "image", "mask", "strength"]);
  const text = curl(job, "http://h");
  assert.match(text, /^image=\$\(curl .*-F file=@image.png/m);
  assert.match(text, /"image":"'"\$image"'"/);
  assert.match(text, /"mask":"https:\/\/a\/m.png"/);
});
