// What is new between two looks at a job, as callbacks name it. Pure.

/** Lists what is new in a job. */
export function changes(before, after) {
  const news = [];
  if (after.queue_position != null && after.queue_position !== before.queue_position) {
    news.push(["position", after.queue_position]);
  }
  const { progress, preview } = after;
  if (progress && JSON.stringify(progress) !== JSON.stringify(before.progress)) {
    news.push(["progress", progress]);
  }
  if (preview && preview.url !== before.preview?.url) news.push(["preview", preview]);
  for (const frame of after.frames) {
    if (!before.frames.some(({ url }) => url === frame.url)) news.push(["frame", frame]);
  }
  return news;
}
