// Plays one sample at a time; the samples of a description share the place in time, so that they can be compared.
const prompts = [...document.querySelectorAll(".prompt")];
const samplesOf = prompt => [...prompt.querySelectorAll(".sample")].filter(sample => !sample.hidden);
const all = [...document.querySelectorAll(".sample")];
const audioOf = sample => sample.querySelector("audio");
const isPlayable = sample => audioOf(sample) && !sample.hidden;
const names = [...new Set(all.map(sample => sample.dataset.system))];
let current = null;

// ---- Time: seconds of the music, from the first onset of the piano roll ----

const timeOf = sample => Number(sample.dataset.start) + audioOf(sample).currentTime;

function moveTo(sample, seconds) {
  const place = seconds - Number(sample.dataset.start);
  const length = Number(sample.dataset.end) - Number(sample.dataset.start);
  audioOf(sample).currentTime = Math.max(0, Math.min(place, length - 0.05));
}

function showPlayhead(sample) {
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

// At the same place in time as the sample of the same description that was heard before it.
function play(sample, seconds) {
  const before = current;
  if (seconds === undefined && before && before !== sample && before.closest(".prompt") === sample.closest(".prompt"))
    seconds = timeOf(before);
  choose(sample);
  if (seconds !== undefined) moveTo(sample, seconds);
  start(sample);
}

// A pause that comes before the audio is loaded is no error.
function start(sample) {
  audioOf(sample).play().catch(error => { if (error.name !== "AbortError") throw error; });
}

for (const sample of all.filter(audioOf)) {
  const audio = audioOf(sample), roll = sample.querySelector(".roll");
  audio.addEventListener("play", () => {
    if (current !== sample) play(sample);
    sample.querySelector(".playhead").style.visibility = "visible";
    showPlayhead(sample);
  });
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
  for (const mark of sample.closest(".prompt").querySelectorAll("mark")) {
    const item = [...sample.querySelectorAll(".instruments li")].find(li => li.dataset.name === mark.dataset.name);
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
for (const name of names) {
  const label = document.createElement("label"), box = document.createElement("input");
  Object.assign(box, {type: "checkbox", checked: true, value: name});
  box.addEventListener("change", () => {
    all.filter(sample => sample.dataset.system === name).forEach(sample => { sample.hidden = !box.checked; });
  });
  label.append(box, ` ${all.find(sample => sample.dataset.system === name).dataset.label}`);
  picker.append(label);
}

function setBlind(isBlind) {
  document.body.classList.toggle("blind", isBlind);
  for (const prompt of prompts) {
    const grid = prompt.querySelector(".samples"), inOrder = [...grid.children];
    inOrder.sort((a, b) => a.dataset.order - b.dataset.order);
    if (isBlind)
      for (let i = inOrder.length - 1; i > 0; i--) {
        const j = Math.floor(Math.random() * (i + 1));
        [inOrder[i], inOrder[j]] = [inOrder[j], inOrder[i]];
      }
    inOrder.forEach((sample, i) => { sample.querySelector("header").dataset.letter = String.fromCharCode(65 + i); });
    grid.append(...inOrder);
    prompt.classList.remove("revealed");
  }
}
let tried = 0, right = 0;
settings.querySelector("[name=blind]").addEventListener("change", event => setBlind(event.target.checked));
document.addEventListener("click", event => {
  const button = event.target.closest(".guess");
  if (!button) return;
  const sample = button.closest(".sample"), isHuman = sample.dataset.human === "true";
  tried += 1;
  right += isHuman;
  sample.closest(".prompt").classList.add("revealed");
  settings.querySelector("output").value =
    `${isHuman ? "Right" : "No"}: that is ${sample.dataset.label}. ${right} of ${tried} right.`;
});

// ---- Keys ----

document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.target.closest("input, button, a, audio, summary")) return;
  const prompt = prompts.find(one => !one.hidden), playable = samplesOf(prompt).filter(isPlayable);
  if (!playable.length) return;
  const at = playable.indexOf(current);
  const digit = "123456789".indexOf(event.key);
  if (event.key === " ") {
    if (at < 0) play(playable[0]);
    else if (audioOf(current).paused) start(current);
    else audioOf(current).pause();
  } else if (event.key === "ArrowRight" && at >= 0) moveTo(current, timeOf(current) + 5);
  else if (event.key === "ArrowLeft" && at >= 0) moveTo(current, timeOf(current) - 5);
  else if (event.key === "ArrowDown") play(playable[(at + 1) % playable.length]);
  else if (event.key === "ArrowUp") play(playable[(at - 1 + playable.length) % playable.length]);
  else if (digit >= 0 && digit < playable.length) play(playable[digit]);
  else if (event.key === "n") step(1);
  else if (event.key === "p") step(-1);
  else return;
  event.preventDefault();
  current?.scrollIntoView({block: "nearest"});
});

settings.hidden = false;
for (const button of settings.querySelectorAll("[data-step]"))
  button.addEventListener("click", () => step(Number(button.dataset.step)));
show(1);
follow();
addEventListener("hashchange", follow);
