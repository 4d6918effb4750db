// The page: strokes on a canvas, and what the network says of them.

import * as ort from "./ort.wasm.bundle.min.mjs";
import { prepare } from "./prepare.mjs";

const PEN = 40; // width of a stroke, in pixels of the canvas

const element = (id) => document.getElementById(id);
const pad = element("pad");
const pen = pad.getContext("2d", { willReadFrequently: true });

start().catch(fail);

/** Load the network, describe it, and answer whenever the drawing changes. */
async function start() {
  ort.env.wasm.numThreads = 1; // more need a server that isolates the page
  const response = await fetch("network.json");
  if (!response.ok) throw new Error(`network.json: ${response.status} ${response.statusText}`);
  const network = await response.json();
  const session = await ort.InferenceSession.create("network.onnx");
  describe(network);
  const bars = makeBars(network.classes);
  const answer = whenIdle(async () => show(await ask(session, network), network, bars));
  listen(() => answer().catch(fail));
  await answer();
}

function fail(error) {
  element("answer").textContent = `The network does not answer: ${error.message}`;
}

/** Say what the network is. */
function describe({ model, height, width }) {
  element("about").textContent = `The network ${model}`;
  element("size").textContent = `${width} × ${height} pixels: scaled, and centred by mass.`;
}

// --- drawing -------------------------------------------------------------------------------------

/** Draw with any pointer, clear with the button; call `changed` after each change. */
function listen(changed) {
  Object.assign(pen, { lineWidth: PEN, lineCap: "round", lineJoin: "round", strokeStyle: "white" });
  let last = null; // where the pen is, while it is down
  pad.addEventListener("pointerdown", (event) => {
    if (!event.isPrimary || event.button !== 0) return;
    pad.setPointerCapture(event.pointerId);
    last = place(event);
    stroke(last, last);
    changed();
  });
  pad.addEventListener("pointermove", (event) => {
    if (last === null || !event.isPrimary) return;
    const steps = event.getCoalescedEvents?.() ?? [];
    for (const step of steps.length ? steps : [event]) {
      const next = place(step);
      stroke(last, next);
      last = next;
    }
    changed();
  });
  for (const end of ["pointerup", "pointercancel"]) {
    pad.addEventListener(end, (event) => {
      if (event.isPrimary) last = null;
    });
  }
  element("clear").addEventListener("click", () => {
    pen.clearRect(0, 0, pad.width, pad.height);
    changed();
  });
}

/** Where an event is, in pixels of the canvas. */
function place({ clientX, clientY }) {
  const box = pad.getBoundingClientRect();
  return [
    ((clientX - box.left) * pad.width) / box.width,
    ((clientY - box.top) * pad.height) / box.height,
  ];
}

function stroke(from, to) {
  pen.beginPath();
  pen.moveTo(...from);
  pen.lineTo(...to);
  pen.stroke();
}

// --- the network ---------------------------------------------------------------------------------

/** Make a function that does a task, and once more if it was called meanwhile. */
function whenIdle(task) {
  let [busy, again] = [false, false];
  return async () => {
    again = true;
    if (busy) return;
    busy = true;
    try {
      while (again) {
        again = false;
        await task();
        await new Promise(requestAnimationFrame);
      }
    } finally {
      busy = false;
    }
  };
}

/** Give the drawing to the network; a blank one too, so that its feature maps are known. */
async function ask(session, network) {
  const { height, width } = network;
  const started = performance.now();
  const { data } = pen.getImageData(0, 0, pad.width, pad.height);
  const ink = new Uint8Array(pad.width * pad.height).map((_, pixel) => data[4 * pixel + 3]);
  const image = prepare(ink, pad.width, network);
  const pixels = image ?? new Float32Array(height * width);
  const input = new ort.Tensor("float32", pixels, [1, height, width, 1]);
  const found = await session.run({ [session.inputNames[0]]: input });
  const [probabilities, maps] = session.outputNames.map((name) => found[name]);
  const milliseconds = performance.now() - started;
  return { blank: image === null, pixels, probabilities: probabilities.data, maps, milliseconds };
}

// --- the answer ----------------------------------------------------------------------------------

/** Make a row with a bar for each class. */
function makeBars(classes) {
  return classes.map((name) => {
    const row = element("bars").insertRow();
    const head = row.appendChild(document.createElement("th"));
    head.scope = "row";
    head.textContent = name;
    const bar = row.insertCell().appendChild(document.createElement("div"));
    return { row, bar, share: row.insertCell() };
  });
}

function show({ blank, pixels, probabilities, maps, milliseconds }, network, bars) {
  const best = probabilities.indexOf(Math.max(...probabilities));
  bars.forEach(({ row, bar, share }, label) => {
    const probability = blank ? 0 : probabilities[label];
    row.className = !blank && label === best ? "best" : "";
    bar.style.transform = `scaleX(${probability})`;
    share.textContent = blank ? "" : percent(probability);
  });
  element("answer").textContent = blank
    ? "Draw in the black square."
    : `It looks like ${network.classes[best]}.`;
  element("latency").textContent = blank ? "\u00a0" : `Answered in ${milliseconds.toFixed(1)} ms.`;
  paint(element("seen"), network.height, network.width, (pixel) => pixels[pixel]);
  if (maps !== undefined) showMaps(maps, network.block, blank);
}

function percent(share) {
  return `${(100 * share).toFixed(1)}%`;
}

/** Show each feature of the first block as an image; of a blank drawing, black ones. */
function showMaps({ data, dims: [, height, width, features] }, block, blank) {
  const places = element("maps");
  if (places.children.length === 0) {
    places.append(...Array.from({ length: features }, () => document.createElement("canvas")));
    element("features").textContent =
      `${features} features of ${width} × ${height} pixels, the output of ${block}. ` +
      "One scale for all: the brighter, the larger.";
    element("block").hidden = false;
  }
  const [low, high] = data.reduce(
    ([least, most], value) => [Math.min(least, value), Math.max(most, value)], [0, 1e-9]);
  [...places.children].forEach((canvas, feature) => {
    const level = (pixel) => (data[pixel * features + feature] - low) / (high - low);
    paint(canvas, height, width, blank ? () => 0 : level);
  });
}

/** Paint levels in [0, 1] from black to white. */
function paint(canvas, height, width, level) {
  const image = new ImageData(width, height);
  for (let pixel = 0; pixel < height * width; pixel++) {
    image.data.fill(255 * level(pixel), 4 * pixel, 4 * pixel + 3);
    image.data[4 * pixel + 3] = 255;
  }
  Object.assign(canvas, { height, width });
  canvas.getContext("2d").putImageData(image, 0, 0);
}
