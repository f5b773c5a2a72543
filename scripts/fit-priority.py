#!/usr/bin/env python3
"""Finds the points of crates/fother-core/src/rank/points.toml from one day's state and what was exploited afterwards.

    scripts/fit-priority.py FEEDS/backtest/2024-01 FEEDS/kev/known_exploited_vulnerabilities-DATE.json.gz

Standard library only. Logistic regression with a ridge, on the table of distinct combinations, rounded to points of a quarter of
a doubling of the odds. Prints what the table prints in docs/priority.md: the fit, five-fold cross-validation over vulnerabilities,
and two splits in time (weights from what was added before a day, judged on what was added after it, and the reverse), each beside
the tiered rule on the same vulnerabilities.
"""
import collections, csv, datetime, glob, gzip, json, math, random, sys

UNIT = math.log(2) / 4
RIDGE = 2.0
EFFORTS = (0.01, 0.02, 0.05, 0.10)
SPLIT = "2025-01-13"
EPSS_STEPS = (0.0005, 0.002, 0.006, 0.02, 0.07, 0.2, 0.5, 0.8, 0.93)
YOUNG_YEARS = 6
NAMES = ("exploited", "metasploit", "nuclei", "exploit-db", "public-exploit", "no-interaction", "total-impact", "young", "epss-step")


def opened(path):
    return gzip.open(path, "rt", encoding="utf-8") if path.endswith(".gz") else open(path, encoding="utf-8")


def parts(vector):
    return dict(part.split(":", 1) for part in vector.split("/") if ":" in part)


def interaction_and_impact(vector):
    """Whether no person must take part, and whether confidentiality, integrity and availability are lost entirely."""
    p = parts(vector)
    if vector.startswith("CVSS:4"):
        return p.get("UI") == "N", all(p.get(k) == "H" for k in ("VC", "VI", "VA"))
    if vector.startswith("CVSS:3"):
        return p.get("UI") == "N", all(p.get(k) == "H" for k in ("C", "I", "A"))
    return True, all(p.get(k) == "C" for k in ("C", "I", "A"))


def read(data, catalogue):
    added = {v["cveID"]: v["dateAdded"] for v in json.load(opened(catalogue))["vulnerabilities"]}
    epss, day = {}, None
    for line in opened(glob.glob(data + "/epss.csv*")[0]):
        if line.startswith("#"):
            day = line.split("score_date:")[1][:10]
        elif line.startswith("CVE-"):
            cve, score = line.split(",")[:2]
            epss[cve] = float(score)
    year, rows = int(day[:4]), []
    for row in csv.DictReader(opened(glob.glob(data + "/cvss-bt.csv*")[0])):
        cve = row["cve"]
        # What is in the catalogue already is not to be predicted; what has no score on the day is not fitted.
        if row["cisa_kev"] == "True" or cve not in epss:
            continue
        flag = lambda name: int(row[name] == "True")
        quiet, total = interaction_and_impact(row["base_vector"])
        features = (flag("vulncheck_kev"), flag("metasploit"), flag("nuclei"), flag("exploitdb"), flag("poc_github"), int(quiet), int(total),
                    int(year - int(cve[4:8]) <= YOUNG_YEARS), sum(epss[cve] >= step for step in EPSS_STEPS))
        tier = 3 if features[0] else 2 if features[1] or features[2] else 1
        product = epss[cve] * float(row["base_score"] or 0)
        when = added.get(cve, "")
        rows.append((features, (tier, product), product, when if when > day else ""))
    return day, rows


def solve(a, b):
    n = len(b)
    for i in range(n):
        pivot = max(range(i, n), key=lambda r: abs(a[r][i]))
        a[i], a[pivot], b[i], b[pivot] = a[pivot], a[i], b[pivot], b[i]
        for r in range(i + 1, n):
            factor = a[r][i] / a[i][i]
            for c in range(i, n):
                a[r][c] -= factor * a[i][c]
            b[r] -= factor * b[i]
    for i in reversed(range(n)):
        b[i] = (b[i] - sum(a[i][c] * b[c] for c in range(i + 1, n))) / a[i][i]
    return b


