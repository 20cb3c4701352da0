/** Records the face with its sound to a file that the browser then saves. */

const FRAMES_A_SECOND = 25;
const KINDS = ["video/mp4", "video/webm;codecs=vp9,opus", "video/webm"];

export class Recorder {
  /** @param {HTMLCanvasElement} canvas @param {MediaStreamTrack | undefined} sound */
  constructor(canvas, sound) {
    const stream = canvas.captureStream(FRAMES_A_SECOND);
    if (sound) stream.addTrack(sound.clone());
    const mimeType = KINDS.find((kind) => MediaRecorder.isTypeSupported(kind));
    /** @type {Blob[]} */
    this.parts = [];
    this.recorder = new MediaRecorder(stream, { mimeType });
    this.recorder.ondataavailable = (event) => this.parts.push(event.data);
    this.recorder.onstop = () => this.#save();
    this.recorder.start(1000);
  }

  stop() {
    if (this.recorder.state !== "inactive") this.recorder.stop();
  }

  #save() {
    const kind = this.recorder.mimeType.includes("mp4") ? "mp4" : "webm";
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob(this.parts, { type: this.recorder.mimeType }));
    link.download = `lipwire-${new Date().toISOString().slice(0, 19).replaceAll(":", "-")}.${kind}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  }
}
