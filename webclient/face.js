/**
 * A face in a page of your own. See embed/example.html.
 *
 *     const face = new LipwireFace(document.querySelector("canvas"), { url: "wss://host/ws" });
 *     face.addEventListener("message", (event) => console.log(event.detail.words));
 *     face.connect();
 *     button.onclick = () => face.listen();        // or face.playFile(arrayBuffer), or face.beginSend() and face.send(samples)
 */

import { Chunker, WINDOW_SAMPLES } from "./audio.js";
import { Capture } from "./capture.js";
import { fromBase64, toBase64 } from "./codec.js";
import { Connection } from "./connection.js";
import { Display } from "./display.js";
import { FixedAudio } from "./fixed.js";
import { Recent } from "./figures.js";
import { LevelMeter } from "./level.js";
import { Player } from "./player.js";
import { tokenQuery } from "./token.js";
import { BaseFrames, LiveTransport, WatchTransport, WindowTransport } from "./transports.js";
import { failingWords, failureWords, fileWords, microphoneWords, tuningWords } from "./words.js";

const LIVE_FRAME_IDS = 500;
const TEST_FRAME_IDS = 10;
/** Resting faces count from here: whatever answers such a frame_id answers them. A multiple of the loops' lengths. */
const RESTING_FRAME_IDS = 4_000_000_000;
const REST_AGAIN_MS = 1000;
/** What passes by itself, when a stage is back. */
const PASSING = ["timeout", "unavailable", "overloaded"];

/**
 * @typedef {object} FaceOptions
 * @property {string} [url] of the WebSocket; default: /ws where the page comes from
 * @property {string} [speaker] default: the server's
 * @property {"live" | "binary" | "json"} [transport] default: live
 * @property {"full" | "patch"} [view] patch sends the mouth only; default: full
 * @property {number} [silenceThreshold] audio level below which the mouth rests; default: 0.01
 * @property {string} [name] under which others can watch
 */
/** @typedef {"none" | "sample" | "file" | "microphone" | "tab" | "test" | "own" | "watch"} SourceName */
/** @typedef {{stop: () => void, position: (() => number) | null, track?: MediaStreamTrack}} Source */

/** @returns {string} */
export function defaultUrl() {
  return `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws${tokenQuery()}`;
}

/**
 * Events, each with a `detail`:
 * `state` {state, words} of the connection; `message` {words, kind: "info" | "error"}; `source` SourceName;
 * `models` {models, default}; `stats` {stages}; `level` {level, silent}; `frame` FrameNews.
 */
export class LipwireFace extends EventTarget {
  /** @param {HTMLCanvasElement} canvas @param {FaceOptions} [options] */
  constructor(canvas, options = {}) {
    super();
    this.options = {
      transport: /** @type {"live" | "binary" | "json"} */ ("live"),
      view: /** @type {"full" | "patch"} */ ("full"),
      silenceThreshold: 0.01,
      ...options,
    };
    this.display = new Display(canvas);
    this.connection = new Connection(options.url ?? defaultUrl());
    this.bases = new BaseFrames();
    /** @type {SourceName} */
    this.sourceName = "none";
    /** @type {Source | null} */
    this.source = null;
    /** @type {LiveTransport | WindowTransport | null} */
    this.transport = null;
    /** @type {any[]} */
    this.models = [];
    this.defaultSpeaker = "";
    this.framesReceived = 0;
    this.framesSent = 0;
    this.serverDropped = 0;
    /** Who painted the latest frame, as the server says. */
    this.speaking = "";
    this.skipped = 0;
    this.level = 0;
    this.lastError = "";
    this.failing = false;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.restingTimer = undefined;
    /** What will pass has been told of a resting face, and is to be taken back. */
    this.restingDelayed = false;
    this.tuning = 0;
    this.roundTrips = new Recent();
    this.frameId = 0;
    this.meter = new LevelMeter();
    this.generation = 0;
    this.#listenToConnection();
  }

  connect() {
    this.connection.open();
  }

