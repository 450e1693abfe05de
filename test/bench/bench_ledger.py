"""The ledger's figures; see bench.py for the server that they run on."""
import os
import statistics
import threading
import time

ACCOUNTS = 10000
LINES = 10000

# What the batches are measured against: the same rows into the same columns,
# with a key and both account indexes; the same balances updated; no partitions,
# no other index, no check of anything.
BARE = """
CREATE TABLE bare_account (LIKE payments.account INCLUDING INDEXES) WITH (fillfactor = 70);
INSERT INTO bare_account SELECT * FROM payments.account;
CREATE TABLE bare_posting (LIKE payments.posting INCLUDING DEFAULTS INCLUDING IDENTITY, PRIMARY KEY (posting_id));
CREATE INDEX ON bare_posting (debit_account, booked_at, posting_id);
CREATE INDEX ON bare_posting (credit_account, booked_at, posting_id);
CREATE FUNCTION bare_batch(debits bigint[], credits bigint[], amounts bigint[]) RETURNS bigint LANGUAGE sql AS $$
	WITH r AS (SELECT * FROM unnest(debits, credits, amounts) r(debit, credit, amount)),
	posted AS (
		INSERT INTO bare_posting (debit_account, credit_account, amount, effective_at, booked_at, currency, kind, merchant)
		SELECT debit, credit, amount, now(), now(), 'EUR', 'manual', 'default' FROM r
	), added AS (
		UPDATE bare_account b SET debits = b.debits + t.debits, credits = b.credits + t.credits
		FROM (SELECT account, sum(debited)::bigint AS debits, sum(credited)::bigint AS credits
			  FROM (SELECT debit AS account, amount AS debited, 0 AS credited FROM r UNION ALL SELECT credit, 0, amount FROM r) s
			  GROUP BY account) t
		WHERE b.account_id = t.account RETURNING 1
	) SELECT count(*) FROM added
$$;
ANALYZE bare_account;
"""

# Two different accounts of the ten thousand, and an amount, n times; the same for both sides of the comparison.
ARRAYS = """
	(SELECT array_agg(d), array_agg(CASE WHEN c < d THEN c ELSE c + 1 END), array_agg(a)
	 FROM (SELECT {first} + floor(random() * {n_accounts})::bigint AS d, {first} + floor(random() * ({n_accounts} - 1))::bigint AS c,
		   1 + floor(random() * 1000)::bigint AS a FROM generate_series(1, {n})) x) AS t(debits, credits, amounts)
"""


def open_accounts(bench):
    """Limited accounts, so that every posting checks two limits."""
    bench.sql(f"""SELECT count(payments.create_account('bench:' || i, 'EUR', 'liability', min_balance => -1000000000000000))
                  FROM generate_series(1, {ACCOUNTS}) i""")
    bench.sql('VACUUM ANALYZE payments.account')
    return int(bench.sql("SELECT min(account_id) FROM payments.account WHERE code LIKE 'bench:%'"))


def file(bench, name, text):
    path = os.path.join(bench.root, name)
    with open(path, 'w') as f:
        f.write(text)
    return path


def seconds(bench, full):
    return str(int(full * bench.scale) or 1)


def post_batch(bench):
    """Batches between ten thousand limited accounts, in turn with the bare statement."""
    first = open_accounts(bench)
    bench.sql(BARE)
    for n in (1000, 8000):
        arrays = ARRAYS.format(first=first, n_accounts=ACCOUNTS, n=n)
        bare = file(bench, 'bare.sql', f'SELECT bare_batch(debits, credits, amounts) FROM {arrays};'.replace('\n', ' '))
        ours = file(bench, 'batch.sql', f"""SELECT count(r.error) FROM {arrays},
                    LATERAL payments.post_batch(debits, credits, amounts) r;""".replace('\n', ' '))
        ratios, rates, both, bares = [], [], [], []
        for _ in range(bench.rounds(5)):
            bares.append(n * bench.pgbench('-c', '1', '-T', seconds(bench, 4), '-f', bare))
            rates.append(n * bench.pgbench('-c', '1', '-T', seconds(bench, 4), '-f', ours))
            both.append(n * bench.pgbench('-c', '2', '-j', '2', '-T', seconds(bench, 4), '-f', ours))
            ratios.append(rates[-1] / bares[-1])
        bench.tell(f'post_batch() of {n}, 1 client', f'{statistics.median(rates):.0f}/s', statistics.median(ratios), 'goal 0.8', 'the bare statement')
        bench.tell(f'  2 clients, {n} of {ACCOUNTS} accounts each', f'{statistics.median(both):.0f}/s')
        bench.tell('  bare statement, 1 client', f'{statistics.median(bares):.0f}/s')
    failed = bench.sql("SELECT count(*) FROM payments.check() WHERE NOT ok AND invariant LIKE '%account%'")
    if failed != '0':
        raise SystemExit('the ledger does not agree with its postings')
    bench.sql('DROP FUNCTION bare_batch; DROP TABLE bare_account, bare_posting')


