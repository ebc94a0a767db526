// Speaks HTTP to the gateway as one session.
//
// In a page the session is a cookie that scripts can't read, so a page asks for one that keeps what
// there is; a program keeps the token, sends it as a header, and sees a 401 where it opens nothing any
// more. An outage must not lose a session, and a token that was given is never replaced.

/** A refusal in the gateway's own words (RFC 9457). */
export class Problem extends Error {
  constructor(status, document, retryAfterMs) {
    super(document?.detail || document?.title || `The gateway answered ${status}`);
    this.name = "Problem";
    this.status = status;
    this.code = document?.code ?? null;
    this.fields = document?.errors ?? [];
    /** What to show instead, where there is something. */
    this.fallback = document?.fallback ?? null;
    this.retryAfterMs = retryAfterMs;
  }
}

export class Session {
  #base;
  #fetch;
  #token;
  #given;
  #opening = null;

  constructor({ url, token, fetch }) {
    this.#base = url;
    this.#fetch = fetch;
    this.#token = token ?? null;
    this.#given = token !== undefined;
    /** Whether the browser carries the session, for all tabs alike. */
    this.isCookie = !this.#given && globalThis.location !== undefined;
  }

  /** Makes an address of the gateway absolute. */
  href(path) {
    return new URL(path, this.#base).href;
  }

  /** Fetches as this session and gives the answer as it is. */
  fetch(path, init = {}) {
    const headers = {
      ...init.headers,
      ...(this.#token && { Authorization: `Bearer ${this.#token}` }),
    };
    return this.#fetch(this.href(path), { credentials: "same-origin", ...init, headers });
  }

  /** Calls the API; gives the document, or throws a `Problem`. Makes a session if there is none. */
  async call(method, path, options) {
    try {
      return await this.#once(method, path, options);
    } catch (error) {
      if (error.status !== 401 || this.#given) throw error;
      await this.ensure();
      return this.#once(method, path, options);
    }
  }

  /** Makes a session if there is none. */
  ensure() {
    this.#opening ??= alone(this.isCookie, () => this.#open()).finally(
      () => (this.#opening = null),
    );
    return this.#opening;
  }

  async #open() {
    if (this.isCookie) return this.#once("POST", "/v1/sessions", { body: { keep: true } });
    try {
      return await this.#once("GET", "/v1/jobs?limit=1");
    } catch (error) {
      if (error.status !== 401 || this.#given) throw error;
    }
    this.#token = null;
    this.#token = (await this.#once("POST", "/v1/sessions", { body: {} })).token;
  }

  async #once(method, path, { body, headers } = {}) {
    const isForm = body instanceof FormData;
    const response = await this.fetch(path, {
      method,
      headers: {
        Accept: "application/json",
        ...(body && !isForm && { "Content-Type": "application/json" }),
        ...headers,
      },
      body: isForm ? body : body && JSON.stringify(body),
      cache: "no-store",
    });
    if (response.ok) return response.status === 204 ? null : response.json();
    const document = await response.json().catch(() => null);
    const seconds = Number(response.headers.get("Retry-After"));
    throw new Problem(response.status, document, seconds > 0 ? seconds * 1000 : null);
  }
}

/** Two tabs opened together must not each make a session and overwrite the other's cookie. */
const alone = (isCookie, work) =>
  isCookie && globalThis.navigator?.locks
    ? navigator.locks.request("framewire.session", work)
    : work();