def logistic(table):
    """Weights for {features: [count, hits]}, intercept first; the steps of EPSS share one weight."""
    k = len(NAMES) + 1
    w = [-8.0] + [0.0] * (k - 1)
    for _ in range(100):
        gradient = [0.0] + [-RIDGE * x for x in w[1:]]
        hessian = [[RIDGE if i == j and i else 0.0 for j in range(k)] for i in range(k)]
        for features, (count, hits) in table.items():
            x = (1,) + features
            p = 1 / (1 + math.exp(-sum(a * b for a, b in zip(w, x))))
            q = count * p * (1 - p)
            for i in range(k):
                if x[i]:
                    gradient[i] += (hits - count * p) * x[i]
                    for j in range(k):
                        hessian[i][j] += q * x[i] * x[j]
        step = solve(hessian, gradient)
        # The whole step is shortened, not its parts: far from the optimum Newton's method overshoots.
        length = min(1, 0.5 / max(map(abs, step), default=1))
        w = [a + length * b for a, b in zip(w, step)]
        if max(map(abs, step)) < 1e-7:
            break
    return w


def fit(rows, hit):
    table = collections.defaultdict(lambda: [0, 0])
    for row in rows:
        cell = table[row[0]]
        cell[0] += 1
        cell[1] += hit(row)
    w = logistic(table)
    # A point that lowers the chance would punish knowledge: none goes below 0.
    return w[0], tuple(max(0, round(x / UNIT)) for x in w[1:])


def points(weights, features):
    return sum(a * b for a, b in zip(weights, features))


def coverage(keyed, total):
    """Share of the hits within the first shares of the order; `keyed` is [(key, hit)]."""
    order = [hit for _, hit in sorted(keyed, key=lambda item: item[0], reverse=True)]
    return [100 * sum(order[: int(len(order) * effort)]) / total for effort in EFFORTS]


def show(title, values):
    print(f"{title:<46}" + "".join(f"{value:7.1f}" for value in values))


def main(data, catalogue):
    day, rows = read(data, catalogue)
    hit = lambda row: row[3] != ""
    total = sum(map(hit, rows))
    print(f"{len(rows)} vulnerabilities on {day}, {total} of them exploited later")
    print(f"{'coverage in % at effort':<46}" + "".join(f"{100 * effort:6.0f}%" for effort in EFFORTS))
    intercept, weights = fit(rows, hit)
    show("tiered rule", coverage([(row[1], hit(row)) for row in rows], total))
    show("fit on all", coverage([((points(weights, row[0]), row[2]), hit(row)) for row in rows], total))
    sums = [0.0] * len(EFFORTS)
    seeds = (1, 2, 3)
    for seed in seeds:
        draw = random.Random(seed)
        fold = [draw.randrange(5) for _ in rows]
        keyed = []
        for part in range(5):
            _, w = fit([row for row, f in zip(rows, fold) if f != part], hit)
            keyed += [((points(w, row[0]), row[2]), hit(row)) for row, f in zip(rows, fold) if f == part]
        sums = [a + b for a, b in zip(sums, coverage(keyed, total))]
    show("5 folds over vulnerabilities, out of fold", [value / len(seeds) for value in sums])
    early, late = (lambda row: "" < row[3] <= SPLIT), (lambda row: row[3] > SPLIT)
    for title, train, test in ((f"weights until {SPLIT}, judged after it", early, late), ("weights after it, judged until it", late, early)):
        _, w = fit(rows, train)
        judged = [row for row in rows if not train(row)]
        count = sum(map(test, judged))
        show(f"{title} ({count})", coverage([((points(w, row[0]), row[2]), test(row)) for row in judged], count))
        show("  tiered rule there", coverage([(row[1], test(row)) for row in judged], count))
    # The chance is that of one year: the same slopes, an intercept that gives that year's number.
    ahead = (datetime.date.fromisoformat(day) + datetime.timedelta(days=365)).isoformat()
    year = sum("" < row[3] <= ahead for row in rows)
    scores = collections.Counter(points(weights, row[0]) for row in rows)
    low, high = -30.0, 0.0
    for _ in range(80):
        middle = (low + high) / 2
        expected = sum(count / (1 + math.exp(-(middle + UNIT * score))) for score, count in scores.items())
        low, high = (middle, high) if expected < year else (low, middle)
    print(f"intercept {low:.3f} for {year} within 12 months, {intercept:.3f} for {total} in all; log-odds of a point {UNIT:.4f}")
    for name, value in zip(NAMES, weights):
        print(f"{name} = {value}")
    most = sum(weights[:-1]) + weights[-1] * len(EPSS_STEPS)
    print("chance-millionths =", [round(1e6 / (1 + math.exp(-(low + UNIT * score)))) for score in range(most + 1)])


if __name__ == "__main__":
    main(*sys.argv[1:3])
