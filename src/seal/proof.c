/*
 * src/seal/proof.c
 *		Proofs that a row was sealed, for those who do not see the database.
 *
 * A proof holds the row, its way to the root of its table, and the header of
 * its block, so that whoever has the block's hash (from a heads file, from a
 * webhook) can recompute it.  Later blocks can follow, up to a head that the
 * reader has.  The text's form is in seal/block.c.
 */
#include "payments.h"

#include "base/digest.h"
#include "core/arguments.h"
#include "core/caller.h"
#include "seal/leaf.h"
#include "seal/row.h"

#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

/* Blocks that one proof may hold. */
#define PROOF_BLOCKS_MAX 10000

static PaySealTable *table_argument(FunctionCallInfo fcinfo, int n);
static void find_row(PaySealTable *table, Datum key, StringInfo row, uint64 *xid, const char **tree);
static char *key_names(const PaySealTable *table);
static void put_row(PayHasher *hasher, const char *name, StringInfo row, int64 block, StringInfo proof);
pg_noreturn static void refuse_row(const char *name, int64 block);
static void put_blocks(int64 from, int64 to, StringInfo proof);
static void put_hex(StringInfo out, const void *data, size_t bytes);
static Datum row_json(const uint8 *row, size_t bytes, Datum *name);
static void put_field(StringInfo json, const PayField *field);
static void put_string(StringInfo json, const char *text, size_t bytes);

static PayStmt find_block = PAY_STMT(SPI_OK_SELECT,
	"SELECT s.block FROM payments.seal s WHERE s.to_xid > $1 AND s.from_xid <= $1 ORDER BY s.to_xid LIMIT 1", XID8OID);
static PayStmt find_sealed = PAY_STMT(SPI_OK_SELECT,
	"SELECT t.rows, t.root FROM payments.seal_table t WHERE t.block = $1 AND t.name = $2", INT8OID, TEXTOID);
static PayStmt read_blocks = PAY_STMT(SPI_OK_SELECT,
	"SELECT s.block, s.previous, s.from_xid::text, s.to_xid::text, s.sealed_at, t.name, t.rows, t.root "
	"FROM payments.seal s LEFT JOIN payments.seal_table t ON t.block = s.block "
	"WHERE s.block BETWEEN $1 AND $2 ORDER BY s.block, t.name COLLATE \"C\"", INT8OID, INT8OID);

PAY_FUNCTION(pay_seal_proof);
PAY_FUNCTION(pay_verify_proof);
PAY_FUNCTION(pay_seal_row_sql);

/* ---------- making ---------- */

/* seal_proof(table_name, row_key, head_block) */
PAY_VERB(pay_seal_proof)
{
	PaySealTable *table;
	PayHasher  *hasher;
	StringInfoData row,
				proof;
	PayArgs		args = {0};
	uint64		xid;
	const char *tree;
	int64		block,
				head;

	pay_refuse_card_arguments(fcinfo);
	table = table_argument(fcinfo, 0);
	if (PG_ARGISNULL(1) || !JB_ROOT_IS_OBJECT(PG_GETARG_JSONB_P(1)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("row_key is not a JSON object"),
				 errhint("Name the key columns and their values, such as {\"posting_id\": 42}.")));
	initStringInfo(&row);
	initStringInfo(&proof);
	pay_spi_begin();
	find_row(table, PG_GETARG_DATUM(1), &row, &xid, &tree);
	pay_arg_xid8(&args, xid);
	if (pay_spi_exec(&find_block, &args) == 0)
		ereport(ERROR,
				(errcode(PAY_ERR_NOT_SEALED),
				 errmsg("the row is not sealed yet"),
				 errhint("The worker seals every payments.seal_interval; SELECT payments.seal_blocks() does it now.")));
	block = pay_spi_int64(0, 1);
	head = PG_ARGISNULL(2) ? block : PG_GETARG_INT64(2);
	if (head < block || head - block >= PROOF_BLOCKS_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("head_block must be one of the %d blocks from " INT64_FORMAT " on", PROOF_BLOCKS_MAX, block),
				 errhint("Leave it out for a proof against the head of the row's own block.")));

	appendStringInfoString(&proof, "payments proof 1\nrow ");
	put_hex(&proof, row.data, row.len);
	appendStringInfoChar(&proof, '\n');
	hasher = pay_hasher_begin();
	put_row(hasher, tree, &row, block, &proof);
	pay_hasher_end(hasher);
	put_blocks(block, head, &proof);
	pay_spi_end();
	PG_RETURN_TEXT_P(cstring_to_text_with_len(proof.data, proof.len));
}

