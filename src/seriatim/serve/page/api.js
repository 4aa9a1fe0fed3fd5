// The routes of the server: JSON, streams of events, and sessions.

const KEY = "seriatim.key";

export const key = () => sessionStorage.getItem(KEY) ?? "";
export const setKey = (value) => sessionStorage.setItem(KEY, value);

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

const headers = () => ({
  "content-type": "application/json",
  ...(key() ? { authorization: `Bearer ${key()}` } : {}),
});

async function request(path, options) {
  const answer = await fetch(path, { headers: headers(), ...options });
  if (answer.ok) return answer;
  const body = await answer.json().catch(() => ({}));
  throw new Refused(answer.status, body.error?.message ?? `status ${answer.status}`);
}

export const get = async (path) => (await request(path)).json();

export async function post(path, body, signal) {
  const answer = await request(path, { method: "POST", body: JSON.stringify(body), signal });
  return answer.json();
}

export const remove = (path) => request(path, { method: "DELETE" });

// The chunks of a streamed completion, as they come.
export async function* completion(body, signal) {
  const options = { method: "POST", body: JSON.stringify({ ...body, stream: true }), signal };
  const answer = await request("/v1/completions", options);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (held + value).split("\n\n");
    held = parts.pop();
    for (const part of parts) {
      const data = part.replace(/^data: /, "");
      if (data === "[DONE]") return;
      const event = JSON.parse(data);
      if (event.error) throw new Refused(500, event.error.message);
      yield event;
    }
  }
}

export function socket(path) {
  const protocols = ["seriatim", ...(key() ? [`seriatim.key.${key()}`] : [])];
  const address = new URL(path, location.href);
  address.protocol = address.protocol.replace("http", "ws");
  return new WebSocket(address, protocols);
}
