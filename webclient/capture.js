/** The microphone, or the sound of a tab, in chunks of 40 ms; heard as well, where the user wishes. */

import { CHUNK_SAMPLES, SAMPLE_RATE } from "./audio.js";

/** How much later than it was spoken a monitored voice is heard: the lookahead, and time for the server and the network. */
const MONITOR_DELAY_S = 0.15;

/**
 * @typedef {object} CaptureOptions
 * @property {string} [deviceId]
 * @property {boolean} [echoCancellation]
 * @property {boolean} [noiseSuppression]
 * @property {boolean} [autoGainControl]
 * @property {boolean} [monitor] play the microphone, so much later that the lips are in step
 */

/** @param {string} name @param {string} message */
function named(name, message) {
  return Object.assign(new Error(message), { name });
}

export class Capture {
  /** @param {(chunk: Float32Array) => void} onChunk @param {() => void} onEnd when the device is unplugged */
  constructor(onChunk, onEnd) {
    this.onChunk = onChunk;
    this.onEnd = onEnd;
    this.stopped = false;
    /** When the first chunk began, on the context's clock. @type {number | null} */
    this.beganAt = null;
    this.monitored = false;
  }

  /** @param {CaptureOptions} options @throws {Error} for `microphoneWords` */
  async startMicrophone({ deviceId, monitor = false, ...switches } = {}) {
    this.monitored = monitor;
    if (!navigator.mediaDevices) throw named("InsecureError", "not a secure page");
    const device = deviceId ? { deviceId: { exact: deviceId } } : {};
    await this.#start(await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, ...device, ...switches } }));
  }

  /** @throws {Error} for `microphoneWords` */
  async startTab() {
    if (!navigator.mediaDevices) throw named("InsecureError", "not a secure page");
    await this.#start(await navigator.mediaDevices.getDisplayMedia({ audio: true, video: true }));
  }

  /** @param {MediaStream} stream */
  async #start(stream) {
    this.stream = stream;
    const [track] = stream.getAudioTracks();
    if (!track) {
      this.stop();
      throw named("NoSoundError", "no sound");
    }
    track.onended = () => this.onEnd();
    this.context = new AudioContext({ sampleRate: SAMPLE_RATE });
    await this.context.audioWorklet.addModule(new URL("./capture-worklet.js", import.meta.url));
    if (this.stopped) return this.stop();
    const node = new AudioWorkletNode(this.context, "capture", { numberOfOutputs: 0 });
    node.port.onmessage = ({ data: { samples, end } }) => {
      this.beganAt ??= end - CHUNK_SAMPLES / SAMPLE_RATE;
      if (!this.stopped) this.onChunk(samples);
    };
    const heard = this.context.createMediaStreamSource(new MediaStream([track]));
    heard.connect(node);
    if (this.monitored) {
      const later = new DelayNode(this.context, { delayTime: MONITOR_DELAY_S, maxDelayTime: MONITOR_DELAY_S });
      heard.connect(later).connect(this.context.destination);
    }
    await this.context.resume();
  }

  /** @returns {MediaStreamTrack | undefined} what a recording would hear */
  get track() {
    return this.stream?.getAudioTracks()[0];
  }

  /** Live sound that nobody hears here has no position that pictures could wait for. */
  get position() {
    return this.monitored ? this.#heardS : null;
  }

  /** @returns {number} seconds since the first chunk began, of what is heard now */
  #heardS() {
    if (!this.context || this.beganAt === null) return -MONITOR_DELAY_S;
    return this.context.currentTime - this.beganAt - MONITOR_DELAY_S - (this.context.outputLatency || 0);
  }

  stop() {
    this.stopped = true;
    for (const track of this.stream?.getTracks() ?? []) {
      track.onended = null;
      track.stop();
    }
    if (this.context?.state !== "closed") this.context?.close();
  }
}
