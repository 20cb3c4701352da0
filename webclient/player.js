/** Plays a file while its chunks go to the server, a little ahead, so that each frame is there when its moment sounds. */

import { CHUNK_MS, CHUNK_SAMPLES, SAMPLE_RATE, mono } from "./audio.js";

/** A chunk leaves this long before it sounds: time for the server and the network. */
const LEAD_S = 0.25;
const TICK_MS = 10;
/** Silence after the end, so that the mouth comes to rest. */
const TAIL_CHUNKS = 8;

export class Player {
  /** @param {(chunk: Float32Array) => void} onChunk @param {() => void} onEnd */
  constructor(onChunk, onEnd) {
    this.onChunk = onChunk;
    this.onEnd = onEnd;
    this.startedAt = 0;
    this.stopped = false;
    this.timer = 0;
  }

  /** @param {ArrayBuffer} file in any format that the browser decodes @throws {DOMException} where it does not */
  async start(file) {
    const context = new AudioContext({ sampleRate: SAMPLE_RATE, latencyHint: "interactive" });
    this.context = context;
    const buffer = await context.decodeAudioData(file);
    await context.resume();
    if (this.stopped) return;
    const samples = mono(buffer);
    const chunks = Math.ceil(samples.length / CHUNK_SAMPLES) + TAIL_CHUNKS;
    this.recordable = context.createMediaStreamDestination();
    this.source = new AudioBufferSourceNode(context, { buffer });
    this.source.connect(context.destination);
    this.source.connect(this.recordable);
    this.startedAt = context.currentTime + LEAD_S;
    this.source.start(this.startedAt);
    let sent = 0;
    this.timer = setInterval(() => {
      const ahead = context.currentTime - this.startedAt + LEAD_S;
      while (sent < chunks && ((sent + 1) * CHUNK_MS) / 1000 <= ahead) {
        const chunk = new Float32Array(CHUNK_SAMPLES);
        chunk.set(samples.subarray(sent * CHUNK_SAMPLES, (sent + 1) * CHUNK_SAMPLES));
        sent++;
        this.onChunk(chunk);
      }
      if (this.position() * 1000 > chunks * CHUNK_MS) this.onEnd();
    }, TICK_MS);
  }

  /** @returns {number} seconds into the file of what is heard now */
  position() {
    if (!this.context) return -LEAD_S;
    return this.context.currentTime - this.startedAt - (this.context.outputLatency || 0);
  }

  /** @returns {MediaStreamTrack | undefined} what a recording would hear */
  get track() {
    return this.recordable?.stream.getAudioTracks()[0];
  }

  stop() {
    this.stopped = true;
    clearInterval(this.timer);
    if (this.startedAt) this.source?.stop();
    if (this.context?.state !== "closed") this.context?.close();
  }
}
