"""Run four commands in many environments, and check that each ends with its result or with one sentence.

    python scripts/environments.py [--only NAME ...] [--jobs N]

The environments have full and read-only disks, missing folders, limits, odd paths, locales, clocks or closed streams.
Prints a Markdown table. The exit code is 1 if a command ends in a traceback, silently, by a signal, or too late. Disks
are mounted in a separate namespace, so nothing stays. Environments that this machine does not allow are skipped.
"""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
SECONDS = 600  # time limit of a command
SMALL = (
    "backbone=timm backbone.name=test_efficientnet backbone.weights=null dataset=textures dataset.counts=[6,4,4]"
    " dataset.image_size=32 trainer.max_epochs=1 trainer.accelerator=cpu"
)
# Each command, and the shell test that it did its work. AT is "" or the folder of the case with a slash.
COMMANDS = {
    "train": (
        f'train {SMALL} dataset.num_workers=${{WORKERS:-0}} output_dir="${{AT}}new"',
        """grep -qs '"status": "finished"' "$OUT"/new/*/*/run.json""",
    ),
    "report": ('report "${AT}runs" --out "${AT}report"', 'test -s "$OUT/report/report.html"'),
    "status": ('status "${AT}runs"', 'grep -q finished "$CASE/stdout"'),
    "evaluate": (
        'evaluate "${AT}runs/ready" --corruptions contrast --severities 1',
        'test -s "$OUT/runs/ready/robustness.json"',
    ),
}
NEEDS = {"mount": "mounts of its own", "cc": "a C compiler", "user": "a user who is not root"}
ENDS = {0: "result", 1: "sentence (1)", 2: "sentence (2)", 141: "silent (141)"}
DISK = 'mount -t tmpfs -o size=16m,mode=755 disk "$OUT"'
FILL = 'cat /dev/zero >"$OUT/fill" 2>/dev/null'
SHIM = """#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec *now) {
    long failed = syscall(SYS_clock_gettime, id, now);
    if (!failed && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) now->tv_sec += atol(getenv("SHIFT"));
    return failed;
}
time_t time(time_t *into) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return into ? (*into = now.tv_sec) : now.tv_sec;
}
int gettimeofday(struct timeval *into, void *zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    into->tv_sec = now.tv_sec, into->tv_usec = now.tv_nsec / 1000;
    return 0;
}
"""


@dataclass(frozen=True)
class Environment:
    """An environment for commands, as parts of a shell script."""

    name: str
    kind: str
    place: str = ":"  # sets the folder OUT
    before: str = ":"  # runs before the runs are copied to OUT
    after: str = ":"  # runs after they are copied
    inside: str = ":"  # runs in the command's process: variables, limits, the working directory
    streams: str = ""  # redirections
    needs: str = ""  # "mount", "cc" or "user"
    plain: bool = False  # without root's right to read and write everything
    heard: bool = True  # whether standard output and error can be read


def odd(name: str, folder: str) -> Environment:
    """Return an environment whose folder has an odd name, given in shell syntax."""
    return Environment(name, "paths", f'OUT="$CASE/"{folder}')


