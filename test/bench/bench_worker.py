"""The worker's figures; see bench.py for the server that they run on."""
import itertools
import json
import os
import re
import statistics
import subprocess
import threading
import time
import urllib.request

# Calls at a time, of the worker and of wrk.
CONCURRENCY = 200

WRK = """
wrk.method = 'POST'
wrk.body = [[{body}]]
wrk.headers['Content-Type'] = 'application/x-www-form-urlencoded'
wrk.headers['Authorization'] = 'Bearer sk_test_bench'
wrk.headers['Idempotency-Key'] = '{key}'
"""


# ---- helpers ----

batches = itertools.count()


def make_psp(bench, psp, url, inflight=2000, timeout='1 min'):
    """Its feeds are off: they would ask the peer for what it has no word for."""
    bench.sql(f"""SELECT payments.create_psp('{psp}', 'stripe', '{url}', 'stripe');
        SELECT payments.enable_feed(psp, feed, false) FROM payments.psp_feed WHERE psp = '{psp}';
        UPDATE payments.psp SET inflight_max = {inflight}, timeout = '{timeout}' WHERE psp = '{psp}'""")


def make_payments(bench, psp, n):
    bench.sql(f"""SELECT count(*) FROM generate_series(1, {n}) i, LATERAL payments.create_payment(
        '{psp}-' || i || 'x{next(batches)}', 1050, 'EUR', payment_method => 'pm_card_visa', psp => '{psp}')""")


def stopped(bench):
    """Nothing is in flight, and the worker claims nothing until start_worker()."""
    bench.sql('SELECT payments.stop_worker()')
    bench.wait('SELECT in_flight FROM payments.worker_status', '0')


def drained(bench, psp):
    """In one session, as bench.drained(), but of one PSP."""
    bench.sql(f"DO $$ BEGIN WHILE EXISTS (SELECT FROM payments.queue WHERE psp = '{psp}') LOOP PERFORM pg_sleep(0.02); END LOOP; END $$")


def sent(bench, psp):
    """Lets the worker go; returns payments of this PSP a second until none is left."""
    n = int(bench.sql(f"SELECT count(*) FROM payments.queue WHERE psp = '{psp}'"))
    started = time.time()
    bench.sql('SELECT payments.start_worker()')
    drained(bench, psp)
    return n / (time.time() - started)


def books_agree(bench, psp, n, charges):
    """Every payment of this PSP succeeded, once, and the PSP has charged as many; returns how many requests that took."""
    said = bench.sql(f"""SELECT count(*) FILTER (WHERE p.status = 'succeeded'), count(*), sum(o.attempts),
        (SELECT count(*) FROM payments.dead_letter d WHERE d.psp = '{psp}')
        FROM payments.payment p JOIN payments.operation o USING (payment_id) WHERE p.psp = '{psp}'""")
    succeeded, made, requests, dead = map(int, said.split('|'))
    if (succeeded, made, dead, charges) != (n, n, 0, n):
        raise SystemExit(f'{psp}: {n} payments, {made} there, {succeeded} succeeded, {dead} dead letters, and the PSP has charged {charges}')
    return requests


def book_of(url):
    return json.load(urllib.request.urlopen(url + '/_book'))


def charged(bench, psp):
    """By the scripted peer, which others use too."""
    refs = set(bench.sql(f"SELECT o.psp_ref FROM payments.operation o JOIN payments.payment p USING (payment_id) WHERE p.psp = '{psp}'").splitlines())
    return sum(c['status'] == 'succeeded' and c['payments_ref'] in refs for c in bench.book()['charges'])


