#!/bin/sh
# Sends frames from a Linux guest with the kernel's own generator (pktgen), as root in the guest:
#   guest-pktgen.sh --to MAC [OPTION..] DEVICE
#     --to MAC        whom the frames are addressed to: an address of the wire, or another guest's
#     --size N        bytes of a frame without its checksum; 60 is 64 on the wire      [60]
#     --seconds N     how long                                                         [10]
#     --threads N     so many CPUs send, each on a queue of its own                    [1]
#     --first-cpu N   thread t is on CPU N + t, with its queue and the queue's events  [0]
#     --flows N       different UDP source ports                                       [1]
#     --clone N       how often each buffer is sent before the next is made            [0]
#     --rate N        frames per second and thread; 0: as fast as it goes              [0]
# Prints what each thread and the interface counted. Queue events stay on their CPU afterwards.
set -u

PKTGEN=/proc/net/pktgen
usage() { sed -n '2,12s/^# \?//p' "$0"; }
fail() { echo "guest-pktgen: $1" >&2; exit 1; }
refuse() { echo "guest-pktgen: $1" >&2; usage >&2; exit 2; }
number() { case $2 in '' | *[!0-9]*) refuse "$1 needs a number, not '$2'" ;; esac; }

to='' size=60 seconds=10 threads=1 first=0 flows=1 clone=0 rate=0 device=''
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --to) to=${2:-}; shift ;;
    --size | --seconds | --threads | --first-cpu | --flows | --clone | --rate)
      number "$1" "${2:-}"
      case $1 in
        --size) size=$2 ;; --seconds) seconds=$2 ;; --threads) threads=$2 ;;
        --first-cpu) first=$2 ;; --flows) flows=$2 ;; --clone) clone=$2 ;; --rate) rate=$2 ;;
      esac
      shift ;;
    -*) refuse "unknown option '$1'" ;;
    *) [ -z "$device" ] || refuse "one device, not '$device' and '$1'"; device=$1 ;;
  esac
  [ $# -gt 0 ] && shift
done
[ -n "$device" ] || refuse "which device?"
case $to in ??:??:??:??:??:??) ;; *) refuse "--to needs an Ethernet address, not '$to'" ;; esac
[ "$threads" -gt 0 ] && [ "$seconds" -gt 0 ] && [ "$flows" -gt 0 ] ||
  refuse "--threads, --seconds and --flows need 1 or more"

[ "$(id -u)" -eq 0 ] || fail "only root may send (fix: sudo)"
net=/sys/class/net/$device
[ -e "$net" ] ||
  fail "there is no interface $device (fix: one of $(echo /sys/class/net/* | sed 's|[^ ]*/||g'))"
[ "$(cat "$net/carrier" 2>/dev/null)" = 1 ] ||
  fail "$device has no link (fix: ip link set $device up; is the backend connected?)"
[ -d "$PKTGEN" ] || modprobe pktgen 2>/dev/null && [ -d "$PKTGEN" ] ||
  fail "this kernel has no pktgen (fix: one with CONFIG_NET_PKTGEN, as Debian's linux-image-amd64)"
queues=0
while [ -e "$net/queues/tx-$queues" ]; do queues=$((queues + 1)); done
[ "$threads" -le "$queues" ] ||
  fail "$device has $queues queues, for at most as many threads (fix: --threads $queues)"
[ -e "$PKTGEN/kpktgend_$((first + threads - 1))" ] ||
  fail "there is no CPU $((first + threads - 1)) (fix: fewer --threads, or a lower --first-cpu)"

set_line() { # FILE LINE: pktgen says no by failing the write
  echo "$2" 2>/dev/null > "$1" || fail "pktgen does not take '$2' for $device"
}

# The queue's event channels on the CPU that sends on it; /proc/interrupts has them as vifD-qQ-tx
# and vifD-qQ-rx.
bind_events() { # QUEUE CPU
  [ -e "$net/device/nodename" ] || return 0
  name=vif$(basename "$(cat "$net/device/nodename")")-q$1-
  for irq in $(sed -n "s/^ *\([0-9]*\):.* $name[tr]x\$/\1/p" /proc/interrupts); do
    echo "$2" > "/proc/irq/$irq/smp_affinity_list" ||
      echo "guest-pktgen: event $irq stays where it is" >&2
  done
}

for thread in "$PKTGEN"/kpktgend_*; do set_line "$thread" rem_device_all; done
t=0
while [ $t -lt "$threads" ]; do
  set_line "$PKTGEN/kpktgend_$((first + t))" "add_device $device@$t"
  file=$PKTGEN/$device@$t
  set_line "$file" "count 0"
  set_line "$file" "delay 0"
  set_line "$file" "pkt_size $size"
  set_line "$file" "clone_skb $clone"
  [ "$rate" -eq 0 ] || set_line "$file" "ratep $rate"
  set_line "$file" "dst_mac $to"
  set_line "$file" "src_min 198.18.0.1" # addresses set aside for benchmarks
  set_line "$file" "src_max 198.18.0.1"
  set_line "$file" "dst 198.18.0.2"
  set_line "$file" "udp_src_min 1024"
  set_line "$file" "udp_src_max $((1024 + flows))"
  set_line "$file" "queue_map_min $t"
  set_line "$file" "queue_map_max $t"
  bind_events $t $((first + t))
  t=$((t + 1))
done

counted() { cat "$net/statistics/tx_packets"; }
before=$(counted)
trap 'echo stop > $PKTGEN/pgctrl' INT TERM
echo "guest-pktgen: $device sends $size bytes to $to for $seconds s" >&2
echo start > "$PKTGEN/pgctrl" &
sleep "$seconds"
echo stop > "$PKTGEN/pgctrl"
wait
sent=$(($(counted) - before))

cat "$PKTGEN/$device"@* | awk -v size="$size" -v sent="$sent" -v device="$device" '
  BEGIN { printf "%6s %12s %10s %12s %9s\n", "thread", "frames", "errors", "frames/s", "Mbit/s" }
  /pkts-sofar:/ { frames = $2; errors = $4 }
  /^Result: OK:/ { split($3, usec, "("); seconds = usec[1] / 1e6
    rate = seconds > 0 ? frames / seconds : 0
    printf "%6d %12d %10d %12.0f %9.1f\n", threads++, frames, errors, rate, rate * size * 8 / 1e6
    all += frames; all_errors += errors; all_rate += rate }
  END { printf "%6s %12d %10d %12.0f %9.1f\n", "all", all, all_errors, all_rate,
      all_rate * size * 8 / 1e6
    printf "%s counted %d frames sent\n", device, sent
    exit all == 0 }' || fail "nothing was sent: is the backend there? (dmesg)"
for thread in "$PKTGEN"/kpktgend_*; do set_line "$thread" rem_device_all; done