ENVIRONMENTS = [
    Environment("full disk", "disk", before=DISK, after=FILL, needs="mount"),
    Environment(
        "disk with 64 kB left",
        "disk",
        before=DISK,
        after=f'head -c 64k /dev/zero >"$OUT/spare"; {FILL}; rm "$OUT/spare"',
        needs="mount",
    ),
    Environment(
        "disk with 1 MB left",
        "disk",
        before=DISK,
        after=f'head -c 1M /dev/zero >"$OUT/spare"; {FILL}; rm "$OUT/spare"',
        needs="mount",
    ),
    Environment(
        "disk without inodes",
        "disk",
        before=f'{DISK} && mount -o remount,nr_inodes=300 "$OUT"',
        after='n=0; while (: >"$OUT/f$n") 2>/dev/null; do n=$((n + 1)); done',
        needs="mount",
    ),
    Environment("read-only disk", "disk", before=DISK, after='mount -o remount,ro "$OUT"', needs="mount"),
    Environment("folder without rights", "disk", after='chmod -R a-w "$OUT"', plain=True),
    Environment(
        "another run that cannot be read",
        "disk",
        after='cp -r "$OUT/runs/ready" "$OUT/runs/other"; chmod 000 "$OUT/runs/other"',
        plain=True,
    ),
    Environment(
        "files in the way", "disk", after='touch "$OUT/new" "$OUT/report"; mkdir "$OUT/runs/ready/robustness.json"'
    ),
    Environment(
        "links to elsewhere", "disk", after='mkdir "$CASE/a"; ln -s "$CASE/a" "$OUT/new"; ln -s "$CASE/a" "$OUT/report"'
    ),
    Environment(
        "links to nowhere", "disk", after='ln -s "$CASE/gone/x" "$OUT/new"; ln -s "$CASE/gone/x" "$OUT/report"'
    ),
    Environment("links in a circle", "disk", after='ln -s new "$OUT/new"; ln -s report "$OUT/report"'),
    odd("path of 2,000 characters", '"$(printf "%0200d/" 0 0 0 0 0 0 0 0 0 0)"'),
    odd("spaces and letters of many scripts", '"ein Ordner 类 ñ"'),
    odd("a line break in the path", "$'a\\nb'"),
    odd("% = and $ in the path", "'50%=x $y {z}'"),
    odd("quotes in the path", '"it\'s"\'"[1,2]"\''),
    odd("a path that is no UTF-8", "$'a\\xe9b'"),
    Environment("HOME not set", "folders", inside="unset HOME"),
    Environment("HOME missing", "folders", inside="export HOME=/nowhere/at/all"),
    Environment(
        "HOME without rights", "folders", inside='mkdir -m 555 "$CASE/home"; export HOME="$CASE/home"', plain=True
    ),
    Environment(
        "working directory removed", "folders", inside='mkdir "$CASE/w"; cd "$CASE/w"; rmdir "$CASE/w"; AT="$OUT/"'
    ),
    Environment(
        "working directory without rights",
        "folders",
        inside='mkdir -m 555 "$CASE/w"; cd "$CASE/w"; AT="$OUT/"',
        plain=True,
    ),
    Environment("TMPDIR missing", "folders", inside="export TMPDIR=/nowhere/at/all"),
    Environment(
        "TMPDIR without rights", "folders", inside='mkdir -m 555 "$CASE/t"; export TMPDIR="$CASE/t"', plain=True
    ),
    Environment(
        "TMPDIR full",
        "folders",
        after='mkdir "$CASE/t"; mount -t tmpfs -o size=64k t "$CASE/t"; cat /dev/zero >"$CASE/t/f" 2>/dev/null',
        inside='export TMPDIR="$CASE/t"',
        needs="mount",
    ),
    Environment("/tmp read-only", "folders", after="mount -t tmpfs -o ro,size=4k t /tmp", needs="mount"),
    Environment(
        "/dev/shm of 4 kB, one worker",
        "folders",
        after="mount -t tmpfs -o size=4k s /dev/shm",
        inside="WORKERS=1",
        needs="mount",
    ),
    Environment(
        "/dev/shm read-only, one worker",
        "folders",
        after="mount -t tmpfs -o size=4k,ro s /dev/shm",
        inside="WORKERS=1",
        needs="mount",
    ),
    Environment("ulimit -n 16", "limits", inside="ulimit -n 16"),
    Environment("ulimit -n 40", "limits", inside="ulimit -n 40"),
    Environment("ulimit -u 1", "limits", inside="ulimit -u 1", needs="user"),
    Environment("ulimit -f 8", "limits", inside="ulimit -f 8"),
    Environment("ulimit -v 300 MB", "limits", inside="ulimit -v 300000"),
    Environment("ulimit -v 2 GB", "limits", inside="ulimit -v 2000000"),
    Environment("ulimit -s 256", "limits", inside="ulimit -s 256"),
    Environment("umask 077", "rights", inside="umask 077", plain=True),
    Environment("umask 000", "rights", inside="umask 000", plain=True),
    Environment("umask 777", "rights", inside="umask 777", plain=True),
    Environment("TZ=nonsense", "time", inside="export TZ=nonsense"),
    Environment("TZ=Pacific/Kiritimati", "time", inside="export TZ=Pacific/Kiritimati"),
    Environment(
        "clock in 1971", "time", inside='export LD_PRELOAD="$SHIM" SHIFT=$((40000000 - $(date +%s)))', needs="cc"
    ),
    Environment(
        "clock in 2199", "time", inside='export LD_PRELOAD="$SHIM" SHIFT=$((7230000000 - $(date +%s)))', needs="cc"
    ),
    Environment("LC_ALL=C, ASCII", "language", inside="export LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0"),
    Environment("LC_ALL=POSIX", "language", inside="export LC_ALL=POSIX"),
    Environment("LC_ALL=xx_YY.UTF-8", "language", inside="export LC_ALL=xx_YY.UTF-8"),
    Environment("PYTHONIOENCODING=ascii", "language", 'OUT="$CASE/类"', inside="export PYTHONIOENCODING=ascii:strict"),
    Environment("closed standard input", "streams", streams="<&-"),
    Environment("closed standard output", "streams", streams=">&-", heard=False),
    Environment("closed standard error", "streams", streams="2>&-", heard=False),
    Environment("all streams closed", "streams", streams="<&- >&- 2>&-", heard=False),
    Environment("output to a full disk", "streams", streams=">/dev/full"),
    Environment("output and errors to a full disk", "streams", streams=">/dev/full 2>&1", heard=False),
    Environment("output that nobody reads", "streams", streams="> >(:)"),
    Environment("TERM=dumb, COLUMNS=1", "streams", inside="export TERM=dumb COLUMNS=1"),
    Environment("PYTHONHASHSEED=1, no bytecode", "Python", inside="export PYTHONHASHSEED=1 PYTHONDONTWRITEBYTECODE=1"),
    Environment("PYTHONOPTIMIZE=2", "Python", inside="export PYTHONOPTIMIZE=2 PYTHONDONTWRITEBYTECODE=1"),
    Environment("OMP_NUM_THREADS=0", "Python", inside="export OMP_NUM_THREADS=0"),
    Environment("OMP_NUM_THREADS=many", "Python", inside="export OMP_NUM_THREADS=many"),
    Environment("CUDA_VISIBLE_DEVICES=none", "Python", inside="export CUDA_VISIBLE_DEVICES=none"),
]
SCRIPT = """
CASE={case} OUT="$CASE/out" AT="" SHIM={shim}
{place}
mkdir -p "$OUT"
{before}
cp -r {ready} "$OUT/runs" && cd "$OUT" || exit 99
{after}
( {inside}; exec timeout -k 5 {seconds} {plain} {python} -m headstart {command} ) \\
    >"$CASE/stdout" 2>"$CASE/stderr" {streams}
code=$?
{check} && found=1 || found=0
echo "$code $found" >"$CASE/answer"
"""


