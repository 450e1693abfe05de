/*
 * src/ledger/post.c
 *		The ledger's verbs that post: one at a time, and batches.
 *
 * The verbs check what they are given, whether the caller may act for the
 * merchants whose accounts they name, and hand a batch to ledger/write.c.
 * They run as payments_owner.
 */
#include "payments.h"

#include "core/arguments.h"
#include "core/caller.h"
#include "core/line.h"
#include "core/spi.h"
#include "ledger/batch.h"
#include "ledger/check.h"
#include "ledger/movement.h"
#include "ledger/permission.h"
#include "ledger/refusal.h"
#include "ledger/write.h"

#include "catalog/pg_type_d.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

/* An array argument taken apart. */
typedef struct Elements
{
	Datum	   *values;			/* NULL: the argument is null */
	bool	   *nulls;
} Elements;

static char *required_element(char **values, int i, const char *name);
static int64 *int64_array(FunctionCallInfo fcinfo, int n, const char *name, int *count);
static char **text_array(FunctionCallInfo fcinfo, int n, const char *name, int count);
static Elements elements(FunctionCallInfo fcinfo, int n, const char *name, int count, Oid type);
static void require_count(const ArrayType *array, int length, const char *name, int count);

static void post_alone(PayPosting *posting);
static void require_posting(const PayPosting *posting);
static void read_batch(FunctionCallInfo fcinfo, PayPostingBatch *batch);
static int	check_element(const PayPosting *posting);
static void require_groups(PayPostingBatch *batch);
static int	compare_int(const void *a, const void *b);
static void return_outcomes(ReturnSetInfo *result, const PayPostingBatch *batch);

PAY_FUNCTION(pay_post);
PAY_FUNCTION(pay_post_own);
PAY_FUNCTION(pay_post_batch);
PAY_FUNCTION(pay_post_movements);

/* ---------- posting ---------- */

PAY_VERB(pay_post)
{
	PayPosting	posting = {0};

	pay_refuse_card_arguments(fcinfo);
	pay_require_given(fcinfo, 0, "debit");
	pay_require_given(fcinfo, 1, "credit");
	pay_require_given(fcinfo, 2, "amount");
	pay_require_given(fcinfo, 5, "kind");
	pay_require_given(fcinfo, 7, "balancing");
	pay_require_given(fcinfo, 8, "imported");
	posting.debit = PG_GETARG_INT64(0);
	posting.credit = PG_GETARG_INT64(1);
	posting.asked = PG_GETARG_INT64(2);
	posting.reference = pay_text_argument(fcinfo, 3);
	posting.description = pay_text_argument(fcinfo, 4);
	posting.kind = pay_text_argument(fcinfo, 5);
	posting.has_effective_at = !PG_ARGISNULL(6);
	posting.effective_at = posting.has_effective_at ? PG_GETARG_TIMESTAMPTZ(6) : 0;
	posting.balancing = PG_GETARG_BOOL(7);
	posting.imported = PG_GETARG_BOOL(8);
	post_alone(&posting);
	PG_RETURN_INT64(posting.posting_id);
}

/* _post_own(): what a person's decision posts. */
Datum
pay_post_own(PG_FUNCTION_ARGS)
{
	PayPosting	posting = {.own = true};

	posting.debit = PG_GETARG_INT64(0);
	posting.credit = PG_GETARG_INT64(1);
	posting.asked = PG_GETARG_INT64(2);
	posting.reference = pay_text_argument(fcinfo, 3);
	posting.description = pay_text_argument(fcinfo, 4);
	posting.kind = pay_text_argument(fcinfo, 5);
	post_alone(&posting);
	PG_RETURN_INT64(posting.posting_id);
}

static void
post_alone(PayPosting *posting)
{
	PayPostingBatch batch = {.all_or_nothing = true,.n = 1,.postings = posting};

	require_posting(posting);
	pay_spi_begin();
	pay_ledger_lock_own_accounts(&batch);
	posting->invalid = pay_ledger_check_accounts(posting);
	if (posting->invalid)
	{
		posting->error = posting->invalid;
		pay_ledger_raise(posting);
	}
	pay_ledger_write(&batch);
	pay_spi_end();
}

