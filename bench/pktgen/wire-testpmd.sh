#!/usr/bin/env bash
# The wire's side of a benchmark, with DPDK's testpmd, as root on the machine at the other end:
#   wire-testpmd.sh send --device DEVICE --to MAC [OPTION..]   frames to a guest
#   wire-testpmd.sh receive --device DEVICE [OPTION..]         counts frames of a guest
#   wire-testpmd.sh echo --device DEVICE [OPTION..]            sends each back to who sent it
#     --device DEVICE a NIC's PCI address, bound to vfio-pci, or a DPDK device string such as
#                     net_af_packet0,iface=eth1
#     --to MAC        a guest's vif
#     --size N        bytes of a frame without its checksum; 60 is 64 on the wire      [60]
#     --seconds N     how long                                                         [10]
#     --burst N       frames handed to the NIC at once                                 [32]
#     --flows         different source addresses, for several queues
#     --cpus M,F      testpmd's own CPU and the one that forwards                      [0,1]
# Prints rates each second and what was counted at the end. testpmd's words are in --log FILE.
set -euo pipefail

usage() { sed -n '2,14s/^# \?//p' "$0"; }
fail() { echo "wire-testpmd: $1" >&2; exit 1; }
refuse() { echo "wire-testpmd: $1" >&2; usage >&2; exit 2; }

case "${1:-}" in
  -h | --help) usage; exit 0 ;;
  send | receive | echo) verb=$1; shift ;;
  *) refuse "send, receive or echo, not '${1:-}'" ;;
esac
few_buffers='' device='' to='' size=60 seconds=10 burst=32 flows='' cpus=0,1 log=''
while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help) usage; exit 0 ;;
    --flows) flows=--txonly-multi-flow; shift; continue ;;
    --device) device=${2:-} ;;
    --to) to=${2:-} ;;
    --log) log=${2:-} ;;
    --cpus) [[ "${2:-}" =~ ^[0-9]+,[0-9]+$ ]] || refuse "--cpus needs two numbers"; cpus=$2 ;;
    --size | --seconds | --burst)
      [[ "${2:-}" =~ ^[1-9][0-9]*$ ]] || refuse "$1 needs a number, not '${2:-}'"
      declare "${1#--}=$2" ;;
    *) refuse "unknown option '$1'" ;;
  esac
  shift; [ $# -gt 0 ] && shift
done
[ -n "$device" ] || refuse "--device is missing"
[ $verb != send ] || [[ "$to" =~ ^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$ ]] ||
  refuse "--to needs an Ethernet address, not '$to'"
[ "$(id -u)" -eq 0 ] || fail "only root may drive a NIC (fix: sudo)"
command -v dpdk-testpmd > /dev/null || fail "no dpdk-testpmd (fix: apt-get install dpdk-dev)"

eal=(--lcores "0@${cpus%,*},1@${cpus#*,}")
if [[ "$device" =~ ^([0-9a-f]{4}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$ ]]; then
  [ -d "/sys/bus/pci/devices/$device" ] || [ -d "/sys/bus/pci/devices/0000:$device" ] ||
    fail "there is no PCI device $device (fix: dpdk-devbind.py --status)"
  eal+=(-a "$device")
else
  eal+=(--no-pci "--vdev=$device")
fi
if grep -qv '^0$' /sys/kernel/mm/hugepages/hugepages-*/free_hugepages; then
  eal+=(--in-memory)
else
  eal+=(--no-huge --no-shconf -m 256)  # DPDK refuses --no-huge beside --in-memory
  few_buffers=--total-num-mbufs=16384
  echo "wire-testpmd: no hugepages are free: with ordinary pages, slower" >&2
fi
pmd=(-i "--burst=$burst" --rxd=1024 --txd=1024 $few_buffers)
case $verb in
  send) pmd+=(--forward-mode=txonly "--eth-peer=0,$to" "--txpkts=$size" $flows) ;;
  receive) pmd+=(--forward-mode=rxonly) ;;
  echo) pmd+=(--forward-mode=macswap) ;;
esac

work=$(mktemp -d)
log=${log:-$work/log}
mkfifo "$work/commands"
echo "wire-testpmd: dpdk-testpmd ${eal[*]} -- ${pmd[*]}" >&2
stdbuf -oL dpdk-testpmd "${eal[@]}" -- "${pmd[@]}" < "$work/commands" > "$log" 2>&1 &
testpmd=$!
exec 3> "$work/commands"
end() { kill $testpmd 2> /dev/null || true; rm -rf "$work"; }
trap end EXIT

told() { # PATTERN: waits until testpmd has said it
  local end=$((SECONDS + 20))
  until grep -q -- "$1" "$log"; do
    kill -0 $testpmd 2> /dev/null && [ $SECONDS -lt $end ] ||
      { tail -n 20 "$log" >&2; fail "testpmd did not start, see above"; }
    sleep 0.05
  done
}
last() { sed -n "s/.*$1: *\([0-9]*\).*/\1/p" "$log" | tail -n 1; }

told 'testpmd>'
echo start >&3
started=$(date +%s%N)
for ((second = 1; second <= seconds; ++second)); do
  sleep 1
  echo "show port stats 0" >&3
  sleep 0.02
  printf '%4d s   received %s frames/s   sent %s frames/s\n' \
    $second "$(last Rx-pps)" "$(last Tx-pps)"
done
took=$((($(date +%s%N) - started) / 1000))
echo stop >&3
told 'Accumulated forward statistics'
echo quit >&3
wait $testpmd || fail "testpmd failed; see $log"
awk -v took="$took" '/Accumulated forward statistics/ { found = 1 }
  found && /RX-packets:/ { received = $2 }
  found && /TX-packets:/ { sent = $2; dropped = $4 }
  END { s = took / 1e6
    printf "received %d frames, %.0f frames/s\n", received, received / s
    printf "sent %d frames, %.0f frames/s; the NIC refused %d\n", sent, sent / s, dropped }' "$log"