def main() -> int:
    """Run the chosen pairs (default: all) and print the table; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", metavar="NAME", help="run this environment, or all of this kind")
    parser.add_argument("--command", action="append", choices=COMMANDS, help="run this command (default: all four)")
    parser.add_argument("--jobs", type=int, default=2, help="number of commands at a time (default: 2)")
    options = parser.parse_args()
    wanted = [one for one in ENVIRONMENTS if not options.only or {one.name, one.kind} & set(options.only)]
    if not wanted:
        parser.error(f"there is no such environment; choose from {', '.join(one.name for one in ENVIRONMENTS)}")
    commands = [name for name in COMMANDS if name in (options.command or COMMANDS)]
    with tempfile.TemporaryDirectory(prefix="environments-", dir="/var/tmp") as folder:
        return compare(Path(folder), wanted, commands, options.jobs)


def compare(folder: Path, wanted: Sequence[Environment], commands: Sequence[str], jobs: int) -> int:
    """Run the commands in the environments, below a folder, and print the table; return the exit code."""
    can, ready = abilities(folder), made_ready(folder)
    pairs = [(one, name) for one in wanted if not one.needs or can[one.needs] for name in commands]
    with ThreadPoolExecutor(jobs) as pool:
        ends = dict(zip(pairs, pool.map(lambda pair: end_of(folder, ready, *pair), pairs), strict=True))
    print(f"| environment | kind | {' | '.join(commands)} |\n|---|---|{'---|' * len(commands)}")
    for one in wanted:
        cells = [ends[one, name].splitlines()[0] if (one, name) in ends else "skipped" for name in commands]
        print(f"| {one.name} | {one.kind} | {' | '.join(cells)} |")
    failed = {pair: end for pair, end in ends.items() if end.startswith("FAILS")}
    skipped = [f"{one.name} (needs {NEEDS[one.needs]})" for one in wanted if one.needs and not can[one.needs]]
    print(f"\n{len(ends)} pairs of {len(wanted) - len(skipped)} environments: {len(ends) - len(failed)} end well.")
    print(f"skipped: {'; '.join(skipped) or 'none'}")
    for (one, name), end in failed.items():
        print(f"\n--- {name}, {one.name}: {end}")
    return 1 if failed else 0


def abilities(folder: Path) -> Mapping[str, bool]:
    """Return which needs this machine meets, by name; also compile the shim for clocks."""
    (folder / "shim.c").write_text(SHIM)
    compiled = shutil.which("cc") and subprocess.run(
        ["cc", "-shared", "-fPIC", "-o", folder / "shim.so", folder / "shim.c"], check=False
    )
    mounted = shutil.which("unshare") and subprocess.run(
        [*namespace(), "mount", "-t", "tmpfs", "none", folder], capture_output=True, check=False
    )
    return {
        "cc": bool(compiled and compiled.returncode == 0),
        "mount": bool(mounted and mounted.returncode == 0),
        "user": os.getuid() != 0,
    }


def namespace() -> list[str]:
    """Return the command prefix that makes mounts invisible to other processes."""
    return ["unshare", "--mount"] if os.getuid() == 0 else ["unshare", "--map-root-user", "--mount"]


def made_ready(folder: Path) -> Path:
    """Return a folder with a finished run, ``ready``."""
    script = f"cd {folder} && AT= && {shlex.quote(sys.executable)} -m headstart {COMMANDS['train'][0]}"
    subprocess.run(["bash", "-c", script], env=environment(folder), check=True, stdout=subprocess.DEVNULL)
    (made,) = (path.parent for path in (folder / "new").glob("*/*/run.json"))
    (folder / "ready").mkdir()
    made.rename(folder / "ready" / "ready")
    return folder / "ready"


def environment(folder: Path) -> dict[str, str]:
    """Return the variables of an ordinary environment, with its own HOME to protect the user's."""
    (folder / "home").mkdir(exist_ok=True)
    own = {"HOME": str(folder / "home"), "PYTHONPATH": str(CHECKOUT / "src"), "OMP_NUM_THREADS": "1"}
    kept = ("PATH", "LANG", "LD_LIBRARY_PATH", "USER")
    return {name: os.environ[name] for name in kept if name in os.environ} | own


