"""
Random operations on the ledger, each against a server and against a model in
memory (ledger_model.py).  Everything that both say is compared: ids of
repetitions, SQLSTATEs, the field that a repetition differs in, amounts, and
after each operation the sums and holds of the accounts that it names.  After
each block of operations: payments.check() on a snapshot of that moment, every
account, the trial balance, every row written since, statements, and balances
as of earlier moments.

	run.py --root FOLDER [--ops N] [--seed N] [--block N] [--sabotage RULE] [--self-test]

A failure prints the seed, the operation and those before it; the same seed
does the same operations again.  --sabotage breaks one rule of the model, and
--self-test sees to it that each of them is noticed.

Runs its own server in FOLDER, on a unix socket and without fsync: a crash
would spoil the data and not the comparison, and what survives a crash is
proved elsewhere (test/t/durability_and_copies.pl).  One session works, another one checks.
"""
import argparse
import collections
import datetime
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback

import psycopg2

from ledger_model import SABOTAGES, Model, Moment, Refused
from operations import POOLS, QUIET, TIMES, WINDOW, Mismatch, Operations

SETUP = """
CREATE EXTENSION payments;
SELECT payments.setup();
SELECT payments.create_merchant('m1');
SELECT payments.create_merchant('m2');
CREATE SCHEMA model;
-- "id debits credits held_debits held_credits, ...".  The first argument is there so that they are called when the verb has
-- returned; volatile, so that they see what it did.
CREATE FUNCTION model.touched(done anyelement, ids bigint[]) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	RETURN (SELECT string_agg(concat_ws(' ', a.account_id, a.debits, a.credits, a.held_debits, a.held_credits), ',' ORDER BY a.account_id)
		FROM payments.account a WHERE a.account_id = ANY (ids));
END $$;
CREATE FUNCTION model.touched_hot(done anyelement, ids bigint[]) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	RETURN (SELECT string_agg(concat_ws(' ', a.account_id, a.debits + coalesce(d.debits, 0), a.credits + coalesce(d.credits, 0),
			a.held_debits, a.held_credits), ',' ORDER BY a.account_id)
		FROM payments.account a
		LEFT JOIN (SELECT t.account_id, sum(t.debits) AS debits, sum(t.credits) AS credits FROM payments._account_tail t
				   WHERE t.account_id = ANY (ids) GROUP BY t.account_id) d ON d.account_id = a.account_id
		WHERE a.account_id = ANY (ids));
END $$;
"""

# Outcomes that a run of LONG operations must have had; otherwise it has proved less than it seems.
LONG = 500000
WANTED = {
    'create': '00000 22023 PY009 PY015', 'close': '00000 25001 PY202 PY204', 'fold': '00000', 'release': '00000',
    'post': '00000 22023 PY009 PY201 PY202 PY203 PY204 PY205 PY206', 'batch': '00000 22023 PY201 PY202 PY203 PY204 PY205 PY206',
    'element': '00000 22023 PY009 PY201 PY202 PY203 PY204 PY205 PY206 PY215', 'hold': '00000 22023 PY009 PY201 PY202 PY203 PY204 PY205 PY206',
    'post_hold': '00000 22023 PY009 PY206 PY208 PY209 PY210 PY214', 'void_hold': '00000 22023 PY009 PY208 PY209 PY210',
    'set_hot': '00000 22023 25001 PY204', 'transaction': '00000 22023 PY009 PY201 PY202 PY203 PY204 PY205 PY206',
    'reverse_transaction': '00000 22023 PY009 PY203 PY204 PY205 PY206 PY211 PY212 PY213',
    'reverse': '00000 22023 PY009 PY203 PY204 PY205 PY206 PY211 PY212 PY213', 'in a failed transaction': '25P02'}


