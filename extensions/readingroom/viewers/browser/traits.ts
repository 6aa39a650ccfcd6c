// What a series view and its browser half tell each other: the traits of viewers/series.py, its messages and its frames.

import type { AnyModel } from "@anywidget/types";

export type Point = [row: number, column: number];
export type Colour = [red: number, green: number, blue: number];
// Explanation, centre, width.
export type Preset = [name: string, centre: number, width: number];

export interface About {
  count: number;
  rows: number;
  columns: number;
  title: string;
  // Between rows, between columns.
  spacing: [number, number];
  length_unit: string;
  // Patient directions at left, right, top, bottom.
  edges: [string, string, string, string];
  function: "LINEAR" | "LINEAR_EXACT" | "SIGMOID";
  luts: string[];
  flipped: boolean;
  held: boolean;
  palettes: string[];
  notes: string[] | null;
  presets: Preset[];
}

export interface Overlay {
  name: string;
  colour: Colour;
  opacity: number;
  slice: number | null;
  painted?: true;
}

export interface Drawing {
  id: string;
  index: number | null;
  lines: Point[][];
  text: string;
}

// Only what the browser needs of an annotation: it takes them away, and Python makes them.
export interface Annotation {
  id: string;
}

export interface DoseScale {
  title: string;
  unit: string;
  highest: number;
  // Red, green, blue of 256 levels.
  colours: number[];
}

export type NoDose = { [K in keyof DoseScale]?: never };

export type Traits = {
  about: About;
  index: number;
  window: [centre: number, width: number];
  invert: boolean;
  lut: number | null;
  zoom: number;
  pan: [number, number];
  cross: [] | Point;
  playing: boolean;
  rate: number;
  graphics: boolean;
  outline: boolean;
  overlays: Overlay[];
  annotations: Annotation[];
  drawings: Drawing[];
  brush_name: string;
  brush_radius: number;
  colours: string;
  palette: number[];
  wash: DoseScale | NoDose;
  dose_threshold: number;
  dose_opacity: number;
};

export type Model = AnyModel<Traits>;

export interface Graphic {
  line: Point[];
  filled: boolean;
  colour: Colour;
}

export interface Words {
  text: string;
  at: Point;
  colour: Colour;
}

// A contour, and the number of its overlay from 1.
export type Contour = [number: number, line: Point[]];

export type PixelType = "int8" | "uint8" | "int16" | "uint16" | "float32";
export type Pixels = Int8Array | Uint8Array | Int16Array | Uint16Array | Float32Array;

// How stored values lie in a buffer.
export const ARRAYS: Record<PixelType, { new (buffer: ArrayBufferLike): Pixels }> = { int8: Int8Array, uint8: Uint8Array, int16: Int16Array, uint16: Uint16Array, float32: Float32Array };

export interface FrameMessage {
  k: "frame";
  z: number;
  dtype: PixelType;
  rows: number;
  columns: number;
  samples: 1 | 3;
  slope: number;
  intercept: number;
  // The first value of each stored VOI LUT.
  luts: number[];
  deflated?: true;
  // Of what is deflated: see _differences in viewers/wire.py.
  differences?: boolean;
  labelled?: true;
  weighted?: boolean;
  dosed?: true;
  contours?: Contour[];
  graphics?: Graphic[];
  texts?: Words[];
}

// Of one slice, why it cannot be shown.
export interface Fault {
  z: number;
  text: string;
}

// Slices in the order in which they were asked for, and how many buffers each has of those that came along. `fits`: how
// many such slices an answer holds.
export interface SlicesMessage {
  k: "slices";
  n: string;
  slices: ((FrameMessage | ({ k: "error" } & Fault)) & { buffers: number })[];
  fits: number;
}

export interface ErrorMessage {
  k: "error";
  n: string;
  text: string;
  // No access any more.
  ended?: boolean;
}

export type Answer =
  | SlicesMessage
  | ErrorMessage
  | { k: "still"; n: string }
  | { k: "where"; n: string; files: [path: string, frame: number][] }
  | { k: "refused"; n?: string; text: string }
  | { k: "labels"; z: number; weighted: boolean; text: string };

export interface Lut {
  first: number;
  levels: Uint8Array;
}

// A picture as it came: stored pixels, and what lies over them.
export interface Frame extends Omit<FrameMessage, "luts"> {
  data: Pixels;
  labels: Uint8Array | null;
  weights: Uint8Array | null;
  dose: Uint16Array | null;
  luts: Lut[];
  weighs: number;
}

export interface Wash extends DoseScale {
  threshold: number;
  opacity: number;
}

// What is on the screen, ahead of what the kernel has heard.
export interface State {
  index: number;
  window: [centre: number, width: number];
  zoom: number;
  pan: [number, number];
  kind: About["function"];
  lut: number | null;
  inverted: boolean;
  overlays: Overlay[];
  outline: boolean;
  wash: Wash | null;
  palette: Uint32Array | null;
}
