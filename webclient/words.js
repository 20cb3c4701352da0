/** What went wrong, in words that say what to do. */

/** For what getUserMedia and getDisplayMedia may refuse. @param {Error} error @returns {string} */
export function microphoneWords(error) {
  switch (error.name) {
    case "NotAllowedError":
    case "SecurityError":
      return "The microphone is not allowed. Allow it for this page in the browser's address bar, then try again.";
    case "NotFoundError":
      return "There is no microphone. Plug one in, or play the sample.";
    case "OverconstrainedError":
      return "The chosen microphone is not there any more. Choose another in the settings.";
    case "NotReadableError":
      return "Another program holds the microphone. Close it, then try again.";
    case "NoSoundError":
      return "Nothing with sound was shared. Choose a tab, and tick “Share tab audio”.";
    case "InsecureError":
      return "Browsers give the microphone to secure pages only. Open this page as http://localhost or over https.";
    default:
      return `The microphone did not start: ${error.message}`;
  }
}

/** @param {Error} error @param {string} name the file's @returns {string} */
export function fileWords(error, name) {
  if (error.name === "EncodingError") {
    return `${name} is no audio that this browser can read. WAV, MP3, Ogg, FLAC and M4A usually work.`;
  }
  return `${name} cannot be played: ${error.message}`;
}

/** For the server's failures. @param {{error: string, message: string}} failure @returns {string} */
export function failureWords({ error, message }) {
  switch (error) {
    case "unsupported_version":
      return `This page is older or newer than the server. Reload it. (${message})`;
    case "unknown_speaker":
      return `That speaker is not installed here. (${message})`;
    case "unknown_session":
      return `Nobody speaks under that name now. Trying again. (${message})`;
    case "too_many_sessions":
    case "overloaded":
      return `The server is busy. Try again in a moment. (${message})`;
    case "timeout":
    case "unavailable":
      return `The server restarts a part of itself; the face moves again soon. (${message})`;
    default:
      return `${message} (${error})`;
  }
}

/** For a server that has more to do than it can. @param {{level: number, means: string}} tuning @returns {string} */
export function tuningWords(tuning) {
  return tuning.level ? `The server has much to do, and asks less of itself: ${tuning.means}.` : "The server keeps up again.";
}

/** For stages that keep crashing. @param {Record<string, string>} failing by name, each with its reason @returns {string} */
export function failingWords(failing) {
  const causes = Object.entries(failing).map(([stage, reason]) => `${stage} (${reason})`);
  return `A part of the server fails again and again, and the face stands still: ${causes.join("; ")}. It is tried again by itself.`;
}