/* What can be said without a look at the accounts. */
static void
require_posting(const PayPosting *posting)
{
	if (posting->asked <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("amount must be above zero"),
				 errhint("To move money the other way, exchange debit and credit.")));
	if (posting->debit == posting->credit)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cannot post from an account to itself"),
				 errhint("Name two different accounts.")));
	if (TIMESTAMP_NOT_FINITE(posting->effective_at))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("effective_at must be a finite time"),
				 errhint("Leave it out for now.")));
	if (posting->reference)
	{
		pay_require_length(posting->reference, PAY_REFERENCE_MAX, "reference");
		pay_require_line(posting->reference, "reference");
	}
	if (posting->description && posting->description[0] != '\0')
		pay_require_length(posting->description, PAY_DESCRIPTION_MAX, "description");
	pay_require_length(posting->kind, PAY_KIND_MAX, "kind");
	pay_require_line(posting->kind, "kind");
}

/* ---------- batches ---------- */

PAY_VERB_UNSEEN(pay_post_batch)
{
	PayPostingBatch batch = {0};

	pay_require_given(fcinfo, 9, "all_or_nothing");
	read_batch(fcinfo, &batch);
	batch.all_or_nothing = PG_GETARG_BOOL(9);

	InitMaterializedSRF(fcinfo, 0);
	pay_spi_begin();
	pay_ledger_lock_own_accounts(&batch);
	for (int i = 0; i < batch.n; i++)
	{
		PayPosting *posting = &batch.postings[i];

		if (posting->invalid == 0)
			posting->invalid = pay_ledger_check_accounts(posting);
		posting->error = posting->invalid;
		if (posting->error && batch.all_or_nothing)
			pay_ledger_raise(posting);
	}
	pay_ledger_write(&batch);
	pay_spi_end();

	return_outcomes((ReturnSetInfo *) fcinfo->resultinfo, &batch);
	return (Datum) 0;
}

static void
read_batch(FunctionCallInfo fcinfo, PayPostingBatch *batch)
{
	int64	   *debits = int64_array(fcinfo, 0, "debits", &batch->n);
	int64	   *credits = int64_array(fcinfo, 1, "credits", &batch->n);
	int64	   *amounts = int64_array(fcinfo, 2, "amounts", &batch->n);
	char	  **references = text_array(fcinfo, 3, "references", batch->n);
	char	  **descriptions = text_array(fcinfo, 4, "descriptions", batch->n);
	char	  **kinds = text_array(fcinfo, 5, "kinds", batch->n);
	Elements	times = elements(fcinfo, 6, "effective_at", batch->n, TIMESTAMPTZOID);
	Elements	groups = elements(fcinfo, 7, "groups", batch->n, INT4OID);
	Elements	balancing = elements(fcinfo, 8, "balancing", batch->n, BOOLOID);
	bool		imported;

	pay_require_given(fcinfo, 10, "imported");
	imported = PG_GETARG_BOOL(10);
	batch->postings = palloc0(sizeof(PayPosting) * Max(batch->n, 1));
	for (int i = 0; i < batch->n; i++)
	{
		PayPosting *posting = &batch->postings[i];

		posting->debit = debits[i];
		posting->credit = credits[i];
		posting->asked = amounts[i];
		posting->kind = kinds[i] ? kinds[i] : "manual";
		posting->reference = references[i];
		posting->description = descriptions[i];
		posting->has_effective_at = times.values && !times.nulls[i];
		posting->effective_at = posting->has_effective_at ? DatumGetTimestampTz(times.values[i]) : 0;
		posting->imported = imported;
		posting->link = groups.values && !groups.nulls[i] ? DatumGetInt32(groups.values[i]) : 0;
		posting->balancing = balancing.values && !balancing.nulls[i] && DatumGetBool(balancing.values[i]);
		posting->invalid = check_element(posting);
		if (groups.values && !groups.nulls[i] && posting->link <= 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("group %d is not above zero", posting->link),
					 errhint("Number groups from 1; null is a posting on its own.")));
	}
	require_groups(batch);
}

