/** Where chunks come from: the microphone as it speaks, or a file that the page plays at the same time. */

export const SAMPLE_RATE = 24_000;
export const CHUNK_SAMPLES = 960;
const CHUNK_S = CHUNK_SAMPLES / SAMPLE_RATE;
/** A file's chunks leave this long before they sound, so that their frames are there in time. */
const LEAD_S = 0.25;
const TICK_MS = 10;

/** Words for what getUserMedia may refuse. @param {any} error @returns {string} */
export function microphoneWords(error) {
  switch (error.name) {
    case "NotAllowedError":
      return "The microphone is not allowed. Allow it for this page in the browser's address bar, then try again.";
    case "NotFoundError":
      return "There is no microphone. Plug one in, or play the sample.";
    case "NotReadableError":
      return "Another program holds the microphone. Close it, then try again.";
    default:
      return `The microphone did not start: ${error.message}`;
  }
}

export class Microphone {
  /** @param {(chunk: Float32Array) => void} onChunk @param {() => void} onEnd */
  constructor(onChunk, onEnd) {
    this.onChunk = onChunk;
    this.onEnd = onEnd;
  }

  /** @throws {DOMException} where the browser or its user refuses */
  async start() {
    this.stream = await navigator.mediaDevices.getUserMedia({
      audio: { channelCount: 1, echoCancellation: true, noiseSuppression: true, autoGainControl: true },
    });
    this.stream.getAudioTracks()[0].onended = () => this.onEnd();
    this.context = new AudioContext({ sampleRate: SAMPLE_RATE });
    await this.context.audioWorklet.addModule("capture-worklet.js");
    const node = new AudioWorkletNode(this.context, "capture", { numberOfOutputs: 0 });
    node.port.onmessage = (event) => this.onChunk(event.data);
    this.context.createMediaStreamSource(this.stream).connect(node);
  }

  stop() {
    this.stream?.getTracks().forEach((track) => track.stop());
    this.context?.close();
  }
}

export class FilePlayer {
  /** @param {(chunk: Float32Array) => void} onChunk @param {() => void} onEnd */
  constructor(onChunk, onEnd) {
    this.onChunk = onChunk;
    this.onEnd = onEnd;
  }

  /** @param {ArrayBuffer} file any format the browser decodes @throws {Error} where it does not */
  async start(file) {
    this.context = new AudioContext({ sampleRate: SAMPLE_RATE });
    const buffer = await this.context.decodeAudioData(file);
    const samples = buffer.getChannelData(0);
    const chunks = Math.ceil(samples.length / CHUNK_SAMPLES) + 5;
    this.source = new AudioBufferSourceNode(this.context, { buffer });
    this.source.connect(this.context.destination);
    this.startedAt = this.context.currentTime + LEAD_S;
    this.source.start(this.startedAt);
    let sent = 0;
    this.timer = setInterval(() => {
      while (sent < chunks && (sent + 1) * CHUNK_S <= this.position() + LEAD_S) {
        const chunk = new Float32Array(CHUNK_SAMPLES);
        chunk.set(samples.subarray(sent * CHUNK_SAMPLES, (sent + 1) * CHUNK_SAMPLES));
        this.onChunk(chunk);
        sent++;
      }
      if (this.position() > chunks * CHUNK_S) this.onEnd();
    }, TICK_MS);
  }

  /** @returns {number} seconds into the file of the sound that is heard now */
  position() {
    return this.context.currentTime - this.startedAt - (this.context.outputLatency || 0);
  }

  stop() {
    clearInterval(this.timer);
    this.source?.stop();
    this.context?.close();
  }
}
