/** The whole of it: a face in a page of your own that follows the visitor's microphone. */

import { LipwireFace } from "../face.js";

const face = new LipwireFace(document.querySelector("canvas"), { view: "patch" });
const output = document.querySelector("output");
face.addEventListener("message", (event) => (output.textContent = event.detail.words));
document.querySelector("button").onclick = () => (face.sourceName === "none" ? face.listen() : face.stop());
face.connect();
Object.assign(window, { lipwire: face });
