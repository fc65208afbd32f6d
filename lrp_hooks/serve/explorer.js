// The page asks its own server: what its model is chooses the tab that it opens on.

import { start as startAnswer } from "./answer.js";
import { start as startCircuit } from "./circuit.js";
import { start as startClassify } from "./classify.js";
import { start as startGenerate } from "./generate.js";
import { fetched, part, say } from "./page.js";
import { start as startPicture } from "./picture.js";

const named = (names) => names.map((name) => part[`${name}-tab`]);
const ofTexts = named(["classify", "answer", "generate", "circuit"]);
const ofPictures = named(["picture"]);
let tabs = ofTexts;

function open(chosen) {
  for (const tab of tabs) {
    const isChosen = tab === chosen;
    tab.ariaSelected = String(isChosen);
    tab.tabIndex = isChosen ? 0 : -1;
    document.getElementById(tab.getAttribute("aria-controls")).hidden = !isChosen;
  }
}

// One tab stop for all tabs; arrows go from one to the next.
function move(event) {
  const place = tabs.indexOf(event.target);
  const places = {
    ArrowLeft: place - 1,
    ArrowRight: place + 1,
    Home: 0,
    End: tabs.length - 1,
  };
  if (!(event.key in places)) return;
  const next = tabs.at(places[event.key] % tabs.length);
  open(next);
  next.focus();
  event.preventDefault();
}

async function start() {
  const about = await fetched("about");
  part.about.textContent = about.model;
  if (about.picture) {
    tabs = ofPictures;
    for (const tab of ofTexts) {
      tab.hidden = document.getElementById(tab.getAttribute("aria-controls")).hidden = true;
    }
    part["picture-tab"].hidden = false;
    startPicture(about);
    open(part["picture-tab"]);
    return;
  }
  startClassify(about);
  startAnswer(about);
  startGenerate(about);
  startCircuit(about);
  open(about.answer.cannot === null ? part["answer-tab"] : part["classify-tab"]);
}

for (const tab of [...ofTexts, ...ofPictures]) {
  tab.addEventListener("click", () => open(tab));
  tab.addEventListener("keydown", move);
}
start().catch((error) => say(part.failed, error.message));
