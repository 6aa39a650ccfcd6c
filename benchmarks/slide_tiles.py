"""What a tile of a slide costs the kernel, and how large it is: `python -m benchmarks.slide_tiles`.

Tissue with noise, as baseline JPEG of quality 90 with 4:2:0, tiles of 256 and 512 pixels; each tile is asked for as the
browser does, over a fast and over a slow line."""

import tempfile
import time
from pathlib import Path

import numpy as np
from tests.support.dicom_series import write_series
from tests.support.slides import jpeg, slide_instance, tissue

from readingroom.viewers.slide import SlideView


class _Line(SlideView):
    def send(self, _content, buffers=None):
        self.sent = sum(memoryview(one).nbytes for one in buffers or ())


def _jpeg(pixels):
    return jpeg(pixels, subsampling=2)


def main():
    """Print a line for each size of tiles and each line."""
    noise = np.random.default_rng(3).normal(0, 4, (1536, 2048, 3))
    picture = np.clip(tissue(2048, 1536) + noise, 0, 255).astype(np.uint8)
    for side in (256, 512):
        with tempfile.TemporaryDirectory() as folder:
            made = slide_instance([picture], tile=side, compressed=True, extended=True, encode=_jpeg)
            view = _Line(sorted(write_series(Path(folder), "s", [made]).glob("*.dcm")), "s")
            for deflate in (False, True):
                places = [(x, y) for y in range(1536 // side) for x in range(2048 // side)] * (4 if side == 256 else 16)
                sent, begun = 0, time.process_time()
                for x, y in places:
                    asked = {"k": "tile", "n": "1", "level": 0, "x": x, "y": y, "path": 0, "plane": 0}
                    view._answer(view, {**asked, "deflate": deflate}, [])  # noqa: SLF001 as a comm does
                    sent += view.sent
                cpu = (time.process_time() - begun) / len(places) * 1000
                line = "slow" if deflate else "fast"
                print(f"{side} {line} line: {sent / len(places) / 1024:.1f} KiB, {cpu:.2f} ms CPU")


if __name__ == "__main__":
    main()
