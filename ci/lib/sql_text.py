"""The SQL of the extension, statement by statement, for the guards that read it."""
import glob
import re
import sys

from pglast import ast, parse_plpgsql, parse_sql
from pglast.parser import ParseError, scan

LEAST = 55


def files():
    """Parts and upgrade scripts; a guard that sees nothing would pass for ever."""
    found = sorted(glob.glob("sql/*/*.sql") + glob.glob("sql/payments--*--*.sql"))
    if len(found) < LEAST:
        sys.exit(f"sql/: {len(found)} files, fewer than {LEAST}: is this the project's root?")
    return found


def words(nodes):
    return [getattr(n, "sval", None) or n.val.sval for n in nodes]


def statements(source):
    """(statement, its text, its line); psql's own lines are blanked.  Raises ParseError."""
    # Offsets may be in bytes or in characters; in ASCII they are the same.
    source = re.sub(r"(?m)^\\.*$", "", source.encode("ascii", "replace").decode())
    for statement in parse_sql(source):
        end = statement.stmt_location + (statement.stmt_len or len(source) - statement.stmt_location)
        text = source[statement.stmt_location:end]
        start = statement.stmt_location + len(re.match(r"(\s|--[^\n]*\n)*", text).group())
        yield statement.stmt, source[start:end], 1 + source[:start].count("\n")


def body_offset(text):
    """Where the body of a function or DO begins in its statement; None: it has none."""
    opening = re.search(r"\$\w*\$", text)
    return opening and opening.end()


def body_line(text, line):
    offset = body_offset(text)
    return line + text[:offset].count("\n") if offset else line


def option(node, name):
    """What a function or DO says of this option; None: nothing."""
    found = [o.arg for o in (node.options if isinstance(node, ast.CreateFunctionStmt) else node.args) if o.defname == name]
    return found[0] if found else None


# PL/pgSQL, too: sql/core/caller.sql.
VERBS = "payments"


def language(node):
    """Of what has a body; None of other statements."""
    if isinstance(node, ast.DoStmt):
        return "plpgsql"
    found = option(node, "language").sval if isinstance(node, ast.CreateFunctionStmt) else None
    return "plpgsql" if found == VERBS else found


def body(node):
    text = option(node, "as")
    return text.sval if isinstance(node, ast.DoStmt) else text[0].sval


def name(node):
    """A function's name without its schema."""
    return words(node.funcname)[-1] if isinstance(node, ast.CreateFunctionStmt) else ""


def parse_body(node, text):
    """What parse_plpgsql() makes of a function or DO."""
    # The parser does not know the function's own name as a qualifier.
    own = name(node)
    text = re.sub(rf"(?<![\w.]){own}\.(?=\w)", "", text) if own else text
    text = re.sub(rf"\bLANGUAGE {VERBS}\b", "LANGUAGE plpgsql", text)
    # Nor, from its version 6 on, a type that is neither in pg_catalog nor in public.
    return parse_plpgsql(re.sub(r"\bpayments\.", "public.", re.sub(r"\bpayments\.\w+\[\]", "text[]", text)))


def plpgsql_queries(node):
    """(line within the body, SQL text) of every expression that parse_plpgsql() lists."""
    stack = [(node, 1)]
    while stack:
        node, line = stack.pop()
        if isinstance(node, list):
            stack.extend((n, line) for n in node)
        elif isinstance(node, dict):
            line = node.get("lineno", line)
            for key, value in node.items():
                if key == "PLpgSQL_expr":
                    yield line, value["query"]
                elif isinstance(value, (dict, list)):
                    stack.append((value, line))


def plpgsql_statements(node, kind):
    """(line within the body, statement) of this kind, such as PLpgSQL_stmt_raise."""
    stack = [node]
    while stack:
        node = stack.pop()
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            if key == kind:
                yield value.get("lineno", 1), value
            if isinstance(value, (dict, list)):
                stack.append(value)


def tokens(text):
    """Of a body, without comments."""
    text = text.encode("ascii", "replace").decode()
    return [text[t.start:t.end + 1] for t in scan(text) if t.name not in ("SQL_COMMENT", "C_COMMENT")]


def pieces(literal):
    """(begin, end) of each piece of a literal: 'a' and 'b' below one another are 'ab'."""
    if literal[0] == "$":
        return [(0, len(literal))]
    inside = r"(?:[^'\\]|''|\\.)*" if literal[0] in "eE" else r"(?:[^']|'')*"
    return [m.span() for m in re.finditer(f"'{inside}'", literal, re.S)]


def parsed(query):
    """A query, an expression, or an assignment."""
    for text in (query, "SELECT " + query, "SELECT " + re.sub(r"\A[^:=]*:?=", "", query)):
        try:
            return parse_sql(text)
        except ParseError:
            continue
    return ()
