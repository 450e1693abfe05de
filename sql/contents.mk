# The table of contents: what the script of CREATE EXTENSION is made of, in order.
# A file that is not listed here fails ci/sql_contents.
#
# Order matters for rows and types only: bodies of functions are not looked at
# before they are called.

# What every installation starts with: roles, and data that is rows rather than code,
# each kind beside its table.  These tables are members of the extension; rows that
# users add (builtin = false) are dumped, rows that we ship are made again by
# CREATE EXTENSION.
SQL_SEEDS = \
	core/header.sql \
	core/roles.sql \
	payment/seed_currency.sql \
	payment/seed_transition.sql \
	psp/seed_currency_units.sql \
	psp/seed_decline_rules.sql \
	payment/seed_retry.sql \
	payment/seed_reattempt.sql \
	ledger/seed_posting_rules.sql \
	job/seed.sql \
	settlement/seed_formats.sql \
	settlement/seed_match_rules.sql

# The body of one function that setup() runs, between core/setup.head and
# core/setup.tail: tables of data are no members of the extension.
SQL_TABLES = \
	core/tables.sql \
	psp/tables.sql \
	psp/tables_adapter.sql \
	payment/tables.sql \
	payment/tables_route.sql \
	payment/tables_reattempt.sql \
	payment/tables_dispute.sql \
	inbound/tables.sql \
	ledger/tables.sql \
	ledger/tables_hold.sql \
	ledger/tables_history.sql \
	ledger/tables_part.sql \
	ledger/views.sql \
	retention/tables.sql \
	settlement/tables.sql \
	inbound/tables_feed.sql \
	settlement/tables_reconcile.sql \
	close/tables.sql \
	statement/tables.sql \
	seal/tables.sql \
	core/tables_guard.sql \
	job/tables.sql \
	core/tables_installation.sql \
	settlement/views.sql \
	inbound/views_feed.sql \
	job/views.sql \
	payment/views.sql \
	payment/views_psp.sql \
	core/tables_grants.sql \
	retention/first_partitions.sql

SQL_CODE = \
	core/caller.sql \
	core/guard.sql \
	core/others.sql \
	core/shipped.sql \
	core/installation.sql \
	seal/xid.sql \
	ledger/account.sql \
	ledger/post.sql \
	ledger/hold.sql \
	ledger/transaction.sql \
	ledger/check_ledger.sql \
	payment/check_payments.sql \
	core/check.sql \
	retention/partition.sql \
	retention/retire.sql \
	seal/seal.sql \
	job/run.sql \
	settlement/import.sql \
	settlement/import_rows.sql \
	job/schedule.sql \
	settlement/match.sql \
	close/close.sql \
	close/report.sql \
	settlement/reconcile.sql \
	settlement/resolve.sql \
	settlement/explain.sql \
	settlement/apply_lines.sql \
	settlement/bank.sql \
	statement/content.sql \
	statement/issue.sql \
	statement/read.sql \
	statement/check_statements.sql \
	core/catalog.sql \
	core/setup.sql \
	core/cluster.sql \
	core/merchant.sql \
	payment/create_psp.sql \
	payment/adapter.sql \
	payment/health.sql \
	payment/verbs.sql \
	payment/route_rule.sql \
	payment/explain_route.sql \
	payment/dead_letter.sql \
	inbound/webhook.sql \
	settlement/report.sql \
	statement/html.sql \
	payment/external.sql \
	inbound/feed.sql \
	core/settings.sql \
	core/grants.sql
