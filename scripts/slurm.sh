#!/usr/bin/env bash
# Run a small sweep with hydra/launcher=basic and with hydra/launcher=submitit_slurm, and compare the metrics of all runs.
# The script starts a Slurm of one node and stops it at the end. It requeues one job, as a pre-emption does, and sends SIGUSR2
# to another, as Slurm does before a time limit. As root it installs Debian's Slurm if there is none. If Slurm cannot be
# started, it prints "skipped: ..." and ends with exit code 0.
#
#   scripts/slurm.sh [PYTHON]      a Python with headstart and its extra "sweep"; by default .venv/bin/python
set -euo pipefail
cd "$(dirname "$0")/.."
cores=$(env -u OMP_NUM_THREADS nproc)
python=$(realpath -s "${1:-.venv/bin/python}")
export PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}" OMP_NUM_THREADS=1
place=$(mktemp -d /tmp/headstart-slurm-XXXXXX)
installed=no
pids=()

skip() { echo "skipped: $1"; exit 0; }

clean_up() {
    code=$?
    if [ -S "$place/munge/socket" ]; then scancel --user="$(id -un)" 2>"$place/scancel.log" || true; sleep 1; fi
    for pid in "${pids[@]}"; do if kill "$pid" 2>"$place/kill.log"; then wait "$pid" || true; fi; done
    if [ "$installed" = yes ]; then apt-get purge -qq -y --autoremove slurm-wlm munge >"$place/purge.log" 2>&1 || true; fi
    if [ "$code" = 0 ]; then rm -rf "$place"; else echo "logs are in $place" >&2; fi
    exit "$code"
}
trap clean_up EXIT

wait_for() {  # seconds, then a command; wait until it succeeds
    local end=$((SECONDS + $1)); shift
    until "$@" >"$place/wait.log" 2>&1; do
        if [ "$SECONDS" -ge "$end" ]; then return 1; fi
        sleep 0.3
    done
}

if ! command -v slurmctld >/dev/null || ! command -v munged >/dev/null; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then skip "no Slurm here, and only root can install one"; fi
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends slurm-wlm munge >"$place/apt.log" 2>&1 ||
        skip "apt-get cannot install slurm-wlm and munge"
    installed=yes
fi

# --- one node with all its files in one folder, without /etc
mkdir -p "$place"/{munge,state,spool}
chmod 755 "$place" "$place/munge"
(umask 077 && head -c 1024 /dev/urandom >"$place/munge/key")
munged --foreground --force --socket="$place/munge/socket" --key-file="$place/munge/key" \
    --pid-file="$place/munge/pid" --seed-file="$place/munge/seed" --log-file="$place/munge/log" >"$place/munged.out" 2>&1 &
pids+=($!)
wait_for 10 test -S "$place/munge/socket" || skip "munged does not start: $(tail -n 1 "$place/munged.out")"
host=$(hostname -s)
cat >"$place/slurm.conf" <<CONF
ClusterName=headstart
SlurmctldHost=$host(127.0.0.1)
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
SlurmctldPort=26817
SlurmdPort=26818
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$place/munge/socket,cred_expire=5
StateSaveLocation=$place/state
SlurmdSpoolDir=$place/spool
SlurmctldPidFile=$place/slurmctld.pid
SlurmdPidFile=$place/slurmd.pid
SlurmctldLogFile=$place/slurmctld.log
SlurmdLogFile=$place/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=2
KillWait=5
ReturnToService=2
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cores State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
echo "CgroupAutomount=no" >"$place/cgroup.conf"
export SLURM_CONF="$place/slurm.conf"
slurmctld -D >"$place/slurmctld.out" 2>&1 &
pids+=($!)
slurmd -D -N "$host" >"$place/slurmd.out" 2>&1 &
pids+=($!)
idle() { sinfo --noheader --format=%t | grep -q '^idle'; }
wait_for 30 idle || skip "the node of this Slurm does not come up: $(tail -n 1 "$place/slurmd.log" 2>&1)"
echo "Slurm $(slurmd -V | cut -d' ' -f2), one node, $cores cores"

# --- the sweep, twice
sweep=(-m strategy=scratch,finetune_all seed=0,1 "dataset.counts=[6,4,4]" dataset.image_size=32 dataset.num_workers=0
    backbone.weights=null trainer.max_epochs=10 trainer.accelerator=cpu)
headstart() { "$python" -c 'import sys; from headstart.cli import main; sys.exit(main(sys.argv[1:]))' train "$@"; }
start=$SECONDS
headstart "${sweep[@]}" output_dir="$place/basic" hydra.sweep.dir="$place/basic/sweep" >"$place/basic.log" 2>&1
echo "basic: $((SECONDS - start)) s"

start=$SECONDS
headstart "${sweep[@]}" output_dir="$place/slurm" hydra.sweep.dir="$place/slurm/sweep" hydra/launcher=submitit_slurm \
    hydra.launcher.cpus_per_task=1 >"$place/slurm.log" 2>&1 &
launcher=$!
pids+=("$launcher")
training() { [ "$(grep -l '"status": "running"' "$place"/slurm/sweep/*/run.json | wc -l)" -ge "$1" ]; }
wait_for 120 training "$((cores > 1 ? 2 : 1))" || { tail -n 5 "$place/slurm.log" "$place/slurmctld.log"; exit 1; }
mapfile -t jobs < <(squeue --noheader --array --states=RUNNING --format=%i)
scontrol requeue "${jobs[0]}"
echo "requeued: job ${jobs[0]}"
if [ "${#jobs[@]}" -gt 1 ]; then
    timeout 3 scancel --signal=USR2 "${jobs[1]}" || true  # it repeats the signal to a job that is back in the queue
    echo "SIGUSR2: job ${jobs[1]}"
fi
wait "$launcher" || { tail -n 20 "$place/slurm.log"; exit 1; }
by_signal=$(grep -l 'Requeued job' "$place"/slurm/sweep/.submitit/*/*.out | wc -l)
in_all=$(grep -c 'Requeuing JobId' "$place/slurmctld.log")
echo "submitit_slurm: $((SECONDS - start)) s; requeued: $in_all, of these by SIGUSR2: $by_signal"
if [ "$in_all" -lt "${#jobs[@]}" ]; then echo "a job was not requeued" >&2; exit 1; fi

"$python" - "$place" <<'PYTHON'
import json
import sys
from pathlib import Path

found = {}
for launcher in ("basic", "slurm"):
    runs = [json.loads(path.read_text()) for path in sorted((Path(sys.argv[1]) / launcher).rglob("run.json"))]
    finished = {(run["strategy"], run["seed"]): run["metrics"] for run in runs if run["status"] == "finished"}
    found[launcher] = finished
    print(f"{launcher}: {len(finished)} finished of {len(runs)} run directories")
for key, metrics in sorted(found["basic"].items()):
    same = found["slurm"].get(key) == metrics
    print(*key, f"validation loss {metrics['validation/loss']:.9f}", "equal" if same else "DIFFERENT")
sys.exit(len(found["basic"]) != 4 or found["basic"] != found["slurm"])
PYTHON
