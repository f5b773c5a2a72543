#!/usr/bin/env bash
# Runs the integration tests of one tier: `unit` (every tests/*.rs but lab_*) or `lab` (tests/lab_*.rs, as root, one at a time).
set -euo pipefail
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}
tier=$1
for file in crates/*/tests/*.rs; do
  name=$(basename "$file" .rs)
  crate=$(basename "$(dirname "$(dirname "$file")")")
  case "$tier:$name" in
    unit:lab_*) continue ;;
    unit:*) echo "== $crate $name"; $cargo test -q --locked -p "$crate" --test "$name" ;;
    lab:lab_*)
      echo "== $crate $name ($(date +%T))"
      if [ "$(id -u)" = 0 ]; then
        $cargo test --locked -p "$crate" --test "$name" -- --test-threads=1 --nocapture
      else
        CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="sudo -E" $cargo test --locked -p "$crate" --test "$name" -- --test-threads=1 --nocapture
      fi ;;
    lab:*) continue ;;
    *) echo "usage: $0 unit|lab" >&2; exit 2 ;;
  esac
done
