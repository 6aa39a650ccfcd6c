// Draws a picture on a canvas: stored values to grey levels, washes and overlays on top. What it draws equals viewers/render.py.

import type { About, Frame, Lut, Overlay, State } from "./traits";
import { washOver } from "./wash";

// Grey levels: PS3.3 C.11.2.1.2.1, C.11.2.1.3.1 and .2, the same operations in the same order as render.py.

function greyOf(value: number, centre: number, width: number, kind: About["function"]): number {
  if (kind === "SIGMOID") return greyAt(1 / (1 + Math.exp((-4 * (value - centre)) / width)));
  // LINEAR with a width of 1; the others are in `fill`.
  return value > centre - 0.5 ? 255 : 0;
}

// No number is black.
function greyAt(share: number): number {
  return share > 0 ? (share < 1 ? (share * 255 + 0.5) | 0 : 255) : 0;
}

// A stored VOI LUT (C.11.2.1.1): its levels come ready-made from Python.
function lookedUp(value: number, { first, levels }: Lut): number {
  const at = Math.floor((Number.isNaN(value) ? first : value) + 0.5) - first;
  return levels[Math.min(Math.max(at, 0), levels.length - 1)];
}

function lutOf(frame: Frame, { lut }: State): Lut | null {
  return lut === null ? null : (frame.luts[lut] ?? null);
}

// The colours on the screen of stored values.
function fill(out: Uint32Array, stored: Float32Array, frame: Frame, state: State): void {
  const { slope, intercept } = frame;
  const { kind, inverted, palette, window: [centre, width] } = state;
  const colours = Uint32Array.from({ length: 256 }, (_, grey) => {
    const shown = inverted ? 255 - grey : grey;
    return palette ? palette[shown] : 0xff000000 | (shown << 16) | (shown << 8) | shown;
  });
  const lut = lutOf(frame, state);
  if (lut) for (let i = 0; i < out.length; i++) out[i] = colours[lookedUp(stored[i] * slope + intercept, lut)];
  else if (kind === "LINEAR_EXACT" || (kind === "LINEAR" && width !== 1)) {
    // A loop of its own: a drag of the window waits for 65536 of these in each frame.
    const [middle, range] = kind === "LINEAR" ? [centre - 0.5, width - 1] : [centre, width];
    for (let i = 0; i < out.length; i++) out[i] = colours[greyAt((stored[i] * slope + intercept - middle) / range + 0.5)];
  } else for (let i = 0; i < out.length; i++) out[i] = colours[greyOf(stored[i] * slope + intercept, centre, width, kind)];
}

// Which of all stored values, from `least` on, are not beyond the ends of a linear window: those below look like the first of
// these, those above like the last, since no operation and no rounding changes the order of values. All where that is not seen.
function within(frame: Frame, state: State, least: number, length: number): [from: number, to: number] {
  const { slope, intercept } = frame;
  const { kind, window: [centre, width] } = state;
  const [low, high] = [-1, 1].map((side) => (centre + (side * width) / 2 - intercept) / slope - least).sort((a, b) => a - b);
  const from = Math.max(Math.floor(low) - 2, 0);
  const to = Math.min(Math.ceil(high) + 3, length);
  if (kind === "SIGMOID" || !(from < to)) return [0, length];
  const ends = new Uint32Array(2);
  fill(ends, Float32Array.of(least + from, least + to - 1), frame, { ...state, lut: null, inverted: slope < 0, palette: null });
  return (from === 0 || ends[0] === 0xff000000) && (to === length || ends[1] === 0xffffffff) ? [from, to] : [0, length];
}

