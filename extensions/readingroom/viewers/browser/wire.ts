// Questions to the kernel and their answers, by number.

import type { AnyModel } from "@anywidget/types";

export const GONE = "The kernel was restarted or has ended, so these pictures are gone: run the cell again.";

export interface Failure {
  text: string;
  // Nothing may be shown any longer.
  ended: boolean;
}

export interface Answer<M> {
  message: M;
  buffers: DataView<ArrayBuffer>[];
}

// By kind: what a question says, and what answers it.
type Kinds = Record<string, { asked: object; told: object }>;

type Heard = { n: string; k: "error"; text: string; ended: boolean } | { n: string; k: string };

interface Waiting {
  resolve(answer: Answer<object>): void;
  reject(failure: Failure): void;
}

function failed(message: Heard): message is Heard & Failure {
  return message.k === "error";
}

export function makeWire<Q extends Kinds>(model: Pick<AnyModel, "on" | "off" | "send">) {
  const waiting = new Map<string, Waiting>();
  // Every view of a model hears every answer: a view's own requests carry its own random number.
  const own = Math.random().toString(36).slice(2);
  let serial = 0;
  let onEnded: (text: string) => void = () => {};
  function hear(message: Heard, buffers: DataView<ArrayBuffer>[]) {
    if (failed(message) && message.ended) onEnded(`${message.text} Run the cell again once you have access.`);
    const request = waiting.get(message.n);
    if (!request) return;
    waiting.delete(message.n);
    if (failed(message)) request.reject(message);
    else request.resolve({ message, buffers });
  }
  model.on("msg:custom", hear);
  return {
    ask<K extends keyof Q & string>(k: K, asked: Q[K]["asked"]): Promise<Answer<Q[K]["told"]>> {
      return new Promise((resolve, reject) => {
        const n = `${own}-${serial++}`;
        waiting.set(n, { resolve, reject });
        try {
          model.send({ k, ...asked, n });
        } catch {
          // The comm of a kernel that was restarted takes nothing: nothing will ever answer.
          waiting.delete(n);
          onEnded(GONE);
          reject({ text: GONE, ended: true });
        }
      });
    },
    // Also for what another view of the same pictures was told.
    onEnded(call: (text: string) => void) { onEnded = call; },
    close() {
      model.off("msg:custom", hear);
      waiting.clear();
    },
  };
}
