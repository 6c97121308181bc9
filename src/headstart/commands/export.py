"""headstart export: write the network of a finished run for other programs."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from headstart.commands.explain import Parser
from headstart.commands.trusting import add_trust
from headstart.errors import ConfigError, nearest
from headstart.files import check_writable, expanded
from headstart.guard import DONE
from headstart.models.description import model_folder
from headstart.records.names import CHECKPOINT_FOLDER

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
    model_folder(path)  # raises an error before torch is loaded, which takes seconds
    from headstart.exporting.torch_files import write_library_weights, write_safetensors, write_torchscript
    from headstart.models.loading import load_model

    if options.to == "safetensors":
        lines = write_safetensors(path, folder, options.trust)
    else:
        model = load_model(path, "cpu", options.trust)
        for note in model.notes:
            print(note, file=sys.stderr)
        if options.to in CHECKED:
            from headstart.analysis.export_images import images_to_check
            from headstart.exporting.exported_network import check_exportable
            from headstart.exporting.onnx_file import write_onnx

            check_exportable(model.description)
            check, notes = images_to_check(path, options.images, options.root, options.trust)
            for note in notes:
                print(note, file=sys.stderr)
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
    add_trust(parser)
    return parser


def _name(path: Path) -> str:
    """Return the name of a run or a model."""
    path = path.resolve()
    path = path.parent if path.is_file() else path
    return path.parent.name if path.name == CHECKPOINT_FOLDER else path.name
