// Plays one sample at a time; the samples of a description share the place in time, so that they can be compared.
const prompts = [...document.querySelectorAll(".prompt")];
const samplesOf = prompt => [...prompt.querySelectorAll(".sample")].filter(sample => !sample.hidden);
const all = [...document.querySelectorAll(".sample")];
const audioOf = sample => sample.querySelector("audio");
const isPlayable = sample => audioOf(sample) && !sample.hidden;
const names = [...new Set(all.map(sample => sample.dataset.system))];
const isBlind = prompt => document.body.classList.contains("blind") && !prompt.classList.contains("revealed");
let current = null, place = 0; // the sample that was heard last, and where in the music

// ---- Time: seconds of the music, from the first onset of the piano roll ----

const timeOf = sample => Number(sample.dataset.start) + audioOf(sample).currentTime;

function moveTo(sample, seconds) {
  const place = seconds - Number(sample.dataset.start);
  const length = Number(sample.dataset.end) - Number(sample.dataset.start);
  audioOf(sample).currentTime = Math.max(0, Math.min(place, length - 0.05));
}

function notePlace() {
  const isOver = timeOf(current) > Number(current.dataset.end) - 0.1; // the others may be longer
  if (!isOver) place = timeOf(current);
}

function showPlayhead(sample) {
  if (sample === current) notePlace();
  const playhead = sample.querySelector(".playhead");
  playhead.style.left = Math.max(0, Math.min(100, 100 * timeOf(sample) / Number(sample.dataset.seconds))) + "%";
  if (!audioOf(sample).paused) requestAnimationFrame(() => showPlayhead(sample));
}

function choose(sample) {
  if (current === sample) return;
  if (current) {
    audioOf(current).pause();
    current.classList.remove("current");
  }
  current = sample;
  sample.classList.add("current");
  markText(sample);
}

// From `seconds` on; without them, where the sample of the same description was that was heard before it.
function play(sample, seconds) {
  const isSwitch = current && current !== sample && current.dataset.prompt === sample.dataset.prompt;
  if (isSwitch && !audioOf(current).paused) notePlace(); // of now, not of the last frame
  const from = seconds ?? (isSwitch ? place : undefined);
  choose(sample);
  if (from !== undefined) moveTo(sample, from);
  start(sample);
  if (from !== undefined) place = from;
}

// A pause that comes before the audio is loaded is no error.
function start(sample) {
  audioOf(sample).play().catch(error => { if (error.name !== "AbortError") throw error; });
}

for (const sample of all.filter(audioOf)) {
  const audio = audioOf(sample), roll = sample.querySelector(".roll");
  let isSought = false; // by the player's own bar, before it plays
  audio.addEventListener("play", () => {
    if (current !== sample) play(sample, isSought ? timeOf(sample) : undefined);
    isSought = false;
    sample.querySelector(".playhead").style.visibility = "visible";
    showPlayhead(sample);
  });
  audio.addEventListener("seeking", () => { isSought = sample !== current; });
  audio.addEventListener("seeked", () => showPlayhead(sample));
  roll.addEventListener("click", event => {
    const box = roll.getBoundingClientRect();
    play(sample, (event.clientX - box.left) / box.width * Number(sample.dataset.seconds));
  });
}

// ---- Instruments: lit up in the piano roll; met or missed in the description ----

for (const button of document.querySelectorAll(".instruments button")) {
  const roll = button.closest(".sample").querySelector(".roll");
  const light = isLit => roll && roll.querySelectorAll(".note").forEach(
    path => path.classList.toggle("dim", isLit && !path.classList.contains(button.dataset.colour)));
  for (const name of ["pointerenter", "focus"]) button.addEventListener(name, () => light(true));
  for (const name of ["pointerleave", "blur"]) button.addEventListener(name, () => light(false));
}

function markText(sample) {
  const prompt = sample.closest(".prompt");
  for (const mark of prompt.querySelectorAll(":scope > blockquote mark")) {
    const items = isBlind(prompt) ? [] : [...sample.querySelectorAll(":is(.instruments, .scores) [data-name]")];
    const item = items.find(one => one.dataset.name === mark.dataset.name);
    mark.classList.toggle("hit", Boolean(item) && item.classList.contains("hit"));
    mark.classList.toggle("missing", Boolean(item) && item.classList.contains("missing"));
    mark.title = item ? item.title : "";
  }
}

// ---- One description at a time; links to a sample: #prompt-3&system=llama-1b-t1.0 ----

function show(number) {
  const shown = prompts.find(prompt => prompt.id === `prompt-${number}`) || prompts[0];
  prompts.forEach(prompt => { prompt.hidden = prompt !== shown; });
  if (current && current.closest(".prompt") !== shown) audioOf(current).pause();
  for (const link of document.querySelectorAll("nav a"))
    if (link.hash === `#${shown.id}`) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  return shown;
}

