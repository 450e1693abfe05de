"""
The benchmarks.  Each prints one line: what, figure, ratio to the reference of
the same run where there is one, and the goal.  Nothing is asserted: timings on
shared machines are for reading, not for passing.

	bench.py --root FOLDER --src PROJECT [--only NAME ...] [--scale F]

Runs its own server (fsync on) and peer in FOLDER, on a unix socket and on
loopback, and ends both.
"""
import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
import urllib.request

import bench_ledger
import bench_reconcile
import bench_worker

PAYMENTS = ['create', 'routing', 'end_to_end', 'slow_psp', 'first_byte']
WORKER = ['answers_at_once', 'ten_thousand', 'one_is_dead', 'limited']
LEDGER = ['post_batch', 'post', 'sealing', 'reads']
RECONCILE = ['settlement', 'bank']

CREATE = r"""
\set a random(1, 1000000000)
\set b random(1, 1000000000)
SELECT payment_id FROM payments.create_payment('k' || :a || '.' || :b, 1050, 'EUR', order_ref => 'o' || :a%s)
"""


class Bench:
    def __init__(self, args):
        self.root, self.src, self.scale = args.root, args.src, args.scale
        self.port = 5700 + os.getpid() % 200
        self.data = os.path.join(self.root, 'data')
        self.peer = self.fast_peer = None
        self.c_peers = []
        self.tpcb = None

    # ---- processes ----

    def run(self, *command, **more):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)
        if done.returncode != 0:
            raise SystemExit(f'{command[0]} failed: {done.stderr.strip()}')
        return done.stdout

    def start(self):
        secrets = os.path.join(self.root, 'secrets')
        with open(secrets, 'w') as f:
            f.write('stripe = sk_test_bench\nstripe.webhook = whsec_bench\n')
        os.chmod(secrets, 0o600)
        self.run('initdb', '-A', 'trust', '-N', '-D', self.data)
        with open(os.path.join(self.data, 'postgresql.conf'), 'a') as f:
            f.write(f"""
port = {self.port}
listen_addresses = ''
unix_socket_directories = '{self.root}'
shared_buffers = 512MB
max_wal_size = 8GB
max_connections = 100
track_commit_timestamp = on
shared_preload_libraries = 'payments'
payments.databases = 'bench'
payments.allow_http = on
payments.secrets_file = '{secrets}'
""")
        self.run('pg_ctl', '-D', self.data, '-l', os.path.join(self.root, 'log'), '-w', 'start')
        self.run('createdb', '-h', self.root, '-p', str(self.port), 'bench')
        self.sql('CREATE EXTENSION payments; SELECT payments.setup()')
        ready = os.path.join(self.root, 'peer.port')
        self.peer = subprocess.Popen(
            ['/usr/bin/python3', os.path.join(self.src, 'test/peer/stripe.py'), '--port', '0', '--secret', 'sk_test_bench',
             '--ready-file', ready, '--die-with-parent'],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not (os.path.exists(ready) and open(ready).read().strip()):
            time.sleep(0.05)
        self.url = 'http://127.0.0.1:' + re.search(r'\d+', open(ready).read()).group()
        self.control(settings={'events': False})
        self.sql(f"SELECT payments.create_psp('stripe', 'stripe', '{self.url}', 'stripe'); SELECT payments.arm()")
        self.wait("SELECT running FROM payments.worker_status", 't')

    def start_c_peer(self, *arguments):
        """A PSP in C: the scripted one would take a tenth of the machine, and be measured as ours.  Returns it and its address."""
        program = os.path.join(self.root, 'peer')
        if not os.path.exists(program):
            self.run('cc', '-O2', '-D_GNU_SOURCE', '-o', program, os.path.join(self.src, 'test/bench/peer.c'))
        peer = subprocess.Popen([program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.c_peers.append(peer)
        return peer, 'http://127.0.0.1:' + peer.stdout.readline().strip()

    def start_fast_peer(self):
        self.fast_peer, self.fast_url = self.start_c_peer()
        self.sql(f"SELECT payments.create_psp('fast', 'stripe', '{self.fast_url}', 'stripe')")

    def stop(self):
        for peer in (self.peer, *self.c_peers):
            if peer:
                peer.send_signal(signal.SIGTERM)
                peer.wait()
        subprocess.run(['pg_ctl', '-D', self.data, '-m', 'immediate', '-w', 'stop'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    # ---- helpers ----

    def sql(self, text):
        return self.run('psql', '-h', self.root, '-p', str(self.port), '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', 'bench', '-c', text).strip()

    def wait(self, query, expected, timeout=600):
        end = time.time() + timeout
        while time.time() < end:
            if self.sql(query) == expected:
                return
            time.sleep(0.05)
        raise SystemExit(f'gave up waiting for {query} to become {expected}; now {self.sql(query)}')

    def drained(self):
        """Waits for the queue in one session: a psql started every so often takes a core's fifth from what is measured."""
        self.sql('DO $$ BEGIN WHILE EXISTS (SELECT FROM payments.queue) LOOP PERFORM pg_sleep(0.02); END LOOP; END $$')

    def control(self, **order):
        request = urllib.request.Request(self.url + '/_control', json.dumps(order).encode(), {'Content-Type': 'application/json'})
        return json.load(urllib.request.urlopen(request))

    def book(self):
        return json.load(urllib.request.urlopen(self.url + '/_book'))

    def pgbench(self, *args):
        out = self.run('pgbench', '-h', self.root, '-p', str(self.port), '-n', *args, 'bench')
        return float(re.search(r'tps = ([0-9.]+)', out).group(1))

    def script(self, name, more=''):
        path = os.path.join(self.root, name)
        with open(path, 'w') as f:
            f.write(CREATE % more)
        return path

    def tell(self, what, figure, ratio=None, goal='', reference='TPC-B'):
        print(f"{what:<58} {figure:>14}  {f'{ratio:.2f} x {reference}' if ratio else '':<26} {goal}", flush=True)

    @staticmethod
    def ticks(pid, fields=(11, 12)):
        stat = open(f'/proc/{pid}/stat').read().rsplit(')', 1)[1].split()
        return sum(int(stat[f]) for f in fields) / os.sysconf('SC_CLK_TCK')

    def worker_pid(self):
        return int(self.sql('SELECT pid FROM payments.worker_status'))

    def worker_cpu(self):
        return self.ticks(self.worker_pid())

    def cpu(self):
        """CPU seconds used so far: by the worker, by the peer, by sessions that have ended, by pgbench and psql."""
        postmaster = open(os.path.join(self.data, 'postmaster.pid')).readline().strip()
        return {'worker': self.worker_cpu(), 'PSP': self.ticks(self.fast_peer.pid),
                'create_payment() sessions': self.ticks(postmaster, (13, 14)), 'pgbench': self.ticks(os.getpid(), (13, 14))}

    def rounds(self, full):
        """A slice only shows that it runs."""
        return full if self.scale >= 0.3 else 1

    # ---- the figures ----

    def tpcb_reference(self, seconds=6):
        return self.pgbench('-c', '8', '-j', '2', '-T', str(int(seconds * self.scale) or 1), '-M', 'prepared')

    def create(self):
        """create_payment() alone, eight clients, against TPC-B in turn."""
        self.sql('SELECT payments.stop_worker()')
        path, ratios, rates = self.script('create.sql', ", psp => 'sandbox'"), [], []
        for _ in range(self.rounds(3)):
            tpcb = self.tpcb_reference()
            rate = self.pgbench('-c', '8', '-j', '2', '-T', str(int(6 * self.scale) or 1), '-M', 'prepared', '-f', path)
            rates.append(rate)
            ratios.append(rate / tpcb)
        self.sql('DELETE FROM payments.queue')      # measured; nobody is to send them
        self.sql('SELECT payments.start_worker()')
        self.tell('create_payment(), 8 clients, fsync on', f'{statistics.median(rates):.0f}/s', statistics.median(ratios), 'goal 1.3')

    def routing(self):
        """create_payment() in one session, fsync off: without a rule and with fifty, of which the last chooses between two PSPs, in turn."""
        self.sql('ALTER SYSTEM SET fsync = off')
        self.sql("SELECT pg_reload_conf(), payments.stop_worker(); SELECT payments.create_psp('sandbox2', 'sandbox')")
        self.sql("SELECT payments.create_merchant('default', psp => 'sandbox')")
        rules = ['DELETE FROM payments.route_rule;', """SELECT count(payments.create_route_rule('r' || i, '{sandbox,sandbox2}', '{70,30}', priority => i,
            currency => CASE WHEN i < 50 THEN 'USD' ELSE 'EUR' END, amount_min => i, payment_method => CASE WHEN i < 50 THEN 'pm_*' ELSE '*' END))
            FROM generate_series(1, 50) i;"""]
        session = subprocess.Popen(['psql', '-h', self.root, '-p', str(self.port), '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', 'bench'],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

        def say(text):
            session.stdin.write(text + "\nSELECT 'said ' || pg_backend_pid();\n")
            session.stdin.flush()
            while not (line := session.stdout.readline()).startswith('said '):
                pass
            stat = open(f'/proc/{line.split()[1]}/stat').read().rsplit(')', 1)[1].split()
            return (int(stat[11]) + int(stat[12])) / os.sysconf('SC_CLK_TCK')

        n, cpu = max(int(1000 * self.scale), 10), [[], []]
        for i in range(2 * self.rounds(20)):
            before = say(rules[i % 2])
            used = say(f"""DO $$ BEGIN FOR i IN 1 .. {n} LOOP PERFORM payments.create_payment('r{i}.' || i, 1050, 'EUR', order_ref => 'o' || i); COMMIT;
                       END LOOP; END $$;""")
            cpu[i % 2].append((used - before) / n)
        session.communicate('DELETE FROM payments.queue; DELETE FROM payments.route_rule;')
        without, routed = (statistics.mean(seconds[1:] or seconds) * 1e6 for seconds in cpu)
        self.tell('create_payment() with 50 rules, one session, fsync off', f'{routed:.1f} us CPU', routed / max(without, 1), 'goal 1.03', 'without rules')
        self.sql('ALTER SYSTEM RESET fsync')
        self.sql("SELECT pg_reload_conf(); SELECT payments.start_worker()")

    def end_to_end(self):
        """Created by four clients while the worker sends (more of them only starve it on two cores): from the first create to the last final status."""
        path, ratios, rates = self.script('e2e.sql', ", payment_method => 'pm_card_visa', psp => 'fast'"), [], []
        used, paid = {}, 0
        self.start_fast_peer()
        for _ in range(self.rounds(3)):
            tpcb = self.tpcb_reference()
            each = int(2500 * self.scale)
            before = int(self.sql("SELECT count(*) FROM payments.payment WHERE status = 'succeeded'"))
            started, before_cpu = time.time(), self.cpu()
            self.pgbench('-c', '4', '-j', '2', '-t', str(each), '-M', 'prepared', '-f', path)
            self.drained()
            rate = 4 * each / (time.time() - started)
            for who, seconds in self.cpu().items():
                used.setdefault(who, []).append((seconds - before_cpu[who]) / (4 * each))
            done = int(self.sql("SELECT count(*) FROM payments.payment WHERE status = 'succeeded'")) - before
            if done != 4 * each:
                raise SystemExit(f'{done} of {4 * each} succeeded')
            paid += done
            book = json.load(urllib.request.urlopen(self.fast_url + '/_book'))
            if book['charges'] != paid or book['conflicts'] != 0:
                raise SystemExit(f'{paid} paid, but the PSP has {book}')
            rates.append(rate)
            ratios.append(rate / tpcb)
        self.tell('end to end over HTTP, 4 clients', f'{statistics.median(rates):.0f}/s', statistics.median(ratios), 'goal 0.5')
        for who, seconds in used.items():
            self.tell(f'  CPU a payment: {who}', f'{statistics.mean(seconds) * 1e6:.0f} us')

    def slow_psp(self):
        """One worker and a PSP that takes a second for each answer."""
        n = int(4000 * self.scale)
        self.sql('SELECT payments.stop_worker()')
        self.control(faults={'delay_ms': 1000})
        self.sql(f"""SELECT count(*) FROM generate_series(1, {n}) i,
                     LATERAL payments.create_payment('slow' || i || 'x' || clock_timestamp(), 1050, 'EUR', payment_method => 'pm_card_visa', psp => 'stripe')""")
        started = time.time()
        self.sql('SELECT payments.start_worker()')
        self.drained()
        took = time.time() - started
        self.control(faults={})
        self.tell(f'{n} payments, PSP takes 1 s, one worker', f'{n / took:.0f}/s', None, 'goal 800/s')

    def first_byte(self):
        """From commit to the first byte at the PSP, on an idle system."""
        self.control(reset=True)
        self.sql("CREATE TABLE IF NOT EXISTS latency_seen (ref text, committed timestamptz)")
        n = max(int(100 * self.scale), 10)
        for i in range(n):
            self.sql(f"SELECT payments.create_payment('lat{i}x' || clock_timestamp(), 1050, 'EUR', payment_method => 'pm_card_visa', psp => 'stripe')")
            self.wait('SELECT count(*) FROM payments.queue', '0')
        committed = dict(line.split('|') for line in self.sql(
            """SELECT o.psp_ref, extract(epoch FROM pg_xact_commit_timestamp(s.xmin))
               FROM payments.payment_status s JOIN payments.operation o USING (payment_id)
               JOIN payments.idempotency_key k USING (payment_id) WHERE s.seq = 1 AND k.key LIKE 'lat%'""").splitlines())
        gaps = sorted((at - float(committed[ref])) * 1000 for ref, at in self.book()['first_byte'].items() if ref in committed)
        self.tell(f'commit to first byte at the PSP, median of {len(gaps)}', f'{statistics.median(gaps):.1f} ms', None, 'goal < 10 ms')
        self.tell('  of these, nine in ten within', f'{gaps[int(len(gaps) * 0.9)]:.1f} ms')


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--root', required=True)
    parser.add_argument('--src', required=True)
    parser.add_argument('--only', nargs='*')
    parser.add_argument('--scale', type=float, default=1.0, help='less than 1: shorter and less exact')
    args = parser.parse_args()
    bench = Bench(args)
    try:
        bench.start()
        bench.run('pgbench', '-h', bench.root, '-p', str(bench.port), '-i', '-s', '20' if args.scale >= 0.3 else '1', '-q', 'bench')
        for name in args.only or [*PAYMENTS, *WORKER, *LEDGER, *RECONCILE]:
            if name in PAYMENTS:
                getattr(bench, name)()
            else:
                getattr(bench_worker if name in WORKER else bench_ledger if name in LEDGER else bench_reconcile, name)(bench)
        bad = bench.sql('SELECT invariant FROM payments.check() WHERE NOT ok')
        # create() takes its unsent payments out of the queue by hand, which check() rightly reports.
        bad = [line for line in bad.splitlines() if 'queued' not in line]
        print('check(): ' + ('clean' if not bad else '; '.join(bad)))
    finally:
        bench.stop()


if __name__ == '__main__':
    sys.exit(main())
