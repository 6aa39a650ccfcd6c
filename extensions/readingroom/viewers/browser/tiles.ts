// The tiles of a slide: which ones a field needs, few of them under way, the newest wish first, and kept up to so many bytes.

import { inflated, makeLine } from "./source";
import type { Answer, Failure } from "./wire";

const IN_FLIGHT = 4;
const CACHE_BYTES = 256 * 1024 * 1024;
// The same numbers as slide_pictures.py: what may be read for one field.
const MOST_TILES = 256;
const MOST_PIXELS = 48 * 1024 * 1024;

export interface Level {
  width: number;
  height: number;
  tile: [width: number, height: number];
  downsample: number;
}

// Of the finest level's pixels: middle and width. `pixels`: how many of the screen's it is wide and high.
export interface Field {
  centre: [x: number, y: number];
  width: number;
  pixels: [across: number, down: number];
}

export interface Wish {
  level: number;
  x: number;
  y: number;
  path: number;
  plane: number;
}

export interface Tile extends Wish {
  picture: ImageBitmap;
}

// Pixels in sRGB; or a JPEG as it lies in the file, of which so many rows and columns are shown, and its ICC profile's number.
export type TileMessage = { rows: number; columns: number } & (
  | { jpeg?: never; samples: 1 | 3; deflated?: true }
  | { jpeg: true; profile: number | null }
);

const keyOf = ({ level, x, y, path, plane }: Wish) => [level, x, y, path, plane].join();

// How much larger a level's pixel is than the finest level's, across and down.
export function steps(levels: Level[], level: number): [number, number] {
  return [levels[0].width / levels[level].width, levels[0].height / levels[level].height];
}

// First and last tile across and down that a field touches, on one level.
function tilesOf(levels: Level[], number: number, field: Field) {
  const level = levels[number];
  const high = (field.width * field.pixels[1]) / field.pixels[0];
  const range = (centre: number, size: number, step: number, tile: number, end: number) => [
    Math.max(Math.floor((centre - size / 2) / step / tile), 0),
    Math.min(Math.ceil((centre + size / 2) / step / tile), Math.ceil(end / tile)) - 1,
  ];
  const [across, down] = steps(levels, number);
  return [
    range(field.centre[0], field.width, across, level.tile[0], level.width),
    range(field.centre[1], high, down, level.tile[1], level.height),
  ];
}

// The coarsest level that is no coarser than the screen; a coarser one where too much would have to be read; -1 where that
// holds of all.
export function levelFor(levels: Level[], field: Field): number {
  let fine = 0;
  levels.forEach((level, i) => {
    if (level.downsample <= (field.width / field.pixels[0]) * 1.001) fine = i;
  });
  for (let number = fine; number < levels.length; number++) {
    const [[left, right], [top, bottom]] = tilesOf(levels, number, field);
    const count = Math.max(right - left + 1, 0) * Math.max(bottom - top + 1, 0);
    const [wide, high] = levels[number].tile;
    if (count <= MOST_TILES && (count <= 1 || count * wide * high <= MOST_PIXELS)) return number;
  }
  return -1;
}

// What a field needs, its middle first.
export function wishesFor(levels: Level[], number: number, field: Field, path: number, plane: number): Wish[] {
  const [[left, right], [top, bottom]] = tilesOf(levels, number, field);
  const [across, down] = steps(levels, number);
  const [wide, high] = levels[number].tile;
  const wishes: [number, Wish][] = [];
  for (let y = top; y <= bottom; y++) {
    for (let x = left; x <= right; x++) {
      const away = Math.hypot((x + 0.5) * wide * across - field.centre[0], (y + 0.5) * high * down - field.centre[1]);
      wishes.push([away, { level: number, x, y, path, plane }]);
    }
  }
  return wishes.sort((a, b) => a[0] - b[0]).map(([, wish]) => wish);
}

// The most of a profile that one segment takes (ICC.1, Annex B.4).
const PROFILE_BYTES = 65_519;

// A JPEG, in which a profile lies behind the first marker.
function profiled(jpeg: DataView<ArrayBuffer>, profile: DataView<ArrayBuffer>): Blob {
  const bytes = (view: DataView<ArrayBuffer>, from: number, to?: number) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength).subarray(from, to);
  const count = Math.ceil(profile.byteLength / PROFILE_BYTES);
  const parts: Uint8Array<ArrayBuffer>[] = [bytes(jpeg, 0, 2)];
  for (let i = 0; i < count; i++) {
    const part = bytes(profile, i * PROFILE_BYTES, (i + 1) * PROFILE_BYTES);
    const length = part.length + 16;
    const name = [..."ICC_PROFILE\0"].map((letter) => letter.charCodeAt(0));
    parts.push(new Uint8Array([0xff, 0xe2, length >> 8, length & 0xff, ...name, i + 1, count]), part);
  }
  return new Blob([...parts, bytes(jpeg, 2)]);
}