class Run(Operations):
    def __init__(self, connect, seed, sabotage=None):
        super().__init__()
        self.random = random.Random(seed)
        self.dice = random.Random(seed)     # for what is compared, so that --block changes no operation
        self.model = Model(sabotage)
        self.session, self.checker = connect(), connect()
        self.session.autocommit = self.checker.autocommit = True
        self.cursor = self.session.cursor()
        self.done = self.passed = 0
        self.late = []
        self.counts = collections.Counter()
        self.each = 0.001               # seconds that an operation takes, lately
        self.last = collections.deque(maxlen=15)
        self.last_made = self.last_failure = 0
        self.savepoints = []
        self.failed = False
        self.remembered = []            # (time, {account: (balance, lines)})
        self.checking = None

    # ---------- doing ----------

    def sql(self, text, *args):
        self.cursor.execute(text, args)
        return self.cursor.fetchall() if self.cursor.description else None

    def do(self, op):
        """Does it at the server, asks the model, compares."""
        self.done += 1
        touched = 'touched_hot' if any(a and a.hot for a in map(self.model.accounts.get, op.ids)) else 'touched'
        op.sql = f"SELECT s.*, model.{touched}(s.a, '{{{','.join(map(str, op.ids))}}}') FROM ({op.call} OFFSET 0) s"
        before = time.time()
        try:
            self.cursor.execute(op.sql, op.args)
            answer = self.cursor.fetchone()
            code, detail = '00000', ''
        except psycopg2.Error as e:
            answer, code, detail = None, e.pgcode, f'{e.diag.message_primary}. {e.diag.message_detail or ""}'
        after = time.time()
        self.each += (after - before - self.each) / 50
        self.last.append((self.done, op, code, answer, detail))
        if self.failed:
            self.counts['in a failed transaction', code] += 1
            if code != '25P02':
                raise Mismatch(f'in a failed transaction: {code} {detail}')
            return
        mark = self.model.mark()
        try:
            self.compare(op, answer, code, detail)
        except Mismatch:
            # On a machine that is too slow the moment may have passed while the server was at it.
            if not self.moment or after < self.moment.at:
                raise
            self.late.append(self.done)
            self.model.undo_to(mark)
            self.moment.passed = True
            self.compare(op, answer, code, detail)
        self.counts[op.verb, code] += 1
        if self.level is None:
            self.model.forget_undo()
        elif answer is None:
            self.recover()

    def compare(self, op, answer, code, detail):
        mark = self.model.mark()
        try:
            expected, refused = op.predict(), None
        except Refused as r:
            self.model.undo_to(mark)
            expected, refused = None, r
        if (refused.code if refused else '00000') != code:
            raise Mismatch(f'the model says {refused.code if refused else expected}, the server {code} {detail}')
        if refused:
            if refused.field and f'differ in "{refused.field}"' not in detail:
                raise Mismatch(f'the model says that {refused.field} differs, the server: {detail}')
            return
        op.accept(answer, expected)
        sums = ','.join(f'{a.id} {a.sums()[0]} {a.sums()[1]} {a.held_debits} {a.held_credits}'
                        for a in map(self.model.accounts.get, op.ids) if a)
        if sums != (answer[-1] or ''):
            raise Mismatch(f'accounts as "id debits credits held_debits held_credits": the model has {sums}, the server {answer[-1]}')

    # ---------- transactions ----------

    def begin(self):
        self.level = self.random.choice(['READ COMMITTED', 'READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE'])
        self.sql(f'BEGIN ISOLATION LEVEL {self.level}')
        self.savepoints, self.failed = [], False
        self.last.append((self.done, f'BEGIN ISOLATION LEVEL {self.level}', '', '', ''))

    def savepoint(self):
        self.savepoints.append(self.model.mark())
        self.sql(f'SAVEPOINT s{len(self.savepoints)}')
        self.last.append((self.done, f'SAVEPOINT s{len(self.savepoints)}', '', '', ''))

    def rollback_to(self):
        n = self.random.randrange(len(self.savepoints)) + 1
        self.sql(f'ROLLBACK TO s{n}')
        self.last.append((self.done, f'ROLLBACK TO s{n}', '', '', ''))
        self.model.undo_to(self.savepoints[n - 1])
        self.forget_accounts()
        del self.savepoints[n:]
        self.failed = False

    def forget_accounts(self):
        """Those that have not been opened after all."""
        for pool in self.pools.values():
            pool[:] = [a for a in pool if a.id in self.model.accounts]

    def recover(self):
        """A statement has failed inside a transaction."""
        self.failed = True
        self.left = min(self.left, 2)
        if self.savepoints and self.random.random() < 0.8:
            self.rollback_to()

    def end(self):
        word = 'COMMIT' if self.random.random() < 0.6 else 'ROLLBACK'
        self.sql(word)
        self.last.append((self.done, word, '', '', ''))
        if word == 'ROLLBACK' or self.failed:
            self.model.undo_to(0)
            self.forget_accounts()
        self.model.forget_undo()
        self.level, self.failed = None, False

    # ---------- time ----------

    def pass_time(self):
        """
        Every now and then a time a little ahead is chosen at which holds expire.  The next operations use it, and are done
        long before; many after them leave such holds alone, so that how fast the machine is changes nothing; then it is waited
        for.
        """
        if self.moment is None:
            if self.chance(0.02 if self.model.sabotage == 'expiry' else 0.002):
                at = time.time() + min(max(0.4, 8 * WINDOW * self.each), 20)
                self.moment = Moment(datetime.datetime.fromtimestamp(at, datetime.timezone.utc).isoformat())
                self.moment.at, self.window = at, WINDOW + QUIET
            return
        self.window -= 1
        if self.window <= 0:
            time.sleep(max(0, self.moment.at + 0.001 - time.time()))
            self.moment.passed = True
            self.moment = None

    def too_close(self, op):
        return self.moment is not None and self.window <= QUIET and self.moment in op.moments

    # ---------- going on ----------

    def step(self):
        if self.level is None:
            if self.chance(0.03):
                self.begin()
                self.left = self.random.randint(1, 10)
        elif self.left <= 0:
            self.end()
            return
        elif not self.failed and self.chance(0.25):
            self.savepoint()
        elif not self.failed and self.savepoints and self.chance(0.1):
            self.rollback_to()
        if self.level is not None:
            self.left -= 1
        self.pass_time()
        if not self.failed and any(len(self.pools[c]) < len(POOLS[c]) for c in POOLS):
            self.do(self.create())
            return
        verbs = ('post', 'batch', 'transaction', 'hold', 'post_hold', 'void_hold', 'reverse', 'reverse_transaction', 'repeat', 'create', 'close',
                 'set_hot', 'fold', 'release')
        weights = (30, 8, 5, 25 if self.moment and self.window > QUIET else 14, 20, 5, 5, 3, 12, 0.4, 1.2, 0.5, 1.5, 0.7)
        op = getattr(self, self.random.choices(verbs, weights)[0])()
        while self.too_close(op):
            op = self.post()
        self.do(op)

    def go(self, operations, block):
        self.started = time.time()
        while self.done < operations:
            until = min(self.done + block, operations)
            while self.done < until or self.level is not None:
                self.step()
            self.block()
        self.join_check()

    # ---------- after each block ----------

    def block(self):
        """Takes a snapshot of now, and compares all there is; check() goes on beside the next block."""
        self.join_check()
        cursor = self.checker.cursor()
        cursor.execute('BEGIN ISOLATION LEVEL REPEATABLE READ')
        cursor.execute('SELECT count(*) FROM payments.account')
        self.checking = threading.Thread(target=self.check, args=(cursor, self.done))
        self.checked = None
        self.checking.start()
        self.compare_accounts()
        self.compare_rows()
        self.compare_reports()
        self.model.made.clear()
        self.model.refused.clear()
        self.model.resolved.clear()
        now = self.sql('SELECT clock_timestamp()::text')[0][0]
        times = (now, {a: (a.balance(), len(a.lines)) for a in self.model.accounts.values()})
        if len(self.remembered) < 30:
            self.remembered.append(times)
        else:
            self.remembered[self.dice.randrange(29)] = self.remembered[29]
            self.remembered[29] = times
        self.tell(f'operation {self.done}: accounts, rows written, statements and balances of the past are those of the model')

    def check(self, cursor, at):
        try:
            cursor.execute('SELECT invariant, violations, sample FROM payments.check() WHERE NOT ok')
            bad = cursor.fetchall()
            cursor.execute('COMMIT')
            self.checked = (at, bad)
        except Exception as e:              # told by join_check()
            self.checked = (at, [str(e)])

    def join_check(self):
        if self.checking:
            self.checking.join()
            self.checking = None
            at, bad = self.checked
            if bad:
                raise Mismatch(f'check() as of operation {at}: {bad}')
            self.tell(f'operation {at}: check() is clean')

    def same(self, what, mine, theirs):
        if mine != theirs:
            wrong = [pair for pair in zip(mine, theirs) if pair[0] != pair[1]][:5]
            raise Mismatch(f'{what}: the model has {len(mine)}, the server {len(theirs)};'
                           f' model and server differ in {wrong or (mine[-1:], theirs[-1:])}')

    def compare_accounts(self):
        accounts = sorted(self.model.accounts.values(), key=lambda a: a.id)
        self.same('accounts', [(a.id, a.merchant, a.code, a.currency, a.type, a.hot, a.low, a.high, a.history, a.parts, a.closed,
                                a.debits, a.credits, a.tail_rows, *a.sums(), a.held_debits, a.held_credits, a.balance()) for a in accounts],
                  self.sql('SELECT a.account_id, a.merchant, a.code, a.currency, a.type, a.hot, a.min_balance, a.max_balance, a.history, a.parts,'
                           ' a.closed_at IS NOT NULL, a.debits, a.credits,'
                           ' (SELECT count(*) FROM payments.account_delta d WHERE d.account_id = a.account_id), b.*'
                           ' FROM payments.account a, payments.balance(a.account_id) b ORDER BY a.account_id'))
        lines = [(a.currency, False, a.merchant, a.code, *a.sums(), a.balance(), a.id) for a in accounts]
        for currency in {a.currency for a in accounts}:
            debits, credits = (sum(a.sums()[i] for a in accounts if a.currency == currency) for i in (0, 1))
            lines.append((currency, True, '', 'TOTAL', debits, credits, 0, None))
        self.same('trial balance', sorted(lines, key=lambda line: line[:4]),
                  [(*row[:4], *map(int, row[4:7]), row[7]) for row in self.sql(
                      "SELECT currency, code = 'TOTAL' AND merchant IS NULL, coalesce(merchant, ''), code, debits, credits, balance, account_id"
                      ' FROM payments.trial_balance ORDER BY currency, 2, merchant COLLATE "C", code COLLATE "C"')])

    def compare_rows(self):
        """What has been written in this block."""
        first = {}
        for p in self.model.made:
            if p.group is not None:
                first.setdefault(p.group, p.id)
        made = [(p.id, p.debit.id, p.credit.id, p.amount, p.asked if p.balancing else None, p.kind, p.reference, p.description, p.imported,
                 p.effective_at is None, p.reverses and p.reverses.id, first.get(p.group), p.debit.merchant, p.debit.currency)
                for p in self.model.made]
        self.same('postings', made, self.sql(
            'SELECT posting_id, debit_account, credit_account, amount, asked, kind, reference, description, imported, effective_at = booked_at,'
            ' reverses, transaction_id, merchant, currency FROM payments.posting WHERE posting_id > %s ORDER BY posting_id', self.last_made))
        times = {t for t in TIMES if t != 'infinity'}
        self.same('times of postings', [(p.id, p.effective_at) for p in self.model.made if p.effective_at], self.sql(
            'SELECT p.posting_id, t.t FROM payments.posting p JOIN unnest(%s) t(t) ON t.t::timestamptz = p.effective_at'
            ' WHERE p.posting_id > %s ORDER BY 1', list(times), self.last_made))
        self.last_made = made[-1][0] if made else self.last_made
        self.same('refusals', [(p.debit.merchant, p.reference, p.debit.id, p.credit.id, p.asked, p.balancing, p.kind, p.imported, p.description,
                                p.error)
                               for p in self.model.refused],
                  [row[1:] for row in self.failures()])
        self.same('resolutions', sorted((h.id, seq, kind, p and p.id, asked, final, posted, released, left)
                                        for h, seq, kind, p, asked, final, posted, released, left in self.model.resolved),
                  self.sql('SELECT hold_id, seq, kind, posting_id, asked, final, posted, released, remaining FROM payments.ledger_hold_resolution'
                           ' WHERE resolved_at > %s::timestamptz ORDER BY hold_id, seq', self.remembered[-1][0] if self.remembered else '-infinity'))

    def failures(self):
        rows = self.sql('SELECT posting_id, merchant, reference, debit_account, credit_account, asked, balancing, kind, imported, description, error'
                        ' FROM payments.posting_failure WHERE posting_id > %s ORDER BY posting_id', self.last_failure)
        if rows:
            self.last_failure = rows[-1][0]
        return rows

    def compare_reports(self):
        """Statements between two moments remembered, and balances as they were then."""
        accounts = sorted(self.model.accounts.values(), key=lambda a: a.id)
        for _ in range(4 if self.remembered else 0):
            i = self.dice.randrange(len(self.remembered))
            time_then, then = self.remembered[i]
            account = self.dice.choice(accounts)
            balance, lines = then.get(account, (0, 0))
            self.same(f'balance of account {account.id} at {time_then}', [(balance,)],
                      self.sql('SELECT payments.balance_at(%s, %s::timestamptz)', account.id, time_then))
            later = min([t for t in self.remembered if t[0] > time_then], default=(None, {}))
            until = later[1].get(account, (0, 0))[1] if later[0] else len(account.lines)
            expected = [(None, 'opening balance', None, None, None, None, balance)]
            for p in account.lines[lines:until]:
                debit = p.debit is account
                other = p.credit if debit else p.debit
                balance += p.amount if debit == (account.type in ('asset', 'expense')) else - p.amount
                expected.append((p.id, p.kind, other.code if other.merchant == account.merchant else f'{other.merchant}/{other.code}',
                                 p.description, p.amount if debit else None, None if debit else p.amount, balance))
            expected.append((None, 'closing balance', None, None, None, None, balance))
            self.same(f'statement of account {account.id} from {time_then} to {later[0]}', expected,
                      self.sql('SELECT posting_id, kind, counterpart, description, debit, credit, balance'
                               ' FROM payments.statement(%s, %s::timestamptz, %s::timestamptz)', account.id, time_then, later[0]))

    # ---------- telling ----------

    def tell(self, what):
        self.passed += 1
        if not self.model.sabotage:
            print(f'ok - {what} ({self.done / (time.time() - self.started):.0f}/s)', flush=True)

    def history(self):
        lines = []
        for n, op, code, answer, detail in self.last:
            if isinstance(op, str):
                lines.append(f'  {op};')
            else:
                lines.append(f'  {n}: {self.cursor.mogrify(op.sql, op.args).decode()}\n     -> {code} {detail or answer}')
        return '\n'.join(lines)

    def missing(self):
        return [f'{verb} {code}' for verb, codes in WANTED.items() for code in codes.split() if not self.counts[verb, code]]

    def close_sessions(self):
        if self.checking:
            self.checker.cancel()
            self.checking.join()
        self.session.close()
        self.checker.close()


