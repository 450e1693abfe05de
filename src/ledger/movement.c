/*
 * src/ledger/movement.c
 *		Money movements of payments become postings.
 *
 * Which postings a movement causes is data: posting_rule names, for each
 * event, the accounts to debit and to credit, and account_template says what
 * these accounts are.  An account is opened by the first movement that needs
 * it.  From there on it is a batch of postings like any other; ledger/write.c
 * says what holds for those.
 *
 * Only accounts that were opened from a template are found, and their codes are
 * unique among these (account_once): whatever else somebody has opened under
 * such a code, with a limit that stops captures or for another merchant, is
 * another account.
 *
 * Missing accounts are opened in name order and before any account row is
 * locked, so that sessions that open the same ones wait for each other in one
 * direction only.
 */
#include "payments.h"

#include "ledger/movement.h"
#include "core/spi.h"
#include "ledger/batch.h"
#include "ledger/hot.h"
#include "ledger/write.h"

#include "catalog/pg_type_d.h"
#include "lib/stringinfo.h"
#include "utils/memutils.h"

/* A row of posting_rule. */
typedef struct Rule
{
	const char *event;
	const char *debit;
	const char *credit;
	const char *description;
	int			leg;
} Rule;

/* An account that a movement needs, and where its id goes. */
typedef struct AccountName
{
	const char *merchant;
	const char *code;
	const char *currency;
	const char *template;
	int64	   *account_id;
} AccountName;

static int	load_rules(Rule **rules);
static int	find_rules(const Rule *rules, int n_rules, const char *event, int *first);
static char *expand_code(const char *code, const PayMovement *movement);
static int	expand_movements(const PayMovement *movements, int n, PayPostingBatch *batch, AccountName **names);
static void resolve_names(AccountName *names, int n);
static void share_hot(const AccountName *names, int n);
static int	distinct_names(AccountName *names, int n, const AccountName **distinct);
static int	compare_names(const void *a, const void *b);
static int	find_accounts(const AccountName **names, int n, int64 *account_ids);
static void open_accounts(const AccountName **names, int n, const int64 *account_ids);

/* Rules of users for an event replace the shipped ones as a whole. */
static PayStmt read_rules = PAY_STMT_NOARGS(SPI_OK_SELECT,
	"SELECT r.event, r.leg, r.debit, r.credit, r.description FROM payments.posting_rule r"
	" WHERE NOT r.builtin OR NOT EXISTS (SELECT FROM payments.posting_rule u WHERE u.event = r.event AND NOT u.builtin)"
	" ORDER BY r.event, r.leg");

static PayStmt resolve_codes = PAY_STMT(SPI_OK_SELECT,
	"SELECT n.i, a.account_id"
	" FROM unnest($1, $2, $3) WITH ORDINALITY n(merchant, code, currency, i)"
	" JOIN payments.account a ON a.merchant = n.merchant AND a.code = n.code AND a.currency = n.currency AND a.from_template",
	TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID);

static PayStmt open_from_templates = PAY_STMT(SPI_OK_INSERT,
	"INSERT INTO payments.account (merchant, code, currency, type, hot, min_balance, max_balance, from_template)"
	" SELECT n.merchant, n.code, n.currency, t.type, t.hot, t.min_balance, t.max_balance, true"
	" FROM unnest($1, $2, $3, $4) WITH ORDINALITY n(merchant, code, currency, template, i)"
	" CROSS JOIN LATERAL (SELECT * FROM payments.account_template WHERE account_template.code = n.template"
	"                     ORDER BY builtin LIMIT 1) t"
	" ORDER BY n.i"
	" ON CONFLICT ON CONSTRAINT account_once DO NOTHING",
	TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID);

/* ---------- movements of payments ---------- */