/* What post() checks of its arguments; 0 or an SQLSTATE.  A null in a bigint array reads as 0, which is no account and no amount. */
static int
check_element(const PayPosting *posting)
{
	if (posting->debit == 0 || posting->credit == 0 || posting->asked <= 0 || posting->debit == posting->credit ||
		TIMESTAMP_NOT_FINITE(posting->effective_at))
		return ERRCODE_INVALID_PARAMETER_VALUE;
	if (posting->reference && (posting->reference[0] == '\0' || strlen(posting->reference) > PAY_REFERENCE_MAX))
		return ERRCODE_INVALID_PARAMETER_VALUE;
	if (posting->description && strlen(posting->description) > PAY_DESCRIPTION_MAX)
		return ERRCODE_INVALID_PARAMETER_VALUE;
	if (posting->kind[0] == '\0' || strlen(posting->kind) > PAY_KIND_MAX)
		return ERRCODE_INVALID_PARAMETER_VALUE;
	if (!pay_is_line(posting->reference) || !pay_is_line(posting->kind))
		return ERRCODE_INVALID_PARAMETER_VALUE;
	if (pay_holds_card_number(posting->reference) || pay_holds_card_number(posting->description) ||
		pay_holds_card_number(posting->kind))
		return PAY_ERR_CARD_NUMBER;
	return 0;
}

/* A group is a run of neighbours; its repetition can be told only by the references of all.  One alone is not linked to anything. */
static void
require_groups(PayPostingBatch *batch)
{
	int		   *starts = palloc(sizeof(int) * Max(batch->n, 1));
	int			n = 0;

	for (int i = 0; i < batch->n; i++)
	{
		const PayPosting *posting = &batch->postings[i];
		bool		inside = i > 0 && posting->link != 0 && posting->link == posting[-1].link;

		if (posting->link != 0 && !inside)
			starts[n++] = posting->link;
		if (inside && (posting->reference == NULL) != (posting[-1].reference == NULL))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("group %d has postings with and without a reference", posting->link),
					 errhint("Give all of them references, or none.")));
	}
	qsort(starts, n, sizeof(int), compare_int);
	for (int i = 1; i < n; i++)
		if (starts[i] == starts[i - 1])
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("postings of group %d are not neighbours", starts[i]),
					 errhint("Put the postings of a group next to each other.")));
	for (int i = 0; i < batch->n; i++)
		if ((i == 0 || batch->postings[i].link != batch->postings[i - 1].link) &&
			(i + 1 == batch->n || batch->postings[i].link != batch->postings[i + 1].link))
			batch->postings[i].link = 0;
	pfree(starts);
}

static int
compare_int(const void *a, const void *b)
{
	int			x = *(const int *) a;
	int			y = *(const int *) b;

	return (x > y) - (x < y);
}