class Server:
    def __init__(self, root):
        self.root, self.data = root, os.path.join(root, 'data')

    def run(self, *command):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            raise SystemExit(f'{command[0]}: {done.stdout}')

    def start(self):
        os.makedirs(self.root, mode=0o700)
        self.run('initdb', '-A', 'trust', '-N', '-E', 'UTF8', '--locale=C', '-U', 'postgres', '-D', self.data)
        with open(os.path.join(self.data, 'postgresql.conf'), 'a') as f:
            f.write(f"""
listen_addresses = ''
unix_socket_directories = '{self.root}'
fsync = off
synchronous_commit = off
full_page_writes = off
shared_buffers = 256MB
work_mem = 256MB
max_wal_size = 4GB
log_min_messages = panic
log_min_error_statement = panic
""")
        self.run('pg_ctl', '-D', self.data, '-l', os.path.join(self.root, 'log'), '-w', 'start')
        self.execute('postgres', 'CREATE DATABASE model')
        self.execute('model', SETUP)

    def execute(self, dbname, text):
        session = self.connect(dbname)
        session.autocommit = True
        session.cursor().execute(text)
        session.close()

    def connect(self, dbname):
        return psycopg2.connect(host=self.root, user='postgres', dbname=dbname)

    def fresh(self, dbname):
        """A database in which nothing has happened, so that a seed does the same again."""
        self.execute('postgres', f'CREATE DATABASE "{dbname}" TEMPLATE model')
        return lambda: self.connect(dbname)

    def stop(self):
        subprocess.run(['pg_ctl', '-D', self.data, '-m', 'immediate', '-w', 'stop'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        shutil.rmtree(self.root, ignore_errors=True)


def compare(server, args, dbname, sabotage=None, operations=None):
    """Runs; returns the run and what was wrong, None if nothing was."""
    run = Run(server.fresh(dbname), args.seed, sabotage)
    try:
        run.go(operations or args.ops, args.block)
        return run, None
    except Mismatch as e:
        return run, str(e)
    except Exception:
        return run, traceback.format_exc()


def self_test(server, args):
    """Each broken rule must be noticed, or the comparison is worth nothing."""
    unnoticed = 0
    for sabotage in SABOTAGES:
        run, wrong = compare(server, args, f'sabotage_{sabotage}', sabotage, 20000)
        run.close_sessions()
        unnoticed += wrong is None
        print(f'{"ok" if wrong else "not ok"} - broken rule "{sabotage}" ' + 
              (f'noticed at operation {run.done}: {wrong[:100]}' if wrong else 'not noticed'), flush=True)
    return unnoticed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--root', required=True)
    parser.add_argument('--ops', type=int, default=1000000)
    parser.add_argument('--block', type=int, default=10000)
    parser.add_argument('--seed', type=int, default=None)
    parser.add_argument('--sabotage', choices=SABOTAGES)
    parser.add_argument('--self-test', action='store_true')
    args = parser.parse_args()
    if args.seed is None:
        args.seed = random.SystemRandom().randrange(10 ** 6)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    server = Server(os.path.abspath(args.root))
    failed = 0
    try:
        server.start()
        print(f'seed {args.seed}, {args.ops} operations', flush=True)
        started = time.time()
        run, wrong = compare(server, args, 'run', args.sabotage)
        took = time.time() - started
        if wrong:
            failed += 1
            print(f'The last operations:\n{run.history()}\nnot ok - seed {args.seed}, operation {run.done}: {wrong}')
        print(f'{run.done} operations, {run.elements} of them in batches, in {took:.0f} s: {run.done / took:.0f}/s')
        run.close_sessions()
        if run.late:
            print(f'the machine was too slow at operation {run.late[0]}: from there on another run of this seed may differ')
        for verb, code in sorted(run.counts):
            print(f'    {verb:<24} {code} {run.counts[verb, code]:>9}')
        missing = run.missing()
        if missing and not wrong and args.ops >= LONG:
            failed += 1
            print(f'not ok - never happened: {", ".join(missing)}')
        elif args.ops >= LONG:
            print('ok - each outcome that can be was there')
        if args.self_test:
            failed += self_test(server, args)
    finally:
        server.stop()
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