void
pay_ledger_post_movements(const PayMovement *movements, int n)
{
	MemoryContext context;
	MemoryContext caller;
	PayPostingBatch batch = {.all_or_nothing = true};
	AccountName *names;
	int			n_names;

	Assert(n >= 0 && n <= PAY_POSTINGS_MAX);
	if (n == 0)
		return;
	context = AllocSetContextCreate(CurrentMemoryContext, "payments postings", ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(context);
	pay_spi_begin();

	n_names = expand_movements(movements, n, &batch, &names);
	resolve_names(names, n_names);
	share_hot(names, n_names);
	pay_ledger_lock_accounts(&batch);
	pay_ledger_write(&batch);

	pay_spi_end();
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
}

/* Reads the rules, sorted by event and leg; returns how many. */
static int
load_rules(Rule **rules)
{
	int			n = (int) pay_spi_exec(&read_rules, NULL);

	*rules = palloc(sizeof(Rule) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		Rule	   *rule = &(*rules)[i];

		rule->event = pay_spi_text(i, 1);
		rule->leg = pay_spi_int32(i, 2);
		rule->debit = pay_spi_text(i, 3);
		rule->credit = pay_spi_text(i, 4);
		rule->description = pay_spi_text(i, 5);
	}
	return n;
}

/* How many rules an event has, and where they begin; raises if there are none. */
static int
find_rules(const Rule *rules, int n_rules, const char *event, int *first)
{
	int			count = 0;

	for (int i = 0; i < n_rules; i++)
		if (strcmp(rules[i].event, event) == 0 && count++ == 0)
			*first = i;
	if (count == 0)
		ereport(ERROR,
				(errcode(PAY_ERR_POSTING_RULE),
				 errmsg("event \"%s\" has no posting rule", event),
				 errhint("Add a row for it to payments.posting_rule.")));
	return count;
}

/* Puts names in the place of {psp} and {bank}. */
static char *
expand_code(const char *code, const PayMovement *movement)
{
	StringInfoData out;
	const char *mark;

	initStringInfo(&out);
	while ((mark = strchr(code, '{')) != NULL)
	{
		const char *value = strncmp(mark, "{psp}", 5) == 0 ? movement->psp :
			strncmp(mark, "{bank}", 6) == 0 ? movement->bank : NULL;

		appendBinaryStringInfo(&out, code, (int) (mark - code));
		appendStringInfoString(&out, value ? value : "{");
		code = value ? strchr(mark, '}') + 1 : mark + 1;
	}
	appendStringInfoString(&out, code);
	return out.data;
}

/* Turns movements into postings; returns the number of account names, two a posting. */
static int
expand_movements(const PayMovement *movements, int n, PayPostingBatch *batch, AccountName **names)
{
	Rule	   *rules;
	int			n_rules = load_rules(&rules);
	int			n_names = 0;
	int			first = 0;

	for (int i = 0; i < n; i++)
		batch->n += find_rules(rules, n_rules, movements[i].event, &first);
	batch->postings = palloc0(sizeof(PayPosting) * batch->n);
	*names = palloc(sizeof(AccountName) * 2 * batch->n);

	for (int i = 0; i < n; i++)
	{
		const PayMovement *movement = &movements[i];
		int			legs = find_rules(rules, n_rules, movement->event, &first);

		Assert(movement->amount != 0 && movement->reference != NULL);
		for (const Rule *rule = &rules[first]; rule < &rules[first + legs]; rule++)
		{
			PayPosting *posting = &batch->postings[n_names / 2];

			posting->asked = movement->amount > 0 ? movement->amount : - movement->amount;
			posting->kind = movement->event;
			posting->reference = psprintf("%s:%d", movement->reference, rule->leg);
			posting->description = rule->description;
			posting->payment_id = movement->payment_id;
			posting->own = true;
			(*names)[n_names++] = (AccountName) {movement->merchant, expand_code(rule->debit, movement),
			movement->currency, rule->debit,
			movement->amount > 0 ? &posting->debit : &posting->credit};
			(*names)[n_names++] = (AccountName) {movement->merchant, expand_code(rule->credit, movement),
			movement->currency, rule->credit,
			movement->amount > 0 ? &posting->credit : &posting->debit};
		}
	}
	return n_names;
}

/* ---------- accounts by name ---------- */

/* Finds the id of every name; opens accounts that are missing. */
static void
resolve_names(AccountName *names, int n)
{
	const AccountName **distinct = palloc(sizeof(AccountName *) * n);
	int			n_distinct = distinct_names(names, n, distinct);
	int64	   *ids = palloc0(sizeof(int64) * n_distinct);
	int			k = 0;

	if (find_accounts(distinct, n_distinct, ids) < n_distinct)
	{
		open_accounts(distinct, n_distinct, ids);
		find_accounts(distinct, n_distinct, ids);
	}
	for (int i = 0; i < n_distinct; i++)
		if (ids[i] == 0)
			ereport(ERROR,
					(errcode(PAY_ERR_POSTING_RULE),
					 errmsg("account \"%s\" does not exist and has no template", distinct[i]->code),
					 errhint("Add a row with code \"%s\" to payments.account_template.", distinct[i]->template)));

	/* names is sorted now, so its groups follow distinct. */
	for (int i = 0; i < n; i++)
	{
		if (compare_names(&names[i], distinct[k]) != 0)
			k++;
		*names[i].account_id = ids[k];
	}
}

/* Sorted by merchant. */
static void
share_hot(const AccountName *names, int n)
{
	for (int i = 0; i < n; i++)
		if (i == 0 || strcmp(names[i].merchant, names[i - 1].merchant) != 0)
			(void) pay_ledger_share_hot(names[i].merchant);
}

/* Sorts the names; returns the number of different ones, and the first of each. */
static int
distinct_names(AccountName *names, int n, const AccountName **distinct)
{
	int			count = 0;

	qsort(names, n, sizeof(AccountName), compare_names);
	for (int i = 0; i < n; i++)
		if (count == 0 || compare_names(&names[i], distinct[count - 1]) != 0)
			distinct[count++] = &names[i];
	return count;
}

/* By bytes, so that all sessions open accounts in the same order. */
static int
compare_names(const void *a, const void *b)
{
	const AccountName *x = a;
	const AccountName *y = b;
	int			order = strcmp(x->merchant, y->merchant);

	if (order == 0)
		order = strcmp(x->code, y->code);
	return order ? order : strcmp(x->currency, y->currency);
}

/* Fills in the ids of accounts that exist; returns how many do. */
static int
find_accounts(const AccountName **names, int n, int64 *account_ids)
{
	PayArgs		args = {0};
	const char **column = palloc(sizeof(char *) * n);
	uint64		found;

	for (int i = 0; i < n; i++)
		column[i] = names[i]->merchant;
	pay_arg_text_array(&args, column, n);
	for (int i = 0; i < n; i++)
		column[i] = names[i]->code;
	pay_arg_text_array(&args, column, n);
	for (int i = 0; i < n; i++)
		column[i] = names[i]->currency;
	pay_arg_text_array(&args, column, n);

	found = pay_spi_exec(&resolve_codes, &args);
	for (uint64 row = 0; row < found; row++)
		account_ids[pay_spi_int64(row, 1) - 1] = pay_spi_int64(row, 2);
	return (int) found;
}

/* Opens those without an id, in name order; leaves alone what others opened meanwhile and what has no template. */
static void
open_accounts(const AccountName **names, int n, const int64 *account_ids)
{
	PayArgs		args = {0};
	const char **columns[4];
	int			missing = 0;

	for (int k = 0; k < 4; k++)
		columns[k] = palloc(sizeof(char *) * n);
	for (int i = 0; i < n; i++)
	{
		if (account_ids[i] != 0)
			continue;
		columns[0][missing] = names[i]->merchant;
		columns[1][missing] = names[i]->code;
		columns[2][missing] = names[i]->currency;
		columns[3][missing] = names[i]->template;
		missing++;
	}
	for (int k = 0; k < 4; k++)
		pay_arg_text_array(&args, columns[k], missing);
	pay_spi_exec(&open_from_templates, &args);
}
