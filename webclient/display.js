/** Draws frames: decoded off the main thread, drawn on requestAnimationFrame, in step with the sound where there is one. */

import { Recent } from "./figures.js";
import { Playout } from "./playout.js";

const MOST_WAITING = 50;
/** Half a screen refresh: what is due by the middle of the next one is drawn now. */
const HALF_REFRESH_MS = 8;

/**
 * @typedef {object} Picture
 * @property {number} audioMs the moment of the sound that it shows
 * @property {Uint8Array<ArrayBuffer>} image JPEG, of the whole frame or of the box
 * @property {number[]} [box] x, y, width, height of the image within the frame
 * @property {Uint8Array<ArrayBuffer>} [base] JPEG of the frame under the box
 * @property {number} [baseIndex] which base frame lies under the mouth
 * @property {number} [sentAt] when its chunk was complete, on performance.now's clock
 */

/** @param {Uint8Array<ArrayBuffer>} jpeg */
const decodeJpeg = (jpeg) => createImageBitmap(new Blob([jpeg], { type: "image/jpeg" }));

export class Display {
  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    this.context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { alpha: false }));
    /** @type {{picture: Picture, bitmaps: ImageBitmap[], due: number}[]} in the order of their sound */
    this.waiting = [];
    this.drawn = 0;
    /** Frames that a newer one overtook. */
    this.late = 0;
    this.undecodable = 0;
    /** Sound minus picture at the moment of drawing, ms: positive where the picture is behind. */
    this.offsets = new Recent();
    /** From chunk complete to frame drawn, ms. */
    this.latencies = new Recent();
    this.epoch = Symbol("stream");
    this.lastAudioMs = -Infinity;
    this.playout = new Playout();
    /** @type {(() => number) | null} position of the sound that is heard, in s; null: show frames as they come */
    this.position = null;
    /** @type {number | undefined} */
    this.lastBase = undefined;
    const tick = () => {
      this.#draw();
      this.ticking = requestAnimationFrame(tick);
    };
    this.ticking = requestAnimationFrame(tick);
  }

  /** Forget what waits; the next frames belong to another stream. */
  clear() {
    for (const { bitmaps } of this.waiting) for (const bitmap of bitmaps) bitmap.close();
    this.waiting = [];
    this.offsets.clear();
    this.latencies.clear();
    this.epoch = Symbol("stream");
    this.lastAudioMs = -Infinity;
    this.playout = new Playout();
    this.position = null;
  }

  /** @param {Picture} picture */
  async add(picture) {
    const epoch = this.epoch;
    const due = this.playout.due(picture.audioMs, performance.now());
    let bitmaps;
    try {
      bitmaps = await Promise.all((picture.base ? [picture.base, picture.image] : [picture.image]).map(decodeJpeg));
    } catch {
      this.undecodable++;
      return;
    }
    if (epoch !== this.epoch) {
      for (const bitmap of bitmaps) bitmap.close();
      return;
    }
    this.waiting.push({ picture, bitmaps, due });
    this.waiting.sort((a, b) => a.picture.audioMs - b.picture.audioMs);
    while (this.waiting.length > MOST_WAITING || this.waiting[0]?.picture.audioMs < this.lastAudioMs) this.#drop();
  }

  /** Draw one picture now, outside any stream. @param {Uint8Array<ArrayBuffer>} image @param {() => boolean} stillWanted */
  async still(image, stillWanted) {
    try {
      const bitmap = await decodeJpeg(image);
      if (!stillWanted()) return bitmap.close();
      this.#paint({ audioMs: 0, image }, [bitmap]);
      this.drawn++;
    } catch {
      this.undecodable++;
    }
  }

  #drop() {
    for (const bitmap of this.waiting.shift()?.bitmaps ?? []) bitmap.close();
    this.late++;
  }

  #draw() {
    const heardMs = this.position === null ? null : this.position() * 1000;
    const nowMs = performance.now();
    /** @param {{picture: Picture, due: number}} frame */
    const isDue = ({ picture, due }) =>
      heardMs === null ? due <= nowMs + HALF_REFRESH_MS : picture.audioMs <= heardMs + HALF_REFRESH_MS;
    while (this.waiting.length > 1 && isDue(this.waiting[1])) this.#drop();
    if (!this.waiting.length || !isDue(this.waiting[0])) return;
    const { picture, bitmaps } = /** @type {typeof this.waiting[0]} */ (this.waiting.shift());
    this.#paint(picture, bitmaps);
    this.lastAudioMs = picture.audioMs;
    this.lastBase = picture.baseIndex;
    if (heardMs !== null) this.offsets.add(heardMs - picture.audioMs);
    if (picture.sentAt !== undefined) this.latencies.add(performance.now() - picture.sentAt);
    this.drawn++;
  }

  /** @param {Picture} picture @param {ImageBitmap[]} bitmaps */
  #paint(picture, bitmaps) {
    const [whole] = bitmaps;
    if (!picture.box || picture.base) {
      if (this.canvas.width !== whole.width || this.canvas.height !== whole.height) {
        this.canvas.width = whole.width;
        this.canvas.height = whole.height;
      }
      this.context.drawImage(whole, 0, 0);
    }
    if (picture.box) this.context.drawImage(bitmaps[bitmaps.length - 1], picture.box[0], picture.box[1]);
    for (const bitmap of bitmaps) bitmap.close();
  }

  close() {
    cancelAnimationFrame(this.ticking);
    this.clear();
  }
}
