// Where pixels come from: the kernel, over the widget's comm; hasty.ts adds a way that a busy kernel does not block.

import { ARRAYS, type Answer, type Fault, type Frame, type FrameMessage, type Model, type SlicesMessage } from "./traits";
import { GONE } from "./wire";

const UNANSWERED_MS = 30_000;
// A slice that came along with its view may be shown for so long without a question whether it may be read still.
const FRESH_MS = 3000;
const LAID = ["change:overlays", "change:wash"] as const;
// 60 Mbit/s.
const SLOW_BYTES_PER_MS = 7_500;

// get(indices) -> Promise of the first of these slices, and of as many others, in their order, as there was room for;
// still() -> Promise, whether all may be read still; close(). They fail with {text, ended: no access any more, lost: no
// answer}; get fails for the first slice only. onEnded(text): for what another view of the same pictures was told, too.

export interface Failure {
  text: string;
  ended?: boolean;
  lost?: boolean;
}

export interface Slices {
  frames: Frame[];
  faults: Fault[];
  // How many such slices are best asked for at once.
  fits: number;
}

export interface Source {
  get(indices: number[]): Promise<Slices>;
  still(): Promise<unknown>;
  close(): void;
}

// The kernel as a source, which also tells where below /data each picture lies, and its frame.
export interface KernelSource extends Source {
  where(): Promise<{ files: [path: string, frame: number][] }>;
}

interface Waiting {
  resolve(answer: Promise<Slices> | Answer): void;
  reject(failure: Failure): void;
  timer: ReturnType<typeof setTimeout>;
  lost(text: string): void;
}

// What the kernel read for the still picture it sends along with the view, unasked: see SeriesView._send_first. To be called
// before the model gets its first message; what it answers gives the slice to the first view that asks.
export function keepFirst(model: Model): () => Promise<Slices | null> {
  let kept: Promise<Slices> | null = null;
  let isOver = false;
  function hear(message: Answer, buffers: DataView<ArrayBuffer>[]) {
    if (message.k === "slices" && message.n === "first") {
      kept = slicesOf(message, buffers);
      setTimeout(end, FRESH_MS);
    } else if (message.k === "labels" || (message.k === "error" && message.ended)) drop();
  }
  function drop() {
    kept = null;
  }
  function end() {
    isOver = true;
    drop();
    model.off("msg:custom", hear);
    for (const event of LAID) model.off(event, drop);
  }
  model.on("msg:custom", hear);
  // What was laid over the pictures since is not in the slice.
  for (const event of LAID) model.on(event, drop);
  return async () => {
    // Where the view was up before its script, the messages that wait for the script are about to come.
    if (!isOver && !kept) await new Promise((resolve) => setTimeout(resolve));
    const found = kept;
    end();
    return found;
  };
}

export function commSource(model: Model, onEnded: (text: string) => void, first: () => Promise<Slices | null>): KernelSource {
  const waiting = new Map<string, Waiting>();
  // Every view of a model hears every answer: a view's own requests carry its own random number.
  const own = Math.random().toString(36).slice(2);
  let serial = 0;
  let isFirst = true;
  const line = makeLine();
  function hear(message: Answer, buffers: DataView<ArrayBuffer>[]) {
    if (message.k === "error" && message.ended) onEnded(message.text);
    if (message.k === "labels" || message.k === "refused") return;
    const request = waiting.get(message.n);
    if (!request) return;
    waiting.delete(message.n);
    clearTimeout(request.timer);
    if (message.k === "error") request.reject(message);
    else if (message.k !== "slices") request.resolve(message);
    else {
      line.received(buffers.reduce((sum, b) => sum + b.byteLength, 0), waiting.size);
      request.resolve(slicesOf(message, buffers));
    }
  }
  function ask<T>(content: { k: "get"; z: number[]; deflate: boolean } | { k: "still" } | { k: "where" }): Promise<T> {
    return new Promise((resolve, reject) => {
      const n = `${own}-${serial++}`;
      const lost = (text: string) => {
        clearTimeout(timer);
        waiting.delete(n);
        reject({ text, lost: true });
      };
      const timer = setTimeout(lost, UNANSWERED_MS, "no answer from the kernel: it is busy, or was restarted; then run the cell again");
      // What answers a question is of the kind that it asks for.
      waiting.set(n, { resolve: resolve as Waiting["resolve"], reject, timer, lost });
      try {
        model.send({ ...content, n });
      } catch {
        gone();
      }
    });
  }
  // The comm of a kernel that was restarted takes nothing: nothing will ever answer.
  function gone() {
    for (const request of [...waiting.values()]) request.lost(GONE);
    onEnded(GONE);
  }
  model.on("msg:custom", hear);
  return {
    async get(indices) {
      const came = isFirst ? await first() : null;
      isFirst = false;
      const [told] = came ? [...came.frames, ...came.faults] : [];
      if (came && told.z === indices[0]) {
        line.received(0, 0);
        return came;
      }
      line.asked();
      return ask<Slices>({ k: "get", z: indices, deflate: line.slow });
    },
    still: () => ask({ k: "still" }),
    where: () => ask({ k: "where" }),
    close() {
      model.off("msg:custom", hear);
      for (const { timer } of waiting.values()) clearTimeout(timer);
      waiting.clear();
    },
  };
}