function follow() {
  const [anchor, system] = decodeURIComponent(location.hash.slice(1)).split("&system=");
  const number = Number(anchor.replace("prompt-", ""));
  if (!number) return;
  const prompt = show(number);
  const sample = system && samplesOf(prompt).find(one => one.dataset.system === system);
  if (sample && audioOf(sample)) choose(sample);
  (sample || prompt).scrollIntoView();
}

function step(offset) {
  const at = prompts.findIndex(prompt => !prompt.hidden);
  const next = prompts[(at + offset + prompts.length) % prompts.length];
  history.replaceState(null, "", `#${next.id}`);
  show(next.id.replace("prompt-", ""));
  next.scrollIntoView();
}

// ---- Which systems, and whether their names are shown ----

const settings = document.querySelector("#settings");
const picker = settings.querySelector(".picker");
for (const name of picker ? names : []) {
  const label = document.createElement("label"), box = document.createElement("input");
  Object.assign(box, {type: "checkbox", checked: true, value: name});
  box.addEventListener("change", () => {
    all.filter(sample => sample.dataset.system === name).forEach(sample => { sample.hidden = !box.checked; });
  });
  label.append(box, ` ${all.find(sample => sample.dataset.system === name).dataset.label}`);
  picker.append(label);
}

function setBlind(blind) {
  document.body.classList.toggle("blind", blind);
  tried = right = 0;
  settings.querySelector("output").value = "";
  if (current) {
    audioOf(current).pause();
    current.classList.remove("current");
    current = null;
  }
  const shown = prompts.find(prompt => !prompt.hidden);
  history.replaceState(null, "", `#${shown.id}`); // without the name of a system
  for (const prompt of prompts) {
    const grid = prompt.querySelector(".samples"), inOrder = [...grid.children];
    inOrder.sort((a, b) => a.dataset.order - b.dataset.order);
    if (blind)
      for (let i = inOrder.length - 1; i > 0; i--) {
        const j = Math.floor(Math.random() * (i + 1));
        [inOrder[i], inOrder[j]] = [inOrder[j], inOrder[i]];
      }
    grid.append(...inOrder);
    prompt.classList.remove("revealed");
    samplesOf(prompt).forEach((sample, i) => {
      const letter = String.fromCharCode(65 + i);
      sample.querySelector("header").dataset.letter = letter;
      setLabel(sample, blind ? `Piece ${letter}` : sample.dataset.label);
    });
    prompt.querySelectorAll("mark").forEach(mark => { mark.className = mark.title = ""; });
  }
}

function setLabel(sample, label) {
  for (const element of [sample, audioOf(sample)]) element?.setAttribute("aria-label", label);
}

let tried = 0, right = 0;
settings.querySelector("[name=blind]")?.addEventListener("change", event => setBlind(event.target.checked));
document.addEventListener("click", event => {
  const button = event.target.closest(".guess");
  if (!button) return;
  const sample = button.closest(".sample"), isHuman = sample.dataset.human === "true";
  tried += 1;
  right += isHuman;
  const prompt = sample.closest(".prompt");
  prompt.classList.add("revealed");
  samplesOf(prompt).forEach(one => setLabel(one, one.dataset.label));
  if (current?.closest(".prompt") === prompt) markText(current);
  settings.querySelector("output").value =
    `${isHuman ? "Right" : "No"}: that is ${sample.dataset.label}. ${right} of ${tried} right.`;
});

// ---- Keys ----

// What has keys of its own keeps them, and so has the rest of the page.
const OWN_KEYS = "input, select, button, a, audio, summary, [tabindex]";

document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.shiftKey || event.target.closest(OWN_KEYS)) return;
  const prompt = prompts.find(one => !one.hidden), box = prompt.getBoundingClientRect();
  if (box.top > innerHeight || box.bottom < 0) return;
  const samples = samplesOf(prompt), playable = samples.filter(isPlayable), at = playable.indexOf(current);
  const digit = "123456789".indexOf(event.key);
  if (event.key === "n") step(1);
  else if (event.key === "p") step(-1);
  else if (!playable.length) return;
  else if (event.key === " ") {
    if (at < 0) play(playable[0]);
    else if (audioOf(current).paused) start(current);
    else audioOf(current).pause();
  } else if (event.key === "ArrowRight" && at >= 0) moveTo(current, timeOf(current) + 5);
  else if (event.key === "ArrowLeft" && at >= 0) moveTo(current, timeOf(current) - 5);
  else if (event.key === "ArrowDown") play(playable[(at + 1) % playable.length]);
  else if (event.key === "ArrowUp") play(playable.at(at > 0 ? at - 1 : -1));
  else if (digit >= 0 && playable.includes(samples[digit])) play(samples[digit]);
  else return;
  event.preventDefault();
  current?.scrollIntoView({block: "nearest"});
});

// After a click the keys are the player's again; who came by the keyboard stays where they are.
document.addEventListener("click", event => {
  if (event.detail) event.target.closest("#settings button, #settings input, .sample button")?.blur();
});

settings.hidden = false;
for (const button of settings.querySelectorAll("[data-step]"))
  button.addEventListener("click", () => step(Number(button.dataset.step)));
show(1);
follow();
addEventListener("hashchange", follow);
