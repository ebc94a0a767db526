// How the client is used; a line after `@ts-expect-error` is a mistake that must be noticed.

import { AsyncFrameLoader, Framewire, FrameBuffer, JobPicture, Problem, ProgressiveLoader } from "./framewire";
import type { Frame, Outcome, ShownFallback } from "./framewire";

export async function use(img: HTMLImageElement): Promise<void> {
  const fw = new Framewire({ url: "http://127.0.0.1:8080", timing: { capMsMax: 10_000 } });
  const job = await fw.generate({ prompt: "a red fox in snow", width: 512, model: "builtin" });
  job.on({
    position: (ahead) => ahead.toFixed(),
    progress: ({ fraction, steps }) => (fraction ?? 0) * (steps ?? 1),
    preview: ({ url }) => (img.src = url),
    frame: ({ url, width }, handle) => `${url} ${width} ${handle.id}`,
    fallback: ({ reason, url }) => (reason === "waited" ? (img.src = url ?? "") : null),
    settled: ({ picture }) => (img.src = picture ?? ""),
  });
  const outcome: Outcome = await job.result;
  const first: Frame | ShownFallback = await job.first;
  for await (const { type, v } of job) console.log(type, v, first, outcome.frames[0]?.seed);
  console.log(outcome.job.usage?.predict_s?.toFixed());
  await (await job.retry()).cancel();

  const loader = new AsyncFrameLoader((url) => fw.frames.get(url), { parallel: 2 });
  new JobPicture<ImageBitmap>((picture) => picture.close(), (url) => loader.load(url)).follow(job);
  for await (const { frame, picture } of new ProgressiveLoader(fw).want(4, { prompt: "x" })) {
    console.log(frame.url, picture);
  }
  const buffer = FrameBuffer.of(fw, () => ({ prompt: "a lighthouse" }), { ahead: 3 });
  const item = buffer.take() ?? (await buffer.next());
  console.log(item.frame.url, item.order.prompt, item.job.status, buffer.size);
  const own = new FrameBuffer(async () => ({ picture: img, name: "x" }));
  console.log(own.take()?.name.length);

  try {
    await fw.generate({ prompt: "" }, { idempotencyKey: "k", capMs: 5_000 });
  } catch (error) {
    if (error instanceof Problem) console.log(error.fields[0]?.pointer, error.fallback?.url);
  }

  // @ts-expect-error a priority has three values
  await fw.generate({ prompt: "x", priority: "urgent" });
  // @ts-expect-error a prompt is text
  await fw.generate({ prompt: 5 });
  // @ts-expect-error there is no such time
  new Framewire({ timing: { capMaxMs: 5 } });
  // @ts-expect-error there is no such callback
  job.on({ done: () => {} });
  // @ts-expect-error what is known of a job is not for others to write
  job.status = "completed";
  // @ts-expect-error the buffer may be empty
  console.log(buffer.take().frame);
  // @ts-expect-error what a buffer holds has a picture
  new FrameBuffer(async () => ({ name: "x" }));
  // @ts-expect-error a count is asked for
  new ProgressiveLoader(fw).want({ prompt: "x" });
}
