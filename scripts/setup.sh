#!/usr/bin/env bash
# Installs the Debian packages that Fother's lab, demo and tests need, and those that are named. Installs nothing else and removes nothing.
set -euo pipefail

packages=(debsecan prometheus mmdebstrap systemd-container iproute2 haproxy dpkg-dev apt-utils gnupg gpgv openssh-client util-linux e2fsprogs xz-utils zstd libcap2-bin perl diffutils passwd python3 python3-venv debian-archive-keyring ca-certificates postgresql-15 "$@")

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$status" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ] && ls /var/lib/apt/lists/*Packages* >/dev/null 2>&1; then
  echo "setup: everything is there"
  exit 0
fi
sudo=
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "setup: run this as root, or install sudo" >&2; exit 4; }
  sudo=sudo
fi
echo "setup: refreshing the package lists"
$sudo apt-get update -q
if [ ${#missing[@]} -gt 0 ]; then
  echo "setup: installing ${missing[*]}"
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
  # Daemons that Debian starts on installation are not wanted on this machine: the lab runs its own.
  if [ -d /run/systemd/system ]; then
    for unit in haproxy postgresql prometheus; do
      case " ${missing[*]} " in *" $unit "*) $sudo systemctl disable --now "$unit" >/dev/null 2>&1 || true ;; esac
    done
  fi
fi
