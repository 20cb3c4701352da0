/** Draws frames: decoded off the main thread, drawn on requestAnimationFrame, in step with the sound where there is one. */

const AHEAD_LIMIT = 50;

export class Display {
  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    /** @type {{meta: any, bitmap: ImageBitmap}[]} in the order of their sound */
    this.waiting = [];
    this.drawn = 0;
    this.late = 0;
    this.avOffsetMs = 0;
    /** @type {(() => number) | null} position of the sound that is heard, in s; null shows frames as they come */
    this.position = null;
    const tick = () => {
      this.#draw();
      requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  }

  /** @param {any} meta @param {Uint8Array} image */
  async add(meta, image) {
    const bitmap = await createImageBitmap(new Blob([image], { type: "image/jpeg" }));
    this.waiting.push({ meta, bitmap });
    this.waiting.sort((a, b) => a.meta.audio_ms - b.meta.audio_ms);
    while (this.waiting.length > AHEAD_LIMIT) this.#drop();
  }

  clear() {
    while (this.waiting.length) this.waiting.shift().bitmap.close();
  }

  #drop() {
    this.waiting.shift().bitmap.close();
    this.late++;
  }

  #draw() {
    const now = this.position === null ? Infinity : this.position() * 1000;
    while (this.waiting.length > 1 && this.waiting[1].meta.audio_ms <= now) this.#drop();
    if (!this.waiting.length || this.waiting[0].meta.audio_ms > now) return;
    const { meta, bitmap } = this.waiting.shift();
    if (this.position !== null) this.avOffsetMs = now - meta.audio_ms;
    if (this.canvas.width !== bitmap.width || this.canvas.height !== bitmap.height) {
      this.canvas.width = bitmap.width;
      this.canvas.height = bitmap.height;
    }
    this.context.drawImage(bitmap, 0, 0);
    bitmap.close();
    this.drawn++;
  }
}
