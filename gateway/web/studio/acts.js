// What can be done with a job, wherever it is shown: on its card, in the list, in the larger view.

import { copy } from "/studio/copy.js";
import { announce } from "/studio/dom.js";
import { openMenu } from "/studio/menu.js";
import { curl, javascript } from "/studio/snippets.js";
import { explain, hasEnded } from "/studio/words.js";

/**
 * @param {{shelf, form, compare, drawer, board}} parts each a function, because they know each other
 */
export function actsOf({ shelf, form, compare, drawer, board }) {
  const acts = {
    cancel: ({ id }) => shelf().cancel(id),
    retry: ({ id }) => shelf().retry(id),
    remove: ({ id }) => shelf().remove(id),
    send: (order) => form().send(order),
    explain,

    /** Puts what a job was made from back into the form. */
    reuse({ model, input, priority }, seed = input.seed) {
      const { prompt, negative_prompt, width, height, steps, output_format } = input;
      form().fill({ model, prompt, negative_prompt: negative_prompt ?? "", steps, output_format });
      form().fill({ width, height, seed, priority });
      form().source.take(input);
      form().focus();
    },

    /** Begins the next picture with a frame. */
    start({ job, frame }) {
      form().fill({ prompt: job.input.prompt });
      form().source.start(frame);
    },

    compare: (job) => compare().open(job),

    menu(job, anchor) {
      if (job.isOrder) return;
      const frame = job.frames[0];
      const attempt = (act) => () =>
        Promise.resolve(act()).catch((error) => announce(explain(error)));
      const items = [
        !hasEnded(job) && ["Cancel", attempt(() => acts.cancel(job))],
        (job.status === "failed" || job.status === "cancelled") && [
          "Retry",
          attempt(() => acts.retry(job)),
        ],
        ["Use prompt and seed", () => acts.reuse(job)],
        frame && form().canStart && ["Start from this frame", () => acts.start({ job, frame })],
        frame && ["Compare seeds", () => acts.compare(job)],
        ["Copy as curl", () => copy(curl(job, location.origin), "The curl command")],
        ["Copy as JavaScript", () => copy(javascript(job, location.origin), "The JavaScript")],
        ["Show its events", () => drawer().open(job.id)],
        hasEnded(job) && ["Delete job and frames", attempt(() => acts.remove(job))],
      ];
      closeDialogs(anchor, items);
      openMenu(anchor, items.filter(Boolean));
    },

    /** Brings a job's card into view, or what there is of it. */
    reveal: ({ id }) => board().reveal(id),
  };
  return acts;
}

/** What is chosen in a dialog happens behind it. */
function closeDialogs(anchor, items) {
  const dialog = anchor.closest("dialog");
  if (!dialog) return;
  for (const item of items.filter(Boolean)) {
    const [text, act] = item;
    if (text.startsWith("Copy")) continue;
    item[1] = () => {
      dialog.close();
      act();
    };
  }
}
