"""Find what a run was made with: code, packages, machine, memory."""

import contextlib
import functools
import hashlib
import importlib.metadata
import logging
import os
import platform
import re
import resource
import shlex
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

import headstart
from headstart.files import expanded, write_atomically
from headstart.records.names import PACKAGES_FILE, PATCH_FILE
from headstart.settings.folders import chosen_flags
from headstart.settings.packages import own_code
from headstart.settings.targets import own_packages
from headstart.versions import code_version, package_version

log = logging.getLogger(__name__)
PACKAGES = (
    "headstart torch torchvision pytorch-lightning torchmetrics hydra-core omegaconf timm numpy scipy scikit-learn"
    " scikit-image pillow opencv-python-headless tensorboard onnxruntime safetensors threadpoolctl peft"
).split()
STATUS = Path("/proc/self/status")
PACKAGE = Path(headstart.__file__).resolve().parent
MOST_PATCH = 1_000_000  # bytes that are kept of a patch
# Variables that change how numbers are computed: threads, devices, instructions and algorithms.
ENVIRONMENT = (
    "OMP_NUM_THREADS OMP_PROC_BIND OMP_PLACES OMP_DYNAMIC GOMP_SPINCOUNT GOMP_CPU_AFFINITY KMP_AFFINITY"
    " MKL_NUM_THREADS MKL_DYNAMIC MKL_CBWR OPENBLAS_NUM_THREADS OPENBLAS_CORETYPE ATEN_CPU_CAPABILITY"
    " DNNL_MAX_CPU_ISA ONEDNN_MAX_CPU_ISA ONEDNN_DEFAULT_FPMATH_MODE CUDA_VISIBLE_DEVICES CUBLAS_WORKSPACE_CONFIG"
    " CUDA_LAUNCH_BLOCKING NVIDIA_TF32_OVERRIDE TORCH_ALLOW_TF32_CUBLAS_OVERRIDE PYTORCH_CUDA_ALLOC_CONF"
    " PYTORCH_ALLOC_CONF PYTORCH_ENABLE_MPS_FALLBACK TORCH_COMPILE_DISABLE TORCHDYNAMO_DISABLE NCCL_ALGO NCCL_PROTO"
    " PYTHONHASHSEED PYTHONOPTIMIZE"
).split()
READERS = ("cli.py", "comparison", "figures", "reports", "statistics")  # no result depends on these


@functools.cache
def git_state() -> dict[str, Any]:
    """Return the commit of headstart's source, whether it has changed since, and a hash of the source.

    ``git_commit``, ``git_dirty`` and ``git_diff_sha256`` (null without changes) are null for an installed package;
    ``source_sha256`` never is. The answer is kept: the code that runs was loaded at the start, so later edits do not
    count.
    """
    source = source_sha256()
    if _git(PACKAGE, "ls-files", "--error-unmatch", "__init__.py") is None:
        return {"git_commit": None, "git_dirty": None, "git_diff_sha256": None, "source_sha256": source}
    changes = _git(PACKAGE, "status", "--porcelain", "--untracked-files=no")
    patch = _git(PACKAGE, "diff", "--no-ext-diff", "HEAD") if changes else None
    return {
        "git_commit": _git(PACKAGE, "rev-parse", "HEAD"),
        "git_dirty": bool(changes),
        "git_diff_sha256": hashlib.sha256(patch.encode()).hexdigest() if patch else None,
        "source_sha256": source,
    }


def code_of_parts(settings: Mapping[str, Any] | DictConfig) -> dict[str, Any]:
    """Return the entry ``own_code`` of run.json, a hash by package, or none without parts of other packages."""
    plain = OmegaConf.to_container(settings) if isinstance(settings, DictConfig) else settings
    found = own_code(own_packages(plain))
    return {"own_code": found} if found else {}


def source_sha256() -> str:
    """Return 64 hex digits that identify headstart's source, without the parts that only read results."""
    parts = sorted(
        entry.name for entry in PACKAGE.iterdir() if entry.suffix == ".py" or (entry / "__init__.py").is_file()
    )
    return code_version(*(name for name in parts if name not in READERS))


def write_code(directory: Path) -> dict[str, Any]:
    """Write packages.txt and code.patch into a run directory; return their entry of run.json.

    ``packages.txt`` lists every installed distribution, as pip reads it. ``code.patch`` holds the changes of our
    source since its commit: ``git apply`` restores the code that ran. ``code_patch`` gives its file, bytes and hash,
    and the changed files that it leaves out because it would be too large.
    """
    write_atomically(directory / PACKAGES_FILE, installed())
    patch, left_out = code_patch()
    if not patch:
        (directory / PATCH_FILE).unlink(missing_ok=True)  # of an earlier attempt, with other code
        return {"code_patch": None}
    write_atomically(directory / PATCH_FILE, patch)
    digest = hashlib.sha256(patch).hexdigest()
    return {"code_patch": {"file": PATCH_FILE, "bytes": len(patch), "sha256": digest, "left_out": list(left_out)}}


