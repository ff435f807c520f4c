# For tests/run and bench/demo: packages, builds, progress. Sourced at the top of the checkout.

step() { printf '== %s  %s\n' "$(date +%T)" "$*" >&2; }

# logged LOG COMMAND..: adds what the command says to LOG, and says every 10 s how far that is.
logged() {
  local log=$1 ticker status=0
  shift
  while sleep 10 &> /dev/null && kill -0 $$ 2> /dev/null; do
    step "  $(tail -n 1 "$log" | tr '\r' '\n' | tail -n 1 | cut -c 1-80)"
  done &
  ticker=$!
  "$@" >> "$log" 2>&1 || status=$?
  kill "$ticker" 2> /dev/null || true
  wait "$ticker" 2> /dev/null || true
  return $status
}

# Installs the packages of the lists that are missing; needs root only then.
install_packages() {
  local wanted missing=()
  wanted=$(sed -e 's/#.*//' "$@" | tr -s ' \n' ' ')
  for package in $wanted; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
      missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  step "installing ${#missing[@]} packages: ${missing[*]}"
  [ "$(id -u)" -eq 0 ] || { echo "run as root: packages are missing: ${missing[*]}" >&2; return 1; }
  local log=build/apt.log
  mkdir -p build
  : > "$log"
  { logged "$log" apt-get update && DEBIAN_FRONTEND=noninteractive \
      logged "$log" apt-get install -y --no-install-recommends "${missing[@]}"; } ||
    { tail -20 "$log" >&2; echo "cannot install packages; all of it in $log" >&2; return 1; }
}

# build NAME MESON-OPTIONS.. [-- TARGET..]: configures build/NAME once and builds it.
build() {
  local dir=build/$1 log=build/$1.log options=()
  shift
  while [ $# -gt 0 ] && [ "$1" != -- ]; do options+=("$1"); shift; done
  [ $# -gt 0 ] && shift
  mkdir -p build
  step "building $dir"
  [ -f "$dir/build.ninja" ] || meson setup "$dir" "${options[@]}" > "$log" 2>&1 ||
    { tail -30 "$log" >&2; return 1; }
  logged "$log" ninja -C "$dir" "$@" ||
    { tail -40 "$log" >&2; echo "build failed; see $log" >&2; return 1; }
}
