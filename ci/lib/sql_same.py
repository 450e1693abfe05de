#!/usr/bin/python3
"""Proves that a change of layout changed nothing else: compares what the parser
makes of every SQL statement of sql/ in two revisions, without its positions.

    ci/lib/sql_same.py REV [REV2]       REV2: the working tree if left out

Bodies in SQL are compared by their parse trees; those in PL/pgSQL by their
syntax trees, those of the queries and expressions in them, and by the scanner's
tokens, as the trees leave out a few words.  Comments are not compared, and a
statement may have moved to another place or file.  Prints each statement that
differs or is in one of them only, and fails; says what it has compared else."""
import collections
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from pglast import ast                      # noqa: E402
from pglast.parser import scan              # noqa: E402

import sql_text                             # noqa: E402

POSITIONS = {"location", "stmt_location", "stmt_len", "lineno", "rexpr_list_start", "rexpr_list_end"}


def git(*args):
    return subprocess.run(("git", *args), check=True, capture_output=True, text=True).stdout


def sources(revision):
    """(path, text) of every file of sql/ in a revision; None: the working tree."""
    if revision is None:
        names = git("ls-files", "--cached", "--others", "--exclude-standard", "sql").split()
        return [(n, open(n, encoding="utf-8").read()) for n in names if n.endswith(".sql") and os.path.exists(n)]
    names = git("ls-tree", "-r", "--name-only", revision, "sql").split()
    return [(n, git("show", f"{revision}:{n}")) for n in names if n.endswith(".sql")]


def bare(node):
    """A tree of parse_sql() or parse_plpgsql(), without its positions; queries in it as trees."""
    if isinstance(node, (tuple, list)):
        return [bare(n) for n in node]
    if isinstance(node, ast.Node):
        return bare(node(skip_none=True))
    if isinstance(node, dict):
        return {k: query(v) if k == "query" and isinstance(v, str) else bare(v) for k, v in node.items() if k not in POSITIONS}
    return node if isinstance(node, (str, int, bool, float, type(None))) else repr(node)


def query(text):
    """What is no query, expression or assignment, such as a type, as its tokens."""
    return bare(sql_text.parsed(text)) or tokens(text)


def tokens(text):
    """Of a body, without comments; a literal that is written in several pieces is one."""
    text = text.encode("ascii", "replace").decode()
    found = []
    for token in scan(text):
        word = text[token.start:token.end + 1]
        if token.name in ("SQL_COMMENT", "C_COMMENT"):
            continue
        if token.name == "SCONST":
            word = joined(word)
        found.append(word if token.name in ("SCONST", "IDENT") else word.lower())
    return found


def joined(literal):
    if literal[0] == "$":
        return literal
    return literal[:literal.index("'")] + "'" + "".join(literal[b + 1:e - 1] for b, e in sql_text.pieces(literal)) + "'"


def statement(node, text):
    """(a name for people, all that it says)"""
    language = sql_text.language(node)
    tree = bare(node)
    if language in ("sql", "plpgsql"):
        body = sql_text.body(node)
        for option in tree.get("options", tree.get("args")):
            if option["defname"] == "as":
                option["arg"] = None
        tree["body"] = bare(sql_text.parse_body(node, text)) + [tokens(body)] if language == "plpgsql" else query(body)
    first = text.split("\n")[0]
    return first[:100], json.dumps(tree, sort_keys=True)


def all_of(revision):
    found = [statement(node, text) for _, source in sources(revision) for node, text, _ in sql_text.statements(source)]
    bodies = sum('"body"' in said for _, said in found)
    if len(found) < 700 or bodies < 100:
        sys.exit(f"{revision or 'working tree'}: {len(found)} statements, {bodies} bodies: too few to be all")
    return collections.Counter(said for _, said in found), {said: name for name, said in found}, bodies


if len(sys.argv) not in (2, 3):
    sys.exit(__doc__)
before, names_before, _ = all_of(sys.argv[1])
after, names_after, bodies = all_of(sys.argv[2] if len(sys.argv) == 3 else None)
for said in before - after:
    print("before only:", names_before[said])
for said in after - before:
    print("after only: ", names_after[said])
if before != after:
    sys.exit(1)
print(f"{sum(after.values())} statements are the same, {bodies} of them with bodies")
