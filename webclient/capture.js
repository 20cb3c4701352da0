/** The microphone, or the sound of a tab, in chunks of 40 ms. */

import { SAMPLE_RATE } from "./audio.js";

/**
 * @typedef {object} CaptureOptions
 * @property {string} [deviceId]
 * @property {boolean} [echoCancellation]
 * @property {boolean} [noiseSuppression]
 * @property {boolean} [autoGainControl]
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
  }

  /** @param {CaptureOptions} options @throws {Error} for `microphoneWords` */
  async startMicrophone({ deviceId, ...switches } = {}) {
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
    node.port.onmessage = (event) => {
      if (!this.stopped) this.onChunk(event.data);
    };
    this.context.createMediaStreamSource(new MediaStream([track])).connect(node);
    await this.context.resume();
  }

  /** @returns {MediaStreamTrack | undefined} what a recording would hear */
  get track() {
    return this.stream?.getAudioTracks()[0];
  }

  /** Live sound has no position that pictures could wait for. */
  get position() {
    return null;
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
