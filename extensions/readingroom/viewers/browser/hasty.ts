// A series' pictures from the Jupyter server, where the kernel takes too long to answer: readingroom/picture_server.py.

import { frameOf, type Failure, type KernelSource, type Source } from "./source";
import type { Frame, FrameMessage } from "./traits";

// A kernel that is idle answers in less.
const PATIENCE_MS = 400;

// What the page of JupyterLab and Notebook tells of its server; nothing elsewhere.
function serverAddress(): string | null {
  const told = document.getElementById("jupyter-config-data")?.textContent;
  return told ? ((JSON.parse(told) as { baseUrl?: string }).baseUrl ?? null) : null;
}

async function fetched(query: Record<string, string>): Promise<Response> {
  const base = serverAddress();
  if (base === null) throw { text: "", lost: true } satisfies Failure;
  const xsrf = /(?:^|; )_xsrf=([^;]*)/.exec(document.cookie)?.[1];
  let answer: Response;
  try {
    answer = await fetch(`${base}readingroom/picture?${new URLSearchParams(query)}`, {
      credentials: "same-origin",
      headers: xsrf ? { "X-XSRFToken": xsrf } : {},
    });
  } catch {
    throw { text: "the server does not answer", lost: true } satisfies Failure;
  }
  if (answer.ok) return answer;
  // Another server, without the extension, or not signed in any more: as if there were no such way.
  if (!answer.headers.get("content-type")?.includes("json")) throw { text: "", lost: true } satisfies Failure;
  const { text, ended } = (await answer.json()) as { text?: string; ended?: boolean };
  if (text === undefined) throw { text: "", lost: true } satisfies Failure;
  throw { text, ended: Boolean(ended) } satisfies Failure;
}

async function frameFrom(answer: Response, index: number): Promise<Frame> {
  const body = await answer.arrayBuffer();
  const length = new DataView(body).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(body, 4, length))) as FrameMessage & { sizes: number[] };
  let at = 4 + length;
  const buffers = head.sizes.map((size) => {
    at += size;
    return new DataView(body, at - size, size);
  });
  return frameOf({ ...head, z: index }, buffers);
}

// `plain`: whether the pictures are as their files hold them; what is laid over them is in the kernel alone.
export function hastySource(kernel: KernelSource, plain: () => boolean, onEnded: (text: string) => void): Source {
  let files: [path: string, frame: number][] = [];
  // The kernel has not answered in time, and has not since.
  let late = false;
  let asking = false;
  let located = false;

  // The first answer counts; where the server has none, the kernel's.
  function either<T>(asked: () => Promise<T>, other: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const instead = () => {
        late = true;
        other().then(resolve, (failure: Failure) => {
          if (!failure.lost) reject(failure);
          if (failure.ended) onEnded(failure.text);
        });
      };
      if (late) {
        other().then(resolve, (failure: Failure) => {
          if (failure.ended) onEnded(failure.text);
          if (!failure.lost) reject(failure);
          else asked().then(resolve, reject);
        });
        return;
      }
      const timer = setTimeout(instead, PATIENCE_MS);
      asked().then(resolve, reject).finally(() => {
        clearTimeout(timer);
        late = false;
      });
    });
  }
  return {
    get(indices) {
      const [index] = indices;
      const file = files[index];
      if (!file || !plain()) {
        const answer = kernel.get(indices);
        // The first picture does not wait behind this question.
        if (!located) kernel.where().then((told) => { files = told.files; }, () => {});
        located = true;
        return answer;
      }
      return either(() => kernel.get(indices), async () => {
        const frame = await frameFrom(await fetched({ file: file[0], frame: String(file[1]), deflate: "1" }), index);
        return { frames: [frame], faults: [], fits: 1 };
      });
    },
    still() {
      const file = files[0];
      if (!file || !plain()) return kernel.still();
      // Whether the kernel is back is asked besides, one question at a time.
      if (late && !asking) {
        asking = true;
        kernel.still().then(() => { late = false; }, () => {}).finally(() => { asking = false; });
      }
      return either<unknown>(() => kernel.still(), () => fetched({ file: file[0] }));
    },
    close: kernel.close,
  };
}
