/*
 * src/payment/idempotency.c
 *		A repeated call does nothing again (promise 7).
 *
 * The key row is inserted before the effect and in the same transaction, so a
 * key can never stick "in progress": it is there with its result, or it is
 * not there.  A twin that comes meanwhile waits in the unique index; when the
 * first commits it finds the row and replays, when the first rolls back it
 * takes over.  At REPEATABLE READ and above the server raises 40001 instead,
 * and the client's retry replays.
 */
#include "payments.h"

#include "payment/idempotency.h"

#include "core/arguments.h"
#include "core/installation.h"
#include "core/merchant.h"
#include "core/spi.h"

#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

/* Of decisions about what a PSP or bank says: no client takes a key that one will need. */
#define OWN_PREFIX "payments:"

#define BASE32 "abcdefghijklmnopqrstuvwxyz234567"
/* 215 bits of the hash; as much as fits beside the tag into what PSPs take. */
#define REF_HASH_CHARS (PAY_PSP_REF_CHARS - PAY_TAG_CHARS - 1)

static PayStmt find_key = PAY_STMT(SPI_OK_SELECT,
	"SELECT k.verb, k.request_hash, k.payment_id, k.operation_id, "
	" coalesce(CASE WHEN starts_with(k.verb, 'create_') THEN p.status ELSE o.status END, k.status) "
	"FROM payments.idempotency_key k LEFT JOIN payments.payment p ON p.payment_id = k.payment_id "
	"LEFT JOIN payments.operation o ON o.operation_id = k.operation_id WHERE k.merchant = $1 AND k.key = $2", TEXTOID, TEXTOID);

/* A PSP or an amount that was left out was found by us: it cannot be told from one that was given. */
static PayStmt find_difference = PAY_STMT(SPI_OK_SELECT,
	"SELECT string_agg(u.name, ', ' ORDER BY u.n) FROM unnest($3, $4) WITH ORDINALITY u (name, value, n), "
	" (SELECT to_jsonb(p) AS facts FROM payments.payment p WHERE p.payment_id = $1 AND $2 "
	"  UNION ALL SELECT to_jsonb(o) FROM payments.operation o WHERE o.operation_id = $1 AND NOT $2) f "
	"WHERE f.facts ->> u.name IS DISTINCT FROM u.value AND NOT (u.name IN ('psp', 'amount') AND u.value IS NULL)",
	UUIDOID, BOOLOID, TEXTARRAYOID, TEXTARRAYOID);

static PayStmt insert_key = PAY_STMT(SPI_OK_INSERT,
	"INSERT INTO payments.idempotency_key (merchant, key, verb, request_hash, payment_id, operation_id, status, created_at) "
	"VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (merchant, key) DO NOTHING",
	TEXTOID, TEXTOID, TEXTOID, BYTEAOID, UUIDOID, UUIDOID, TEXTOID, TIMESTAMPTZOID);

static const char *difference(const PayFirstResult *first, bool of_payment, const PayAsked *asked);

PAY_FUNCTION(pay_is_foreign);

void
pay_idempotency_check_key(const char *key)
{
	/* A key is for what writes. */
	pay_require_writable();
	if (key == NULL || key[0] == '\0')
		ereport(ERROR,
				(errcode(PAY_ERR_KEY_INVALID),
				 errmsg("idempotency key is missing"),
				 errhint("Use a key that names the intent and survives a retry, such as the order number: \"order-42\".")));
	if (pg_mbstrlen(key) > PAY_KEY_CHARS_MAX)
		ereport(ERROR,
				(errcode(PAY_ERR_KEY_INVALID),
				 errmsg("idempotency key is longer than %d characters", PAY_KEY_CHARS_MAX),
				 errhint("Hash long keys before use.")));
	if (strncmp(key, OWN_PREFIX, strlen(OWN_PREFIX)) == 0 && !pay_carries_out_decision())
		ereport(ERROR,
				(errcode(PAY_ERR_KEY_INVALID),
				 errmsg("idempotency keys that begin with \"%s\" are the system's", OWN_PREFIX),
				 errhint("Begin yours with another word.")));
	for (const unsigned char *p = (const unsigned char *) key; *p; p++)
		if (*p < 0x20 || *p == 0x7f)
			ereport(ERROR,
					(errcode(PAY_ERR_KEY_INVALID),
					 errmsg("idempotency key contains a control character"),
					 errhint("Use printable characters only.")));
}

