"""How long a researcher waits for pictures in a notebook: a real JupyterLab, a real Chromium, 300 slices of 512 x 512,
and a picture of the size of a mammogram.

The slice on the screen is read from the pixels: each slice's border has a level of its own. The peer is matplotlib's
inline picture of the same array in the same notebook. The slow line is a relay: 40 ms there and back, 50 Mbit/s."""

import argparse
import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.bare_page import BarePage, bare_page
from tests.support.dicom_series import level
from tests.support.lab import Lab, running_lab

from readingroom.planes import Stored
from readingroom.viewers.render import grey_levels

SLICES = 300
WINDOW = (0.0, 2048.0)
SETUP = f"""import numpy as np, matplotlib.pyplot as plt, readingroom
from tests.support.dicom_series import level
A = np.random.default_rng(1).normal(0, 20, ({SLICES}, 512, 512)).astype(np.int16)
for k in range({SLICES}): A[k, :16] = level(k)
readingroom.view(A[:1]).snapshot(); plt.plot(); plt.close(); print('READY', A.nbytes)"""
CELLS = [
    SETUP,
    "%matplotlib inline\nplt.imshow(A[150], cmap='gray', vmin=-1024, vmax=1024)\nplt.show()",
    f"view = readingroom.view(A, index=100, window={WINDOW})\nview",
    # After the last cell of a notebook JupyterLab makes another one, and the page does nothing else for that time.
    """M = np.random.default_rng(2).integers(0, 4096, (5000, 4000)).astype(np.uint16)
readingroom.view(M, window=(2048, 4096))""",
    "",
]
# Runs in the page: the clock starts with the cell, and stops at the frame in which the picture is there.
PAGE = """levels => {
  const frame = () => new Promise(requestAnimationFrame);
  const canvas = () => document.querySelector('.rr-view canvas');
  const grey = () => canvas().getContext('2d').getImageData(4, 4, 1, 1).data[0];
  const wheel = (by) => document.querySelector('.rr-stage').dispatchEvent(
    new WheelEvent('wheel', { deltaY: by, bubbles: true, cancelable: true }));
  const run = async (shown) => {
    const start = performance.now();
    window.jupyterapp.commands.execute('notebook:run-cell-and-select-next');
    while (!shown()) { await frame(); if (performance.now() - start > 60000) throw new Error('no picture'); }
    return (performance.now() - start) / 1000;
  };
  window.bench = {
    inline: () => run(() => document.querySelector('.jp-OutputArea img')?.complete),
    viewer: () => run(() => canvas() && canvas().width === 512 && grey() === levels[100]),
    async steps(n, by) {
      document.querySelector('.rr-stage').focus();
      let at = Number(document.querySelector('.rr-stage').dataset.slice);
      const start = performance.now();
      for (let i = 0; i < n; i++) {
        wheel(by); at += by;
        while (grey() !== levels[at]) {
          await frame(); if (performance.now() - start > 60000) throw new Error('stuck before ' + at);
        }
      }
      return n * 1000 / (performance.now() - start);
    },
    async flood(n, by) {
      document.querySelector('.rr-stage').focus();
      const seen = new Set(), before = grey(), start = performance.now();
      const end = levels[Number(document.querySelector('.rr-stage').dataset.slice) + n * by];
      let sent = 0, lag = 0, at = before;
      while (grey() !== end || sent < n) {
        await frame();
        while (sent < n && performance.now() - start > sent * 1000 / 60) { wheel(by); sent++; }
        const now = grey(); if (now !== before) seen.add(now);
        if (performance.now() - start > 60000) throw new Error('stuck');
      }
      return seen.size;
    },
    // Steps of a drag of the window over the n-th view, one in a frame: milliseconds of each, and from frame to frame.
    async drag(nth, steps) {
      while (document.querySelectorAll('.rr-stage[data-slice]').length <= nth) await frame();
      const stage = document.querySelectorAll('.rr-stage')[nth];
      stage.scrollIntoView({ block: 'center' });
      for (let i = 0; i < 30; i++) await frame();
      const { x, y } = stage.getBoundingClientRect();
      const tell = (kind, i) => stage.dispatchEvent(new PointerEvent(
        kind, { clientX: x + 100 + i, clientY: y + 100 + i, pointerId: 1, bubbles: true, cancelable: true }));
      const middle = (all) => all.sort((a, b) => a - b)[all.length >> 1];
      const took = [], apart = [];
      tell('pointerdown', 0);
      let before = await frame();
      for (let i = 1; i <= steps; i++) {
        const start = performance.now();
        tell('pointermove', i);
        took.push(performance.now() - start);
        const now = await frame();
        apart.push(now - before);
        before = now;
      }
      tell('pointerup', steps);
      return [middle(took), middle(apart)];
    },
    run: (cell) => {
      window.jupyterapp.shell.currentWidget.content.activeCellIndex = cell;
      window.jupyterapp.commands.execute('notebook:run-cell-and-select-next');
    },
  };
}"""