export function makePainter() {
  let key = "";
  let table = new Uint32Array(0);
  // The same from the least value to the highest.
  let ordered = new Uint32Array(0);
  let lut: Lut | null = null;
  let palette: Uint32Array | null = null;
  // One entry for every bit pattern of a stored value: 65536 divisions a window, not one a pixel.
  function tableFor(frame: Frame, state: State): Uint32Array {
    const wanted = [frame.dtype, frame.slope, frame.intercept, ...state.window, state.kind, state.inverted].join();
    const chosen = lutOf(frame, state);
    if (wanted === key && chosen === lut && palette === state.palette) return table;
    lut = chosen;
    palette = state.palette;
    const length = 256 ** frame.data.BYTES_PER_ELEMENT;
    if (table.length !== length) [table, ordered] = [new Uint32Array(length), new Uint32Array(length)];
    const least = frame.dtype.startsWith("u") ? 0 : -length / 2;
    const [from, to] = lut ? [0, length] : within(frame, state, least, length);
    // As float32, which holds each of them: a loop that meets one kind of array is several times as fast as one for all.
    const values = new Float32Array(to - from);
    for (let i = 0; i < values.length; i++) values[i] = least + from + i;
    fill(ordered.subarray(from, to), values, frame, state);
    ordered.fill(ordered[from], 0, from).fill(ordered[to - 1], to);
    // As bit patterns, negative values follow the highest.
    table.set(ordered.subarray(-least));
    table.set(ordered.subarray(0, -least), length + least);
    key = wanted;
    return table;
  }
  let image: ImageData | null = null;
  return function paint(canvas: HTMLCanvasElement, frame: Frame, state: State): void {
    // Setting a canvas's size clears it and takes new memory: only where the size is another one.
    if (canvas.width !== frame.columns || canvas.height !== frame.rows) {
      canvas.width = frame.columns;
      canvas.height = frame.rows;
    }
    const context = canvas.getContext("2d")!;
    if (image?.width !== frame.columns || image?.height !== frame.rows) {
      image = context.createImageData(frame.columns, frame.rows);
    }
    const out = new Uint32Array(image.data.buffer);
    const data = frame.data;
    if (frame.samples === 3) {
      const flip = state.inverted ? 0x00ffffff : 0;
      for (let i = 0, j = 0; i < out.length; i++, j += 3) {
        out[i] = ((0xff000000 | (data[j + 2] << 16) | (data[j + 1] << 8) | data[j]) ^ flip) >>> 0;
      }
    } else if (data instanceof Float32Array) {
      fill(out, data, frame, state);
    } else {
      const levels = tableFor(frame, state);
      const patterns = data.BYTES_PER_ELEMENT === 1
        ? new Uint8Array(data.buffer, data.byteOffset, data.length)
        : new Uint16Array(data.buffer, data.byteOffset, data.length);
      for (let i = 0; i < out.length; i++) out[i] = levels[patterns[i]];
    }
    if (frame.dose && state.wash) washOver(image.data, frame.dose, state.wash);
    if (frame.labels && state.outline) outline(out, frame.labels, frame, state.overlays);
    else if (frame.labels) blend(image.data, frame.labels, frame.weights, state.overlays);
    context.putImageData(image, 0, 0);
  };
}

// The same operations in the same order as overlay.blended.
function blend(bytes: Uint8ClampedArray, labels: Uint8Array, weights: Uint8Array | null, overlays: Overlay[]): void {
  for (let i = 0, j = 0; i < labels.length; i++, j += 4) {
    const over = overlays[labels[i] - 1];
    if (!over) continue;
    const part = weights ? (over.opacity * weights[i]) / 255 : over.opacity;
    for (let k = 0; k < 3; k++) {
      bytes[j + k] = Math.floor(bytes[j + k] * (1 - part) + over.colour[k] * part + 0.5);
    }
  }
}

// The same rule as overlay.edges: a pixel that touches another label, or the picture's edge.
function outline(out: Uint32Array, labels: Uint8Array, { rows, columns }: Frame, overlays: Overlay[]): void {
  for (let row = 0, i = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++, i++) {
      const label = labels[i];
      const over = overlays[label - 1];
      if (!over) continue;
      const within = row > 0 && row < rows - 1 && column > 0 && column < columns - 1 && labels[i - 1] === label
        && labels[i + 1] === label && labels[i - columns] === label && labels[i + columns] === label;
      if (!within) out[i] = (0xff000000 | (over.colour[2] << 16) | (over.colour[1] << 8) | over.colour[0]) >>> 0;
    }
  }
}