def post(bench):
    """One at a time: random accounts, the same with a reference, and all into one hot account, in turn with TPC-B."""
    first = open_accounts(bench)
    hot = bench.sql("SELECT payments.create_account('bench hot', 'EUR', 'income', hot => true)")
    pick = f"\\set d random({first}, {first + ACCOUNTS - 1})\n\\set c random({first}, {first + ACCOUNTS - 2})\n"
    random = file(bench, 'post.sql', pick + 'SELECT payments.post(:d, :c + (:c >= :d)::int, 5);\n')
    # Of longer numbers some would be a card's.
    keyed = file(bench, 'keyed.sql', pick + '\\set r random(1, 1000000000)\n\\set s random(1, 1000000)\n'
                 "SELECT payments.post(:d, :c + (:c >= :d)::int, 5, reference => 'r' || :r || 's' || :s);\n")
    into_hot = file(bench, 'hot.sql', pick + f'SELECT payments.post(:d, {hot}, 5);\n')
    figures = {random: [], keyed: [], into_hot: []}
    tpcb = []
    for _ in range(bench.rounds(3)):
        tpcb.append(bench.tpcb_reference())
        for script, rates in figures.items():
            rates.append(bench.pgbench('-c', '8', '-j', '2', '-T', seconds(bench, 6), '-M', 'prepared', '-f', script))

    def ratio(rates, others):
        return statistics.median(a / b for a, b in zip(rates, others))
    bench.tell('post(), 8 clients, fsync on', f'{statistics.median(figures[random]):.0f}/s', ratio(figures[random], tpcb), 'goal 1.5')
    bench.tell('  with a reference', f'{statistics.median(figures[keyed]):.0f}/s', ratio(figures[keyed], tpcb))
    bench.tell('post(), 8 clients into one hot account', f'{statistics.median(figures[into_hot]):.0f}/s',
               ratio(figures[into_hot], figures[random]), 'goal 0.9', 'post()')
    hot_for_a_minute(bench, into_hot)


def hot_for_a_minute(bench, script):
    """The unfolded tail while the worker folds, and no deadlock."""
    tails, stop = [], threading.Event()

    def look():
        while not stop.wait(1):
            tails.append(int(bench.sql('SELECT count(*) FROM payments.account_delta')))
    watcher = threading.Thread(target=look)
    watcher.start()
    rate = bench.pgbench('-c', '8', '-j', '2', '-T', seconds(bench, 60), '-M', 'prepared', '-f', script)
    stop.set()
    watcher.join()
    bench.tell('  for a minute, the worker folding', f'{rate:.0f}/s')
    bench.tell('  longest unfolded tail, and that of its last ten looks', f'{max(tails, default=0)}, {max(tails[-10:], default=0)}')
    with open(os.path.join(bench.root, 'log')) as log:
        bench.tell('  deadlocks in the log', str(log.read().count('deadlock detected')), None, 'goal 0')