// How fast the line is. A slow one gets its pixels deflated, which costs the kernel some milliseconds a slice; so does the
// first slice, since nobody knows yet.
export function makeLine() {
  let since = 0;
  let bytes = 0;
  let answers = 0;
  let isFirst = true;
  return {
    slow: true,
    asked() {
      if (!since) since = performance.now();
    },
    received(count: number, left: number) {
      bytes += count;
      answers += 1;
      const now = performance.now();
      // One answer waits for the kernel more than for the line; a few in a row say what the line bears now.
      const judged = answers >= 3;
      if (judged) this.slow = bytes < SLOW_BYTES_PER_MS * (now - since);
      else if (isFirst) this.slow = false;
      isFirst = false;
      if (left && !judged) return;
      since = left ? now : 0;
      bytes = answers = 0;
    },
  };
}

// Of what came, the first buffer is deflated.
export async function inflated([packed, ...rest]: DataView<ArrayBuffer>[]): Promise<DataView<ArrayBuffer>[]> {
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return [new DataView(await new Response(stream).arrayBuffer()), ...rest];
}

async function slicesOf({ slices, fits }: SlicesMessage, buffers: DataView<ArrayBuffer>[]): Promise<Slices> {
  const frames: Promise<Frame>[] = [];
  const faults: Fault[] = [];
  let at = 0;
  for (const one of slices) {
    const own = buffers.slice(at, (at += one.buffers));
    if (one.k === "error") faults.push(one);
    else frames.push(frameOf(one, own));
  }
  return { frames: await Promise.all(frames), faults, fits };
}

// The inverse of _differences in viewers/wire.py.
function summed(codes: DataView<ArrayBuffer>, { rows, columns }: FrameMessage): DataView<ArrayBuffer> {
  const bytes = new Uint8Array(codes.buffer, codes.byteOffset, codes.byteLength);
  const out = new Uint16Array(rows * columns);
  for (let i = 0; i < out.length; i++) {
    const code = bytes[i] | (bytes[out.length + i] << 8);
    const neighbour = i % columns ? out[i - 1] : i ? out[i - columns] : 0;
    out[i] = neighbour + ((code >>> 1) ^ -(code & 1));
  }
  return new DataView(out.buffer);
}

export async function frameOf(message: FrameMessage, came: DataView<ArrayBuffer>[]): Promise<Frame> {
  const [pixels, ...others] = message.deflated ? await inflated(came) : came;
  const whole = message.differences ? summed(pixels, message) : pixels;
  // Copied: the comm's buffer need not be aligned, and would keep its whole message alive.
  const [bytes, ...rest] = [whole, ...others].map((b) => b.buffer.slice(b.byteOffset, b.byteOffset + b.byteLength));
  const labels = message.labelled ? new Uint8Array(rest.shift()!) : null;
  const weights = message.weighted ? new Uint8Array(rest.shift()!) : null;
  const luts = message.luts.map((first, i) => ({ first, levels: new Uint8Array(rest[i]) }));
  const dose = message.dosed ? new Uint16Array(rest[luts.length]) : null;
  return { ...message, data: new ARRAYS[message.dtype](bytes), labels, weights, luts, dose, weighs: 0 };
}
