"""Makes a vulnerability database for Trivy from the shared feeds, so that both scanners judge by the same data.

    trivy_db.py FEEDS CACHE      FEEDS is the folder with debian/ and osv/, CACHE what TRIVY_CACHE_DIR names

What Trivy looks up is a file in the form of bbolt (https://github.com/etcd-io/bbolt, page.go and bucket.go): sorted leaves under one level of
branches. Written once and as a whole, it needs no free pages. Standard library only, and PyYAML for Ruby's advisories where it is there."""

import csv, gzip, io, json, pathlib, re, sqlite3, struct, sys, tarfile, zipfile

PAGE = 4096
BRANCH, LEAF, META, FREELIST = 1, 2, 4, 16
BUCKET = 1
# Names of a bucket begin with what Trivy calls the ecosystem.
ECOSYSTEMS = {"PyPI": "pip::osv", "Go": "go::osv", "crates.io": "cargo::osv", "npm": "npm::osv", "RubyGems": "rubygems::osv"}
DEBIAN = "debian 12"


class File:
    """Pages of one database, in the order in which they are written."""

    def __init__(self):
        self.pages = {}
        self.next = 3

    def put(self, flags, count, body):
        """Writes one page, with as many more as it runs over, and gives its number."""
        size = 16 + len(body)
        more = (size + PAGE - 1) // PAGE - 1
        number, self.next = self.next, self.next + 1 + more
        self.pages[number] = struct.pack("<QHHI", number, flags, count, more) + body.ljust((more + 1) * PAGE - 16, b"\0")
        return number

    @staticmethod
    def leaf(items):
        """The body of a leaf: an entry for each item, then keys and values."""
        table, data = b"", b""
        for place, (flags, key, value) in enumerate(items):
            table += struct.pack("<IIII", flags, 16 * (len(items) - place) + len(data), len(key), len(value))
            data += key + value
        return table + data

    def tree(self, items):
        """Writes sorted items and gives the page at their top."""
        level, group, size = [], [], 16
        for item in items:
            need = 16 + len(item[1]) + len(item[2])
            if group and size + need > PAGE:
                level.append((group[0][1], self.put(LEAF, len(group), self.leaf(group))))
                group, size = [], 16
            group.append(item)
            size += need
        level.append((group[0][1] if group else b"", self.put(LEAF, len(group), self.leaf(group))))
        while len(level) > 1:
            above = []
            for at in range(0, len(level), 40):
                part, table, data = level[at:at + 40], b"", b""
                for place, (key, number) in enumerate(part):
                    table += struct.pack("<IIQ", 16 * (len(part) - place) + len(data), len(key), number)
                    data += key
                above.append((part[0][0], self.put(BRANCH, len(part), table + data)))
            level = above
        return level[0][1]

    def bucket(self, content):
        """Items of a dictionary; a dictionary in it is a bucket of its own."""
        items = []
        for key in sorted(content, key=str.encode):
            value = content[key]
            if isinstance(value, dict):
                inner = self.bucket(value)
                if sum(32 + len(k) + len(v) for _, k, v in inner) + 32 < PAGE // 4 and not any(flags for flags, _, _ in inner):
                    body = struct.pack("<QQ", 0, 0) + struct.pack("<QHHI", 0, LEAF, len(inner), 0) + self.leaf(inner)
                else:
                    body = struct.pack("<QQ", self.tree(inner), 0)
                items.append((BUCKET, key.encode(), body))
            else:
                items.append((0, key.encode(), value))
        return items

    def write(self, path, content):
        root = self.tree(self.bucket(content))
        with open(path, "wb") as out:
            for number in (0, 1):
                meta = struct.pack("<IIIIQQQQQ", 0xED0CDAED, 2, PAGE, 0, root, 0, 2, self.next, number)
                check = 0xCBF29CE484222325
                for byte in meta:
                    check = (check ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
                out.write((struct.pack("<QHHI", number, META, 0, 0) + meta + struct.pack("<Q", check)).ljust(PAGE, b"\0"))
            out.write(struct.pack("<QHHI", 2, FREELIST, 0, 0).ljust(PAGE, b"\0"))
            for number in sorted(self.pages):
                out.write(self.pages[number])


def order(version):
    """A key that sorts as dpkg does (deb-version(7))."""
    epoch, rest = version.split(":", 1) if ":" in version else ("0", version)
    upstream, revision = rest.rsplit("-", 1) if "-" in rest else (rest, "")

    def part(text):
        key = []
        for word, number in re.findall(r"(\D*)(\d*)", text):
            key.append(([-1 if c == "~" else ord(c) if c.isalpha() else ord(c) + 256 for c in word] + [0], int(number or 0)))
        return key

    return int(epoch), part(upstream), part(revision)


def debian(feeds, data, names):
    """Of several advisories on one vulnerability the last fix counts; an advisory that names none is one itself."""
    fixed = {}
    with gzip.open(feeds / "debian/debian-fixed.tsv.gz", "rt") as rows:
        for row in csv.reader(rows, delimiter="\t"):
            if row[0] != "bookworm":
                continue
            _, source, version, advisory, _, cves = row
            for name in cves.replace(",", " ").split() or [advisory]:
                known = fixed.setdefault(source, {}).get(name)
                if known is None or order(version) > order(known):
                    fixed[source][name] = version
    for source, found in fixed.items():
        names.update(found)
        data.setdefault(DEBIAN, {})[source] = {name: json.dumps({"FixedVersion": version}).encode() for name, version in found.items()}


def ranges(affected):
    """Version ranges as Trivy writes them: alternatives, each of conditions."""
    out = [f"={version}" for version in affected.get("versions") or []]
    for one in affected.get("ranges") or []:
        if one["type"] == "GIT":
            continue
        low = None
        for event in one["events"]:
            if "introduced" in event:
                low = event["introduced"]
            elif low is not None:
                high = f"<{event['fixed']}" if "fixed" in event else f"<={event['last_affected']}"
                out.append(f">={low}, {high}")
                low = None
        if low is not None:
            out.append(f">={low}")
    return out


def osv(archive, data, names):
    with zipfile.ZipFile(archive) as packed:
        for member in packed.namelist():
            if not member.endswith(".json"):
                continue
            record = json.loads(packed.read(member))
            if record.get("withdrawn"):
                continue
            for affected in record.get("affected") or []:
                package = affected["package"]
                bucket = ECOSYSTEMS.get(package["ecosystem"])
                if not bucket:
                    continue
                name = package["name"]
                if bucket.startswith("pip"):
                    name = re.sub(r"[-_.]+", "-", name.lower())
                entry = data.setdefault(bucket, {}).setdefault(name, {}).setdefault(record["id"], [])
                entry.extend(ranges(affected))
                names.add(record["id"])


def ruby(archive, data, names):
    try:
        import yaml
    except ImportError:
        return print("SKIPPED: PyYAML is not there, so Trivy gets no advisories for Ruby", file=sys.stderr)
    with tarfile.open(archive) as packed:
        for member in packed:
            if not member.isfile() or "/gems/" not in f"/{member.name}" or not member.name.endswith((".yml", ".yaml")):
                continue
            record = yaml.safe_load(io.TextIOWrapper(packed.extractfile(member), "utf-8"))
            name = f"CVE-{record['cve']}" if record.get("cve") else f"GHSA-{record['ghsa']}" if record.get("ghsa") else None
            if name is None or not record.get("gem"):
                continue
            advisory = {"PatchedVersions": record.get("patched_versions") or [], "UnaffectedVersions": record.get("unaffected_versions") or []}
            data.setdefault(ECOSYSTEMS["RubyGems"], {}).setdefault(record["gem"], {})[name] = json.dumps(advisory).encode()
            names.add(name)


def no_archives(folder, far):
    """Trivy looks archives without a name of their own up by their digest, and refuses to begin without that list: it is empty here."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "trivy-java.db").unlink(missing_ok=True)
    with sqlite3.connect(folder / "trivy-java.db") as database:
        database.execute("CREATE TABLE artifacts (id INTEGER PRIMARY KEY, group_id TEXT, artifact_id TEXT)")
        database.execute("CREATE TABLE indices (artifact_id INTEGER, version TEXT, sha1 BLOB, archive_type TEXT)")
    (folder / "metadata.json").write_text(json.dumps(far | {"Version": 1}))


def main():
    feeds, cache = map(pathlib.Path, sys.argv[1:])
    data, names = {}, set()
    debian(feeds, data, names)
    for name in ("PyPI-pypa.zip", "Go-vulndb.zip", "crates.io-rustsec.zip"):
        osv(feeds / "osv" / name, data, names)
    for archive in (feeds / "osv").glob("rubysec-*.tar.xz"):
        ruby(archive, data, names)
    for packages in data.values():
        for advisories in packages.values():
            for name, value in advisories.items():
                if isinstance(value, list):
                    advisories[name] = json.dumps({"VulnerableVersions": value}).encode()
    counts = {bucket: sum(map(len, packages.values())) for bucket, packages in data.items()}
    sources = {bucket: json.dumps({"ID": "debian" if bucket == DEBIAN else "osv", "Name": bucket}).encode() for bucket in data}
    data |= {"data-source": sources, "vulnerability": {name: json.dumps({"Severity": "UNKNOWN"}).encode() for name in names}}
    (cache / "db").mkdir(parents=True, exist_ok=True)
    File().write(cache / "db/trivy.db", data)
    far = {"Version": 2, "NextUpdate": "2100-01-01T00:00:00Z", "UpdatedAt": "2026-08-21T00:00:00Z", "DownloadedAt": "2026-08-21T00:00:00Z"}
    (cache / "db/metadata.json").write_text(json.dumps(far))
    no_archives(cache / "java-db", far)
    print(json.dumps(counts))


main()
