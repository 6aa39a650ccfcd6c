// Where pixels come from: the kernel, over the widget's comm; hasty.ts adds a way that a busy kernel does not block.

import { ARRAYS, type Answer, type Frame, type FrameMessage, type Model } from "./traits";
import { GONE } from "./wire";

const UNANSWERED_MS = 30_000;
// 60 Mbit/s.
const SLOW_BYTES_PER_MS = 7_500;

// get(index) -> Promise<frame>; still() -> Promise, whether all may be read still; close(). They fail with {text, ended: no
// access any more, lost: no answer}. onEnded(text): for what another view of the same pictures was told, too.

export interface Failure {
  text: string;
  ended?: boolean;
  lost?: boolean;
}

export interface Source {
  get(index: number): Promise<Frame>;
  still(): Promise<unknown>;
  close(): void;
}

// The kernel as a source, which also tells where below /data each picture lies, and its frame.
export interface KernelSource extends Source {
  where(): Promise<{ files: [path: string, frame: number][] }>;
}

interface Waiting {
  resolve(answer: Frame | Promise<Frame> | Answer): void;
  reject(failure: Failure): void;
  timer: ReturnType<typeof setTimeout>;
  lost(text: string): void;
}

export function commSource(model: Model, onEnded: (text: string) => void): KernelSource {
  const waiting = new Map<string, Waiting>();
  // Every view of a model hears every answer: a view's own requests carry its own random number.
  const own = Math.random().toString(36).slice(2);
  let serial = 0;
  const line = makeLine();
  function hear(message: Answer, buffers: DataView<ArrayBuffer>[]) {
    if (message.k === "error" && message.ended) onEnded(message.text);
    if (message.k === "labels" || message.k === "refused") return;
    const request = waiting.get(message.n);
    if (!request) return;
    waiting.delete(message.n);
    clearTimeout(request.timer);
    if (message.k === "error") request.reject(message);
    else if (message.k !== "frame") request.resolve(message);
    else {
      line.received(buffers.reduce((sum, b) => sum + b.byteLength, 0), waiting.size);
      request.resolve(message.deflated ? inflated(buffers).then((whole) => frameOf(message, whole)) : frameOf(message, buffers));
    }
  }
  function ask<T>(content: { k: "get"; z: number; deflate: boolean } | { k: "still" } | { k: "where" }): Promise<T> {
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
    get(index) {
      line.asked();
      return ask<Frame>({ k: "get", z: index, deflate: line.slow });
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
      // One answer waits for the kernel more than for the line; a few in a row say what the line bears.
      if (answers >= 3) this.slow = bytes / (performance.now() - since) < SLOW_BYTES_PER_MS;
      else if (isFirst) this.slow = false;
      isFirst = false;
      if (left) return;
      since = bytes = answers = 0;
    },
  };
}

// Of what came, the first buffer is deflated.
export async function inflated([packed, ...rest]: DataView<ArrayBuffer>[]): Promise<DataView<ArrayBuffer>[]> {
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return [new DataView(await new Response(stream).arrayBuffer()), ...rest];
}

export function frameOf(message: FrameMessage, buffers: DataView<ArrayBuffer>[]): Frame {
  // Copied: the comm's buffer need not be aligned, and would keep its whole message alive.
  const [bytes, ...rest] = buffers.map((b) => b.buffer.slice(b.byteOffset, b.byteOffset + b.byteLength));
  const labels = message.labelled ? new Uint8Array(rest.shift()!) : null;
  const weights = message.weighted ? new Uint8Array(rest.shift()!) : null;
  const luts = message.luts.map((first, i) => ({ first, levels: new Uint8Array(rest[i]) }));
  const dose = message.dosed ? new Uint16Array(rest[luts.length]) : null;
  return { ...message, data: new ARRAYS[message.dtype](bytes), labels, weights, luts, dose, weighs: 0 };
}
