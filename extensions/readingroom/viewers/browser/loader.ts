// Which pictures are asked for and held: the latest wish first, few requests under way, ahead in the direction of scrolling.

import type { Failure, Source } from "./source";
import type { Frame } from "./traits";

const IN_FLIGHT = 4;
const AHEAD = 8;
const CACHE_BYTES = 256 * 1024 * 1024;

// `fills`: what is held in the kernel's memory anyway comes whole, nearest first, while nothing else is asked for. Files
// are read only where they are looked at: each read is on the record.
export function makeLoader(
  source: Source, count: number, fills: boolean, onFrame: (frame: Frame) => void,
  onError: (index: number, text: string) => void, onLost: (index: number, text: string) => void,
) {
  const cache = new Map<number, Frame>();
  const underWay = new Set<number>();
  // Not asked for again in advance, only when wished for.
  const failed = new Set<number>();
  let held = 0;
  let wish = 0;
  let shown = Infinity;
  let direction = 1;
  let stopped = false;
  let generation = 0;

  function keep(index: number, frame: Frame) {
    const luts = frame.luts.map((lut) => lut.levels);
    frame.weighs = [frame.data, frame.labels, frame.weights, frame.dose, ...luts].reduce((sum, one) => sum + (one ? one.byteLength : 0), 0);
    held += frame.weighs - (cache.get(index)?.weighs ?? 0);
    cache.set(index, frame);
    for (const [old, dropped] of cache) {
      if (held <= CACHE_BYTES || old === wish) break;
      cache.delete(old);
      held -= dropped.weighs;
    }
  }
  function consider(index: number) {
    const known = cache.has(index) || underWay.has(index) || failed.has(index);
    if (index >= 0 && index < count && !known) fetch(index);
  }
  function ask() {
    // The first picture has the line for itself.
    if (shown === Infinity && underWay.size > 0) return;
    const ahead = shown === Infinity ? 0 : AHEAD;
    for (let step = 0; step <= ahead && underWay.size < IN_FLIGHT && !stopped; step++) consider(wish + direction * step);
    if (!fills || shown === Infinity || cache.size === 0 || (held / cache.size) * count > CACHE_BYTES) return;
    for (let step = 1; step < count && underWay.size < IN_FLIGHT && !stopped; step++) {
      consider(wish + direction * step);
      if (underWay.size < IN_FLIGHT) consider(wish - direction * step);
    }
  }
  // While the wish is under way, whatever comes nearer to it than what is on the screen is shown: the picture moves
  // with the wheel, and says that it is loading.
  function nearer(index: number) {
    return index === wish || Math.abs(index - wish) < Math.abs(shown - wish);
  }
  function put(frame: Frame) {
    shown = frame.z;
    onFrame(frame);
  }
  function fetch(index: number) {
    underWay.add(index);
    const asked = generation;
    source.get(index).then(
      (frame) => {
        if (asked !== generation) return;
        underWay.delete(index);
        if (stopped) return;
        keep(index, frame);
        if (nearer(index)) put(frame);
        ask();
      },
      (error: Failure) => {
        if (asked !== generation) return;
        underWay.delete(index);
        if (stopped) return;
        if (error.lost) {
          // Nothing is wrong with the picture: it may be asked for again, but only when it is wished for.
          if (index === wish) onLost(index, error.text);
          return;
        }
        failed.add(index);
        if (index === wish) {
          shown = Infinity;
          onError(index, error.text);
        }
        ask();
      },
    );
  }
  function drop() {
    generation += 1;
    cache.clear();
    underWay.clear();
    failed.clear();
    held = 0;
    shown = Infinity;
  }
  return {
    want(index: number) {
      if (index !== wish) direction = index > wish ? 1 : -1;
      wish = index;
      failed.delete(index);
      const frame = cache.get(index);
      if (frame) {
        // Used last, dropped last.
        cache.delete(index);
        cache.set(index, frame);
        put(frame);
      }
      ask();
      return Boolean(frame);
    },
    // What came before and what is under way is of no use any more.
    forget() {
      drop();
      ask();
    },
    // Access is over: nothing that was read before stays, and nothing is asked for until the user asks.
    drop,
    // Change a frame that is kept, and nothing else.
    amend(index: number, change: (frame: Frame) => void) {
      const frame = cache.get(index);
      if (frame) change(frame);
    },
    stop() {
      stopped = true;
      cache.clear();
      source.close();
    },
  };
}