async function pictured({ message, buffers }: Answer<TileMessage>, profile: (number: number) => Promise<DataView<ArrayBuffer>>): Promise<ImageBitmap> {
  if (message.jpeg) {
    const blob = message.profile === null ? new Blob(buffers) : profiled(buffers[0], await profile(message.profile));
    const colorSpaceConversion = message.profile === null ? "none" : "default";
    return createImageBitmap(blob, 0, 0, message.columns, message.rows, { colorSpaceConversion, premultiplyAlpha: "none" });
  }
  const [bytes] = message.deflated ? await inflated(buffers) : buffers;
  const image = new ImageData(message.columns, message.rows);
  const out = new Uint32Array(image.data.buffer);
  const data = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const { samples } = message;
  for (let i = 0, j = 0; i < out.length; i++, j += samples) {
    out[i] = (0xff000000 | (data[j + samples - 1] << 16) | (data[samples === 3 ? j + 1 : j] << 8) | data[j]) >>> 0;
  }
  return createImageBitmap(image, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
}

interface Heard {
  changed(): void;
  failed(failure: Failure): void;
}

interface Kernel {
  // `decoded`: by the kernel, which says what is wrong with what this browser cannot read.
  tile(wish: Wish, deflate: boolean, decoded: boolean): Promise<Answer<TileMessage>>;
  profile(number: number): Promise<DataView<ArrayBuffer>>;
}

// `kept`: the level whose tiles stay, since the whole slide is drawn from them.
export function makeTiles(kernel: Kernel, kept: number, heard: Heard) {
  const cache = new Map<string, Tile>();
  const underWay = new Set<string>();
  // Not asked for again until the user moves on and comes back.
  const failed = new Set<string>();
  let wishes: Wish[] = [];
  let held = 0;
  let generation = 0;
  const line = makeLine();
  const profiles = new Map<number, Promise<DataView<ArrayBuffer>>>();
  function profile(number: number) {
    const known = profiles.get(number) ?? kernel.profile(number);
    profiles.set(number, known);
    known.catch(() => profiles.delete(number));
    return known;
  }
  async function picture(wish: Wish): Promise<ImageBitmap> {
    const answer = await kernel.tile(wish, line.slow, false);
    line.received(answer.buffers[0].byteLength, underWay.size - 1);
    try {
      return await pictured(answer, profile);
    } catch (error) {
      if (!(answer.message.jpeg && error instanceof DOMException)) throw error;
      return pictured(await kernel.tile(wish, line.slow, true), profile);
    }
  }
  const weight = ({ picture }: Tile) => picture.width * picture.height * 4;

  function keep(key: string, tile: Tile) {
    held += weight(tile);
    cache.set(key, tile);
    const needed = new Set(wishes.map(keyOf));
    for (const [old, dropped] of cache) {
      if (held <= CACHE_BYTES) break;
      if (needed.has(old) || dropped.level === kept) continue;
      cache.delete(old);
      held -= weight(dropped);
      dropped.picture.close();
    }
  }
  function ask() {
    for (const wish of wishes) {
      if (underWay.size >= IN_FLIGHT) return;
      const key = keyOf(wish);
      if (!cache.has(key) && !underWay.has(key) && !failed.has(key)) fetch(key, wish);
    }
  }
  function fetch(key: string, wish: Wish) {
    underWay.add(key);
    const asked = generation;
    line.asked();
    picture(wish).then(
      (picture) => {
        if (asked !== generation) {
          picture.close();
          return;
        }
        underWay.delete(key);
        keep(key, { ...wish, picture });
        ask();
        heard.changed();
      },
      (failure: Failure) => {
        if (asked !== generation) return;
        underWay.delete(key);
        failed.add(key);
        heard.failed(failure);
        ask();
        heard.changed();
      },
    );
  }
  return {
    want(wanted: Wish[]) {
      const before = new Set(wishes.map(keyOf));
      wishes = wanted;
      for (const wish of wanted) {
        const key = keyOf(wish);
        if (!before.has(key)) failed.delete(key);
        const tile = cache.get(key);
        if (!tile) continue;
        // Used last, dropped last.
        cache.delete(key);
        cache.set(key, tile);
      }
      ask();
    },
    all: () => cache.values(),
    // How many of what is wished for has not come.
    missing: () => wishes.filter((wish) => !cache.has(keyOf(wish)) && !failed.has(keyOf(wish))).length,
    // Access is over: nothing that was read before stays, and nothing is asked for until the user asks.
    drop() {
      generation += 1;
      for (const { picture } of cache.values()) picture.close();
      cache.clear();
      underWay.clear();
      failed.clear();
      wishes = [];
      held = 0;
    },
  };
}
