#!/bin/bash
# A study on a SLURM allocation: one Ray node a machine, for as long as the job lasts.
#   sbatch cluster/slurm.sh --space cifar_blocks --data digits --name first --studies "$HOME/studies"
# Run where this package is installed (STUDY_ENV names its environment) on a file system that all
# machines share. Given again, the same command continues the study; so does a requeued job.
#SBATCH --job-name=distillation-study
#SBATCH --nodes=3
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
# All CPUs are this job's then, and with this all memory too.
#SBATCH --mem=0
#SBATCH --time=08:00:00
#SBATCH --requeue
# Two minutes before the time is up this script (B) is told, which asks the driver to stop; what runs
# then is gone on with. Told itself, Ray would kill the driver.
#SBATCH --signal=B:TERM@120
# One kind of machine: latencies of two do not compare. REPLACE by a feature of your site.
##SBATCH --constraint=genoa
# On GPUs, which Ray finds by itself; give --gpus-per-trial 1 too.
##SBATCH --gres=gpu:1
set -euo pipefail

export PATH="${STUDY_ENV:-$HOME/env}/bin:$PATH"
export RAY_USAGE_STATS_ENABLED=0
# Machines of one job need not be up at once (s).
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300

# Whoever else is on these machines could run code in the cluster: a token of this job alone, in a
# file that only its owner reads. Ray's own folder is everybody's: one of this job alone, on every
# machine by the same name, in which the paths of sockets have no more than 107 characters.
secrets=$(mktemp -d "$HOME/.study-ray-XXXXXX")
temporary=${TMPDIR:-/tmp}
[ "${#temporary}" -le 24 ] || temporary=/tmp
export RAY_TMPDIR="$temporary/ray-${secrets##*-}"
trap 'rm -rf "$secrets" "$RAY_TMPDIR"' EXIT
(umask 077 && python -c 'import secrets; print(secrets.token_hex(32), end="")' >"$secrets/token")
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$secrets/token"

# sed reads to the end: a list that is cut off would be a failed command here.
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)
# Not the loopback's, which Debian has a machine's own name mean.
ip=$(srun --nodes=1 --ntasks=1 --nodelist="$first" \
    sh -c 'hostname --ip-address; hostname --all-ip-addresses' | tr ' ' '\n' \
    | awk '!ip && !/^127\.|:|^$/ {ip = $0} END {print ip ? ip : "127.0.0.1"}')
# Jobs that share a machine do not share a port.
port=$((20000 + SLURM_JOB_ID % 20000))

# Notes the driver's process, and what it ended with; ends well itself, lest `srun` end the other machines'
# part by a signal, after which Ray waits half a minute for its head.
# shellcheck disable=SC2016
drive='python -m study.launch --address auto "$@" & echo "$!" >"$0"
code=0; wait "$!" || code=$?; echo "$code" >"$0.code"'
# Each machine with its own number of CPUs. Without a dashboard, of which Ray may be told on the head
# alone. The others end once the driver has ended: by itself Ray would miss its head for a minute, and
# say so at length.
# shellcheck disable=SC2016
start='ended=$1.code; shift
mkdir -p -m 700 "$RAY_TMPDIR" && [ -O "$RAY_TMPDIR" ] || exit
set -- --num-cpus="$SLURM_CPUS_ON_NODE" "$@"
[ "$SLURMD_NODENAME" != "$0" ] || exec ray symmetric-run --include-dashboard=false "$@"
trap "rm -rf \"\$RAY_TMPDIR\"" EXIT
trap "exit 143" TERM
setsid ray symmetric-run "$@" &
while kill -0 "$!" 2>/dev/null; do
    if [ -s "$ended" ]; then kill -KILL "-$!"; exit 0; fi
    sleep 2
done
wait "$!"'
srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 --kill-on-bad-exit=1 \
    sh -c "$start" "$first" "$secrets/driver" \
    --address "$ip:$port" --min-nodes "$SLURM_JOB_NUM_NODES" \
    -- sh -c "$drive" "$secrets/driver" "$@" &
run=$!
# The driver is on this machine, the first of the job; before there is one, all is ended.
asked=""
trap 'asked=yes; kill -TERM "$(grep -s . "$secrets/driver" || echo "$run")" || true' TERM
code=0
wait "$run" || code=$?
# The signal ends a wait before its time.
while [ -n "$asked" ]; do
    asked=""
    code=0
    wait "$run" || code=$?
done
if [ -s "$secrets/driver.code" ]; then
    code=$(cat "$secrets/driver.code")
elif [ "$code" = 0 ]; then
    # `ray symmetric-run` ends with 0 where Ray did not start.
    code=1
fi
exit "$code"
