// The tab on which one asks of passages, and sees what the answer drew on.

import { asking, part, save, submits } from "./page.js";

let frame; // what stands around the fragments of a page to keep
let shown; // the answer that is shown

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
    wrt: part.wrt.disabled ? "tokens" : part.wrt.value,
    calls: whole("calls"),
  };
}

// What does not count for the question as it stands is not asked for.
function fit() {
  const method = part["answer-method"].value;
  part["of-hops"].hidden = method !== "lrp";
  part["of-wrt"].hidden = method !== "lrp";
  part["of-calls"].hidden = method !== "ablation";
  part["of-new-tokens"].hidden = part.given.value.trim() !== "";
  for (const name of ["hops", "wrt", "calls", "new-tokens"]) {
    part[name].disabled = part[`of-${name}`].hidden;
  }
}

const explain = asking({
  form: part.ask,
  path: "answer",
  question,
  status: part["answer-status"],
  error: part["answer-error"],
  found: part.drawn,
  doing: ({ answer }) => (answer.trim() ? "explaining" : "writing and explaining"),
  show(answer) {
    shown = answer;
    part["drawn-notes"].innerHTML = answer.notes;
    part["drawn-page"].innerHTML = answer.html;
  },
});

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
part.ask.addEventListener("input", fit);
part["save-html"].addEventListener("click", () => {
  save("answer.html", "text/html", [frame[0], shown.notes, shown.html, frame[1]]);
});
part["save-json"].addEventListener("click", () => {
  save("answer.json", "application/json", [shown.json]);
});
part["save-csv"].addEventListener("click", () => {
  save("answer.csv", "text/csv", [shown.csv]);
});
