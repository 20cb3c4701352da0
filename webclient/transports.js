/**
 * How sound reaches the server and frames come back.
 *
 * Each transport takes chunks and hands out pictures: `start`, `chunk`, `text`, `binary`, `stop`.
 */

import { CHUNK_MS, History, WINDOW_CHUNKS, WINDOW_SAMPLES } from "./audio.js";
import { Type, decodeImage, encode, float32Bytes, fromBase64, int16Bytes, toBase64 } from "./codec.js";

/** @typedef {import("./connection.js").Connection} Connection */
/** @typedef {import("./display.js").Picture} Picture */
/** @typedef {{type: number, frameId: number, payload: Uint8Array<ArrayBuffer>}} BinaryMessage */
/** @typedef {{level?: number, silent?: boolean, dropped?: number, serverMs?: number, speaker?: string}} FrameNews */

/**
 * @typedef {object} TransportOptions
 * @property {string} [speaker]
 * @property {"full" | "patch"} view
 * @property {"live" | "lossless"} [pace] lossless: the sound is played later than it is sent, so every frame can still come
 * @property {number} silenceThreshold
 * @property {number} lookaheadMs of the speaker, where the transport does not learn it
 * @property {string} [name] under which others may watch a live stream
 * @property {(picture: Picture, news: FrameNews) => void} onPicture
 */

/** JPEGs of base frames, by speaker and index. They live as long as the connection: the server sends each once. */
export class BaseFrames {
  constructor() {
    /** @type {Map<string, Uint8Array<ArrayBuffer>>} */
    this.known = new Map();
    this.bytes = 0;
  }

  /** @param {string} speaker @param {number} index @param {Uint8Array<ArrayBuffer>} jpeg */
  add(speaker, index, jpeg) {
    this.known.set(`${speaker}/${index}`, jpeg);
    this.bytes += jpeg.length;
  }

  /** @param {string} speaker @param {number} index */
  get(speaker, index) {
    return this.known.get(`${speaker}/${index}`);
  }

  /** How large a whole frame is, as far as one can tell from the base frames. */
  get meanBytes() {
    return this.known.size ? this.bytes / this.known.size : 0;
  }
}

/** A lossless stream that is this many chunks behind goes on as a live one: better some frames lost than all late. */
const MOST_WAITING = 15;

/** 40 ms at a time; the server keeps the window. */
export class LiveTransport {
  /** @param {Connection} connection @param {BaseFrames} bases @param {TransportOptions} options */
  constructor(connection, bases, options) {
    this.connection = connection;
    this.bases = bases;
    this.options = options;
    this.skipped = 0;
    this.missingBases = 0;
    this.imageBytes = 0;
    this.pictures = 0;
    /** Chunks of this source so far, over reconnects. */
    this.total = 0;
    /** The first of them that the server's present stream knows: its chunk 0. */
    this.first = 0;
    this.running = false;
    this.refused = false;
    /** @type {Map<number, number>} chunk of the present stream -> when it left, ms */
    this.sentAt = new Map();
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    this.start();
  }

  /** Also after a reconnect: the server's clock begins anew, the source's goes on. */
  start() {
    this.running = false;
    this.refused = false;
    this.first = this.total;
    this.sentAt.clear();
    const { speaker, view, silenceThreshold, name, pace = "live" } = this.options;
    this.connection.sendJson({
      action: "start_stream",
      version: 1,
      speaker: speaker ?? null,
      pace,
      view,
      silence_threshold: silenceThreshold,
      ...(name ? { name } : {}),
    });
  }

  /** @param {Float32Array} samples @param {number} frameId */
  chunk(samples, frameId) {
    if (this.options.pace === "lossless" && this.sentAt.size > MOST_WAITING) {
      this.options.pace = "live";
      this.skipped += this.sentAt.size;
      this.start();
    }
    const number = this.total++;
    if (this.refused || !this.connection.sendBinary(encode(Type.AUDIO_CHUNK, frameId, int16Bytes(samples)))) {
      this.skipped++;
      return;
    }
    this.sentAt.set(number - this.first, performance.now());
  }

  /** @param {any} answer @returns {boolean} whether it was for this transport */
  text(answer) {
    if (answer.action === "stream_started") {
      this.running = true;
      return true;
    }
    if (answer.success === false && typeof answer.chunk === "number" && answer.error !== "unknown_speaker") {
      this.sentAt.delete(answer.chunk); // one frame of a file that never comes; the next frame's `dropped` counts it
      return true;
    }
    return answer.action === "stream_stopped" || answer.action === "model_switched";
  }

