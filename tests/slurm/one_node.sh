#!/usr/bin/env bash
# A Slurm cluster of this one machine, for trying sweeps on Slurm:
#
#   tests/slurm/one_node.sh start
#   export SLURM_CONF=/run/one-node-slurm/slurm.conf   # where sbatch and squeue look
#   tests/slurm/one_node.sh stop
#
# Needs root on Debian or Ubuntu; installs their packages slurm-wlm and munge if they are missing. All of its own is in
# one folder; where a Slurm is running already it touches nothing.
set -euo pipefail

home=/run/one-node-slurm
export SLURM_CONF=$home/slurm.conf

start() {
    if pgrep -x slurmctld >/dev/null || pgrep -x slurmd >/dev/null; then
        echo "A Slurm is running on this machine already: this script leaves it alone." >&2
        return 1
    fi
    command -v slurmctld slurmd munged >/dev/null || {
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm munge
    }
    local host cpus memory
    host=$(hostname -s) cpus=$(nproc) memory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)
    rm -rf "$home"
    install -d -m 755 "$home" "$home/state" "$home/spool"
    cat >"$SLURM_CONF" <<EOF
ClusterName=one-node
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$home/state
SlurmdSpoolDir=$home/spool
SlurmctldPidFile=$home/slurmctld.pid
SlurmdPidFile=$home/slurmd.pid
SlurmctldLogFile=$home/slurmctld.log
SlurmdLogFile=$home/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,batch_sched_delay=0
ReturnToService=2
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=$memory State=UNKNOWN
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
EOF
    if ! pgrep -x munged >/dev/null; then
        install -d -o munge -g munge -m 755 /run/munge
        runuser -u munge -- munged
        pgrep -x munged >"$home/munged.pid"
    fi
    slurmctld
    slurmd
    for _ in $(seq 60); do
        if sinfo --noheader --states=idle --format=%n 2>/dev/null | grep -q .; then
            return
        fi
        scontrol update nodename="$host" state=resume >/dev/null 2>&1 || true
        sleep 1
    done
    echo "The node does not become idle:" >&2
    sinfo >&2 || true
    tail -n 20 "$home"/*.log >&2
    return 1
}

stop() {
    for daemon in slurmd slurmctld munged; do
        if [ -f "$home/$daemon.pid" ]; then
            kill "$(cat "$home/$daemon.pid")" 2>/dev/null || true
        fi
    done
    rm -rf "$home"
}

case "${1:-}" in
    start | stop) "$1" ;;
    *)
        echo "usage: one_node.sh start|stop" >&2
        exit 2
        ;;
esac
