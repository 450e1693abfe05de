"""Reconciliation's figures, in a database of their own; see bench.py for the server."""
import os
import statistics
import time

KINDS = ['missing_here', 'missing_at_psp', 'amount', 'currency', 'status', 'duplicate', 'fee', 'late']
PART = 50000

# Payments as they stand after the worker, without their histories, which
# reconciliation does not read.  One in a hundred of each kind differs.
PAYMENTS = """
SET session_replication_role = replica;
CREATE TABLE public.plan AS
SELECT i, gen_random_uuid() AS id, (100 + i % 9000)::bigint AS amount, 'obj_' || md5(i::text) AS object, 'pay_' || md5('p' || i) AS named,
	now() - interval '10 days' + i * (interval '5 days' / {n}) AS at, coalesce(('{{{kinds}}}'::text[])[i % 100], 'agrees') AS what
FROM generate_series(1, {n}) i;
INSERT INTO payments.payment (payment_id, merchant, kind, amount, currency, capture, psp, off_session, metadata, created_at, status, seq, status_hash,
	updated_at, authorized, captured, psp_payment_id)
SELECT id, 'default', 'purchase', amount, 'EUR', 'automatic', 'sandbox', false, '{{}}', at, 'succeeded', 3, '', at, amount, amount, named
FROM plan WHERE what <> 'missing_here';
INSERT INTO payments.movement (psp, object_id, kind, payment_id, amount, currency, source, recorded_at)
SELECT 'sandbox', v.object, v.kind, id, v.amount, 'EUR', 'answer', at
FROM plan CROSS JOIN LATERAL (VALUES (object, 'capture', amount), ('fee_' || object, 'fee', amount / 50)) v (object, kind, amount)
WHERE what NOT IN ('missing_here', 'status');
SET session_replication_role = origin;
"""

FILE = """
SELECT (payments.import_settlement('sandbox', 'csv', E'kind,entry_id,psp_object_id,psp_payment_id,gross,fee,currency,occurred_at,payout_ref\\n' ||
	string_agg(concat_ws(',', 'charge', x.entry, x.object, named, round(x.amount / 100.0, 2), round((plan.amount / 50 + (what = 'fee')::int) / 100.0, 2),
		CASE what WHEN 'currency' THEN 'USD' ELSE 'EUR' END, at + CASE what WHEN 'late' THEN interval '8 days' ELSE interval '3 s' END, 'po_' || i / 1000), E'\\n'))).lines
FROM plan CROSS JOIN LATERAL (SELECT plan.object, 'txn_' || i AS entry, plan.amount + 7 * (what = 'amount')::int AS amount
	UNION ALL SELECT plan.object || 'b', 'txn_' || i || 'b', plan.amount WHERE what = 'duplicate') x
WHERE what <> 'missing_at_psp' AND i BETWEEN {first} AND {last}
"""

# The bare hash join: of all that reconciliation reads, and of payments with lines.
JOINS = {'movements': 'SELECT count(*) FROM payments.movement m JOIN payments.settlement_line l ON l.psp = m.psp AND l.psp_object_id = m.object_id',
         'payments': 'SELECT count(*) FROM payments.payment p JOIN payments.settlement_line l ON l.psp = p.psp AND l.psp_payment_id = p.psp_payment_id'}


def psql(bench, *commands, database='reconcile'):
    args = [a for c in commands for a in ('-c', c)]
    return bench.run('psql', '-h', bench.root, '-p', str(bench.port), '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', database, *args).strip()


def make_database(bench):
    # As much as a server for this has: else the figures are those of the disk.
    psql(bench, "ALTER SYSTEM SET shared_buffers = '2GB'", database='bench')
    bench.run('pg_ctl', '-D', bench.data, '-l', os.path.join(bench.root, 'log'), '-w', '-m', 'fast', 'restart')
    psql(bench, 'DROP DATABASE IF EXISTS reconcile', 'CREATE DATABASE reconcile', database='bench')
    psql(bench, 'CREATE EXTENSION payments; SELECT payments.setup()')


def timed(bench, *commands):
    started = time.time()
    answer = psql(bench, *commands)
    return time.time() - started, answer


