/*
 * src/ledger/permission.c
 *		Who may post to the accounts of a batch, or hold on them.
 *
 * Asked before anything is locked: whoever may not act for a merchant must not
 * keep its accounts from others while it waits for one of its own.  And asked
 * again under the locks, since a merchant may have been given to another role
 * while the caller waited.
 *
 * Whose an account is never changes, and its id is not given to another; so the
 * first question takes no query for accounts that the session has met before.
 * What is remembered belongs to the process, and to the table that it was read
 * from.  It decides nothing by itself: the second question goes by the rows.
 */
#include "payments.h"

#include "ledger/permission.h"

#include "core/merchant.h"
#include "core/spi.h"
#include "ledger/hot.h"
#include "ledger/write.h"

#include "catalog/pg_type_d.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/* When full, it begins anew. */
#define KNOWN_MAX 16384

typedef struct KnownAccount
{
	int64		account_id;
	char		merchant[NAMEDATALEN];
} KnownAccount;

static HTAB *known = NULL;
static Oid	known_table = InvalidOid;

static void begin(void);
static bool require(const char *merchant, const char **last);
static void look_up(const int64 *ids, int n);
static void remember(int64 account_id, const char *merchant);

static PayStmt find_merchants = PAY_STMT(SPI_OK_SELECT,
	"SELECT account_id, merchant FROM payments.account WHERE account_id = ANY ($1)", INT8ARRAYOID);

void
pay_ledger_lock_own_accounts(PayPostingBatch *batch)
{
	const char *last = NULL;

	pay_ledger_require_merchants(batch);
	pay_ledger_lock_accounts(batch);
	for (int i = 0; i < batch->n_accounts; i++)
		if (require(batch->accounts[i].merchant, &last))
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("account " INT64_FORMAT " was opened just now", batch->accounts[i].account_id),
					 errhint("Repeat the transaction.")));
}

void
pay_ledger_require_merchants(const PayPostingBatch *batch)
{
	int64	   *unknown = palloc(sizeof(int64) * 2 * Max(batch->n, 1));
	int			n = 0;
	const char *last = NULL;

	begin();
	for (int i = 0; i < 2 * batch->n; i++)
	{
		const PayPosting *posting = &batch->postings[i / 2];
		int64		account_id = i % 2 ? posting->credit : posting->debit;
		KnownAccount *account = hash_search(known, &account_id, HASH_FIND, NULL);

		if (account)
			require(account->merchant, &last);
		else
			unknown[n++] = account_id;
	}
	if (n > 0)
		look_up(unknown, n);
	pfree(unknown);
}

static void
begin(void)
{
	Oid			table = get_relname_relid("account", pay_schema_oid());
	HASHCTL		control = {.keysize = sizeof(int64), .entrysize = sizeof(KnownAccount), .hcxt = TopMemoryContext};

	if (known && (known_table != table || hash_get_num_entries(known) >= KNOWN_MAX))
	{
		hash_destroy(known);
		known = NULL;
	}
	if (known == NULL)
		known = hash_create("payments accounts", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	known_table = table;
}

/* May the caller act for it?  Then it shares the merchant's lock from now on; returns whether it did not before.  Most batches are one merchant's. */
static bool
require(const char *merchant, const char **last)
{
	bool		same = *last != NULL && strcmp(*last, merchant) == 0;

	*last = merchant;
	if (same)
		return false;
	pay_require_merchant(merchant);
	return pay_ledger_share_hot(merchant);
}

/* What does not exist is nobody's; whoever reads the accounts says so. */
static void
look_up(const int64 *ids, int n)
{
	PayArgs		args = {0};
	const char **merchants;
	const char *last = NULL;
	int			found;

	pay_arg_int64_array(&args, ids, n);
	found = (int) pay_spi_exec(&find_merchants, &args);
	merchants = palloc(sizeof(char *) * Max(found, 1));
	for (int i = 0; i < found; i++)
	{
		merchants[i] = pay_spi_text(i, 2);
		remember(pay_spi_int64(i, 1), merchants[i]);
	}
	for (int i = 0; i < found; i++)
		require(merchants[i], &last);
	pfree(merchants);
}

static void
remember(int64 account_id, const char *merchant)
{
	KnownAccount *account;

	if (strlen(merchant) >= NAMEDATALEN || hash_get_num_entries(known) >= KNOWN_MAX)
		return;
	account = hash_search(known, &account_id, HASH_ENTER, NULL);
	strlcpy(account->merchant, merchant, sizeof(account->merchant));
}