  close() {
    this.stop();
    this.connection.close();
    this.display.close();
  }

  // ---- what one can look at ----------------------------------------------------------------------------------------

  /** A snapshot for panels and tests. */
  get figures() {
    const { display, transport } = this;
    return {
      connection: this.connection.state,
      connectionState: this.connection.state,
      reconnects: this.connection.reconnects,
      source: this.sourceName,
      framesSent: this.framesSent,
      framesReceived: this.framesReceived,
      framesDrawn: display.drawn,
      late: display.late,
      dropped: this.serverDropped + display.late + display.undecodable + (transport?.missingBases ?? 0),
      serverDropped: this.serverDropped,
      speaker: this.speaking,
      skipped: this.skipped + (transport?.skipped ?? 0),
      saving: transport?.saving ?? 0,
      avOffsetMs: display.offsets.quantile(0.5),
      avOffsetWorstMs: Math.max(0, ...display.offsets.values.map(Math.abs)),
      roundTripMs: this.roundTrips.quantile(0.5),
      drawLatencyMs: display.latencies.quantile(0.5),
      drawLatencyP95Ms: display.latencies.quantile(0.95),
      jitterBufferMs: display.position === null ? display.playout.delayMs : 0,
      level: this.level,
      bytesReceived: this.connection.bytesReceived,
      bytesSent: this.connection.bytesSent,
      lastError: this.lastError,
    };
  }

  // ---- sources -----------------------------------------------------------------------------------------------------