def reads(bench):
    """balance_at(), a month's statement and check() beside ten million postings."""
    postings = int(10000000 * bench.scale)
    accounts = max(2 * postings // LINES, 4)
    bench.sql(f"SELECT count(payments.create_account('read:' || i, 'EUR', 'liability')) FROM generate_series(1, {accounts}) i")
    first = int(bench.sql("SELECT min(account_id) FROM payments.account WHERE code LIKE 'read:%'"))
    bench.sql("SELECT payments.make_partitions(since => now() - interval '366 days')")
    started = time.time()
    # A year of them, evenly: account k debits, and another one far from it is credited.
    bench.sql(f"""
        INSERT INTO payments.posting (debit_account, credit_account, amount, effective_at, booked_at, currency, kind, merchant)
        SELECT {first} + i % {accounts}, {first} + (i % {accounts} + 1 + i / {accounts} % ({accounts} - 1)) % {accounts}, 1 + i % 100, t, t, 'EUR', 'manual', 'default'
        FROM generate_series(1, {postings}) i, LATERAL (SELECT now() - interval '365 days' * (({postings} - i)::float8 / {postings}) AS t) x;
        WITH s AS (SELECT account_id, sum(debits)::bigint AS debits, sum(credits)::bigint AS credits
                   FROM (SELECT debit_account AS account_id, amount AS debits, 0 AS credits FROM payments.posting WHERE debit_account >= {first}
                         UNION ALL SELECT credit_account, 0, amount FROM payments.posting WHERE credit_account >= {first}) l GROUP BY 1)
        UPDATE payments.account a SET debits = s.debits, credits = s.credits FROM s WHERE a.account_id = s.account_id""")
    bench.sql('VACUUM ANALYZE payments.posting, payments.account')
    bench.tell(f'{postings} postings written', f'{time.time() - started:.0f} s')
    account = first + accounts // 2
    lines = bench.sql(f"SELECT count(*) FROM payments.statement({account}, NULL, NULL) WHERE posting_id IS NOT NULL")
    for what, query in (
            (f'balance_at() half a year ago, {lines} lines', f"SELECT payments.balance_at({account}, now() - interval '182 days')"),
            ("statement() of a month of these", f"SELECT count(*), sum(balance) FROM payments.statement({account}, now() - interval '200 days', now() - interval '170 days')"),
            ('balance()', f'SELECT balance FROM payments.balance({account})')):
        times = []
        for _ in range(bench.rounds(3)):
            script = file(bench, 'read.sql', query + ';\n')
            times.append(1000 / bench.pgbench('-c', '1', '-T', seconds(bench, 2), '-f', script))
        bench.tell(what, f'{statistics.median(times):.2f} ms', None, 'goal < 50 ms')
    started = time.time()
    bad = bench.sql('SELECT invariant FROM payments.check() WHERE NOT ok')
    bench.tell(f'check() with {postings} postings', f'{time.time() - started:.1f} s')
    if [line for line in bad.splitlines() if 'queued' not in line]:
        raise SystemExit('check(): ' + bad)


def sealing(bench):
    """Posting while the worker seals every second, in turn with not sealing; and how fast verify() reads."""
    first = open_accounts(bench)
    pick = f"\\set d random({first}, {first + ACCOUNTS - 1})\n\\set c random({first}, {first + ACCOUNTS - 2})\n"
    single = file(bench, 'post.sql', pick + 'SELECT payments.post(:d, :c + (:c >= :d)::int, 5);\n')
    arrays = ARRAYS.format(first=first, n_accounts=ACCOUNTS, n=1000)
    batch = file(bench, 'batch.sql', f"SELECT count(r.error) FROM {arrays}, LATERAL payments.post_batch(debits, credits, amounts) r;".replace('\n', ' '))
    for what, script, clients, n in (('post(), 8 clients', single, '8', 1), ('post_batch() of 1000, 2 clients', batch, '2', 1000)):
        ratios, rates = [], []
        for _ in range(bench.rounds(5)):
            rate = {}
            for interval in ('0', '1s'):
                bench.sql(f"ALTER SYSTEM SET payments.seal_interval = '{interval}'")
                bench.sql('SELECT pg_reload_conf()')
                time.sleep(0.2)
                rate[interval] = n * bench.pgbench('-c', clients, '-j', '2', '-T', seconds(bench, 8), '-M', 'prepared', '-f', script)
            rates.append(rate['1s'])
            ratios.append(rate['1s'] / rate['0'])
        bench.tell(f'{what}, sealed every second', f'{statistics.median(rates):.0f}/s', statistics.median(ratios), 'goal 0.95', 'unsealed')
        waiting = bench.sql("SELECT count(*) FROM payments.posting WHERE xid >= coalesce((SELECT max(to_xid) FROM payments.seal), '0')")
        bench.tell('  postings not sealed when it stopped', waiting)
    bench.sql('SELECT payments.seal_blocks()')
    rows = int(bench.sql('SELECT sum(rows) FROM payments.seal_table'))
    started = time.time()
    found = bench.sql("SELECT count(*) FROM payments.verify() WHERE kind <> 'ok'")
    bench.tell(f'verify() of {rows} rows', f'{rows / (time.time() - started):.0f} rows/s')
    if found != '0':
        raise SystemExit('verify() found something: ' + bench.sql("SELECT * FROM payments.verify() LIMIT 3"))
    bench.sql('ALTER SYSTEM RESET payments.seal_interval')
    bench.sql('SELECT pg_reload_conf()')
