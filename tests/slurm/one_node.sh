#!/usr/bin/env bash
# A Slurm cluster of this one machine, for trying sweeps on Slurm: `one_node.sh start` and `one_node.sh stop`.
# Needs root on Debian or Ubuntu; installs their packages slurm-wlm and munge if they are missing.
set -euo pipefail

start() {
    command -v slurmctld slurmd munged >/dev/null || {
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm munge
    }
    local host cpus memory
    host=$(hostname -s) cpus=$(nproc) memory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)
    install -d -m 755 /etc/slurm /var/spool/slurmctld /var/spool/slurmd /run/slurm
    cat >/etc/slurm/slurm.conf <<EOF
ClusterName=one-node
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
StateSaveLocation=/var/spool/slurmctld
SlurmdSpoolDir=/var/spool/slurmd
SlurmctldPidFile=/run/slurm/slurmctld.pid
SlurmdPidFile=/run/slurm/slurmd.pid
SlurmctldLogFile=/var/log/slurmctld.log
SlurmdLogFile=/var/log/slurmd.log
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
    install -d -o munge -g munge -m 755 /run/munge
    pgrep -x munged >/dev/null || runuser -u munge -- munged
    pgrep -x slurmctld >/dev/null || slurmctld
    pgrep -x slurmd >/dev/null || slurmd
    for _ in $(seq 60); do
        if sinfo --noheader --states=idle --format=%n 2>/dev/null | grep -q .; then
            return
        fi
        scontrol update nodename="$host" state=resume >/dev/null 2>&1 || true
        sleep 1
    done
    echo "the node does not become idle:" >&2
    sinfo >&2 || true
    tail -n 20 /var/log/slurmctld.log /var/log/slurmd.log >&2
    return 1
}

stop() {
    pkill -x slurmd || true
    pkill -x slurmctld || true
    pkill -x munged || true
}

case "${1:-}" in
    start | stop) "$1" ;;
    *)
        echo "usage: one_node.sh start|stop" >&2
        exit 2
        ;;
esac
