// Which pictures are asked for and held: the latest wish first, few requests under way, ahead in the direction of scrolling.

import type { Failure, Slices, Source } from "./source";
import type { Frame } from "./traits";

const REQUESTS = 4;
// Slices asked for and not come: what is wished for next waits for them.
const UNDER_WAY = 8;
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
  let requests = 0;
  // How many slices a request asks for.
  let span = 1;
  // Not asked for again in advance, only when wished for.
  const failed = new Set<number>();
  let held = 0;
  let wish = 0;
  let shown = Infinity;
  let direction = 1;
  let stopped = false;
  let generation = 0;
  let wishes = 0;
  let repeated = 0;

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
  function missing(index: number) {
    return index >= 0 && index < count && !cache.has(index) && !underWay.has(index) && !failed.has(index);
  }
  function* wanted() {
    const ahead = shown === Infinity ? 0 : AHEAD;
    for (let step = 0; step <= ahead; step++) yield wish + direction * step;
    if (!fills || shown === Infinity || cache.size === 0 || (held / cache.size) * count > CACHE_BYTES) return;
    for (let step = 1; step < count; step++) {
      yield wish + direction * step;
      yield wish - direction * step;
    }
  }
  function next(most: number) {
    const found = new Set<number>();
    for (const index of wanted()) {
      if (found.size >= most) break;
      if (missing(index)) found.add(index);
    }
    return [...found];
  }
  function ask() {
    // The first picture has the line for itself.
    if (shown === Infinity && requests > 0) return;
    const asked = generation;
    // A source that is gone says so while it is asked, and all is dropped.
    while (!stopped && asked === generation && requests < REQUESTS) {
      const batch = next(Math.min(span, UNDER_WAY - underWay.size));
      // A request for every step would cost as much as one for several: what is far off waits for more.
      if (batch.length === 0 || (batch.length < span && Math.abs(batch[0] - wish) > AHEAD / 2)) return;
      fetch(batch);
    }
  }
  // While the wish is under way, whatever comes nearer to it than what is on the screen is shown: the picture moves
  // with the wheel, and says that it is loading.
  function nearer(index: number, than: number) {
    return index === wish || Math.abs(index - wish) < Math.abs(than - wish);
  }
  function put(frame: Frame) {
    shown = frame.z;
    onFrame(frame);
  }
  function fetch(batch: number[]) {
    for (const index of batch) underWay.add(index);
    requests += 1;
    const asked = generation;
    const made = wishes;
    const done = () => {
      if (asked !== generation) return false;
      for (const index of batch) underWay.delete(index);
      requests -= 1;
      return !stopped;
    };
    // The end of access drops wishes that nothing refused: access may have been granted anew. Each is asked for once more.
    const again = () => {
      if (asked === generation || repeated === wishes) return;
      repeated = wishes;
      ask();
    };
    source.get(batch).then((told) => {
      if (done()) take(told);
      else again();
    }, ({ text, lost, ended }: Failure) => {
      if (ended && made < wishes) again();
      if (!done()) return;
      const [index] = batch;
      // Nothing is wrong with the picture: it may be asked for again, but only when it is wished for.
      if (!lost) take({ frames: [], faults: [{ z: index, text }], fits: span });
      else if (batch.includes(wish)) onLost(wish, text);
    });
  }
  function take({ frames, faults, fits }: Slices) {
    span = Math.min(fits, UNDER_WAY / 2);
    let nearest = shown;
    for (const frame of frames) {
      keep(frame.z, frame);
      if (nearer(frame.z, nearest)) nearest = frame.z;
    }
    for (const { z, text } of faults) {
      failed.add(z);
      if (z !== wish) continue;
      shown = Infinity;
      onError(z, text);
    }
    const best = frames.find(({ z }) => z === nearest);
    if (best && !failed.has(wish)) put(best);
    ask();
  }
  function drop() {
    generation += 1;
    cache.clear();
    underWay.clear();
    requests = 0;
    failed.clear();
    held = 0;
    shown = Infinity;
  }
  return {
    want(index: number) {
      if (index !== wish) direction = index > wish ? 1 : -1;
      wish = index;
      wishes += 1;
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
