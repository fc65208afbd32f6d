// The tab on which one asks of passages, and sees what the answer drew on.

import { ask, part, save, say, submits } from "./page.js";

let frame; // what stands around the fragments of a page to keep
let controller = new AbortController(); // gives up what the last question waits for
let asked; // the question whose answer is shown
let shown; // that answer

// A number, or what it is by default where it does not count.
function whole(name) {
  const input = part[name];
  return input.disabled ? Number(input.defaultValue) : input.valueAsNumber;
}

function question() {
  return {
    passages: part.passages.value,
    question: part.asked.value,
    answer: part.given.value,
    max_new_tokens: whole("new-tokens"),
    chat: part.chat.checked,
    sources: part.sources.value,
    spans: part.spans.value,
    hops: whole("hops"),
    method: part["answer-method"].value,
    calls: whole("calls"),
  };
}

// What does not count for the question as it stands is not asked for.
function fit() {
  const method = part["answer-method"].value;
  part["of-hops"].hidden = method !== "lrp";
  part["of-calls"].hidden = method !== "ablation";
  part["of-new-tokens"].hidden = part.given.value.trim() !== "";
  for (const name of ["hops", "calls", "new-tokens"]) {
    part[name].disabled = part[`of-${name}`].hidden;
  }
}

async function explain() {
  controller.abort();
  const mine = (controller = new AbortController());
  const mineToAsk = question();
  say(part["answer-error"], "");
  const given = mineToAsk.answer.trim() !== "";
  say(part["answer-status"], given ? "explaining" : "writing and explaining", true);
  part.drawn.classList.add("stale");
  try {
    const answer = await ask("answer", mineToAsk, mine.signal);
    if (mine !== controller) return;
    asked = mineToAsk;
    show(answer);
    say(part["answer-status"], "done");
  } catch (error) {
    if (mine !== controller) return;
    say(part["answer-status"], "");
    say(part["answer-error"], error.message);
  }
}

function show(answer) {
  shown = answer;
  part["drawn-notes"].innerHTML = answer.notes;
  part["drawn-page"].innerHTML = answer.html;
  part.drawn.classList.remove("stale");
  part.drawn.hidden = false;
}

export function start(about) {
  const { cannot, chat, longest } = about.answer;
  frame = about.frame;
  part.cannot.hidden = cannot === null;
  part.cannot.textContent = cannot ?? "";
  part["answer-asks"].hidden = cannot !== null;
  part.chat.checked = chat;
  part["of-chat"].hidden = !chat;
  part["passages-hint"].textContent =
    `A blank line ends a passage. Up to ${longest} tokens (words or parts of words), ` +
    "question and answer included.";
  fit();
}

part.ask.addEventListener("submit", (event) => {
  event.preventDefault();
  if (frame) explain();
});
for (const name of ["passages", "asked", "given"]) submits(part.ask, part[name]);
part.ask.addEventListener("input", () => {
  fit();
  if (!asked) return;
  part.drawn.classList.toggle("stale", JSON.stringify(question()) !== JSON.stringify(asked));
});
part["save-html"].addEventListener("click", () => {
  save("answer.html", "text/html", [frame[0], shown.notes, shown.html, frame[1]]);
});
part["save-json"].addEventListener("click", () => {
  save("answer.json", "application/json", [shown.json]);
});
part["save-csv"].addEventListener("click", () => {
  save("answer.csv", "text/csv", [shown.csv]);
});