def command_of(overrides: Sequence[str]) -> dict[str, Any]:
    """Return the command of a run and the environment variables that change numbers.

    ``command`` is the command as typed, maybe for a whole sweep. ``command_line`` starts this run alone, from
    ``working_directory``, where ~ stands for the user's home.
    """
    here, home = Path.cwd(), expanded("~")
    name = "pretrain" if any(override.startswith("objective=") for override in overrides) else "train"
    return {
        "command": list(sys.argv),
        "command_line": shlex.join(["headstart", name, *chosen_flags(), *overrides]),
        "overrides": list(overrides),
        "working_directory": f"~/{here.relative_to(home)}" if here.is_relative_to(home) else str(here),
        "host": socket.gethostname(),
        "environment": {name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
    }


@functools.cache
def code_patch() -> tuple[bytes, tuple[str, ...]]:
    """Return the changes of headstart's source since its commit as a patch, and the files that are left out.

    New files count if they are Python sources inside the package. The answer is kept, as in ``git_state``.
    """
    top = _git(PACKAGE, "rev-parse", "--show-toplevel")
    if top is None or _git(PACKAGE, "ls-files", "--error-unmatch", "__init__.py") is None:
        return b"", ()
    root, place = Path(top), str(PACKAGE)
    changed = _diff(root, "HEAD", "--", place)
    unknown = _git(root, "ls-files", "--others", "--exclude-standard", "-z", "--", place) or ""
    for name in sorted(filter(None, unknown.split("\0"))):
        if name.endswith(".py"):
            changed += _diff(root, "--no-index", "--", os.devnull, name)
    return _cut(changed)


def _diff(root: Path, *arguments: str) -> bytes:
    """Return a patch that does not depend on the configuration of git."""
    plain = "--no-ext-diff --no-textconv --no-color --binary --src-prefix=a/ --dst-prefix=b/".split()
    command = ["git", "-C", str(root), "diff", *plain, *arguments]
    try:
        return subprocess.run(command, capture_output=True, timeout=10).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        log.warning("%s is not whole: git gave no answer (%s)", PATCH_FILE, error)
        return b""


def _cut(patch: bytes) -> tuple[bytes, tuple[str, ...]]:
    """Keep as many files as fit, the smallest first, and name the others in a line that ``git apply`` skips."""
    parts = re.split(rb"(?m)^(?=diff --git )", patch)[1:]
    kept: set[int] = set()
    size = 0
    for number in sorted(range(len(parts)), key=lambda number: len(parts[number])):
        size += len(parts[number])
        if size > MOST_PATCH:
            break
        kept.add(number)
    left_out = tuple(_name(part) for number, part in enumerate(parts) if number not in kept)
    note = f"# Left out, as this would be larger than {MOST_PATCH} bytes: {', '.join(left_out)}\n" if left_out else ""
    return note.encode() + b"".join(parts[number] for number in sorted(kept)), left_out


def _name(part: bytes) -> str:
    return part.partition(b"\n")[0].decode(errors="replace").rpartition(" b/")[2]


@functools.cache
def installed() -> str:
    """Return a line name==version for every installed distribution, sorted by name."""
    headers = [one.metadata for one in importlib.metadata.distributions()]  # name and version parse the file anew
    found = {f"{one['Name']}=={one['Version']}" for one in headers if one["Name"]}
    return "".join(f"{line}\n" for line in sorted(found, key=str.lower))


def packages() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on."""
    return {
        "python": platform.python_version(),
        **{name: package_version(name) or "not installed" for name in PACKAGES},
    }


def hardware() -> dict[str, Any]:
    """Return processor, cores, threads, memory and accelerators."""
    found: dict[str, Any] = {
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }
    if torch.cuda.is_available():
        found["gpus"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        found["cuda"], found["cudnn"] = torch.version.cuda, torch.backends.cudnn.version()
    return found


def reset_peak_memory() -> None:
    """Reset the peak memory, so that the run before in a sweep does not count (Linux and CUDA only)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_memory(device_type: str) -> int:
    """Return the peak memory in bytes: of the device for the run, or on a CPU of the process."""
    if device_type == "cuda":
        return int(torch.cuda.max_memory_allocated())
    try:
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return 1024 * int(line.split()[1])
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), "-c", "core.fsmonitor=false", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
