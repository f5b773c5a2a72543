#!/usr/bin/env bash
# Runs the integration tests of one tier: `unit` (every tests/*.rs but lab_*) or `lab` (tests/lab_*.rs, as root, one at a time).
set -euo pipefail
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}
tier=${1:-}
wanted=()
for file in crates/*/tests/*.rs; do
  name=$(basename "$file" .rs)
  case "$tier:$name" in
    unit:lab_*) ;;
    unit:* | lab:lab_*) wanted+=(--test "$name") ;;
    lab:*) ;;
    *) echo "usage: $0 unit|lab" >&2; exit 2 ;;
  esac
done
if [ "$tier" = unit ]; then
  tools=$(scripts/peers.sh)
  export FOTHER_PYTHON=$tools/python3 FOTHER_TRIVY=$tools/trivy
  exec $cargo test --no-fail-fast --workspace --locked "${wanted[@]}"
fi
if [ "$(id -u)" != 0 ]; then
  export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="sudo -E"
fi
exec $cargo test --no-fail-fast --workspace --locked "${wanted[@]}" -- --test-threads=1 --nocapture
