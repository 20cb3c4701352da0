/**
 * The contract's one definition of audio level: RMS of the analyser's byte spectrum / 255.
 *
 * The byte spectrum is the Web Audio AnalyserNode's, computed here chunk by chunk so that meter, silence threshold and
 * server agree: 2,048 samples, Blackman window with alpha 0.16, |X| / N, smoothed by 0.8, -100..-30 dB to 0..255.
 * `pipeline/level.py` is the same algorithm; a test compares the two.
 */

const FFT_SIZE = 2048;
const SMOOTHING = 0.8;
const MIN_DECIBELS = -100;
const MAX_DECIBELS = -30;

const WINDOW = Float32Array.from({ length: FFT_SIZE }, (_, n) => {
  const turn = (2 * Math.PI * n) / FFT_SIZE;
  return 0.42 - 0.5 * Math.cos(turn) + 0.08 * Math.cos(2 * turn);
});
const COS = Float64Array.from({ length: FFT_SIZE / 2 }, (_, k) => Math.cos((2 * Math.PI * k) / FFT_SIZE));
const SIN = Float64Array.from({ length: FFT_SIZE / 2 }, (_, k) => -Math.sin((2 * Math.PI * k) / FFT_SIZE));

/** In-place radix-2 FFT of FFT_SIZE points. @param {Float64Array} re @param {Float64Array} im */
function fft(re, im) {
  for (let i = 1, j = 0; i < FFT_SIZE; i++) {
    let bit = FFT_SIZE >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [re[i], re[j]] = [re[j], re[i]];
      [im[i], im[j]] = [im[j], im[i]];
    }
  }
  for (let size = 2; size <= FFT_SIZE; size *= 2) {
    const half = size / 2;
    const stride = FFT_SIZE / size;
    for (let start = 0; start < FFT_SIZE; start += size) {
      for (let k = 0; k < half; k++) {
        const a = start + k;
        const b = a + half;
        const c = COS[k * stride];
        const s = SIN[k * stride];
        const r = re[b] * c - im[b] * s;
        const q = re[b] * s + im[b] * c;
        re[b] = re[a] - r;
        im[b] = im[a] - q;
        re[a] += r;
        im[a] += q;
      }
    }
  }
}

/** One analyser node, fed chunk by chunk. */
export class LevelMeter {
  constructor() {
    this.newest = new Float32Array(FFT_SIZE);
    this.smoothed = new Float64Array(FFT_SIZE / 2);
    this.re = new Float64Array(FFT_SIZE);
    this.im = new Float64Array(FFT_SIZE);
  }

  /** @param {Float32Array} samples at most 2,048, usually a chunk @returns {number} the level, 0..1 */
  push(samples) {
    this.newest.copyWithin(0, samples.length);
    this.newest.set(samples, FFT_SIZE - samples.length);
    for (let i = 0; i < FFT_SIZE; i++) this.re[i] = this.newest[i] * WINDOW[i];
    this.im.fill(0);
    fft(this.re, this.im);
    let sum = 0;
    for (let k = 0; k < FFT_SIZE / 2; k++) {
      const magnitude = Math.hypot(this.re[k], this.im[k]) / FFT_SIZE;
      this.smoothed[k] = SMOOTHING * this.smoothed[k] + (1 - SMOOTHING) * magnitude;
      const decibels = 20 * Math.log10(Math.max(this.smoothed[k], 1e-12));
      const scaled = (255 * (decibels - MIN_DECIBELS)) / (MAX_DECIBELS - MIN_DECIBELS);
      const octet = Math.max(0, Math.min(255, Math.floor(scaled)));
      sum += octet * octet;
    }
    return Math.sqrt(sum / (FFT_SIZE / 2)) / 255;
  }
}
