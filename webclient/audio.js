/** The contract's numbers of audio, and the history that windows are cut from. */

export const SAMPLE_RATE = 24_000;
export const CHUNK_SAMPLES = 960;
export const CHUNK_MS = (CHUNK_SAMPLES / SAMPLE_RATE) * 1000;
export const WINDOW_CHUNKS = 16;
export const WINDOW_SAMPLES = WINDOW_CHUNKS * CHUNK_SAMPLES;
export const HISTORY_CHUNKS = 500;

/** A circular buffer of the last 500 chunks, 20 s; before the first chunk lies silence. */
export class History {
  constructor() {
    this.samples = new Float32Array(HISTORY_CHUNKS * CHUNK_SAMPLES);
    /** Chunks so far. */
    this.count = 0;
  }

  /** @param {Float32Array} chunk 960 samples */
  push(chunk) {
    this.samples.set(chunk, (this.count % HISTORY_CHUNKS) * CHUNK_SAMPLES);
    this.count++;
  }

  /** @param {number} chunks how many of the newest @returns {Float32Array} the newest sample last */
  newest(chunks) {
    const out = new Float32Array(chunks * CHUNK_SAMPLES);
    for (let i = 0; i < chunks; i++) {
      const number = this.count - chunks + i;
      if (number < 0) continue;
      const start = (number % HISTORY_CHUNKS) * CHUNK_SAMPLES;
      out.set(this.samples.subarray(start, start + CHUNK_SAMPLES), i * CHUNK_SAMPLES);
    }
    return out;
  }
}

/** Cuts samples that come in pieces of any length into chunks of 960. */
export class Chunker {
  /** @param {(chunk: Float32Array) => void} onChunk */
  constructor(onChunk) {
    this.onChunk = onChunk;
    this.chunk = new Float32Array(CHUNK_SAMPLES);
    this.filled = 0;
  }

  /** @param {Float32Array} samples */
  push(samples) {
    for (let read = 0; read < samples.length; ) {
      const count = Math.min(samples.length - read, CHUNK_SAMPLES - this.filled);
      this.chunk.set(samples.subarray(read, read + count), this.filled);
      this.filled += count;
      read += count;
      if (this.filled === CHUNK_SAMPLES) {
        const whole = this.chunk;
        this.chunk = new Float32Array(CHUNK_SAMPLES);
        this.filled = 0;
        this.onChunk(whole);
      }
    }
  }
}

/** @param {AudioBuffer} buffer @returns {Float32Array} the mean of its channels */
export function mono(buffer) {
  const out = new Float32Array(buffer.length);
  for (let channel = 0; channel < buffer.numberOfChannels; channel++) {
    const samples = buffer.getChannelData(channel);
    for (let i = 0; i < out.length; i++) out[i] += samples[i] / buffer.numberOfChannels;
  }
  return out;
}