  /** @param {ArrayBuffer} file @param {string} [title] for messages @param {SourceName} [name] */
  playFile(file, title = "The file", name = "file") {
    return this.#speak(
      name,
      (onChunk) => new Player(onChunk, () => this.stop()),
      (/** @type {Player} */ player) => player.start(file),
      (error) => fileWords(error, title),
    );
  }

  /** @param {import("./capture.js").CaptureOptions} [options] */
  listen(options) {
    return this.#capture("microphone", (capture) => capture.startMicrophone(options));
  }

  listenToTab() {
    return this.#capture("tab", (capture) => capture.startTab());
  }

  /** @param {SourceName} name @param {(capture: Capture) => Promise<void>} begin */
  #capture(name, begin) {
    const unplugged = () => {
      this.stop();
      this.#tell(
        name === "tab" ? "The tab is no longer shared." : "The microphone was unplugged. Plug it in and start again.",
        name === "tab" ? "info" : "error",
      );
    };
    return this.#speak(name, (onChunk) => new Capture(onChunk, unplugged), begin, microphoneWords);
  }

  /** Fixed audio, frame ids 0..9. */
  test() {
    return this.#speak("test", (onChunk) => new FixedAudio(onChunk), (/** @type {FixedAudio} */ fixed) => fixed.start(), String);
  }

  /** Sound of your own: afterwards call `send` with it as it comes. */
  beginSend() {
    return this.#speak(
      "own",
      (onChunk) => {
        const chunker = new Chunker(onChunk);
        return { stop() {}, position: null, push: (/** @type {Float32Array} */ samples) => chunker.push(samples) };
      },
      async () => {},
      String,
    );
  }

  /** @param {Float32Array} samples mono, 24 kHz, in [-1, 1], any number of them */
  send(samples) {
    if (this.sourceName !== "own") throw new Error("call beginSend first");
    /** @type {any} */ (this.source).push(samples);
  }

  /** Show another session. @param {string} name */
  watch(name) {
    this.stop();
    this.sourceName = "watch";
    this.#announce("source", this.sourceName);
    this.transport = new WatchTransport(this.connection, this.bases, { ...this.#transportOptions(), name });
  }

  stop() {
    if (this.sourceName === "none") return;
    this.generation++;
    this.source?.stop();
    this.source = null;
    this.skipped += this.transport?.skipped ?? 0;
    this.transport?.stop();
    this.transport = null;
    this.display.clear();
    this.sourceName = "none";
    this.level = 0;
    this.#announce("level", { level: 0, silent: true });
    this.#announce("source", this.sourceName);
    this.showRestingFace();
  }

  /**
   * @template {Source} S
   * @param {SourceName} name
   * @param {(onChunk: (chunk: Float32Array) => void) => S} make
   * @param {(source: S) => Promise<void>} begin
   * @param {(error: Error) => string} words
   */
  async #speak(name, make, begin, words) {
    this.stop();
    if (!this.connection.connected) return this.#tell("There is no connection to the server yet.", "error");
    this.#tell("");
    const generation = ++this.generation;
    this.meter = new LevelMeter();
    this.roundTrips.clear();
    this.display.clear();
    this.serverDropped = 0;
    const source = make((chunk) => {
      if (generation === this.generation) this.#chunk(chunk);
    });
    this.source = source;
    this.sourceName = name;
    this.#announce("source", name);
    try {
      this.transport = this.#makeTransport();
      await begin(source);
      if (generation !== this.generation) return source.stop();
      if (source.position) this.display.position = () => /** @type {() => number} */ (source.position).call(source);
    } catch (error) {
      if (generation !== this.generation) return;
      this.stop();
      this.#tell(words(/** @type {Error} */ (error)), "error");
    }
  }

  /** @param {Float32Array} chunk */
  #chunk(chunk) {
    this.level = this.meter.push(chunk);
    this.#announce("level", { level: this.level, silent: this.level < this.options.silenceThreshold });
    const ids = this.sourceName === "test" ? TEST_FRAME_IDS : LIVE_FRAME_IDS;
    this.frameId = (this.frameId + 1) % ids;
    this.framesSent++;
    this.transport?.chunk(chunk, this.frameId, this.level);
  }

  // ---- transports --------------------------------------------------------------------------------------------------

  #makeTransport() {
    const { transport } = this.options;
    if (transport === "live") return new LiveTransport(this.connection, this.bases, this.#transportOptions());
    if (transport === "binary" && this.options.speaker && this.options.speaker !== this.defaultSpeaker) {
      this.#tell("Binary requests name no speaker: the server's default speaks.");
    }
    return new WindowTransport(this.connection, transport, this.#transportOptions());
  }

  /** @returns {import("./transports.js").TransportOptions} */
  #transportOptions() {
    const { speaker, view, silenceThreshold, name } = this.options;
    const model = this.models.find((known) => known.name === (speaker ?? this.defaultSpeaker));
    return {
      speaker,
      view,
      pace: this.sourceName === "sample" || this.sourceName === "file" ? "lossless" : "live",
      silenceThreshold,
      name,
      lookaheadMs: model?.lookahead_ms ?? 40,
      onPicture: (picture, news) => {
        this.framesReceived++;
        if (news.dropped !== undefined) this.serverDropped = news.dropped;
        if (news.speaker !== undefined) this.speaking = news.speaker;
        if (picture.sentAt !== undefined) this.roundTrips.add(performance.now() - picture.sentAt);
        if (this.sourceName === "watch") {
          this.level = news.level ?? 0;
          this.#announce("level", { level: this.level, silent: news.silent });
        }
        this.display.add(picture);
        this.#announce("frame", news);
      },
    };
  }

  /** @param {string} speaker by name; also while it speaks */
  setSpeaker(speaker) {
    this.options.speaker = speaker;
    if (this.transport && this.sourceName !== "watch") this.transport.switchSpeaker(speaker);
    else if (!this.transport) this.showRestingFace();
  }

  /** Options hold from the next start on; what runs is begun again. @param {Partial<FaceOptions>} options */
  configure(options) {
    Object.assign(this.options, options);
    if (!this.transport || this.sourceName === "watch") return;
    const first = this.transport instanceof LiveTransport ? this.transport.total : this.transport.history.count;
    this.skipped += this.transport.skipped;
    this.transport.stop();
    const next = this.#makeTransport();
    if (next instanceof LiveTransport) next.first = next.total = first;
    else next.history.count = first;
    this.transport = next;
  }

  /** One frame of silence by the plain JSON request: the face is there before anything is played. */
  showRestingFace() {
    clearTimeout(this.restingTimer);
    if (!this.connection.connected || this.transport) return;
    const { speaker } = this.options;
    this.connection.sendJson({
      action: "generate_frame",
      frame_id: RESTING_FRAME_IDS + this.frameId,
      audio_data: toBase64(new Uint8Array(WINDOW_SAMPLES * 2)),
      use_real_audio: true,
      ...(speaker ? { speaker } : {}),
    });
  }

  // ---- the connection ----------------------------------------------------------------------------------------------

  #listenToConnection() {
    const { connection } = this;
    /** @param {string} name @param {(detail: any) => void} take */
    const on = (name, take) =>
      connection.addEventListener(name, (event) => take(/** @type {CustomEvent} */ (event).detail));
    on("state", (detail) => {
      if (detail.state === "connected") this.#connected();
      if (detail.state === "waiting") this.#tell(detail.words, "error");
      this.#announce("state", detail);
    });
    on("text", (answer) => this.#text(answer));
    on("binary", (message) => {
      try {
        this.transport?.binary(message);
      } catch (error) {
        this.#tell(`The server sent a frame that this page cannot read: ${error}`, "error");
      }
    });
    on("broken", (words) => this.#tell(words, "error"));
  }

  #connected() {
    this.#tell("");
    this.bases = new BaseFrames();
    this.connection.sendJson({ action: "list_models" });
    this.connection.sendJson({ action: "stats", enabled: true });
    if (this.transport) {
      if (this.transport instanceof LiveTransport) this.transport.bases = this.bases;
      this.transport.start();
    } else {
      this.showRestingFace();
    }
  }

  /** @param {any} answer */
  #text(answer) {
    if (answer.frame_id >= RESTING_FRAME_IDS) return this.#resting(answer);
    if (this.transport?.text(answer)) return;
    if (answer.success === false) this.#failed(answer);
    else if (answer.action === "models") {
      this.models = answer.models;
      this.defaultSpeaker = answer.default;
      this.#announce("models", answer);
    } else if (answer.action === "stats") this.#stats(answer);
  }

  /** What became of a resting face; nobody looks at it where something is played by now. @param {any} answer */
  #resting(answer) {
    if (this.transport) return;
    if (answer.frame_data) {
      if (this.restingDelayed) this.#tell("");
      this.restingDelayed = false;
      this.display.still(fromBase64(answer.frame_data), () => this.transport === null);
      return;
    }
    this.#tell(failureWords(answer), "error");
    this.restingDelayed = PASSING.includes(answer.error);
    if (this.restingDelayed) this.restingTimer = setTimeout(() => this.showRestingFace(), REST_AGAIN_MS);
  }

  /** @param {any} answer */
  #stats(answer) {
    const failing = Object.keys(answer.failing ?? {});
    if (failing.length && !this.failing) this.#tell(failingWords(answer.failing), "error");
    if (!failing.length && this.failing) this.#tell("The server is whole again.");
    this.failing = failing.length > 0;
    const level = answer.tuning?.level ?? 0;
    if (level !== this.tuning) this.#tell(tuningWords(answer.tuning));
    this.tuning = level;
    this.#announce("stats", answer);
  }

  /** @param {{error: string, message: string}} failure */
  #failed(failure) {
    if (this.transport instanceof WatchTransport && failure.error === "unknown_session") {
      this.transport.again();
    } else if (this.transport instanceof LiveTransport && !this.transport.running) {
      if (this.transport.refused) return; // the chunks that followed a refused start_stream
      this.transport.refused = true;
      this.stop();
    } else if (failure.error === "not_negotiated") {
      return; // chunks that were under way when the stream was stopped
    }
    this.#tell(failureWords(failure), "error");
  }

  /** @param {string} words @param {"info" | "error"} [kind] */
  #tell(words, kind = "info") {
    if (kind === "error") this.lastError = words;
    this.#announce("message", { words, kind });
  }

  /** @param {string} name @param {any} detail */
  #announce(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
