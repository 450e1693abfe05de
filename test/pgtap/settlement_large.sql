-- If this fails, the statement of a busy month blocks the database for minutes,
-- or one of its 50,000 entries is lost.

\ir ../lib/prelude.sql
SELECT no_plan();

-- Amounts 0.01, 0.02, ...; every fourth goes out.
CREATE TEMP TABLE file AS
SELECT '<?xml version="1.0" encoding="UTF-8"?><Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"><BkToCstmrStmt><Stmt><Id>1</Id>'
	|| '<Acct><Id><IBAN>DE89370400440532013000</IBAN></Id><Ccy>EUR</Ccy></Acct>'
	|| '<Bal><Tp><CdOrPrtry><Cd>OPBD</Cd></CdOrPrtry></Tp><Amt Ccy="EUR">100.00</Amt><CdtDbtInd>CRDT</CdtDbtInd><Dt><Dt>2026-11-19</Dt></Dt></Bal>'
	|| format('<Bal><Tp><CdOrPrtry><Cd>CLBD</Cd></CdOrPrtry></Tp><Amt Ccy="EUR">%s</Amt><CdtDbtInd>CRDT</CdtDbtInd><Dt><Dt>2026-11-20</Dt></Dt></Bal>',
		100 + round(sum(CASE WHEN i % 4 = 0 THEN -i ELSE i END) / 100.0, 2)) || E'\n'
	|| string_agg(format(E'<Ntry><Amt Ccy="EUR">%s</Amt><CdtDbtInd>%s</CdtDbtInd><Sts><Cd>BOOK</Cd></Sts><BookgDt><Dt>2026-11-20</Dt></BookgDt><ValDt><Dt>2026-11-20</Dt></ValDt>'
		'<AcctSvcrRef>B%s</AcctSvcrRef><NtryDtls><TxDtls><Refs><EndToEndId>e2e-%s</EndToEndId></Refs><RltdPties><Dbtr><Pty><Nm>Customer %s</Nm></Pty></Dbtr></RltdPties>'
		'<RmtInf><Ustrd>Order %s</Ustrd></RmtInf></TxDtls></NtryDtls></Ntry>\n', round(i / 100.0, 2), CASE WHEN i % 4 = 0 THEN 'DBIT' ELSE 'CRDT' END, i, i, i, i), '' ORDER BY i)
	|| '</Stmt></BkToCstmrStmt></Document>' AS content
FROM generate_series(1, 50000) i;

-- Seconds of CPU that this session has had: those do not depend on what else the machine does.
CREATE FUNCTION pg_temp.cpu() RETURNS numeric LANGUAGE sql AS $$
	SELECT (split_part(s, ' ', 12)::numeric + split_part(s, ' ', 13)::numeric) / 100 FROM regexp_replace(pg_read_file('/proc/self/stat'), '^.*\) ', '') s
$$;
CREATE TEMP TABLE run AS SELECT pg_temp.cpu() AS before, NULL::numeric AS took;
SELECT results_eq('SELECT i.lines FROM file, payments.import_settlement(''giro'', ''camt053'', content) i', 'VALUES (50000)', '50,000 entries');
UPDATE run SET took = pg_temp.cpu() - before;
SELECT diag(format('%s MB in %s s', round(octet_length(content) / 1e6, 1), round(took, 2))) FROM file, run;
SELECT ok(took BETWEEN 0.01 AND 30, 'in seconds') FROM run;
SELECT results_eq('SELECT opening_balance, closing_balance, entries FROM payments.bank_statement',
	'SELECT 10000::bigint, 10000 + sum(CASE WHEN i % 4 = 0 THEN -i ELSE i END)::bigint, 50000 FROM generate_series(1, 50000) i', 'the balances');
SELECT results_eq('SELECT count(*), count(DISTINCT end_to_end_id), sum(amount)::bigint FROM payments.bank_entry',
	'SELECT 50000::bigint, 50000::bigint, sum(CASE WHEN i % 4 = 0 THEN -i ELSE i END)::bigint FROM generate_series(1, 50000) i', 'every entry, once');
-- One that is missing is noticed.
SELECT throws_ok('SELECT payments.import_settlement(''giro'', ''camt053'', regexp_replace(content, ''<Ntry><Amt Ccy="EUR">123.45<.*?</Ntry>'', '''')) FROM file',
	'PY603', 'the settlement file does not add up', 'one of them cut out');
SELECT results_eq('SELECT i.duplicate FROM file, payments.import_settlement(''giro'', ''camt053'', content) i', 'VALUES (true)', 'the same again');
SELECT is((SELECT count(*)::int FROM payments.check() WHERE NOT ok), 0, 'check() finds nothing wrong');

SELECT * FROM finish();
