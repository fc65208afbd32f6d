// The tab on which a model goes on from a prompt, and each token shows what it drew on.

import { asking, offer, part, save, submits } from "./page.js";

let frame; // what stands around the fragments of a page to keep
let shown; // the answer that is shown

function question() {
  const count = part["written-tokens"];
  return {
    prompt: part.prompt.value,
    continuation: part.continuation.value,
    max_new_tokens: count.disabled ? Number(count.defaultValue) : count.valueAsNumber,
    contrast: part.rival.value,
    chat: part["prompt-chat"].checked,
    rules: part["prompt-rules"].value,
    words: part["prompt-words"].checked,
  };
}

// How many tokens are written does not count where it is said what follows.
function fit() {
  part["of-written-tokens"].hidden = part.continuation.value !== "";
  part["written-tokens"].disabled = part["of-written-tokens"].hidden;
}

const explain = asking({
  form: part.write,
  path: "generate",
  question,
  status: part["generate-status"],
  error: part["generate-error"],
  found: part.written,
  doing: ({ continuation }) => (continuation ? "explaining" : "writing and explaining"),
  show(answer) {
    shown = answer;
    part["written-notes"].innerHTML = answer.notes;
    part["written-page"].innerHTML = answer.html;
  },
});

export function start(about) {
  const { cannot, chat, longest } = about.generate;
  frame = about.frame;
  part["generate-cannot"].hidden = cannot === null;
  part["generate-cannot"].textContent = cannot ?? "";
  part["generate-asks"].hidden = cannot !== null;
  part["prompt-chat"].checked = chat;
  part["of-prompt-chat"].hidden = !chat;
  offer(part["prompt-rules"], about.rules);
  part["prompt-rules"].value = about.default_rules;
  part["prompt-hint"].textContent =
    `Up to ${longest} tokens (words or parts of words), what follows included.`;
  fit();
}

part.write.addEventListener("submit", (event) => {
  event.preventDefault();
  if (frame) explain();
});
for (const name of ["prompt", "continuation"]) submits(part.write, part[name]);
part.write.addEventListener("input", fit);
part["save-generate-html"].addEventListener("click", () => {
  save("generation.html", "text/html", [frame[0], shown.notes, shown.html, frame[1]]);
});
part["save-generate-json"].addEventListener("click", () => {
  save("generation.json", "application/json", [shown.json]);
});
