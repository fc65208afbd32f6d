// The tab on which a picture is explained place by place.

import { asking, offer, part, save, say } from "./page.js";

let frame; // what stands around the fragments of a page to keep
let largest; // bytes of a file at most
let file = ""; // the chosen one, in base64
let shown; // the answer that is shown

function question() {
  return {
    picture: file,
    method: part["picture-method"].value,
    rules: part["picture-rules"].disabled ? null : part["picture-rules"].value,
    target: part["picture-label"].value || null,
  };
}

const explain = asking({
  form: part.look,
  path: "picture",
  question,
  status: part["picture-status"],
  error: part["picture-error"],
  found: part.seen,
  doing: () => "explaining",
  show(answer) {
    shown = answer;
    part["seen-prediction"].innerHTML = answer.prediction;
    part["seen-page"].innerHTML = answer.html;
  },
});

// Rules belong to one of the methods.
function fit() {
  part["picture-rules"].disabled = part["picture-method"].value !== "lrp";
}

function read(chosen) {
  file = "";
  say(part["picture-error"], "");
  part.preview.hidden = true;
  if (!chosen) return;
  if (chosen.size > largest) {
    say(part["picture-error"], `The file is larger than ${largest >> 20} MB.`);
    return;
  }
  const reader = new FileReader();
  reader.addEventListener("load", () => {
    file = reader.result.split(",")[1] ?? "";
    const image = new Image();
    image.alt = "the chosen picture";
    image.src = reader.result;
    part.preview.replaceChildren(image);
    part.preview.hidden = false;
    part.look.dispatchEvent(new Event("input"));
  });
  reader.readAsDataURL(chosen);
}

export function start(about) {
  frame = about.frame;
  largest = about.picture.largest;
  offer(part["picture-method"], about.picture.methods);
  offer(part["picture-rules"], about.rules);
  part["picture-rules"].value = about.default_rules;
  offer(part["picture-label"], about.picture.labels);
  part["picture-hint"].textContent = `PNG or JPEG, up to ${largest >> 20} MB`;
  fit();
}

part.look.addEventListener("submit", (event) => {
  event.preventDefault();
  if (!frame) return;
  if (file) explain();
  else say(part["picture-error"], "Choose a picture first.");
});
part.look.addEventListener("input", fit);
part["picture-file"].addEventListener("change", () => read(part["picture-file"].files[0]));
part["save-picture-html"].addEventListener("click", () => {
  save("picture.html", "text/html", [frame[0], shown.prediction, shown.html, frame[1]]);
});
part["save-picture-json"].addEventListener("click", () => {
  save("picture.json", "application/json", [shown.json]);
});
