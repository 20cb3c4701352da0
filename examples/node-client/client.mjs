// A recording in, a JPEG of every 40 ms out:  node client.mjs ws://127.0.0.1:8080/ws speech.wav frames/
//
// Written from docs/protocol.md alone. Node.js 22 has a WebSocket of its own; before, this takes that of the package ws.

import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { crc32 } from "node:zlib";

const MAGIC = 0x12345678;
const AUDIO_CHUNK = 0x03;
const LIVE_FRAME = 0x04;
const HEADER_BYTES = 13;
const SAMPLE_RATE = 24_000;
const CHUNK_BYTES = 1_920; // 960 int16 samples, 40 ms
const FRAME_IDS = 500; // live clients count 0..499 and start over
const AHEAD = 4; // chunks that a lossless stream may be ahead of its frames

/** The samples of a WAV file, whole chunks, the last one filled up with silence. */
async function chunksOf(path) {
  const file = await readFile(path);
  const parts = new Map();
  for (let at = 12; at + 8 <= file.length; ) {
    const length = file.readUInt32LE(at + 4);
    parts.set(file.toString("latin1", at, at + 4), file.subarray(at + 8, at + 8 + length));
    at += 8 + length + (length % 2);
  }
  const format = parts.get("fmt ");
  const samples = parts.get("data");
  const fits =
    format?.readUInt16LE(0) === 1 && // PCM
    format.readUInt16LE(2) === 1 && // channels
    format.readUInt32LE(4) === SAMPLE_RATE &&
    format.readUInt16LE(14) === 16; // bits
  if (!fits || !samples)
    throw new Error(`${path}: not int16, mono, 24 kHz; make it so: ffmpeg -i ${path} -ar 24000 -ac 1 -c:a pcm_s16le out.wav`);
  const whole = Buffer.alloc(Math.ceil(samples.length / CHUNK_BYTES) * CHUNK_BYTES);
  samples.copy(whole);
  return Array.from({ length: whole.length / CHUNK_BYTES }, (_, n) => whole.subarray(n * CHUNK_BYTES, (n + 1) * CHUNK_BYTES));
}

function pack(type, frameId, payload) {
  const message = Buffer.alloc(HEADER_BYTES + payload.length + 4);
  message.writeUInt32LE(MAGIC, 0);
  message.writeUInt8(type, 4);
  message.writeUInt32LE(frameId, 5);
  message.writeUInt32LE(payload.length, 9);
  payload.copy(message, HEADER_BYTES);
  message.writeUInt32LE(crc32(payload), HEADER_BYTES + payload.length);
  return message;
}

/** What the mouth shows, and the picture. */
function unpack(message) {
  const payload = message.subarray(HEADER_BYTES, HEADER_BYTES + message.readUInt32LE(9));
  if (message.readUInt32LE(0) !== MAGIC || crc32(payload) !== message.readUInt32LE(HEADER_BYTES + payload.length))
    throw new Error("a damaged message");
  const length = payload.readUInt16LE(0);
  return { meta: JSON.parse(payload.toString("utf8", 2, 2 + length)), jpeg: payload.subarray(2 + length) };
}

async function main(url, wav, folder) {
  const chunks = await chunksOf(wav);
  await mkdir(folder, { recursive: true });
  const WebSocket = globalThis.WebSocket ?? (await import("ws")).WebSocket;
  const socket = new WebSocket(url);
  socket.binaryType = "arraybuffer";
  let sent = 0;
  let written = Promise.resolve();

  const send = () => socket.send(pack(AUDIO_CHUNK, sent % FRAME_IDS, chunks[sent++]));

  await new Promise((resolve, reject) => {
    socket.addEventListener("open", () =>
      socket.send(JSON.stringify({ action: "start_stream", version: 1, pace: "lossless" })),
    );
    socket.addEventListener("message", ({ data }) => {
      if (typeof data === "string") {
        const answer = JSON.parse(data);
        if (!answer.success) return reject(new Error(`${answer.error}: ${answer.message}`));
        if (answer.action === "stream_started") while (sent < Math.min(AHEAD, chunks.length)) send();
        if (answer.action === "stream_stopped") resolve();
        return;
      }
      const message = Buffer.from(data);
      if (message[4] !== LIVE_FRAME) return;
      const { meta, jpeg } = unpack(message);
      const name = join(folder, `${String(meta.chunk).padStart(5, "0")}.jpg`);
      written = written.then(() => writeFile(name, jpeg));
      if (sent < chunks.length) send();
      else if (meta.chunk === chunks.length - 1) socket.send(JSON.stringify({ action: "stop_stream" }));
    });
    socket.addEventListener("error", (event) => reject(new Error(event.message ?? `cannot reach ${url}`)));
    socket.addEventListener("close", () => reject(new Error("the connection ended")));
  });
  await written;
  socket.close();
  console.log(`${chunks.length} frames in ${folder}`);
}

const [url, wav, folder] = process.argv.slice(2);
if (!folder) {
  console.error("usage: node client.mjs ws://HOST:PORT/ws IN.wav FOLDER");
  process.exit(2);
}
main(url, wav, folder).catch((error) => {
  console.error(`client: ${error.message}`);
  process.exit(1);
});