/* _seal_row(table_name, row_key): the bytes that are sealed. */
Datum
pay_seal_row_sql(PG_FUNCTION_ARGS)
{
	PaySealTable *table = table_argument(fcinfo, 0);
	StringInfoData row;
	uint64		xid;
	const char *tree;

	initStringInfo(&row);
	pay_spi_begin();
	find_row(table, PG_GETARG_DATUM(1), &row, &xid, &tree);
	pay_spi_end();
	PG_RETURN_BYTEA_P(cstring_to_text_with_len(row.data, row.len));
}

static PaySealTable *
table_argument(FunctionCallInfo fcinfo, int n)
{
	PaySealTable *table = PG_ARGISNULL(n) ? NULL : pay_seal_table_find(text_to_cstring(PG_GETARG_TEXT_PP(n)));
	StringInfoData names;

	if (table)
		return table;
	initStringInfo(&names);
	for (int i = 0; i < pay_seal_table_count(); i++)
		appendStringInfo(&names, "%s%s", i == 0 ? "" : ", ", pay_seal_table(i)->name);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("table_name does not name a sealed table"),
			 errhint("Sealed are %s.", names.data)));
}

static void
find_row(PaySealTable *table, Datum key, StringInfo row, uint64 *xid, const char **tree)
{
	PayArgs		args = {0};

	pay_arg_datum(&args, key, false);
	if (pay_spi_exec(&table->find, &args) != 1)
		ereport(ERROR,
				(errcode(PAY_ERR_ROW_NOT_FOUND),
				 errmsg("the row does not exist in table \"%s\"", table->name),
				 errhint("row_key names %s.", key_names(table))));
	pay_seal_row_bytes(table, row, xid, tree);
}

static char *
key_names(const PaySealTable *table)
{
	StringInfoData names;

	initStringInfo(&names);
	for (int i = 0; i < PAY_TABLE_KEY_MAX && table->key[i].name; i++)
		appendStringInfo(&names, "%s%s", i == 0 ? "" : ", ", table->key[i].name);
	return names.data;
}

/* Where the row's leaf stands, and the way from there to the sealed root. */
static void
put_row(PayHasher *hasher, const char *name, StringInfo row, int64 block, StringInfo proof)
{
	PayArgs		args = {0};
	PayLeafReader reader;
	PayMerkle	tree;
	PayMerklePath path;
	PayHash		leaf,
				root,
				sealed;
	const PayHash *stored;
	int64		rows,
				index = 0;

	pay_arg_int64(&args, block);
	pay_arg_text(&args, name);
	if (pay_spi_exec(&find_sealed, &args) != 1 || !pay_leaf_hash_copy(pay_spi_bytea(0, 2), &sealed))
		refuse_row(name, block);
	rows = pay_spi_int64(0, 1);
	pay_hasher_digest(hasher, row->data, row->len, &leaf);

	pay_leaf_reader_begin(&reader, block, name, rows);
	while ((stored = pay_leaf_at(&reader, index)) != NULL && memcmp(stored, &leaf, sizeof(PayHash)) != 0)
		index++;
	if (stored == NULL)
		refuse_row(name, block);
	pay_merkle_init(&tree, &path, index);
	while ((stored = pay_leaf_at(&reader, tree.leaves)) != NULL)
		pay_merkle_add(&tree, hasher, stored);
	pay_merkle_root(&tree, hasher, &root);
	pay_leaf_reader_end(&reader);
	if (tree.leaves != rows || memcmp(&root, &sealed, sizeof(PayHash)) != 0)
		refuse_row(name, block);

	appendStringInfo(proof, "leaf " INT64_FORMAT " of " INT64_FORMAT "\n", index, rows);
	for (int i = 0; i < path.n; i++)
	{
		appendStringInfoString(proof, "path ");
		put_hex(proof, path.hashes[i].bytes, PAY_HASH_BYTES);
		appendStringInfoChar(proof, '\n');
	}
}

static void
refuse_row(const char *name, int64 block)
{
	ereport(ERROR,
			(errcode(PAY_ERR_SEAL_BROKEN),
			 errmsg("the row is not as it was sealed"),
			 errdetail("Block " INT64_FORMAT " holds something else of \"%s\".", block, name),
			 errhint("SELECT * FROM payments.verify() says what was changed.")));
}