def settlement(bench):
    """As many payments as lines, one per cent of each kind of discrepancy: all found, none invented."""
    n = int(1000000 * bench.scale) // 100 * 100
    make_database(bench)
    psql(bench, PAYMENTS.format(n=n, kinds=','.join(KINDS)))
    took = 0
    for first in range(1, n + 1, PART):
        took += timed(bench, FILE.format(first=first, last=min(first + PART - 1, n)))[0]
    lines = int(psql(bench, 'SELECT count(*) FROM payments.settlement_line'))
    psql(bench, 'VACUUM ANALYZE')
    bench.tell(f'import of {lines} lines, {PART} a file', f'{lines / took:.0f}/s')
    serial = 'SET max_parallel_workers_per_gather = 0'
    ratios, times = {name: [] for name in JOINS}, []
    for _ in range(bench.rounds(3)):
        joins = {name: timed(bench, serial, query)[0] for name, query in JOINS.items()}
        # Found in a transaction that is taken back, so that each round finds the same; its memory as the system counts it, at most.
        took, answer = timed(bench, serial, 'BEGIN', "SELECT discovered FROM payments.reconcile('sandbox', apply => false)",
                             "SELECT string_agg(kind || ' ' || n, ', ' ORDER BY kind) FROM (SELECT kind, count(*) AS n FROM payments.discrepancy_found GROUP BY kind) k",
                             "SELECT (substring(s FROM 'VmHWM:\\s+(\\d+)')::int - substring(s FROM 'RssShmem:\\s+(\\d+)')::int) / 1024 FROM pg_read_file('/proc/self/status') s", 'ROLLBACK')
        # Else the next one finds its rows, dead, in every index.
        psql(bench, 'VACUUM payments.discrepancy_found, payments.reconciliation_run, payments.settlement_progress, payments.settlement_source')
        times.append(took)
        for name in JOINS:
            ratios[name].append(took / joins[name])
    discovered, kinds, megabytes = answer.splitlines()
    wanted = ', '.join(f'{kind} {n // 100}' for kind in sorted(KINDS))
    if kinds != wanted or int(discovered) != n // 100 * len(KINDS):
        raise SystemExit(f'found {kinds}; there were {wanted}')
    bench.tell(f'reconcile() of {lines} lines, {discovered} differ', f'{statistics.median(times):.1f} s', statistics.median(ratios['movements']), 'goal 3', 'hash join')
    bench.tell('  against the join with payments, that reads half of it', '', statistics.median(ratios['payments']), '', 'hash join')
    bench.tell('  most memory of its process, without shared buffers', f'{megabytes} MB')


CAMT = """<?xml version="1.0" encoding="UTF-8"?>
<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"><BkToCstmrStmt><GrpHdr><MsgId>m</MsgId><CreDtTm>2026-11-20T00:00:00</CreDtTm></GrpHdr><Stmt><Id>s</Id>
<Acct><Id><IBAN>DE89370400440532013000</IBAN></Id><Ccy>EUR</Ccy></Acct>
<Bal><Tp><CdOrPrtry><Cd>OPBD</Cd></CdOrPrtry></Tp><Amt Ccy="EUR">0.00</Amt><CdtDbtInd>CRDT</CdtDbtInd><Dt><Dt>2026-11-19</Dt></Dt></Bal>
<Bal><Tp><CdOrPrtry><Cd>CLBD</Cd></CdOrPrtry></Tp><Amt Ccy="EUR">{total}</Amt><CdtDbtInd>CRDT</CdtDbtInd><Dt><Dt>2026-11-20</Dt></Dt></Bal>
{entries}</Stmt></BkToCstmrStmt></Document>
"""
ENTRY = """<Ntry><Amt Ccy="EUR">{amount}</Amt><CdtDbtInd>CRDT</CdtDbtInd><Sts><Cd>BOOK</Cd></Sts><BookgDt><Dt>2026-11-20</Dt></BookgDt><ValDt><Dt>2026-11-20</Dt></ValDt>
<AcctSvcrRef>B{i}</AcctSvcrRef><NtryDtls><TxDtls><Refs><EndToEndId>{reference}</EndToEndId></Refs><RmtInf><Ustrd>{text}</Ustrd></RmtInf></TxDtls></NtryDtls></Ntry>
"""


def bank(bench):
    """A camt.053 file with 50,000 entries, each a payout: imported, matched by reference or text, posted."""
    n = int(50000 * bench.scale)
    make_database(bench)
    psql(bench, f"""SELECT payments.import_settlement('sandbox', 'csv', E'kind,entry_id,psp_object_id,gross,fee,currency,occurred_at,payout_ref\\n' ||
        string_agg(format('payout,t%s,tr_%s,%s,0,EUR,2026-11-19,po_%s', i, i, - round((1000 + i) / 100.0, 2), i), E'\\n')) FROM generate_series(1, {n}) i""")
    psql(bench, "SELECT payments.reconcile('sandbox')")
    entries = ''.join(ENTRY.format(i=i, amount=f'{(1000 + i) / 100:.2f}', reference=f'po_{i}' if i % 2 else 'NOTPROVIDED',
                                   text='payout' if i % 2 else f'PAYOUT po_{i} OF TODAY') for i in range(1, n + 1))
    total = sum(1000 + i for i in range(1, n + 1))
    path = os.path.join(bench.root, 'large.xml')
    with open(path, 'w') as f:
        f.write(CAMT.format(total=f'{total // 100}.{total % 100:02}', entries=entries))
    size = os.path.getsize(path)
    # Read by the server, which is this machine: what a client's COPY takes is not the point.
    imported, lines = timed(bench, f"SELECT lines FROM payments.import_settlement('giro', 'camt053', pg_read_file('{path}'))")
    psql(bench, 'ANALYZE')
    took, matched = timed(bench, "SELECT matched, discovered FROM payments.reconcile('giro')")
    if lines != str(n) or matched != f'{n}|0':
        raise SystemExit(f'{lines} lines, matched and found {matched}; there were {n}')
    bench.tell(f'camt.053 with {n} entries, {size / 1e6:.0f} MB, imported', f'{imported:.1f} s')
    bench.tell('  all matched with their payouts and posted', f'{took:.1f} s')
