"""Makes the pictures of README.md from the run folder of the demo.

python tests/pictures.py            after `make demo`; writes docs/images/det.png and report.png

The picture of the report needs Chromium or Chrome.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "images"
RUN = ROOT / "exps" / "demo"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# Size of the picture of the report, in pixels.
PAGE_SIZE = (1000, 1100)
LARGEST_FILE = 100_000


def tune_threshold(*words: str | Path) -> None:
    """Runs tuneThreshold.py."""
    subprocess.run([sys.executable, ROOT / "tuneThreshold.py", *words], cwd=ROOT, check=True)


def screenshot(page: Path, picture: Path, size: tuple[int, int]) -> None:
    """Writes a picture of the top of an HTML page. size: width and height in pixels."""
    browser = next((path for path in map(shutil.which, BROWSERS) if path), None)
    if browser is None:
        sys.exit(f"error: none of {', '.join(BROWSERS)} was found. Install Chromium.")
    command = [
        browser,
        "--headless",
        "--no-sandbox",
        "--hide-scrollbars",
        "--force-device-scale-factor=1",
        f"--window-size={size[0]},{size[1]}",
        f"--screenshot={picture}",
        page.resolve().as_uri(),
    ]
    subprocess.run(command, check=True, capture_output=True)


def shrink(picture: Path) -> None:
    """Reduces a picture to 64 colours. Exits with an error if the file is still too large."""
    with Image.open(picture) as image:
        image.convert("RGB").quantize(64).save(picture, optimize=True)
    size = picture.stat().st_size
    if size > LARGEST_FILE:
        sys.exit(f"error: {picture}: {size:,} bytes, expected at most {LARGEST_FILE:,}")
    print(f"{picture.relative_to(ROOT)}: {size:,} bytes")


def main() -> None:
    scores = RUN / "result" / "scores.txt"
    if not scores.exists():
        sys.exit(f"error: {scores} does not exist. Run `make demo` first.")
    IMAGES.mkdir(exist_ok=True)
    det = IMAGES / "det.png"
    tune_threshold(scores, "--det", det)
    shrink(det)
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder, "report.html")
        tune_threshold("report", RUN, "--output", page)
        screenshot(page, IMAGES / "report.png", PAGE_SIZE)
    shrink(IMAGES / "report.png")


if __name__ == "__main__":
    main()
