"""Make a small font: embedding it in a PDF file takes 1 ms, matplotlib's own font takes 0.1 s.

It is matplotlib's DejaVu Sans without scripts that are rare in names and without layout tables. The tables' ligatures
would also stop a reader from finding "finetune" in a PDF file. The licence of DejaVu requires another name. Missing
characters are drawn from DejaVu Sans itself.
"""

import io
from functools import cache
from pathlib import Path

import matplotlib as mpl
from matplotlib import font_manager

from headstart.files import write_atomically

NAME = "Headstart Sans"
CHARACTERS = (
    *range(0x20, 0x250),  # Latin
    *range(0x370, 0x530),  # Greek, Cyrillic
    *range(0x2010, 0x2040),  # dashes, quotes, dots
    *(ord(character) for character in "−×€™←→≤≥≈∞√∑"),
)


@cache
def families() -> list[str]:
    """Return names for matplotlib's font.family; create the small font in its cache if missing, in about 0.1 s."""
    path = Path(mpl.get_cachedir()) / f"headstart-sans-1-{mpl.__version__}.ttf"
    if not path.is_file():
        write_atomically(path, _small(font_manager.findfont("DejaVu Sans")))
    font_manager.fontManager.addfont(path)
    return [NAME, "DejaVu Sans"]


def _small(source: str) -> bytes:
    """Return the font reduced to the characters above."""
    from fontTools import subset  # type: ignore[import-untyped]

    options = subset.Options(layout_features=[], hinting=False, glyph_names=False, notdef_outline=True, name_IDs=["*"])
    options.drop_tables += ["GSUB", "GPOS", "GDEF", "MATH", "FFTM"]
    font = subset.load_font(source, options)
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=CHARACTERS)
    subsetter.subset(font)
    for record in font["name"].names:
        if record.nameID in (1, 3, 4, 16):
            record.string = NAME
        elif record.nameID == 6:
            record.string = NAME.replace(" ", "")
    content = io.BytesIO()
    font.save(content)
    return content.getvalue()
