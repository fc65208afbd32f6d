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
