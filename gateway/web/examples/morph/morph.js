// Pictures that become each other, for as long as somebody looks.
//
// The parts, from the order to the eye: `journey` says what is drawn next, the client's FrameBuffer
// keeps frames of it ahead, `gallery` hands out the next picture (a new one, else one that was kept,
// else the one that ships), `show` decides when it takes its turn, `stage` paints. `panel` is the line
// at the bottom. There is a picture on the stage from the first moment, and none leaves it before
// another is decoded: so nothing is ever black, whatever happens to network, gateway or provider.
//
// The address may say: prompt, model, seconds (a picture's turn), size (WIDTHxHEIGHT), paint (gl or
// plain; WebGL where it is fast is the default).

import { AsyncFrameLoader, Framewire, FrameBuffer } from "/client/framewire.js";

import { Gallery } from "./gallery.js";
import { Journey } from "./journey.js";
import { Panel } from "./panel.js";
import { Show } from "./show.js";
import { Stage } from "./stage.js";

/** Frames kept in the browser for bad times. */
const KEPT_MAX = 60;
const AHEAD = 3;

const said = new URLSearchParams(location.search);
const fw = new Framewire({
  model: said.get("model") ?? undefined,
  cacheFrames: true,
  framesMax: KEPT_MAX,
});
const loader = new AsyncFrameLoader((url) => fw.frames.get(url), { parallel: 3 });
const journey = new Journey(said.get("prompt") ?? "", said.get("size"));

// What the last visit had ordered comes first; an order that is refused for its size goes without.
let resumed = fw.resume();
const ask = fw.generate.bind(fw);
fw.generate = (order, how) =>
  ask(order, how).catch((problem) => {
    journey.refused(problem);
    throw problem;
  });
const next = async () => {
  const handles = await resumed.catch(() => []);
  resumed = Promise.resolve(handles);
  return handles.shift() ?? journey.next();
};
const buffer = FrameBuffer.of(fw, next, { ahead: AHEAD, load: (url) => loader.load(url) });

const gallery = new Gallery(buffer, fw.frames);
const ground = document.getElementById("ground");
const stage = new Stage(document.getElementById("stage"), ground, said.get("paint"));
const show = new Show(stage, gallery, Number(said.get("seconds")) || undefined);
const panel = new Panel(document, {
  pause: () => show.pause(),
  wish: (prompt) => {
    journey.wish(prompt);
    buffer.flush();
    gallery.forget();
    show.hurry();
  },
});

show.onTurn = (turn) => panel.turn(turn, journey.prompt);
show.onFrame = () => {
  const offline = !navigator.onLine;
  panel.state(show.isPaused ? "paused" : offline ? "offline" : gallery.state);
};
void show.run();

// A reload without a network finds the page again: what it was made of is kept, too.
void (async () => {
  const { serviceWorker } = navigator;
  if (!serviceWorker || !globalThis.caches) return;
  await serviceWorker.register("/examples/morph/sw.js");
  const paths = performance.getEntriesByType("resource").map(({ name }) => new URL(name).pathname);
  const parts = paths.filter((path) => /\.(js|css)$/.test(path));
  await (await caches.open("morph.page")).addAll(parts);
})().catch(() => {});
