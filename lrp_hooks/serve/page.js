// What the tabs share. The server has escaped what it sends as HTML.

export const part = Object.fromEntries(
  [...document.querySelectorAll("[id]")].map((element) => [element.id, element]),
);

export async function fetched(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The explorer does not answer. Is lrp-hooks serve still running?");
  }
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  throw new Error(answer.error ?? `The explorer answered ${response.status}. Try again.`);
}

export function ask(path, question, signal) {
  return fetched(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(question),
    signal,
  });
}

export function say(element, text, busy = false) {
  element.textContent = text;
  element.classList.toggle("busy", busy);
}

export function offer(select, names) {
  select.append(...names.map((name) => new Option(name)));
}

export function save(name, type, pieces) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(pieces, { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

// Ctrl+Enter asks from within a text, where Enter alone breaks the line.
export function submits(form, text) {
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
}

// A form whose question the server answers: what is shown goes stale once it is changed.
export function asking({ form, path, question, status, error, found, doing, show }) {
  let controller = new AbortController(); // gives up what the last question waits for
  let asked; // the question whose answer is shown
  async function explain() {
    controller.abort();
    const mine = (controller = new AbortController());
    const mineToAsk = question();
    say(error, "");
    say(status, doing(mineToAsk), true);
    found.classList.add("stale");
    try {
      const answer = await ask(path, mineToAsk, mine.signal);
      if (mine !== controller) return;
      asked = mineToAsk;
      show(answer);
      found.classList.remove("stale");
      found.hidden = false;
      say(status, "done");
    } catch (failed) {
      if (mine !== controller) return;
      say(status, "");
      say(error, failed.message);
    }
  }
  form.addEventListener("input", () => {
    if (!asked) return;
    found.classList.toggle("stale", JSON.stringify(question()) !== JSON.stringify(asked));
  });
  return explain;
}
