// A Framewire of a test's own, and an eye on what a page shows.
//
// FRAMEWIRE_UP is the program `framewire`. What is started here may be killed and cut off, beside
// other tests.

import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

export const PROGRAM = process.env.FRAMEWIRE_UP;

/** Runs `framewire up` on a free port; `url` is where its gateway is. */
export async function up() {
  const folder = mkdtempSync(join(tmpdir(), "fw-morph."));
  const launcher = spawn(PROGRAM, ["up", "--listen", "127.0.0.1:0", "--data", folder], {
    env: { ...process.env, FRAMEWIRE_BUILTIN_FAULTS: "true" },
    stdio: ["ignore", "pipe", "ignore"],
  });
  let url;
  for await (const line of createInterface({ input: launcher.stdout })) {
    url = line.match(/ studio +(\S+)\/studio/)?.[1];
    if (url) break;
  }
  launcher.stdout.resume();
  if (!url) throw new Error("framewire up did not say where it is");
  return {
    url,
    killGateway() {
      const who = ["-P", String(launcher.pid), "-f", "framewire-gateway"];
      const [gateway] = execFileSync("pgrep", who, { encoding: "utf8" }).split("\n");
      process.kill(Number(gateway), "SIGKILL");
    },
    /** Ends all of it. The second signal hurries. */
    async stop() {
      if (launcher.exitCode === null) {
        const gone = once(launcher, "exit");
        launcher.kill("SIGTERM");
        launcher.kill("SIGTERM");
        await gone;
      }
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/**
 * Looks at the picture in every frame that the page paints; before the page's own scripts, so from
 * the first one on. `window.eye` is what it saw.
 */
export const watchPicture = (page) =>
  page.addInitScript(() => {
    const eye = (window.eye = { looks: 0, black: 0, blank: 0, darkest: 255, still_ms_max: 0 });
    const small = new OffscreenCanvas(48, 30).getContext("2d", { willReadFrequently: true });
    let before = null;
    let changed_at = performance.now();
    /** Stillness is measured from now on. */
    eye.restart = () => {
      eye.still_ms_max = 0;
      changed_at = performance.now();
    };
    const look = () => {
      requestAnimationFrame(look);
      const ground = document.getElementById("ground");
      const shown = [...document.querySelectorAll("#stage canvas")].at(-1) ?? ground;
      // What has not come from the network yet can't be drawn here; the screen has mist meanwhile.
      if (!shown || (shown === ground && !(ground.complete && ground.naturalWidth))) return;
      small.fillRect(0, 0, 48, 30);
      small.drawImage(shown, 0, 0, 48, 30);
      const { data } = small.getImageData(0, 0, 48, 30);
      let sum = 0;
      let least = 255;
      let most = 0;
      for (let at = 0; at < data.length; at += 4) {
        const light = (data[at] + data[at + 1] + data[at + 2]) / 3;
        sum += light;
        least = Math.min(least, light);
        most = Math.max(most, light);
      }
      const mean = sum / (data.length / 4);
      eye.looks++;
      eye.darkest = Math.min(eye.darkest, mean);
      eye.black += Number(mean < 8);
      eye.blank += Number(most - least < 8);
      if (mean < 8 || most - least < 8) {
        const { turns } = document.body.dataset;
        eye.worst ??= `${shown.nodeName} ${shown.width}×${shown.height}, look ${eye.looks}, turn ${turns}`;
      }
      const now = performance.now();
      if (!before || data.some((value, at) => value !== before[at])) changed_at = now;
      before = data;
      eye.still_ms_max = Math.max(eye.still_ms_max, now - changed_at);
    };
    requestAnimationFrame(look);
  });

/** Looks at what the browser really shows, by its own recording; `seen()` says how dark it was. */
export async function watchScreen(page, helper) {
  const cdp = await page.context().newCDPSession(page);
  let looks = 0;
  let darkest = 255;
  let looking = Promise.resolve();
  cdp.on("Page.screencastFrame", ({ data, sessionId }) => {
    looking = looking.then(async () => {
      const mean = await helper.evaluate(async (jpeg) => {
        const bytes = Uint8Array.from(atob(jpeg), (char) => char.charCodeAt(0));
        const picture = await createImageBitmap(new Blob([bytes], { type: "image/jpeg" }));
        const small = new OffscreenCanvas(32, 20).getContext("2d");
        small.drawImage(picture, 0, 0, 32, 20);
        const { data } = small.getImageData(0, 0, 32, 20);
        return data.reduce((sum, value, at) => sum + (at % 4 < 3 ? value : 0), 0) / (32 * 20 * 3);
      }, data);
      looks++;
      darkest = Math.min(darkest, mean);
      // The next is sent when this one is acknowledged, so that it never piles up.
      await cdp.send("Page.screencastFrameAck", { sessionId }).catch(() => {});
    });
  });
  const how = { format: "jpeg", quality: 40, maxWidth: 160, maxHeight: 100, everyNthFrame: 6 };
  await cdp.send("Page.startScreencast", how);
  return async () => {
    await cdp.send("Page.stopScreencast");
    await looking;
    return { looks, darkest };
  };
}
