/**
 * The binary framing of docs/protocol.md, little endian:
 * uint32 magic | uint8 type | uint32 frame_id | uint32 length | payload | uint32 CRC32 of the payload.
 */

export const MAGIC = 0x12345678;
export const HEADER_BYTES = 13;
export const OVERHEAD_BYTES = HEADER_BYTES + 4;

export const Type = Object.freeze({
  AUDIO_REQUEST: 0x01,
  FRAME_RESPONSE: 0x02,
  AUDIO_CHUNK: 0x03,
  LIVE_FRAME: 0x04,
  MOUTH_PATCH: 0x05,
  BASE_FRAME: 0x06,
});

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? (n >>> 1) ^ 0xedb88320 : n >>> 1;
  return n;
});

/** @param {Uint8Array} bytes @returns {number} zlib's CRC32 */
export function crc32(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = CRC_TABLE[(crc ^ byte) & 0xff] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

/** @param {number} type @param {number} frameId @param {Uint8Array} payload @returns {Uint8Array<ArrayBuffer>} */
export function encode(type, frameId, payload) {
  const message = new Uint8Array(OVERHEAD_BYTES + payload.length);
  const view = new DataView(message.buffer);
  view.setUint32(0, MAGIC, true);
  view.setUint8(4, type);
  view.setUint32(5, frameId, true);
  view.setUint32(9, payload.length, true);
  message.set(payload, HEADER_BYTES);
  view.setUint32(HEADER_BYTES + payload.length, crc32(payload), true);
  return message;
}

/**
 * @param {ArrayBuffer} buffer one WebSocket message
 * @returns {{type: number, frameId: number, payload: Uint8Array<ArrayBuffer>}}
 * @throws {Error} naming what is wrong with it
 */
export function decode(buffer) {
  const view = new DataView(buffer);
  if (buffer.byteLength < OVERHEAD_BYTES) throw new Error(`a message of ${buffer.byteLength} bytes is too short`);
  if (view.getUint32(0, true) !== MAGIC) throw new Error("wrong magic number");
  const length = view.getUint32(9, true);
  if (length !== buffer.byteLength - OVERHEAD_BYTES) throw new Error("wrong length");
  const payload = new Uint8Array(buffer, HEADER_BYTES, length);
  if (view.getUint32(HEADER_BYTES + length, true) !== crc32(payload)) throw new Error("wrong CRC32");
  return { type: view.getUint8(4), frameId: view.getUint32(5, true), payload };
}

/**
 * The payload of LIVE_FRAME, MOUTH_PATCH and BASE_FRAME.
 * @param {Uint8Array<ArrayBuffer>} payload @returns {{meta: any, image: Uint8Array<ArrayBuffer>}}
 */
export function decodeImage(payload) {
  const length = payload[0] | (payload[1] << 8);
  const meta = JSON.parse(new TextDecoder().decode(payload.subarray(2, 2 + length)));
  return { meta, image: payload.subarray(2 + length) };
}

/** @param {Float32Array} samples @returns {Uint8Array<ArrayBuffer>} little-endian float32 */
export function float32Bytes(samples) {
  const bytes = new Uint8Array(samples.length * 4);
  const view = new DataView(bytes.buffer);
  samples.forEach((sample, i) => view.setFloat32(i * 4, sample, true));
  return bytes;
}

/** @param {Uint8Array} bytes @returns {string} base64 */
export function toBase64(bytes) {
  let text = "";
  for (let start = 0; start < bytes.length; start += 0x8000) {
    text += String.fromCharCode(...bytes.subarray(start, start + 0x8000));
  }
  return btoa(text);
}

/** @param {string} text base64 @returns {Uint8Array<ArrayBuffer>} */
export function fromBase64(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

/** @param {Float32Array} samples in [-1, 1] @returns {Uint8Array<ArrayBuffer>} little-endian int16 */
export function int16Bytes(samples) {
  const bytes = new Uint8Array(samples.length * 2);
  const view = new DataView(bytes.buffer);
  samples.forEach((sample, i) => {
    view.setInt16(i * 2, Math.max(-32768, Math.min(32767, Math.round(sample * 32768))), true);
  });
  return bytes;
}
