"""headstart export: write the network of a finished run for other programs."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from headstart.commands.explain import Parser
from headstart.errors import ConfigError, HeadstartError, nearest
from headstart.files import check_writable, expanded
from headstart.guard import DONE
from headstart.records.names import CHECKPOINT_FOLDER, SETTINGS_FILE
from headstart.settings.configs import CONFIG_ERRORS

if TYPE_CHECKING:
    from headstart.models.onnx_file import CheckImages
FORMATS = ("onnx", "torchscript", "safetensors", "timm", "torchvision")
CHECKED = ("onnx", "torchscript")  # on images


def export(arguments: Sequence[str]) -> int:
    """Export a model and return the exit code: 0 if done, 2 if it is refused, 1 if the machine failed."""
    options = _parser().parse_args(list(arguments))
    if options.to not in FORMATS:
        raise ConfigError(f"--to {options.to}: there is no such format.{nearest(options.to, FORMATS)}")
    if options.int8 and options.to != "onnx":
        raise ConfigError("--int8 needs --to onnx.")
    path = expanded(options.model)
    folder = expanded(options.output) if options.output else Path(f"{_name(path)}-{options.to}")
    check_writable(folder, "choose another --output")
    from headstart.models.loading import load_model
    from headstart.models.torch_files import write_library_weights, write_safetensors, write_torchscript

    if options.to == "safetensors":
        lines = write_safetensors(path, folder, options.allow)
    else:
        model = load_model(path, "cpu", options.allow)
        for note in model.notes:
            print(note, file=sys.stderr)
        if options.to in CHECKED:
            from headstart.models.exported_network import check_exportable
            from headstart.models.onnx_file import write_onnx

            check_exportable(model.description)
            check = _images(path, options)
            onnx = options.to == "onnx"
            lines = write_onnx(model, folder, check, options.int8) if onnx else write_torchscript(model, folder, check)
        else:
            lines = write_library_weights(model, folder, options.to)
    for line in lines:
        print(line)
    print(f"Written: {folder}: {', '.join(sorted(one.name for one in folder.iterdir()))}.")
    return DONE


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="headstart export",
        description="Write the network of a finished run for other programs. ONNX and TorchScript hold the way to"
        " calibrated answers, and are checked against the model before they are written.",
    )
    parser.add_argument("model", type=Path, metavar="RUN_OR_MODEL", help="a run directory or a folder with model.json")
    parser.add_argument("--to", required=True, metavar="|".join(FORMATS), help="the format")
    parser.add_argument("--output", type=Path, metavar="DIR", help="the folder (default: NAME_OF_THE_RUN-FORMAT)")
    parser.add_argument(
        "--images", nargs="+", type=Path, metavar="IMAGE|FOLDER|LIST",
        help="check the export on these images (default: the test images of the run)",
    )  # fmt: skip
    parser.add_argument("--root", type=Path, metavar="DIR", help="the folder of the run's images, if moved")
    parser.add_argument("--int8", action="store_true", help="also write an ONNX file of 8 bits, and measure its loss")
    parser.add_argument(
        "--allow", action="append", default=[], metavar="PACKAGE", help="allow the model to use code of this package"
    )
    return parser


def _name(path: Path) -> str:
    """Return the name of a run or a model."""
    path = path.resolve()
    path = path.parent if path.is_file() else path
    return path.parent.name if path.name == CHECKPOINT_FOLDER else path.name


def _images(path: Path, options: argparse.Namespace) -> "CheckImages":
    """Return the images to check an export on: those given, the test images of the run, or random ones."""
    from headstart.models.onnx_file import MOST_CHECKED, CheckImages, random_images

    if options.images:
        from headstart.models.asked import asked_images

        paths, notes = asked_images([expanded(place) for place in options.images])
        for note in notes:
            print(note, file=sys.stderr)
        return CheckImages(paths[:MOST_CHECKED], f"{min(len(paths), MOST_CHECKED):,} given images")
    run = path.parent if path.name == CHECKPOINT_FOLDER else path
    if not (run / SETTINGS_FILE).is_file():
        reason = "this is no run with settings"
    else:
        from headstart.analysis.export_images import run_images

        try:
            return run_images(run, options.root, options.allow)
        except (HeadstartError, *CONFIG_ERRORS) as error:
            reason = str(error).splitlines()[0].rstrip(".")
    check = random_images()
    print(f"The run's test images are not used ({reason}); the export is checked on {check.words}.", file=sys.stderr)
    return check
