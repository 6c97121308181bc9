"""With what a run was made: code, packages, machine, memory."""

import contextlib
import functools
import hashlib
import importlib.metadata
import os
import platform
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

import headstart
from headstart.features.prefix import code_version

PACKAGES = (
    "headstart torch torchvision pytorch-lightning torchmetrics hydra-core omegaconf timm numpy scipy scikit-learn"
    " scikit-image pillow tensorboard onnxruntime"
).split()
STATUS = Path("/proc/self/status")
PACKAGE = Path(headstart.__file__).resolve().parent
READERS = ("cli.py", "reports")  # parts of headstart that no result depends on


@functools.cache
def git_state() -> dict[str, Any]:
    """Which code runs: what git says of headstart's own source, and a hash of that source.

    ``git_commit``, ``git_dirty`` (changed since?) and ``git_diff_sha256`` (of the changes, null where there are none)
    are null for an installed package; ``source_sha256`` always tells. Found once: the code that runs is the one that
    was loaded, whatever is edited meanwhile.
    """
    source = source_sha256()
    if _git(PACKAGE, "ls-files", "--error-unmatch", "__init__.py") is None:
        return {"git_commit": None, "git_dirty": None, "git_diff_sha256": None, "source_sha256": source}
    changes = _git(PACKAGE, "status", "--porcelain", "--untracked-files=no")
    patch = _git(PACKAGE, "diff", "HEAD") if changes else None
    return {
        "git_commit": _git(PACKAGE, "rev-parse", "HEAD"),
        "git_dirty": bool(changes),
        "git_diff_sha256": hashlib.sha256(patch.encode()).hexdigest() if patch else None,
        "source_sha256": source,
    }


def source_sha256() -> str:
    """64 hex digits from headstart's own source, but for what only reads results."""
    parts = sorted(
        entry.name for entry in PACKAGE.iterdir() if entry.suffix == ".py" or (entry / "__init__.py").is_file()
    )
    return code_version(*(name for name in parts if name not in READERS))


def packages() -> dict[str, str]:
    """Versions of Python and of the packages that bear on results."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def hardware() -> dict[str, Any]:
    """Processor, cores, threads, memory and accelerators."""
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
    """Start counting afresh, so that a run in a sweep is not charged with the one before (Linux and CUDA only)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_memory(device_type: str) -> int:
    """Bytes: the most that the device held for the run; on a CPU the most that the process held."""
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
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
