/** The WebSocket with its live stream: reconnects by itself, says what it is doing, hands out frames and answers. */

import { Type, decode, decodeFrame, encode, int16Bytes } from "./codec.js";

const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 10_000;
const LIVE_FRAME_IDS = 500;

/** Events: `state` (detail: text), `frame` ({meta, image, sentAt}), `answer` (JSON), `failure` ({error, message}). */
export class Connection extends EventTarget {
  /** @param {string} url */
  constructor(url) {
    super();
    this.url = url;
    this.state = "closed";
    this.bytesReceived = 0;
    /** @type {WebSocket | null} */
    this.socket = null;
    this.retryMs = FIRST_RETRY_MS;
    this.nextChunk = 0;
    /** @type {Map<number, number>} chunk -> when it was sent, ms */
    this.sentAt = new Map();
  }

  open() {
    this.#say("connecting");
    const socket = new WebSocket(this.url);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this.retryMs = FIRST_RETRY_MS;
      this.#say("connected");
    };
    socket.onmessage = (event) => this.#receive(event.data);
    socket.onclose = (event) => {
      const wait = this.retryMs;
      this.retryMs = Math.min(wait * 2, LONGEST_RETRY_MS);
      this.#say("waiting", `${event.reason || "The server is gone."} Trying again in ${(wait / 1000).toFixed(1)} s.`);
      setTimeout(() => this.open(), wait);
    };
    this.socket = socket;
  }

  #say(state, words = "") {
    this.state = state;
    this.dispatchEvent(new CustomEvent("state", { detail: { state, words } }));
  }

  get connected() {
    return this.socket !== null && this.socket.readyState === WebSocket.OPEN;
  }

  /** @param {object} message */
  sendJson(message) {
    if (this.connected) this.socket.send(JSON.stringify(message));
  }

  /** @param {{speaker?: string, view?: string, silence_threshold?: number}} options */
  startStream(options) {
    this.nextChunk = 0;
    this.sentAt.clear();
    this.sendJson({ action: "start_stream", version: 1, ...options });
  }

  stopStream() {
    this.sendJson({ action: "stop_stream" });
  }

  /** @param {Float32Array} samples 960 of them @returns {number} the chunk's number */
  sendChunk(samples) {
    const chunk = this.nextChunk++;
    if (this.connected) {
      this.sentAt.set(chunk, performance.now());
      this.socket.send(encode(Type.AUDIO_CHUNK, chunk % LIVE_FRAME_IDS, int16Bytes(samples)));
    }
    return chunk;
  }

  #receive(data) {
    if (typeof data === "string") {
      const answer = JSON.parse(data);
      this.dispatchEvent(new CustomEvent(answer.success ? "answer" : "failure", { detail: answer }));
      return;
    }
    this.bytesReceived += data.byteLength;
    const message = decode(data);
    if (message.type === Type.LIVE_FRAME) {
      const { meta, image } = decodeFrame(message.payload);
      const sentAt = this.sentAt.get(meta.chunk);
      for (const chunk of this.sentAt.keys()) if (chunk <= meta.chunk) this.sentAt.delete(chunk);
      this.dispatchEvent(new CustomEvent("frame", { detail: { meta, image, sentAt } }));
    }
  }
}
