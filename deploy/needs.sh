# shellcheck shell=bash disable=SC2034 # The scripts that source this use what it sets.
# What ./deploy/up and ./deploy/test have in common; sourced by both. Runs in bash 3.2 (macOS) too.
#
# Each `need_…` makes sure of one thing: it is there, or the distribution's package is installed, or
# the script ends and says how to get it.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
binaries=${CARGO_TARGET_DIR:-$root/target}
me=./deploy/${0##*/}

say() { printf '%s: %s\n' "$me" "$*" >&2; }

# The first line says what is wrong, the others what to do.
give_up() {
  say "$1"
  shift
  if [ $# -gt 0 ]; then printf '  %s\n' "$@" >&2; fi
  exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# As root where that is needed and possible.
as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  else
    sudo "$@"
  fi
}

# need_packages WHY PACKAGE…: installs Debian's or Ubuntu's packages, or says how to get their like.
need_packages() {
  local why=$1
  shift
  if [ "$(uname -s)" = Darwin ]; then
    give_up "$why is missing" "install it with Homebrew (https://brew.sh), for example: brew install $*"
  fi
  if ! have apt-get; then
    give_up "$why is missing, and this is no Debian or Ubuntu, so its package's name is not known here" \
      "install what your distribution calls: $*"
  fi
  if [ "$(id -u)" != 0 ] && ! have sudo; then
    give_up "$why is missing; as root, run: apt-get install $*"
  fi
  say "$why is missing; installing: $*"
  local install=(env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@")
  # A bare machine knows no packages until it has asked for the list.
  if ! as_root "${install[@]}" >&2; then
    as_root apt-get update -q >&2 || give_up "apt-get update failed; the lines above say why"
    as_root "${install[@]}" >&2 || give_up "apt-get could not install: $*" "the lines above say why"
  fi
}

need_redis() {
  if have redis-server || have valkey-server; then return; fi
  if [ "$(uname -s)" = Darwin ]; then need_packages "redis-server" redis; fi
  need_packages "redis-server" redis-server
  if have systemctl && systemctl is-active --quiet redis-server 2>/dev/null; then
    say "the package also started a Redis of its own on port 6379, which Framewire does not use;" \
      "to stop it: sudo systemctl disable --now redis-server"
  fi
}

need_cargo() {
  # rustup puts cargo here and asks for a new shell, which nobody opens.
  if ! have cargo && [ -x "$HOME/.cargo/bin/cargo" ]; then PATH=$HOME/.cargo/bin:$PATH; fi
  if ! have cargo; then
    give_up "Rust is missing; get it from https://rustup.rs, then run this again:" \
      "curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"
  fi
  # Rust links with the system's C compiler.
  if ! have cc; then need_packages "a C compiler to link with" gcc libc6-dev; fi
}