def end_of(folder: Path, ready: Path, one: Environment, name: str) -> str:
    """Run a command in an environment; return how it ended, with its output if it failed."""
    case = Path(tempfile.mkdtemp(dir=folder))
    case.chmod(0o755)
    command, check = COMMANDS[name]
    drop = "setpriv --bounding-set=-dac_override,-dac_read_search --" if one.plain and os.getuid() == 0 else ""
    script = SCRIPT.format(
        case=case, shim=folder / "shim.so", ready=ready, seconds=SECONDS, plain=drop,
        python=shlex.quote(sys.executable), command=command, check=check if one.heard or name != "status" else "true",
        place=one.place, before=one.before, after=one.after, inside=one.inside, streams=one.streams,
    )  # fmt: skip
    words = [*(namespace() if one.needs == "mount" else ()), "bash", "-c", script]
    subprocess.run(words, env=environment(folder), check=False, capture_output=True, stdin=subprocess.DEVNULL)
    out, err = ((case / file).read_text(errors="replace") for file in ("stdout", "stderr"))
    answer = (case / "answer").read_text().split() if (case / "answer").exists() else ["99", "0"]
    shutil.rmtree(case)
    end = judged(int(answer[0]), answer[1] == "1", out, err, one.heard)
    print(f"{name}, {one.name}: {end.splitlines()[0]}", file=sys.stderr)
    return end


def judged(code: int, found: bool, out: str, err: str, heard: bool = True) -> str:
    """Return how a command ended, from its exit code, its output, and whether its result was found."""
    sentences = [line for line in err.splitlines() if line.startswith("headstart: ")]
    if "Traceback" in out + err:
        wrong = "a traceback"
    elif code not in ENDS:
        wrong = "not within its time" if code == 124 else f"exit code {code}"
    elif code == 0 and not found:
        wrong = "no result"
    elif code in (1, 2) and heard and len(sentences) != 1:
        wrong = f"{len(sentences)} sentences"
    else:
        return ENDS[code]
    return f"FAILS: {wrong}\nexit code {code}, result {found}\n{out[-800:]}\n{err[-3000:]}"


if __name__ == "__main__":
    sys.exit(main())
