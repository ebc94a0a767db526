// Speaks HTTP to the gateway as one session.
//
// In a page the session is a cookie that scripts can't read, so a page asks for one that keeps what
// there is; a program keeps the token, sends it as a header, and sees a 401 where it opens nothing any
// more. An outage must not lose a session, and a token that was given is never replaced.

/** A refusal in the gateway's own words (RFC 9457). */
export class Problem extends Error {
  /**
   * @param {number} status
   * @param {any} document
   * @param {number | null} retryAfterMs
   */
  constructor(status, document, retryAfterMs) {
    super(document?.detail || document?.title || `The gateway answered ${status}`);
    this.name = "Problem";
    this.status = status;
    /** @type {string | null} */
    this.code = document?.code ?? null;
    /** @type {{pointer: string, detail: string}[]} */
    this.fields = document?.errors ?? [];
    /** What to show instead, where there is something. @type {import("./framewire.d.ts").Fallback | null} */
    this.fallback = document?.fallback ?? null;
    this.retryAfterMs = retryAfterMs;
  }
}

export class Session {
  #base;
  #fetch;
  #token;
  #given;
  /** @type {Promise<void> | null} */
  #opening = null;

  /** @param {{url: string, token?: string, fetch: typeof globalThis.fetch}} how */
  constructor({ url, token, fetch }) {
    this.#base = url;
    this.#fetch = fetch;
    this.#token = token ?? null;
    this.#given = token !== undefined;
    /** Whether the browser carries the session, for all tabs alike. */
    this.isCookie = !this.#given && globalThis.location !== undefined;
  }

  /** Makes an address of the gateway absolute. @param {string} path */
  href(path) {
    return new URL(path, this.#base).href;
  }

  /**
   * Fetches as this session and gives the answer as it is.
   * @param {string} path
   * @param {RequestInit} init
   */
  fetch(path, init = {}) {
    const headers = {
      ...init.headers,
      ...(this.#token && { Authorization: `Bearer ${this.#token}` }),
    };
    return this.#fetch(this.href(path), { credentials: "same-origin", ...init, headers });
  }

  /**
   * Calls the API; gives the document, or throws a `Problem`. Makes a session if there is none.
   * @param {string} method
   * @param {string} path
   * @param {Call} [options]
   * @returns {Promise<any>}
   *
   * @typedef {{body?: object, headers?: Record<string, string>}} Call
   */
  async call(method, path, options) {
    try {
      return await this.#once(method, path, options);
    } catch (error) {
      if (!this.#isNobody(error)) throw error;
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

  /** Whether the gateway knows no such session, and we may make one. @param {unknown} error */
  #isNobody(error) {
    return error instanceof Problem && error.status === 401 && !this.#given;
  }

  async #open() {
    if (this.isCookie) return this.#once("POST", "/v1/sessions", { body: { keep: true } });
    try {
      return void (await this.#once("GET", "/v1/jobs?limit=1"));
    } catch (error) {
      if (!this.#isNobody(error)) throw error;
    }
    this.#token = null;
    this.#token = (await this.#once("POST", "/v1/sessions", { body: {} })).token;
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {Call} [options]
   */
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

/**
 * Two tabs opened together must not each make a session and overwrite the other's cookie.
 * @param {boolean} isCookie
 * @param {() => Promise<void>} work
 * @returns {Promise<void>}
 */
const alone = (isCookie, work) =>
  isCookie && globalThis.navigator?.locks
    ? navigator.locks.request("framewire.session", work)
    : work();