def wrk(bench, url, seconds):
    """The same request, by a program that does nothing else."""
    body, key = bench.sql("SELECT body, psp_key FROM payments.attempt WHERE psp_key IS NOT NULL AND path = '/v1/payment_intents' LIMIT 1").split('|')
    path = os.path.join(bench.root, 'wrk.lua')
    with open(path, 'w') as f:
        f.write(WRK.format(body=body, key=key))
    out = bench.run('wrk', '-t', '1', '-c', str(CONCURRENCY), '-d', f'{seconds}s', '-s', path, url + '/v1/payment_intents')
    if 'Non-2xx' in out:
        raise SystemExit(out)
    return float(re.search(r'Requests/sec: +([0-9.]+)', out).group(1))


# ---- the figures ----

def answers_at_once(bench):
    """What the worker alone completes a second: claim, send, answer, complete, booked and committed."""
    n = int(20000 * bench.scale)
    peer, url = bench.start_c_peer()
    make_psp(bench, 'at_once', url, CONCURRENCY)
    stopped(bench)
    rates, creates, cpu = [], [], []
    for _ in range(bench.rounds(3)):
        creates.append(bench.pgbench('-c', '8', '-j', '2', '-t', str(n // 8), '-M', 'prepared', '-f',
                                     bench.script('at_once.sql', ", payment_method => 'pm_card_visa', psp => 'at_once'")))
        before = bench.worker_cpu()
        rates.append(sent(bench, 'at_once'))
        cpu.append((bench.worker_cpu() - before) / (n // 8 * 8))
        stopped(bench)
    books_agree(bench, 'at_once', n // 8 * 8 * len(rates), book_of(url)['charges'])
    rate = statistics.median(rates)
    bench.tell('the worker, PSP answers at once', f'{rate:.0f}/s', None, 'goal 5000/s')
    bench.tell('  CPU an operation: worker', f'{statistics.mean(cpu) * 1e6:.0f} us')
    bench.tell('  wrk, the same request, 200 at a time as well', f'{wrk(bench, url, 5 if bench.scale >= 0.3 else 1):.0f}/s')
    bench.tell('  create_payment(), 8 clients', f'{statistics.median(creates):.0f}/s', rate / statistics.median(creates), '', 'create_payment()')
    bench.sql('SELECT payments.start_worker()')
    peer.terminate()


def ten_thousand(bench):
    """A PSP that takes five seconds, and as many calls at a time as a worker may make.  It begins with 32, and each answer lets one more begin."""
    long = bench.scale >= 0.3
    n = int(30000 * bench.scale)
    peer, url = bench.start_c_peer('5000' if long else '200')
    make_psp(bench, 'slow', url, 10000)
    pid = other_worker(bench, 'SET payments.inflight_max = 10000')
    stopped(bench)
    make_payments(bench, 'slow', n)
    most = {'in_flight': 0, 'files': 0, 'memory': 0}
    before = memory_kb(pid)
    over = threading.Event()

    def look():
        while not over.wait(0.25):
            most['in_flight'] = max(most['in_flight'], int(bench.sql('SELECT in_flight FROM payments.worker_status')))
            most['files'] = max(most['files'], len(os.listdir(f'/proc/{pid}/fd')))
            most['memory'] = max(most['memory'], memory_kb(pid))

    looks = threading.Thread(target=look)
    looks.start()
    rate = sent(bench, 'slow')
    over.set()
    looks.join()
    requests = books_agree(bench, 'slow', n, book_of(url)['charges'])
    bench.tell(f'{n} payments, PSP takes {"5 s" if long else "0.2 s"}', f'{rate:.0f}/s')
    bench.tell('  most in flight; requests a payment', f'{most["in_flight"]}; {requests / n:.2f}')
    bench.tell('  descriptors of the worker; memory before and at most', f'{most["files"]}; {before // 1024}, {most["memory"] // 1024} MB')
    other_worker(bench, 'RESET payments.inflight_max')
    peer.terminate()


def other_worker(bench, setting):
    """One that has begun with the setting; returns its process."""
    bench.sql('SELECT payments.start_worker()')
    pid = bench.worker_pid()
    bench.sql(f'ALTER SYSTEM {setting}')
    bench.sql(f'SELECT pg_reload_conf(), pg_terminate_backend({pid})')
    bench.wait(f'SELECT running AND pid <> {pid} FROM payments.worker_status', 't')
    return bench.worker_pid()


def memory_kb(pid):
    """Its own: what it has looked at of the server's shared buffers is not."""
    return int(re.search(r'^RssAnon:\s+(\d+)', open(f'/proc/{pid}/status').read(), re.M).group(1))


def one_is_dead(bench):
    """Two PSPs, one of which takes every call and answers none: what the other gets, and when the dead one is called again by itself."""
    n, dead = int(8000 * bench.scale), int(1000 * bench.scale)
    peer, url = bench.start_c_peer()
    make_psp(bench, 'alive', url, CONCURRENCY)
    make_psp(bench, 'dead', bench.url, CONCURRENCY, '2 s')
    bench.sql("""INSERT INTO payments.retry_schedule (schedule, psp, try, delay, builtin)
        SELECT s, 'dead', i, '1 s', false FROM unnest(ARRAY['unknown', 'not_sent']) s, generate_series(1, 600) i""")
    ratios = []
    bench.control(faults={'fault': 'hang', 'perform': False})
    stopped(bench)
    for i in range(bench.rounds(3)):
        make_payments(bench, 'alive', n)
        alone = sent(bench, 'alive')
        stopped(bench)
        make_payments(bench, 'alive', n)
        if i == 0:
            make_payments(bench, 'dead', dead)
        ratios.append(sent(bench, 'alive') / alone)
        if i < bench.rounds(3) - 1:
            # What hangs keeps the worker from having nothing in flight; it ends by its timeout.
            stopped(bench)
            bench.sql("UPDATE payments.queue SET due_at = now() + interval '1 hour' WHERE psp = 'dead' AND claimed_by IS NULL")
    bench.sql("UPDATE payments.queue SET due_at = now() WHERE psp = 'dead' AND claimed_by IS NULL")
    # Between two probes: one that is on its way hangs until its timeout.
    bench.wait("SELECT count(*) FROM payments.psp_health WHERE psp = 'dead' AND silent_until > now() + interval '0.1 s'", '1')
    interval = bench.sql("SELECT extract(epoch FROM greatest(silent_until - now(), '0')) FROM payments.psp_health WHERE psp = 'dead'")
    bench.control(faults={}, release=True)
    back = time.time()
    bench.wait("SELECT count(*) FROM payments.psp_health WHERE psp = 'dead' AND silent_until IS NOT NULL", '0')
    back = time.time() - back
    drained(bench, 'dead')
    books_agree(bench, 'dead', dead, charged(bench, 'dead'))
    books_agree(bench, 'alive', 2 * n * len(ratios), book_of(url)['charges'])
    bench.tell('a PSP beside one that answers nothing', f'{statistics.median(ratios):.2f}', None, 'goal 0.95 of its rate alone')
    bench.tell('  the dead one is called again by itself, its probe due', f'{back:.1f} s, in {float(interval):.1f} s')
    peer.terminate()


def limited(bench):
    """A PSP that takes 20 calls a second, and says 429 to the others."""
    n = max(int(3000 * bench.scale), 60)
    make_psp(bench, 'limited', bench.url)
    stopped(bench)
    make_payments(bench, 'limited', n)
    bench.control(faults={'fault': 'status_429', 'rate': 20, 'method': 'POST'})
    rate = sent(bench, 'limited')
    bench.control(faults={})
    requests = books_agree(bench, 'limited', n, charged(bench, 'limited'))
    if requests > 2 * n:
        raise SystemExit(f'{requests} requests for {n} payments')
    bench.tell(f'{n} payments, the PSP takes 20 a second', f'{rate:.1f}/s')
    bench.tell('  requests a payment', f'{requests / n:.2f}', None, 'goal at most 2')
