// One line that says what happens, for eyes and for screen readers.

const line = document.getElementById("status");

export function say(text) {
  line.classList.remove("error");
  line.textContent = text;
}

// Runs what a form asks for, and says why it could not.
export async function attempt(run) {
  try {
    await run();
  } catch (error) {
    if (error.name === "AbortError") {
      say("Stopped.");
      return;
    }
    line.classList.add("error");
    line.textContent = error.message;
    if (error.status === 401) document.getElementById("key-form").hidden = false;
  }
}