  /** @param {BinaryMessage} message */
  binary({ type, payload }) {
    if (type === Type.BASE_FRAME) {
      const { meta, image } = decodeImage(payload);
      this.bases.add(meta.speaker, meta.base, image);
      return;
    }
    if (!this.running || (type !== Type.LIVE_FRAME && type !== Type.MOUTH_PATCH)) return;
    const { meta, image } = decodeImage(payload);
    const sentAt = this.sentAt.get(meta.chunk);
    for (const chunk of this.sentAt.keys()) if (chunk <= meta.chunk) this.sentAt.delete(chunk);
    const base = type === Type.MOUTH_PATCH ? this.bases.get(meta.speaker, meta.base) : undefined;
    this.imageBytes += image.length;
    this.pictures++;
    if (type === Type.MOUTH_PATCH && !base) {
      this.missingBases++;
      return;
    }
    this.options.onPicture(
      {
        audioMs: meta.audio_ms + this.first * CHUNK_MS,
        image,
        box: meta.box ?? undefined,
        base,
        baseIndex: meta.base,
        sentAt,
      },
      {
        level: meta.level,
        silent: meta.silent ?? false,
        dropped: meta.dropped ?? 0,
        serverMs: meta.server_ms,
        speaker: meta.speaker,
      },
    );
  }

  /** @returns {number} what patches save against whole frames, 0..1 */
  get saving() {
    const whole = this.pictures * this.bases.meanBytes;
    return this.options.view === "patch" && whole ? 1 - this.imageBytes / whole : 0;
  }

  /** @param {string} speaker */
  switchSpeaker(speaker) {
    this.options.speaker = speaker;
    this.connection.sendJson({ action: "switch_model", speaker });
  }

  stop() {
    this.connection.sendJson({ action: "stop_stream" });
  }
}

const WATCH_AGAIN_MS = 2000;

/** Another session's frames, without sound of one's own. When that session ends, waits for the next of its name. */
export class WatchTransport extends LiveTransport {
  start() {
    clearTimeout(this.timer);
    this.running = false;
    this.connection.sendJson({ action: "watch", version: 1, name: this.options.name, view: this.options.view });
  }

  /** @param {any} answer @returns {boolean} */
  text(answer) {
    if (answer.action === "stream_stopped") this.again();
    return super.text(answer);
  }

  again() {
    this.running = false;
    this.timer = setTimeout(() => this.start(), WATCH_AGAIN_MS);
  }

  stop() {
    clearTimeout(this.timer);
  }
}

/** How long an answer may take before the next window goes out all the same. */
const PATIENCE_MS = 2000;

/** The original's way: the last 16 chunks as one window, one request in flight, what is skipped meanwhile counted. */
export class WindowTransport {
  /** @param {Connection} connection @param {"binary" | "json"} form @param {TransportOptions} options */
  constructor(connection, form, options) {
    this.connection = connection;
    this.form = form;
    this.options = options;
    this.history = new History();
    this.skipped = 0;
    this.missingBases = 0;
    this.saving = 0;
    /** @type {{endMs: number, sentAt: number, frameId: number} | null} */
    this.inFlight = null;
  }

  /** Also after a reconnect: what was under way is lost. */
  start() {
    this.inFlight = null;
  }

  /** @param {Float32Array} samples @param {number} frameId @param {number} level of the newest chunk */
  chunk(samples, frameId, level) {
    this.history.push(samples);
    const now = performance.now();
    if (this.inFlight && now - this.inFlight.sentAt < PATIENCE_MS) {
      this.skipped++;
      return;
    }
    const silent = level < this.options.silenceThreshold;
    const window = silent ? new Float32Array(WINDOW_SAMPLES) : this.history.newest(WINDOW_CHUNKS);
    if (!this.#request(frameId, float32Bytes(window))) {
      this.skipped++;
      return;
    }
    this.inFlight = { endMs: this.history.count * CHUNK_MS, sentAt: now, frameId };
  }

  /** @param {number} frameId @param {Uint8Array<ArrayBuffer>} audio */
  #request(frameId, audio) {
    if (this.form === "binary") return this.connection.sendBinary(encode(Type.AUDIO_REQUEST, frameId, audio));
    return this.connection.sendJson({
      action: "generate_frame",
      frame_id: frameId,
      audio_data: toBase64(audio),
      use_real_audio: true,
      ...(this.options.speaker ? { speaker: this.options.speaker } : {}),
    });
  }

  /** @param {any} answer @returns {boolean} whether it was for this transport */
  text(answer) {
    if (answer.success === false) {
      this.inFlight = null;
      return false;
    }
    if (!answer.frame_data) return false;
    this.#picture(answer.frame_id, fromBase64(answer.frame_data), {
      serverMs: answer.processing_time,
      speaker: answer.speaker,
    });
    return true;
  }

  /** @param {BinaryMessage} message */
  binary({ type, frameId, payload }) {
    if (type === Type.FRAME_RESPONSE) this.#picture(frameId, payload, {});
  }

  /** @param {number} frameId @param {Uint8Array<ArrayBuffer>} image @param {FrameNews} news */
  #picture(frameId, image, news) {
    if (!this.inFlight || this.inFlight.frameId !== frameId) return;
    const { endMs, sentAt } = this.inFlight;
    this.inFlight = null;
    this.options.onPicture({ audioMs: endMs - this.options.lookaheadMs, image, sentAt }, news);
  }

  /** @param {string} speaker */
  switchSpeaker(speaker) {
    this.options.speaker = speaker;
  }

  stop() {}
}
