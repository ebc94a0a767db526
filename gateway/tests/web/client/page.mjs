// What the client's tests in a browser have in common.

import { launch } from "../browser.mjs";

export const BRISK = { prompt: "a red fox in snow", width: 64, height: 64, steps: 4, step_ms: 20 };
export const SLOW = { ...BRISK, steps: 30, step_ms: 100 };

/** Orders in the page and leaves the handle in `window.job`. */
export const order = (page, what) =>
  page.evaluate(async (input) => {
    window.job = await window.fw.generate(input);
    return window.job.id;
  }, what);

export const runs = (page) => page.reaches(() => window.job.progress?.step >= 2);

/** The outcome of `window.job`, as far as it can leave the page. */
export async function outcome(page) {
  await page.reaches(() => window.job.settled);
  return page.evaluate(async () => {
    const { status, picture, job } = await window.job.result;
    const { width } = await createImageBitmap(await window.fw.frames.get(picture));
    return { status, picture, id: job.id, width };
  });
}

export const jobsOf = (page) =>
  page.evaluate(async () => (await (await fetch("/v1/jobs?limit=100")).json()).data);

/** Starts a browser for a file of tests; what it gives, gives a test a context, so a session, of its own. */
export function inBrowser({ after, before }) {
  let browser;
  before(async () => (browser = await launch()));
  after(() => browser.close());
  const inContext = (body) => async () => {
    const context = await browser.newContext();
    try {
      await body(context, browser);
    } finally {
      await context.close();
    }
  };
  return inContext;
}
