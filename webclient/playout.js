/** When to show frames that come from a network: a jitter buffer that is as short as the last two seconds allow. */

const REMEMBERED = 50;
const LONGEST_MS = 60;
const COVERED = 0.75;

export class Playout {
  constructor() {
    /** @type {number[]} arrival minus moment of the sound, of the last frames */
    this.transits = [];
    /** How long frames are held beyond the fastest of them. */
    this.delayMs = 0;
  }

  /** @param {number} audioMs @param {number} arrivedMs @returns {number} when to show it, on the clock of `arrivedMs` */
  due(audioMs, arrivedMs) {
    this.transits.push(arrivedMs - audioMs);
    if (this.transits.length > REMEMBERED) this.transits.shift();
    const sorted = [...this.transits].sort((a, b) => a - b);
    const usual = sorted[Math.floor((sorted.length - 1) * COVERED)];
    this.delayMs = Math.min(usual - sorted[0], LONGEST_MS);
    return audioMs + sorted[0] + this.delayMs;
  }
}
