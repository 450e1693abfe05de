#!/usr/bin/env python3
"""Checks a proof of payments.seal_proof() against a head, without a database.

    seal_check.py HEAD < proof

HEAD: hash of the newest block in the proof, 64 hex digits, from a file or a
webhook that the database's owner cannot change.  Prints the row, and leaves
with 0, when the proof is right; says why not, and leaves with 1, when it is not.
"""
import datetime
import hashlib
import re
import sys


class Refused(Exception):
    pass


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def number(value, size=8):
    return value.to_bytes(size, "big")


def root_of(leaf, index, leaves, path):
    """RFC 9162, 2.1.3.2."""
    at, last, root = index, leaves - 1, leaf
    if not 0 <= index < leaves:
        raise Refused("no such leaf")
    for other in path:
        if last == 0:
            raise Refused("the path is too long")
        if at & 1 or at == last:
            root = sha256(b"\1", other, root)
            while at & 1 == 0 and at != 0:
                at, last = at >> 1, last >> 1
        else:
            root = sha256(b"\1", root, other)
        at, last = at >> 1, last >> 1
    if last != 0:
        raise Refused("the path is too short")
    return root


def moment(microseconds):
    """As text.  The server knows years that Python does not, and times that never come."""
    if microseconds in (-2**63, 2**63 - 1):
        return "infinity" if microseconds > 0 else "-infinity"
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
    # The calendar comes again after 400 years.
    cycles, rest = divmod(microseconds, 146097 * 86400 * 10**6)
    at = epoch + datetime.timedelta(microseconds=rest)
    year = at.year + 400 * cycles
    return f"{year if year > 0 else 1 - year:04}{at.isoformat(sep=' ')[4:]}{'' if year > 0 else ' BC'}"


def columns(row):
    """Name of the table, and its columns as the row has them."""
    def take(n):
        nonlocal row
        if len(row) < n:
            raise Refused("the row is malformed")
        part, row = row[:n], row[n:]
        return part
    if take(1) != b"\0":
        raise Refused("the row is malformed")
    table, values = take(int.from_bytes(take(4), "big")).decode(), {}
    while row:
        name = take(take(1)[0]).decode()
        kind = take(1)
        value = take(int.from_bytes(take(4), "big"))
        if kind in (b"t", b"j", b"o"):
            # In quotes, or a text could make lines that look like other columns.
            value = ascii(value.decode())
        elif kind in (b"i", b"x"):
            value = int.from_bytes(value, "big", signed=kind == b"i")
        elif kind == b"m":
            value = moment(int.from_bytes(value, "big", signed=True))
        elif kind == b"b":
            value = value == b"\1"
        else:
            value = value.hex()
        values[ascii(name)[1:-1]] = value
    return table, values


def check(proof, head):
    proof = proof.rstrip("\n") + "\n"
    lines = re.findall(r"^(\w+) (.*)$", proof, re.M)
    if "".join(f"{word} {rest}\n" for word, rest in lines) != proof or lines[0] != ("payments", "proof 1"):
        raise Refused("not a proof of form 1")
    row, path, blocks, leaf = None, [], [], None
    for word, rest in lines[1:]:
        part = rest.split(" ")
        if word == "row":
            row = bytes.fromhex(rest)
        elif word == "leaf":
            leaf = int(part[0]), int(part[2])
        elif word == "path":
            path.append(bytes.fromhex(rest))
        elif word == "block":
            blocks.append((int(part[0]), bytes.fromhex(part[1]), [int(p) for p in part[2:]], []))
        elif word == "table":
            blocks[-1][3].append((part[0], int(part[1]), bytes.fromhex(part[2])))
        else:
            raise Refused("an unknown line")
    table, values = columns(row)
    claim = (table, leaf[1], root_of(sha256(row), *leaf, path))
    # Of a partitioned table there is a tree for each month: posting/2026-11.
    if claim not in [(name.split("/")[0], rows, root) for name, rows, root in blocks[0][3]]:
        raise Refused("its block sealed something else")
    previous = None
    for block, before, numbers, tables in blocks:
        if previous is not None and (before != previous[1] or block != previous[0] + 1):
            raise Refused("the blocks are not a chain")
        if len(before) != 32 or [t[0] for t in tables] != sorted({t[0] for t in tables}):
            raise Refused("a block is malformed")
        message = [b"\2", before, number(block), *(number(n) for n in numbers)]
        for name, rows, root in tables:
            if len(root) != 32 or rows < 1:
                raise Refused("a block is malformed")
            message += [number(len(name.encode()), 4), name.encode(), number(rows), root]
        previous = block, sha256(*message)
    if previous[1].hex() != head:
        raise Refused("its last block does not have the hash of the head")
    return table, blocks[0][0], values


if __name__ == "__main__":
    try:
        table, block, values = check(sys.stdin.read(), sys.argv[1])
    except (Refused, ValueError, IndexError, TypeError, OverflowError, UnicodeDecodeError) as why:
        sys.exit(f"refused: {why}")
    print(f"sealed in block {block}, table {ascii(table)[1:-1]}:")
    for name, value in values.items():
        print(f"    {name} = {value}")
