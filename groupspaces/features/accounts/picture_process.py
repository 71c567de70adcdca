"""A process that makes one picture of a person: from whatever was uploaded to 256 by 256 points of WebP.

Run as `python -m groupspaces.features.accounts.picture_process FORMAT MAX_PIXELS`: the upload comes by standard input, the picture
goes to standard output. Decoders of pictures are where uploads have broken into servers and eaten their memory; so they run here, with a
bound on memory and time and without any secret, and the server sees 256 by 256 points that this process encoded itself. Nothing
else of the upload survives: no metadata, no second file behind the picture, no frame but the first.

Never imports the rest of the server.
"""

from __future__ import annotations

import io
import os
import resource
import signal
import struct
import sys
import zlib
from pathlib import Path

from PIL import Image
from PIL.Image import Transpose

EDGE_PX = 256

# The dearest decoder (WebP) needs five times 40 million points of four bytes (measured 2026-11).
_MEMORY_BYTES = 1_200_000_000
_CPU_S = 10
_WALL_S = 15
_QUALITY = 80

# What Pillow's decoders raise for files that are not what they say, or that would take more memory than there is.
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    EOFError,
    LookupError,
    ArithmeticError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)

_ORIENTATION_TAG = 0x0112
_LINUX_FIRST_TO_GO = Path("/proc/self/oom_score_adj")


def main() -> int:
    """Answer one upload. Returns 0, or EX_DATAERR when it is no picture we take."""
    _bound()
    picture = portrait(sys.stdin.buffer.read(), sys.argv[1], int(sys.argv[2]))
    if picture is None:
        return os.EX_DATAERR
    sys.stdout.buffer.write(picture)
    return 0


def portrait(upload: bytes, picture_format: str, max_pixels: int) -> bytes | None:
    """Return the middle of a picture as WebP, upright; None for what is broken, too large or something else.

    `picture_format` is Pillow's word ("PNG", "JPEG", "WEBP", "GIF"): no other decoder looks at the upload.
    """
    try:
        with Image.open(io.BytesIO(upload), formats=(picture_format,)) as image:
            width, height = image.size
            if width * height > max_pixels:
                return None
            image.draft(
                "RGB", (2 * EDGE_PX, 2 * EDGE_PX)
            )  # JPEG: decodes an eighth of the points where that is enough
            image.load()
            orientation = image.getexif().get(_ORIENTATION_TAG, 1)
            return _encoded(_upright(_square(image), orientation))
    except _BROKEN:
        return None


def _square(image: Image.Image) -> Image.Image:
    """Return the middle of a picture, scaled to the edge we keep."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    middle = image.crop((left, top, left + side, top + side))
    mode = "RGBA" if middle.has_transparency_data else "RGB"
    if middle.mode != mode:
        middle = middle.convert(mode)
    return middle.resize((EDGE_PX, EDGE_PX), Image.Resampling.LANCZOS, reducing_gap=2.0)


def _upright(image: Image.Image, orientation: object) -> Image.Image:
    """Turn a picture as the camera says it was held (EXIF 2.32, 4.6.4, Orientation)."""
    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    turn = turns.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _encoded(image: Image.Image) -> bytes:
    """Return a picture as WebP made of its points alone: what else Pillow knows of it stays behind."""
    points = Image.frombytes(image.mode, image.size, image.tobytes())
    out = io.BytesIO()
    points.save(out, "WEBP", quality=_QUALITY, method=4)
    return out.getvalue()


def _bound() -> None:
    """Take away from this process what no picture needs. The alarm ends it if it hangs: nobody else may be there to."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_S, _CPU_S))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.alarm(_WALL_S)
    if _LINUX_FIRST_TO_GO.exists():
        _LINUX_FIRST_TO_GO.write_text("1000")  # and not the server, where memory runs out


if __name__ == "__main__":
    sys.exit(main())