static void
put_blocks(int64 from, int64 to, StringInfo proof)
{
	PayArgs		args = {0};
	int64		last = 0;
	uint64		n;

	pay_arg_int64(&args, from);
	pay_arg_int64(&args, to);
	n = pay_spi_exec(&read_blocks, &args);
	for (uint64 i = 0; i < n; i++)
	{
		PayHash		hash;

		if (pay_spi_int64(i, 1) != last)
		{
			pay_leaf_hash(pay_spi_bytea(i, 2), &hash);
			last = pay_spi_int64(i, 1);
			appendStringInfo(proof, "block " INT64_FORMAT " ", last);
			put_hex(proof, hash.bytes, PAY_HASH_BYTES);
			appendStringInfo(proof, " %s %s " INT64_FORMAT "\n", pay_spi_text(i, 3), pay_spi_text(i, 4),
							 pay_seal_unix_us(pay_spi_time(i, 5)));
		}
		if (pay_spi_isnull(i, 6))
			continue;
		pay_leaf_hash(pay_spi_bytea(i, 8), &hash);
		appendStringInfo(proof, "table %s " INT64_FORMAT " ", pay_spi_text(i, 6), pay_spi_int64(i, 7));
		put_hex(proof, hash.bytes, PAY_HASH_BYTES);
		appendStringInfoChar(proof, '\n');
	}
	if (last != to)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("block " INT64_FORMAT " does not exist yet", to),
				 errhint("SELECT block FROM payments.seal_head is the newest.")));
}

static void
put_hex(StringInfo out, const void *data, size_t bytes)
{
	enlargeStringInfo(out, (int) (2 * bytes));
	out->len += (int) hex_encode(data, bytes, out->data + out->len);
	out->data[out->len] = '\0';
}

/* ---------- checking ---------- */

/* verify_proof(proof, head_hash): ok, reason, table_name, row_data */
Datum
pay_verify_proof(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	text	   *proof = PG_GETARG_TEXT_PP(0);
	text	   *hex = PG_GETARG_TEXT_PP(1);
	size_t		bytes = VARSIZE_ANY_EXHDR(proof);
	uint8	   *row = palloc(bytes / 2 + 1);
	size_t		row_bytes = 0;
	const char *problem = "head_hash is not 64 lower-case hex digits";
	PayHash		head;
	Datum		values[4] = {0};
	bool		nulls[4] = {false, true, true, true};

	InitMaterializedSRF(fcinfo, 0);
	if (pay_hash_parse(VARDATA_ANY(hex), VARSIZE_ANY_EXHDR(hex), &head))
	{
		PayHasher  *hasher = pay_hasher_begin();

		problem = pay_proof_check(hasher, VARDATA_ANY(proof), bytes, &head, row, &row_bytes);
		pay_hasher_end(hasher);
	}
	values[0] = BoolGetDatum(problem == NULL);
	nulls[1] = problem == NULL;
	if (problem)
		values[1] = CStringGetTextDatum(problem);
	else
	{
		nulls[2] = nulls[3] = false;
		values[3] = row_json(row, row_bytes, &values[2]);
	}
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	return (Datum) 0;
}

/* What the row says. */
static Datum
row_json(const uint8 *row, size_t bytes, Datum *name)
{
	StringInfoData json;
	PayField	field;
	const char *table;
	size_t		table_bytes;
	size_t		at = pay_row_table(row, bytes, &table, &table_bytes);

	*name = PointerGetDatum(cstring_to_text_with_len(table, (int) table_bytes));
	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	while (pay_row_next(row, bytes, &at, &field))
	{
		if (json.len > 1)
			appendStringInfoString(&json, ", ");
		put_string(&json, field.name, field.name_bytes);
		appendStringInfoString(&json, ": ");
		put_field(&json, &field);
	}
	appendStringInfoChar(&json, '}');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
}

static void
put_field(StringInfo json, const PayField *field)
{
	uint64		number = field->value_bytes == 8 ? pay_get_be64(field->value) : 0;

	if (field->kind == 'i' && field->value_bytes == 8)
		appendStringInfo(json, INT64_FORMAT, (int64) number);
	else if (field->kind == 'x' && field->value_bytes == 8)
		appendStringInfo(json, "\"" UINT64_FORMAT "\"", number);
	else if (field->kind == 'm' && field->value_bytes == 8)
		appendStringInfo(json, "\"%s\"", timestamptz_to_str(pay_seal_from_unix_us((int64) number)));
	else if (field->kind == 'b' && field->value_bytes == 1)
		appendStringInfoString(json, field->value[0] ? "true" : "false");
	else if (field->kind == 'u' && field->value_bytes == UUID_LEN)
		appendStringInfo(json, "\"%s\"", DatumGetCString(DirectFunctionCall1(uuid_out, PointerGetDatum(field->value))));
	else if (field->kind == 'j')
		appendBinaryStringInfo(json, (const char *) field->value, (int) field->value_bytes);
	else if (field->kind == 't' || field->kind == 'o')
		put_string(json, (const char *) field->value, field->value_bytes);
	else
	{
		appendStringInfoString(json, "\"\\\\x");
		put_hex(json, field->value, field->value_bytes);
		appendStringInfoChar(json, '"');
	}
}

/* A proof against a head of one's own making may say anything. */
static void
put_string(StringInfo json, const char *text, size_t bytes)
{
	(void) pg_verifymbstr(text, (int) bytes, false);
	escape_json(json, pnstrdup(text, bytes));
}
