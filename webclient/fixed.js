/** Test mode's source: the same 40 ms of a voice-like buzz for ever, 25 times a second. */

import { CHUNK_MS, CHUNK_SAMPLES, SAMPLE_RATE } from "./audio.js";

const PITCH_HZ = 125; // a whole number of periods in a chunk: repeated, it has no seam
const HARMONICS = 30;

export class FixedAudio {
  /** @param {(chunk: Float32Array) => void} onChunk */
  constructor(onChunk) {
    this.timer = 0;
    this.onChunk = onChunk;
    this.chunk = Float32Array.from({ length: CHUNK_SAMPLES }, (_, i) => {
      let sum = 0;
      for (let k = 1; k < HARMONICS; k++) sum += Math.sin((2 * Math.PI * PITCH_HZ * k * i) / SAMPLE_RATE) / k;
      return 0.2 * sum;
    });
  }

  async start() {
    const begin = performance.now();
    let sent = 0;
    this.timer = setInterval(() => {
      for (; sent * CHUNK_MS <= performance.now() - begin; sent++) this.onChunk(this.chunk.slice());
    }, CHUNK_MS / 4);
  }

  get position() {
    return null;
  }

  get track() {
    return undefined;
  }

  stop() {
    clearInterval(this.timer);
  }
}
