// What there is to hear and see of the worst utterances: sound, words and tokens in time, spectrogram, posteriors.

const PIXELS = 150; // a second, in pictures

// A button that opens what there is to hear and see; built when it is first wanted.
function opener(row) {
  const panel = el("div", { class: "medium", hidden: true, id: `medium-${row.number}` });
  const attributes = { type: "button", class: "open", "aria-expanded": "false", "aria-controls": panel.id };
  const button = el("button", attributes, "Listen and look");
  button.addEventListener("click", () => {
    const open = panel.hidden;
    if (!panel.childElementCount) panel.append(...medium(row));
    if (!open) panel.querySelector("audio").pause();
    panel.hidden = !open;
    button.setAttribute("aria-expanded", String(open));
  });
  return [button, panel];
}

function medium(row) {
  const found = row.medium;
  const audio = el("audio", { controls: true, preload: "metadata", src: found.audio });
  const head = el("div", { class: "playhead", "aria-hidden": "true" });
  const tracks = el(
    "div",
    { class: "tracks", style: { "--seconds-width": `${found.seconds * PIXELS}px` } },
    found.said ? track("said", spans(found.said, row, "said"), "words") : null,
    track("heard", spans(found.heard, row, "heard"), "words"),
    track(
      "tokens",
      found.tokens.map(([token, start]) => placed(start, "span", {}, token)),
      "tokens",
    ),
    track(
      hertz(found),
      picture(found.spectrogram, found.spectrogram_seconds, -0.005, "Log-mel spectrogram"),
      "spectrogram",
    ),
    track(
      found.rows.map((token) => el("span", {}, apart(token))),
      [
        picture(found.posteriors, found.posteriors_seconds, -found.step / 2, "Posteriors of the tokens over time"),
        found.tokens
          .filter(([, , place]) => place !== null)
          .map(([, start, place]) => placed(start, "i", { style: { "--row": String(place) } })),
      ],
      "posteriors",
    ),
    track(
      "seconds",
      Array.from({ length: Math.floor(found.seconds) + 1 }, (_, second) =>
        placed(second, "span", {}, String(second)),
      ),
      "seconds",
    ),
    head,
  );
  tracks.style.setProperty("--rows", String(found.rows.length));
  synchronise(audio, head, tracks);
  const cut = found.cut ? el("p", { class: "note" }, "The first minute of it.") : null;
  return [
    audio,
    cut,
    el(
      "div",
      { class: "scroller", tabindex: "0", role: "group", "aria-label": "Spectrogram, alignment and posteriors" },
      tracks,
    ),
  ].filter(Boolean);
}

const track = (label, content, kind) =>
  [
    el(
      "div",
      { class: `label ${kind}`, "aria-hidden": kind === "posteriors" || kind === "spectrogram" ? "true" : null },
      label,
    ),
    el("div", { class: `track ${kind}` }, content),
  ].flat();

// An element at a time of the picture, in seconds.
function placed(seconds, name, { style = {}, ...attributes }, ...children) {
  return el(name, { ...attributes, style: { left: `${(seconds * PIXELS).toFixed(1)}px`, ...style } }, ...children);
}

function picture(source, seconds, start, alt) {
  return placed(start, "img", {
    src: source,
    alt,
    draggable: "false",
    style: { width: `${(seconds * PIXELS).toFixed(1)}px` },
  });
}

// Words at their times, marked where the alignment calls them wrong; unmarked where they are not those of the alignment.
function spans(words, row, side) {
  const steps = stepsOf(row, 0).filter((step) => step[side] !== null);
  const same = steps.length === words.length && steps.every((step, i) => step[side] === words[i][0]);
  return words.map(([word, start, end], i) => {
    const kind = same ? KINDS[steps[i].letter] : undefined;
    const style = { width: `${((end - start) * PIXELS).toFixed(1)}px` };
    return placed(
      start,
      kind ? (side === "said" ? "del" : "ins") : "span",
      { class: kind, title: kind, style },
      apart(word),
    );
  });
}

// Frequencies at their height on the mel scale (O'Shaughnessy's, as HTK has it).
function hertz({ hertz: [low, high] }) {
  const mel = (frequency) => 2595 * Math.log10(1 + frequency / 700);
  return [500, 1000, 2000, 4000]
    .filter((frequency) => low < frequency && frequency < high)
    .map((frequency) => {
      const height = (mel(frequency) - mel(low)) / (mel(high) - mel(low));
      return el("span", { style: { bottom: `${(100 * height).toFixed(1)}%` } }, `${frequency / 1000} kHz`);
    });
}

// The line moves with the sound; a click on the picture moves the sound.
function synchronise(audio, head, tracks) {
  const origin = () => tracks.querySelector(".track").offsetLeft;
  const move = () => {
    head.style.setProperty("left", `${origin() + audio.currentTime * PIXELS}px`);
    if (!audio.paused) requestAnimationFrame(move);
  };
  for (const event of ["play", "seeked", "timeupdate"]) audio.addEventListener(event, move);
  tracks.addEventListener("click", (event) => {
    const x = event.clientX - tracks.getBoundingClientRect().left - origin();
    if (x >= 0) audio.currentTime = x / PIXELS;
  });
}
