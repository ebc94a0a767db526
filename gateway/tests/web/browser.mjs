// Opens the studio of a running Framewire in headless Chromium and reads it as a person would.
//
// FRAMEWIRE_URL says where it runs; FRAMEWIRE_CHROMIUM where the browser is. Every visitor is a
// browser context of its own, so a session of its own. Nothing here sleeps: waiting is on the page.

import { chromium } from "playwright-core";

const BASE = process.env.FRAMEWIRE_URL ?? "http://127.0.0.1:8080";
const CHROMIUM = process.env.FRAMEWIRE_CHROMIUM ?? "/usr/bin/chromium";
const FLAGS = [
  "--no-sandbox",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
/** A picture takes half a minute where everything else runs beside it. */
const WAIT_MS = 60_000;

/**
 * Starts the browser: with WebGL where `gl` says so (painted by the processor), and without those
 * of Playwright's own flags that are named.
 */
export const launch = ({ gl = false, without = [] } = {}) =>
  chromium.launch({
    executablePath: CHROMIUM,
    args: gl ? [...FLAGS, "--enable-unsafe-swiftshader"] : [...FLAGS, "--disable-gpu"],
    ignoreDefaultArgs: without,
  });

/** Opens the studio as somebody new, and waits until its stream is live. */
export async function visit(browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  context.setDefaultTimeout(WAIT_MS);
  return openTab(context);
}

/** Gives a test its visitor, and shows the visitor out whatever happens. */
export const asVisitor = (browser, body, options) => async () => {
  const studio = await visit(browser(), options);
  try {
    await body(studio);
  } finally {
    await studio.leave();
  }
};

/** Opens the studio in a tab more of a visitor, and waits until it hears of news. */
export async function openTab(context) {
  const page = await context.newPage();
  const studio = new Studio(context, page);
  page.on(
    "console",
    (message) => message.type() === "error" && studio.complaints.push(message.text()),
  );
  page.on("pageerror", (error) => studio.complaints.push(String(error)));
  await page.goto(new URL("/studio", BASE).href);
  await studio.live();
  return studio;
}

export class Studio {
  complaints = [];

  constructor(context, page) {
    this.context = context;
    this.page = page;
    this.cards = page.locator(".card");
    this.prints = page.locator(".print-button:enabled");
    this.view = page.locator("#view");
  }

  live() {
    return this.page.locator('#connection[data-state="live"]').waitFor();
  }

  /** Fills the form by its names; radio buttons are checked, everything else is typed. */
  async order({ prompt, ...settings }) {
    const { page } = this;
    await page.locator(".more").evaluate((more) => (more.open = true));
    for (const [name, value] of Object.entries(settings)) {
      const field = page.locator(`#order [name="${name}"]`);
      if ((await field.first().getAttribute("type")) === "radio") {
        await page.locator(`#order [name="${name}"][value="${value}"]`).check({ force: true });
      } else {
        await field.fill(String(value));
      }
    }
    await page.locator("#prompt").fill(prompt);
  }

  /** Opens the session's past as a list of jobs, or as the contact sheet. */
  past(view) {
    return this.page.locator(`[name="past-view"][value="${view}"]`).check({ force: true });
  }

  async submit(settings) {
    await this.order(settings);
    await this.page.locator("#submit").click();
  }

  /** Waits for the newest card to be in a state, and gives its job's id. */
  async reaches(status) {
    const card = this.page.locator('.card[data-job^="job_"]').first();
    await card.waitFor();
    const id = await card.getAttribute("data-job");
    await this.page.locator(`.card[data-job="${id}"][data-status="${status}"]`).waitFor();
    return id;
  }

  async passesStep(step) {
    await this.page.waitForFunction(
      (least) =>
        Number(document.querySelector(".card .ruler")?.getAttribute("aria-valuenow")) >= least,
      step,
    );
  }

  /** Asks the API from within the page, so with its cookie. */
  api(path) {
    return this.page.evaluate(async (where) => {
      const response = await fetch(where);
      return { status: response.status, body: await response.json().catch(() => null) };
    }, path);
  }

  /** Orders a job as another program of this session would. */
  orderByApi(input) {
    return this.page.evaluate(async (wanted) => {
      const response = await fetch("/v1/jobs", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ input: wanted }),
      });
      return (await response.json()).id;
    }, input);
  }

  /** Waits for a job's card to be in a state. */
  card(job, status) {
    const card = this.page.locator(`.card[data-job="${job}"][data-status="${status}"]`);
    return card.waitFor().then(() => card);
  }

  async jobs() {
    return (await this.api("/v1/jobs?limit=50")).body.data;
  }

  /** Notes every step, place and preview the board shows from now on. */
  async watch() {
    await this.page.evaluate(() => {
      const seen = (window.seen = { steps: [], readings: [], previews: 0 });
      const look = () => {
        const step = Number(
          document.querySelector(".card .ruler")?.getAttribute("aria-valuenow") ?? 0,
        );
        if (step !== (seen.steps.at(-1) ?? 0)) seen.steps.push(step);
        const reading = document.querySelector(".card-reading span")?.textContent;
        if (reading && reading !== seen.readings.at(-1)) seen.readings.push(reading);
        for (const picture of document.querySelectorAll("img.is-preview:not([data-seen])")) {
          picture.dataset.seen = "";
          seen.previews += Number(picture.naturalWidth > 0);
        }
      };
      new MutationObserver(look).observe(document.getElementById("cards"), {
        subtree: true,
        childList: true,
        attributes: true,
        characterData: true,
      });
    });
  }

  seen() {
    return this.page.evaluate(() => window.seen);
  }

  leave() {
    return this.context.close();
  }
}

/** Opens a blank page of the gateway with the client in it, as `window.fw`. */
export async function visitClient(context, options = {}) {
  context.setDefaultTimeout(WAIT_MS);
  const page = await context.newPage();
  page.streamsOpened = 0;
  page.on("request", (request) => {
    page.streamsOpened += Number(new URL(request.url()).pathname === "/v1/events");
  });
  page.begin = async () => {
    await page.evaluate(async (how) => {
      const { Framewire } = await import("/client/framewire.js");
      window.fw = new Framewire(how);
    }, options);
    return page;
  };
  /** Waits until something is true of the client. */
  page.reaches = (what) => page.waitForFunction(what);
  await page.goto(new URL("/client/framewire.js", BASE).href);
  return page.begin();
}
