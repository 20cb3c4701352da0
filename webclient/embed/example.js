/** The whole of it: a face in a page of your own that follows the visitor's microphone. */

import { LipwireFace } from "../face.js";

/** @param {string} selector @returns {any} */
const find = (selector) => document.querySelector(selector);

const face = new LipwireFace(find("canvas"), { view: "patch" });
face.addEventListener("message", (/** @type {any} */ event) => (find("output").textContent = event.detail.words));
find("button").onclick = () => (face.sourceName === "none" ? face.listen() : face.stop());
face.connect();
Object.assign(window, { lipwire: face });
