#!/usr/bin/env bash
# Packs a built fother as fother-agent_VERSION_ARCH.deb, so that agents are upgraded as what they are: an ordinary package of an archive that
# the hosts trust, through a plan that people approved, with the same undo. Same binary and date, same bytes. Writes one file.
set -euo pipefail

if [ $# -ne 3 ]; then
  echo "usage: $0 BINARY VERSION DIRECTORY   (for example: $0 target/release/fother 0.2.0-1 .)" >&2
  exit 2
fi
binary=$1 version=$2 out=$3
[ -x "$binary" ] || { echo "$0: $binary is no program; build it with \`make build\`" >&2; exit 2; }
arch=$(dpkg --print-architecture)
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
chmod 0755 "$tree"
install -D -m 0755 "$binary" "$tree/usr/bin/fother"
install -d -m 0755 "$tree/DEBIAN"
size=$(du -k --apparent-size "$tree/usr/bin/fother" | cut -f1)
cat >"$tree/DEBIAN/control" <<CONTROL
Package: fother-agent
Version: $version
Architecture: $arch
Maintainer: Fother <fother@localhost>
Installed-Size: $size
Depends: libc6 (>= 2.34), systemd, adduser
Section: admin
Priority: optional
Description: Fother: patch management, agent and command line
 The two services are made by \`fother agent install\`, not by this package,
 which restarts them. A transaction runs in a unit of its own and goes on.
CONTROL
cat >"$tree/DEBIAN/postinst" <<'POSTINST'
#!/bin/sh
set -e
if [ "$1" = configure ] && [ -d /run/systemd/system ]; then
  # Without waiting: this may run below the very executor that is restarted, which goes on from its journal.
  systemctl --no-block try-restart fother-executor.service fother-agent.service || true
fi
POSTINST
chmod 0755 "$tree/DEBIAN/postinst"
find "$tree" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
dpkg-deb --root-owner-group -Zxz --build "$tree" "$out/fother-agent_${version}_${arch}.deb" >/dev/null
echo "$out/fother-agent_${version}_${arch}.deb"
