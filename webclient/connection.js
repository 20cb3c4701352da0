/** The WebSocket: reconnects by itself with backoff, says what it is doing, hands out messages. */

import { decode } from "./codec.js";

const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 10_000;

/**
 * Events: `state` ({state, words}; state is closed, connecting, connected or waiting), `text` (an object), `binary`
 * ({type, frameId, payload}), `broken` (words: a message that could not be read).
 */
export class Connection extends EventTarget {
  /** @param {string} url of the WebSocket */
  constructor(url) {
    super();
    this.url = url;
    this.state = "closed";
    this.bytesReceived = 0;
    this.bytesSent = 0;
    this.reconnects = 0;
    /** @type {WebSocket | null} */
    this.socket = null;
    this.retryMs = FIRST_RETRY_MS;
    this.retryTimer = 0;
  }

  open() {
    this.#say("connecting", "Connecting to the server.");
    const socket = new WebSocket(this.url);
    let opened = false;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      opened = true;
      this.retryMs = FIRST_RETRY_MS;
      this.#say("connected", "");
    };
    socket.onmessage = (event) => this.#receive(event.data);
    socket.onclose = async (event) => {
      if (this.socket !== socket) return;
      const wait = this.retryMs;
      this.retryMs = Math.min(wait * 2, LONGEST_RETRY_MS);
      this.reconnects++;
      this.retryTimer = setTimeout(() => this.open(), wait);
      const cause = event.reason ? `The server closed the connection: ${event.reason}.` : "The server is gone.";
      const again = ` Trying again in ${(wait / 1000).toFixed(1)} s.`;
      this.#say("waiting", cause + again);
      if (!opened) {
        const words = await this.#whyRefused();
        if (this.state === "waiting" && this.socket === socket) this.#say("waiting", words + again);
      }
    };
    this.socket = socket;
  }

  /** The browser hides why a handshake failed; the server's health tells more. */
  async #whyRefused() {
    try {
      const health = new URL("/healthz", this.url.replace(/^ws/, "http"));
      const response = await fetch(health, { signal: AbortSignal.timeout(2000) });
      const { ready, down } = await response.json();
      if (ready) return "The server refuses this page: it is full, or the address lacks its token.";
      return `The server is starting${down?.length ? ` (waiting for ${down.join(", ")})` : ""}.`;
    } catch {
      return "The server does not answer. Is lipwire running?";
    }
  }

  close() {
    clearTimeout(this.retryTimer);
    const socket = this.socket;
    this.socket = null;
    socket?.close();
    this.#say("closed", "");
  }

  /** @param {string} state @param {string} words */
  #say(state, words) {
    this.state = state;
    this.dispatchEvent(new CustomEvent("state", { detail: { state, words } }));
  }

  get connected() {
    return this.socket?.readyState === WebSocket.OPEN;
  }

  /** @param {object} message @returns {boolean} whether it left */
  sendJson(message) {
    return this.#send(JSON.stringify(message));
  }

  /** @param {Uint8Array<ArrayBuffer>} message @returns {boolean} whether it left */
  sendBinary(message) {
    return this.#send(message);
  }

  /** @param {string | Uint8Array<ArrayBuffer>} data */
  #send(data) {
    if (!this.socket || !this.connected) return false;
    this.socket.send(data);
    this.bytesSent += data.length;
    return true;
  }

  /** @param {string | ArrayBuffer} data */
  #receive(data) {
    let name;
    let detail;
    try {
      if (typeof data === "string") {
        this.bytesReceived += data.length;
        [name, detail] = ["text", JSON.parse(data)];
      } else {
        this.bytesReceived += data.byteLength;
        [name, detail] = ["binary", decode(data)];
      }
    } catch (error) {
      [name, detail] = ["broken", `The server sent what this page cannot read: ${/** @type {Error} */ (error).message}`];
    }
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
