// Says how the page hears of news: a word in the corner, and a banner while it hears of none.
//
// Streams are renewed all the time, so the banner comes only when that takes a while. It lies over
// the page, so that nothing moves for it.

import { announce, find, setText } from "/studio/dom.js";

const WORD = {
  connecting: "Connecting",
  live: "Live",
  delayed: "Delayed",
  reconnecting: "Reconnecting",
  polling: "Polling",
  offline: "Offline",
};

/** A reconnection that takes no longer is nobody's business. */
const PATIENCE_MS = 1500;
const RECOVERED_MS = 4000;

export class Connection {
  #state = "connecting";
  #timer = 0;
  #wasAway = false;

  /** `reconnect()` is called when the reader doesn't want to wait. */
  constructor(reconnect) {
    find("banner-now").addEventListener("click", reconnect);
    addEventListener("offline", () => this.is("reconnecting"));
    addEventListener("online", () => this.#state === "offline" && this.is("reconnecting"));
  }

  /** Takes the client's state. */
  is(state) {
    const isAway = state === "reconnecting" || state === "connecting";
    this.#show(isAway && navigator.onLine === false ? "offline" : state);
  }

  /** A ping says whether the gateway itself hears of everything. */
  ping({ live }) {
    if (this.#state === "live" || this.#state === "delayed") {
      this.#show(live === false ? "delayed" : "live");
    }
  }

  #show(state) {
    if (state === this.#state) return;
    this.#state = state;
    find("connection").dataset.state = state;
    setText(find("connection-word"), WORD[state]);
    clearTimeout(this.#timer);
    if (state === "live" || state === "polling") return this.#recovered();
    if (state === "offline") return this.#away();
    if (state === "reconnecting" && !this.#wasAway) {
      this.#timer = setTimeout(() => this.#away(), PATIENCE_MS);
    } else if (this.#wasAway) this.#away();
  }

  #away() {
    this.#wasAway = true;
    const text =
      this.#state === "offline"
        ? "You are offline. Your jobs go on, and the page catches up when you are back."
        : "The gateway can't be reached. Your jobs go on; the page keeps trying.";
    this.#say(text, this.#state !== "offline");
  }

  #recovered() {
    if (!this.#wasAway) return;
    this.#wasAway = false;
    this.#say("Back again, and up to date.", false);
    this.#timer = setTimeout(() => (find("banner").hidden = true), RECOVERED_MS);
  }

  #say(text, canHurry) {
    const banner = find("banner");
    banner.hidden = false;
    banner.dataset.state = this.#wasAway ? "away" : "back";
    setText(find("banner-word"), text);
    announce(text);
    find("banner-now").hidden = !canHurry;
  }
}
