// Puts the studio together: form → gateway → stream → jobs → board and gallery.
//
// On load it looks for the session and its active jobs, which come with the stream's head; the
// stream is opened at that head, so nothing that happens in between is missed. A stream that can't
// keep its position says so, and the page takes a new snapshot.

import * as api from "/studio/api.js";
import { Board } from "/studio/board.js";
import { OrderForm } from "/studio/form.js";
import { Gallery } from "/studio/gallery.js";
import { EVENT_TYPES, Jobs } from "/studio/jobs.js";
import { Stream } from "/studio/stream.js";
import { Viewer } from "/studio/viewer.js";
import { announcement } from "/studio/words.js";

const find = (id) => document.getElementById(id);
const jobs = new Jobs();

const form = new OrderForm(find("order"), {
  onAccepted(job) {
    board.accept();
    board.file(jobs.all());
    jobs.take(job);
    announce(job);
    board.reveal(job.id);
  },
  onRefused(order, error) {
    board.refuse(order, error);
    find("announcer").textContent = api.explain(error);
  },
});

const gallery = new Gallery(find("gallery"), (entry) => viewer.open(entry));

const viewer = new Viewer(
  find("view"),
  () => gallery.entries(),
  ({ job, frame }) => reuse(job, frame.seed),
);

const board = new Board(find("cards"), find("empty"), {
  cancel: async (job) => jobs.take(await api.cancelJob(job.id)),
  retry: async (job) => jobs.take(await api.retryJob(job.id)),
  reuse: (job) => reuse(job, job.input.seed),
  open: (job, index) => {
    const entry = gallery
      .entries()
      .find((other) => other.job.id === job.id && other.frame.index === index);
    if (entry) viewer.open(entry);
  },
  send: (order) => form.send(order),
  explain: api.explain,
});

function reuse({ input, priority }, seed) {
  const { prompt, width, height, steps, output_format } = input;
  form.fill({ prompt, width, height, steps, output_format, seed, priority });
  form.focus();
}

jobs.onChange((job, before) => {
  if (!job) {
    board.remove(before.id);
    gallery.remove(before);
    return;
  }
  board.show(job);
  gallery.show(job);
  if (before && before.status !== job.status) announce(job);
});

function announce(job) {
  const words = announcement(job);
  if (words) find("announcer").textContent = words;
}

const CONNECTION = {
  connecting: "Connecting",
  live: "Live",
  delayed: "Delayed",
  reconnecting: "Reconnecting",
  offline: "Offline",
  ended: "Disconnected",
};

function showConnection(state, reason) {
  const node = find("connection");
  if (node.dataset.state === state) return;
  node.dataset.state = state;
  find("connection-word").textContent = CONNECTION[state];
  node.title = reason ? `The gateway closed the stream: ${reason}` : "";
  find("reconnect").hidden = state !== "ended";
}

const stream = new Stream(EVENT_TYPES, {
  prepare: api.ensureSession,
  onReset: () => snapshot(),
  onEvent: (type, data) => jobs.apply(type, data),
  onState: showConnection,
});

async function snapshot(tries = 0) {
  try {
    takeSnapshot(...(await Promise.all([api.activeJobs(), api.listJobs()])));
  } catch {
    setTimeout(() => snapshot(tries + 1), api.backoff(tries));
  }
}

function takeSnapshot(active, page) {
  for (const job of [...page.data, ...active.jobs]) jobs.take(job);
  if (!active.more) jobs.recheck(new Set(active.jobs.map((job) => job.id)));
  board.fallBackTo(jobs.all()[0]);
  offerOlder(page.next_cursor);
}

let olderCursor = null;

function offerOlder(cursor) {
  olderCursor = cursor;
  find("older").hidden = !cursor;
}

find("older").addEventListener("click", async () => {
  const page = await api.listJobs(olderCursor);
  for (const job of page.data) jobs.take(job);
  offerOlder(page.next_cursor);
});

find("reconnect").addEventListener("click", () => stream.reconnect());

for (const idea of document.querySelectorAll(".idea")) {
  idea.addEventListener("click", () => {
    form.fill({ prompt: idea.textContent });
    form.focus();
  });
}

async function start(tries = 0) {
  try {
    const active = await api.ensureSession();
    const page = await api.listJobs();
    takeSnapshot(active, page);
    document.body.dataset.ready = "";
    stream.start(active.head);
  } catch {
    showConnection(navigator.onLine ? "reconnecting" : "offline");
    setTimeout(() => start(tries + 1), api.backoff(tries));
  }
}

start();
