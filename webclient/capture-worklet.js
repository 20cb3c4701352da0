/** Runs on the audio thread: gathers the microphone's blocks of 128 into chunks of exactly 960 samples, 40 ms. */

const CHUNK_SAMPLES = 960;

class CaptureProcessor extends AudioWorkletProcessor {
  constructor() {
    super();
    this.chunk = new Float32Array(CHUNK_SAMPLES);
    this.filled = 0;
  }

  process(inputs) {
    const channel = inputs[0][0];
    if (!channel) return true;
    for (let read = 0; read < channel.length; ) {
      const count = Math.min(channel.length - read, CHUNK_SAMPLES - this.filled);
      this.chunk.set(channel.subarray(read, read + count), this.filled);
      this.filled += count;
      read += count;
      if (this.filled === CHUNK_SAMPLES) {
        const end = currentTime + read / sampleRate;
        this.port.postMessage({ samples: this.chunk, end }, [this.chunk.buffer]);
        this.chunk = new Float32Array(CHUNK_SAMPLES);
        this.filled = 0;
      }
    }
    return true;
  }
}

registerProcessor("capture", CaptureProcessor);
