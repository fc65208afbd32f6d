// The tab on which one sees through which neurons and heads a text made the output.

import { asking, offer, part, save, submits } from "./page.js";

let about; // what the server says of its model
let shown; // the answer that is shown

function question() {
  const target = about.speaks ? part["circuit-token"].value : part["circuit-label"].value;
  return {
    text: part["circuit-text"].value,
    target: target || null,
    rules: part["circuit-rules"].value,
    nodes: part.nodes.value,
    max_nodes: part["max-nodes"].valueAsNumber,
  };
}

const explain = asking({
  form: part.trace,
  path: "circuit",
  question,
  status: part["circuit-status"],
  error: part["circuit-error"],
  found: part.traced,
  doing: () => "tracing",
  show(answer) {
    shown = answer;
    part["traced-notes"].innerHTML = answer.notes;
    part["traced-page"].innerHTML = answer.html;
  },
});

export function start(said) {
  about = said;
  offer(part["circuit-rules"], about.rules);
  part["circuit-rules"].value = about.default_rules;
  offer(part["circuit-label"], about.labels);
  part["of-circuit-label"].hidden = about.speaks;
  part["of-circuit-token"].hidden = !about.speaks;
  part["circuit-hint"].textContent =
    `up to ${about.circuit.longest} tokens (words or parts of words)`;
  if (about.mask) part["circuit-text"].value = `the film is ${about.mask} .`;
}

part.trace.addEventListener("submit", (event) => {
  event.preventDefault();
  if (about) explain();
});
submits(part.trace, part["circuit-text"]);
part["save-circuit-html"].addEventListener("click", () => {
  save("circuit.html", "text/html", [about.frame[0], shown.notes, shown.html, about.frame[1]]);
});
part["save-circuit-json"].addEventListener("click", () => {
  save("circuit.json", "application/json", [shown.json]);
});