static void
return_outcomes(ReturnSetInfo *result, const PayPostingBatch *batch)
{
	for (int i = 0; i < batch->n; i++)
	{
		const PayPosting *posting = &batch->postings[i];
		Datum		values[4] = {Int32GetDatum(i + 1)};
		bool		nulls[4] = {false, posting->error != 0, posting->error == 0, posting->error != 0};

		if (posting->error == 0)
		{
			values[1] = Int64GetDatum(posting->posting_id);
			values[3] = Int64GetDatum(posting->amount);
		}
		else
			values[2] = CStringGetTextDatum(unpack_sql_state(posting->error));
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
}

/* _post_movements(): pay_ledger_post_movements() from SQL, all of one merchant, PSP and payment. */
Datum
pay_post_movements(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {"amounts", "events", "references", "merchant", "psp", "currency"};
	PayMovement *movements;
	int			n;
	int64	   *amounts = int64_array(fcinfo, 0, names[0], &n);
	char	  **events = text_array(fcinfo, 1, names[1], n);
	char	  **references = text_array(fcinfo, 2, names[2], n);

	for (int i = 0; i < (int) lengthof(names); i++)
		pay_require_given(fcinfo, i, names[i]);
	movements = palloc0(sizeof(PayMovement) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		movements[i].amount = amounts[i];
		movements[i].event = required_element(events, i, names[1]);
		movements[i].reference = required_element(references, i, names[2]);
		movements[i].merchant = pay_text_argument(fcinfo, 3);
		movements[i].psp = pay_text_argument(fcinfo, 4);
		movements[i].currency = pay_text_argument(fcinfo, 5);
		movements[i].bank = PG_ARGISNULL(7) ? NULL : pay_text_argument(fcinfo, 7);
		movements[i].payment_id = PG_ARGISNULL(6) ? NULL : PG_GETARG_UUID_P(6);
		if (amounts[i] == 0 || amounts[i] == PG_INT64_MIN)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("amount must not be zero"),
					 errhint("Leave out what moves nothing.")));
	}
	pay_ledger_post_movements(movements, n);
	PG_RETURN_VOID();
}

static char *
required_element(char **values, int i, const char *name)
{
	if (values[i] == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not contain nulls", name),
				 errhint("Pass a value for every element.")));
	return values[i];
}

/* A bigint[] argument, nulls as 0.  *count is its length; if it is set already the length must be the same. */
static int64 *
int64_array(FunctionCallInfo fcinfo, int n, const char *name, int *count)
{
	ArrayType  *array;
	Datum	   *values;
	bool	   *nulls;
	int64	   *result;
	int			length;

	pay_require_given(fcinfo, n, name);
	array = PG_GETARG_ARRAYTYPE_P(n);
	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be an array of one dimension", name),
				 errhint("Pass one element per posting.")));
	deconstruct_array(array, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &values, &nulls, &length);
	if (n > 0 && length != *count)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s has %d elements, but debits has %d", name, length, *count),
				 errhint("Pass one element per posting in every array.")));
	if (length > PAY_POSTINGS_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a batch of %d postings is too large", length),
				 errhint("Post at most %d in one call.", PAY_POSTINGS_MAX)));
	result = palloc(sizeof(int64) * Max(length, 1));
	for (int i = 0; i < length; i++)
		result[i] = nulls[i] ? 0 : DatumGetInt64(values[i]);
	*count = length;
	return result;
}

/* An optional array argument of fixed-width elements; values is NULL if it was not given. */
static Elements
elements(FunctionCallInfo fcinfo, int n, const char *name, int count, Oid type)
{
	Elements	result = {0};
	ArrayType  *array;
	int16		width;
	bool		byval;
	char		align;
	int			length;

	if (PG_ARGISNULL(n))
		return result;
	array = PG_GETARG_ARRAYTYPE_P(n);
	get_typlenbyvalalign(type, &width, &byval, &align);
	deconstruct_array(array, type, width, byval, align, &result.values, &result.nulls, &length);
	require_count(array, length, name, count);
	return result;
}

/* A text[] argument with `count` elements, null elements as NULL; all NULL if the argument is null. */
static char **
text_array(FunctionCallInfo fcinfo, int n, const char *name, int count)
{
	ArrayType  *array;
	Datum	   *values;
	bool	   *nulls;
	char	  **result = palloc0(sizeof(char *) * Max(count, 1));
	int			length;

	if (PG_ARGISNULL(n))
		return result;
	array = PG_GETARG_ARRAYTYPE_P(n);
	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &values, &nulls, &length);
	require_count(array, length, name, count);
	for (int i = 0; i < length; i++)
		if (!nulls[i])
			result[i] = TextDatumGetCString(values[i]);
	return result;
}

static void
require_count(const ArrayType *array, int length, const char *name, int count)
{
	if (ARR_NDIM(array) > 1 || length != count)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be an array of one dimension with %d elements", name, count),
				 errhint("Pass one element per posting, null where there is none, or leave the argument out.")));
}
