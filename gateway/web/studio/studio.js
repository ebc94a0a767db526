// Puts the studio together: form → client → shelf → board, contact sheet, list of jobs.
//
// The client has the session, the one stream of all tabs and the jobs at work; the shelf has every
// job that the page knows. The stream is heard first and the page read then, so nothing falls in
// between; whenever something may have been missed the page catches up.

import { Framewire } from "/client/framewire.js";

import { actsOf } from "/studio/acts.js";
import { Board } from "/studio/board.js";
import { Compare } from "/studio/compare.js";
import { Connection } from "/studio/connection.js";
import { announce, find } from "/studio/dom.js";
import { Drawer } from "/studio/drawer.js";
import { newKey, OrderForm } from "/studio/form.js";
import { Log } from "/studio/log.js";
import { Past } from "/studio/past.js";
import { Shelf } from "/studio/shelf.js";
import { Viewer } from "/studio/viewer.js";
import { announcement, explain } from "/studio/words.js";

/** Pause before the page looks again, after a look that failed. */
const AGAIN_MS = 2000;

const log = new Log();
const connection = new Connection(() => fw.reconnect());

const fw = new Framewire({
  onState(state) {
    connection.is(state);
    log.add({ type: "connection", data: { state, leads: fw?.leads ?? true }, id: null });
  },
  onWire(said) {
    if (said.type === "ping") connection.ping(said.data);
    log.add(said);
  },
  onReset: () => catchUp(),
});

const shelf = new Shelf(fw);

/** Sends an order, which has its place from now on; one that was refused keeps its own meanwhile. */
async function send(order, key, onWait) {
  const makeRoom = () => {
    board.accept();
    board.file();
    past.gallery.tidy();
  };
  const isAgain = board.refuses(order);
  if (!isAgain) {
    makeRoom();
    shelf.expect(key, order);
    board.reveal(`order-${key}`);
  }
  try {
    const { job } = await fw.generate(order, { idempotencyKey: key, onWait });
    if (isAgain) makeRoom();
    shelf.accepted(key, job);
    announce(announcement(job));
  } catch (error) {
    shelf.refused(key);
    throw error;
  }
}

const form = new OrderForm(
  {
    send,
    onRefused(order, error) {
      board.refuse(order, error);
      announce(explain(error));
    },
  },
  (...args) => fw.call(...args),
);

const acts = actsOf({
  shelf: () => shelf,
  form: () => form,
  compare: () => compare,
  drawer: () => drawer,
  board: () => board,
});

const open = (job, index) => {
  const isIt = (entry) => entry.job.id === job.id && entry.frame.index === index;
  const entry = past.gallery.entries().find(isIt);
  if (entry) viewer.open(entry);
};

const board = new Board(find("cards"), find("empty"), { ...acts, open });

const past = new Past(shelf, {
  ...acts,
  open: (entry) => viewer.open(entry),
  show(job) {
    if (job.frames.length) open(job, job.frames[0].index);
    else if (!board.reveal(job.id)) drawer.open(job.id);
  },
});

const viewer = new Viewer(() => past.gallery.entries(), {
  reuse: ({ job, frame }) => acts.reuse(job, frame.seed),
  start: (entry) => acts.start(entry),
  compare: ({ job }) => acts.compare(job),
  menu: acts.menu,
});

const compare = new Compare(shelf, {
  lock: (job, seed) => acts.reuse(job, seed),
  order: (order) => send(order, newKey()),
  open,
  explain,
});

const drawer = new Drawer(log, (id) => shelf.get(id)?.input.prompt);

shelf.onChange((job, before) => {
  if (!job) {
    board.remove(before.id);
    past.remove(before);
    compare.remove(before);
    viewer.forget(before.id);
    return;
  }
  board.show(job, before);
  // Steps come many times a second, and the past has nothing to say of them.
  if (!before || before.id !== job.id || before.v !== job.v) past.show(job, before);
  compare.show(job, before);
  if (before && before.id === job.id && before.status !== job.status) announce(announcement(job));
});

/** Looks that are wanted; one at a time is taken. */
let looks = 0;

/** Reads what may have been missed, until it has been read. */
async function catchUp() {
  if (looks++ > 0) return;
  for (let taken = 0; taken < looks;) {
    const wanted = looks;
    try {
      await shelf.catchUp();
      taken = wanted;
    } catch {
      await new Promise((go) => setTimeout(go, AGAIN_MS));
    }
  }
  looks = 0;
  board.open(shelf.all()[0]);
  past.loaded();
  document.body.dataset.ready = "";
}

async function offerModels() {
  try {
    form.offer((await fw.call("GET", "/v1/models")).data);
  } catch {
    setTimeout(offerModels, AGAIN_MS);
  }
}

for (const idea of document.querySelectorAll(".idea")) {
  idea.addEventListener("click", () => {
    form.fill({ prompt: idea.textContent });
    form.focus();
  });
}

offerModels();
shelf.follow();
// Orders whose answer was lost with the page are sent again, and make no second job.
fw.resume();
