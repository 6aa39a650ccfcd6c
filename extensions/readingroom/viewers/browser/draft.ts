// What a drag of the window shows of a large picture: the part in the stage, in about as many pixels as the screen has for
// it. A mammogram has 20 million pixels, of which a frame of the screen shows half a million. Once the drag rests the
// picture itself is drawn again.

import { makePainter } from "./painter";
import type { About, Frame, Pixels, State } from "./traits";

// Pixels: a picture of fewer is drawn itself in some milliseconds.
const LARGE = 1 << 20;
const REST_MS = 150;

// Along one side of the picture: the first pixel, how many blocks there are, and how many pixels each of them takes.
interface Side {
  start: number;
  blocks: number;
  step: number;
}

// `length` and `pan` in pixels of the picture; `room`: pixels of the screen along the stage's side.
function sideOf(length: number, room: number, zoom: number, pan: number): Side {
  const step = Math.max(Math.floor(length / Math.max(room * zoom, 1)), 1);
  const within = (at: number) => Math.min(Math.max(at, 0), length);
  const middle = length / 2 - pan;
  const start = Math.min(Math.floor(within(middle - length / 2 / zoom) / step) * step, length - step);
  const wanted = Math.ceil((within(middle + length / 2 / zoom) - start) / step);
  return { start, blocks: Math.max(Math.min(wanted, Math.floor((length - start) / step)), 1), step };
}

// One pixel for each block: the mean of its stored values, and what lies over its middle.
function shrunk(frame: Frame, down: Side, across: Side): Frame {
  const { columns, data } = frame;
  const out = new (data.constructor as { new (length: number): Pixels })(down.blocks * across.blocks);
  const whole = !(data instanceof Float32Array);
  const sums = new Float64Array(across.blocks);
  const count = down.step * across.step;
  for (let row = 0, to = 0; row < down.blocks; row++) {
    sums.fill(0);
    for (let y = 0; y < down.step; y++) {
      let i = (down.start + row * down.step + y) * columns + across.start;
      for (let column = 0; column < across.blocks; column++) {
        let sum = 0;
        for (let x = 0; x < across.step; x++) sum += data[i++];
        sums[column] += sum;
      }
    }
    for (const sum of sums) out[to++] = whole ? Math.round(sum / count) : sum / count;
  }
  function picked<T extends Uint8Array | Uint16Array>(over: T | null): T | null {
    if (!over) return null;
    const made = new (over.constructor as { new (length: number): T })(down.blocks * across.blocks);
    for (let row = 0, to = 0; row < down.blocks; row++) {
      let i = (down.start + row * down.step + (down.step >> 1)) * columns + across.start + (across.step >> 1);
      for (let column = 0; column < across.blocks; column++, i += across.step) made[to++] = over[i];
    }
    return made;
  }
  return {
    ...frame, rows: down.blocks, columns: across.blocks, data: out,
    labels: picked(frame.labels), weights: picked(frame.weights), dose: picked(frame.dose),
  };
}

// `settle` is called once the drag rests.
export function makeDraft(about: About, canvas: HTMLCanvasElement, stage: HTMLElement, state: State, settle: () => void) {
  const paint = makePainter();
  let of: Frame | null = null;
  let small: Frame | null = null;
  let resting: ReturnType<typeof setTimeout> | undefined;
  function begin(frame: Frame) {
    const [down, across] = (["rows", "columns"] as const).map((side, i) => {
      const room = (i ? stage.clientWidth : stage.clientHeight) * devicePixelRatio;
      // Pictures of a series may differ in size: each fills the stage.
      return sideOf(frame[side], room, state.zoom, (state.pan[1 - i] * frame[side]) / about[side]);
    });
    of = frame;
    small = shrunk(frame, down, across);
    // The canvas lies where its part of the picture does, and zooms about the stage's middle as the whole does.
    const { style } = canvas;
    const origin = (side: Side, length: number) => `${(100 * (length / 2 - side.start)) / (side.step * side.blocks)}%`;
    style.inset = `${(100 * down.start) / frame.rows}% auto auto ${(100 * across.start) / frame.columns}%`;
    style.width = `${(100 * across.step * across.blocks) / frame.columns}%`;
    style.height = `${(100 * down.step * down.blocks) / frame.rows}%`;
    style.transformOrigin = `${origin(across, frame.columns)} ${origin(down, frame.rows)}`;
  }
  return {
    // Whether nothing is left to draw: a picture that is not large is for the caller.
    draw(frame: Frame): boolean {
      // Colours have no window.
      if (frame.samples === 3) return true;
      if (frame.rows * frame.columns < LARGE) return false;
      if (frame !== of) begin(frame);
      paint(canvas, small!, state);
      clearTimeout(resting);
      resting = setTimeout(settle, REST_MS);
      return true;
    },
    shown: () => of !== null,
    end() {
      clearTimeout(resting);
      if (!of) return;
      of = small = null;
      for (const name of ["inset", "width", "height", "transform-origin"]) canvas.style.removeProperty(name);
    },
  };
}
