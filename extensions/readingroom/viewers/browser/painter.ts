// Draws a picture on a canvas: stored values to grey levels, washes and overlays on top. What it draws equals viewers/render.py.

import { ARRAYS, type About, type Frame, type Lut, type Overlay, type State } from "./traits";
import { washOver } from "./wash";

// Grey levels: PS3.3 C.11.2.1.2.1, C.11.2.1.3.1 and .2, the same operations in the same order as render.py.

function greyOf(value: number, centre: number, width: number, kind: About["function"]): number {
  let share;
  if (kind === "SIGMOID") share = 1 / (1 + Math.exp((-4 * (value - centre)) / width));
  else if (kind === "LINEAR_EXACT") share = (value - centre) / width + 0.5;
  else if (width === 1) share = value > centre - 0.5 ? 1 : 0;
  else share = (value - (centre - 0.5)) / (width - 1) + 0.5;
  if (Number.isNaN(share)) share = 0;
  return Math.floor(Math.min(Math.max(share, 0), 1) * 255 + 0.5);
}

// A stored VOI LUT (C.11.2.1.1): its levels come ready-made from Python.
function lookedUp(value: number, { first, levels }: Lut): number {
  const at = Math.floor((Number.isNaN(value) ? first : value) + 0.5) - first;
  return levels[Math.min(Math.max(at, 0), levels.length - 1)];
}

function packed(grey: number): number {
  return (0xff000000 | (grey << 16) | (grey << 8) | grey) >>> 0;
}

function lutOf(frame: Frame, { lut }: State): Lut | null {
  return lut === null ? null : (frame.luts[lut] ?? null);
}

export function makePainter() {
  let key = "";
  let table = new Uint32Array(0);
  let lut: Lut | null = null;
  let palette: Uint32Array | null = null;
  // One entry for every bit pattern of a stored value: 65536 divisions a window, not one a pixel.
  function tableFor(frame: Frame, state: State): Uint32Array {
    const wanted = [frame.dtype, frame.slope, frame.intercept, ...state.window, state.kind, state.inverted].join();
    const chosen = lutOf(frame, state);
    if (wanted === key && chosen === lut && palette === state.palette) return table;
    lut = chosen;
    palette = state.palette;
    const bytes = frame.data.BYTES_PER_ELEMENT;
    const patterns = bytes === 1 ? new Uint8Array(256) : new Uint16Array(65536);
    for (let i = 0; i < patterns.length; i++) patterns[i] = i;
    const values = new ARRAYS[frame.dtype](patterns.buffer);
    table = new Uint32Array(values.length);
    for (let i = 0; i < values.length; i++) table[i] = level(values[i], frame, state);
    key = wanted;
    return table;
  }
  function level(stored: number, frame: Frame, state: State): number {
    const value = stored * frame.slope + frame.intercept;
    const own = lutOf(frame, state);
    const grey = own ? lookedUp(value, own) : greyOf(value, state.window[0], state.window[1], state.kind);
    const shown = state.inverted ? 255 - grey : grey;
    return state.palette ? state.palette[shown] : packed(shown);
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
    } else if (frame.dtype === "float32") {
      for (let i = 0; i < out.length; i++) out[i] = level(data[i], frame, state);
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
