// Keeps the page itself for a reload without a network or a gateway. Frames are kept by the client;
// the API is not touched.

const NAME = "morph.page";
const PAGE = "/examples/morph/";
const FILES = /^\/(examples\/morph|client)\/[\w.-]*$|^\/v1\/fallback\.webp$/;

self.addEventListener("install", (event) => {
  self.skipWaiting();
  event.waitUntil(caches.open(NAME).then((cache) => cache.addAll([PAGE, "/v1/fallback.webp"])));
});

self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const { origin, pathname } = new URL(request.url);
  if (request.method !== "GET" || origin !== location.origin || !FILES.test(pathname)) return;
  event.respondWith(freshElseKept(request, pathname));
});

/** What the gateway gives now, so that a page is of one version; else what it gave last. */
async function freshElseKept(request, pathname) {
  const cache = await caches.open(NAME);
  try {
    const response = await fetch(request);
    if (!response.ok) throw new Error(String(response.status));
    await cache.put(pathname, response.clone());
    return response;
  } catch (error) {
    const kept = await cache.match(pathname);
    if (kept) return kept;
    throw error;
  }
}
