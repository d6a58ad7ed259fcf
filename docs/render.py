"""Write the executed notebooks of an output root to docs/rendered/, as Markdown with small pictures.

python docs/render.py runs/demo/out
"""

import io
import re
import sys
from pathlib import Path

from nbconvert import MarkdownExporter
from PIL import Image

REPOSITORY = Path(__file__).resolve().parent.parent
RENDERED = REPOSITORY / "docs" / "rendered"
WIDTH, COLOURS = 820, 64  # of a picture, px; enough for plots and micrographs
# Markdown in which figures say what they show
TEMPLATE = """{% extends 'markdown/index.md.j2' %}
{% block data_png %}
{% set alt = output | get_metadata('alt', 'image/png') or 'Figure' %}
![{{ alt }}]({{ output.metadata.filenames['image/png'] | path2url }})
{% endblock data_png %}"""


def main(out: str) -> None:
    for old in [*RENDERED.glob("*.png"), *RENDERED.glob("0*.md")]:  # README.md, the list of them, stays
        old.unlink()
    notebooks = sorted(path for pattern in ("*/*.ipynb", "*/*/*.ipynb") for path in Path(out).glob(pattern))
    for path in notebooks:
        name = path.stem if path.parent.name == path.stem else f"{path.stem}-{path.parent.name}"
        text, resources = MarkdownExporter(raw_template=TEMPLATE).from_filename(str(path))
        for number, (picture, content) in enumerate(sorted(resources["outputs"].items(), key=_place), start=1):
            small = f"{name}-{number}.png"
            (RENDERED / small).write_bytes(_shrink(content))
            text = text.replace(f"]({picture})", f"]({small})")
        (RENDERED / f"{name}.md").write_text(_clean(text), encoding="utf-8")
    size = sum(path.stat().st_size for path in RENDERED.iterdir())
    print(f"docs/rendered: {len(notebooks)} notebooks, {size / 1e6:.1f} MB")


def _place(output: tuple) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", output[0])]


def _shrink(png: bytes) -> bytes:
    image = Image.open(io.BytesIO(png)).convert("RGB")
    if image.width > WIDTH:
        image = image.resize((WIDTH, round(image.height * WIDTH / image.width)), Image.Resampling.LANCZOS)
    small = io.BytesIO()
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return small.getvalue()


def _clean(text: str) -> str:
    """Without paths of this machine, progress bars and the styles of tables."""
    text = re.sub(r"<style scoped>.*?</style>\n?", "", text, flags=re.S)
    text = re.sub(r"^.*\d+%\|.*\n", "", text, flags=re.M)
    text = re.sub(r"/tmp/ipykernel\S+: ", "", text)
    return re.sub(rf"{REPOSITORY}/?", "", text)


if __name__ == "__main__":
    main(*sys.argv[1:])