@contextlib.contextmanager
def slow_line(port: int, delay: float, rate: float) -> Iterator[int]:
    """A relay to `port` on loopback: `delay` seconds each way, `rate` bytes a second each way."""
    loop = asyncio.new_event_loop()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(64)

        async def send() -> None:
            while True:
                due, data = await queue.get()
                await asyncio.sleep(max(due - loop.time(), 0))
                if not data or writer.is_closing():
                    writer.close()
                    return
                writer.write(data)
                with contextlib.suppress(ConnectionError):
                    await writer.drain()

        sender = asyncio.create_task(send())
        free = 0.0
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(16384):
                free = max(free, loop.time()) + len(data) / rate
                await queue.put((free + delay, data))
        await queue.put((free, b""))
        with contextlib.suppress(ConnectionError):
            await sender

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pump(reader, far[1]), pump(far[0], writer))

    async def ended() -> None:
        server.close()
        tasks = [t for t in asyncio.all_tasks(loop) if t is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    server = loop.run_until_complete(asyncio.start_server(accept, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        asyncio.run_coroutine_threadsafe(ended(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def kernel() -> psutil.Process:
    """The newest kernel among this process's descendants."""
    found = [p for p in psutil.Process().children(recursive=True) if "ipykernel_launcher" in " ".join(p.cmdline())]
    return max(found, key=lambda p: p.create_time())


def opened(page: BarePage, lab: Lab, levels: list[int]) -> psutil.Process:
    """Open a notebook of the cells and run the first; answer its kernel."""
    cells = [
        {"cell_type": "code", "id": f"c{i}", "metadata": {}, "source": s, "outputs": [], "execution_count": None}
        for i, s in enumerate(CELLS)
    ]
    meta = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    text = json.dumps({"cells": cells, "metadata": meta, "nbformat": 4, "nbformat_minor": 5})
    (lab.folder / "bench.ipynb").write_text(text)
    page.goto(lab.url("bench.ipynb"))
    page.wait_for(
        "() => { const c = window.jupyterapp?.shell.currentWidget?.context;"
        " return Boolean(c?.isReady && c.sessionContext?.session?.kernel?.status === 'idle'); }"
    )
    page.evaluate(PAGE, levels)
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-cell-and-select-next'); }")
    page.wait_for(
        "() => [...document.querySelectorAll('.jp-OutputArea-output')].some((one) => one.textContent.includes('READY'))"
    )
    return kernel()


INLINE = "inline"
GOALS = {
    "first-image-seconds": 0.15,
    "scroll-slices-per-second": 60,
    "flood-painted-of-100": 80,
    "bytes-to-first-image-mb": 0.6,
    "kernel-memory-mb": 5,
    "kernel-cpu-ms-per-slice": 3,
    "window-drag-step-milliseconds": 1,
    "window-drag-step-mammogram-milliseconds": 8,
    "window-drag-frame-mammogram-milliseconds": 16.7,
    "wan-slices-per-second": 20,
}
"""What the rows without a peer are held against."""
UNITS = {
    "per-second": "slices/s",
    "of-100": "slices",
    "-mb": "MB",
    "ms-per-slice": "ms/slice",
    "milliseconds": "ms",
    "": "s",
}
"""By the end of a row's name."""


@contextlib.contextmanager
def fresh_lab() -> Iterator[Lab]:
    """A JupyterLab that remembers no other notebook."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "data").mkdir()
        with running_lab(home, home / "data") as lab:
            (lab.folder / "tests").symlink_to(Path(__file__).parents[1] / "tests")
            yield lab


def measured(lab: Lab, levels: list[int]) -> dict[str, float]:
    """One round over loopback, in a fresh browser and a fresh kernel."""
    with bare_page() as page:
        process = opened(page, lab, levels)
        inline = page.evaluate("() => window.bench.inline()")
        memory, before = process.memory_info().rss, page.bytes_that_came()
        cpu = sum(process.cpu_times()[:2])
        first = page.evaluate("() => window.bench.viewer()")
        to_first = page.bytes_that_came() - before
        steps = page.evaluate("() => window.bench.steps(90, 1)")
        painted = page.evaluate("() => window.bench.flood(100, 1)")
        moved = (page.bytes_that_came() - before) / (512 * 512 * 2)
        used = sum(process.cpu_times()[:2]) - cpu
        grown = process.memory_info().rss - memory
        step, _ = page.evaluate("() => window.bench.drag(0, 60)")
        page.evaluate("() => window.bench.run(3)")
        large_step, large_frame = page.evaluate("() => window.bench.drag(1, 60)")
    return {
        INLINE: inline,
        "first-image-seconds": first,
        "scroll-slices-per-second": steps,
        "flood-painted-of-100": painted,
        "bytes-to-first-image-mb": to_first / 1e6,
        "kernel-memory-mb": grown / 1e6,
        "kernel-cpu-ms-per-slice": 1000 * used / moved,
        "window-drag-step-milliseconds": step,
        "window-drag-step-mammogram-milliseconds": large_step,
        "window-drag-frame-mammogram-milliseconds": large_frame,
    }


def over_slow_line(lab: Lab, levels: list[int]) -> float:
    """Slices a second, one step at a time, through the relay."""
    with slow_line(lab.port, 0.020, 50e6 / 8) as port, bare_page() as page:
        opened(page, replace(lab, port=port), levels)
        page.evaluate("() => window.bench.inline()")
        page.evaluate("() => window.bench.viewer()")
        return float(page.evaluate("() => window.bench.steps(60, 1)"))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-slow-line", action="store_true")
    options = parser.parse_args()
    border = np.array([[level(k) for k in range(SLICES)]], np.int16)
    levels = [int(v) for v in grey_levels(Stored(border), WINDOW)[0]]
    rounds = []
    for _ in range(options.rounds):
        with fresh_lab() as lab:
            rounds.append(measured(lab, levels))
    found = {name: statistics.median(r[name] for r in rounds) for name in rounds[0]}
    if not options.no_slow_line:
        with fresh_lab() as lab:
            found["wan-slices-per-second"] = over_slow_line(lab, levels)
    inline = found.pop(INLINE)
    rows = [row("first-image-vs-matplotlib-inline", found["first-image-seconds"], inline, "matplotlib inline")]
    rows += [row(name, value, GOALS[name], "the goal") for name, value in found.items()]
    for r in rows:
        print(f"{r['measure']:36} {r['ours']:>10} {r['peer']:>10} {r['unit']:10} {r['peer_name']:18} x{r['ratio']}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


def row(measure: str, ours: float, peer: float, peer_name: str) -> dict[str, Any]:
    """`ratio` says how many times better ours is."""
    more = measure.endswith(("per-second", "painted-of-100"))
    return {
        "measure": measure,
        "unit": next(unit for end, unit in UNITS.items() if measure.endswith(end)),
        "ours": round(ours, 3),
        "peer": round(peer, 3),
        "peer_name": peer_name,
        "ratio": round(ours / peer if more else peer / ours, 2),
    }


if __name__ == "__main__":
    main()
