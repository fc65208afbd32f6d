// The tab on which a text is explained token by token.

import { ask, offer, part, save, say, submits } from "./page.js";

let about; // what the server says of its model
let controller = new AbortController(); // gives up what the last question waits for
let asked; // the question whose answer is shown
let flow; // the promise of its layers, once someone wants them
let file = {}; // the fragments of the page to download

function question() {
  const target = about.speaks ? part.token.value : part.label.value;
  return {
    text: part.text.value,
    method: part.method.value,
    rules: part.rules.disabled ? null : part.rules.value,
    target: target || null,
    words: part.words.checked,
  };
}

async function explain() {
  controller.abort();
  const mine = (controller = new AbortController());
  const mineToAsk = question();
  say(part.error, "");
  say(part.status, "explaining", true);
  for (const section of [part.result, part.layers, part.comparison]) {
    section.classList.add("stale");
  }
  try {
    const answer = await ask("explain", mineToAsk, mine.signal);
    if (mine !== controller) return;
    asked = mineToAsk;
    showExplanation(answer);
    await compare(mine);
  } catch (error) {
    if (mine === controller) fail(error);
  }
}

function fail(error) {
  say(part.status, "");
  say(part.error, error.message);
}

function showExplanation(answer) {
  file = { text: answer.text, prediction: answer.prediction, html: answer.html };
  flow = undefined;
  part.prediction.innerHTML = answer.prediction;
  part.explanation.innerHTML = answer.html;
  for (const section of [part.result, part.layers, part.comparison]) {
    section.classList.remove("stale");
  }
  part.result.hidden = false;
  part.layers.hidden = true;
  part.download.disabled = false;
  const spans = tokens().slice(0, answer.tokens);
  spans.forEach((span, place) => {
    span.role = "button";
    span.tabIndex = place ? -1 : 0;
    span.ariaPressed = "false";
    span.dataset.place = place;
  });
}

async function compare(mine) {
  part.comparison.hidden = false;
  part.methods.replaceChildren();
  say(part.status, "explained; comparing methods", true);
  say(part["comparison-said"], "computing", true);
  try {
    const answer = await ask("compare", asked, mine.signal);
    if (mine !== controller) return;
    file.comparison = answer.html;
    part.methods.innerHTML = answer.html;
    say(part["comparison-said"], "");
  } catch (error) {
    if (mine === controller) say(part["comparison-said"], error.message);
  }
  if (mine === controller) say(part.status, "done");
}

function tokens() {
  return [...part.explanation.querySelectorAll(".text .t")];
}

async function showLayers(span) {
  for (const each of tokens()) if (each.role) each.ariaPressed = String(each === span);
  part.layers.hidden = false;
  part.chosen.textContent = span.textContent;
  if (!flow) {
    part.chart.hidden = part.flow.hidden = true;
    say(part["layers-said"], "computing", true);
  }
  const mine = (flow ??= ask("layers", asked, controller.signal));
  try {
    const answer = await mine;
    if (flow !== mine || span.ariaPressed !== "true") return;
    const rules = asked.rules ?? about.default_rules;
    say(part["layers-said"], `lrp (${rules}), from the input to the last block`);
    chart(answer.layers, answer.scores.map((row) => row[span.dataset.place]));
    if (!file.layers) part["flow-picture"].innerHTML = answer.html;
    file.layers = answer.html;
    part.chart.hidden = part.flow.hidden = false;
  } catch (error) {
    if (flow !== mine) return;
    flow = undefined; // so that the next click asks again
    say(part["layers-said"], error.name === "AbortError" ? "" : error.message);
  }
}

function chart(names, numbers) {
  const largest = Math.max(...numbers.map(Math.abs)) || 1;
  const places = Math.min(Math.max(4, 3 - Math.floor(Math.log10(largest))), 20);
  part.chart.replaceChildren(
    ...names.map((name, layer) => {
      const row = document.createElement("tr");
      const head = document.createElement("th");
      head.scope = "row";
      for (const piece of name.split(/(?<=\.)/)) {
        head.append(piece, document.createElement("wbr"));
      }
      row.append(head);
      row.insertCell().textContent = signed(numbers[layer], places);
      row.insertCell().append(bar(numbers[layer] / largest));
      return row;
    }),
  );
}

function signed(number, places) {
  const text = number.toFixed(places);
  return Number(text) < 0 ? text : `+${text.replace("-", "")}`;
}

function bar(share) {
  const scale = document.createElement("span");
  const inner = document.createElement("span");
  scale.className = "scale";
  inner.className = share > 0 ? "up" : "";
  inner.style.width = `${Math.abs(share) * 50}%`;
  inner.style.left = `${share > 0 ? 50 : 50 - Math.abs(share) * 50}%`;
  scale.append(inner);
  return scale;
}

// One tab stop for all tokens; arrows go from one to the next.
function move(span, key) {
  const spans = tokens().filter((each) => each.role);
  const back = getComputedStyle(span.parentElement).direction === "rtl" ? 1 : -1;
  const places = {
    ArrowLeft: spans.indexOf(span) + back,
    ArrowRight: spans.indexOf(span) - back,
    Home: 0,
    End: spans.length - 1,
  };
  const next = spans[places[key]];
  if (!next) return;
  span.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
}

function tokenOf(event) {
  return event.target.closest?.("[role=button]");
}

function download() {
  const [head, tail] = about.frame;
  const parts = ["text", "prediction", "html", "layers", "comparison"];
  const page = [head, ...parts.map((name) => file[name] ?? ""), tail];
  save("explanation.html", "text/html", page);
}

export function start(said) {
  about = said;
  if (about.speaks) part["classify-tab"].textContent = about.mask ? "Masked token" : "Next token";
  part.instead.hidden = about.instead === null;
  part.instead.textContent = about.instead ?? "";
  offer(part.method, about.methods);
  offer(part.rules, about.rules);
  part.rules.value = about.default_rules;
  offer(part.label, about.labels);
  part["of-label"].hidden = about.speaks;
  part["of-token"].hidden = !about.speaks;
  part.hint.textContent = `up to ${about.longest} tokens (words or parts of words)`;
  if (about.mask) {
    part.hint.textContent += `; ${about.mask} is what the model guesses`;
    part.text.value = `the film is ${about.mask} .`;
  }
}

part.question.addEventListener("submit", (event) => {
  event.preventDefault();
  if (about) explain();
});
submits(part.question, part.text);
part.words.addEventListener("change", () => asked && explain());
part.method.addEventListener("change", () => {
  part.rules.disabled = part.method.value !== "lrp";
});
// What is shown answers another question now.
part.question.addEventListener("input", () => {
  if (!asked) return;
  for (const section of [part.result, part.layers, part.comparison]) {
    section.classList.toggle("stale", JSON.stringify(question()) !== JSON.stringify(asked));
  }
});
part.explanation.addEventListener("click", (event) => {
  if (tokenOf(event)) showLayers(tokenOf(event));
});
part.explanation.addEventListener("keydown", (event) => {
  const span = tokenOf(event);
  if (!span) return;
  if (["Enter", " "].includes(event.key)) showLayers(span);
  else if (["ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key)) {
    move(span, event.key);
  } else return;
  event.preventDefault();
});
part.download.addEventListener("click", download);
