#!/bin/bash
# A study on a SLURM allocation: one Ray node a machine, for as long as the job lasts.
#   sbatch cluster/slurm.sh --space cifar_blocks --data digits --name first --studies "$HOME/studies"
# Run where this package is installed (STUDY_ENV names its environment) on a file system that all
# machines share. Given again, the same command continues the study; so does a requeued job.
#SBATCH --job-name=distillation-study
#SBATCH --nodes=3
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --time=08:00:00
#SBATCH --requeue
# Asks the driver to stop two minutes before the time is up; what runs then is gone on with.
#SBATCH --signal=TERM@120
# One kind of machine: latencies of two do not compare. REPLACE by a feature of your site.
##SBATCH --constraint=genoa
set -euo pipefail

export PATH="${STUDY_ENV:-$HOME/env}/bin:$PATH"
export RAY_USAGE_STATS_ENABLED=0

# Whoever else is on these machines could run code in the cluster: a token of this job alone, in a
# file that only its owner reads.
umask 077
secrets=$(mktemp -d "$HOME/.study-ray-XXXXXX")
trap 'rm -rf "$secrets"' EXIT
python -c 'import secrets; print(secrets.token_hex(32), end="")' >"$secrets/token"
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$secrets/token"

first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
ip=$(srun --nodes=1 --ntasks=1 --nodelist="$first" hostname --ip-address | awk '{print $1}')
# Jobs that share a machine do not share a port.
port=$((20000 + SLURM_JOB_ID % 20000))

srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 --kill-on-bad-exit=1 \
    ray symmetric-run --address "$ip:$port" --min-nodes "$SLURM_JOB_NUM_NODES" \
    --num-cpus "${SLURM_CPUS_ON_NODE}" --include-dashboard false \
    -- python -m study.launch --address auto "$@"