bool
pay_idempotency_find(const char *merchant, const char *key, const char *verb,
					 const uint8 *request_hash, const PayAsked *asked, PayFirstResult *first)
{
	PayArgs		args = {0};
	bytea	   *hash;
	char	   *first_verb;
	bool		same_verb;

	pay_arg_text(&args, merchant);
	pay_arg_text(&args, key);
	if (pay_spi_exec(&find_key, &args) == 0)
		return false;

	first_verb = pay_spi_text(0, 1);
	hash = pay_spi_bytea(0, 2);
	first->payment_id = pay_spi_uuid(0, 3);
	first->operation_id = pay_spi_uuid(0, 4);
	first->status = pay_spi_text(0, 5);
	same_verb = strcmp(first_verb, verb) == 0;
	if (!same_verb || VARSIZE_ANY_EXHDR(hash) != PAY_HASH_BYTES ||
		memcmp(VARDATA_ANY(hash), request_hash, PAY_HASH_BYTES) != 0)
		ereport(ERROR,
				(errcode(PAY_ERR_KEY_REUSED),
				 errmsg("idempotency key was used before with another request"),
				 same_verb
				 ? errdetail("It belongs to a call of %s() %s.", verb, difference(first, strncmp(verb, "create_", 7) == 0, asked))
				 : errdetail("It belongs to a call of %s().", first_verb),
				 errhint("Repeat a call with exactly the same arguments; use a new key for a new intent.")));
	return true;
}

/* Which arguments are not those of the first call? */
static const char *
difference(const PayFirstResult *first, bool of_payment, const PayAsked *asked)
{
	const char *names[PAY_ASKED_MAX];
	const char *values[PAY_ASKED_MAX];
	int			n = 0;
	PayArgs		args = {0};
	char	   *found;

	for (; asked[n].name; n++)
	{
		names[n] = asked[n].name;
		values[n] = asked[n].value;
	}
	pay_arg_uuid(&args, of_payment ? &first->payment_id : &first->operation_id);
	pay_arg_bool(&args, of_payment);
	pay_arg_text_array(&args, names, n);
	pay_arg_text_array(&args, values, n);
	pay_spi_exec(&find_difference, &args);
	found = pay_spi_text(0, 1);
	return found ? psprintf("with another %s", found) : "in which an argument was left out that is given now, or the other way round";
}

bool
pay_idempotency_insert(const char *merchant, const char *key, const char *verb,
					   const uint8 *request_hash, const PayFirstResult *result, TimestampTz now)
{
	PayArgs		args = {0};

	pay_arg_text(&args, merchant);
	pay_arg_text(&args, key);
	pay_arg_text(&args, verb);
	pay_arg_bytes(&args, request_hash, PAY_HASH_BYTES);
	pay_arg_uuid(&args, &result->payment_id);
	pay_arg_uuid(&args, &result->operation_id);
	pay_arg_text(&args, result->status);
	pay_arg_time(&args, now);
	return pay_spi_exec(&insert_key, &args) == 1;
}

/* A marker in front of each hash keeps the two uses apart. */
char *
pay_idempotency_psp_ref(const char *merchant, const char *key, const char *operation)
{
	PayInstallation installation = pay_installation();
	PaySha256  *sha = pay_sha_begin();
	uint8		hash[PAY_HASH_BYTES];

	pay_sha_add_text(sha, "payments.psp_ref.2");
	pay_sha_add_bytes(sha, installation.salt, PAY_SALT_BYTES);
	pay_sha_add_text(sha, merchant);
	pay_sha_add_text(sha, key);
	pay_sha_add_text(sha, operation);
	pay_sha_finish(sha, hash);
	return psprintf("%s_%.*s", installation.tag, REF_HASH_CHARS, pay_base32(hash, PAY_HASH_BYTES));
}

bool
pay_idempotency_is_foreign(const char *psp_ref)
{
	PayInstallation installation;

	if (psp_ref == NULL || strspn(psp_ref, BASE32) != PAY_TAG_CHARS || psp_ref[PAY_TAG_CHARS] != '_' ||
		strspn(psp_ref + PAY_TAG_CHARS + 1, BASE32) != REF_HASH_CHARS || psp_ref[PAY_PSP_REF_CHARS] != '\0')
		return false;
	installation = pay_installation();
	return strncmp(psp_ref, installation.tag, PAY_TAG_CHARS) != 0;
}

/* _is_foreign(reference) */
Datum
pay_is_foreign(PG_FUNCTION_ARGS)
{
	bool		foreign;

	pay_spi_begin();
	foreign = pay_idempotency_is_foreign(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	pay_spi_end();
	PG_RETURN_BOOL(foreign);
}

char *
pay_idempotency_psp_key(const char *psp_ref, int generation, int step)
{
	PayInstallation installation = pay_installation();
	PaySha256  *sha = pay_sha_begin();
	uint8		hash[PAY_HASH_BYTES];

	pay_sha_add_text(sha, "payments.psp_key.2");
	/* Not of the reference alone: that can be read at the PSP. */
	pay_sha_add_bytes(sha, installation.salt, PAY_SALT_BYTES);
	pay_sha_add_text(sha, psp_ref);
	pay_sha_add_int64(sha, generation);
	/* The first step's is as it was before there were any. */
	if (step > 1)
		pay_sha_add_int64(sha, step);
	pay_sha_finish(sha, hash);
	return pay_base32(hash, PAY_HASH_BYTES);
}
