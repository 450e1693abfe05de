"""Reads lcov's tracefile: a table of files, and a verdict on those where money is decided.

A line of these that no test runs must be named in the file of exemptions:

	src/payment/apply.c | function | text of the line | why no test runs it

A text that is not in the function any more is a complaint too.  A line of a block
is enough: the lines that follow without a gap in what is run are covered by it.
"""
import argparse
import fnmatch
import re
import sys

MONEY = ["src/payment/*.c", "src/ledger/*.c", "src/seal/*.c", "src/http/*.c", "src/worker/*.c", "src/inbound/*.c"]


def read_trace(path, source):
    """file -> {"lines": {number: hits}, "branches": [taken], "functions": {name: hits}}"""
    files, now = {}, None
    for line in open(path, encoding="utf-8"):
        tag, _, rest = line.strip().partition(":")
        if tag == "SF":
            name = rest[len(source):].lstrip("/") if rest.startswith(source) else rest
            now = files.setdefault(name, {"lines": {}, "branches": [], "functions": {}})
        elif tag == "DA":
            number, hits = rest.split(",")[:2]
            now["lines"][int(number)] = now["lines"].get(int(number), 0) + int(hits)
        elif tag == "BRDA":
            now["branches"].append(rest.rsplit(",", 1)[1] not in ("-", "0"))
        elif tag == "FNDA":
            hits, name = rest.split(",", 1)
            now["functions"][name] = now["functions"].get(name, 0) + int(hits)
    return files


def read_exemptions(path):
    """file -> {(function, text): reason}"""
    found = {}
    for number, line in enumerate(open(path, encoding="utf-8"), 1):
        if not line.strip() or line.startswith("#"):
            continue
        parts = [p.strip() for p in line.split(" | ")]
        if len(parts) != 4 or not parts[3]:
            sys.exit(f"{path}:{number}: not of the form FILE | FUNCTION | TEXT | WHY")
        found.setdefault(parts[0], {})[parts[1], parts[2]] = parts[3]
    return found


def blocks(lines):
    """Runs of lines that are not run, as lists of numbers: broken by a line that is."""
    block = []
    for number in sorted(lines):
        if lines[number] == 0:
            block.append(number)
        elif block:
            yield block
            block = []
    if block:
        yield block


def share(part, whole):
    return f"{100 * part / whole:5.1f} %" if whole else "      -"


def places(path):
    """(function, text) of each line; functions begin at the margin, as C files here are laid out."""
    function, found = "", []
    for line in open(path, encoding="utf-8"):
        begins = re.match(r"(\w+)\(", line)
        function = begins[1] if begins else function
        found.append((function, line.strip()))
    return found


def judge(name, found, exempt, source):
    """Prints what is wrong with one file; True if nothing is."""
    text = places(f"{source}/{name}")
    good = True
    for block in blocks(found["lines"]):
        if not any(text[n - 1] in exempt for n in block):
            good = False
            print(f"{name}:{block[0]}: not run by any test, nor named as such: {text[block[0] - 1][1]}")
    for line in exempt:
        if line not in text:
            good = False
            print(f"{name}: {line[0]}() has no line \"{line[1]}\" that could be exempt")
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trace", required=True)
    parser.add_argument("--source", required=True)
    parser.add_argument("--exempt", required=True)
    args = parser.parse_args()
    files = read_trace(args.trace, args.source)
    exempt = read_exemptions(args.exempt)
    money = [n for n in sorted(files) if any(fnmatch.fnmatch(n, p) for p in MONEY)]

    print(f"\n{'file':40} {'lines':>8} {'branches':>9} {'functions':>10}")
    for name in sorted(n for n in files if n.startswith("src/")):
        f = files[name]
        print(f"{name:40} {share(sum(h > 0 for h in f['lines'].values()), len(f['lines'])):>8} "
              f"{share(sum(f['branches']), len(f['branches'])):>9} "
              f"{share(sum(h > 0 for h in f['functions'].values()), len(f['functions'])):>10}")
    print()
    for name in money:
        good = judge(name, files[name], exempt.get(name, {}), args.source)
        print(f"{'ok' if good else 'not ok'} - coverage of {name}")
    for name in sorted(set(exempt) - set(money)):
        print(f"not ok - {name} has exemptions, and is not judged")
    if not money:
        print("not ok - no file was judged")


if __name__ == "__main__":
    main()
