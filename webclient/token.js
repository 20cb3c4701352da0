/** The server's token, where it wants one: taken out of the address, so that no screenshot or history shows it. */

const KEY = "lipwire-token";

/** @returns {string} what follows the WebSocket's address: "?token=..." or "" */
export function tokenQuery() {
  const address = new URL(location.href);
  const offered = address.searchParams.get("token");
  if (offered) {
    remember(offered);
    address.searchParams.delete("token");
    history.replaceState(null, "", address);
  }
  const token = offered ?? remembered();
  return token ? `?token=${encodeURIComponent(token)}` : "";
}

/** For as long as this tab is open. @param {string} token */
function remember(token) {
  try {
    sessionStorage.setItem(KEY, token);
  } catch {
    // a browser that forbids storage: the token holds until the page is reloaded
  }
}

/** @returns {string | null} */
function remembered() {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return null;
  }
}
